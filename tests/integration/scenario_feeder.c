/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_feeder.c -- the mover without a controller: a feeder that pushes as QEMU will, and a sink of messages as a disk will be
 *
 * The feeder pushes pages in any order and repeatedly, owns its passes, and knows no pause. The test changes pages between
 * pushes and keeps its own image of what the destination must hold after the last barrier.
 */
#include "integration/breaker.h"
#include "integration/scenarios.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/loop/loop.h"

#define FEED_PAGES SCALE(4096u, 1024u)
#define MESSAGES SCALE(400u, 100u)

struct feed {
	struct decant_memory *memory;
	char *base;
	uint64_t length; /* 0: FEED_PAGES */
	const struct decant_memory *landing_memory;
	struct decant_landing *landing;
	pthread_t thread;
	int landed; /* what decant_landing_run() returned */
	struct decant_error landed_err;
	struct decant_memory *received;
	char peer[64];
	struct decant_mover *mover;
	struct decant_error err;

	/* of message() */
	_Atomic unsigned messages;
	_Atomic unsigned out_of_order;
	unsigned slow_us;
	unsigned fail_at;
	_Atomic unsigned shapes;
};

static int land_create(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		       uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct feed *feed = opaque;
	struct decant_state_record record;

	feed->landing_memory = memory;
	if (decant_state_next(shape, &record) == 1 && strcmp(record.name, "feed.shape") == 0)
		atomic_fetch_add(&feed->shapes, 1);
	for (uint32_t i = 0; i < count; i++) {
		int ret = decant_memory_allocate(memory, &regions[i], err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int land_message(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct feed *feed = opaque;
	unsigned expected = atomic_fetch_add(&feed->messages, 1);
	unsigned number = 0;

	if (length >= sizeof(number))
		memcpy(&number, data, sizeof(number));
	if (number != expected || length != sizeof(number) + number * 37 % 60000)
		atomic_fetch_add(&feed->out_of_order, 1);
	if (feed->slow_us > 0)
		usleep(feed->slow_us);
	if (feed->fail_at != 0 && number == feed->fail_at)
		return decant_error_set(err, -ENOSPC, "the disk is full");
	return 0;
}

static void *landing_thread(void *opaque)
{
	struct feed *feed = opaque;

	feed->landed = decant_landing_run(feed->landing, &feed->received, &feed->landed_err);
	return NULL;
}

static void feed_memory(struct feed *feed)
{
	struct decant_region region = DECANT_REGION_INIT;

	snprintf(region.name, sizeof(region.name), "ram0");
	region.length = feed->length > 0 ? feed->length : FEED_PAGES * PAGE;
	assert_int_equal(decant_memory_new(&feed->memory, NULL), 0);
	assert_int_equal(decant_memory_allocate(feed->memory, &region, NULL), 0);
	feed->base = decant_memory_region(feed->memory, 0)->address;
}

static void feed_open(struct feed *feed, const struct rig *rig)
{
	static const struct decant_landing_ops ops = {
		.size = sizeof(ops),
		.create = land_create,
		.message = land_message,
	};
	struct decant_landing_opts landing_opts = DECANT_LANDING_OPTS_INIT;
	struct decant_mover_opts opts = DECANT_MOVER_OPTS_INIT;
	struct decant_state_writer *shape;

	feed_memory(feed);
	landing_opts.listen = "127.0.0.1:0";
	landing_opts.log = rig->receiver_opts.log;
	landing_opts.key = rig->receiver_opts.key;
	landing_opts.key_length = rig->receiver_opts.key_length;
	assert_int_equal(decant_landing_new(&landing_opts, &ops, feed, &feed->landing, &feed->err), 0);
	assert_int_equal(pthread_create(&feed->thread, NULL, landing_thread, feed), 0);
	snprintf(feed->peer, sizeof(feed->peer), "127.0.0.1:%u", decant_landing_port(feed->landing));
	opts.peer = feed->peer;
	opts.name = "feed";
	opts.fabric = rig->fabric;
	opts.channels = rig->opts.channels;
	opts.log = rig->opts.log;
	opts.key = rig->opts.key;
	opts.key_length = rig->opts.key_length;
	assert_int_equal(decant_state_writer_new(&shape, NULL), 0);
	assert_int_equal(decant_state_put(shape, "feed.shape", 0, 1, "x", 1, NULL), 0);
	if (decant_mover_connect(&opts, feed->memory, shape, &feed->mover, &feed->err) < 0)
		fail_msg("decant_mover_connect: %s", feed->err.msg);
	decant_state_writer_free(shape);
}

/* The orderly end: goodbye, and the memory is the caller's. */
static void feed_close(struct feed *feed)
{
	decant_mover_close(feed->mover);
	feed->mover = NULL;
	pthread_join(feed->thread, NULL);
	if (feed->landed != 0)
		fail_msg("decant_landing_run: %d: %s", feed->landed, feed->landed_err.msg);
	assert_non_null(feed->received);
	assert_int_equal(atomic_load(&feed->shapes), 1);
}

static void feed_free(struct feed *feed)
{
	decant_landing_free(feed->landing);
	decant_memory_free(feed->received);
	decant_memory_free(feed->memory);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* The fabric may read the pages at any time until the next barrier, also now: that is what a feeder may do. */
__attribute__((no_sanitize("thread"))) static void change(struct feed *feed, uint32_t page, uint32_t pages,
							  int value)
{
	volatile char *bytes = feed->base + page * PAGE;

	for (uint64_t i = 0; i < pages * PAGE; i++)
		bytes[i] = (char)value;
}

static void change_and_push(struct feed *feed, uint32_t page, uint32_t pages, int value)
{
	change(feed, page, pages, value);
	if (decant_mover_push(feed->mover, 0, page * PAGE, pages * PAGE, &feed->err) < 0)
		fail_msg("decant_mover_push: %s", feed->err.msg);
}

static void barrier(struct feed *feed)
{
	if (decant_mover_barrier(feed->mover, &feed->err) < 0)
		fail_msg("decant_mover_barrier: %s", feed->err.msg);
}

/* Anywhere, any length, over and over: the last contents of each page count. */
static void push_at_random(struct feed *feed, unsigned pushes, uint32_t *state)
{
	for (unsigned i = 0; i < pushes; i++) {
		uint32_t page = next_random(state) % (FEED_PAGES / 2);
		uint32_t pages = 1 + next_random(state) % 40;

		change_and_push(feed, page, pages, (int)(next_random(state) & 0xff));
	}
}

static void expect_equal(const struct feed *feed)
{
	const char *landed = decant_memory_region(feed->received, 0)->address;

	for (uint32_t page = 0; page < FEED_PAGES; page++)
		if (memcmp(landed + page * PAGE, feed->base + page * PAGE, PAGE) != 0)
			fail_msg("page %u differs", page);
}

void scenario_push_feeder(struct rig *rig)
{
	struct feed feed = { 0 };
	uint32_t state = 42;
	uint64_t allocated;

	rig->opts.channels = 2;
	feed_open(&feed, rig);
	for (int round = 0; round < 4; round++) {
		push_at_random(&feed, SCALE(500, 100), &state);
		barrier(&feed);
	}
	change_and_push(&feed, 3, 1, 0); /* a page that becomes zero again */
	change_and_push(&feed, FEED_PAGES - 1, 1, 9);
	barrier(&feed);
	feed_close(&feed);

	allocated = decant_memory_allocated(feed.received); /* before they are read, which allocates */
	assert_true(allocated <= FEED_PAGES / 2 * PAGE + 2 * DECANT_GRANULE_SIZE);
	expect_equal(&feed);
	feed_free(&feed);
}

static void await_granules(const struct feed *feed, uint64_t granules)
{
	for (int i = 0; i < 30000; i++) {
		if (decant_memory_allocated(feed->landing_memory) >= granules * DECANT_GRANULE_SIZE)
			break;
		usleep(1000);
	}
	assert_int_equal(decant_memory_allocated(feed->landing_memory), granules * DECANT_GRANULE_SIZE);
}

/* The destination is asked for what comes next before it is due, and with each granule for one more; but for no hole. */
void scenario_push_feeder_asks_ahead(struct rig *rig)
{
	struct feed feed = { .length = 30 * DECANT_GRANULE_SIZE };

	feed_open(&feed, rig);
	for (uint64_t granule = 0; granule < 30; granule++)
		if (granule != 5)
			feed.base[granule * DECANT_GRANULE_SIZE] = 1;
	change_and_push(&feed, 0, 1, 7);
	await_granules(&feed, 17);
	for (uint64_t granule = 1; granule < 4; granule++) {
		change_and_push(&feed, (uint32_t)(granule * DECANT_GRANULE_SIZE / PAGE), 1, 7);
		await_granules(&feed, 17 + granule);
	}
	change_and_push(&feed, (uint32_t)(feed.length / PAGE - 1), 1, 7);
	barrier(&feed);
	await_granules(&feed, 21);
	feed_close(&feed);
	feed_free(&feed);
}

static enum loop_action kill_each_hundredth(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	_Atomic unsigned *asked = opaque;

	(void)write;
	return epoch <= 3 && atomic_fetch_add(asked, 1) % 100 == 99 ? LOOP_KILL : LOOP_DELIVER;
}

/* The port of the landing stands in for the receiver's, so that only data connections are broken. */
static void break_data(const struct feed *feed, const struct rig *rig, unsigned round)
{
	if (rig_has_rails(rig) && round == 0)
		breaker_arm(BREAKER_WRITE, 0);
	else if (strcmp(rig->fabric, "loop") != 0 && round < 3)
		assert_true(rig_kill_data_but(decant_landing_port(feed->landing)));
}

void scenario_push_feeder_with_a_key(struct rig *rig)
{
	rig->opts.key = rig->receiver_opts.key = "a key of feeders, long enough";
	rig->opts.key_length = rig->receiver_opts.key_length = strlen(rig->opts.key);
	scenario_push_feeder(rig);
}

void scenario_push_feeder_over_failover(struct rig *rig)
{
	_Atomic unsigned asked = 0;
	const struct loop_plan plan = { .decide = kill_each_hundredth, .opaque = &asked };
	struct feed feed = { 0 };
	uint32_t state = 7;

	rig->opts.channels = 2;
	feed_open(&feed, rig);
	loop_plan_set(&plan);
	for (unsigned round = 0; round < 5; round++) {
		push_at_random(&feed, 100, &state);
		break_data(&feed, rig, round);
		push_at_random(&feed, 100, &state);
		barrier(&feed);
	}
	feed_close(&feed);

	expect_equal(&feed);
	feed_free(&feed);
	loop_plan_set(NULL);
}

static enum loop_action kill_all(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	(void)opaque;
	(void)epoch;
	(void)write;
	return LOOP_KILL;
}

/* No channel lives for long enough. A feeder that does not take no for an answer gets the same again. */
void scenario_push_feeder_gives_up(struct rig *rig)
{
	const struct loop_plan plan = { .decide = kill_all };
	struct feed feed = { 0 };

	feed_open(&feed, rig);
	loop_plan_set(&plan);
	decant_mover_push(feed.mover, 0, 0, PAGE, &feed.err);
	assert_true(decant_mover_barrier(feed.mover, &feed.err) < 0);
	assert_non_null(strstr(feed.err.msg, "broke"));
	assert_true(decant_mover_push(feed.mover, 0, 0, PAGE, &feed.err) < 0);
	assert_true(decant_mover_message(feed.mover, "x", 1, &feed.err) < 0);
	assert_true(decant_mover_barrier(feed.mover, NULL) < 0);
	decant_mover_close(feed.mover);
	pthread_join(feed.thread, NULL);

	assert_true(feed.landed < 0);
	feed_free(&feed);
	loop_plan_set(NULL);
}

static void *cancel_soon(void *opaque)
{
	usleep(50000);
	decant_mover_cancel(opaque);
	return NULL;
}

void scenario_push_feeder_cancelled(struct rig *rig)
{
	struct feed feed = { 0 };
	pthread_t thread;
	int ret = 0;

	feed_open(&feed, rig);
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, feed.mover), 0);
	for (uint32_t page = 0; ret == 0; page = (page + 1) % FEED_PAGES)
		ret = decant_mover_push(feed.mover, 0, page * PAGE, PAGE, &feed.err);
	pthread_join(thread, NULL);
	assert_int_equal(ret, -ECANCELED);
	assert_int_equal(decant_mover_barrier(feed.mover, &feed.err), -ECANCELED);
	decant_mover_close(feed.mover);
	pthread_join(feed.thread, NULL);

	assert_true(feed.landed < 0);
	assert_null(feed.received);
	feed_free(&feed);
}

static int send_message(struct feed *feed, unsigned number)
{
	static char text[DECANT_MESSAGE_MAX];

	memcpy(text, &number, sizeof(number));
	return decant_mover_message(feed->mover, text, sizeof(number) + number * 37 % 60000, &feed->err);
}

/* A slow consumer holds the sender back; nothing is lost, repeated or out of order, pages between them included. */
void scenario_message_sink(struct rig *rig)
{
	struct feed feed = { .slow_us = 500 };

	feed_open(&feed, rig);
	for (unsigned number = 0; number < MESSAGES; number++) {
		if (send_message(&feed, number) < 0)
			fail_msg("decant_mover_message: %s", feed.err.msg);
		if (number % 10 == 0)
			change_and_push(&feed, number % FEED_PAGES, 1, 1 + (int)(number & 0x7f));
	}
	barrier(&feed);
	assert_int_equal(atomic_load(&feed.messages), MESSAGES);
	feed_close(&feed);

	assert_int_equal(atomic_load(&feed.messages), MESSAGES);
	assert_int_equal(atomic_load(&feed.out_of_order), 0);
	expect_equal(&feed);
	feed_free(&feed);
}

void scenario_message_sink_that_fails(struct rig *rig)
{
	struct feed feed = { .fail_at = 20 };
	int ret = 0;

	feed_open(&feed, rig);
	for (unsigned number = 0; ret == 0 && number < 100000; number++)
		ret = send_message(&feed, number % 64);
	if (ret == 0)
		ret = decant_mover_barrier(feed.mover, &feed.err);
	decant_mover_close(feed.mover);
	pthread_join(feed.thread, NULL);

	assert_true(ret < 0);
	assert_int_equal(feed.landed, -ENOSPC);
	assert_null(feed.received);
	feed_free(&feed);
}
