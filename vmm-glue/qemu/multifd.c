/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * multifd.c -- a channel of multifd: an INIT packet, then packets that name up to 512 KiB of pages of one block, with their content behind
 *
 * The two ends of QEMU's need not agree on multifd: pages of blocks with a region need no content, the few others fit into the main
 * stream, and a destination without multifd takes no notice of the syncs in it. So the channels end here.
 *
 * Between two syncs a page comes once at most, over whichever channel; so strays that are put in at the sync are in order.
 */
#include "qemu/multifd.h"

#include "qemu/big_endian.h"
#include "qemu/intake.h"
#include "qemu/strays.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_MAGIC 0x5145564du /* "QEVM" */
#define MULTIFD_MAGIC 0x11223344u
#define MULTIFD_VERSION 1u
#define TLS_RECORDS 0x1603u

/* INIT: magic, version, uuid, then the channel's number. */
#define INIT_BYTES 64u
#define INIT_ID 24u

/* A packet: where its fields are. Older QEMUs have zeros in the place of the number of zero pages. */
#define PACKET_FLAGS 8u
#define PACKET_NORMAL 16u
#define PACKET_PAYLOAD 20u
#define PACKET_ZERO 32u
#define PACKET_BLOCK 64u
#define PACKET_BLOCK_MAX 256u
#define PACKET_OFFSETS 320u
#define PACKET_PAGES_BYTES (512u << 10) /* what one packet has offsets for */
#define PACKET_PAGES_MAX 128u           /* of 4 KiB */
#define PACKET_MAX (PACKET_OFFSETS + 8u * PACKET_PAGES_MAX)

enum {
	FLAG_SYNC = 1,
	FLAG_COMPRESSION = 0x1f << 1,
	FLAG_DEVICE_STATE = 32 << 1,
};

/* As in stream_private.h. */
enum {
	STEP_ON = 0,
	STEP_MORE = 1000,
};

struct multifd {
	const struct ram_blocks *blocks;
	struct intake intake;
	int (*step)(struct multifd *multifd, struct multifd_event *event);
	struct decant_error failed;
	int id;

	/* of the packet that it is in */
	uint32_t block;
	uint32_t normal, zero; /* pages */
	uint32_t next;         /* of them, the next to be dealt with */
	bool sync;
	uint64_t offsets[PACKET_PAGES_MAX];

	uint64_t skip;       /* bytes of content that are not wanted */
	struct stray *stray; /* whose content is coming */
	uint32_t stray_got;  /* bytes of it */
	struct strays strays;

	struct multifd_stats stats;
};

enum multifd_kind multifd_kind(const void *first_four)
{
	const uint32_t magic = big_get32(first_four);

	if (magic == STREAM_MAGIC)
		return MULTIFD_MAIN;
	if (magic == MULTIFD_MAGIC)
		return MULTIFD_CHANNEL;
	return magic >> 16 == TLS_RECORDS ? MULTIFD_TLS : MULTIFD_STRANGE;
}

