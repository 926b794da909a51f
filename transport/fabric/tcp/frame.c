/* SPDX-License-Identifier: BSD-2-Clause */
/* frame.c -- encode and decode the frames of a TCP data channel */
#include "fabric/tcp/frame.h"

#include <assert.h>
#include <decant/memory.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The layouts on the wire. Multi-byte fields hold little-endian values. */
struct frame_head_wire {
	uint32_t magic;
	uint16_t type;
	uint16_t count;
	uint64_t value;
};
static_assert(sizeof(struct frame_head_wire) == FRAME_HEAD_SIZE, "a frame's head");

struct frame_run_wire {
	uint32_t region;
	uint32_t length;
	uint64_t offset;
};
static_assert(sizeof(struct frame_run_wire) == FRAME_RUN_SIZE, "a run descriptor");

struct frame_hello_wire {
	uint16_t version;
	uint16_t channel;
	uint32_t reserved;
	uint64_t epoch;
	uint8_t token[FABRIC_TOKEN_SIZE];
};
static_assert(sizeof(struct frame_hello_wire) == FRAME_HELLO_SIZE, "a hello");

static const char *const frame_names[] = {
	[FRAME_HELLO] = "HELLO",   [FRAME_OK] = "OK",           [FRAME_REFUSED] = "REFUSED",
	[FRAME_WRITES] = "WRITES", [FRAME_BARRIER] = "BARRIER", [FRAME_MESSAGE] = "MESSAGE",
	[FRAME_CREDIT] = "CREDIT", [FRAME_BYE] = "BYE",
};
static_assert(sizeof(frame_names) / sizeof(frame_names[0]) == FRAME_TYPE_MAX + 1, "a name per type");

static const char *const frame_refusals[] = {
	[FRAME_REFUSED_VERSION] = "it does not speak our version of the data channels",
	[FRAME_REFUSED_EPOCH] = "the epoch is another",
	[FRAME_REFUSED_CHANNEL] = "there is no such channel, or it is connected already",
	[FRAME_REFUSED_TOKEN] = "the token is wrong",
	[FRAME_REFUSED_EXPIRED] = "it comes too late: the tokens have expired",
};
static_assert(sizeof(frame_refusals) / sizeof(frame_refusals[0]) == FRAME_REFUSED_MAX + 1, "a text per refusal");

/* What value may be. HELLO and BYE have one that is fixed, BARRIER any. */
static const struct {
	uint64_t min, max;
} frame_limits[] = {
	[FRAME_HELLO] = { FRAME_HELLO_SIZE, FRAME_HELLO_SIZE },
	[FRAME_OK] = { 0, FRAME_CREDITS_MAX },
	[FRAME_REFUSED] = { FRAME_REFUSED_VERSION, FRAME_REFUSED_MAX },
	[FRAME_WRITES] = { DECANT_PAGE_SIZE, FRAME_BYTES_MAX },
	[FRAME_BARRIER] = { 0, UINT64_MAX },
	[FRAME_MESSAGE] = { 0, FABRIC_MESSAGE_MAX },
	[FRAME_CREDIT] = { 1, FRAME_CREDITS_MAX },
	[FRAME_BYE] = { 0, 0 },
};
static_assert(sizeof(frame_limits) / sizeof(frame_limits[0]) == FRAME_TYPE_MAX + 1, "limits per type");

const char *frame_strtype(uint16_t type)
{
	return type >= FRAME_HELLO && type <= FRAME_TYPE_MAX ? frame_names[type] : "?";
}

const char *frame_strrefusal(uint64_t refusal)
{
	return refusal >= FRAME_REFUSED_VERSION && refusal <= FRAME_REFUSED_MAX ? frame_refusals[refusal] : "?";
}

void frame_head_encode(const struct frame_head *head, uint8_t bytes[FRAME_HEAD_SIZE])
{
	const struct frame_head_wire wire = {
		.magic = htole32(FRAME_MAGIC),
		.type = htole16(head->type),
		.count = htole16(head->count),
		.value = htole64(head->value),
	};

	memcpy(bytes, &wire, sizeof(wire));
}

