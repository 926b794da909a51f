/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mover_epoch.c -- the mover's connections: the control connection, and the data channels of one epoch after another
 *
 * Theory of operation
 * -------------------
 * The data channels of one epoch live and die together. When one fails, nobody knows which of its writes have landed, or
 * will: so the source stops posting, the destination fences (after FENCED nothing of the old channels can land any more),
 * a new epoch is opened, and every page sent since the last acknowledged barrier is sent again. Without the fence a late
 * write of the old epoch could overwrite a newer one.
 */
#include "migration/mover_private.h"

#include "migration/damage.h"
#include "migration/handshake.h"
#include "migration/host.h"
#include "util/address.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include "util/topology.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAILOVERS_MAX 8u

/* How long the reader may take to what is there already. */
#define LAST_WORDS_NS NSEC_PER_SEC

/* ---- waiting ---- */

void mover_wait_change(struct decant_mover *mover, uint64_t most_ns)
{
	const struct timespec until = clock_timespec(clock_deadline_ns(most_ns));

	pthread_cond_clockwait(&mover->changed, &mover->lock, CLOCK_MONOTONIC, &until);
}

int mover_check(struct decant_mover *mover, struct decant_error *err)
{
	int rc = 0;

	if (mover->cancelled)
		return decant_error_set(err, -ECANCELED, "cancelled");
	pthread_mutex_lock(&mover->lock);
	if (mover->failed.code != 0) {
		rc = mover->failed.code;
		if (err != NULL)
			*err = mover->failed;
	}
	pthread_mutex_unlock(&mover->lock);
	if (rc == 0 && mover->peer != NULL)
		rc = peer_check(mover->peer, err);
	if (rc == 0 && clock_now_ns() >= mover->deadline_ns)
		rc = decant_error_set(err, -ETIMEDOUT, "%s", mover->deadline_what);
	return rc;
}

void mover_set_deadline(struct decant_mover *mover, uint64_t deadline_ns, const char *what)
{
	mover->deadline_ns = deadline_ns;
	mover->deadline_what = what;
}

/*
 * A peer that refuses says why, and closes: who is just sending may see the reset first. What it has said lies in this end's
 * socket, and the reader comes to it, and then to its end, without a wait.
 */
static int prefer_last_words(struct decant_mover *mover, int rc, struct decant_error *err)
{
	const uint64_t deadline_ns = clock_deadline_ns(LAST_WORDS_NS);

	DECANT_AUTO_UNLOCK(&mover->lock);
	while (mover->failed.code == 0 && !mover->heard_all && clock_now_ns() < deadline_ns)
		mover_wait_change(mover, MOVER_WAIT_NS);
	if (mover->failed.code == 0)
		return rc;
	if (err != NULL)
		*err = mover->failed;
	return mover->failed.code;
}

int mover_send(struct decant_mover *mover, uint16_t type, const void *head, size_t head_length, const void *data,
	       size_t data_length, struct decant_error *err)
{
	int rc = mover_check(mover, err);

	if (rc < 0)
		return rc;
	rc = peer_send_until(mover->peer, mover->deadline_ns, type, head, head_length, data, data_length, err);
	if (rc == -ETIMEDOUT && mover->deadline_ns <= clock_now_ns())
		decant_error_set(err, rc, "%s", mover->deadline_what);
	return rc == -ECONNRESET ? prefer_last_words(mover, rc, err) : rc;
}

/* LOST is taken by the reader; here it only ends the wait for OPENED, and may come too late even for that. */
static int receive_any(struct decant_mover *mover, uint16_t type, struct peer_message *message,
		       struct decant_error *err)
{
	int rc;

	for (;;) {
		rc = peer_receive(mover->peer, mover->deadline_ns, message, err);
		if (rc < 0 || message->type != WIRE_LOST)
			return rc;
		peer_message_free(message);
		pthread_mutex_lock(&mover->lock);
		if (type == WIRE_OPENED && mover->lost.code != 0) {
			rc = mover->lost.code;
			if (err != NULL)
				*err = mover->lost;
		}
		pthread_mutex_unlock(&mover->lock);
		if (rc < 0)
			return rc;
	}
}

int mover_receive(struct decant_mover *mover, uint16_t type, struct peer_message *message,
		  struct decant_error *err)
{
	int rc = mover_check(mover, err);