static int refuse(struct multifd *multifd, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int refuse(struct multifd *multifd, int code, const char *fmt, ...)
{
	char text[DECANT_ERROR_MAX];
	va_list args;

	va_start(args, fmt);
	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		text[0] = '\0';
	va_end(args);
	return decant_error_set(&multifd->failed, code,
				"channel %d of multifd: byte %" PRIu64 ", packet %" PRIu64 ": %s", multifd->id,
				intake_place(&multifd->intake), multifd->stats.packets, text);
}

static size_t packet_bytes(const struct multifd *multifd)
{
	return PACKET_OFFSETS + 8 * (PACKET_PAGES_BYTES / multifd->blocks->page_size);
}

/* What was looked at is of no use to anyone. */
static int head_done(struct multifd *multifd, size_t length,
		     int (*step)(struct multifd *multifd, struct multifd_event *event))
{
	intake_step(&multifd->intake, length);
	intake_drop(&multifd->intake);
	multifd->step = step;
	return STEP_ON;
}

static int packet_step(struct multifd *multifd, struct multifd_event *event);

/* ---- after a packet's head ---- */

static int sync_step(struct multifd *multifd, struct multifd_event *event)
{
	(void)event;
	multifd->step = packet_step;
	if (!multifd->sync)
		return STEP_ON;
	multifd->stats.syncs++;
	return MULTIFD_SYNC;
}

static int skip_step(struct multifd *multifd, struct multifd_event *event)
{
	struct intake *in = &multifd->intake;
	const size_t length = multifd->skip < intake_left(in) ? (size_t)multifd->skip : intake_left(in);

	(void)event;
	multifd->skip -= length;
	intake_step(in, length);
	intake_drop(in);
	if (multifd->skip > 0)
		return STEP_MORE;
	multifd->step = sync_step;
	return STEP_ON;
}

/* Pages of memory that is shared: their offsets, neighbours of one kind in one. */
static int pages_step(struct multifd *multifd, struct multifd_event *event)
{
	const uint32_t page = multifd->blocks->page_size, count = multifd->normal + multifd->zero;
	uint32_t i = multifd->next;
	bool zero;

	if (i == count) {
		multifd->skip = (uint64_t)multifd->normal * page;
		return head_done(multifd, 0, skip_step);
	}
	event->block = multifd->block;
	event->offset = multifd->offsets[i];
	zero = i >= multifd->normal;
	for (; i < count && multifd->offsets[i] == event->offset + event->bytes && (i >= multifd->normal) == zero;
	     i++)
		event->bytes += page;
	event->zero_pages = zero ? event->bytes / page : 0;
	multifd->stats.pages += event->bytes / page;
	multifd->stats.zero_pages += event->zero_pages;
	multifd->next = i;
	return MULTIFD_PAGES;
}

/* The content of a stray page, as far as it is there. */
static int stray_fill(struct multifd *multifd)
{
	struct intake *in = &multifd->intake;
	const uint32_t page = multifd->blocks->page_size, wanted = page - multifd->stray_got;
	const size_t length = wanted < intake_left(in) ? wanted : intake_left(in);

	memcpy(multifd->stray->content + multifd->stray_got, intake_at(in), length);
	intake_step(in, length);
	intake_drop(in);
	multifd->stray_got += (uint32_t)length;
	if (multifd->stray_got < page)
		return STEP_MORE;
	multifd->stray = NULL;
	return STEP_ON;
}

/* Pages of other memory: with their content, one by one. */
static int strays_step(struct multifd *multifd, struct multifd_event *event)
{
	const uint32_t page = multifd->blocks->page_size;
	const bool zero = multifd->next >= multifd->normal;
	struct stray *stray;

	(void)event;
	if (multifd->stray != NULL)
		return stray_fill(multifd);
	if (multifd->next == multifd->normal + multifd->zero)
		return head_done(multifd, 0, sync_step);
	stray = strays_add(&multifd->strays, multifd->block, multifd->offsets[multifd->next], page, zero);
	if (stray == NULL && errno == ENOMEM)
		return refuse(multifd, -ENOMEM, "out of memory");
	if (stray == NULL)
		return refuse(multifd, -ENOTSUP,
			      "more than %" PRIu64
			      " MiB of memory that is not shared, like that of block %s: share it, or "
			      "switch capability multifd off",
			      multifd->strays.max >> 20, multifd->blocks->list[multifd->block].name);
	multifd->next++;
	multifd->stats.passed_pages++;
	multifd->stray = zero ? NULL : stray;
	multifd->stray_got = 0;
	return STEP_ON;
}

/* ---- a packet's head ---- */

static int packet_flags(struct multifd *multifd, uint32_t flags)
{
	if (flags & FLAG_DEVICE_STATE)
		return refuse(
			multifd, -ENOTSUP,
			"the state of a device, which a destination without multifd cannot take: set property "
			"x-migration-multifd-transfer=off of the VFIO devices, or switch capability multifd off");
	if (flags & FLAG_COMPRESSION)
		return refuse(
			multifd, -ENOTSUP,
			"compressed: set multifd-compression to none (migrate-set-parameters): it would only cost time");
	if (flags & ~(uint32_t)FLAG_SYNC)
		return refuse(multifd, -EPROTO, "flags 0x%x", flags);
	return 0;
}

/* Which block, and whether all the pages are in it. */
static int packet_pages(struct multifd *multifd, const uint8_t *at)
{
	const struct ram_blocks *blocks = multifd->blocks;
	const char *name = (const char *)at + PACKET_BLOCK;
	const size_t named = strnlen(name, PACKET_BLOCK_MAX);
	uint32_t i;
	int block;

	block = named < PACKET_BLOCK_MAX ? ram_blocks_find(blocks, name, named) : -1;
	if (block < 0)
		return refuse(multifd, -EPROTO, "pages of a block that is not in the list");
	multifd->block = (uint32_t)block;
	for (i = 0; i < multifd->normal + multifd->zero; i++) {
		multifd->offsets[i] = big_get64(at + PACKET_OFFSETS + (size_t)8 * i);
		if (multifd->offsets[i] % blocks->page_size != 0 ||
		    !ram_blocks_has(blocks, multifd->block, multifd->offsets[i]))
			return refuse(multifd, -EPROTO,
				      "a page at 0x%" PRIx64 " of block %s, which has 0x%" PRIx64 " bytes",
				      multifd->offsets[i], blocks->list[block].name, blocks->list[block].length);
	}
	return 0;
}

static int packet_head(struct multifd *multifd, const uint8_t *at)
{
	const uint32_t page = multifd->blocks->page_size, most = PACKET_PAGES_BYTES / page;
	const uint32_t flags = big_get32(at + PACKET_FLAGS), payload = big_get32(at + PACKET_PAYLOAD);
	int status;

	if (big_get32(at) != MULTIFD_MAGIC || big_get32(at + 4) != MULTIFD_VERSION)
		return refuse(multifd, -EPROTO, "magic 0x%08x, version %u", big_get32(at), big_get32(at + 4));
	status = packet_flags(multifd, flags);
	if (status < 0)
		return status;
	multifd->normal = big_get32(at + PACKET_NORMAL);
	multifd->zero = big_get32(at + PACKET_ZERO);
	/* without pages an older QEMU leaves the number there that it had before */
	if (multifd->normal > most || multifd->zero > most - multifd->normal ||
	    (multifd->normal > 0 && payload != multifd->normal * page))
		return refuse(multifd, -EPROTO,
			      "%u pages and %u zero ones with %u bytes, of at most %u pages of %u",
			      multifd->normal, multifd->zero, payload, most, page);
	multifd->sync = flags & FLAG_SYNC;
	multifd->next = 0;
	return multifd->normal + multifd->zero == 0 ? 0 : packet_pages(multifd, at);
}

static int packet_step(struct multifd *multifd, struct multifd_event *event)
{
	const size_t length = packet_bytes(multifd);
	int status;

	(void)event;
	if (intake_left(&multifd->intake) < length)
		return STEP_MORE;
	status = packet_head(multifd, intake_at(&multifd->intake));
	if (status < 0)
		return status;
	multifd->stats.packets++;
	if (multifd->normal + multifd->zero == 0)
		return head_done(multifd, length, sync_step);
	return head_done(multifd, length,
			 multifd->blocks->list[multifd->block].region >= 0 ? pages_step : strays_step);
}

static int init_step(struct multifd *multifd, struct multifd_event *event)
{
	const uint8_t *at = intake_at(&multifd->intake);

	(void)event;
	if (intake_left(&multifd->intake) < INIT_BYTES)
		return STEP_MORE;
	if (big_get32(at) != MULTIFD_MAGIC || big_get32(at + 4) != MULTIFD_VERSION)
		return refuse(multifd, -EPROTO, "this is none: magic 0x%08x, version %u", big_get32(at),
			      big_get32(at + 4));
	multifd->id = at[INIT_ID];
	return head_done(multifd, INIT_BYTES, packet_step);
}

int multifd_next(struct multifd *multifd, struct multifd_event *event, struct decant_error *err)
{
	int status;

	memset(event, 0, sizeof(*event));
	if (multifd->failed.code == 0) {
		do
			status = multifd->step(multifd, event);
		while (status == STEP_ON);
		if (status == STEP_MORE)
			return 0;
		if (status > 0)
			return status;
	}
	return decant_error_set(err, multifd->failed.code, "%s", multifd->failed.msg);
}

int multifd_finish(const struct multifd *multifd, struct decant_error *err)
{
	if (multifd->failed.code != 0)
		return decant_error_set(err, multifd->failed.code, "%s", multifd->failed.msg);
	if (multifd->step == packet_step && intake_left(&multifd->intake) == 0)
		return 0;
	return decant_error_set(err, -ECONNRESET,
				"channel %d of multifd: byte %" PRIu64
				": QEMU has closed it inside a packet: the migration was cancelled or has failed",
				multifd->id, multifd->intake.fed);
}

int multifd_new(const struct ram_blocks *blocks, size_t buffer, struct multifd **multifd, struct decant_error *err)
{
	const uint64_t passing = ram_blocks_passing(blocks);
	struct multifd *made;

	if (buffer == 0)
		buffer = MULTIFD_BUFFER;
	if (buffer < PACKET_MAX)
		return decant_error_set(err, -EINVAL, "multifd_new: a buffer of %zu bytes: it must have %u",
					buffer, PACKET_MAX);
	made = calloc(1, sizeof(*made));
	if (made == NULL || intake_init(&made->intake, buffer) < 0) {
		free(made);
		return decant_error_set(err, -ENOMEM, "multifd_new: out of memory");
	}
	made->blocks = blocks;
	made->step = init_step;
	made->id = -1;
	/* each page once, and what it takes to keep it */
	strays_init(&made->strays, passing < STRAYS_MAX / 2 ? passing + passing / 8 : STRAYS_MAX);
	*multifd = made;
	return 0;
}

void *multifd_room(struct multifd *multifd, size_t *length)
{
	return intake_room(&multifd->intake, length);
}

void multifd_filled(struct multifd *multifd, size_t length)
{
	multifd->stats.bytes += length;
	intake_filled(&multifd->intake, length);
}

struct strays *multifd_strays(struct multifd *multifd)
{
	return &multifd->strays;
}

int multifd_id(const struct multifd *multifd)
{
	return multifd->id;
}

void multifd_get_stats(const struct multifd *multifd, struct multifd_stats *stats)
{
	*stats = multifd->stats;
}

void multifd_free(struct multifd *multifd)
{
	if (multifd == NULL)
		return;
	strays_clear(&multifd->strays);
	intake_free(&multifd->intake);
	free(multifd);
}
