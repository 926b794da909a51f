/* SPDX-License-Identifier: BSD-2-Clause */
/* fabric_pair.c -- a source and a sink of any fabric, for its tests */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/fabric/fabric_pair.h"
#include "util/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

enum decant_zero_copy pair_zero_copy = DECANT_ZERO_COPY_AUTO;

static void pair_record(struct joined *pair, const struct pair_event *event)
{
	pthread_mutex_lock(&pair->lock);
	if (pair->events < PAIR_EVENTS_MAX)
		pair->event[pair->events] = *event;
	pair->events++;
	if (event->kind == PAIR_BARRIER)
		pair->round[event->channel] = event->value;
	if (event->kind == PAIR_LOST)
		pair->lost[event->channel] = -(int)event->value;
	pthread_cond_broadcast(&pair->changed);
	pthread_mutex_unlock(&pair->lock);
}

static void pair_on_barrier(void *opaque, uint32_t channel, uint64_t round)
{
	const struct pair_event event = { PAIR_BARRIER, channel, round };
	struct joined *pair = opaque;

	if (pair->on_barrier != NULL)
		pair->on_barrier(pair, channel, round);
	pair_record(pair, &event);
}

static int pair_on_message(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct pair_event event = { PAIR_MESSAGE, 0, 0 };
	struct joined *pair = opaque;
	int rc = 0;

	(void)err;
	memcpy(&event.value, data, length < sizeof(event.value) ? length : sizeof(event.value));
	if (pair->on_message != NULL)
		rc = pair->on_message(pair, data, length);
	pair_record(pair, &event);
	return rc;
}

static void pair_on_lost(void *opaque, uint32_t channel, const struct decant_error *why)
{
	const struct pair_event event = { PAIR_LOST, channel, (uint64_t)-why->code };

	pair_record(opaque, &event);
}

static const struct fabric_sink_events pair_sink_events = {
	.barrier = pair_on_barrier,
	.message = pair_on_message,
	.lost = pair_on_lost,
};

uint64_t pair_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void pair_map(struct joined *pair)
{
	pair->length[0] = 3 * PAIR_GRANULE + 5 * PAIR_PAGE;
	pair->length[1] = 2 * PAIR_GRANULE;
	for (uint32_t i = 0; i < PAIR_REGIONS; i++) {
		pair->from[i] = mmap(NULL, pair->length[i], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				     0);
		pair->to[i] = mmap(NULL, pair->length[i], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				   0);
		assert_ptr_not_equal(pair->from[i], MAP_FAILED);
		assert_ptr_not_equal(pair->to[i], MAP_FAILED);
		pair->sink_opts.region_length[i] = pair->length[i];
		pair->sink_opts.granule_size[i] = PAIR_GRANULE;
	}
}

void pair_expose(struct joined *pair, uint32_t region, uint64_t granule)
{
	const uint64_t offset = granule * PAIR_GRANULE;
	const uint64_t rest = pair->length[region] - offset;

	assert_int_equal(pair->ops->sink_expose(pair->sink, region, offset,
						rest < PAIR_GRANULE ? rest : PAIR_GRANULE,
						pair->to[region] + offset, &pair->rkey[region][granule], NULL),
			 0);
}

bool pair_has_rails(const struct fabric_ops *ops)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_rail rails[FABRIC_RAILS_MAX];

	if (ops->rails == NULL || ops->rails(rails, FABRIC_RAILS_MAX, &err) > 0)
		return true;
	print_message("SKIP: %s\n", err.msg);
	return false;
}

/* This host's rails reach themselves. */
static void pair_rails(struct joined *pair)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	struct fabric_pair_opts opts = {
		.remote = rails, .near_node = -1, .timeout_ns = PAIR_LATE_NS, .wake_fd = -1
	};
	int count;

	if (pair->ops->rails == NULL)
		return;
	count = pair->ops->rails(rails, FABRIC_RAILS_MAX, &err);
	if (count > 0) {
		opts.count = (uint32_t)count;
		count = pair->ops->pair(&opts, pair->source_opts.pairs, &err);
	}
	if (count <= 0)
		fail_msg("%s", err.msg);
	pair->source_opts.pair_count = (uint32_t)count;
	pair->sink_opts.rail_count = (uint32_t)count;
	for (int i = 0; i < count; i++)
		pair->sink_opts.rails[i] = pair->source_opts.pairs[i].remote;
}