	if (rc == 0)
		rc = receive_any(mover, type, message, err);
	if (rc == -ETIMEDOUT && mover->deadline_ns <= clock_now_ns())
		decant_error_set(err, rc, "%s", mover->deadline_what);
	if (rc < 0)
		return rc;
	if (message->type == type)
		return 0;
	rc = decant_error_set(err, -EPROTO, "the peer sent %s where %s was due", wire_strtype(message->type),
			      wire_strtype(type));
	peer_message_free(message);
	return rc;
}

int mover_expect_nothing(struct decant_mover *mover, const char *when, struct decant_error *err)
{
	struct peer_message message;
	int rc = mover_check(mover, err);

	while (rc == 0) {
		rc = peer_receive(mover->peer, 0, &message, err);
		if (rc == -ETIMEDOUT) {
			decant_error_clear(err);
			return mover_check(mover, err); /* what has come instead of a message: a cancel, for one */
		}
		if (rc < 0)
			return rc;
		if (message.type != WIRE_LOST)
			rc = decant_error_set(err, -EPROTO, "the peer sent %s %s", wire_strtype(message.type),
					      when);
		peer_message_free(&message);
	}
	return rc;
}

int mover_send_chunks(struct decant_mover *mover, uint16_t type, const void *bytes, size_t length,
		      struct decant_error *err)
{
	uint8_t head[64];
	size_t offset = 0;
	int rc;

	do {
		const size_t left = length - offset;
		const struct wire_chunk chunk = {
			.total = (uint32_t)length,
			.offset = (uint32_t)offset,
			.length = (uint32_t)(left < WIRE_CHUNK_MAX ? left : WIRE_CHUNK_MAX),
		};

		rc = wire_chunk_encode(&chunk, head, sizeof(head));
		if (rc < 0)
			return decant_error_set(err, rc, "%s of %zu bytes is too long", wire_strtype(type),
						length);
		rc = mover_send(mover, type, head, (size_t)rc, (const uint8_t *)bytes + offset, chunk.length, err);
		offset += chunk.length;
	} while (rc == 0 && offset < length);
	return rc;
}

/* ---- the control connection ---- */

static uint64_t feeder_features(const struct decant_mover *mover)
{
	if (mover->setup.purpose != WIRE_PURPOSE_PUSH)
		return 0;
	return WIRE_FEATURE_ZEROS | (mover->setup.opts.message != NULL ? WIRE_FEATURE_MESSAGES : 0);
}

static void fill_hello(const struct decant_mover *mover, struct wire_hello *hello)
{
	*hello = (struct wire_hello){
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.purpose = mover->setup.purpose,
		.features = route_features(mover->fabric_text) | feeder_features(mover),
		.pid = (uint32_t)getpid(),
	};
	memcpy(hello->id, mover->setup.id, sizeof(hello->id));
	host_boot_id(hello->boot_id);
	snprintf(hello->name, sizeof(hello->name), "%s", mover->name);
}

static int check_welcome(struct decant_mover *mover, struct decant_error *err)
{
	const struct wire_welcome *welcome = &mover->welcome;

	if (welcome->version < WIRE_VERSION_MIN || welcome->version > WIRE_VERSION_MAX)
		return decant_error_set(err, -EPROTO,
					"the peer chose version %u of the protocol, this end speaks %u to %u",
					welcome->version, WIRE_VERSION_MIN, WIRE_VERSION_MAX);
	if (decant_memory_bytes(mover->memory) > welcome->max_memory)
		return decant_error_set(err, -ENOSPC,
					"the VM has %llu MiB of memory, the destination takes at most %llu MiB; "
					"raise --max-memory there or free memory",
					(unsigned long long)(decant_memory_bytes(mover->memory) >> 20),
					(unsigned long long)(welcome->max_memory >> 20));
	mover->lease_ms = welcome->lease_ms;
	return 0;
}

static int shake_hands(struct decant_mover *mover, int fd, uint64_t deadline, struct peer_opts *opts,
		       struct decant_error *err)
{
	struct handshake handshake = {
		.fd = fd,
		.wake_fd = mover->wake_fd,
		.deadline_ns = deadline,
		.auth.key = mover->key,
	};
	struct wire_hello hello;
	int rc;

