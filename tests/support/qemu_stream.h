/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qemu_stream.h -- migration streams made by hand, piece by piece, and the stream's reader driven over them
 *
 * A program that runs out of memory here aborts.
 */
#ifndef SUPPORT_QEMU_STREAM_H
#define SUPPORT_QEMU_STREAM_H

#include "qemu/multifd.h"
#include "qemu/stream.h"
#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QS_PAGE 4096u

enum {
	QS_START = 1,
	QS_PART = 2,
	QS_END = 3,
	QS_FULL = 4,
};

struct qs {
	uint8_t *bytes;
	size_t length, room;
};

void qs_8(struct qs *qs, uint8_t value);
void qs_16(struct qs *qs, uint16_t value);
void qs_32(struct qs *qs, uint32_t value);
void qs_64(struct qs *qs, uint64_t value);
void qs_bytes(struct qs *qs, const void *bytes, size_t length);
void qs_fill(struct qs *qs, uint8_t value, size_t length);
void qs_name(struct qs *qs, const char *name); /* with its length in front, one byte */
void qs_free(struct qs *qs);

/* The main stream. qs_begin() is header and configuration, qs_ram_start() a whole section START of RAM, qs_end() all from RAM's END on. */
void qs_header(struct qs *qs, const char *machine);
void qs_subsection(struct qs *qs, const char *name);
void qs_command(struct qs *qs, uint16_t command, uint16_t length);
void qs_section(struct qs *qs, uint8_t type, uint32_t id, const char *name,
		uint32_t version); /* PART, END: no name */
void qs_footer(struct qs *qs, uint32_t id);
void qs_list(struct qs *qs, const char *const *names, const uint64_t *pages, size_t count);
void qs_page(struct qs *qs, const char *name, uint64_t page, uint8_t fill); /* name NULL: CONTINUE */
void qs_zero(struct qs *qs, const char *name, uint64_t page);
void qs_eos(struct qs *qs);

/* A channel of multifd. @pages: page numbers, first @normal with content @fill, then @zero without. */
void qs_init_packet(struct qs *qs, uint8_t id);
void qs_packet(struct qs *qs, const char *block, const uint64_t *pages, uint32_t normal, uint32_t zero,
	       uint8_t fill, bool sync);

/* What became of a stream. */
#define READING_BLOCKS 4u
#define READING_PAGES 64u /* of each of these blocks, that are counted */
#define READING_SYNCS 16u

struct reading {
	struct qs out; /* what was forwarded */
	struct stream *stream;
	uint32_t pages[READING_BLOCKS][READING_PAGES];
	uint64_t zero_pages;
	size_t syncs[READING_SYNCS]; /* how much had been forwarded then */
	uint32_t sync_count;
	size_t ram_end; /* likewise; SIZE_MAX: has not come */
	uint32_t block_events;
	struct decant_error err;
	/* what is to be done */
	const char *const *own;                                 /* names of blocks with a region; NULL ends them */
	void (*on_sync)(struct reading *reading, void *opaque); /* may be NULL */
	void *opaque;
};

/* reading_begin(), reading_feed(), reading_finish() -- @length bytes more; 0 or -errno, which stays */
void reading_begin(struct reading *reading, size_t buffer, const char *const *own);
int reading_feed(struct reading *reading, const uint8_t *bytes, size_t length);
int reading_finish(struct reading *reading);
void reading_end(struct reading *reading);

#endif
