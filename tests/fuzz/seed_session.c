/* SPDX-License-Identifier: BSD-2-Clause */
/* seed_session.c -- sessions of its small VM, in the steps of fuzz_session: whole, cut short, and of other purposes */
#include "fuzz/seed.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <decant/state.h>

#include "fabric/tcp/frame.h"
#include "wire/wire.h"

#define STEP_RAW 0x40
#define STEP_CHANNEL 0x41
#define STEP_DATA 0x42
#define STEP_KNOCK 0x43
#define PAGE 4096u
#define MEMORY (64 * PAGE)

static uint8_t steps[1 << 16];
static size_t used;

static void step(uint8_t what, const void *head, int head_length, const void *data, size_t length)
{
	const size_t whole = (size_t)head_length + length;

	if (head_length < 0 || whole > UINT16_MAX || used + 3 + whole > sizeof(steps))
		return;
	steps[used++] = what;
	steps[used++] = (uint8_t)whole;
	steps[used++] = (uint8_t)(whole >> 8);
	memcpy(steps + used, head, (size_t)head_length);
	if (length > 0)
		memcpy(steps + used + head_length, data, length);
	used += whole;
}

static void step_hello(uint16_t purpose)
{
	const struct wire_hello hello = { .version_min = WIRE_VERSION_MIN,
					  .version_max = WIRE_VERSION_MAX,
					  .purpose = purpose,
					  .features = 3,
					  .name = "fuzz" };
	uint8_t bytes[256] = { 0 };

	step(WIRE_HELLO, bytes, wire_hello_encode(&hello, bytes, sizeof(bytes)), NULL, 0);
}

static int step_list(uint8_t type, const char *record)
{
	struct wire_chunk chunk = { 0 };
	struct decant_state_writer *writer;
	uint8_t bytes[64] = { 0 };
	const void *list;
	size_t length;
	int rc = decant_state_writer_new(&writer, NULL);

	if (rc < 0)
		return rc;
	rc = decant_state_put(writer, record, 0, 1, "as it is", 8, NULL);
	list = decant_state_writer_bytes(writer, &length);
	chunk.total = chunk.length = (uint32_t)length;
	step(type, bytes, wire_chunk_encode(&chunk, bytes, sizeof(bytes)), list, length);
	decant_state_writer_free(writer);
	return rc;
}

static int step_vm(void)
{
	struct wire_regions regions = { .count = 1 };
	uint8_t bytes[256] = { 0 };

	snprintf(regions.region[0].name, sizeof(regions.region[0].name), "ram");
	regions.region[0].length = MEMORY;
	regions.region[0].page_size = PAGE;
	step(WIRE_REGIONS, bytes, wire_regions_encode(&regions, bytes, sizeof(bytes)), NULL, 0);
	return step_list(WIRE_SHAPE, "fuzz.shape");
}

static void step_data(void)
{
	const struct wire_open open = { .epoch = 1, .channels = 1, .fabric = "tcp" };
	const struct wire_register reg = { .epoch = 1, .count = 1, .range[0].count = 1 };
	const struct frame_head writes = { .type = FRAME_WRITES, .count = 1, .value = PAGE };
	const struct frame_head barrier = { .type = FRAME_BARRIER, .value = 1 };
	const struct frame_run run = { .length = PAGE };
	uint8_t bytes[256] = { 0 }, frame[FRAME_HEAD_SIZE + FRAME_RUN_SIZE + PAGE] = { 0 };

	step(WIRE_OPEN, bytes, wire_open_encode(&open, bytes, sizeof(bytes)), NULL, 0);
	step(STEP_KNOCK, "GET / HTTP/1.1\r\n\r\n", 18, NULL, 0);
	step(STEP_CHANNEL, "", 1, NULL, 0);
	step(WIRE_REGISTER, bytes, wire_register_encode(&reg, bytes, sizeof(bytes)), NULL, 0);
	frame_head_encode(&writes, frame);
	frame_run_encode(&run, frame + FRAME_HEAD_SIZE);
	step(STEP_DATA, frame, sizeof(frame), NULL, 0);
	frame_head_encode(&barrier, bytes);
	step(STEP_DATA, bytes, FRAME_HEAD_SIZE, NULL, 0);
}

static void step_end(void)
{
	const struct wire_handover handover = { .clock_error_ns = 1 };
	uint8_t bytes[64] = { 0 };

	step(WIRE_VERIFY, "", 0, NULL, 0);
	step(WIRE_HANDOVER, bytes, wire_handover_encode(&handover, bytes, sizeof(bytes)), NULL, 0);
	step(WIRE_GO, "", 0, NULL, 0);
	step(WIRE_VERDICT_ASK, "", 0, NULL, 0);
	step(WIRE_BYE, "", 0, NULL, 0);
}

static int seed_steps(const char *name)
{
	const int rc = seed_write("fuzz_session", name, steps, used);

	used = 0;
	return rc;
}

static int seed_migration(int parts)
{
	char name[16];
	int rc;

	step_hello(WIRE_PURPOSE_MIGRATE);
	rc = step_vm();
	if (parts >= 2)
		step_data();
	if (parts >= 3 && rc == 0)
		rc = step_list(WIRE_STATE, "fuzz.state");
	if (parts >= 4)
		step_end();
	snprintf(name, sizeof(name), "migration-%d", parts);
	return rc < 0 ? rc : seed_steps(name);
}

int seed_sessions(void)
{
	int rc = 0;

	for (int parts = 1; rc == 0 && parts <= 4; parts++)
		rc = seed_migration(parts);
	step_hello(WIRE_PURPOSE_QUERY);
	rc = rc < 0 ? rc : seed_steps("query");
	step_hello(WIRE_PURPOSE_PUSH);
	rc = rc < 0 ? rc : seed_steps("push");
	step(STEP_RAW, "SSH-2.0-OpenSSH_9.2\r\n", 21, NULL, 0);
	return rc < 0 ? rc : seed_steps("stranger");
}
