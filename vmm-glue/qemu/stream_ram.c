/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_ram.c -- the records of RAM: the block list, dirty pages, and what stands between them
 *
 * A record begins with 64 bits: flags in those below the target's page size, an offset in the block above. With CONTINUE it is about
 * the block of the record before, else its name follows. What "before" means changes when records are taken out, so there are two current
 * blocks: of what is read, and of what is forwarded. A record gets a name when CONTINUE would be wrong, and never loses one,
 * so a stream out of which nothing is taken stays the same to the byte.
 */
#include "qemu/stream_private.h"

#include <inttypes.h>
#include <string.h>

enum {
	RAM_FULL = 0x01,
	RAM_ZERO = 0x02,
	RAM_MEM_SIZE = 0x04,
	RAM_PAGE = 0x08,
	RAM_EOS = 0x10,
	RAM_CONTINUE = 0x20,
	RAM_XBZRLE = 0x40,
	RAM_HOOK = 0x80,
	RAM_COMPRESS = 0x100,
	RAM_FLUSH = 0x200,
};

/* A record about one page, its head all there. */
struct record {
	int block;
	uint64_t offset;
	bool zero;
	bool named;
	size_t head; /* bytes, the fill byte of ZERO with it */
};

size_t stream_make_head(const struct ram_blocks *blocks, int block, uint64_t offset, bool zero,
			uint8_t head[STRAY_HEAD_MAX])
{
	const char *name = blocks->list[block].name;
	const size_t named = strlen(name), length = 8 + 1 + named + (zero ? 1 : 0);
	uint8_t *at = head + STRAY_HEAD_MAX - length;

	big_put64(at, offset | (zero ? RAM_ZERO : RAM_PAGE));
	at[8] = (uint8_t)named;
	memcpy(at + 9, name, named);
	if (zero)
		at[9 + named] = 0;
	return length;
}

/* ---- the block list ---- */

static int ram_list_entry(struct stream *stream, struct stream_event *event);

static int ram_list_done(struct stream *stream, struct stream_event *event)
{
	const int given = stream_give_all(stream, event);

	if (given != STEP_ON)
		return given;
	stream->listed = true;
	stream->step = stream_ram;
	return STREAM_BLOCKS;
}

static int ram_list_add(struct stream *stream, const uint8_t *name, size_t named, uint64_t length)
{
	char text[STREAM_NAME_MAX];
	int index;

	stream_name(text, name, named);
	if (named == 0 || memchr(name, '\0', named) != NULL)
		return stream_refuse(stream, -EPROTO, "the block list has a name that is none: \"%s\"", text);
	if (length > stream->listing || length % stream->blocks.page_size != 0)
		return stream_refuse(stream, -EPROTO,
				     "block %s of %" PRIu64 " bytes: the list has %" PRIu64
				     " left, in pages of %u",
				     text, length, stream->listing, stream->blocks.page_size);
	if (ram_blocks_find(&stream->blocks, (const char *)name, named) >= 0)
		return stream_refuse(stream, -EPROTO, "block %s is listed twice", text);
	index = ram_blocks_add(&stream->blocks, (const char *)name, named, length);
	if (index < 0)
		return stream_refuse(stream, index == -ENOMEM ? -ENOMEM : -EPROTO, "block %s is one too many: %u",
				     text, stream->blocks.count);
	return 0;
}

static int ram_list_entry(struct stream *stream, struct stream_event *event)
{
	const uint8_t *at = stream_at(stream);
	uint64_t length;
	int status;

	(void)event;
	if (!stream_has(stream, 1) || !stream_has(stream, 1 + (size_t)at[0] + 8))
		return STEP_MORE;
	length = big_get64(at + 1 + at[0]);
	status = ram_list_add(stream, at + 1, at[0], length);
	if (status < 0)
		return status;
	stream->listing -= length;
	return stream_head(stream, 1 + (size_t)at[0] + 8, stream->listing == 0 ? ram_list_done : ram_list_entry);
}

static int ram_list_begin(struct stream *stream, uint64_t bytes)
{
	if (stream->listed || stream->element != ELEMENT_START)
		return stream_refuse(stream, -EPROTO, "a second block list");
	if (bytes == 0)
		return stream_refuse(stream, -EPROTO, "a VM without memory");
	stream->listing = bytes;
	return stream_head(stream, 8, ram_list_entry);
}

