/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_sink.c -- the sink's end of the RDMA fabric: registrations, and one thread for what is not data
 *
 * Data needs nobody here. The thread listens on each rail, lets a channel in that presents its token, and takes barriers
 * and messages off the completion queues; it sleeps in poll(2) between them. A completion of a SEND that came after WRITEs on the
 * same queue pair says that those can be seen in memory: that is the barrier.
 *
 * The fence stops the thread, then destroys the queue pairs: what still comes over the network finds none, and no event is
 * called any more. Its cost does not grow with memory. Registrations end when the sink is closed.
 *
 * The granules' registrations are pointers that appear once, with compare and exchange, so that they are made from any
 * thread without a lock.
 */
#include "fabric/rdma/channel.h"
#include "fabric/rdma/cm.h"
#include "fabric/rdma/hello.h"
#include "fabric/rdma/keys.h"
#include "fabric/rdma/rail.h"
#include "fabric/rdma/rdma.h"
#include "fabric/token.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include "util/placement.h"
#include "util/thread.h"

#include <decant/memory.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECEIPTS 16
#define BACKLOG 16

/* Credits go back when so many have gathered: a SEND for each would be one per barrier and message. */
#define CREDITS_BATCH (CHANNEL_CREDITS / 4)

struct sink_region {
	uint64_t length, granule_size, granules;
	struct keys *_Atomic *keys; /* of each granule, NULL: not exposed */
};

struct sink_channel {
	struct channel channel;
	bool accepted; /* its token was right: no other may come */
	bool lost;     /* lost() was called, or it ended in order */
	uint32_t used; /* receives posted again that the source has not been told of */
};

struct fabric_sink {
	int node; /* NUMA node near the rails; set before the thread starts */
	/* set at open, read-only after */
	uint32_t channels, rails, regions;
	uint64_t epoch;
	uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	uint64_t tokens_until_ns;
	const struct fabric_sink_events *events;
	void *opaque;
	struct decant_log log;
	struct rdma_event_channel *manager;
	struct rdma_cm_id *listener[FABRIC_PAIRS_MAX];
	struct ibv_pd *pd[FABRIC_PAIRS_MAX];
	struct rdma_ports ports;
	int stop_fd;
	_Atomic bool on_demand_told; /* any thread */
	struct sink_region region[FABRIC_REGIONS_MAX];

	/* the thread's, then who fences */
	struct sink_channel *channel; /* @channels of them */
	bool refusal_logged;
	_Atomic uint64_t cpu_ns; /* relaxed: statistics */

	pthread_mutex_t fence_lock;
	pthread_t thread;
	bool running; /* protected by fence_lock */
};

/* ---- events ---- */

static void lose(struct fabric_sink *sink, uint32_t index, const struct decant_error *why)
{
	struct sink_channel *channel = &sink->channel[index];

	if (channel->lost)
		return;
	channel->lost = true;
	if (channel->accepted)
		(void)verbs_disconnect(channel->channel.id); /* so that the source knows, if it does not */
	sink->events->lost(sink->opaque, index, why);
}

static int take_barrier(struct fabric_sink *sink, uint32_t index, const void *data, uint32_t length,
			struct decant_error *err)
{
	uint64_t round;

	if (length != sizeof(round))
		return decant_error_set(err, -EPROTO, "a barrier of %" PRIu32 " bytes", length);
	memcpy(&round, data, sizeof(round));
	sink->events->barrier(sink->opaque, index, le64toh(round));
	return 0;
}

static int take_receipt(struct fabric_sink *sink, uint32_t index, const struct channel_receipt *receipt,
			struct decant_error *err)
{
	struct sink_channel *channel = &sink->channel[index];
	const uint8_t *data = channel->channel.ring + (size_t)receipt->slot * channel->channel.slot_size;

	switch (receipt->kind) {
	case CHANNEL_BARRIER:
		return take_barrier(sink, index, data, receipt->length, err);
	case CHANNEL_MESSAGE:
		if (index != 0)
			return decant_error_set(err, -EPROTO, "a message where none belongs");
		return sink->events->message(sink->opaque, data, receipt->length, err);
	case CHANNEL_BYE:
		channel->lost = true; /* in order: what comes after it is the end */
		return 0;
	case CHANNEL_CREDIT:
		break;
	}
	return decant_error_set(err, -EPROTO, "the source sent something of no kind (%d)", (int)receipt->kind);
}

