/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_source.c -- the source's end of the RDMA fabric: it has no thread, whoever pushes also polls
 *
 * Completions are taken when a queue is full, and while waiting. A wait first looks at the queues, for as long as is worth it
 * (patience.h), then arms them, looks once more (a completion may have come in between), and only then sleeps on the completion
 * channels, the connection manager's channel and a descriptor that source_stop() sets.
 *
 * The channels are under @lock, for source_stop() may come from another thread while this one posts: when it has returned the
 * queue pairs are gone, so no device reads guest memory any more. The lock is not held asleep. Registrations have a lock of their
 * own, taken only to keep their list: registering itself goes on from several threads at once.
 *
 * Whatever is lost stays lost: the first reason is kept, and every later call returns it.
 */
#include "fabric/rdma/channel.h"
#include "fabric/rdma/cm.h"
#include "fabric/rdma/hello.h"
#include "fabric/rdma/keys.h"
#include "fabric/rdma/patience.h"
#include "fabric/rdma/rail.h"
#include "fabric/rdma/rdma.h"
#include "fabric/token.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <decant/memory.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With work under way, so long without a completion is a device that has lost one: its own retries are shorter. */
#define STALL_HARDWARE_NS (10 * NSEC_PER_SEC)
#define STALL_SOFTWARE_NS (60 * NSEC_PER_SEC)

/* How long an orderly end may take before the connection is cut. */
#define GOODBYE_NS (500 * NSEC_PER_MSEC)

#define RECEIPTS 32
#define BYE_CREDITS 1u /* kept back for the goodbye */

struct source_rail {
	struct rdma_cm_id *anchor; /* bound to the rail: keeps its device open and holds nothing else */
	char text[RAIL_TEXT_MAX];
};

struct fabric_source {
	/* set at connect, read-only after */
	uint32_t channels, rails;
	uint64_t stall_ns, under_way_ns;
	struct decant_log log;
	struct rdma_event_channel *events;
	int stop_fd;
	struct source_rail rail[FABRIC_PAIRS_MAX];
	struct ibv_pd *pd[FABRIC_PAIRS_MAX];

	struct patience patience; /* the feeder's */

	_Atomic bool stopping; /* release; acquire */
	_Atomic bool on_demand_told;

	pthread_mutex_t lock;      /* below: */
	struct channel *channel;   /* @channels of them */
	struct decant_error error; /* why the epoch is lost */
	bool stopped;
	bool blocked;  /* something got -EAGAIN, and nothing has happened since */
	bool standing; /* all channels do: there is somebody to say goodbye to */
	uint64_t writes, bytes;

	pthread_mutex_t keys_lock; /* below: */
	struct keys *keys;
	size_t keys_count, keys_room;
};

/* ---- failure ---- */

/* The first reason is kept, and the destination told, which may not have noticed. */
static int lose(struct fabric_source *source, const struct decant_error *why)
{
	if (source->error.code != 0)
		return source->error.code;
	source->error = *why;
	for (uint32_t i = 0; i < source->channels; i++)
		if (source->channel[i].id != NULL)
			(void)verbs_disconnect(source->channel[i].id); /* it may be gone already */
	return source->error.code;
}

static int fail(struct fabric_source *source, int code, const char *what)
{
	struct decant_error why = DECANT_ERROR_INIT;

	decant_error_set(&why, code, "rdma source: %s: %s", what, strerror(-code));
	return lose(source, &why);
}

/* under the lock */
static int check(const struct fabric_source *source)
{
	if (atomic_load_explicit(&source->stopping, memory_order_acquire) || source->stopped)
		return -ECANCELED;
	return source->error.code;
}

/* ---- connecting ---- */

/* Channels go over the rails in turn. */
static uint32_t rail_of(const struct fabric_source *source, uint32_t channel)
{
	return source->rails > 1 ? channel % source->rails : 0;
}

static int open_rail(struct fabric_source *source, uint32_t i, const struct fabric_pair *pair,
		     struct decant_error *err)
{
	struct source_rail *rail = &source->rail[i];
	struct sockaddr_storage address;
	int rc;

