/* SPDX-License-Identifier: BSD-2-Clause */
/* mover_life.c -- how a mover begins and ends, and what may be asked of it meanwhile */
#include "migration/mover_private.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* ---- life ---- */

static int copy_setup(struct decant_mover *mover, const struct mover_setup *setup)
{
	mover->setup = *setup;
	mover->peer_text = strdup(setup->opts.peer);
	mover->name = strdup(setup->opts.name != NULL ? setup->opts.name : "");
	mover->fabric_text = strdup(setup->opts.fabric != NULL ? setup->opts.fabric : "auto");
	if (setup->opts.rails != NULL) {
		mover->rails_text = strdup(setup->opts.rails);
		if (mover->rails_text == NULL)
			return -ENOMEM;
	}
	return mover->peer_text != NULL && mover->name != NULL && mover->fabric_text != NULL ? 0 : -ENOMEM;
}

static int take_key(struct decant_mover *mover, const struct mover_setup *setup, struct decant_error *err)
{
	int rc = 0;

	mover->key = setup->key;
	mover->setup.opts.key = NULL; /* it is the caller's */
	if (mover->key != NULL || setup->opts.key == NULL)
		return 0;
	rc = auth_key_new(setup->opts.key, setup->opts.key_length, &mover->own_key, err);
	mover->key = mover->own_key;
	return rc;
}

static int take_placement(struct decant_mover *mover, const struct mover_setup *setup, struct decant_error *err)
{
	mover->placement = setup->placement;
	mover->setup.opts.cpus = NULL; /* as the key */
	if (mover->placement != NULL)
		return 0;
	mover->placement = &mover->own_placement;
	return placement_new(setup->opts.cpus, &mover->own_placement, err);
}

static void mover_destroy(struct decant_mover *mover)
{
	for (uint32_t i = 0; i < decant_memory_count(mover->memory); i++)
		granules_destroy(&mover->granules[i]);
	pthread_cond_destroy(&mover->changed);
	pthread_mutex_destroy(&mover->lock);
	if (mover->wake_fd >= 0)
		close(mover->wake_fd);
	free(mover->kept);
	free(mover->peer_text);
	free(mover->name);
	free(mover->fabric_text);
	free(mover->rails_text);
	auth_wipe(&mover->auth);
	auth_key_free(mover->own_key);
	free(mover);
}

static int check_setup(const struct mover_setup *setup, const struct decant_memory *memory,
		       struct decant_error *err)
{
	if (setup->opts.peer == NULL)
		return decant_error_set(err, -EINVAL, "no peer to connect to: give HOST:PORT");
	if (setup->opts.channels > FABRIC_CHANNELS_MAX)
		return decant_error_set(err, -EINVAL, "%u channels: at most %u", setup->opts.channels,
					FABRIC_CHANNELS_MAX);
	if ((unsigned)setup->opts.zero_copy > DECANT_ZERO_COPY_OFF)
		return decant_error_set(err, -EINVAL, "zero_copy: %d is none; see enum decant_zero_copy",
					setup->opts.zero_copy);
	if (setup->opts.name != NULL && strlen(setup->opts.name) >= WIRE_NAME_MAX)
		return decant_error_set(err, -EINVAL, "the VM's name has more than %u bytes", WIRE_NAME_MAX - 1);
	if (decant_memory_count(memory) == 0)
		return decant_error_set(err, -EINVAL, "the VM has no memory regions");
	return 0;
}

int mover_new(const struct mover_setup *setup, const struct decant_memory *memory, struct decant_mover **out,
	      struct decant_error *err)
{
	struct decant_mover *mover;
	int rc = check_setup(setup, memory, err);

