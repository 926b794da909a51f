/* SPDX-License-Identifier: BSD-2-Clause */
/* layout.h -- sizes of the encoded messages (docs/protocol.md), and that all of them fit where they must */
#ifndef WIRE_LAYOUT_H
#define WIRE_LAYOUT_H

#include "wire/wire.h"

#include <assert.h>

/* errno values of Linux end here */
#define WIRE_ERRNO_MAX 4095u

/* messages of fixed size, bytes of payload */
enum wire_size {
	WIRE_HELLO_SIZE = 120,
	WIRE_PREPARED_SIZE = 16,
	WIRE_BARRIER_ACK_SIZE = 16,
	WIRE_FENCE_SIZE = 8,
	WIRE_VERIFIED_SIZE = 24,
	WIRE_HANDOVER_SIZE = 24,
	WIRE_READY_SIZE = 24,
	WIRE_RUNNING_SIZE = 16,
	WIRE_STATUS_SIZE = 8,
	WIRE_PING_SIZE = 8,
	WIRE_PONG_SIZE = 24,
	WIRE_VERDICT_SIZE = 184,
	WIRE_CHALLENGE_SIZE = 32,
	WIRE_PROOF_SIZE = 64,
	WIRE_PROVED_SIZE = 32,
};

/* heads of the others, and what follows as often as the head says */
enum wire_head_size {
	WIRE_WELCOME_HEAD = 48,
	WIRE_RAIL_SIZE = 64,
	WIRE_ERROR_HEAD = 8,
	WIRE_REGIONS_HEAD = 8,
	WIRE_REGION_SIZE = 56,
	WIRE_CHUNK_HEAD = 16,
	WIRE_OPEN_HEAD = 32,
	WIRE_RAIL_INDEX_SIZE = 4,
	WIRE_OPENED_HEAD = 16,
	WIRE_REGISTER_HEAD = 16,
	WIRE_RANGE_SIZE = 16,
	WIRE_GRANT_HEAD = 24,
	WIRE_LOST_HEAD = 16,
	WIRE_MESSAGE_HEAD = 8,
	WIRE_PAGES_HEAD = 16,
	WIRE_HASHES_HEAD = 16,
};

static_assert(WIRE_HEADER_SIZE == 4 + 2 + 2 + 4 + 4, "the header");
static_assert(WIRE_HELLO_SIZE == 3 * 2 + 2 + 8 + 16 + 16 + 4 + 4 + WIRE_NAME_MAX, "HELLO");
static_assert(WIRE_WELCOME_HEAD == 2 + 2 + 4 + 8 + 16 + 4 + 4 + 8, "WELCOME");
static_assert(WIRE_RAIL_SIZE == WIRE_DEVICE_MAX + 4 * 2 + 4 + 4 + 16, "a rail of WELCOME");
static_assert(WIRE_REGION_SIZE == WIRE_REGION_NAME_MAX + 3 * 8, "a region of REGIONS");
static_assert(WIRE_OPEN_HEAD == 8 + 4 + 4 + WIRE_FABRIC_MAX, "OPEN");
static_assert(WIRE_VERDICT_SIZE == 4 + 4 + 8 + 8 + 160, "VERDICT");
static_assert(WIRE_PROOF_SIZE == WIRE_NONCE_SIZE + WIRE_MAC_SIZE, "PROOF");

#define WIRE_FITS(head, count, size) ((head) + (count) * (size) <= WIRE_PAYLOAD_MAX)
static_assert(WIRE_FITS(WIRE_ERROR_HEAD, WIRE_TEXT_MAX, 1), "ERROR");
static_assert(WIRE_FITS(WIRE_REGIONS_HEAD, WIRE_REGIONS_MAX, WIRE_REGION_SIZE), "REGIONS");
static_assert(WIRE_FITS(WIRE_CHUNK_HEAD, WIRE_CHUNK_MAX, 1), "SHAPE, STATE");
static_assert(WIRE_FITS(WIRE_PAGES_HEAD, WIRE_CHUNK_MAX, 1), "PAGES");
static_assert(WIRE_FITS(WIRE_GRANT_HEAD, WIRE_KEYS_MAX, 8), "GRANT");
static_assert(WIRE_FITS(WIRE_HASHES_HEAD, WIRE_HASHES_MAX, 8), "HASHES");
static_assert(WIRE_REGISTER_HEAD + WIRE_RANGES_MAX * WIRE_RANGE_SIZE <= WIRE_HEAD_MAX, "REGISTER");
static_assert(WIRE_REGIONS_HEAD + WIRE_REGIONS_MAX * WIRE_REGION_SIZE <= WIRE_HEAD_MAX, "REGIONS");
static_assert(WIRE_OPENED_HEAD + WIRE_CHANNELS_MAX * 2 * WIRE_TOKEN_SIZE + WIRE_ADDRESS_MAX <= WIRE_HEAD_MAX,
	      "OPENED");
static_assert(WIRE_WELCOME_HEAD + WIRE_RAILS_MAX * WIRE_RAIL_SIZE + 4 + WIRE_WHY_MAX <= WIRE_WELCOME_MAX,
	      "WELCOME");
static_assert(WIRE_OPEN_HEAD + WIRE_PAIRS_MAX * WIRE_RAIL_INDEX_SIZE <= WIRE_HEAD_MAX, "OPEN");
static_assert(WIRE_FITS(WIRE_LOST_HEAD, WIRE_TEXT_MAX, 1), "LOST");
static_assert(WIRE_FITS(WIRE_MESSAGE_HEAD, WIRE_MESSAGE_MAX, 1), "MESSAGE");
static_assert(WIRE_HEAD_MAX <= WIRE_PAYLOAD_MAX, "a head is a payload");

/*
 * Defines wire_<name>_encode() and _decode() from `static void <name>_fields(struct cursor *, struct wire_<name> *)`.
 * A writing cursor only reads the message: see cursor.h.
 */
#define WIRE_DEFINE(name, text)                                                                      \
	int wire_##name##_encode(const struct wire_##name *message, uint8_t *bytes, size_t capacity) \
	{                                                                                            \
		struct cursor cursor = cursor_writer(text, bytes, capacity);                         \
                                                                                                     \
		name##_fields(&cursor, (struct wire_##name *)message);                               \
		return cursor_write_end(&cursor);                                                    \
	}                                                                                            \
	int wire_##name##_decode(struct wire_##name *message, const uint8_t *bytes, size_t length,   \
				 struct decant_error *err)                                           \
	{                                                                                            \
		struct cursor cursor = cursor_reader(text, bytes, length, err);                      \
                                                                                                     \
		name##_fields(&cursor, message);                                                     \
		return cursor_read_end(&cursor);                                                     \
	}

#endif