	rail_text(&pair->local, rail->text);
	rail_sockaddr(&pair->local, 0, &address);
	rc = verbs_id(source->events, NULL, &rail->anchor);
	if (rc < 0)
		return decant_error_set(err, rc, "%s: %s", rail->text, strerror(-rc));
	rc = verbs_bind(rail->anchor, (struct sockaddr *)&address);
	if (rc == 0 && rail->anchor->verbs == NULL)
		rc = -ENODEV;
	if (rc < 0)
		return decant_error_set(err, rc, "%s: bind: %s; is the device still there?", rail->text,
					strerror(-rc));
	rc = verbs_pd(rail->anchor->verbs, &source->pd[i]);
	return rc < 0 ? decant_error_set(err, rc, "%s: protection domain: %s", rail->text, strerror(-rc)) : 0;
}

static int open_queues(struct fabric_source *source, uint32_t index, struct rdma_cm_id *id,
		       struct decant_error *err)
{
	const struct channel_opts opts = {
		.id = id,
		.pd = source->pd[rail_of(source, index)],
		.index = index,
		.slot_size = index == 0 ? FABRIC_MESSAGE_MAX : sizeof(uint64_t),
		.under_way_ns = source->under_way_ns,
	};

	if (id->verbs != opts.pd->context)
		return decant_error_set(err, -ENETUNREACH, "the route leads over another device");
	return channel_open(&source->channel[index], &opts, err);
}

static int connect_channel(struct fabric_source *source, const struct fabric_source_opts *opts, uint32_t index,
			   uint16_t port, uint64_t deadline_ns, struct decant_error *err)
{
	const struct fabric_pair *pair = &opts->pairs[rail_of(source, index)];
	struct channel *channel = &source->channel[index];
	struct hello hello = { .channel = (uint16_t)index, .epoch = opts->epoch };
	struct welcome welcome;
	uint8_t bytes[HELLO_SIZE];
	struct rdma_cm_id *id;
	int rc = verbs_id(source->events, NULL, &id);

	if (rc < 0)
		return decant_error_set(err, rc, "connection: %s", strerror(-rc));
	rc = cm_resolve(id, pair, port, deadline_ns, opts->wake_fd, err);
	if (rc == 0)
		rc = open_queues(source, index, id, err);
	if (rc < 0) {
		rdma_destroy_id(id);
		return rc;
	}
	memcpy(hello.token, opts->tokens[index], sizeof(hello.token));
	hello_encode(&hello, bytes);
	rc = cm_connect(id, bytes, &welcome, deadline_ns, opts->wake_fd, err);
	channel->credits = rc == 0 ? welcome.credits : 0;
	if (rc == 0 && !token_equal(welcome.answer, opts->answers[index]))
		rc = decant_error_set(err, -EACCES,
				      "the destination's token is wrong: it is not the one we spoke to");
	if (rc == 0 && (channel->credits < 2 || channel->credits > CHANNEL_CREDITS))
		rc = decant_error_set(err, -EPROTO, "the destination grants %" PRIu32 " credits",
				      channel->credits);
	return rc;
}

static int connect_all(struct fabric_source *source, const struct fabric_source_opts *opts,
		       struct decant_error *err)
{
	const uint64_t deadline_ns = clock_deadline_ns(opts->connect_timeout_ns);
	struct rdma_ports ports;
	int rc = rdma_ports_decode(&opts->address, &ports, err);

	if (rc == 0 && ports.count != source->rails)
		rc = decant_error_set(err, -EPROTO, "the destination listens on %" PRIu32 " rails, not %" PRIu32,
				      ports.count, source->rails);
	for (uint32_t i = 0; rc == 0 && i < source->rails; i++)
		rc = open_rail(source, i, &opts->pairs[i], err);
	for (uint32_t i = 0; rc == 0 && i < source->channels; i++) {
		rc = connect_channel(source, opts, i, ports.port[rail_of(source, i)], deadline_ns, err);
		if (rc < 0) {
			char text[RAIL_TEXT_MAX];

			decant_error_prefix(err, "channel %" PRIu32 " from %s to %s", i,
					    source->rail[rail_of(source, i)].text,
					    rail_text(&opts->pairs[rail_of(source, i)].remote, text));
		}
	}
	return rc;
}

static int check_opts(const struct fabric_source_opts *opts, struct decant_error *err)
{
	if (opts->channels < 1 || opts->channels > FABRIC_CHANNELS_MAX || opts->pair_count < 1 ||
	    opts->pair_count > FABRIC_PAIRS_MAX)
		return decant_error_set(err, -EINVAL,
					"rdma source: %" PRIu32 " channels over %" PRIu32 " pairs of rails",
					opts->channels, opts->pair_count);
	return 0;
}

