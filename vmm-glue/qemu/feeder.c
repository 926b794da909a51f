/* SPDX-License-Identifier: BSD-2-Clause */
/* feeder.c -- what QEMU sends of a migration: read, and given to the mover and to the link */
#include "qemu/feeder.h"

#include "qemu/link.h"
#include "qemu/multifd.h"
#include "qemu/relay.h"
#include "qemu/stream.h"

#include "util/clock.h"

#include <decant/memory.h>
#include <decant/mover.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is read at once should still be in the cache when the heads of its records are looked at, and its pages are never touched again. */
#define READ_BUFFER (256u << 10)
/* bytes of one connection before it is another's turn */
#define TURN_BYTES (4u << 20)
/* runs are held back until they are so long: as long as a mover's piece */
#define HELD_MAX ((uint64_t)DECANT_GRANULE_SIZE)
/* zeros that cost no more as part of a run of data than as a run of their own */
#define ZEROS_FEW (64u << 10)
/* what comes before the block list, which is a few kB */
#define EARLY_MAX (1u << 20)

struct feeder_channel {
	int fd;
	struct multifd *multifd;
	bool synced; /* waits for the main stream */
	bool ended;
};

struct feeder {
	struct feeder_opts opts;
	struct relay *main;
	struct stream *stream;
	struct decant_mover *mover; /* NULL until feeder_connect() */
	struct link *link;

	const uint8_t *out; /* to be forwarded, in the stream's buffer */
	size_t out_length;
	uint8_t *early; /* to be forwarded before that: what came before there was a link */
	size_t early_length;
	bool connected; /* blocks() has returned */
	bool passing;   /* all of it unlooked at */
	bool syncing;   /* the main stream waits for the channels */

	/* a run that may yet grow */
	uint32_t held_region;
	bool held_zero;
	uint64_t held_offset;
	uint64_t held_bytes; /* 0: there is none */

	struct feeder_channel channel[FEEDER_CHANNELS_MAX];
	struct feeder_stats stats;
};

int feeder_new(const struct feeder_opts *opts, struct relay *main, struct feeder **out, struct decant_error *err)
{
	struct feeder *feeder = calloc(1, sizeof(*feeder));
	int ret;

	if (feeder == NULL)
		return decant_error_set(err, -ENOMEM, "the reader of the migration stream: out of memory");
	feeder->opts = *opts;
	feeder->main = main;
	feeder->connected = opts->pass;
	feeder->passing = opts->pass;
	main->fed = true;
	ret = stream_new(READ_BUFFER, &feeder->stream, err);
	if (ret < 0) {
		free(feeder);
		return ret;
	}
	if (opts->pass)
		stream_pass(feeder->stream);
	*out = feeder;
	return 0;
}

void feeder_connect(struct feeder *feeder, struct decant_mover *mover, struct link *link)
{
	feeder->mover = mover;
	feeder->link = link;
}

int feeder_add_channel(struct feeder *feeder, int fd, struct decant_error *err)
{
	struct feeder_channel *channel = &feeder->channel[feeder->stats.channels];
	int ret;

	if (feeder->stats.channels == FEEDER_CHANNELS_MAX)
		ret = decant_error_set(err, -EMFILE, "more than %u connections of multifd", FEEDER_CHANNELS_MAX);
	else
		ret = multifd_new(stream_blocks(feeder->stream), 0, &channel->multifd, err);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	channel->fd = fd;
	feeder->stats.channels++;
	return 0;
}

bool feeder_wants_main(const struct feeder *feeder)
{
	return !feeder->main->in_ended && !feeder->syncing && feeder->out_length == 0 &&
	       (feeder->early_length == 0 || !feeder->connected);
}

int feeder_channel(const struct feeder *feeder, uint32_t index)
{
	if (index >= feeder->stats.channels)
		return -2;
	return feeder->channel[index].synced || feeder->channel[index].ended ? -1 : feeder->channel[index].fd;
}

/* ---- pages ---- */

int feeder_settle(struct feeder *feeder, struct decant_error *err)
{
	const uint64_t bytes = feeder->held_bytes;

	feeder->held_bytes = 0;
	if (bytes == 0)
		return 0;
	if (feeder->held_zero)
		return decant_mover_push_zeros(feeder->mover, feeder->held_region, feeder->held_offset, bytes,
					       err);
	return decant_mover_push(feeder->mover, feeder->held_region, feeder->held_offset, bytes, err);
}

static int feeder_pages(struct feeder *feeder, uint32_t block, uint64_t offset, uint64_t bytes,
			uint64_t zero_pages, struct decant_error *err)
{
	const struct ram_blocks *blocks = stream_blocks(feeder->stream);
	const uint32_t region = (uint32_t)blocks->list[block].region;
	const bool zero = zero_pages * blocks->page_size == bytes;
	const bool alike = feeder->held_zero == zero || (zero && bytes <= ZEROS_FEW);
	int ret;

	feeder->stats.dirty_pages += bytes / DECANT_PAGE_SIZE;
	if (feeder->held_bytes > 0 && feeder->held_region == region && alike &&
	    feeder->held_offset + feeder->held_bytes == offset && feeder->held_bytes < HELD_MAX) {
		feeder->held_bytes += bytes;
		return 0;
	}
	ret = feeder_settle(feeder, err);
	feeder->held_region = region;
	feeder->held_zero = zero;
	feeder->held_offset = offset;
	feeder->held_bytes = bytes;
	return ret;
}

