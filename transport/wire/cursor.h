/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cursor.h -- walks the bytes of one message, in either direction
 *
 * Theory of operation
 * -------------------
 * Each message is described once, by a function that names its fields in the order of the wire. Run with a reading cursor it
 * decodes, with a writing one it encodes, so the two cannot disagree, and every limit holds for both.
 *
 * The first thing that is wrong sticks: it is reported by the end call, later fields are not touched on the wire, and read
 * as 0, so that a loop over a count that could not be read ends at once.
 *
 * A writing cursor only reads the message, which is why the encoders may cast its const away.
 */
#ifndef WIRE_CURSOR_H
#define WIRE_CURSOR_H

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	/* set at the begin, read-only after */
	bool writes;
	uint8_t *to;         /* writing */
	const uint8_t *from; /* reading */
	size_t length;       /* of the payload, or the capacity */
	const char *message; /* "HELLO" */
	struct decant_error *err;

	size_t at;
	int rc; /* -EPROTO or -EMSGSIZE once something was wrong */
};

struct cursor cursor_reader(const char *message, const uint8_t *bytes, size_t length, struct decant_error *err);
struct cursor cursor_writer(const char *message, uint8_t *bytes, size_t capacity);

/* cursor_read_end() -- 0, or what went wrong; bytes left over are wrong too */
int cursor_read_end(struct cursor *cursor);

/* cursor_write_end() -- the bytes written, or -EMSGSIZE */
int cursor_write_end(const struct cursor *cursor);

void cursor_u16(struct cursor *cursor, const char *field, uint16_t *value);
void cursor_u32(struct cursor *cursor, const char *field, uint32_t *value);
void cursor_u64(struct cursor *cursor, const char *field, uint64_t *value);
void cursor_i64(struct cursor *cursor, const char *field, int64_t *value);
void cursor_bytes(struct cursor *cursor, const char *field, uint8_t *bytes, size_t length);

/* cursor_reserved() -- bytes that are 0 */
void cursor_reserved(struct cursor *cursor, size_t length);

/* cursor_name() -- a field of @size bytes: printable ASCII, terminated, 0 up to its end */
void cursor_name(struct cursor *cursor, const char *field, char *text, size_t size);

/* cursor_text() -- the same for words meant for people: what is not printable is written as '?', what is too long is cut */
void cursor_text(struct cursor *cursor, const char *field, char *text, size_t size);

/* cursor_counted_text() -- as cursor_text(), on the wire a u32 length and so many bytes without terminator */
void cursor_counted_text(struct cursor *cursor, const char *field, char *text, size_t size);

/* cursor_tail() -- @length bytes that end the message. Read: *@data points to them. Written: left to the caller. */
void cursor_tail(struct cursor *cursor, const char *field, const uint8_t **data, size_t length);

/* cursor_check() -- unless @holds, the message is wrong because of @field */
void cursor_check(struct cursor *cursor, bool holds, const char *field, const char *why);

/* little-endian words at any address */
uint64_t cursor_le64(const uint8_t *bytes);

#endif
