/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * incoming.c -- the destination's end of one mover
 *
 * Theory of operation
 * -------------------
 * Guest memory is written by the fabric's sink alone, and only where a granule has been exposed to it. A granule is exposed
 * after the pool has populated it, so the fabric never waits for the kernel to zero a page. A barrier is acknowledged
 * when the sink has reported it for every channel. FENCE ends a sink: it is fenced before FENCED is said, under sink_lock.
 * The pool's threads expose without that lock, several at once, but are counted under it, and a sink is closed when the
 * last of them is out; so nothing is exposed to a dead sink, and a granule that was being populated for the old epoch is
 * simply dropped: the source asks for it again.
 *
 * A sink with registrations (RDMA) is only fenced in the pause, which costs the same for any guest. It retires, and is closed
 * when the guest runs, or the session is over.
 *
 * When a fabric with rails cannot go on, at whichever end, the session does: LOST tells the source, which fences and opens
 * the next epoch over TCP.
 */
#include "migration/incoming.h"

#include "migration/damage.h"
#include "migration/incoming_private.h"
#include "migration/rails.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/placement.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long the tokens of an epoch are good, in peer timeouts: both ends may be slow, but one of them has lost interest then. */
#define TOKEN_TIMEOUTS 4u

/* Of a granule that was populated for an epoch that is over: no error, and no errno. */
#define EPOCH_GONE 1

/* ---- failing from a thread that is not the session's ---- */

void incoming_fail(struct incoming *in, const struct decant_error *why)
{
	{
		DECANT_AUTO_UNLOCK(&in->lock);
		if (in->failed.code != 0)
			return;
		in->failed = *why;
	}
	peer_wake(in->peer);
}

int incoming_failure(struct incoming *in, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&in->lock);
	if (in->failed.code != 0 && err != NULL)
		*err = in->failed;
	return in->failed.code;
}

static bool take_says_lost(struct incoming *in, uint64_t epoch, bool *first)
{
	DECANT_AUTO_UNLOCK(&in->lock);
	if (!in->rails_in_use || in->barrier_epoch != epoch)
		return false;
	*first = in->lost_epoch != epoch;
	in->lost_epoch = epoch;
	return true;
}

bool incoming_say_lost(struct incoming *in, uint64_t epoch, const struct decant_error *why)
{
	struct wire_lost message = { .epoch = epoch, .code = (uint32_t)(why->code < 0 ? -why->code : EIO) };
	uint8_t head[WIRE_TEXT_MAX + 64];
	bool first;
	int length;

	if (!take_says_lost(in, epoch, &first))
		return false;
	if (!first)
		return true;
	snprintf(message.text, sizeof(message.text), "%.*s", (int)sizeof(message.text) - 1, why->msg);
	length = wire_lost_encode(&message, head, sizeof(head));
	peer_send(in->peer, WIRE_LOST, head, (size_t)length, NULL, 0, NULL);
	return true;
}

/* ---- events of the fabric ---- */

static bool barrier_complete(struct incoming *in, uint32_t channel, uint64_t round)
{
	DECANT_AUTO_UNLOCK(&in->lock);
	in->round[channel] = round;
	for (uint32_t i = 0; i < in->channels; i++)
		if (in->round[i] < round)
			return false;
	if (in->acked_round >= round)
		return false;
	in->acked_round = round;
	in->held_back = in->blanking;
	return !in->blanking;
}

static void say_barrier(struct incoming *in, uint64_t epoch, uint64_t round)
{
	const struct wire_barrier_ack ack = { .epoch = epoch, .round = round };
	uint8_t head[32];
	const int length = wire_barrier_ack_encode(&ack, head, sizeof(head));

	/* a connection that is lost shows in the session's thread */
	peer_send(in->peer, WIRE_BARRIER_ACK, head, (size_t)length, NULL, 0, NULL);
}

static void on_barrier(void *opaque, uint32_t channel, uint64_t round)
{
	struct incoming *in = opaque;

	if (barrier_complete(in, channel, round))
		say_barrier(in, in->barrier_epoch, round);
}