static int feeder_ram_end(struct feeder *feeder, struct decant_error *err)
{
	const uint64_t begin_ns = clock_now_ns();
	int ret = feeder_settle(feeder, err);

	if (ret == 0)
		ret = decant_mover_barrier(feeder->mover, err);
	feeder->stats.drain_ns = clock_now_ns() - begin_ns;
	if (ret == 0)
		feeder->opts.ram_end(feeder->opts.opaque);
	return ret;
}

/* ---- what is forwarded ---- */

static int feeder_keep_early(struct feeder *feeder, const void *data, size_t length, struct decant_error *err)
{
	uint8_t *grown;

	if (feeder->early_length + length > EARLY_MAX)
		return decant_error_set(err, -EPROTO, "the migration stream: no block list in its first %u bytes",
					EARLY_MAX);
	grown = realloc(feeder->early, feeder->early_length + length);
	if (grown == NULL)
		return decant_error_set(err, -ENOMEM, "the migration stream's beginning: out of memory");
	memcpy(grown + feeder->early_length, data, length);
	feeder->early = grown;
	feeder->early_length += length;
	return 0;
}

/* As much as the link takes; 0, whether or not that was all. */
static int feeder_write(struct feeder *feeder, const uint8_t **data, size_t *length, struct decant_error *err)
{
	while (*length > 0) {
		const int took = link_write(feeder->link, feeder->main->id, *data, *length, err);

		if (took <= 0)
			return took;
		*data += took;
		*length -= (size_t)took;
		feeder->stats.forwarded_bytes += (uint64_t)took;
	}
	return 0;
}

static int feeder_forward(struct feeder *feeder, struct decant_error *err)
{
	const uint8_t *early = feeder->early;
	size_t left = feeder->early_length;
	int ret;

	if (!feeder->connected)
		return 0;
	ret = feeder_write(feeder, &early, &left, err);
	if (left > 0 && left < feeder->early_length)
		memmove(feeder->early, early, left);
	feeder->early_length = left;
	if (ret == 0 && left == 0)
		ret = feeder_write(feeder, &feeder->out, &feeder->out_length, err);
	return ret;
}

/* ---- the main stream ---- */

static int feeder_blocks(struct feeder *feeder, struct decant_error *err)
{
	struct ram_blocks *blocks = stream_blocks(feeder->stream);
	const int ret = feeder->opts.blocks(feeder->opts.opaque, blocks, stream_has_return_path(feeder->stream),
					    err);

	if (ret < 0)
		return ret;
	feeder->passing = ret == 1;
	if (feeder->passing)
		stream_pass(feeder->stream);
	feeder->stats.passing_bytes = ram_blocks_passing(blocks);
	feeder->connected = true;
	return 0;
}

static int feeder_sync_begin(struct feeder *feeder, struct decant_error *err)
{
	const int ret = feeder->opts.channels(feeder->opts.opaque, err);

	feeder->syncing = feeder->stats.channels > 0;
	return ret;
}

static int feeder_event(struct feeder *feeder, int what, const struct stream_event *event,
			struct decant_error *err)
{
	switch (what) {
	case STREAM_FORWARD:
		if (!feeder->connected)
			return feeder_keep_early(feeder, event->data, event->length, err);
		feeder->out = event->data;
		feeder->out_length = event->length;
		return 0;
	case STREAM_BLOCKS:
		return feeder_blocks(feeder, err);
	case STREAM_PAGES:
		return feeder_pages(feeder, event->block, event->offset, event->bytes, event->zero_pages, err);
	case STREAM_SYNC:
		return feeder_sync_begin(feeder, err);
	default:
		return feeder_ram_end(feeder, err);
	}
}

/* All events up to where something must be waited for, or read. 1: read. */
static int feeder_events(struct feeder *feeder, struct decant_error *err)
{
	struct stream_event event;
	int ret = feeder_forward(feeder, err);

	while (ret == 0 && feeder_wants_main(feeder)) {
		ret = stream_next(feeder->stream, &event, err);
		if (ret == 0)
			return 1;
		if (ret > 0)
			ret = feeder_event(feeder, ret, &event, err);
		if (ret == 0)
			ret = feeder_forward(feeder, err);
	}
	return ret;
}

static int feeder_finish(struct feeder *feeder, struct decant_error *err)
{
	const int ret = feeder->passing ? 0 : stream_finish(feeder->stream, err);

	return ret < 0 ? ret : relay_end_in(feeder->main, feeder->link, err);
}