	if (rc < 0)
		return rc;
	mover = calloc(1, sizeof(*mover));
	if (mover == NULL)
		return decant_error_set(err, -ENOMEM, "mover: out of memory");
	mover->memory = memory;
	mover->log = setup->opts.log;
	mover->deadline_ns = CLOCK_NEVER;
	pthread_mutex_init(&mover->lock, NULL);
	pthread_cond_init(&mover->changed, NULL);
	mover->wake_fd = io_wake_new();
	rc = mover->wake_fd < 0 ? mover->wake_fd : copy_setup(mover, setup);
	if (rc < 0)
		decant_error_set(err, rc, "mover: %s", strerror(-rc));
	if (rc == 0)
		rc = take_key(mover, setup, err);
	if (rc == 0)
		rc = take_placement(mover, setup, err);
	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(memory); i++) {
		mover->ahead[i] = (struct extents){ .memory = memory, .index = i };
		rc = granules_init(&mover->granules[i], decant_memory_region(memory, i), err);
	}
	if (rc < 0) {
		mover_destroy(mover);
		return rc;
	}
	*out = mover;
	return 0;
}

void mover_disconnect(struct decant_mover *mover)
{
	if (mover == NULL)
		return;
	mover->closing = true;
	mover_epoch_close(mover);
	peer_close(mover->peer);
	mover_destroy(mover);
}

void mover_stop_data(struct decant_mover *mover)
{
	mover_epoch_close(mover);
}

void decant_mover_cancel(struct decant_mover *mover)
{
	mover->cancelled = true;
	io_wake_set(mover->wake_fd);
	pthread_mutex_lock(&mover->lock);
	if (mover->peer != NULL)
		peer_wake(mover->peer);
	pthread_cond_broadcast(&mover->changed);
	pthread_mutex_unlock(&mover->lock);
}

/* ---- what the floor above asks ---- */

struct peer *mover_peer(struct decant_mover *mover)
{
	return mover->peer;
}

const struct wire_prepared *mover_prepared(const struct decant_mover *mover)
{
	return &mover->prepared;
}

const uint64_t *mover_sent(const struct decant_mover *mover, uint32_t region)
{
	return mover->granules[region].sent;
}

uint64_t mover_write_cost_ns(const struct decant_mover *mover)
{
	return mover->route.ops->write_cost_ns;
}

const char *mover_fabric(const struct decant_mover *mover)
{
	return mover->route.ops != NULL ? mover->route.ops->name : "";
}

const char *mover_fabric_reason(const struct decant_mover *mover)
{
	return mover->route.reason;
}

int mover_memory_node(const struct decant_mover *mover)
{
	const uint32_t count = decant_memory_count(mover->memory);
	uint64_t most = 0;
	int node = -1;

	for (uint32_t i = 0; i < count; i++) {
		const struct decant_region *first = decant_memory_region(mover->memory, i);
		uint64_t bytes = 0;

		for (uint32_t j = i; j < count; j++) {
			const struct decant_region *region = decant_memory_region(mover->memory, j);

			bytes += region->numa_node == first->numa_node ? region->length : 0;
		}
		if (first->numa_node >= 0 && bytes > most) {
			most = bytes;
			node = first->numa_node;
		}
	}
	return node;
}

int mover_node(const struct decant_mover *mover)
{
	return mover->route.pairs > 0 ? route_node(&mover->route) : mover->control_node;
}

uint32_t mover_channels(const struct decant_mover *mover)
{
	return mover->channels;
}

uint32_t mover_lease_ms(const struct decant_mover *mover)
{
	return mover->lease_ms;
}

void mover_get_stats(struct decant_mover *mover, struct mover_stats *stats)
{
	struct fabric_source_stats now = { 0 };
	uint64_t mappers_ns = 0;
	struct peer *peer;

	{
		/* while they are shown they are not closed */
		DECANT_AUTO_UNLOCK(&mover->lock);
		if (mover->shown.mappers != NULL)
			mappers_ns = populate_cpu_ns(mover->shown.mappers);
		if (mover->shown.source != NULL)
			mover->shown.ops->source_stats(mover->shown.source, &now);
		peer = mover->peer;
	}
	*stats = (struct mover_stats){
		.bytes = mover->bytes,
		.writes = mover->writes,
		.zero_copy_bytes = mover->zero_copy_bytes + now.zero_copy_bytes,
		.inline_pages = mover->inline_pages,
		.first_byte_ns = mover->first_byte_ns,
		.failovers = mover->failovers,
		.cpu_ns = mover->fabric_cpu_ns + now.cpu_ns + mappers_ns + (peer != NULL ? peer_cpu_ns(peer) : 0),
	};
}