static struct fabric_source *source_new(const struct fabric_source_opts *opts)
{
	struct fabric_source *source = calloc(1, sizeof(*source));

	if (source == NULL)
		return NULL;
	source->channel = calloc(opts->channels, sizeof(*source->channel));
	if (source->channel == NULL) {
		free(source);
		return NULL;
	}
	source->channels = opts->channels;
	source->rails = opts->pair_count < opts->channels ? opts->pair_count : opts->channels;
	source->log = opts->log;
	source->under_way_ns = opts->under_way_ns;
	source->stall_ns = STALL_HARDWARE_NS;
	for (uint32_t i = 0; i < source->rails; i++)
		if (opts->pairs[i].local.software || opts->pairs[i].remote.software) {
			source->stall_ns = STALL_SOFTWARE_NS;
			source->patience.never = true;
		}
	source->stop_fd = -1;
	pthread_mutex_init(&source->lock, NULL);
	pthread_mutex_init(&source->keys_lock, NULL);
	return source;
}

int rdma_source_connect(const struct fabric_source_opts *opts, struct fabric_source **out,
			struct decant_error *err)
{
	struct fabric_source *source;
	int rc = check_opts(opts, err);

	if (rc < 0)
		return rc;
	source = source_new(opts);
	if (source == NULL)
		return decant_error_set(err, -ENOMEM, "rdma source: out of memory");
	source->stop_fd = io_wake_new();
	rc = source->stop_fd < 0 ? source->stop_fd : verbs_event_channel(&source->events);
	if (rc < 0)
		decant_error_set(err, rc, "connection manager: %s", strerror(-rc));
	else
		rc = connect_all(source, opts, err);
	if (rc < 0) {
		decant_error_prefix(err, "rdma source");
		rdma_source_close(source);
		return rc;
	}
	source->standing = true;
	log_debug(&source->log, "rdma source: %" PRIu32 " channels over %" PRIu32 " rails", source->channels,
		  source->rails);
	*out = source;
	return 0;
}

/* ---- registration ---- */

static int keep_keys(struct fabric_source *source, const struct keys *keys)
{
	DECANT_AUTO_UNLOCK(&source->keys_lock);
	if (source->keys_count == source->keys_room) {
		const size_t room = source->keys_room == 0 ? 64 : 2 * source->keys_room;
		struct keys *larger = realloc(source->keys, room * sizeof(*larger));

		if (larger == NULL)
			return -ENOMEM;
		source->keys = larger;
		source->keys_room = room;
	}
	source->keys[source->keys_count++] = *keys;
	return 0;
}

int rdma_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
		    struct decant_error *err)
{
	struct keys keys;
	/* read by this end's device alone: no access for the peer */
	int rc = keys_register(&keys, source->pd, source->rails, memory, length, (uintptr_t)memory, 0, err);

	if (rc < 0)
		return rc;
	*lkey = keys_pack_lkey(&keys);
	if (keys.on_demand && !atomic_exchange(&source->on_demand_told, true))
		log_info(&source->log, "rdma source: " KEYS_ON_DEMAND_TEXT);
	rc = keep_keys(source, &keys);
	if (rc < 0) {
		keys_deregister(&keys);
		return decant_error_set(err, rc, "rdma source: out of memory");
	}
	return 0;
}

/* ---- completions ---- */

static int take_receipts(struct fabric_source *source, struct channel *channel,
			 const struct channel_receipt *receipts, int count)
{
	for (int i = 0; i < count; i++) {
		const struct channel_receipt *receipt = &receipts[i];

		if (receipt->kind != CHANNEL_CREDIT || receipt->value > CHANNEL_CREDITS - channel->credits)
			return fail(source, -EPROTO, "the destination gives credits that were not spent");
		channel->credits += receipt->value;
	}
	return count > 0 ? channel_post_receives(channel, 0, (uint32_t)count) : 0;
}

/* Takes all completions of one channel. 1 if there were any. */
static int drain(struct fabric_source *source, struct channel *channel)
{
	struct channel_receipt receipts[RECEIPTS];
	struct decant_error err = DECANT_ERROR_INIT;
	bool any, found = false;
	int n, rc;

	do {
		n = channel_poll(channel, receipts, RECEIPTS, &any, &err);
		if (n < 0) {
			decant_error_prefix(&err, "rdma source");
			return lose(source, &err);
		}
		rc = take_receipts(source, channel, receipts, n);
		if (rc < 0)
			return fail(source, rc, "post receives");
		found = found || any;
	} while (any);
	return found;
}