	fill_hello(mover, &hello);
	rc = handshake_ask(&handshake, &hello, &mover->welcome, NULL, err);
	if (rc == 0)
		rc = check_welcome(mover, err);
	mover->auth = handshake.auth;
	auth_wipe(&handshake.auth);
	opts->received = handshake.received;
	opts->sent = handshake.sent;
	return rc;
}

/* @most, or what is left until the deadline. */
static uint64_t time_left(const struct decant_mover *mover, uint64_t most)
{
	const uint64_t now = clock_now_ns();

	if (mover->deadline_ns <= now)
		return 1;
	return mover->deadline_ns - now < most ? mover->deadline_ns - now : most;
}

/* The data channels go to the same host. */
static int note_peer_host(struct decant_mover *mover, int fd, struct decant_error *err)
{
	struct address numeric;
	const int rc = address_peer(fd, &numeric);

	if (rc < 0)
		return decant_error_set(err, rc, "control connection: it has no peer: %s", strerror(-rc));
	snprintf(mover->peer_host, sizeof(mover->peer_host), "%s", numeric.host);
	mover->control_node = topology_socket_node(topology_get(), fd);
	return 0;
}

static int control_connect(struct decant_mover *mover, struct decant_error *err)
{
	uint64_t deadline = clock_deadline_ns(mover->setup.connect_timeout_ns);
	struct peer_opts opts = {
		.timeout_ns = mover->setup.opts.peer_timeout_ns,
		.events = &mover_events,
		.opaque = mover,
		.log = mover->log,
	};
	struct address address;
	struct peer *peer;
	int rc;

	if (mover->deadline_ns < deadline)
		deadline = mover->deadline_ns;
	rc = address_parse(mover->peer_text, &address, err);
	if (rc < 0)
		return rc;
	opts.fd = address_connect(&address, deadline, mover->wake_fd, err);
	if (opts.fd < 0)
		return opts.fd;
	rc = shake_hands(mover, opts.fd, deadline, &opts, err);
	if (rc == 0)
		rc = note_peer_host(mover, opts.fd, err);
	if (rc == 0)
		rc = peer_new(&opts, &peer, err);
	if (rc < 0) {
		close(opts.fd);
		decant_error_prefix(err, "%s", mover->peer_text);
		return rc;
	}
	pthread_mutex_lock(&mover->lock);
	mover->peer = peer;
	pthread_mutex_unlock(&mover->lock);
	return 0;
}

static int send_regions(struct decant_mover *mover, struct decant_error *err)
{
	struct wire_regions regions = { .count = decant_memory_count(mover->memory) };
	uint8_t head[WIRE_REGIONS_MAX * 128];
	int rc;

	for (uint32_t i = 0; i < regions.count; i++) {
		const struct decant_region *region = decant_memory_region(mover->memory, i);

		snprintf(regions.region[i].name, sizeof(regions.region[i].name), "%s", region->name);
		regions.region[i].length = region->length;
		regions.region[i].page_size = region->page_size;
		regions.region[i].guest_address = region->guest_address;
	}
	rc = wire_regions_encode(&regions, head, sizeof(head));
	if (rc < 0)
		return decant_error_set(err, rc, "the VM's memory regions cannot be sent");
	return mover_send(mover, WIRE_REGIONS, head, (size_t)rc, NULL, 0, err);
}

static int agree_on_shape(struct decant_mover *mover, const void *shape, size_t length, struct decant_error *err)
{
	struct peer_message message;
	int rc;

	rc = send_regions(mover, err);
	if (rc == 0)
		rc = mover_send_chunks(mover, WIRE_SHAPE, shape, length, err);
	if (rc == 0)
		rc = mover_receive(mover, WIRE_PREPARED, &message, err);
	if (rc < 0)
		return rc;
	rc = wire_prepared_decode(&mover->prepared, message.payload, message.length, err);
	peer_message_free(&message);
	return rc;
}

/* After the peer's heartbeat has begun: looking for a path may take a while. */
static int choose_route(struct decant_mover *mover, struct decant_error *err)
{
	const struct route_opts opts = {
		.fabric = mover->fabric_text,
		.rails = mover->rails_text,
		.peer = mover->peer_text,
		.memory_node = mover_memory_node(mover),
		.welcome = &mover->welcome,
		.timeout_ns = time_left(mover, mover->setup.connect_timeout_ns),
		.wake_fd = mover->wake_fd,
		.log = mover->log,
	};

	return route_choose(&opts, &mover->route, err);
}