static int give_back(struct sink_channel *channel, uint32_t slot)
{
	int rc = channel_post_receives(&channel->channel, slot, 1);

	if (rc == 0 && ++channel->used >= CREDITS_BATCH) {
		rc = channel_give_credits(&channel->channel, channel->used);
		channel->used = 0;
	}
	return rc;
}

static int take_completions(struct fabric_sink *sink, uint32_t index, struct decant_error *err)
{
	struct sink_channel *channel = &sink->channel[index];
	struct channel_receipt receipts[RECEIPTS];
	bool any;
	int rc = 0;

	do {
		const int n = channel_poll(&channel->channel, receipts, RECEIPTS, &any, err);

		if (n < 0)
			return n;
		for (int i = 0; rc == 0 && i < n && !channel->lost; i++) {
			rc = take_receipt(sink, index, &receipts[i], err);
			if (rc == 0 && !channel->lost) {
				rc = give_back(channel, receipts[i].slot);
				if (rc < 0)
					decant_error_set(err, rc, "give a receive back: %s", strerror(-rc));
			}
		}
	} while (rc == 0 && any && !channel->lost);
	return rc;
}

/* Take what is there, arm, and look once more: a completion between the two would be slept over. */
static void serve_channel(struct fabric_sink *sink, uint32_t index)
{
	struct sink_channel *channel = &sink->channel[index];
	struct decant_error err = DECANT_ERROR_INIT;
	int rc = verbs_take_notice(channel->channel.notice);

	if (rc >= 0)
		rc = take_completions(sink, index, &err);
	if (rc == 0)
		rc = verbs_arm(channel->channel.cq);
	if (rc == 0)
		rc = take_completions(sink, index, &err);
	if (rc == 0)
		return;
	if (err.code == 0)
		decant_error_set(&err, rc, "completion queue: %s", strerror(-rc));
	decant_error_prefix(&err, "rdma sink: channel %" PRIu32, index);
	lose(sink, index, &err);
}

/* ---- letting channels in ---- */

static void refuse(struct fabric_sink *sink, struct rdma_cm_id *id, const struct refused *refused,
		   const char *text)
{
	uint8_t bytes[REFUSAL_SIZE];

	refusal_encode(refused, bytes);
	(void)verbs_reject(id, bytes, sizeof(bytes)); /* it may be gone */
	rdma_destroy_id(id);
	if (!sink->refusal_logged)
		log_warning(&sink->log,
			    "rdma sink: refused a channel: %s; further ones are refused without a word", text);
	sink->refusal_logged = true;
}

static enum refusal judge(const struct fabric_sink *sink, const struct cm_event *event, struct hello *hello)
{
	if (hello_decode(hello, event->data, event->length) < 0)
		return REFUSAL_HELLO;
	/* one comparison for whatever channel it names, so that the time tells nothing */
	if (!token_equal(hello->token, sink->tokens[hello->channel % FABRIC_CHANNELS_MAX]) ||
	    hello->channel >= sink->channels || hello->epoch != sink->epoch)
		return REFUSAL_TOKEN;
	if (clock_now_ns() >= sink->tokens_until_ns)
		return REFUSAL_EXPIRED;
	return sink->channel[hello->channel].accepted ? REFUSAL_TWICE : REFUSAL_NONE;
}

static int accept_channel(struct fabric_sink *sink, struct rdma_cm_id *id, uint32_t index,
			  struct decant_error *err)
{
	struct sink_channel *channel = &sink->channel[index];
	const struct channel_opts opts = {
		.id = id,
		.pd = sink->pd[index % sink->rails],
		.index = index,
		.slot_size = index == 0 ? FABRIC_MESSAGE_MAX : sizeof(uint64_t),
		.receives = true,
	};
	struct welcome welcome = { .credits = CHANNEL_CREDITS };
	uint8_t bytes[WELCOME_SIZE];
	struct rdma_conn_param param;
	int rc;

	if (id->verbs != opts.pd->context)
		return decant_error_set(err, -EPROTO, "channel %" PRIu32 " came over the wrong rail", index);
	rc = channel_open(&channel->channel, &opts, err);
	if (rc < 0)
		return rc;
	memcpy(welcome.answer, sink->answers[index], sizeof(welcome.answer));
	welcome_encode(&welcome, bytes);
	param = cm_param(bytes, sizeof(bytes));
	rc = verbs_accept(id, &param);
	if (rc < 0) {
		channel_kill(&channel->channel);
		channel->channel.id = NULL;
		channel_close(&channel->channel);
		return decant_error_set(err, rc, "accept: %s", strerror(-rc));
	}
	channel->accepted = true;
	return 0;
}