/* A device that has lost a completion never says so. */
static int check_stall(struct fabric_source *source, const struct channel *channel)
{
	if (channel->posted == channel->done || clock_now_ns() - channel->progress_ns < source->stall_ns)
		return 0;
	return fail(source, -ETIMEDOUT,
		    "the device has work and completes nothing (see the kernel's log, and the firmware's version)");
}

static int drain_all(struct fabric_source *source)
{
	int found = 0;

	for (uint32_t i = 0; i < source->channels; i++) {
		int rc = drain(source, &source->channel[i]);

		if (rc == 0)
			rc = check_stall(source, &source->channel[i]);
		if (rc < 0)
			return rc;
		found |= rc;
	}
	return found;
}

static bool is_ours(const struct fabric_source *source, const struct rdma_cm_id *id)
{
	for (uint32_t i = 0; i < source->channels; i++)
		if (source->channel[i].id == id)
			return true;
	return false;
}

/* What the connection manager has to say of standing channels is bad news only. */
static int take_events(struct fabric_source *source)
{
	struct cm_event event;
	int rc;

	while ((rc = cm_take(source->events, &event)) == 0) {
		if (event.type == RDMA_CM_EVENT_DEVICE_REMOVAL)
			return fail(source, -ENODEV, "the device was removed (`rdma link` shows what is left)");
		if (is_ours(source, event.id) && event.type == RDMA_CM_EVENT_DISCONNECTED)
			return fail(source, -ECONNRESET,
				    "the destination has closed a channel (does decant still run there?)");
	}
	return rc == -EAGAIN ? 0 : fail(source, rc, "connection manager");
}

/* ---- the data path ---- */

/* 0, -EAGAIN, or the epoch is lost */
static int outcome(struct fabric_source *source, int rc)
{
	source->blocked = rc == -EAGAIN;
	return rc == 0 || rc == -EAGAIN ? rc : fail(source, rc, "post");
}

int rdma_source_write(struct fabric_source *source, const struct fabric_write *write)
{
	struct channel *channel;
	uint32_t rail;
	int rc;

	if (write->channel >= source->channels || write->length == 0 || write->length > RDMA_WRITE_MAX ||
	    write->length % DECANT_PAGE_SIZE != 0 || write->offset % DECANT_PAGE_SIZE != 0)
		return -EINVAL;
	DECANT_AUTO_UNLOCK(&source->lock);
	rc = check(source);
	if (rc < 0)
		return rc;
	channel = &source->channel[write->channel];
	rail = rail_of(source, write->channel);
	/* what is done is known when work is posted, or the window would take it for that work's doing */
	rc = source->under_way_ns > 0 ? drain(source, channel) : 0;
	if (rc < 0)
		return rc;
	rc = channel_write(channel, write->data, write->length, keys_unpack(write->lkey, rail), write->offset,
			   keys_unpack(write->rkey, rail));
	if (rc == -EAGAIN) {
		const int found = drain(source, channel);

		/* room again without a wait, as long as the device keeps up */
		rc = found < 0 ? found
			       : channel_write(channel, write->data, write->length, keys_unpack(write->lkey, rail),
					       write->offset, keys_unpack(write->rkey, rail));
	}
	if (rc == -EAGAIN)
		channel->full_at = channel->posted;
	if (rc == 0) {
		source->writes++;
		source->bytes += write->length;
	}
	return outcome(source, rc);
}

static int flush_all(struct fabric_source *source)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->channels; i++)
		rc = channel_flush(&source->channel[i]);
	return rc < 0 ? fail(source, rc, "post") : 0;
}

int rdma_source_flush(struct fabric_source *source)
{
	DECANT_AUTO_UNLOCK(&source->lock);
	const int rc = check(source);

	return rc < 0 ? rc : flush_all(source);
}

