/* SPDX-License-Identifier: BSD-2-Clause */
/* test_wire.c -- every message of the control protocol: there and back, cut short, changed, and beyond its limits */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "support/wire_any.h"

#define EVERY_TYPE_AND_SAMPLE(type, sample)                                 \
	for (unsigned int type = WIRE_HELLO; type <= WIRE_TYPE_MAX; type++) \
		for (enum wire_sample sample = WIRE_SAMPLE_LEAST; sample < WIRE_SAMPLES; sample++)

static union wire_any message;
static uint8_t payload[WIRE_PAYLOAD_MAX];

static size_t make_payload(uint16_t type, enum wire_sample sample)
{
	int length;

	wire_any_sample(type, sample, &message);
	length = wire_any_payload(type, &message, payload, sizeof(payload));
	if (length < 0)
		fail_msg("%s sample %d: encoder says %d", wire_strtype(type), sample, length);
	return (size_t)length;
}

/* decodes @length bytes of @bytes in memory of exactly that size, so that ASan sees a byte read too much */
static int decode_exactly(uint16_t type, const uint8_t *bytes, size_t length, union wire_any *into,
			  struct decant_error *err)
{
	uint8_t *copy = malloc(length > 0 ? length : 1);
	const uint8_t *data;
	int rc;

	assert_non_null(copy);
	memcpy(copy, bytes, length);
	rc = wire_any_decode(type, into, length > 0 ? copy : NULL, length, err);
	if (rc == 0 && wire_any_tail(type, into, &data) > 0)
		assert_true(data >= copy && data + wire_any_tail(type, into, &data) == copy + length);
	free(copy);
	return rc;
}

/* what decodes encodes to the same bytes: there is one encoding of each message */
static void check_canonical(uint16_t type, const uint8_t *bytes, size_t length)
{
	static union wire_any again;
	static uint8_t encoded[WIRE_HEAD_MAX];
	const uint8_t *data;
	int head;

	assert_int_equal(wire_any_decode(type, &again, bytes, length, NULL), 0);
	head = wire_any_encode(type, &again, encoded, sizeof(encoded));
	assert_true(head >= 0);
	assert_int_equal((size_t)head + wire_any_tail(type, &again, &data), length);
	assert_memory_equal(encoded, bytes, (size_t)head);
}

static void test_messages__there_and_back(void **state)
{
	(void)state;
	EVERY_TYPE_AND_SAMPLE(type, sample)
	{
		static union wire_any decoded;
		struct decant_error err = DECANT_ERROR_INIT;
		const size_t length = make_payload(type, sample);

		if (decode_exactly(type, payload, length, &decoded, &err) < 0)
			fail_msg("%s sample %d: %s", wire_strtype(type), sample, err.msg);
		check_canonical(type, payload, length);
	}
}

static void test_messages__cut_short(void **state)
{
	(void)state;
	EVERY_TYPE_AND_SAMPLE(type, sample)
	{
		static union wire_any decoded;
		const size_t length = make_payload(type, sample);

		for (size_t n = 0; n < length; n++) {
			struct decant_error err = DECANT_ERROR_INIT;

			/* all of them around the ends, a few between */
			if (n > 600 && n + 100 < length && n % 4099 != 0)
				continue;
			if (decode_exactly(type, payload, n, &decoded, &err) != -EPROTO)
				fail_msg("%s sample %d: %zu bytes of %zu decode", wire_strtype(type), sample, n,
					 length);
			assert_int_equal(err.code, -EPROTO);
		}
	}
}

static void test_messages__one_byte_more(void **state)
{
	(void)state;
	EVERY_TYPE_AND_SAMPLE(type, sample)
	{
		static union wire_any decoded;
		const size_t length = make_payload(type, sample);

		payload[length] = 0;
		if (decode_exactly(type, payload, length + 1, &decoded, NULL) != -EPROTO)
			fail_msg("%s sample %d takes a byte more", wire_strtype(type), sample);
	}
}