static int on_message(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct incoming *in = opaque;
	const uint8_t *bytes = data;
	uint64_t sequence = 0;
	int rc;

	if (in->ops->message == NULL)
		rc = decant_error_set(err, -EPROTO, "a message came, and nobody here takes messages");
	else if (length < MOVER_MESSAGE_HEAD)
		rc = decant_error_set(err, -EPROTO, "a message of %zu bytes is too short", length);
	else
		rc = 0;
	for (unsigned int i = 0; rc == 0 && i < MOVER_MESSAGE_HEAD; i++)
		sequence |= (uint64_t)bytes[i] << (8 * i);
	/* messages come on one channel of one sink at a time: nobody else touches next_message */
	if (rc == 0 && sequence > in->next_message)
		rc = decant_error_set(err, -EPROTO, "message %llu came where %llu was due",
				      (unsigned long long)sequence, (unsigned long long)in->next_message);
	if (rc == 0 && sequence == in->next_message) {
		in->next_message++;
		rc = in->ops->message(in->opaque, bytes + MOVER_MESSAGE_HEAD, length - MOVER_MESSAGE_HEAD, err);
	}
	if (rc < 0)
		incoming_fail(in, err);
	return rc;
}

static void on_lost(void *opaque, uint32_t channel, const struct decant_error *why)
{
	struct incoming *in = opaque;

	/* the source notices as well, and says FENCE; or it is gone, which is said elsewhere */
	log_info(&in->log, "data channel %u is lost: %s", channel, why->msg);
	/* memory that is not there is no matter of the fabric */
	if (damage_is(why->code)) {
		incoming_fail(in, why);
		return;
	}
	incoming_say_lost(in, in->barrier_epoch, why);
}

const struct fabric_sink_events incoming_sink_events = {
	.barrier = on_barrier,
	.message = on_message,
	.lost = on_lost,
};

/* ---- memory that is to be zero ---- */

static void on_blank(void *opaque, const struct decant_error *why)
{
	struct incoming *in = opaque;
	uint64_t epoch = 0, round = 0;

	if (why->code < 0) {
		incoming_fail(in, why);
		return;
	}
	{
		DECANT_AUTO_UNLOCK(&in->lock);
		in->blanking = false;
		if (in->held_back) {
			epoch = in->barrier_epoch;
			round = in->acked_round;
		}
		in->held_back = false;
		pthread_cond_broadcast(&in->blanked);
	}
	if (round != 0)
		say_barrier(in, epoch, round);
}

int incoming_begin_blank(struct incoming *in, struct decant_error *err)
{
	const struct blank_opts opts = {
		.memory = in->memory,
		.threads = in->blank_threads,
		.done = on_blank,
		.opaque = in,
	};
	struct placement_scope scope;
	int rc;

	in->blanking = true;
	placement_enter(in->placement, &scope);
	rc = blank_new(&opts, &in->blank, err);
	placement_leave(&scope);
	return rc;
}

int incoming_await_zeros(struct incoming *in, struct decant_error *err)
{
	int rc = 0;

	while (rc == 0) {
		const struct timespec until = clock_timespec(clock_deadline_ns(MOVER_WAIT_NS));
		bool blanking;

		{
			DECANT_AUTO_UNLOCK(&in->lock);
			if (in->blanking)
				pthread_cond_clockwait(&in->blanked, &in->lock, CLOCK_MONOTONIC, &until);
			blanking = in->blanking;
		}
		if (!blanking)
			return 0;
		rc = incoming_failure(in, err);
		if (rc == 0)
			rc = peer_check(in->peer, err);
		if (rc == 0 && in->cancelled)
			rc = decant_error_set(err, -ECANCELED, "stopped");
	}
	return rc;
}

static void close_blank(struct incoming *in)
{
	struct blank *blank = in->blank;

	if (blank == NULL)
		return;
	{
		DECANT_AUTO_UNLOCK(&in->sink_lock);
		in->gone_cpu_ns += blank_cpu_ns(blank);
		in->blank = NULL;
	}
	blank_free(blank);
}

/* ---- registration ---- */

/* sink_lock is held */
static bool epoch_is_open(const struct incoming *in, uint64_t epoch)
{
	return in->sink != NULL && !in->fencing && in->epoch == epoch;
}

/* Keeps the sink from being closed until expose_end(). */
static bool expose_begin(struct incoming *in, uint64_t epoch)
{
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	if (!epoch_is_open(in, epoch))
		return false;
	in->exposing++;
	return true;
}

/* Is the epoch still open? */
static bool expose_end(struct incoming *in, uint64_t epoch)
{
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	in->exposing--;
	pthread_cond_broadcast(&in->exposed);
	return epoch_is_open(in, epoch);
}

/* 0, EPOCH_GONE, or what the fabric says, whatever errno that is */
static int expose(const struct populate_job *job, uint64_t offset, uint64_t length, uint64_t *rkey,
		  struct decant_error *err)
{
	struct incoming *in = job->incoming;
	const struct decant_region *region = &in->region[job->region];
	int rc;

