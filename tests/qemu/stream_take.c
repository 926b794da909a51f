/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_take.c -- a recorded migration stream as the source's sidecar would forward it: stream_take OWNED PIECE MAIN [CHANNEL...]
 *
 * OWNED is the name of the block that is taken out, "" for none. PIECE: how many bytes are read at a time, 0: as many as there is room
 * for. CHANNELs are recordings of multifd's. What is forwarded goes to standard output; to standard error a line "pages BLOCK OFFSET BYTES ZERO_PAGES"
 * for each run of pages taken out, then one of JSON.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu/multifd.h"
#include "qemu/strays.h"
#include "qemu/stream.h"

#define CHANNELS_MAX 16

struct channel {
	FILE *file;
	struct multifd *multifd;
};

struct take {
	const char *owned;
	size_t piece;
	FILE *file;
	struct stream *stream;
	struct channel channels[CHANNELS_MAX];
	int channel_count;
	uint64_t ram_end; /* where its EOS is in what was read */
	uint64_t syncs;
	struct decant_error err;
};

static size_t take_read(FILE *file, void *to, size_t length, size_t piece)
{
	return fread(to, 1, piece > 0 && piece < length ? piece : length, file);
}

static void take_pages(const char *name, uint64_t offset, uint64_t bytes, uint64_t zero_pages)
{
	fprintf(stderr, "pages %s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, offset, bytes, zero_pages);
}

/* Reads until the channel's next sync. */
static int channel_sync(struct take *take, struct channel *channel)
{
	const struct ram_blocks *blocks = stream_blocks(take->stream);
	struct multifd_event event;
	size_t room, got;
	int what;

	for (;;) {
		while ((what = multifd_next(channel->multifd, &event, &take->err)) == MULTIFD_PAGES)
			take_pages(blocks->list[event.block].name, event.offset, event.bytes, event.zero_pages);
		if (what != 0)
			break;
		void *to = multifd_room(channel->multifd, &room);

		got = take_read(channel->file, to, room, take->piece);
		if (got == 0)
			return decant_error_set(&take->err, -EPROTO, "a channel ends before its sync");
		multifd_filled(channel->multifd, got);
	}
	if (what > 0)
		stream_put_in(take->stream, multifd_strays(channel->multifd));
	return what;
}

static int take_sync(struct take *take)
{
	int i, status = 0;

	take->syncs++;
	for (i = 0; i < take->channel_count && status >= 0; i++)
		status = channel_sync(take, &take->channels[i]);
	return status;
}

static int take_blocks(struct take *take)
{
	struct ram_blocks *blocks = stream_blocks(take->stream);
	int i, status = 0, owned = ram_blocks_find(blocks, take->owned, strlen(take->owned));

	if (owned >= 0)
		blocks->list[owned].region = 0;
	else if (take->owned[0] != '\0')
		return decant_error_set(&take->err, -ENOENT, "there is no block %s", take->owned);
	for (i = 0; i < take->channel_count && status >= 0; i++)
		status = multifd_new(blocks, 0, &take->channels[i].multifd, &take->err);
	return status;
}

static int take_event(struct take *take, int what, const struct stream_event *event)
{
	struct stream_stats stats;

	switch (what) {
	case STREAM_FORWARD:
		return fwrite(event->data, 1, event->length, stdout) == event->length ? 0 : -EIO;
	case STREAM_PAGES:
		take_pages(stream_blocks(take->stream)->list[event->block].name, event->offset, event->bytes,
			   event->zero_pages);
		return 0;
	case STREAM_BLOCKS:
		return take_blocks(take);
	case STREAM_SYNC:
		return take_sync(take);
	default:
		assert(what == STREAM_RAM_END);
		stream_get_stats(take->stream, &stats);
		take->ram_end = stats.forwarded_bytes;
		return 0;
	}
}

static int take_all(struct take *take)
{
	struct stream_event event;
	size_t room, got;
	int what;

	for (;;) {
		void *to = stream_room(take->stream, &room);

		got = take_read(take->file, to, room, take->piece);
		if (got == 0)
			return stream_finish(take->stream, &take->err);
		stream_filled(take->stream, got);
		while ((what = stream_next(take->stream, &event, &take->err)) > 0) {
			what = take_event(take, what, &event);
			if (what < 0)
				return what;
		}
		if (what < 0)
			return what;
	}
}

static void take_report(const struct take *take)
{
	const struct ram_blocks *blocks = stream_blocks(take->stream);
	struct stream_stats stats;
	uint32_t i;

	stream_get_stats(take->stream, &stats);
	fprintf(stderr,
		"{\"machine\": \"%s\", \"return_path\": %s, \"bytes\": %" PRIu64 ", \"forwarded\": %" PRIu64
		", \"before_end\": %" PRIu64 ", \"sections\": %" PRIu64 ", \"flushes\": %" PRIu64
		", \"syncs\": %" PRIu64 ", \"runs\": %" PRIu64 ", \"pages\": %" PRIu64 ", \"passed\": %" PRIu64
		", \"blocks\": {",
		stream_machine(take->stream), stream_has_return_path(take->stream) ? "true" : "false", stats.bytes,
		stats.forwarded_bytes, take->ram_end, stats.sections, stats.flushes, take->syncs, stats.runs,
		stats.pages, stats.passed_pages);
	for (i = 0; i < blocks->count; i++)
		fprintf(stderr, "%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", blocks->list[i].name,
			blocks->list[i].length);
	fprintf(stderr, "}}\n");
}

static FILE *open_file(const char *name)
{
	FILE *file = fopen(name, "rb");

	if (file == NULL) {
		perror(name);
		exit(2);
	}
	return file;
}

int main(int argc, char **argv)
{
	struct take take = { .err = DECANT_ERROR_INIT };
	int i, status;

	if (argc < 4 || argc - 4 > CHANNELS_MAX) {
		fprintf(stderr, "usage: stream_take OWNED PIECE MAIN [CHANNEL...]\n");
		return 2;
	}
	take.owned = argv[1];
	take.piece = strtoul(argv[2], NULL, 10);
	take.file = open_file(argv[3]);
	for (i = 4; i < argc; i++)
		take.channels[take.channel_count++].file = open_file(argv[i]);
	status = stream_new(0, &take.stream, &take.err);
	status = status < 0 ? status : take_all(&take);
	if (status < 0 || fflush(stdout) != 0)
		fprintf(stderr, "stream_take: %s\n", take.err.msg);
	else
		take_report(&take);
	for (i = 0; i < take.channel_count; i++) {
		multifd_free(take.channels[i].multifd);
		fclose(take.channels[i].file);
	}
	stream_free(take.stream);
	fclose(take.file);
	return status < 0;
}