/* The destination has made all of its memory zero: pages of which nothing was ever sent are still so. */
static int expect_zeros(struct decant_mover *mover, struct decant_error *err)
{
	int rc = 0;

	if (!(mover->welcome.features & WIRE_FEATURE_ZEROS))
		return 0;
	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(mover->memory); i++)
		rc = granules_keep_written(&mover->granules[i], err);
	return rc;
}

static int open_all(struct decant_mover *mover, const void *shape, size_t shape_length, struct decant_error *err)
{
	int rc = control_connect(mover, err);

	if (rc == 0)
		rc = choose_route(mover, err);
	if (rc == 0)
		rc = agree_on_shape(mover, shape, shape_length, err);
	if (rc == 0)
		rc = expect_zeros(mover, err);
	if (rc < 0)
		return rc;
	rc = mover_epoch_open(mover, err);
	if (rc == 0 || mover->route.pairs == 0)
		return rc;
	/* a fabric that nobody has asked for need not be had */
	if (!mover->route.named)
		return mover_failover(mover, err);
	if (mover_check(mover, NULL) == 0)
		decant_error_prefix(err, "fabric %s", mover->route.ops->name);
	return rc;
}

int mover_open(struct decant_mover *mover, const void *shape, size_t shape_length, struct decant_error *err)
{
	struct placement_scope scope;
	int rc;

	placement_enter(mover->placement, &scope);
	rc = open_all(mover, shape, shape_length, err);
	placement_leave(&scope);
	return rc;
}

/* ---- epochs ---- */

static int ask_open(struct decant_mover *mover, struct wire_opened *opened, struct decant_error *err)
{
	const struct route *route = &mover->route;
	struct wire_open open_message = {
		.epoch = mover->epoch,
		.channels = mover->channels,
		.rails = route->pairs,
	};
	struct peer_message message;
	uint8_t head[64];
	int rc;

	snprintf(open_message.fabric, sizeof(open_message.fabric), "%s", route->ops->name);
	for (uint32_t i = 0; i < route->pairs; i++)
		open_message.rail[i] = route->pair[i].remote_index;
	rc = wire_open_encode(&open_message, head, sizeof(head));
	if (rc < 0)
		return decant_error_set(err, rc, "OPEN: the rails of fabric %s cannot be named", route->ops->name);
	rc = mover_send(mover, WIRE_OPEN, head, (size_t)rc, NULL, 0, err);
	if (rc == 0)
		rc = mover_receive(mover, WIRE_OPENED, &message, err);
	if (rc < 0)
		return rc;
	rc = wire_opened_decode(opened, message.payload, message.length, err);
	peer_message_free(&message);
	if (rc < 0)
		return rc;
	if (opened->epoch != mover->epoch || opened->channels != mover->channels)
		return decant_error_set(err, -EPROTO,
					"OPENED: epoch %llu with %u channels, asked for %llu with %u",
					(unsigned long long)opened->epoch, opened->channels,
					(unsigned long long)mover->epoch, mover->channels);
	return 0;
}

/* With a key both ends make the tokens; OPENED brings them only where there is none. */
static int take_tokens(const struct decant_mover *mover, const struct wire_opened *opened,
		       struct fabric_source_opts *opts, struct decant_error *err)
{
	if (mover->auth.proved && opened->token_count == 0)
		return auth_tokens(&mover->auth, opened->epoch, opened->channels, opts->tokens, opts->answers,
				   err);
	if (mover->auth.proved || opened->token_count != opened->channels)
		return decant_error_set(err, -EPROTO, "OPENED with tokens of %u channels of %u, %s a key",
					opened->token_count, opened->channels,
					mover->auth.proved ? "with" : "without");
	memcpy(opts->tokens, opened->tokens, sizeof(opts->tokens));
	memcpy(opts->answers, opened->answers, sizeof(opts->answers));
	return 0;
}

