/* SPDX-License-Identifier: BSD-2-Clause */
/* cursor.c -- bounds-checked little-endian fields, in either direction */
#include "wire/cursor.h"

#include <errno.h>
#include <string.h>

struct cursor cursor_reader(const char *message, const uint8_t *bytes, size_t length, struct decant_error *err)
{
	return (struct cursor){ .from = bytes, .length = length, .message = message, .err = err };
}

struct cursor cursor_writer(const char *message, uint8_t *bytes, size_t capacity)
{
	return (struct cursor){ .writes = true, .to = bytes, .length = capacity, .message = message };
}

static bool cursor_reads(const struct cursor *cursor)
{
	return !cursor->writes;
}

void cursor_check(struct cursor *cursor, bool holds, const char *field, const char *why)
{
	if (holds || cursor->rc < 0)
		return;
	cursor->rc = cursor_reads(cursor) ? -EPROTO : -EMSGSIZE;
	decant_error_set(cursor->err, cursor->rc, "%s: %s: %s", cursor->message, field, why);
}

/* claims @length bytes: true if they are there and nothing was wrong before */
static bool cursor_claim(struct cursor *cursor, const char *field, size_t length)
{
	cursor_check(cursor, length <= cursor->length - cursor->at, field, "the message ends before it");
	if (cursor->rc < 0)
		return false;
	cursor->at += length;
	return true;
}

/* an unsigned integer of @width bytes */
static uint64_t cursor_integer(struct cursor *cursor, const char *field, uint64_t value, size_t width)
{
	if (!cursor_claim(cursor, field, width))
		return 0;
	if (cursor_reads(cursor)) {
		value = 0;
		for (size_t i = 0; i < width; i++)
			value |= (uint64_t)cursor->from[cursor->at - width + i] << (8 * i);
	} else {
		for (size_t i = 0; i < width; i++)
			cursor->to[cursor->at - width + i] = (uint8_t)(value >> (8 * i));
	}
	return value;
}

void cursor_u16(struct cursor *cursor, const char *field, uint16_t *value)
{
	const uint64_t read = cursor_integer(cursor, field, *value, sizeof(*value));

	if (cursor_reads(cursor))
		*value = (uint16_t)read;
}

void cursor_u32(struct cursor *cursor, const char *field, uint32_t *value)
{
	const uint64_t read = cursor_integer(cursor, field, *value, sizeof(*value));

	if (cursor_reads(cursor))
		*value = (uint32_t)read;
}

void cursor_u64(struct cursor *cursor, const char *field, uint64_t *value)
{
	const uint64_t read = cursor_integer(cursor, field, *value, sizeof(*value));

	if (cursor_reads(cursor))
		*value = read;
}

void cursor_i64(struct cursor *cursor, const char *field, int64_t *value)
{
	const uint64_t read = cursor_integer(cursor, field, (uint64_t)*value, sizeof(*value));

	if (cursor_reads(cursor))
		*value = (int64_t)read;
}

void cursor_bytes(struct cursor *cursor, const char *field, uint8_t *bytes, size_t length)
{
	if (!cursor_claim(cursor, field, length))
		return;
	if (cursor_reads(cursor))
		memcpy(bytes, cursor->from + cursor->at - length, length);
	else
		memcpy(cursor->to + cursor->at - length, bytes, length);
}

void cursor_reserved(struct cursor *cursor, size_t length)
{
	if (!cursor_claim(cursor, "reserved", length))
		return;
	for (size_t i = cursor->at - length; i < cursor->at; i++) {
		if (cursor_reads(cursor))
			cursor_check(cursor, cursor->from[i] == 0, "reserved", "not 0");
		else
			cursor->to[i] = 0;
	}
}

static bool cursor_printable(char c)
{
	return c >= ' ' && c <= '~';
}

/* @text, a field of @size bytes, is terminated, 0 from there on, and printable before */
static void cursor_check_name(struct cursor *cursor, const char *field, const char *text, size_t size)
{
	const size_t length = strnlen(text, size);

	cursor_check(cursor, length < size, field, "not terminated");
	for (size_t i = 0; i < length; i++)
		cursor_check(cursor, cursor_printable(text[i]), field, "not printable ASCII");
	for (size_t i = length; i < size; i++)
		cursor_check(cursor, text[i] == '\0', field, "bytes behind its end");
}

static void cursor_put_text(uint8_t *to, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		to[i] = cursor_printable(text[i]) ? (uint8_t)text[i] : '?';
}

void cursor_name(struct cursor *cursor, const char *field, char *text, size_t size)
{
	const size_t length = cursor_reads(cursor) ? size : strnlen(text, size);

	if (!cursor_reads(cursor)) {
		cursor_check(cursor, length < size, field, "not terminated");
		for (size_t i = 0; i < length; i++)
			cursor_check(cursor, cursor_printable(text[i]), field, "not printable ASCII");
	}
	if (!cursor_claim(cursor, field, size)) {
		if (cursor_reads(cursor))
			text[0] = '\0';
		return;
	}
	if (cursor_reads(cursor)) {
		memcpy(text, cursor->from + cursor->at - size, size);
		cursor_check_name(cursor, field, text, size);
	} else {
		memcpy(cursor->to + cursor->at - size, text, length);
		memset(cursor->to + cursor->at - size + length, 0, size - length);
	}
}

void cursor_text(struct cursor *cursor, const char *field, char *text, size_t size)
{
	size_t length;

	if (cursor_reads(cursor)) {
		cursor_name(cursor, field, text, size);
		return;
	}
	if (!cursor_claim(cursor, field, size))
		return;
	length = strnlen(text, size - 1);
	cursor_put_text(cursor->to + cursor->at - size, text, length);
	memset(cursor->to + cursor->at - size + length, 0, size - length);
}

void cursor_counted_text(struct cursor *cursor, const char *field, char *text, size_t size)
{
	uint32_t length = cursor_reads(cursor) ? 0 : (uint32_t)strnlen(text, size - 1);

	cursor_u32(cursor, field, &length);
	cursor_check(cursor, length < size, field, "too long");
	if (!cursor_claim(cursor, field, length)) {
		if (cursor_reads(cursor))
			text[0] = '\0';
		return;
	}
	if (!cursor_reads(cursor)) {
		cursor_put_text(cursor->to + cursor->at - length, text, length);
		return;
	}
	memcpy(text, cursor->from + cursor->at - length, length);
	text[length] = '\0';
	for (size_t i = 0; i < length; i++)
		cursor_check(cursor, cursor_printable(text[i]), field, "not printable ASCII");
}

void cursor_tail(struct cursor *cursor, const char *field, const uint8_t **data, size_t length)
{
	if (!cursor_reads(cursor))
		return;
	*data = NULL;
	if (cursor_claim(cursor, field, length))
		*data = cursor->from + cursor->at - length;
}

int cursor_read_end(struct cursor *cursor)
{
	if (cursor->rc == 0 && cursor->at != cursor->length)
		cursor->rc = decant_error_set(cursor->err, -EPROTO, "%s: %zu bytes where %zu end it",
					      cursor->message, cursor->length, cursor->at);
	return cursor->rc;
}

int cursor_write_end(const struct cursor *cursor)
{
	return cursor->rc < 0 ? cursor->rc : (int)cursor->at;
}

uint64_t cursor_le64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < sizeof(value); i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}