static void take_request(struct fabric_sink *sink, const struct cm_event *event)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct hello hello;
	struct refused refused = { .why = judge(sink, event, &hello) };

	if (refused.why == REFUSAL_NONE && accept_channel(sink, event->id, hello.channel, &err) < 0) {
		refused.why = REFUSAL_FAILED;
		refused.code = (uint32_t)-err.code;
		snprintf(refused.text, sizeof(refused.text), "%.*s", (int)REFUSAL_TEXT_MAX, err.msg);
	}
	if (refused.why != REFUSAL_NONE)
		refuse(sink, event->id, &refused, err.code != 0 ? err.msg : refusal_str(refused.why));
}

static struct sink_channel *find_channel(struct fabric_sink *sink, const struct rdma_cm_id *id, uint32_t *index)
{
	for (*index = 0; *index < sink->channels; ++*index)
		if (sink->channel[*index].accepted && sink->channel[*index].channel.id == id)
			return &sink->channel[*index];
	return NULL;
}

static void take_end(struct fabric_sink *sink, const struct cm_event *event)
{
	struct decant_error err;
	uint32_t index;

	if (find_channel(sink, event->id, &index) == NULL)
		return;
	/* what came before the end counts, a goodbye most of all */
	serve_channel(sink, index);
	decant_error_set(&err, -ECONNRESET, "rdma sink: channel %" PRIu32 ": %s", index,
			 event->type == RDMA_CM_EVENT_DISCONNECTED ? "the source has closed it"
								   : rdma_event_str(event->type));
	lose(sink, index, &err);
}

/* 0: all that there were; or why there will be no more. */
static int take_events(struct fabric_sink *sink)
{
	struct cm_event event;
	int rc;

	while ((rc = cm_take(sink->manager, &event)) == 0) {
		if (event.type == RDMA_CM_EVENT_CONNECT_REQUEST)
			take_request(sink, &event);
		else if (cm_ends(event.type))
			take_end(sink, &event);
	}
	return rc == -EAGAIN ? 0 : rc;
}

/* ---- the thread ---- */

/* Those that are lost are left alone: their queues have nothing more to say. */
static nfds_t fill_poll(const struct fabric_sink *sink, struct pollfd *set, uint32_t *index)
{
	nfds_t n = 2;

	set[0] = (struct pollfd){ .fd = sink->stop_fd, .events = POLLIN };
	set[1] = (struct pollfd){ .fd = sink->manager->fd, .events = POLLIN };
	for (uint32_t i = 0; i < sink->channels; i++) {
		if (!sink->channel[i].accepted || sink->channel[i].lost)
			continue;
		index[n] = i;
		set[n++] = (struct pollfd){ .fd = sink->channel[i].channel.notice->fd, .events = POLLIN };
	}
	return n;
}

/* Nobody would notice anything any more: the channels are lost, those too that have not come yet. */
static void *give_up(struct fabric_sink *sink, const char *what, int code)
{
	struct decant_error err;

	decant_error_set(&err, code, "rdma sink: %s: %s", what, strerror(-code));
	for (uint32_t i = 0; i < sink->channels; i++)
		lose(sink, i, &err);
	return NULL;
}