	if (!expose_begin(in, job->epoch))
		return EPOCH_GONE;
	rc = in->fabric->sink_expose(in->sink, job->region, offset, length, (uint8_t *)region->address + offset,
				     rkey, err);
	return expose_end(in, job->epoch) ? rc : EPOCH_GONE;
}

static void grant(const struct populate_job *job, uint64_t offset, uint64_t rkey)
{
	struct incoming *in = job->incoming;
	uint8_t head[64], key[8];
	const struct wire_grant message = {
		.epoch = job->epoch,
		.region = job->region,
		.first = offset / in->granule[job->region],
		.count = 1,
		.keys = key,
	};
	const int length = wire_grant_encode(&message, head, sizeof(head));

	for (unsigned int i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(rkey >> (8 * i));
	peer_send(in->peer, WIRE_GRANT, head, (size_t)length, key, sizeof(key), NULL);
}

/* Of huge pages there may be too few, or a limit on them; of small ones EFAULT says no such thing. */
static void explain_lack(const struct decant_region *region, uint64_t offset, uint64_t length, int code,
			 struct decant_error *err)
{
	const bool damaged = code == -EHWPOISON || (code == -EFAULT && region->page_size == DECANT_PAGE_SIZE);

	if (!damaged || damage_find(region, offset, length, true, err) == 0)
		populate_explain(err, code, region->name, length, region->page_size);
}

static void on_populated(void *opaque, uint64_t offset, uint64_t length, int code)
{
	const struct populate_job *job = opaque;
	struct incoming *in = job->incoming;
	const struct decant_region *region = &in->region[job->region];
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t rkey = 0;
	int rc = code;

	if (rc < 0)
		explain_lack(region, job->offset + offset, length, rc, &err);
	else
		rc = expose(job, job->offset + offset, length, &rkey, &err);
	if (rc == EPOCH_GONE)
		return;
	/* memory that is not there is no matter of the fabric */
	if (rc < 0 && (code < 0 || !incoming_say_lost(in, job->epoch, &err)))
		incoming_fail(in, &err);
	if (rc < 0)
		return;
	grant(job, job->offset + offset, rkey);
}

/* Of memory that is there already. */
static void on_there(void *opaque, void *address, uint64_t length)
{
	const struct populate_job *job = opaque;
	const char *base = job->incoming->region[job->region].address;

	on_populated(opaque, (uint64_t)((char *)address - base) - job->offset, length, 0);
}

/* Of memory that may hold something: that goes before the pages are made to be there, or all of them would have to be looked at. */
static void on_dirty(void *opaque, void *address, uint64_t length)
{
	const struct populate_job *job = opaque;
	struct incoming *in = job->incoming;
	const uint64_t offset = (uint64_t)((uint8_t *)address - (uint8_t *)in->region[job->region].address);
	int rc = blank_range(in->blank, job->region, offset, length, NULL);

	/* why it could not be, the blank has told */
	if (rc < 0)
		return;
	if (!in->populated[job->region])
		rc = populate_touch(in->pool, address, length);
	on_populated(opaque, offset - job->offset, length, rc);
}

static int submit_job(struct incoming *in, struct populate_job *job, uint64_t length)
{
	const struct decant_region *region = &in->region[job->region];
	const uint64_t granule = in->granule[job->region];
	uint8_t *address = (uint8_t *)region->address + job->offset;

	if (in->blank != NULL)
		return populate_submit_work(in->pool, address, length, granule, region->numa_node, on_dirty, job);
	if (in->populated[job->region])
		return populate_submit_work(in->pool, address, length, granule, region->numa_node, on_there, job);
	return populate_submit(in->pool, address, length, granule, region->numa_node, on_populated, job);
}

static struct populate_job *new_job(struct incoming *in, const struct wire_register *message, uint64_t offset)
{
	struct populate_job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	*job = (struct populate_job){
		.next = in->jobs,
		.incoming = in,
		.epoch = message->epoch,
		.region = message->region,
		.offset = offset,
	};
	in->jobs = job;
	return job;
}

/* Checks and marks one range of REGISTER; sink_lock is held. */
static int claim_range(struct incoming *in, uint32_t region, const struct wire_range *range,
		       struct decant_error *err)
{
	const struct decant_region *r = &in->region[region];
	const uint64_t count = (r->length + in->granule[region] - 1) / in->granule[region];

	if (range->first >= count || range->count > count - range->first)
		return decant_error_set(err, -EPROTO, "REGISTER: granules beyond region %s", r->name);
	if (bitmap_count(in->asked[region], range->first, range->count) != 0)
		return decant_error_set(err, -EPROTO, "REGISTER: granules of %s for the second time", r->name);
	bitmap_set_range(in->asked[region], range->first, range->count);
	return 0;
}

static int submit_range(struct incoming *in, const struct wire_register *message, const struct wire_range *range,
			struct decant_error *err)
{
	const struct decant_region *r = &in->region[message->region];
	const uint64_t granule = in->granule[message->region];
	const uint64_t offset = range->first * granule;
	uint64_t length = range->count * granule;
	struct populate_job *job;
	int rc;

	/* to the end: as long as a sink is open there is a pool */
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	if (!epoch_is_open(in, message->epoch))
		return 0; /* of an epoch that is gone */
	rc = claim_range(in, message->region, range, err);
	if (rc < 0)
		return rc;
	job = new_job(in, message, offset);
	if (length > r->length - offset)
		length = r->length - offset;
	rc = job == NULL ? -ENOMEM : submit_job(in, job, length);
	return rc < 0 ? decant_error_set(err, rc, "REGISTER: %s", strerror(-rc)) : 0;
}

static int take_register(struct incoming *in, const struct peer_message *message, struct decant_error *err)
{
	DECANT_AUTO_FREE struct wire_register *reg = malloc(sizeof(*reg));
	int rc;

	if (reg == NULL)
		return decant_error_set(err, -ENOMEM, "REGISTER: out of memory");
	rc = wire_register_decode(reg, message->payload, message->length, err);
	if (rc == 0 && reg->region >= in->regions)
		rc = decant_error_set(err, -EPROTO, "REGISTER: no region %u", reg->region);
	for (uint32_t i = 0; rc == 0 && i < reg->count; i++)
		rc = submit_range(in, reg, &reg->range[i], err);
	return rc;
}

static int incoming_intercept(void *opaque, const struct peer_message *message, struct decant_error *err)
{
	struct incoming *in = opaque;
	int rc;

	if (message->type == WIRE_REGISTER) {
		rc = in->prepared ? take_register(in, message, err)
				  : decant_error_set(err, -EPROTO, "REGISTER before the VM is prepared");
		if (rc < 0) {
			incoming_fail(in, err);
			decant_error_clear(err);
		}
		return 1;
	}
	return in->ops->intercept != NULL && in->ops->intercept(in->opaque, message) ? 1 : 0;
}

static void incoming_lost(void *opaque, const struct decant_error *why)
{
	struct incoming *in = opaque;

	(void)why;
	if (in->ops->lost != NULL)
		in->ops->lost(in->opaque);
}

static const struct peer_events incoming_events = {
	.intercept = incoming_intercept,
	.lost = incoming_lost,
};

/* ---- life ---- */

static int say_welcome(struct incoming *in, const struct incoming_opts *opts, struct handshake *handshake,
		       struct decant_error *err)
{
	struct wire_welcome welcome = opts->welcome;

	in->rails = rails_welcome(&welcome, in->rail, &in->log);
	handshake->deadline_ns = clock_deadline_ns(opts->peer_timeout_ns);
	handshake->wake_fd = -1;
	return handshake_answer(handshake, &welcome, NULL, err);
}

int incoming_new(const struct incoming_opts *opts, struct incoming **out, struct decant_error *err)
{
	struct peer_opts peer_opts = {
		.fd = opts->handshake.fd,
		.timeout_ns = opts->peer_timeout_ns,
		.events = &incoming_events,
		.log = opts->log,
	};
	struct handshake handshake = opts->handshake;
	struct incoming *in = calloc(1, sizeof(*in));
	struct placement_scope scope;
	int rc;

	if (in == NULL)
		return decant_error_set(err, -ENOMEM, "receiver: out of memory");
	in->ops = opts->ops;
	in->opaque = opts->opaque;
	in->log = opts->log;
	in->max_memory = opts->max_memory;
	in->zero_memory = opts->zero_memory;
	in->blank_threads = opts->populate_threads;
	in->features = opts->welcome.features;
	in->token_ns = opts->peer_timeout_ns < UINT64_MAX / TOKEN_TIMEOUTS ? TOKEN_TIMEOUTS * opts->peer_timeout_ns
									   : CLOCK_NEVER;
	pthread_mutex_init(&in->sink_lock, NULL);
	pthread_mutex_init(&in->lock, NULL);
	pthread_cond_init(&in->exposed, NULL);
	pthread_cond_init(&in->blanked, NULL);
	peer_opts.opaque = in;
	in->placement = opts->placement;
	in->host = strdup(opts->host);
	placement_enter(in->placement, &scope);
	rc = in->host == NULL ? -ENOMEM : populate_new(opts->populate_threads, &in->pool, err);
	if (rc == 0)
		rc = decant_memory_new(&in->memory, err);
	if (rc == 0)
		rc = say_welcome(in, opts, &handshake, err);
	in->auth = handshake.auth;
	auth_wipe(&handshake.auth);
	peer_opts.received = handshake.received;
	peer_opts.sent = handshake.sent;
	if (rc == 0)
		rc = peer_new(&peer_opts, &in->peer, err);
	placement_leave(&scope);
	if (rc == 0) {
		*out = in;
		return 0;
	}
	auth_wipe(&in->auth);
	populate_free(in->pool);
	decant_memory_free(in->memory);
	free(in->host);
	free(in);
	return rc;
}

/* sink_lock is held */
static void retire_sink(struct incoming *in)
{
	in->gone_cpu_ns += in->fabric->sink_cpu_ns(in->sink);
	if (in->fabric->rails == NULL) {
		in->fabric->sink_close(in->sink);
	} else {
		/* one at most, or a source could have any memory pinned many times over */
		if (in->retired != NULL)
			in->retired_fabric->sink_close(in->retired);
		in->retired_fabric = in->fabric;
		in->retired = in->sink;
	}
	in->sink = NULL;
}

void incoming_fence(struct incoming *in)
{
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	if (in->sink == NULL)
		return;
	in->fencing = true;
	in->fabric->sink_fence(in->sink);
	while (in->exposing > 0)
		pthread_cond_wait(&in->exposed, &in->sink_lock);
	retire_sink(in);
	in->fencing = false;
}

void incoming_release(struct incoming *in)
{
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	if (in->retired != NULL)
		in->retired_fabric->sink_close(in->retired);
	in->retired = NULL;
}

static void close_pool(struct incoming *in)
{
	struct populate *pool = in->pool;

	if (pool == NULL)
		return;
	{
		DECANT_AUTO_UNLOCK(&in->sink_lock);
		in->gone_cpu_ns += populate_cpu_ns(pool);
		in->pool = NULL;
	}
	populate_free(pool);
}

void incoming_stop(struct incoming *in)
{
	incoming_fence(in);
	/* the reader feeds the pool, and the pool answers over the connection */
	peer_stop(in->peer);
	close_pool(in);
	close_blank(in);
	incoming_release(in);
}

void incoming_close(struct incoming *in)
{
	struct populate_job *job, *next;

	if (in == NULL)
		return;
	incoming_stop(in);
	peer_close(in->peer);
	for (job = in->jobs; job != NULL; job = next) {
		next = job->next;
		free(job);
	}
	for (uint32_t i = 0; i < DECANT_REGIONS_MAX; i++)
		free(in->asked[i]);
	decant_memory_free(in->memory);
	pthread_mutex_destroy(&in->lock);
	pthread_cond_destroy(&in->blanked);
	pthread_cond_destroy(&in->exposed);
	pthread_mutex_destroy(&in->sink_lock);
	auth_wipe(&in->auth);
	free(in->host);
	free(in);
}

void incoming_cancel(struct incoming *in)
{
	in->cancelled = true;
	peer_wake(in->peer);
}

void incoming_refuse(struct incoming *in, const struct decant_error *why)
{
	peer_send_error(in->peer, WIRE_ERROR, why->code, why->msg);
}

struct peer *incoming_peer(struct incoming *in)
{
	return in->peer;
}

const struct decant_memory *incoming_memory(const struct incoming *in)
{
	return in->memory;
}

struct decant_memory *incoming_take_memory(struct incoming *in)
{
	struct decant_memory *memory = in->memory;

	/* no sink is open any more, so nothing is submitted; what was must be done with the memory */
	close_pool(in);
	close_blank(in);
	incoming_release(in);
	in->memory = NULL;
	return memory;
}

uint64_t incoming_cpu_ns(struct incoming *in)
{
	uint64_t spent;

	{
		DECANT_AUTO_UNLOCK(&in->sink_lock);
		spent = in->gone_cpu_ns;
		if (in->sink != NULL)
			spent += in->fabric->sink_cpu_ns(in->sink);
		if (in->pool != NULL)
			spent += populate_cpu_ns(in->pool);
		if (in->blank != NULL)
			spent += blank_cpu_ns(in->blank);
	}
	return spent + peer_cpu_ns(in->peer);
}
