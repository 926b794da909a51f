/* SPDX-License-Identifier: BSD-2-Clause */
/* stream_private.h -- what the files of the stream's reader share: its state, and how a step of it is made */
#ifndef QEMU_STREAM_PRIVATE_H
#define QEMU_STREAM_PRIVATE_H

#include "qemu/big_endian.h"
#include "qemu/intake.h"
#include "qemu/strays.h"
#include "qemu/stream.h"

#include <decant/error.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_SECTIONS_MAX 256u
#define STREAM_NAME_MAX 256u /* with terminator */

/* The element that a byte begins. */
enum {
	ELEMENT_EOF = 0x00,
	ELEMENT_START = 0x01,
	ELEMENT_PART = 0x02,
	ELEMENT_END = 0x03,
	ELEMENT_FULL = 0x04,
	ELEMENT_SUBSECTION = 0x05,
	ELEMENT_CONFIGURATION = 0x07,
	ELEMENT_COMMAND = 0x08,
	ELEMENT_FOOTER = 0x7e,
};

/* Whose state a section has, as far as its body can be followed. */
enum stream_kind {
	KIND_RAM,
	KIND_BITMAP, /* a disk's dirty bitmap */
	KIND_VFIO,
};

struct stream_section {
	uint32_t id;
	enum stream_kind kind;
};

/*
 * A step looks at one head (or a run of records) at the intake's @at. It returns
 *   STEP_ON    something was looked at, or another step is next
 *   STEP_MORE  the head is not all there yet; nothing has changed
 *   > 0        an enum stream_what for the caller. Where it must come before the head, nothing else has changed, and the same step runs again
 *   -errno     by stream_refuse()
 * Bytes that a step looks at are forwarded, unless it drops them: then what was looked at before must have been given to the caller
 * (stream_give_forward()), since a forwarded piece is one piece of the buffer.
 */
enum {
	STEP_ON = 0,
	STEP_MORE = 1000,
};

struct stream {
	struct intake intake;
	int (*step)(struct stream *stream, struct stream_event *event);
	uint64_t copy;              /* bytes at @at that belong to the last head: forwarded, whatever they are */
	uint64_t skip;              /* the same, dropped; nothing is pending to be forwarded then */
	struct decant_error failed; /* .code 0: not yet */

	/* of the stream as a whole */
	char machine[STREAM_NAME_MAX];
	bool return_path;
	bool blind;

	/* sections */
	struct stream_section sections[STREAM_SECTIONS_MAX];
	uint32_t section_count;
	uint8_t element;             /* START, PART or END: of the section that it is in */
	uint32_t section_id;         /* of it */
	char place[STREAM_NAME_MAX]; /* where it is, for messages: a section's name, or what else it is */

	/* RAM */
	struct ram_blocks blocks;
	uint64_t listing; /* bytes of blocks that the list has still to name */
	bool listed;
	bool flush_seen; /* a MULTIFD_FLUSH in the START section: these are the syncs; else each EOS is one */
	bool synced;     /* STREAM_SYNC was given for the record at @at */
	int in_block;    /* of the last record read; -1: none */
	int out_block;   /* of the last record forwarded */
	struct stream_event run;      /* dirty pages that the caller was not given yet; .bytes 0: none */
	uint8_t head[STRAY_HEAD_MAX]; /* of a record, made anew */
	struct strays strays;         /* to be forwarded before anything else */
	bool stray_given;             /* the first of them has been */

	struct stream_stats stats;
};

/* stream_refuse() -- the stream ends here, with this error and where it was; returns @code */
int stream_refuse(struct stream *stream, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* stream_has() -- are the next @length bytes there */
static inline bool stream_has(const struct stream *stream, size_t length)
{
	return intake_left(&stream->intake) >= length;
}

static inline const uint8_t *stream_at(const struct stream *stream)
{
	return intake_at(&stream->intake);
}

/* stream_head() -- a head of @length bytes is done with, and @step is next */
static inline int stream_head(struct stream *stream, size_t length,
			      int (*step)(struct stream *stream, struct stream_event *event))
{
	intake_step(&stream->intake, length);
	stream->step = step;
	return STEP_ON;
}

/* stream_give_forward() -- what was looked at, as an event; STEP_ON if there is nothing */
int stream_give_forward(struct stream *stream, struct stream_event *event);

/* stream_give_pages() -- the run of dirty pages, as an event; STEP_ON if there is none */
int stream_give_pages(struct stream *stream, struct stream_event *event);

/* stream_give_all() -- the one, then the other, then STEP_ON */
int stream_give_all(struct stream *stream, struct stream_event *event);

/* stream_set_place(), stream_name() -- bytes from the stream as text for messages: what cannot be printed is '?' */
void stream_set_place(struct stream *stream, const char *what);
void stream_name(char name[STREAM_NAME_MAX], const uint8_t *from, size_t length);

/* The steps that one file leaves to another. */
int stream_begin(struct stream *stream, struct stream_event *event);   /* the file's header: stream_config.c */
int stream_element(struct stream *stream, struct stream_event *event); /* what comes next: stream_section.c */
int stream_footer(struct stream *stream, struct stream_event *event);
int stream_ram(struct stream *stream, struct stream_event *event);    /* a body: stream_ram.c */
int stream_bitmap(struct stream *stream, struct stream_event *event); /* stream_other.c */
int stream_vfio(struct stream *stream, struct stream_event *event);

/* stream_make_head() -- in stream_ram.c: a record's head with the block's name, at the end of @head; returns its length */
size_t stream_make_head(const struct ram_blocks *blocks, int block, uint64_t offset, bool zero,
			uint8_t head[STRAY_HEAD_MAX]);

#endif
