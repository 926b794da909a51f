/* SPDX-License-Identifier: BSD-2-Clause */
/* session.c -- messages that open, keep alive and end a session */
#include "wire/cursor.h"
#include "wire/layout.h"

#include <errno.h>

static void hello_fields(struct cursor *cursor, struct wire_hello *hello)
{
	cursor_u16(cursor, "version_min", &hello->version_min);
	cursor_u16(cursor, "version_max", &hello->version_max);
	cursor_check(cursor, hello->version_min >= 1 && hello->version_min <= hello->version_max, "versions",
		     "no range");
	cursor_u16(cursor, "purpose", &hello->purpose);
	cursor_check(cursor, hello->purpose >= WIRE_PURPOSE_MIGRATE && hello->purpose <= WIRE_PURPOSE_QUERY,
		     "purpose", "unknown in this version");
	cursor_reserved(cursor, 2);
	cursor_u64(cursor, "features", &hello->features);
	cursor_bytes(cursor, "id", hello->id, sizeof(hello->id));
	cursor_bytes(cursor, "boot_id", hello->boot_id, sizeof(hello->boot_id));
	cursor_u32(cursor, "pid", &hello->pid);
	cursor_reserved(cursor, 4);
	cursor_name(cursor, "name", hello->name, sizeof(hello->name));
}

/* The range of versions comes before anything that may differ in a version this build does not know. */
static int hello_check_version(const uint8_t *bytes, size_t length, struct decant_error *err)
{
	struct cursor cursor = cursor_reader("HELLO", bytes, length, err);
	uint16_t min, max;

	cursor_u16(&cursor, "version_min", &min);
	cursor_u16(&cursor, "version_max", &max);
	if (cursor.rc < 0)
		return cursor.rc;
	if (min > WIRE_VERSION_MAX || max < WIRE_VERSION_MIN)
		return decant_error_set(err, -EPROTO,
					"HELLO: version: the source speaks %u to %u, the destination %u to %u; "
					"bring both ends to releases that share one",
					min, max, WIRE_VERSION_MIN, WIRE_VERSION_MAX);
	return 0;
}

int wire_hello_encode(const struct wire_hello *message, uint8_t *bytes, size_t capacity)
{
	struct cursor cursor = cursor_writer("HELLO", bytes, capacity);

	hello_fields(&cursor, (struct wire_hello *)message);
	return cursor_write_end(&cursor);
}

int wire_hello_decode(struct wire_hello *message, const uint8_t *bytes, size_t length, struct decant_error *err)
{
	struct cursor cursor = cursor_reader("HELLO", bytes, length, err);
	const int rc = hello_check_version(bytes, length, err);

	if (rc < 0)
		return rc;
	hello_fields(&cursor, message);
	return cursor_read_end(&cursor);
}

static void rail_fields(struct cursor *cursor, struct wire_rail *rail)
{
	uint8_t rest = 0;

	cursor_name(cursor, "rail device", rail->device, sizeof(rail->device));
	cursor_check(cursor, rail->device[0] != '\0', "rail device", "empty");
	cursor_u16(cursor, "rail family", &rail->family);
	cursor_check(cursor, rail->family == 4 || rail->family == 6, "rail family", "neither 4 nor 6");
	cursor_u16(cursor, "rail port", &rail->port);
	cursor_check(cursor, rail->port >= 1 && rail->port <= UINT8_MAX, "rail port", "beyond its limits");
	cursor_u16(cursor, "rail flags", &rail->flags);
	cursor_check(cursor, (rail->flags & ~WIRE_RAIL_SOFTWARE) == 0, "rail flags", "unknown in this version");
	cursor_u16(cursor, "rail numa_node", &rail->numa_node);
	cursor_u32(cursor, "rail speed_mbps", &rail->speed_mbps);
	cursor_reserved(cursor, 4);
	cursor_bytes(cursor, "rail address", rail->address, sizeof(rail->address));
	for (size_t i = 4; rail->family == 4 && i < sizeof(rail->address); i++)
		rest |= rail->address[i];
	cursor_check(cursor, rest == 0, "rail address", "more than IPv4");
}