static void test_messages__every_bit_flipped(void **state)
{
	(void)state;
	EVERY_TYPE_AND_SAMPLE(type, sample)
	{
		static union wire_any decoded;
		const size_t length = make_payload(type, sample);
		const size_t looked_at = length < 400 ? length : 400;
		int rc;

		for (size_t bit = 0; bit < looked_at * 8; bit++) {
			payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
			/* a copy of a long one for each bit would take minutes */
			rc = length < 4096 ? decode_exactly(type, payload, length, &decoded, NULL)
					   : wire_any_decode(type, &decoded, payload, length, NULL);
			if (rc == 0)
				check_canonical(type, payload, length);
			payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

static void test_encoders__too_little_room(void **state)
{
	(void)state;
	EVERY_TYPE_AND_SAMPLE(type, sample)
	{
		static uint8_t bytes[WIRE_HEAD_MAX];
		int head;

		wire_any_sample(type, sample, &message);
		head = wire_any_encode(type, &message, bytes, sizeof(bytes));
		assert_true(head >= 0);
		for (int room = 0; room < head; room++) {
			uint8_t *exact;

			if (room > 300 && room % 997 != 0 && room + 20 < head)
				continue;
			exact = malloc(room > 0 ? (size_t)room : 1);
			assert_non_null(exact);
			if (wire_any_encode(type, &message, exact, (size_t)room) != -EMSGSIZE)
				fail_msg("%s sample %d fits into %d bytes", wire_strtype(type), sample, room);
			free(exact);
		}
	}
}

/* where the number stands in the usual sample: the layout that docs/protocol.md promises */
struct field_case {
	uint16_t type;
	uint16_t offset;
	uint16_t width;
	uint64_t value;
};

#define ANY 123456789012345ull

static const struct field_case fields[] = {
	{ WIRE_HELLO, 0, 2, 1 },
	{ WIRE_HELLO, 2, 2, 1 },
	{ WIRE_HELLO, 4, 2, WIRE_PURPOSE_PUSH },
	{ WIRE_HELLO, 8, 8, ANY },
	{ WIRE_HELLO, 17, 1, 18 },
	{ WIRE_HELLO, 33, 1, 18 },
	{ WIRE_HELLO, 48, 4, 5000 },
	{ WIRE_HELLO, 56, 4, 0x6f6d6564 },
	{ WIRE_WELCOME, 0, 2, 1 },
	{ WIRE_WELCOME, 4, 4, 5000 },
	{ WIRE_WELCOME, 8, 8, ANY | WIRE_FEATURE_RDMA },
	{ WIRE_WELCOME, 17, 1, 18 },
	{ WIRE_WELCOME, 32, 4, 5000 },
	{ WIRE_WELCOME, 36, 4, 1 },
	{ WIRE_WELCOME, 40, 8, ANY },
	{ WIRE_WELCOME, 48, 4, 0x35786c6d },
	{ WIRE_WELCOME, 80, 2, 4 },
	{ WIRE_WELCOME, 82, 2, 2 },
	{ WIRE_WELCOME, 84, 2, WIRE_RAIL_SOFTWARE },
	{ WIRE_WELCOME, 86, 2, 3 },
	{ WIRE_WELCOME, 88, 4, 100000 },
	{ WIRE_WELCOME, 96, 4, 0x34231201 },
	{ WIRE_WELCOME, 112, 4, 0 },
	{ WIRE_ERROR, 0, 4, ENOSPC },
	{ WIRE_ERROR, 4, 4, 33 },
	{ WIRE_ERROR, 8, 4, 0x6f6d656d },
	{ WIRE_ABORT, 0, 4, ENOSPC },
	{ WIRE_REGIONS, 0, 4, 2 },
	{ WIRE_REGIONS, 8, 4, 0x306d6161 },
	{ WIRE_REGIONS, 40, 8, 512 * 4096 },
	{ WIRE_REGIONS, 48, 8, 4096 },
	{ WIRE_REGIONS, 56, 8, 0 },
	{ WIRE_REGIONS, 64, 4, 0x316d6162 },
	{ WIRE_REGIONS, 104, 8, 2 << 20 },
	{ WIRE_REGIONS, 112, 8, 1ull << 44 },
	{ WIRE_SHAPE, 0, 4, 5000 },
	{ WIRE_SHAPE, 4, 4, 4000 },
	{ WIRE_SHAPE, 8, 4, 1000 },
	{ WIRE_STATE, 0, 4, 5000 },
	{ WIRE_STATE, 17, 1, 2654435761u >> 11 & 0xff },
	{ WIRE_PREPARED, 0, 8, ANY },
	{ WIRE_PREPARED, 8, 8, ANY / 2 },
	{ WIRE_OPEN, 0, 8, 2 },
	{ WIRE_OPEN, 8, 4, 2 },
	{ WIRE_OPEN, 12, 4, 1 },
	{ WIRE_OPEN, 16, 4, 0x00706374 },
	{ WIRE_OPEN, 32, 4, 3 },
	{ WIRE_OPENED, 0, 8, 2 },
	{ WIRE_OPENED, 8, 4, 2 },
	{ WIRE_OPENED, 12, 2, 7 },
	{ WIRE_OPENED, 14, 2, 2 },
	{ WIRE_OPENED, 17, 1, 18 },
	{ WIRE_OPENED, 33, 1, 18 },
	{ WIRE_OPENED, 81, 1, 18 },
	{ WIRE_REGISTER, 0, 8, 2 },
	{ WIRE_REGISTER, 8, 4, 1 },
	{ WIRE_REGISTER, 12, 4, 3 },
	{ WIRE_REGISTER, 32, 8, 8 },
	{ WIRE_REGISTER, 40, 4, 2 },
	{ WIRE_GRANT, 0, 8, 2 },
	{ WIRE_GRANT, 8, 4, 1 },
	{ WIRE_GRANT, 12, 4, 3 },
	{ WIRE_GRANT, 16, 8, 12 },
	{ WIRE_GRANT, 25, 1, 2654435761u >> 11 & 0xff },
	{ WIRE_BARRIER_ACK, 0, 8, ANY },
	{ WIRE_BARRIER_ACK, 8, 8, ANY / 2 },
	{ WIRE_FENCE, 0, 8, ANY },
	{ WIRE_FENCED, 0, 8, ANY },
	{ WIRE_PAGES, 0, 4, 1 },
	{ WIRE_PAGES, 4, 4, 8192 },
	{ WIRE_PAGES, 8, 8, 40960 },
	{ WIRE_PAGES, 17, 1, 2654435761u >> 11 & 0xff },
	{ WIRE_HASHES, 0, 4, 1 },
	{ WIRE_HASHES, 4, 4, 3 },
	{ WIRE_HASHES, 8, 8, 12 },
	{ WIRE_HASHES, 17, 1, 2654435761u >> 11 & 0xff },
	{ WIRE_VERIFIED, 0, 8, ANY },
	{ WIRE_VERIFIED, 8, 4, ANY % WIRE_REGIONS_MAX },
	{ WIRE_VERIFIED, 16, 8, ANY % WIRE_PAGE_END },
	{ WIRE_HANDOVER, 0, 8, ANY },
	{ WIRE_HANDOVER, 8, 8, UINT64_MAX },
	{ WIRE_HANDOVER, 16, 8, ANY },
	{ WIRE_READY, 0, 4, 5001 },
	{ WIRE_READY, 8, 8, ANY },
	{ WIRE_READY, 16, 8, ANY / 2 },
	{ WIRE_RUNNING, 0, 8, ANY },
	{ WIRE_RUNNING, 8, 8, ANY / 2 },
	{ WIRE_STATUS, 0, 4, WIRE_FATE_RUNNING },
	{ WIRE_PING, 0, 8, ANY },
	{ WIRE_PONG, 0, 8, ANY },
	{ WIRE_PONG, 8, 8, ANY / 2 },
	{ WIRE_PONG, 16, 8, ANY / 3 },
	{ WIRE_VERDICT, 0, 4, 1 },
	{ WIRE_VERDICT, 8, 8, ANY },
	{ WIRE_VERDICT, 16, 8, ANY },
	{ WIRE_VERDICT, 24, 4, 0x65676170 },
	{ WIRE_LOST, 0, 8, 2 },
	{ WIRE_MESSAGE, 0, 4, 600 },
	{ WIRE_MESSAGE, 9, 1, 2654435761u >> 11 & 0xff },
	{ WIRE_LOST, 8, 4, ENOMEM },
	{ WIRE_LOST, 12, 4, 25 },
	{ WIRE_LOST, 16, 4, 0x5f766269 },
	{ WIRE_CHALLENGE, 1, 1, 18 },
	{ WIRE_PROOF, 1, 1, 18 },
	{ WIRE_PROOF, 33, 1, 18 },
	{ WIRE_PROVED, 1, 1, 18 },
};

static uint64_t read_field(const struct field_case *field)
{
	uint64_t value = 0;

	for (int i = field->width - 1; i >= 0; i--)
		value = value << 8 | payload[field->offset + i];
	return value;
}

static void test_messages__layout(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const size_t length = make_payload(fields[i].type, WIRE_SAMPLE_USUAL);

		assert_true(fields[i].offset + fields[i].width <= length);
		if (read_field(&fields[i]) != fields[i].value)
			fail_msg("%s at %u: 0x%llx", wire_strtype(fields[i].type), fields[i].offset,
				 (unsigned long long)read_field(&fields[i]));
	}
}

static void test_messages__sizes(void **state)
{
	static const size_t least[WIRE_TYPE_MAX + 1] = {
		[WIRE_HELLO] = 120,   [WIRE_WELCOME] = 48,  [WIRE_ERROR] = 8,        [WIRE_REGIONS] = 64,
		[WIRE_SHAPE] = 16,    [WIRE_PREPARED] = 16, [WIRE_OPEN] = 32,        [WIRE_OPENED] = 16,
		[WIRE_REGISTER] = 32, [WIRE_GRANT] = 32,    [WIRE_BARRIER_ACK] = 16, [WIRE_FENCE] = 8,
		[WIRE_FENCED] = 8,    [WIRE_PAGES] = 4112,  [WIRE_STATE] = 16,       [WIRE_HASHES] = 24,
		[WIRE_VERIFIED] = 24, [WIRE_HANDOVER] = 24, [WIRE_READY] = 24,       [WIRE_RUNNING] = 16,
		[WIRE_STATUS] = 8,    [WIRE_PING] = 8,      [WIRE_PONG] = 24,        [WIRE_ABORT] = 8,
		[WIRE_VERDICT] = 184, [WIRE_LOST] = 16,     [WIRE_CHALLENGE] = 32,   [WIRE_PROOF] = 64,
		[WIRE_PROVED] = 32,   [WIRE_MESSAGE] = 9,
	};

	(void)state;
	for (unsigned int type = WIRE_HELLO; type <= WIRE_TYPE_MAX; type++)
		assert_int_equal(make_payload(type, WIRE_SAMPLE_LEAST), least[type]);
	for (unsigned int type = WIRE_HELLO; type <= WIRE_TYPE_MAX; type++)
		assert_true(make_payload(type, WIRE_SAMPLE_MOST) <= WIRE_PAYLOAD_MAX);
}

/* a number that does not belong into the usual sample, and the word that the complaint has in it */
struct wrong_case {
	struct field_case field;
	const char *says;
};

static const struct wrong_case wrongs[] = {
	{ { WIRE_HELLO, 0, 2, 0 }, "versions" },
	{ { WIRE_HELLO, 4, 2, 0 }, "purpose" },
	{ { WIRE_HELLO, 4, 2, 4 }, "purpose" },
	{ { WIRE_HELLO, 6, 2, 1 }, "reserved" },
	{ { WIRE_HELLO, 52, 4, 1 }, "reserved" },
	{ { WIRE_HELLO, 57, 1, 7 }, "name" },
	{ { WIRE_HELLO, 57, 1, 0x80 }, "name" },
	{ { WIRE_HELLO, 119, 1, 'x' }, "name" },
	{ { WIRE_WELCOME, 0, 2, 0 }, "version" },
	{ { WIRE_WELCOME, 0, 2, 2 }, "version" },
	{ { WIRE_WELCOME, 2, 2, 1 }, "reserved" },
	{ { WIRE_WELCOME, 36, 4, 9 }, "rails" },
	{ { WIRE_WELCOME, 36, 4, 0 }, "" },
	{ { WIRE_WELCOME, 8, 8, 1 }, "rails" },
	{ { WIRE_WELCOME, 48, 1, 0 }, "rail device" },
	{ { WIRE_WELCOME, 80, 2, 5 }, "rail family" },
	{ { WIRE_WELCOME, 82, 2, 0 }, "rail port" },
	{ { WIRE_WELCOME, 82, 2, 256 }, "rail port" },
	{ { WIRE_WELCOME, 84, 2, 2 }, "rail flags" },
	{ { WIRE_WELCOME, 92, 4, 1 }, "reserved" },
	{ { WIRE_WELCOME, 100, 1, 1 }, "rail address" },
	{ { WIRE_WELCOME, 112, 4, 1 }, "why" },
	{ { WIRE_ERROR, 0, 4, 0 }, "code" },
	{ { WIRE_ERROR, 0, 4, 4096 }, "code" },
	{ { WIRE_ERROR, 4, 4, WIRE_TEXT_MAX }, "text" },
	{ { WIRE_ERROR, 4, 4, UINT32_MAX }, "text" },
	{ { WIRE_ERROR, 8, 1, '\n' }, "text" },
	{ { WIRE_ERROR, 8, 1, 0 }, "text" },
	{ { WIRE_REGIONS, 0, 4, 0 }, "count" },
	{ { WIRE_REGIONS, 0, 4, 65 }, "count" },
	{ { WIRE_REGIONS, 0, 4, UINT32_MAX }, "count" },
	{ { WIRE_REGIONS, 4, 4, 1 }, "reserved" },
	{ { WIRE_REGIONS, 8, 4, 0 }, "name" },
	{ { WIRE_REGIONS, 40, 8, 0 }, "length" },
	{ { WIRE_REGIONS, 40, 8, 4097 }, "length" },
	{ { WIRE_REGIONS, 96, 8, 4096 }, "length" },
	{ { WIRE_REGIONS, 40, 8, UINT64_MAX - 4095 }, "guest_address" },
	{ { WIRE_REGIONS, 40, 8, WIRE_ADDRESS_END + 4096 }, "guest_address" },
	{ { WIRE_REGIONS, 48, 8, 8192 }, "page_size" },
	{ { WIRE_REGIONS, 48, 8, 0 }, "page_size" },
	{ { WIRE_REGIONS, 56, 8, 1 }, "guest_address" },
	{ { WIRE_REGIONS, 56, 8, WIRE_ADDRESS_END - 4096 }, "guest_address" },
	{ { WIRE_REGIONS, 56, 8, UINT64_MAX - 4095 }, "guest_address" },
	{ { WIRE_SHAPE, 0, 4, (64u << 20) + 1 }, "total" },
	{ { WIRE_SHAPE, 0, 4, 4999 }, "offset" },
	{ { WIRE_SHAPE, 4, 4, 4001 }, "offset" },
	{ { WIRE_SHAPE, 4, 4, UINT32_MAX }, "offset" },
	{ { WIRE_SHAPE, 8, 4, 0 }, "length" },
	{ { WIRE_SHAPE, 8, 4, WIRE_CHUNK_MAX + 1 }, "length" },
	{ { WIRE_SHAPE, 12, 4, 1 }, "reserved" },
	{ { WIRE_OPEN, 0, 8, 0 }, "epoch" },
	{ { WIRE_OPEN, 8, 4, 0 }, "channels" },
	{ { WIRE_OPEN, 8, 4, 17 }, "channels" },
	{ { WIRE_OPEN, 12, 4, 3 }, "rails" },
	{ { WIRE_OPEN, 12, 4, 0 }, "" },
	{ { WIRE_OPEN, 32, 4, 8 }, "rail" },
	{ { WIRE_LOST, 0, 8, 0 }, "epoch" },
	{ { WIRE_MESSAGE, 0, 4, 0 }, "length" },
	{ { WIRE_MESSAGE, 0, 4, 599 }, "" },
	{ { WIRE_MESSAGE, 0, 4, WIRE_MESSAGE_MAX + 1 }, "length" },
	{ { WIRE_MESSAGE, 4, 4, 1 }, "reserved" },
	{ { WIRE_LOST, 8, 4, 0 }, "code" },
	{ { WIRE_LOST, 8, 4, 4096 }, "code" },
	{ { WIRE_OPEN, 16, 4, 0 }, "fabric" },
	{ { WIRE_OPENED, 0, 8, 0 }, "epoch" },
	{ { WIRE_OPENED, 8, 4, 0 }, "channels" },
	{ { WIRE_OPENED, 8, 4, 17 }, "channels" },
	{ { WIRE_OPENED, 12, 2, 257 }, "address_length" },
	{ { WIRE_OPENED, 14, 2, 1 }, "tokens" },
	{ { WIRE_OPENED, 14, 2, 3 }, "tokens" },
	{ { WIRE_OPENED, 14, 2, UINT16_MAX }, "tokens" },
	{ { WIRE_REGISTER, 0, 8, 0 }, "epoch" },
	{ { WIRE_REGISTER, 8, 4, 64 }, "region" },
	{ { WIRE_REGISTER, 12, 4, 0 }, "count" },
	{ { WIRE_REGISTER, 12, 4, 4097 }, "count" },
	{ { WIRE_REGISTER, 16, 8, WIRE_GRANULE_END }, "range" },
	{ { WIRE_REGISTER, 16, 8, UINT64_MAX }, "range" },
	{ { WIRE_REGISTER, 24, 4, 0 }, "range count" },
	{ { WIRE_REGISTER, 24, 4, 0x80000001 }, "range" },
	{ { WIRE_REGISTER, 28, 4, 1 }, "reserved" },
	{ { WIRE_GRANT, 0, 8, 0 }, "epoch" },
	{ { WIRE_GRANT, 8, 4, 64 }, "region" },
	{ { WIRE_GRANT, 12, 4, 0 }, "count" },
	{ { WIRE_GRANT, 12, 4, WIRE_KEYS_MAX + 1 }, "count" },
	{ { WIRE_GRANT, 12, 4, 0x20000003 }, "count" },
	{ { WIRE_GRANT, 16, 8, WIRE_GRANULE_END - 2 }, "first" },
	{ { WIRE_GRANT, 16, 8, UINT64_MAX - 1 }, "first" },
	{ { WIRE_BARRIER_ACK, 0, 8, 0 }, "epoch" },
	{ { WIRE_FENCE, 0, 8, 0 }, "epoch" },
	{ { WIRE_PAGES, 0, 4, 64 }, "region" },
	{ { WIRE_PAGES, 4, 4, 0 }, "length" },
	{ { WIRE_PAGES, 4, 4, 4095 }, "length" },
	{ { WIRE_PAGES, 4, 4, 8191 }, "whole pages" },
	{ { WIRE_PAGES, 4, 4, WIRE_CHUNK_MAX + 4096 }, "length" },
	{ { WIRE_PAGES, 8, 8, 1 }, "whole pages" },
	{ { WIRE_PAGES, 8, 8, WIRE_ADDRESS_END - 4096 }, "offset" },
	{ { WIRE_PAGES, 8, 8, UINT64_MAX - 4095 }, "offset" },
	{ { WIRE_HASHES, 0, 4, 64 }, "region" },
	{ { WIRE_HASHES, 4, 4, 0 }, "count" },
	{ { WIRE_HASHES, 4, 4, WIRE_HASHES_MAX + 1 }, "count" },
	{ { WIRE_HASHES, 8, 8, WIRE_PAGE_END - 2 }, "first" },
	{ { WIRE_VERIFIED, 8, 4, 64 }, "region" },
	{ { WIRE_VERIFIED, 12, 4, 1 }, "reserved" },
	{ { WIRE_VERIFIED, 16, 8, WIRE_PAGE_END }, "page" },
	{ { WIRE_WELCOME, 32, 4, WIRE_LEASE_MS_MAX + 1 }, "lease" },
	{ { WIRE_READY, 0, 4, 0 }, "lease" },
	{ { WIRE_READY, 0, 4, WIRE_LEASE_MS_MAX + 1 }, "lease" },
	{ { WIRE_READY, 4, 4, 1 }, "reserved" },
	{ { WIRE_STATUS, 0, 4, 4 }, "fate" },
	{ { WIRE_STATUS, 4, 4, 1 }, "reserved" },
	{ { WIRE_VERDICT, 0, 4, 3 }, "status" },
	{ { WIRE_VERDICT, 4, 4, 1 }, "reserved" },
	{ { WIRE_VERDICT, 183, 1, 1 }, "text" },
};

static void test_decoders__wrong_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		const struct field_case *field = &wrongs[i].field;
		const size_t length = make_payload(field->type, WIRE_SAMPLE_USUAL);
		struct decant_error err = DECANT_ERROR_INIT;
		static union wire_any decoded;

		for (int k = 0; k < field->width; k++)
			payload[field->offset + k] = (uint8_t)(field->value >> 8 * k);
		if (decode_exactly(field->type, payload, length, &decoded, &err) != -EPROTO ||
		    strstr(err.msg, wrongs[i].says) == NULL || strstr(err.msg, wire_strtype(field->type)) == NULL)
			fail_msg("%s at %u, %llu: \"%s\"", wire_strtype(field->type), field->offset,
				 (unsigned long long)field->value, err.msg);
	}
}

