/* SPDX-License-Identifier: BSD-2-Clause */
/* header.c -- the 16 bytes before every message */
#include "util/trace.h"
#include "wire/cursor.h"
#include "wire/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const wire_type_names[] = {
	[WIRE_HELLO] = "HELLO",
	[WIRE_WELCOME] = "WELCOME",
	[WIRE_ERROR] = "ERROR",
	[WIRE_REGIONS] = "REGIONS",
	[WIRE_SHAPE] = "SHAPE",
	[WIRE_PREPARED] = "PREPARED",
	[WIRE_OPEN] = "OPEN",
	[WIRE_OPENED] = "OPENED",
	[WIRE_REGISTER] = "REGISTER",
	[WIRE_GRANT] = "GRANT",
	[WIRE_BARRIER_ACK] = "BARRIER_ACK",
	[WIRE_FENCE] = "FENCE",
	[WIRE_FENCED] = "FENCED",
	[WIRE_PAGES] = "PAGES",
	[WIRE_STATE] = "STATE",
	[WIRE_HASHES] = "HASHES",
	[WIRE_VERIFY] = "VERIFY",
	[WIRE_VERIFIED] = "VERIFIED",
	[WIRE_HANDOVER] = "HANDOVER",
	[WIRE_READY] = "READY",
	[WIRE_GO] = "GO",
	[WIRE_RUNNING] = "RUNNING",
	[WIRE_STATUS] = "STATUS",
	[WIRE_PING] = "PING",
	[WIRE_PONG] = "PONG",
	[WIRE_ABORT] = "ABORT",
	[WIRE_VERDICT_ASK] = "VERDICT_ASK",
	[WIRE_VERDICT] = "VERDICT",
	[WIRE_BYE] = "BYE",
	[WIRE_LOST] = "LOST",
	[WIRE_CHALLENGE] = "CHALLENGE",
	[WIRE_PROOF] = "PROOF",
	[WIRE_PROVED] = "PROVED",
	[WIRE_MESSAGE] = "MESSAGE",
};
static_assert(sizeof(wire_type_names) / sizeof(wire_type_names[0]) == WIRE_TYPE_MAX + 1, "a name for each type");

/* how other protocols that people point decant at begin */
static const struct {
	const char *bytes;
	size_t length;
	const char *who;
} wire_strangers[] = {
	{ "HTTP/", 5, "an HTTP server" },
	{ "GET ", 4, "an HTTP client" },
	{ "POST ", 5, "an HTTP client" },
	{ "HEAD ", 5, "an HTTP client" },
	{ "PRI * HTTP/2", 12, "an HTTP/2 client" },
	{ "SSH-", 4, "SSH" },
	{ "\x16\x03", 2, "TLS" },
	{ "\x15\x03", 2, "TLS" },
	{ "QEVM", 4, "a QEMU migration stream" },
	{ "{\"QMP\"", 6, "a QEMU monitor (QMP)" },
	{ "RFB ", 4, "a VNC server" },
	{ "220 ", 4, "an SMTP or FTP server" },
};

const char *wire_strtype(uint16_t type)
{
	return type >= WIRE_HELLO && type <= WIRE_TYPE_MAX ? wire_type_names[type] : "?";
}

static void header_fields(struct cursor *cursor, struct wire_header *header)
{
	uint32_t magic = WIRE_MAGIC;

	cursor_u32(cursor, "magic", &magic);
	cursor_check(cursor, magic == WIRE_MAGIC, "magic", "not decant's");
	cursor_u16(cursor, "type", &header->type);
	cursor_check(cursor, header->type >= WIRE_HELLO && header->type <= WIRE_TYPE_MAX, "type",
		     "unknown in this version");
	cursor_u16(cursor, "flags", &header->flags);
	cursor_check(cursor, header->flags == 0, "flags", "not 0");
	cursor_u32(cursor, "length", &header->length);
	cursor_check(cursor, header->length <= WIRE_PAYLOAD_MAX, "length", "beyond the limit");
	cursor_u32(cursor, "sequence", &header->sequence);
}

static const char *header_stranger(const uint8_t *bytes)
{
	for (size_t i = 0; i < sizeof(wire_strangers) / sizeof(wire_strangers[0]); i++)
		if (memcmp(bytes, wire_strangers[i].bytes, wire_strangers[i].length) == 0)
			return wire_strangers[i].who;
	return NULL;
}

static int header_refuse(const uint8_t *bytes, struct decant_error *err)
{
	char shown[4 * WIRE_HEADER_SIZE + 1];
	const char *who = header_stranger(bytes);
	size_t n = 0;

	for (size_t i = 0; i < WIRE_HEADER_SIZE; i++) {
		const bool plain = bytes[i] >= ' ' && bytes[i] <= '~' && bytes[i] != '\\' && bytes[i] != '"';

		n += (size_t)snprintf(shown + n, sizeof(shown) - n, plain ? "%c" : "\\x%02x", bytes[i]);
	}
	if (who != NULL)
		return decant_error_set(err, -EPROTO,
					"the peer is no decant: it speaks like %s (\"%s\"); check host and port",
					who, shown);
	return decant_error_set(err, -EPROTO, "the peer is no decant: it begins with \"%s\"; check host and port",
				shown);
}

int wire_header_encode(const struct wire_header *header, uint8_t *bytes, size_t capacity)
{
	struct cursor cursor = cursor_writer("header", bytes, capacity);

	header_fields(&cursor, (struct wire_header *)header);
	DECANT_TRACE(header_encode, header->type, header->length, header->sequence);
	return cursor_write_end(&cursor);
}

int wire_header_decode(struct wire_header *header, const uint8_t *bytes, struct decant_error *err)
{
	struct cursor cursor = cursor_reader("header", bytes, WIRE_HEADER_SIZE, err);
	struct cursor first = cursor_reader("header", bytes, WIRE_HEADER_SIZE, NULL);
	uint32_t magic;

	cursor_u32(&first, "magic", &magic);
	if (magic != WIRE_MAGIC)
		return header_refuse(bytes, err);
	header_fields(&cursor, header);
	if (cursor.rc == 0)
		DECANT_TRACE(header_decode, header->type, header->length, header->sequence);
	return cursor_read_end(&cursor);
}