static void *sink_main(void *opaque)
{
	struct fabric_sink *sink = opaque;
	struct pollfd set[FABRIC_CHANNELS_MAX + 2];
	uint32_t index[FABRIC_CHANNELS_MAX + 2];
	int rc = 0;

	placement_near_node(sink->node);
	for (;;) {
		const nfds_t n = fill_poll(sink, set, index);

		if (poll(set, n, -1) < 0 && errno != EINTR)
			return give_up(sink, "poll", -errno);
		if (io_wake_test(sink->stop_fd))
			break;
		for (nfds_t i = 2; i < n; i++)
			if (set[i].revents != 0)
				serve_channel(sink, index[i]);
		if (set[1].revents != 0)
			rc = take_events(sink);
		if (rc < 0)
			return give_up(sink, "connection manager", rc);
		atomic_store_explicit(&sink->cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
	}
	return NULL;
}

/* ---- opening ---- */

static int make_regions(struct fabric_sink *sink, const struct fabric_sink_opts *opts)
{
	sink->regions = opts->regions;
	for (uint32_t i = 0; i < opts->regions; i++) {
		struct sink_region *region = &sink->region[i];

		region->length = opts->region_length[i];
		region->granule_size = opts->granule_size[i];
		region->granules = (region->length + region->granule_size - 1) / region->granule_size;
		region->keys = calloc(region->granules, sizeof(*region->keys));
		if (region->keys == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int listen_on(struct fabric_sink *sink, uint32_t i, const struct fabric_rail *rail,
		     struct decant_error *err)
{
	struct sockaddr_storage address;
	char text[RAIL_TEXT_MAX];
	int rc = verbs_id(sink->manager, NULL, &sink->listener[i]);

	rail_sockaddr(rail, 0, &address);
	if (rc == 0)
		rc = verbs_bind(sink->listener[i], (struct sockaddr *)&address);
	if (rc == 0 && sink->listener[i]->verbs == NULL)
		rc = -ENODEV;
	if (rc == 0)
		rc = verbs_listen(sink->listener[i], BACKLOG);
	if (rc < 0)
		return decant_error_set(err, rc, "listen on %s: %s; is the device still there?",
					rail_text(rail, text), strerror(-rc));
	sink->ports.port[i] = cm_port(sink->listener[i]);
	rc = verbs_pd(sink->listener[i]->verbs, &sink->pd[i]);
	return rc < 0 ? decant_error_set(err, rc, "%s: protection domain: %s", rail_text(rail, text),
					 strerror(-rc))
		      : 0;
}

static int sink_start(struct fabric_sink *sink, const struct fabric_sink_opts *opts, struct decant_error *err)
{
	int rc = make_regions(sink, opts);

	if (rc < 0)
		return decant_error_set(err, rc, "out of memory");
	sink->stop_fd = io_wake_new();
	rc = sink->stop_fd < 0 ? sink->stop_fd : verbs_event_channel(&sink->manager);
	if (rc < 0)
		return decant_error_set(err, rc, "connection manager: %s", strerror(-rc));
	sink->ports.count = sink->rails;
	sink->node = rail_node(opts->rails, sink->rails);
	for (uint32_t i = 0; rc == 0 && i < sink->rails; i++)
		rc = listen_on(sink, i, &opts->rails[i], err);
	if (rc < 0)
		return rc;
	rc = thread_start(&sink->thread, "rdma-sink", sink_main, sink);
	sink->running = rc == 0;
	return rc < 0 ? decant_error_set(err, rc, "start a thread: %s", strerror(-rc)) : 0;
}

static int check_opts(const struct fabric_sink_opts *opts, struct decant_error *err)
{
	if (opts->channels < 1 || opts->channels > FABRIC_CHANNELS_MAX || opts->rail_count < 1 ||
	    opts->rail_count > FABRIC_PAIRS_MAX || opts->regions > FABRIC_REGIONS_MAX)
		return decant_error_set(err, -EINVAL,
					"rdma sink: %" PRIu32 " channels over %" PRIu32 " rails for %" PRIu32
					" regions",
					opts->channels, opts->rail_count, opts->regions);
	for (uint32_t i = 0; i < opts->regions; i++)
		if (opts->granule_size[i] == 0 || opts->region_length[i] == 0 ||
		    opts->granule_size[i] % DECANT_PAGE_SIZE != 0 ||
		    opts->region_length[i] % DECANT_PAGE_SIZE != 0)
			return decant_error_set(err, -EINVAL,
						"rdma sink: region %" PRIu32
						" or its granules are not whole pages",
						i);
	return 0;
}

int rdma_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **out, struct decant_error *err)
{
	struct fabric_sink *sink;
	int rc = check_opts(opts, err);

	if (rc < 0)
		return rc;
	sink = calloc(1, sizeof(*sink));
	if (sink == NULL)
		return decant_error_set(err, -ENOMEM, "rdma sink: out of memory");
	sink->channel = calloc(opts->channels, sizeof(*sink->channel));
	if (sink->channel == NULL) {
		free(sink);
		return decant_error_set(err, -ENOMEM, "rdma sink: out of memory");
	}
	sink->channels = opts->channels;
	sink->rails = opts->rail_count < opts->channels ? opts->rail_count : opts->channels;
	sink->epoch = opts->epoch;
	memcpy(sink->tokens, opts->tokens, sizeof(sink->tokens));
	memcpy(sink->answers, opts->answers, sizeof(sink->answers));
	sink->tokens_until_ns = token_deadline_ns(opts);
	sink->events = opts->events;
	sink->opaque = opts->opaque;
	sink->log = opts->log;
	sink->stop_fd = -1;
	pthread_mutex_init(&sink->fence_lock, NULL);
	rc = sink_start(sink, opts, err);
	if (rc < 0) {
		decant_error_prefix(err, "rdma sink");
		rdma_sink_close(sink);
		return rc;
	}
	*out = sink;
	return 0;
}

void rdma_sink_address(const struct fabric_sink *sink, struct fabric_address *address)
{
	rdma_ports_encode(&sink->ports, address);
}

/* ---- exposure ---- */

static int find_granule(const struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length,
			struct keys *_Atomic **slot, struct decant_error *err)
{
	const struct sink_region *r = region < sink->regions ? &sink->region[region] : NULL;

	/* a whole granule, or the shorter end of a region */
	if (r == NULL || offset >= r->length || offset % r->granule_size != 0 ||
	    length != (r->length - offset < r->granule_size ? r->length - offset : r->granule_size))
		return decant_error_set(err, -EINVAL,
					"rdma sink: [%#" PRIx64 ", + %#" PRIx64
					") is no granule of region %" PRIu32,
					offset, length, region);
	*slot = &r->keys[offset / r->granule_size];
	return 0;
}

int rdma_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		     uint64_t *rkey, struct decant_error *err)
{
	struct keys *_Atomic *slot;
	struct keys *keys, *there = NULL;
	int rc = find_granule(sink, region, offset, length, &slot, err);

	if (rc < 0)
		return rc;
	there = atomic_load_explicit(slot, memory_order_acquire);
	if (there != NULL) {
		*rkey = keys_pack_rkey(there);
		return 0;
	}
	keys = malloc(sizeof(*keys));
	if (keys == NULL)
		return decant_error_set(err, -ENOMEM, "rdma sink: out of memory");
	rc = keys_register(keys, sink->pd, sink->rails, memory, length, offset,
			   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, err);
	if (rc < 0) {
		free(keys);
		return rc;
	}
	if (!atomic_compare_exchange_strong_explicit(slot, &there, keys, memory_order_acq_rel,
						     memory_order_acquire)) {
		keys_deregister(keys); /* another thread was quicker */
		free(keys);
		keys = there;
	}
	*rkey = keys_pack_rkey(keys);
	if (keys->on_demand && !atomic_exchange(&sink->on_demand_told, true))
		log_info(&sink->log, "rdma sink: " KEYS_ON_DEMAND_TEXT);
	return 0;
}

/* ---- the end ---- */

void rdma_sink_fence(struct fabric_sink *sink)
{
	DECANT_AUTO_UNLOCK(&sink->fence_lock);
	if (sink->running) {
		io_wake_set(sink->stop_fd);
		pthread_join(sink->thread, NULL);
	}
	sink->running = false;
	for (uint32_t i = 0; i < sink->channels; i++)
		channel_kill(&sink->channel[i].channel);
}

uint64_t rdma_sink_cpu_ns(const struct fabric_sink *sink)
{
	return atomic_load_explicit(&sink->cpu_ns, memory_order_relaxed);
}

static void free_regions(struct fabric_sink *sink)
{
	for (uint32_t i = 0; i < sink->regions; i++) {
		const struct sink_region *region = &sink->region[i];

		for (uint64_t g = 0; region->keys != NULL && g < region->granules; g++) {
			struct keys *keys = atomic_load_explicit(&region->keys[g], memory_order_acquire);

			if (keys != NULL)
				keys_deregister(keys);
			free(keys);
		}
		free(region->keys);
	}
}

void rdma_sink_close(struct fabric_sink *sink)
{
	if (sink == NULL)
		return;
	rdma_sink_fence(sink);
	for (uint32_t i = 0; i < sink->channels; i++)
		channel_close(&sink->channel[i].channel);
	free_regions(sink);
	for (uint32_t i = 0; i < FABRIC_PAIRS_MAX; i++) {
		if (sink->pd[i] != NULL)
			ibv_dealloc_pd(sink->pd[i]);
		if (sink->listener[i] != NULL)
			rdma_destroy_id(sink->listener[i]);
	}
	if (sink->manager != NULL)
		rdma_destroy_event_channel(sink->manager);
	if (sink->stop_fd >= 0)
		close(sink->stop_fd);
	pthread_mutex_destroy(&sink->fence_lock);
	free(sink->channel);
	free(sink);
}
