/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.h -- QEMU's migration stream, read up to the end of RAM and written anew without the pages of shared memory
 *
 * Pure: no I/O, no threads, a bounded memory. The caller reads from QEMU straight into the stream's buffer and then takes events until
 * there are none, so it blocks where it likes:
 *
 *     for (;;) {
 *             room = stream_room(stream, &length);
 *             got = read(socket, room, length);          0: stream_finish()
 *             stream_filled(stream, got);
 *             while ((what = stream_next(stream, &event, err)) > 0)
 *                     switch (what) {
 *                     case STREAM_FORWARD:  to the destination's QEMU: event.data, event.length
 *                     case STREAM_BLOCKS:   set blocks->list[i].region for those that are shared
 *                     case STREAM_PAGES:    decant_mover_push(region of event.block, event.offset, event.bytes)
 *                     case STREAM_SYNC:     with multifd: see multifd.h
 *                     case STREAM_RAM_END:  decant_mover_barrier()
 *                     }
 *     }
 *
 * Nothing is copied: what is to be forwarded is where it was read to, and the content of the pages that the sidecars move is stepped over.
 * Of blocks with a region, PAGE and ZERO records both become STREAM_PAGES and leave the stream. All else is forwarded to the byte;
 * if no block has a region, that is the whole stream. Records of other blocks keep their content, and their CONTINUE is made to
 * fit what is left. MULTIFD_FLUSH is never forwarded: a destination without multifd needs none, and that of QEMU 7.2 knows none.
 *
 * Order: a FORWARD and the PAGES around it may change places; but everything before a SYNC or RAM_END comes before it, and all that
 * is pending comes before stream_next() returns 0.
 */
#ifndef QEMU_STREAM_H
#define QEMU_STREAM_H

#include "qemu/ram_blocks.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The buffer, bytes: at least the longest head (STREAM_BUFFER_MIN); a run of pages is at most what it holds. */
#define STREAM_BUFFER (1u << 20)
#define STREAM_BUFFER_MIN 1024u

struct stream;
struct strays;

enum stream_what {
	STREAM_FORWARD = 1, /* data, length: valid until the next call of stream_next() or stream_room() */
	STREAM_BLOCKS,      /* once: the list is known; it has been forwarded */
	STREAM_PAGES,       /* block, offset, bytes, zero_pages: QEMU says that these are dirty */
	STREAM_SYNC, /* multifd's channels must have come to their next SYNC before the stream goes on; without channels: nothing */
	STREAM_RAM_END, /* what is forwarded after this tells the destination that RAM is whole; it does all the rest unlooked at */
};

struct stream_event {
	const void *data;
	size_t length;
	uint32_t block;      /* index in the list */
	uint64_t offset;     /* in the block, bytes */
	uint64_t bytes;      /* a run of whole pages */
	uint64_t zero_pages; /* of them: none, or all if QEMU found them to be zero */
};

struct stream_stats {
	uint64_t bytes;           /* fed, and looked at */
	uint64_t forwarded_bytes; /* of what was fed or put in */
	uint64_t pages;           /* of blocks with a region, target pages, zero or not, as often as they came */
	uint64_t zero_pages;      /* of them */
	uint64_t runs;            /* STREAM_PAGES */
	uint64_t passed_pages;    /* of other blocks, zero or not, strays too */
	uint64_t sections;        /* of RAM: START, PART, END */
	uint64_t flushes;         /* MULTIFD_FLUSH */
};

/* stream_new() -- @buffer: its size in bytes, 0: STREAM_BUFFER. 0, -EINVAL, -ENOMEM */
int stream_new(size_t buffer, struct stream **stream, struct decant_error *err);

/* stream_room() -- where to read to, and how many bytes fit, at least one once stream_next() has returned 0 */
void *stream_room(struct stream *stream, size_t *length);

/* stream_filled() -- @length bytes have been read there */
void stream_filled(struct stream *stream, size_t length);

/*
 * stream_next() -- the next event
 *
 * Returns an enum stream_what, or 0: read more. An error stays: -EPROTO, this is no such stream, or a broken one; -ENOTSUP: QEMU uses what
 * the sidecars cannot follow, and the message says what to switch off. All messages have the byte and the section.
 */
int stream_next(struct stream *stream, struct stream_event *event, struct decant_error *err);

/* stream_finish() -- QEMU has closed its end: 0 after the end of RAM; else -ECONNRESET, with where the stream ended */
int stream_finish(const struct stream *stream, struct decant_error *err);

/* stream_pass() -- forward all the rest unlooked at: the sidecars move nothing after all. During or before STREAM_BLOCKS. */
void stream_pass(struct stream *stream);

/*
 * stream_put_in() -- pages that came over multifd's channels, to be forwarded as records of this stream; during STREAM_SYNC
 *
 * Takes them out of @strays. stream_next() forwards them before anything else.
 */
void stream_put_in(struct stream *stream, struct strays *strays);

/* stream_blocks() -- the list; complete from STREAM_BLOCKS on. Its regions are the caller's to set, during STREAM_BLOCKS */
struct ram_blocks *stream_blocks(struct stream *stream);

/* stream_machine() -- the source's machine type, "" before it is known */
const char *stream_machine(const struct stream *stream);

/* stream_has_return_path() -- the destination was told to open one: it comes before the block list, or never */
bool stream_has_return_path(const struct stream *stream);

/* stream_is_blind() -- is the end of RAM behind us, or stream_pass() called */
bool stream_is_blind(const struct stream *stream);

void stream_get_stats(const struct stream *stream, struct stream_stats *stats);

void stream_free(struct stream *stream);

#endif
