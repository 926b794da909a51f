/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_wire.c -- a header and a payload from a stranger
 *
 * The input is a message as it comes from a socket. Besides what the sanitizers see, it holds the decoders to this: what
 * they take encodes to the very same bytes.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support/wire_any.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_payload(uint16_t type, const uint8_t *bytes, size_t length)
{
	static union wire_any message, again;
	static uint8_t encoded[WIRE_HEAD_MAX];
	struct decant_error err = DECANT_ERROR_INIT;
	const uint8_t *tail;
	size_t tail_length;
	int head;

	if (wire_any_decode(type, &message, bytes, length, &err) < 0) {
		assert(err.code < 0 && err.msg[0] != '\0');
		return;
	}
	head = wire_any_encode(type, &message, encoded, sizeof(encoded));
	tail_length = wire_any_tail(type, &message, &tail);
	assert(head >= 0 && (size_t)head + tail_length == length);
	assert(length == 0 || memcmp(encoded, bytes, (size_t)head) == 0);
	assert(tail_length == 0 || tail == bytes + head);
	assert(wire_any_decode(type, &again, bytes, length, NULL) == 0);
	if (type == WIRE_GRANT)
		for (uint32_t i = 0; i < message.grant.count; i++)
			(void)wire_grant_key(&message.grant, i);
	if (type == WIRE_HASHES)
		for (uint32_t i = 0; i < message.hashes.count; i++)
			(void)wire_hash(&message.hashes, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decant_error err = DECANT_ERROR_INIT;
	uint8_t encoded[WIRE_HEADER_SIZE];
	struct wire_header header;
	uint8_t *payload;
	uint16_t type;

	if (size < WIRE_HEADER_SIZE)
		return 0;
	type = data[4] % (WIRE_TYPE_MAX + 2);
	if (wire_header_decode(&header, data, &err) == 0) {
		assert(wire_header_encode(&header, encoded, sizeof(encoded)) == (int)sizeof(encoded));
		assert(memcmp(encoded, data, sizeof(encoded)) == 0);
		type = header.type;
	} else {
		assert(err.code < 0 && err.msg[0] != '\0');
	}
	/* in memory of its own, so that the first byte read too much is seen */
	size -= WIRE_HEADER_SIZE;
	payload = malloc(size > 0 ? size : 1);
	if (payload == NULL)
		return 0;
	memcpy(payload, data + WIRE_HEADER_SIZE, size);
	fuzz_payload(type, payload, size);
	free(payload);
	return 0;
}