/* ---- pages ---- */

/* Reads the head of the record at @at; STEP_ON if it is all there. */
static int ram_record(struct stream *stream, uint64_t word, struct record *record)
{
	const uint8_t *at = stream_at(stream);
	const uint64_t mask = stream->blocks.page_size - 1;
	char text[STREAM_NAME_MAX];
	size_t name = 0;

	record->offset = word & ~mask;
	record->zero = word & RAM_ZERO;
	record->named = !(word & RAM_CONTINUE);
	if (record->named) {
		if (!stream_has(stream, 9))
			return STEP_MORE;
		name = 1 + (size_t)at[8];
	}
	record->head = 8 + name + (record->zero ? 1 : 0);
	if (!stream_has(stream, record->head))
		return STEP_MORE;
	record->block = record->named ? ram_blocks_find(&stream->blocks, (const char *)at + 9, name - 1)
				      : stream->in_block;
	if (record->block < 0) {
		stream_name(text, at + 9, name > 0 ? name - 1 : 0);
		return stream_refuse(stream, -EPROTO, "a page of block \"%s\", which is not in the list", text);
	}
	if (!ram_blocks_has(&stream->blocks, (uint32_t)record->block, record->offset))
		return stream_refuse(stream, -EPROTO,
				     "a page at 0x%" PRIx64 " of block %s, which has 0x%" PRIx64 " bytes",
				     record->offset, stream->blocks.list[record->block].name,
				     stream->blocks.list[record->block].length);
	if (record->zero && at[record->head - 1] != 0)
		return stream_refuse(stream, -EPROTO, "a page of block %s filled with 0x%02x",
				     stream->blocks.list[record->block].name, at[record->head - 1]);
	return STEP_ON;
}

/*
 * The records that follow each other page by page, all with content or all without, which is what most of a migration is: no more than
 * a comparison for each.
 */
static void ram_run(struct stream *stream, bool zero)
{
	struct stream_event *run = &stream->run;
	struct intake *in = &stream->intake;
	const uint64_t page = stream->blocks.page_size, length = stream->blocks.list[run->block].length;
	const uint64_t flags = RAM_CONTINUE | (zero ? RAM_ZERO : RAM_PAGE);
	const size_t record = 8 + (zero ? 1 : page);
	const uint8_t *at = in->buffer + in->at, *end = in->buffer + in->end;
	uint64_t next = run->offset + run->bytes;

	while (next < length && (size_t)(end - at) >= record && big_get64(at) == (next | flags) &&
	       (!zero || at[8] == 0)) {
		at += record;
		next += page;
	}
	run->bytes = next - run->offset;
	run->zero_pages = zero ? run->bytes / page : 0;
	in->at = (size_t)(at - in->buffer);
	intake_drop(in);
}

/* A page that the sidecars move. */
static int ram_take(struct stream *stream, const struct record *record, struct stream_event *event)
{
	struct stream_event *run = &stream->run;
	const uint32_t page = stream->blocks.page_size;
	int given = stream_give_forward(stream, event);

	if (given != STEP_ON)
		return given;
	if (run->block != (uint32_t)record->block || run->offset + run->bytes != record->offset ||
	    record->zero != (run->zero_pages > 0)) {
		given = stream_give_pages(stream, event);
		if (given != STEP_ON)
			return given;
	}
	if (run->bytes == 0)
		*run = (struct stream_event){ .block = (uint32_t)record->block, .offset = record->offset };
	run->bytes += page;
	run->zero_pages += record->zero;
	stream->in_block = record->block;
	intake_step(&stream->intake, record->head);
	intake_drop(&stream->intake);
	if (record->zero || stream_has(stream, page)) {
		intake_step(&stream->intake, record->zero ? 0 : page);
		ram_run(stream, record->zero);
	} else {
		stream->skip = page;
	}
	return STEP_ON;
}