static void begin_epoch(struct decant_mover *mover)
{
	mover->channels = mover->setup.opts.channels != 0 ? mover->setup.opts.channels
							  : route_channels(&mover->route);
	DECANT_AUTO_UNLOCK(&mover->lock);
	mover->epoch++;
	mover->opening = true;
	mover->granted = mover->mapped = mover->map_failed = false;
	decant_error_clear(&mover->lost);
	for (uint32_t i = 0; i < decant_memory_count(mover->memory); i++)
		granules_forget(&mover->granules[i]);
}

static void end_opening(struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	mover->opening = false;
}

static int connect_channels(struct decant_mover *mover, const struct wire_opened *opened, struct decant_error *err)
{
	struct fabric_source_opts opts = {
		.peer_host = mover->peer_host,
		.pair_count = mover->route.pairs,
		.channels = opened->channels,
		.epoch = opened->epoch,
		.address.length = opened->address_length,
		.connect_timeout_ns = time_left(mover, mover->setup.opts.peer_timeout_ns),
		.wake_fd = mover->wake_fd,
		.zero_copy = mover->setup.opts.zero_copy,
		.under_way_ns = mover->setup.opts.under_way_ns,
		.log = mover->log,
	};
	int rc = take_tokens(mover, opened, &opts, err);

	if (rc < 0)
		return rc;
	memcpy(opts.pairs, mover->route.pair, sizeof(opts.pairs));
	memcpy(opts.address.bytes, opened->address, opened->address_length);
	rc = mover->route.ops->source_connect(&opts, &mover->source, err);
	if (rc == 0)
		return 0;
	mover->source = NULL;
	decant_error_prefix(err, "%s data channels to %s", mover->route.ops->name, mover->peer_text);
	return rc;
}

void mover_release(struct decant_mover *mover)
{
	if (mover->retired != NULL)
		mover->retired_ops->source_close(mover->retired);
	mover->retired = NULL;
}

static void show_epoch(struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	mover->shown = (struct mover_shown){
		.ops = mover->route.ops,
		.source = mover->source,
		.mappers = mover->mappers,
		.channels = mover->channels,
	};
	snprintf(mover->shown.reason, sizeof(mover->shown.reason), "%s", mover->route.reason);
}

static void hide_epoch(struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	mover->shown.source = NULL;
	mover->shown.mappers = NULL;
}

/* It posts nothing more and reads guest memory no more. The guest may be paused, so that is all that is waited for. */
static void retire_source(struct decant_mover *mover)
{
	struct fabric_source_stats stats = { 0 };

	if (mover->source == NULL)
		return;
	mover->route.ops->source_stop(mover->source);
	hide_epoch(mover);
	mover_map_close(mover);
	mover->route.ops->source_stats(mover->source, &stats);
	mover->fabric_cpu_ns += stats.cpu_ns;
	mover->zero_copy_bytes += stats.zero_copy_bytes;
	/* one at most, or memory would be pinned many times over */
	mover_release(mover);
	mover->retired_ops = mover->route.ops;
	mover->retired = mover->source;
	mover->source = NULL;
	if (mover->retired_ops->rails == NULL)
		mover_release(mover);
}

int mover_epoch_open(struct decant_mover *mover, struct decant_error *err)
{
	struct placement_scope scope;
	struct wire_opened opened;
	int rc;

	begin_epoch(mover);
	placement_enter(mover->placement, &scope);
	rc = ask_open(mover, &opened, err);
	end_opening(mover);
	if (rc == 0)
		rc = connect_channels(mover, &opened, err);
	if (rc == 0)
		rc = mover_map_open(mover, err);
	if (rc < 0)
		retire_source(mover);
	else
		show_epoch(mover);
	placement_leave(&scope);
	return rc;
}

void mover_epoch_close(struct decant_mover *mover)
{
	retire_source(mover);
	mover_release(mover);
}
static int fence(struct decant_mover *mover, struct decant_error *err)
{
	const struct wire_fence message = { .epoch = mover->epoch };
	uint8_t head[16];
	int rc = wire_fence_encode(&message, head, sizeof(head));

	pthread_mutex_lock(&mover->lock);
	mover->asked_fence = mover->epoch;
	pthread_mutex_unlock(&mover->lock);
	rc = mover_send(mover, WIRE_FENCE, head, (size_t)rc, NULL, 0, err);
	while (rc == 0) {
		pthread_mutex_lock(&mover->lock);
		if (mover->fenced_epoch == mover->epoch) {
			pthread_mutex_unlock(&mover->lock);
			return 0;
		}
		mover_wait_change(mover, MOVER_WAIT_NS);
		pthread_mutex_unlock(&mover->lock);
		rc = mover_check(mover, err);
	}
	return rc;
}