/* 1: more may be there; 0: nothing now */
static int feeder_read(struct feeder *feeder, struct decant_error *err)
{
	size_t room;
	void *to = stream_room(feeder->stream, &room);
	const ssize_t got = recv(feeder->main->fd, to, room, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		return decant_error_set(err, -errno, "QEMU's migration connection: %s", strerror(errno));
	if (got == 0)
		return feeder_finish(feeder, err);
	stream_filled(feeder->stream, (size_t)got);
	feeder->stats.stream_bytes += (uint64_t)got;
	feeder->main->in_bytes += (uint64_t)got;
	return 1;
}

static int feeder_main_turn(struct feeder *feeder, struct decant_error *err)
{
	const uint64_t until = feeder->stats.stream_bytes + TURN_BYTES;
	int ret = feeder_events(feeder, err);

	/* nothing may lie in the buffer at the end, since nobody would be woken for it */
	while (ret == 1 && !feeder->main->in_ended && feeder->stats.stream_bytes < until) {
		ret = feeder_read(feeder, err);
		if (ret == 1)
			ret = feeder_events(feeder, err);
	}
	return ret < 0 ? ret : 0;
}

/* ---- multifd ---- */

/* 1: it waits now, or has been emptied; 0: read more */
static int channel_events(struct feeder *feeder, struct feeder_channel *channel, struct decant_error *err)
{
	struct multifd_event event;
	int what;

	while ((what = multifd_next(channel->multifd, &event, err)) > 0) {
		int ret = 0;

		if (what == MULTIFD_SYNC) {
			channel->synced = true;
			return 1;
		}
		ret = feeder_pages(feeder, event.block, event.offset, event.bytes, event.zero_pages, err);
		if (ret < 0)
			return ret;
	}
	return what;
}

/* 1: more may be there; 0: nothing now */
static int channel_read(struct feeder *feeder, struct feeder_channel *channel, struct decant_error *err)
{
	size_t room;
	void *to = multifd_room(channel->multifd, &room);
	const ssize_t got = recv(channel->fd, to, room, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		return decant_error_set(err, -errno, "QEMU's multifd connection: %s", strerror(errno));
	if (got == 0) {
		channel->ended = true;
		return multifd_finish(channel->multifd, err);
	}
	multifd_filled(channel->multifd, (size_t)got);
	feeder->stats.stream_bytes += (uint64_t)got;
	return 1;
}

static int channel_turn(struct feeder *feeder, struct feeder_channel *channel, struct decant_error *err)
{
	const uint64_t until = feeder->stats.stream_bytes + TURN_BYTES;
	int ret;

	if (channel->synced || channel->ended)
		return 0;
	ret = channel_events(feeder, channel, err);
	while (ret == 0 && !channel->ended && feeder->stats.stream_bytes < until) {
		ret = channel_read(feeder, channel, err);
		if (ret <= 0)
			return ret;
		ret = channel_events(feeder, channel, err);
	}
	return ret < 0 ? ret : 0;
}

/* When all have come to their SYNC, the main stream takes what it has to take from them, and all go on. */
static int feeder_sync(struct feeder *feeder, struct decant_error *err)
{
	struct feeder_channel *channel = feeder->channel;

	for (uint32_t i = 0; i < feeder->stats.channels; i++) {
		if (channel[i].ended && !channel[i].synced)
			return decant_error_set(err, -ECONNRESET,
						"QEMU has closed a connection of multifd's before its end");
		if (!channel[i].synced)
			return 0;
	}
	for (uint32_t i = 0; i < feeder->stats.channels; i++) {
		stream_put_in(feeder->stream, multifd_strays(channel[i].multifd));
		channel[i].synced = false;
	}
	feeder->syncing = false;
	return 0;
}

static int feeder_channels_turn(struct feeder *feeder, struct decant_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < feeder->stats.channels; i++)
		ret = channel_turn(feeder, &feeder->channel[i], err);
	return ret == 0 && feeder->syncing ? feeder_sync(feeder, err) : ret;
}

int feeder_turn(struct feeder *feeder, struct decant_error *err)
{
	bool synced = true;
	int ret = 0;

	/* once let go on, both the main stream and the channels may have more in their buffers */
	while (ret == 0 && synced) {
		ret = feeder_main_turn(feeder, err);
		synced = feeder->syncing;
		if (ret == 0)
			ret = feeder_channels_turn(feeder, err);
		synced = synced && !feeder->syncing;
	}
	return ret;
}

/* ---- the end ---- */

void feeder_get_stats(const struct feeder *feeder, struct feeder_stats *stats)
{
	*stats = feeder->stats;
}

void feeder_free(struct feeder *feeder)
{
	if (feeder == NULL)
		return;
	for (uint32_t i = 0; i < feeder->stats.channels; i++) {
		multifd_free(feeder->channel[i].multifd);
		close(feeder->channel[i].fd);
	}
	stream_free(feeder->stream);
	free(feeder->early);
	free(feeder);
}