/* A page that stays in the stream; its head is made anew if CONTINUE would mean another block there. */
static int ram_leave(struct stream *stream, const struct record *record, struct stream_event *event)
{
	const bool anew = !record->named && stream->out_block != record->block;
	const int given = anew ? stream_give_forward(stream, event) : STEP_ON;
	size_t head;

	if (given != STEP_ON)
		return given;
	stream->in_block = stream->out_block = record->block;
	stream->copy = record->zero ? 0 : stream->blocks.page_size;
	stream->stats.passed_pages++;
	intake_step(&stream->intake, record->head);
	if (!anew)
		return STEP_ON;
	intake_drop(&stream->intake);
	head = stream_make_head(&stream->blocks, record->block, record->offset, record->zero, stream->head);
	event->data = stream->head + STRAY_HEAD_MAX - head;
	event->length = head;
	stream->stats.forwarded_bytes += head;
	return STREAM_FORWARD;
}

static int ram_page(struct stream *stream, uint64_t word, struct stream_event *event)
{
	struct record record;
	const int status = ram_record(stream, word, &record);

	if (status != STEP_ON)
		return status;
	return stream->blocks.list[record.block].region >= 0 ? ram_take(stream, &record, event)
							     : ram_leave(stream, &record, event);
}

/* ---- what stands between pages ---- */

/* All that came before is given, and the channels are waited for, once for the record at @at. */
static int ram_sync(struct stream *stream, struct stream_event *event)
{
	const int given = stream_give_all(stream, event);

	if (given != STEP_ON || stream->synced)
		return given;
	stream->synced = true;
	return STREAM_SYNC;
}

static int ram_flush(struct stream *stream, struct stream_event *event)
{
	const int given = ram_sync(stream, event);

	if (given != STEP_ON)
		return given;
	stream->synced = false;
	stream->stats.flushes++;
	if (stream->element == ELEMENT_START)
		stream->flush_seen = true;
	intake_step(&stream->intake, 8);
	intake_drop(&stream->intake);
	return STEP_ON;
}

/* The step after RAM_END was given: the rest is not looked at. */
static int ram_end(struct stream *stream, struct stream_event *event)
{
	(void)event;
	stream->blind = true;
	stream_set_place(stream, "after the end of RAM");
	return STEP_ON;
}

static int ram_eos(struct stream *stream, struct stream_event *event)
{
	const int given = stream->flush_seen ? stream_give_all(stream, event) : ram_sync(stream, event);

	if (given != STEP_ON)
		return given;
	if (!stream->listed)
		return stream_refuse(stream, -EPROTO, "no block list");
	stream->synced = false;
	if (stream->element == ELEMENT_END) {
		stream->step = ram_end;
		return STREAM_RAM_END;
	}
	return stream_head(stream, 8, stream_footer);
}

/* Records that mean a way of migrating in which pages are not what they are in memory, or none that goes over a socket. */
static int ram_refuse(struct stream *stream, uint64_t word)
{
	const uint64_t flags = word & (stream->blocks.page_size - 1);

	if (flags & RAM_XBZRLE)
		return stream_refuse(
			stream, -ENOTSUP,
			"a page in xbzrle: it would only be decoded to be thrown away; switch capability xbzrle "
			"off (migrate-set-capabilities)");
	if (flags & RAM_COMPRESS)
		return stream_refuse(
			stream, -ENOTSUP,
			"a compressed page: switch capability compress off (migrate-set-capabilities)");
	if (flags & RAM_HOOK)
		return stream_refuse(stream, -EPROTO, "a record of QEMU's own RDMA migration, on a socket");
	return stream_refuse(stream, -EPROTO,
			     "a record with flags 0x%" PRIx64 "; what came before it was read wrongly, or "
			     "this is no stream of QEMU's",
			     flags);
}

int stream_ram(struct stream *stream, struct stream_event *event)
{
	uint64_t word, mask = stream->blocks.page_size - 1;

	if (!stream_has(stream, 8))
		return STEP_MORE;
	word = big_get64(stream_at(stream));
	switch (word & mask) {
	case RAM_PAGE:
	case RAM_PAGE | RAM_CONTINUE:
	case RAM_ZERO:
	case RAM_ZERO | RAM_CONTINUE:
		return ram_page(stream, word, event);
	case RAM_MEM_SIZE:
		return ram_list_begin(stream, word & ~mask);
	case RAM_EOS:
		if (word == RAM_EOS)
			return ram_eos(stream, event);
		break;
	case RAM_FLUSH:
		if (word == RAM_FLUSH)
			return ram_flush(stream, event);
		break;
	default:
		break;
	}
	return ram_refuse(stream, word);
}