struct joined *pair_open(const struct fabric_ops *ops, uint32_t channels)
{
	struct joined *pair = calloc(1, sizeof(*pair));
	struct decant_error err = DECANT_ERROR_INIT;

	assert_non_null(pair);
	pair->ops = ops;
	pair->channels = channels;
	pthread_mutex_init(&pair->lock, NULL);
	pthread_cond_init(&pair->changed, NULL);
	pair->sink_opts = (struct fabric_sink_opts){
		.host = "127.0.0.1",
		.channels = channels,
		.epoch = 7,
		.regions = PAIR_REGIONS,
		.events = &pair_sink_events,
		.opaque = pair,
	};
	for (uint32_t i = 0; i < channels; i++) {
		memset(pair->sink_opts.tokens[i], 'a' + (int)i, FABRIC_TOKEN_SIZE);
		memset(pair->sink_opts.answers[i], 'A' + (int)i, FABRIC_TOKEN_SIZE);
	}
	pair_map(pair);
	pair->source_opts = (struct fabric_source_opts){
		.peer_host = "127.0.0.1",
		.channels = channels,
		.epoch = 7,
		.connect_timeout_ns = PAIR_LATE_NS,
		.wake_fd = -1,
		.zero_copy = pair_zero_copy,
	};
	pair_rails(pair);
	if (ops->sink_open(&pair->sink_opts, &pair->sink, &err) < 0)
		fail_msg("%s", err.msg);
	for (uint64_t i = 0; i < 4; i++)
		pair_expose(pair, 0, i);
	pair_expose(pair, 1, 0);
	memcpy(pair->source_opts.tokens, pair->sink_opts.tokens, sizeof(pair->sink_opts.tokens));
	memcpy(pair->source_opts.answers, pair->sink_opts.answers, sizeof(pair->sink_opts.answers));
	ops->sink_address(pair->sink, &pair->source_opts.address);
	return pair;
}

void pair_connect(struct joined *pair)
{
	struct decant_error err = DECANT_ERROR_INIT;

	if (pair->ops->source_connect(&pair->source_opts, &pair->source, &err) < 0)
		fail_msg("%s", err.msg);
	for (uint32_t i = 0; i < PAIR_REGIONS; i++)
		pair_share(pair, pair->from[i], pair->length[i]);
}

void pair_share(struct joined *pair, uint8_t *memory, uint64_t length)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct pair_share *share = &pair->share[pair->shares++];

	assert_true(pair->shares <= PAIR_SHARES_MAX);
	share->memory = memory;
	share->length = length;
	if (pair->ops->source_map(pair->source, memory, length, &share->lkey, &err) < 0)
		fail_msg("%s", err.msg);
}

static uint64_t find_lkey(const struct joined *pair, const uint8_t *data)
{
	for (uint32_t i = 0; i < pair->shares; i++)
		if (data >= pair->share[i].memory && data < pair->share[i].memory + pair->share[i].length)
			return pair->share[i].lkey;
	return 0;
}

/*
 * Where there is no granule the key of another has to do: the peer must refuse it all the same. Of a region that there is not
 * there can be no key: with RDMA the key says which region is meant.
 */
static uint64_t find_rkey(const struct joined *pair, uint32_t region, uint64_t offset)
{
	const uint64_t granule = offset / PAIR_GRANULE;

	if (region >= PAIR_REGIONS)
		return 0;
	return granule < PAIR_GRANULES_MAX ? pair->rkey[region][granule] : pair->rkey[region][0];
}

struct joined *pair_new(const struct fabric_ops *ops, uint32_t channels)
{
	struct joined *pair = pair_open(ops, channels);

	pair_connect(pair);
	return pair;
}

void pair_free(struct joined *pair)
{
	pair->ops->source_close(pair->source);
	pair->ops->sink_close(pair->sink);
	for (uint32_t i = 0; i < PAIR_REGIONS; i++) {
		munmap(pair->from[i], pair->length[i]);
		munmap(pair->to[i], pair->length[i]);
	}
	pthread_cond_destroy(&pair->changed);
	pthread_mutex_destroy(&pair->lock);
	free(pair);
}