int rdma_source_barrier(struct fabric_source *source, uint64_t round)
{
	const uint64_t bytes = htole64(round);
	int rc;

	DECANT_AUTO_UNLOCK(&source->lock);
	rc = check(source);
	if (rc == 0)
		rc = drain_all(source);
	if (rc < 0)
		return rc;
	/* on all channels or on none */
	for (uint32_t i = 0; i < source->channels; i++)
		if (!channel_can_send(&source->channel[i], BYE_CREDITS))
			return outcome(source, -EAGAIN);
	rc = 0;
	for (uint32_t i = 0; rc == 0 && i < source->channels; i++)
		rc = channel_send(&source->channel[i], CHANNEL_BARRIER, &bytes, sizeof(bytes));
	return outcome(source, rc);
}

int rdma_source_message(struct fabric_source *source, const void *data, size_t length)
{
	struct channel *channel = &source->channel[0];
	int rc;

	if (length > FABRIC_MESSAGE_MAX)
		return -EMSGSIZE;
	DECANT_AUTO_UNLOCK(&source->lock);
	rc = check(source);
	if (rc == 0)
		rc = drain(source, channel);
	if (rc < 0)
		return rc;
	if (!channel_can_send(channel, BYE_CREDITS))
		return outcome(source, -EAGAIN);
	return outcome(source, channel_send(channel, CHANNEL_MESSAGE, data, (uint32_t)length));
}

/* Again and again, without a system call, until something has happened. 1, 0 or why the epoch is lost. */
static int look_until(struct fabric_source *source, uint64_t until_ns)
{
	int rc;

	do {
		DECANT_AUTO_UNLOCK(&source->lock);
		rc = check(source);
		if (rc == 0)
			rc = drain_all(source);
		if (rc > 0)
			source->blocked = false;
	} while (rc == 0 && clock_now_ns() < until_ns);
	return rc;
}

/*
 * One look, with the queues armed for what comes after it. 1: something has happened, or nothing was waited for. What fills a
 * queue has been handed over; lists that other channels are still gathering stay, or each wait would cut them short.
 */
static int look_and_arm(struct fabric_source *source)
{
	int rc, found;

	DECANT_AUTO_UNLOCK(&source->lock);
	rc = check(source);
	if (rc == 0)
		rc = take_events(source);
	found = rc == 0 ? drain_all(source) : rc;
	if (found == 0 && !source->blocked)
		found = 1;
	for (uint32_t i = 0; found == 0 && rc == 0 && i < source->channels; i++) {
		rc = verbs_take_notice(source->channel[i].notice);
		rc = rc < 0 ? rc : verbs_arm(source->channel[i].cq);
	}
	if (rc < 0 && found == 0)
		return fail(source, rc, "arm");
	if (found == 0)
		found = drain_all(source);
	if (found > 0)
		source->blocked = false;
	return found;
}

static int sleep_until(struct fabric_source *source, uint64_t deadline_ns)
{
	struct pollfd set[FABRIC_CHANNELS_MAX + 2];
	const uint64_t soon = clock_deadline_ns(NSEC_PER_SEC); /* to look for a stall */
	int n;

	set[0] = (struct pollfd){ .fd = source->stop_fd, .events = POLLIN };
	set[1] = (struct pollfd){ .fd = source->events->fd, .events = POLLIN };
	for (uint32_t i = 0; i < source->channels; i++)
		set[2 + i] = (struct pollfd){ .fd = source->channel[i].notice->fd, .events = POLLIN };
	n = poll(set, 2 + source->channels, clock_poll_ms(deadline_ns < soon ? deadline_ns : soon));
	return n < 0 && errno != EINTR ? -errno : 0;
}

