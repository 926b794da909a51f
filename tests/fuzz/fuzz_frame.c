/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_frame.c -- what a peer sends on a TCP data channel, up to where the first page would be written; RDMA's private data
 *
 * The input is a frame as it comes from a socket, or what comes with a connection request, its acceptance or its refusal. What the
 * decoders take encodes to the very same bytes, and what the sink would write to lies in memory that was exposed.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/exposure.h"
#include "fabric/rdma/hello.h"
#include "fabric/tcp/frame.h"

#define PAGE 4096u
#define GRANULE (4 * PAGE)
#define REGION (10 * PAGE) /* two granules and a half */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* only an address, never touched; its second granule is not exposed */
static uint8_t *const memory = (uint8_t *)(uintptr_t)0x100000;

static const struct exposure *fuzz_exposure(void)
{
	static const struct fabric_sink_opts opts = {
		.regions = 1,
		.region_length = { REGION },
		.granule_size = { GRANULE },
	};
	static struct exposure exposure;

	if (exposure.regions == 0) {
		int rc = exposure_init(&exposure, &opts, NULL);

		rc = rc ? rc : exposure_add(&exposure, 0, 0, GRANULE, memory, NULL);
		rc = rc ? rc
			: exposure_add(&exposure, 0, 2 * GRANULE, REGION - 2 * GRANULE, memory + 2 * GRANULE,
				       NULL);
		if (rc < 0)
			abort();
	}
	return &exposure;
}

static void fuzz_runs(const struct frame_head *head, const uint8_t *bytes, size_t length)
{
	static struct frame_run runs[FRAME_RUNS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t total = 0;

	if (length < (size_t)head->count * FRAME_RUN_SIZE)
		return;
	if (frame_runs_decode(head, runs, bytes, &err) < 0) {
		assert(err.code < 0 && err.msg[0] != '\0');
		return;
	}
	for (uint32_t i = 0; i < head->count; i++) {
		uint8_t encoded[FRAME_RUN_SIZE];
		void *to;

		frame_run_encode(&runs[i], encoded);
		assert(memcmp(encoded, bytes + (size_t)i * FRAME_RUN_SIZE, sizeof(encoded)) == 0);
		total += runs[i].length;
		if (exposure_find(fuzz_exposure(), runs[i].region, runs[i].offset, runs[i].length, &to, &err) < 0)
			continue;
		assert(to == memory + runs[i].offset && runs[i].offset + runs[i].length <= REGION);
		assert(runs[i].offset / GRANULE != 1);
		assert((runs[i].offset + runs[i].length - 1) / GRANULE == runs[i].offset / GRANULE);
	}
	assert(total == head->value && total <= FRAME_BYTES_MAX);
}

static void fuzz_hello(const uint8_t *bytes, size_t length)
{
	uint8_t encoded[FRAME_HELLO_SIZE];
	struct frame_hello hello;

	if (length < FRAME_HELLO_SIZE || frame_hello_decode(&hello, bytes, NULL) < 0)
		return;
	frame_hello_encode(&hello, encoded);
	assert(memcmp(encoded, bytes, sizeof(encoded)) == 0);
}

/* What follows is padding of the connection manager's. */
static void fuzz_private_data(const uint8_t *bytes, size_t length)
{
	uint8_t encoded[REFUSAL_SIZE];
	struct welcome welcome;
	struct hello hello;
	struct refused refused;

	if (hello_decode(&hello, bytes, length) == 0) {
		hello_encode(&hello, encoded);
		assert(length >= HELLO_SIZE && memcmp(encoded, bytes, HELLO_SIZE) == 0);
	}
	if (welcome_decode(&welcome, bytes, length) == 0) {
		welcome_encode(&welcome, encoded);
		assert(length >= WELCOME_SIZE && memcmp(encoded, bytes, WELCOME_SIZE) == 0);
	}
	if (refusal_decode(&refused, bytes, length) != REFUSAL_NONE) {
		refusal_encode(&refused, encoded);
		assert(length >= REFUSAL_SIZE && memcmp(encoded, bytes, REFUSAL_SIZE) == 0);
		assert(refusal_str(refused.why)[0] != '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decant_error err = DECANT_ERROR_INIT;
	uint8_t encoded[FRAME_HEAD_SIZE];
	struct frame_head head;

	fuzz_private_data(data, size);
	if (size < FRAME_HEAD_SIZE)
		return 0;
	if (frame_head_decode(&head, data, &err) < 0) {
		assert(err.code < 0 && err.msg[0] != '\0');
		return 0;
	}
	frame_head_encode(&head, encoded);
	assert(memcmp(encoded, data, sizeof(encoded)) == 0);
	assert(strcmp(frame_strtype(head.type), "?") != 0);
	if (head.type == FRAME_WRITES)
		fuzz_runs(&head, data + FRAME_HEAD_SIZE, size - FRAME_HEAD_SIZE);
	if (head.type == FRAME_HELLO)
		fuzz_hello(data + FRAME_HEAD_SIZE, size - FRAME_HEAD_SIZE);
	if (head.type == FRAME_REFUSED)
		assert(strcmp(frame_strrefusal(head.value), "?") != 0);
	return 0;
}