static void welcome_rails(struct cursor *cursor, struct wire_welcome *welcome)
{
	for (uint32_t i = 0; cursor->rc == 0 && i < welcome->rails; i++)
		rail_fields(cursor, &welcome->rail[i]);
	cursor_counted_text(cursor, "why", welcome->why, sizeof(welcome->why));
	cursor_check(cursor, welcome->rails == 0 || welcome->why[0] == '\0', "why", "there are rails");
}

static void welcome_fields(struct cursor *cursor, struct wire_welcome *welcome)
{
	cursor_u16(cursor, "version", &welcome->version);
	cursor_check(cursor, welcome->version >= WIRE_VERSION_MIN && welcome->version <= WIRE_VERSION_MAX,
		     "version", "none that was offered");
	cursor_reserved(cursor, 2);
	cursor_u32(cursor, "pid", &welcome->pid);
	cursor_u64(cursor, "features", &welcome->features);
	cursor_bytes(cursor, "boot_id", welcome->boot_id, sizeof(welcome->boot_id));
	cursor_u32(cursor, "lease_ms", &welcome->lease_ms);
	cursor_check(cursor, welcome->lease_ms <= WIRE_LEASE_MS_MAX, "lease_ms", "beyond its limit");
	cursor_u32(cursor, "rails", &welcome->rails);
	cursor_check(cursor, welcome->rails <= WIRE_RAILS_MAX, "rails", "beyond their limit");
	cursor_u64(cursor, "max_memory", &welcome->max_memory);
	if (welcome->features & WIRE_FEATURE_RDMA)
		welcome_rails(cursor, welcome);
	else
		cursor_check(cursor, welcome->rails == 0, "rails", "without the feature");
}
WIRE_DEFINE(welcome, "WELCOME")

static void error_fields(struct cursor *cursor, struct wire_error *error)
{
	cursor_u32(cursor, "code", &error->code);
	cursor_check(cursor, error->code >= 1 && error->code <= WIRE_ERRNO_MAX, "code", "no errno");
	cursor_counted_text(cursor, "text", error->text, sizeof(error->text));
}
WIRE_DEFINE(error, "ERROR or ABORT")

static void challenge_fields(struct cursor *cursor, struct wire_challenge *challenge)
{
	cursor_bytes(cursor, "nonce", challenge->nonce, sizeof(challenge->nonce));
}
WIRE_DEFINE(challenge, "CHALLENGE")

static void proof_fields(struct cursor *cursor, struct wire_proof *proof)
{
	cursor_bytes(cursor, "nonce", proof->nonce, sizeof(proof->nonce));
	cursor_bytes(cursor, "mac", proof->mac, sizeof(proof->mac));
}
WIRE_DEFINE(proof, "PROOF")

static void proved_fields(struct cursor *cursor, struct wire_proved *proved)
{
	cursor_bytes(cursor, "mac", proved->mac, sizeof(proved->mac));
}
WIRE_DEFINE(proved, "PROVED")

static void status_fields(struct cursor *cursor, struct wire_status *status)
{
	cursor_u32(cursor, "fate", &status->fate);
	cursor_check(cursor, status->fate <= WIRE_FATE_NEVER, "fate", "unknown in this version");
	cursor_reserved(cursor, 4);
}
WIRE_DEFINE(status, "STATUS")

static void ping_fields(struct cursor *cursor, struct wire_ping *ping)
{
	cursor_u64(cursor, "sent_ns", &ping->sent_ns);
}
WIRE_DEFINE(ping, "PING")

static void pong_fields(struct cursor *cursor, struct wire_pong *pong)
{
	cursor_u64(cursor, "ping_sent_ns", &pong->ping_sent_ns);
	cursor_u64(cursor, "received_ns", &pong->received_ns);
	cursor_u64(cursor, "sent_ns", &pong->sent_ns);
}
WIRE_DEFINE(pong, "PONG")

int wire_empty_decode(uint16_t type, size_t length, struct decant_error *err)
{
	if (length == 0)
		return 0;
	return decant_error_set(err, -EPROTO, "%s: %zu bytes where none belong", wire_strtype(type), length);
}