static int await_completion(struct fabric_source *source, uint64_t deadline_ns)
{
	int rc;

	while ((rc = look_and_arm(source)) == 0) {
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		rc = sleep_until(source, deadline_ns);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : 0;
}

static bool is_blocked(struct fabric_source *source)
{
	DECANT_AUTO_UNLOCK(&source->lock);
	return source->blocked;
}

int rdma_source_wait(struct fabric_source *source, uint64_t timeout_ns)
{
	const uint64_t begun_ns = clock_now_ns(), deadline_ns = clock_deadline_ns(timeout_ns);
	const uint64_t look_ns = patience_look_ns(&source->patience);
	int rc = 0;

	/* who does not wait for room only asks how the channels are */
	if (!is_blocked(source) || timeout_ns == 0)
		return await_completion(source, deadline_ns);
	if (look_ns > 0)
		rc = look_until(source, begun_ns + (look_ns < timeout_ns ? look_ns : timeout_ns));
	if (rc == 0)
		rc = await_completion(source, deadline_ns);
	patience_waited(&source->patience, clock_now_ns() - begun_ns);
	return rc < 0 ? rc : 0;
}

/* Whoever asks also polls: nobody else would. A loss that is found is told by the next call. */
uint64_t rdma_source_pending(const struct fabric_source *source)
{
	struct fabric_source *pollable = (struct fabric_source *)source;
	uint64_t bytes = 0;

	DECANT_AUTO_UNLOCK(&pollable->lock);
	/* what it finds may be what a wait is for */
	if (check(source) == 0 && drain_all(pollable) > 0)
		pollable->blocked = false;
	for (uint32_t i = 0; i < source->channels; i++)
		bytes += source->channel[i].bytes + source->channel[i].gathered_bytes;
	return bytes;
}

void rdma_source_last_error(const struct fabric_source *source, struct decant_error *err)
{
	struct fabric_source *lockable = (struct fabric_source *)source;

	DECANT_AUTO_UNLOCK(&lockable->lock);
	*err = source->error;
}

void rdma_source_stats(const struct fabric_source *source, struct fabric_source_stats *stats)
{
	struct fabric_source *lockable = (struct fabric_source *)source;

	DECANT_AUTO_UNLOCK(&lockable->lock);
	*stats = (struct fabric_source_stats){ .writes = source->writes, .bytes = source->bytes };
	for (uint32_t i = 0; i < source->channels; i++) {
		stats->posts += source->channel[i].posts;
		stats->completions += source->channel[i].completions;
	}
}

/* ---- the end ---- */

/* The destination is told of each channel that this is no loss, if all is done there and under a barrier. */
static void begin_goodbye(struct fabric_source *source)
{
	for (uint32_t i = 0; i < source->channels; i++) {
		struct channel *channel = &source->channel[i];

		if (drain(source, channel) < 0)
			return;
		if (!channel->open && channel_can_send(channel, 0) &&
		    channel_send(channel, CHANNEL_BYE, NULL, 0) < 0)
			return;
	}
}

static void say_goodbye(struct fabric_source *source)
{
	const uint64_t deadline_ns = clock_deadline_ns(GOODBYE_NS);
	bool waiting = source->standing && source->error.code == 0 && take_events(source) == 0;

	if (waiting)
		begin_goodbye(source);
	/* who has gone does not answer */
	while (waiting && take_events(source) == 0 && clock_now_ns() < deadline_ns) {
		waiting = false;
		for (uint32_t i = 0; i < source->channels; i++) {
			if (drain(source, &source->channel[i]) < 0)
				return;
			waiting = waiting || (!source->channel[i].open &&
					      source->channel[i].posted != source->channel[i].done);
		}
		if (waiting)
			usleep(1000);
	}
}

void rdma_source_stop(struct fabric_source *source)
{
	atomic_store_explicit(&source->stopping, true, memory_order_release);
	io_wake_set(source->stop_fd);
	DECANT_AUTO_UNLOCK(&source->lock);
	if (source->stopped)
		return;
	source->stopped = true;
	say_goodbye(source);
	for (uint32_t i = 0; i < source->channels; i++) {
		if (source->channel[i].id == NULL)
			continue;
		(void)verbs_disconnect(source->channel[i].id); /* it may not stand */
		channel_kill(&source->channel[i]);
	}
}

void rdma_source_close(struct fabric_source *source)
{
	if (source == NULL)
		return;
	rdma_source_stop(source);
	for (uint32_t i = 0; i < source->channels; i++)
		channel_close(&source->channel[i]);
	for (size_t i = 0; i < source->keys_count; i++)
		keys_deregister(&source->keys[i]);
	for (uint32_t i = 0; i < FABRIC_PAIRS_MAX; i++) {
		if (source->pd[i] != NULL)
			ibv_dealloc_pd(source->pd[i]);
		if (source->rail[i].anchor != NULL)
			rdma_destroy_id(source->rail[i].anchor);
	}
	if (source->events != NULL)
		rdma_destroy_event_channel(source->events);
	if (source->stop_fd >= 0)
		close(source->stop_fd);
	pthread_mutex_destroy(&source->keys_lock);
	pthread_mutex_destroy(&source->lock);
	free(source->keys);
	free(source->channel);
	free(source);
}