void pair_fill(struct joined *pair, uint64_t seed)
{
	for (uint32_t i = 0; i < PAIR_REGIONS; i++) {
		uint64_t *words = (uint64_t *)pair->from[i];

		for (uint64_t k = 0; k < pair->length[i] / sizeof(*words); k++)
			words[k] = pair_random(&seed);
	}
}

int pair_post(struct joined *pair, uint32_t channel, uint32_t region, uint64_t offset, uint32_t length,
	      const void *data)
{
	const struct fabric_write write = {
		.channel = channel,
		.region = region,
		.offset = offset,
		.length = length,
		.data = data,
		.lkey = find_lkey(pair, data),
		.rkey = find_rkey(pair, region, offset),
	};
	int rc;

	while ((rc = pair->ops->source_write(pair->source, &write)) == -EAGAIN) {
		rc = pair->ops->source_wait(pair->source, PAIR_LATE_NS);
		if (rc < 0)
			return rc;
	}
	return rc;
}

void pair_write(struct joined *pair, uint32_t channel, uint32_t region, uint64_t offset, uint32_t length)
{
	assert_int_equal(pair_post(pair, channel, region, offset, length, pair->from[region] + offset), 0);
}

int pair_message(struct joined *pair, const void *data, size_t length)
{
	int rc;

	while ((rc = pair->ops->source_message(pair->source, data, length)) == -EAGAIN) {
		rc = pair->ops->source_wait(pair->source, PAIR_LATE_NS);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int pair_post_barrier(struct joined *pair, uint64_t round)
{
	int rc;

	while ((rc = pair->ops->source_barrier(pair->source, round)) == -EAGAIN) {
		rc = pair->ops->source_wait(pair->source, PAIR_LATE_NS);
		if (rc < 0)
			return rc;
	}
	return rc;
}

/* lock held */
static void pair_sleep(struct joined *pair, const struct timespec *deadline, const char *what)
{
	if (pthread_cond_clockwait(&pair->changed, &pair->lock, CLOCK_MONOTONIC, deadline) == ETIMEDOUT) {
		pthread_mutex_unlock(&pair->lock);
		fail_msg("%s never came", what);
	}
}

void pair_await_round(struct joined *pair, uint64_t round)
{
	const struct timespec deadline = clock_timespec(clock_deadline_ns(PAIR_LATE_NS));

	pthread_mutex_lock(&pair->lock);
	for (uint32_t i = 0; i < pair->channels; i++) {
		while (pair->round[i] < round)
			pair_sleep(pair, &deadline, "the barrier");
	}
	pthread_mutex_unlock(&pair->lock);
}

int pair_await_lost(struct joined *pair, uint32_t channel)
{
	const struct timespec deadline = clock_timespec(clock_deadline_ns(PAIR_LATE_NS));
	int code;

	pthread_mutex_lock(&pair->lock);
	while (pair->lost[channel] == 0)
		pair_sleep(pair, &deadline, "the loss");
	code = pair->lost[channel];
	pthread_mutex_unlock(&pair->lock);
	return code;
}

void pair_barrier(struct joined *pair, uint64_t round)
{
	assert_int_equal(pair_post_barrier(pair, round), 0);
	pair_await_round(pair, round);
}

int pair_await_failure(struct joined *pair, uint32_t channel)
{
	const uint64_t deadline_ns = clock_deadline_ns(PAIR_LATE_NS);
	int rc;

	do {
		rc = pair_post(pair, channel, 0, 0, PAIR_PAGE, pair->from[0]);
		rc = rc ? rc : pair->ops->source_flush(pair->source);
		if (rc == 0 && clock_now_ns() > deadline_ns)
			fail_msg("the source never failed");
	} while (rc == 0);
	return rc;
}

uint32_t pair_events(struct joined *pair)
{
	uint32_t events;

	pthread_mutex_lock(&pair->lock);
	events = pair->events;
	pthread_mutex_unlock(&pair->lock);
	return events;
}