int frame_head_decode(struct frame_head *head, const uint8_t bytes[FRAME_HEAD_SIZE], struct decant_error *err)
{
	struct frame_head_wire wire;

	memcpy(&wire, bytes, sizeof(wire));
	head->type = le16toh(wire.type);
	head->count = le16toh(wire.count);
	head->value = le64toh(wire.value);
	if (le32toh(wire.magic) != FRAME_MAGIC)
		return decant_error_set(err, -EPROTO, "frame: magic %#010" PRIx32 " instead of %#010x",
					le32toh(wire.magic), FRAME_MAGIC);
	if (head->type < FRAME_HELLO || head->type > FRAME_TYPE_MAX)
		return decant_error_set(err, -EPROTO, "frame: there is no type %u", head->type);
	if (head->value < frame_limits[head->type].min || head->value > frame_limits[head->type].max)
		return decant_error_set(err, -EPROTO, "%s frame: value %" PRIu64 " is not within its limits",
					frame_strtype(head->type), head->value);
	if (head->type == FRAME_WRITES ? head->count == 0 || head->count > FRAME_RUNS_MAX : head->count != 0)
		return decant_error_set(err, -EPROTO, "%s frame: %u runs", frame_strtype(head->type), head->count);
	return 0;
}

void frame_run_encode(const struct frame_run *run, uint8_t bytes[FRAME_RUN_SIZE])
{
	const struct frame_run_wire wire = {
		.region = htole32(run->region),
		.length = htole32(run->length),
		.offset = htole64(run->offset),
	};

	memcpy(bytes, &wire, sizeof(wire));
}

int frame_runs_decode(const struct frame_head *head, struct frame_run *runs, const uint8_t *bytes,
		      struct decant_error *err)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < head->count; i++) {
		struct frame_run_wire wire;

		memcpy(&wire, bytes + (size_t)i * FRAME_RUN_SIZE, sizeof(wire));
		runs[i].region = le32toh(wire.region);
		runs[i].length = le32toh(wire.length);
		runs[i].offset = le64toh(wire.offset);
		if (runs[i].length == 0 || runs[i].length % DECANT_PAGE_SIZE != 0 ||
		    runs[i].offset % DECANT_PAGE_SIZE != 0)
			return decant_error_set(err, -EPROTO,
						"WRITES frame: run %" PRIu32 ": offset %#" PRIx64
						" length %#" PRIx32 ": not whole pages",
						i, runs[i].offset, runs[i].length);
		total += runs[i].length;
	}
	if (total != head->value)
		return decant_error_set(err, -EPROTO,
					"WRITES frame: %" PRIu64 " bytes in runs, %" PRIu64 " in the head", total,
					head->value);
	return 0;
}

void frame_hello_encode(const struct frame_hello *hello, uint8_t bytes[FRAME_HELLO_SIZE])
{
	struct frame_hello_wire wire = {
		.version = htole16(hello->version),
		.channel = htole16(hello->channel),
		.epoch = htole64(hello->epoch),
	};

	memcpy(wire.token, hello->token, sizeof(wire.token));
	memcpy(bytes, &wire, sizeof(wire));
}

int frame_hello_decode(struct frame_hello *hello, const uint8_t bytes[FRAME_HELLO_SIZE], struct decant_error *err)
{
	struct frame_hello_wire wire;

	memcpy(&wire, bytes, sizeof(wire));
	if (wire.reserved != 0)
		return decant_error_set(err, -EPROTO, "HELLO frame: reserved bytes are not 0");
	hello->version = le16toh(wire.version);
	hello->channel = le16toh(wire.channel);
	hello->epoch = le64toh(wire.epoch);
	memcpy(hello->token, wire.token, sizeof(hello->token));
	return 0;
}