/* ---- the public floor ---- */

int decant_mover_connect(const struct decant_mover_opts *opts, const struct decant_memory *memory,
			 const struct decant_state_writer *shape, struct decant_mover **out,
			 struct decant_error *err)
{
	struct mover_setup setup = {
		.purpose = WIRE_PURPOSE_PUSH,
		.connect_timeout_ns = opts->peer_timeout_ns,
	};
	struct decant_mover *mover;
	const void *bytes = NULL;
	size_t length = 0;
	int rc;

	memcpy(&setup.opts, opts, opts->size < sizeof(setup.opts) ? opts->size : sizeof(setup.opts));
	if (getrandom(setup.id, sizeof(setup.id), 0) != sizeof(setup.id))
		return decant_error_set(err, -errno, "getrandom: %s", strerror(errno));
	if (shape != NULL)
		bytes = decant_state_writer_bytes(shape, &length);
	rc = mover_new(&setup, memory, &mover, err);
	if (rc < 0)
		return rc;
	rc = mover_open(mover, bytes, length, err);
	if (rc < 0) {
		mover_disconnect(mover);
		return rc;
	}
	*out = mover;
	return 0;
}

int decant_mover_check(struct decant_mover *mover, struct decant_error *err)
{
	return mover_check(mover, err);
}

static void fill_shown(struct decant_mover *mover, struct decant_mover_stats *stats)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	if (mover->shown.ops == NULL)
		return;
	snprintf(stats->fabric, sizeof(stats->fabric), "%s", mover->shown.ops->name);
	snprintf(stats->fabric_reason, sizeof(stats->fabric_reason), "%s", mover->shown.reason);
	stats->channels = mover->shown.channels;
}

void decant_mover_get_stats(struct decant_mover *mover, struct decant_mover_stats *stats)
{
	struct decant_mover_stats now = { 0 };
	struct mover_stats figures;

	mover_get_stats(mover, &figures);
	fill_shown(mover, &now);
	now.failovers = figures.failovers;
	now.ram_bytes = decant_memory_bytes(mover->memory);
	now.sent_bytes = figures.bytes;
	now.pages_sent = figures.bytes / DECANT_PAGE_SIZE;
	now.pages_zero = mover->pages_zero;
	now.pushes = mover->pushes;
	now.writes = figures.writes;
	now.barriers = mover->barriers;
	now.messages = mover->messages;
	now.message_bytes = mover->message_bytes;
	now.messages_back = mover->messages_back;
	now.zero_copy_bytes = figures.zero_copy_bytes;
	now.first_byte_ns = figures.first_byte_ns;
	now.cpu_ns = figures.cpu_ns;
	now.size = stats->size < sizeof(now) ? stats->size : sizeof(now);
	memcpy(stats, &now, now.size);
}

/* How long the goodbye waits for the destination to have fenced: it has nothing else to do by then. */
#define GOODBYE_NS (5 * NSEC_PER_SEC)

void decant_mover_close(struct decant_mover *mover)
{
	struct peer_message message;

	if (mover == NULL)
		return;
	mover->closing = true;
	mover_epoch_close(mover);
	/* a goodbye says that all has landed; without it the destination throws away what it has */
	if (mover->peer != NULL && !mover->unsettled && mover_check(mover, NULL) == 0 &&
	    peer_send(mover->peer, WIRE_BYE, NULL, 0, NULL, 0, NULL) == 0 &&
	    peer_receive(mover->peer, clock_deadline_ns(GOODBYE_NS), &message, NULL) == 0)
		peer_message_free(&message);
	mover_disconnect(mover);
}