/* Why the epoch is lost: it could not be opened (@opening), the fabric knows, or somebody else has seen it. */
static struct decant_error why_lost(struct decant_mover *mover, const struct decant_error *opening)
{
	struct decant_error why = *opening;

	if (mover->source == NULL)
		return why;
	decant_error_clear(&why);
	mover->route.ops->source_last_error(mover->source, &why);
	DECANT_AUTO_UNLOCK(&mover->lock);
	/* that the other end has hung up says little where that end has said why */
	if (why.code == 0 || (why.code == -ECONNRESET && mover->lost.code != 0))
		why = mover->lost;
	if (why.code == 0)
		decant_error_set(&why, -ETIMEDOUT, "no progress");
	return why;
}

/* Is it guest memory that cannot be sent, over whatever fabric? Then the error, which says where. */
static int find_damage(struct decant_mover *mover, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(mover->memory); i++) {
		const struct decant_region *region = decant_memory_region(mover->memory, i);
		const struct granules *granules = &mover->granules[i];
		uint64_t first = 0, pages;

		while (rc == 0 && (pages = bitmap_next_run(granules->unacked, &first, granules->pages)) > 0) {
			rc = damage_find(region, first * DECANT_PAGE_SIZE, pages * DECANT_PAGE_SIZE, false, err);
			first += pages;
		}
	}
	return rc;
}

/* Has it been seen to work? Both ends have registered memory, or neither was the one to fail at the first attempt. */
static bool epoch_has_begun(struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	return mover->first_byte_ns != 0 || (mover->granted && (mover->mapped || !mover->map_failed));
}

/* Ends the lost epoch and opens the next. 0, MOVER_EPOCH_LOST if that one is lost already, or an error. */
static int next_epoch(struct decant_mover *mover, struct decant_error *err)
{
	const struct decant_error why = why_lost(mover, err);
	const char *fabric = mover->route.ops->name;
	int rc;

	retire_source(mover);
	/* a dead peer takes both connections with it: its control connection has the better reason */
	rc = mover_check(mover, err);
	if (rc < 0)
		return rc;
	rc = damage_is(why.code) ? find_damage(mover, err) : 0;
	if (rc < 0)
		return rc;
	if (++mover->failovers > FAILOVERS_MAX)
		return decant_error_set(err, why.code != 0 ? why.code : -EIO,
					"the data channels broke %u times; the last time: %s", FAILOVERS_MAX,
					why.msg);
	rc = route_leave_rails(&mover->route, epoch_has_begun(mover), &why, err);
	if (rc < 0)
		return rc;
	log_info(&mover->log, "%s data channels of epoch %llu are lost (%s)", fabric,
		 (unsigned long long)mover->epoch, why.msg);
	rc = fence(mover, err);
	if (rc == 0)
		rc = mover_epoch_open(mover, err);
	/* no sooner: where the peer is gone there is another thing to say */
	if (rc == 0)
		log_warning(&mover->log, "%s data channels were lost (%s); it goes on over %s", fabric, why.msg,
			    strcmp(fabric, mover->route.ops->name) == 0 ? "new ones" : mover->route.ops->name);
	/* the destination is there, its new channels are not: count it and try once more */
	if (rc < 0 && mover_check(mover, NULL) == 0)
		return MOVER_EPOCH_LOST;
	return rc;
}

/* There may be no channels any more, so every later call must fail, too, whatever the feeder makes of this one. */
static void give_up(struct decant_mover *mover, int rc, const struct decant_error *why)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	if (mover->failed.code == 0)
		decant_error_set(&mover->failed, rc, "%s", why->msg);
}

int mover_failover(struct decant_mover *mover, struct decant_error *caller_err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	struct decant_error *err = caller_err != NULL ? caller_err : &local;
	int rc;

	do {
		rc = next_epoch(mover, err);
		if (rc == 0)
			rc = mover_repeat_unacked(mover, err);
	} while (rc == MOVER_EPOCH_LOST);
	if (rc == 0)
		decant_error_clear(err);
	else
		give_up(mover, rc, err);
	return rc;
}