static void test_decoders__unterminated_names(void **state)
{
	static const struct field_case names[] = {
		{ WIRE_HELLO, 56, WIRE_NAME_MAX, 0 },
		{ WIRE_REGIONS, 8, WIRE_REGION_NAME_MAX, 0 },
		{ WIRE_OPEN, 16, WIRE_FABRIC_MAX, 0 },
		{ WIRE_VERDICT, 24, 160, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const size_t length = make_payload(names[i].type, WIRE_SAMPLE_USUAL);
		struct decant_error err = DECANT_ERROR_INIT;
		static union wire_any decoded;

		memset(payload + names[i].offset, 'n', names[i].width);
		assert_int_equal(decode_exactly(names[i].type, payload, length, &decoded, &err), -EPROTO);
		assert_non_null(strstr(err.msg, "not terminated"));
	}
}

static void test_hello__of_other_versions(void **state)
{
	static const uint8_t newer[6] = { 2, 0, 3, 0, 0xff, 0xff };
	struct decant_error err = DECANT_ERROR_INIT;
	static union wire_any decoded;

	(void)state;
	assert_int_equal(decode_exactly(WIRE_HELLO, newer, sizeof(newer), &decoded, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "2 to 3"));
	assert_non_null(strstr(err.msg, "1 to 1"));
	assert_int_equal(decode_exactly(WIRE_HELLO, newer, 3, &decoded, &err), -EPROTO);
}

static void expect_refused(uint16_t type)
{
	static uint8_t bytes[WIRE_HEAD_MAX];

	if (wire_any_encode(type, &message, bytes, sizeof(bytes)) != -EMSGSIZE)
		fail_msg("%s: encoded what no decoder takes", wire_strtype(type));
}

static void test_encoders__fields_beyond_their_limits(void **state)
{
	(void)state;
	wire_any_sample(WIRE_HELLO, WIRE_SAMPLE_USUAL, &message);
	memset(message.hello.name, 'x', sizeof(message.hello.name));
	expect_refused(WIRE_HELLO);
	wire_any_sample(WIRE_HELLO, WIRE_SAMPLE_USUAL, &message);
	message.hello.name[1] = '\t';
	expect_refused(WIRE_HELLO);
	wire_any_sample(WIRE_REGIONS, WIRE_SAMPLE_MOST, &message);
	message.regions.count = WIRE_REGIONS_MAX + 1;
	expect_refused(WIRE_REGIONS);
	wire_any_sample(WIRE_REGIONS, WIRE_SAMPLE_USUAL, &message);
	message.regions.region[1].length = 4096;
	expect_refused(WIRE_REGIONS);
	wire_any_sample(WIRE_STATE, WIRE_SAMPLE_MOST, &message);
	message.chunk.offset++;
	expect_refused(WIRE_STATE);
	wire_any_sample(WIRE_WELCOME, WIRE_SAMPLE_MOST, &message);
	strcpy(message.welcome.why, "none");
	expect_refused(WIRE_WELCOME);
	wire_any_sample(WIRE_WELCOME, WIRE_SAMPLE_MOST, &message);
	message.welcome.features = 0;
	expect_refused(WIRE_WELCOME);
	wire_any_sample(WIRE_OPEN, WIRE_SAMPLE_MOST, &message);
	message.open.rail[1] = message.open.rail[0];
	expect_refused(WIRE_OPEN);
	wire_any_sample(WIRE_OPENED, WIRE_SAMPLE_MOST, &message);
	message.opened.channels++;
	expect_refused(WIRE_OPENED);
	wire_any_sample(WIRE_OPENED, WIRE_SAMPLE_MOST, &message);
	message.opened.address_length++;
	expect_refused(WIRE_OPENED);
	wire_any_sample(WIRE_REGISTER, WIRE_SAMPLE_MOST, &message);
	message.reg.count++;
	expect_refused(WIRE_REGISTER);
	wire_any_sample(WIRE_REGISTER, WIRE_SAMPLE_MOST, &message);
	message.reg.range[17].count = 2;
	expect_refused(WIRE_REGISTER);
	wire_any_sample(WIRE_GRANT, WIRE_SAMPLE_MOST, &message);
	message.grant.first++;
	expect_refused(WIRE_GRANT);
	wire_any_sample(WIRE_PAGES, WIRE_SAMPLE_MOST, &message);
	message.pages.length += 4096;
	expect_refused(WIRE_PAGES);
	wire_any_sample(WIRE_HASHES, WIRE_SAMPLE_MOST, &message);
	message.hashes.count++;
	expect_refused(WIRE_HASHES);
}

static void test_welcome__says_why_there_are_no_rails(void **state)
{
	struct wire_welcome welcome = { .version = 1, .features = WIRE_FEATURE_RDMA }, decoded;
	uint8_t bytes[WIRE_WELCOME_MAX];
	int length;

	(void)state;
	strcpy(welcome.why, "no RDMA device: modprobe mlx5_ib");
	length = wire_welcome_encode(&welcome, bytes, sizeof(bytes));
	assert_int_equal(length, 52 + (int)strlen(welcome.why));
	assert_int_equal(wire_welcome_decode(&decoded, bytes, (size_t)length, NULL), 0);
	assert_int_equal(decoded.rails, 0);
	assert_string_equal(decoded.why, welcome.why);
}

static void test_error__text_is_made_fit_to_print(void **state)
{
	struct wire_error error = { .code = EIO }, decoded;
	uint8_t bytes[WIRE_TEXT_MAX + 8];
	int length;

	(void)state;
	strcpy(error.text, "line\nbell\a caf\xc3\xa9");
	length = wire_error_encode(&error, bytes, sizeof(bytes));
	assert_true(length > 0);
	assert_int_equal(wire_error_decode(&decoded, bytes, (size_t)length, NULL), 0);
	assert_string_equal(decoded.text, "line?bell? caf??");
	memset(error.text, 'e', sizeof(error.text));
	length = wire_error_encode(&error, bytes, sizeof(bytes));
	assert_true(length > 0);
	assert_int_equal(wire_error_decode(&decoded, bytes, (size_t)length, NULL), 0);
	assert_int_equal(strlen(decoded.text), WIRE_TEXT_MAX - 1);
}

static void test_verdict__text_is_made_fit_to_print(void **state)
{
	struct wire_verdict verdict = { .status = 2 }, decoded;
	uint8_t bytes[184];

	(void)state;
	memset(verdict.text, '\xff', sizeof(verdict.text));
	assert_int_equal(wire_verdict_encode(&verdict, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(wire_verdict_decode(&decoded, bytes, sizeof(bytes), NULL), 0);
	assert_int_equal(strlen(decoded.text), sizeof(verdict.text) - 1);
	assert_int_equal(strspn(decoded.text, "?"), sizeof(verdict.text) - 1);
}

static void test_words__little_endian_at_any_address(void **state)
{
	static const uint8_t words[] = { 9, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 0, 0, 0, 0, 0x80 };
	const struct wire_grant grant = { .count = 2, .keys = words + 1 };
	const struct wire_hashes hashes = { .count = 2, .hashes = words + 1 };

	(void)state;
	assert_int_equal(wire_grant_key(&grant, 0), 0x0807060504030201);
	assert_int_equal(wire_grant_key(&grant, 1), 0x80000000000000ff);
	assert_int_equal(wire_hash(&hashes, 0), 0x0807060504030201);
	assert_int_equal(wire_hash(&hashes, 1), 0x80000000000000ff);
}

static void test_empty__takes_nothing(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	assert_int_equal(wire_empty_decode(WIRE_GO, 0, &err), 0);
	assert_int_equal(wire_empty_decode(WIRE_GO, 1, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "GO"));
}

static void test_strtype__of_all(void **state)
{
	(void)state;
	assert_string_equal(wire_strtype(0), "?");
	assert_string_equal(wire_strtype(WIRE_TYPE_MAX + 1), "?");
	assert_string_equal(wire_strtype(UINT16_MAX), "?");
	assert_string_equal(wire_strtype(WIRE_HELLO), "HELLO");
	assert_string_equal(wire_strtype(WIRE_BYE), "BYE");
	for (unsigned int a = WIRE_HELLO; a <= WIRE_TYPE_MAX; a++)
		for (unsigned int b = WIRE_HELLO; b < a; b++)
			assert_string_not_equal(wire_strtype(a), wire_strtype(b));
}

static const uint8_t good_header[WIRE_HEADER_SIZE] = { 'D', 'C', 'N', 'T', 24, 0, 0, 0, 8, 0, 0, 0, 4, 3, 2, 1 };

static void test_header__there_and_back(void **state)
{
	const struct wire_header header = { .type = WIRE_PING, .length = 8, .sequence = 0x01020304 };
	struct wire_header decoded;
	uint8_t bytes[WIRE_HEADER_SIZE];

	(void)state;
	assert_int_equal(wire_header_encode(&header, bytes, sizeof(bytes)), WIRE_HEADER_SIZE);
	assert_memory_equal(bytes, good_header, sizeof(bytes));
	assert_int_equal(wire_header_decode(&decoded, bytes, NULL), 0);
	assert_int_equal(decoded.type, header.type);
	assert_int_equal(decoded.flags, 0);
	assert_int_equal(decoded.length, header.length);
	assert_int_equal(decoded.sequence, header.sequence);
	assert_int_equal(wire_header_encode(&header, bytes, sizeof(bytes) - 1), -EMSGSIZE);
}

static void check_header(size_t offset, uint8_t value, const char *says)
{
	struct decant_error err = DECANT_ERROR_INIT;
	uint8_t bytes[WIRE_HEADER_SIZE];
	struct wire_header header;

	memcpy(bytes, good_header, sizeof(bytes));
	bytes[offset] = value;
	assert_int_equal(wire_header_decode(&header, bytes, &err), -EPROTO);
	if (strstr(err.msg, says) == NULL)
		fail_msg("byte %zu = %u: \"%s\"", offset, value, err.msg);
}

static void test_header__wrong_fields(void **state)
{
	(void)state;
	check_header(0, 'd', "no decant");
	check_header(3, 0, "no decant");
	check_header(4, 0, "type");
	check_header(4, WIRE_TYPE_MAX + 1, "type");
	check_header(5, 1, "type");
	check_header(6, 1, "flags");
	check_header(7, 0x80, "flags");
	check_header(10, 0x11, "length");
	check_header(11, 0xff, "length");
}

static void test_header__of_strangers(void **state)
{
	static const char *const strangers[][2] = {
		{ "HTTP/1.1 400 Bad", "HTTP" },     { "GET / HTTP/1.1\r\n", "HTTP" },
		{ "SSH-2.0-OpenSSH_", "SSH" },      { "\x16\x03\x01\x02\x00\x01zzzzzzzzzz", "TLS" },
		{ "{\"QMP\": {\"versio", "QMP" },   { "QEVM\0\0\0\3zzzzzzzz", "QEMU" },
		{ "RFB 003.008\n\0\0\0\0", "VNC" }, { "\1\2\3\4\"\\xyz\0\0\0\0\0\0", "begins with" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		uint8_t bytes[WIRE_HEADER_SIZE];
		struct wire_header header;

		memcpy(bytes, strangers[i][0], sizeof(bytes));
		assert_int_equal(wire_header_decode(&header, bytes, &err), -EPROTO);
		assert_non_null(strstr(err.msg, strangers[i][1]));
		for (const char *c = err.msg; *c != '\0'; c++)
			assert_in_range(*c, ' ', '~');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages__there_and_back),
		cmocka_unit_test(test_messages__cut_short),
		cmocka_unit_test(test_messages__one_byte_more),
		cmocka_unit_test(test_messages__every_bit_flipped),
		cmocka_unit_test(test_messages__layout),
		cmocka_unit_test(test_messages__sizes),
		cmocka_unit_test(test_encoders__too_little_room),
		cmocka_unit_test(test_encoders__fields_beyond_their_limits),
		cmocka_unit_test(test_decoders__wrong_fields),
		cmocka_unit_test(test_decoders__unterminated_names),
		cmocka_unit_test(test_hello__of_other_versions),
		cmocka_unit_test(test_welcome__says_why_there_are_no_rails),
		cmocka_unit_test(test_error__text_is_made_fit_to_print),
		cmocka_unit_test(test_verdict__text_is_made_fit_to_print),
		cmocka_unit_test(test_words__little_endian_at_any_address),
		cmocka_unit_test(test_empty__takes_nothing),
		cmocka_unit_test(test_strtype__of_all),
		cmocka_unit_test(test_header__there_and_back),
		cmocka_unit_test(test_header__wrong_fields),
		cmocka_unit_test(test_header__of_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
