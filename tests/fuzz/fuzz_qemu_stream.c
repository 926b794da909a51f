/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_qemu_stream.c -- what a QEMU, or whoever reaches its socket, sends as a migration stream
 *
 * The first byte says which of the first seven blocks have a region, and whether pages that came over channels are put in at each sync;
 * the second in which pieces the rest comes. Whatever the pieces, the same comes of it. If nothing is taken out, what is forwarded is what came,
 * but for the flushes of multifd.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "qemu/strays.h"
#include "qemu/stream.h"

#define STRAYS 0x80u
#define OWNED_BITS 7u
#define BUFFER (16u << 10) /* small: it is made anew for each input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has come of a stream: all of it in a few numbers. */
struct outcome {
	int code;
	int finish;
	uint64_t forwarded; /* bytes */
	uint64_t hash;      /* of them */
	uint64_t pages;     /* the sum of a hash of each */
	uint64_t zero_pages;
	uint64_t syncs, flushes;
	uint64_t sync_places; /* the sum of what had been forwarded at each */
	uint64_t ram_end;
	bool listed;
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x100000001b3);
}

static void fuzz_forward(struct outcome *outcome, const struct stream_event *event)
{
	const uint8_t *bytes = event->data;

	assert(event->length > 0);
	for (size_t i = 0; i < event->length; i++)
		outcome->hash = mix(outcome->hash, bytes[i]);
	outcome->forwarded += event->length;
}

static void fuzz_blocks(struct outcome *outcome, struct stream *stream, uint8_t owned)
{
	struct ram_blocks *blocks = stream_blocks(stream);

	assert(!outcome->listed && blocks->count > 0 && blocks->count <= RAM_BLOCKS_MAX);
	outcome->listed = true;
	for (uint32_t i = 0; i < blocks->count; i++) {
		assert(blocks->list[i].name[0] != '\0' && blocks->list[i].length % blocks->page_size == 0);
		assert(blocks->list[i].region == -1);
		if (i < OWNED_BITS && (owned & (1u << i)))
			blocks->list[i].region = (int)i;
	}
}

static void fuzz_pages(struct outcome *outcome, struct stream *stream, const struct stream_event *event)
{
	const struct ram_blocks *blocks = stream_blocks(stream);
	const uint64_t page = blocks->page_size;

	assert(outcome->listed && event->block < blocks->count && blocks->list[event->block].region >= 0);
	assert(event->bytes > 0 && event->bytes % page == 0 && event->offset % page == 0);
	assert(event->offset + event->bytes <= blocks->list[event->block].length);
	assert(event->zero_pages == 0 || event->zero_pages == event->bytes / page);
	for (uint64_t at = event->offset; at < event->offset + event->bytes; at += page)
		outcome->pages += mix(mix(1, event->block), at);
	outcome->zero_pages += event->zero_pages;
}

/* One page of the last block, once with content and once without. */
static void fuzz_strays(struct stream *stream)
{
	const struct ram_blocks *blocks = stream_blocks(stream);
	struct strays strays;
	struct stray *stray;

	if (blocks->count == 0 || blocks->list[blocks->count - 1].region >= 0)
		return;
	strays_init(&strays, STRAYS_MAX);
	stray = strays_add(&strays, blocks->count - 1, 0, blocks->page_size, false);
	if (stray == NULL || strays_add(&strays, blocks->count - 1, 0, blocks->page_size, true) == NULL)
		abort();
	memset(stray->content, 0x5a, blocks->page_size);
	stream_put_in(stream, &strays);
}

static void fuzz_event(struct outcome *outcome, struct stream *stream, int what, const struct stream_event *event,
		       uint8_t choice)
{
	switch (what) {
	case STREAM_FORWARD:
		fuzz_forward(outcome, event);
		break;
	case STREAM_BLOCKS:
		fuzz_blocks(outcome, stream, choice);
		break;
	case STREAM_PAGES:
		fuzz_pages(outcome, stream, event);
		break;
	case STREAM_SYNC:
		outcome->syncs++;
		outcome->sync_places += outcome->forwarded;
		if (choice & STRAYS)
			fuzz_strays(stream);
		break;
	default:
		assert(what == STREAM_RAM_END && outcome->ram_end == 0 && outcome->listed);
		outcome->ram_end = outcome->forwarded;
	}
}

/* @piece: bytes at a time, 0: as many as there is room for. */
static struct outcome fuzz_read(const uint8_t *data, size_t size, size_t buffer, size_t piece, uint8_t choice)
{
	struct outcome outcome = { .hash = UINT64_C(0xcbf29ce484222325) };
	struct decant_error err = DECANT_ERROR_INIT;
	struct stream_event event;
	struct stream_stats stats;
	struct stream *stream;
	size_t room;
	int what = 0;

	if (stream_new(buffer, &stream, NULL) < 0)
		abort();
	while (size > 0 && what == 0) {
		void *to = stream_room(stream, &room);

		assert(room > 0);
		room = piece > 0 && piece < room ? piece : room;
		room = room < size ? room : size;
		memcpy(to, data, room);
		stream_filled(stream, room);
		data += room;
		size -= room;
		while ((what = stream_next(stream, &event, &err)) > 0)
			fuzz_event(&outcome, stream, what, &event, choice);
	}
	outcome.code = what;
	assert(what == 0 || (err.code == what && err.msg[0] != '\0'));
	outcome.finish = stream_finish(stream, &err);
	assert(outcome.finish == 0 ? stream_is_blind(stream) : err.msg[0] != '\0');
	stream_get_stats(stream, &stats);
	outcome.flushes = stats.flushes;
	assert(stats.forwarded_bytes == outcome.forwarded);
	stream_free(stream);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, pieces;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint8_t choice;

	if (size < 2)
		return 0;
	choice = data[0];
	whole = fuzz_read(data + 2, size - 2, BUFFER, 0, choice);
	pieces = fuzz_read(data + 2, size - 2, STREAM_BUFFER_MIN, 1 + (size_t)data[1], choice);
	assert(whole.code == pieces.code && whole.finish == pieces.finish && whole.listed == pieces.listed);
	assert(whole.syncs == pieces.syncs && whole.ram_end == pieces.ram_end);
	/* after an error what was pending is not told any more */
	if (whole.code == 0)
		assert(whole.forwarded == pieces.forwarded && whole.hash == pieces.hash &&
		       whole.sync_places == pieces.sync_places && whole.pages == pieces.pages &&
		       whole.zero_pages == pieces.zero_pages);
	if (choice == 0 && whole.flushes == 0) {
		for (uint64_t i = 0; i < whole.forwarded; i++)
			hash = mix(hash, data[2 + i]);
		assert(whole.forwarded <= size - 2 && whole.hash == hash);
	}
	return 0;
}
