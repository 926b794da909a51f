/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c -- QEMU's migration stream: the buffer, what is pending, and the public calls
 *
 * The format is in docs/qemu.md. The files: stream_config.c the header and the configuration, stream_section.c sections and commands,
 * stream_ram.c the records of RAM, stream_other.c the bodies of other sections that come before the end of RAM.
 *
 * Two things may be pending: a piece of the buffer that is to be forwarded as it is, and a run of dirty pages. Each grows for as long as
 * it can. A head that is cut by the end of the buffer stays there until more has come, so each step sees its head in one piece.
 */
#include "qemu/stream.h"

#include "qemu/stream_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET_PAGE_SIZE 4096u /* unless the configuration says otherwise */

int stream_refuse(struct stream *stream, int code, const char *fmt, ...)
{
	char text[DECANT_ERROR_MAX];
	va_list args;

	va_start(args, fmt);
	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		text[0] = '\0';
	va_end(args);
	return decant_error_set(&stream->failed, code, "QEMU's stream: byte %" PRIu64 ", %s: %s",
				intake_place(&stream->intake), stream->place, text);
}

void stream_name(char name[STREAM_NAME_MAX], const uint8_t *from, size_t length)
{
	size_t i;

	for (i = 0; i < length && i < STREAM_NAME_MAX - 1; i++)
		name[i] = from[i] >= ' ' && from[i] < 0x7f ? (char)from[i] : '?';
	name[i] = '\0';
}

void stream_set_place(struct stream *stream, const char *what)
{
	snprintf(stream->place, sizeof(stream->place), "%s", what);
}

int stream_give_forward(struct stream *stream, struct stream_event *event)
{
	struct intake *in = &stream->intake;

	if (in->start == in->at)
		return STEP_ON;
	event->data = in->buffer + in->start;
	event->length = in->at - in->start;
	stream->stats.forwarded_bytes += event->length;
	intake_drop(in);
	return STREAM_FORWARD;
}

int stream_give_pages(struct stream *stream, struct stream_event *event)
{
	if (stream->run.bytes == 0)
		return STEP_ON;
	*event = stream->run;
	stream->run.bytes = 0;
	stream->stats.runs++;
	stream->stats.pages += event->bytes / stream->blocks.page_size;
	stream->stats.zero_pages += event->zero_pages;
	return STREAM_PAGES;
}

int stream_give_all(struct stream *stream, struct stream_event *event)
{
	const int given = stream_give_pages(stream, event);

	return given != STEP_ON ? given : stream_give_forward(stream, event);
}

/* The next page that came over a channel, as a record. Nothing else is pending. */
static int stray_step(struct stream *stream, struct stream_event *event)
{
	struct stray *stray;
	size_t head;

	if (stream->stray_given) {
		strays_drop(&stream->strays);
		stream->stray_given = false;
		return STEP_ON;
	}
	stray = stream->strays.first;
	head = stream_make_head(&stream->blocks, (int)stray->block, stray->offset, stray->zero, stray->head);
	event->data = (const uint8_t *)stray + offsetof(struct stray, content) - head;
	event->length = head + (stray->zero ? 0 : stream->blocks.page_size);
	stream->out_block = (int)stray->block;
	stream->stray_given = true;
	stream->stats.passed_pages++;
	stream->stats.forwarded_bytes += event->length;
	return STREAM_FORWARD;
}

/* As much of @left as is there; *@left is what remains. */
static int payload_step(struct stream *stream, uint64_t *left)
{
	const size_t there = intake_left(&stream->intake);
	const size_t length = *left < there ? (size_t)*left : there;

	intake_step(&stream->intake, length);
	*left -= length;
	return *left > 0 ? STEP_MORE : STEP_ON;
}

static int next_step(struct stream *stream, struct stream_event *event)
{
	int status;

	if (stream->strays.first != NULL)
		return stray_step(stream, event);
	if (stream->blind) {
		intake_step(&stream->intake, intake_left(&stream->intake));
		return STEP_MORE;
	}
	if (stream->copy > 0)
		return payload_step(stream, &stream->copy);
	if (stream->skip > 0) {
		status = payload_step(stream, &stream->skip);
		intake_drop(&stream->intake);
		return status;
	}
	return stream->step(stream, event);
}

int stream_next(struct stream *stream, struct stream_event *event, struct decant_error *err)
{
	int status;

	memset(event, 0, sizeof(*event));
	if (stream->failed.code == 0) {
		do
			status = next_step(stream, event);
		while (status == STEP_ON);
		if (status == STEP_MORE)
			status = stream_give_all(stream, event);
		if (status >= 0)
			return status;
	}
	return decant_error_set(err, stream->failed.code, "%s", stream->failed.msg);
}

int stream_finish(const struct stream *stream, struct decant_error *err)
{
	if (stream->failed.code != 0)
		return decant_error_set(err, stream->failed.code, "%s", stream->failed.msg);
	if (stream->blind)
		return 0;
	return decant_error_set(err, -ECONNRESET,
				"QEMU's stream: byte %" PRIu64
				", %s: QEMU has closed it before the end of RAM: the migration was "
				"cancelled or has failed; query-migrate at the source says which",
				intake_place(&stream->intake), stream->place);
}

int stream_new(size_t buffer, struct stream **stream, struct decant_error *err)
{
	struct stream *made;

	if (buffer == 0)
		buffer = STREAM_BUFFER;
	if (buffer < STREAM_BUFFER_MIN)
		return decant_error_set(err, -EINVAL, "stream_new: a buffer of %zu bytes: it must have %u", buffer,
					STREAM_BUFFER_MIN);
	made = calloc(1, sizeof(*made));
	if (made == NULL || intake_init(&made->intake, buffer) < 0) {
		free(made);
		return decant_error_set(err, -ENOMEM, "stream_new: out of memory");
	}
	made->step = stream_begin;
	made->blocks.page_size = TARGET_PAGE_SIZE;
	made->in_block = made->out_block = -1;
	strays_init(&made->strays, STRAYS_MAX);
	stream_set_place(made, "at its beginning");
	*stream = made;
	return 0;
}

void *stream_room(struct stream *stream, size_t *length)
{
	return intake_room(&stream->intake, length);
}

void stream_filled(struct stream *stream, size_t length)
{
	stream->stats.bytes += length;
	intake_filled(&stream->intake, length);
}

void stream_pass(struct stream *stream)
{
	stream->blind = true;
}

void stream_put_in(struct stream *stream, struct strays *strays)
{
	assert(stream->synced);
	strays_move(&stream->strays, strays);
}

struct ram_blocks *stream_blocks(struct stream *stream)
{
	return &stream->blocks;
}

const char *stream_machine(const struct stream *stream)
{
	return stream->machine;
}

bool stream_has_return_path(const struct stream *stream)
{
	return stream->return_path;
}

bool stream_is_blind(const struct stream *stream)
{
	return stream->blind;
}

void stream_get_stats(const struct stream *stream, struct stream_stats *stats)
{
	*stats = stream->stats;
}

void stream_free(struct stream *stream)
{
	if (stream == NULL)
		return;
	strays_clear(&stream->strays);
	ram_blocks_clear(&stream->blocks);
	intake_free(&stream->intake);
	free(stream);
}
