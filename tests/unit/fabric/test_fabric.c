/* SPDX-License-Identifier: BSD-2-Clause */
/* test_fabric.c -- what fabric.h promises, held against every fabric through struct fabric_ops alone */
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
#include <unistd.h>
#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

#ifdef SANITIZED
#define STRESS_BYTES (32u << 20)
#else
#define STRESS_BYTES (256u << 20)
#endif
#define STRESS_CHANNELS 3u
#define CREDITS_MAX 64u

static const struct fabric_ops *fabric;

/* What the sink is told of a write that it must not have: with RDMA the device has refused it, and ends the connection. */
static int refusal(void)
{
	return fabric->rails == NULL ? -EPROTO : -ECONNRESET;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

/* ---- writes and barriers ---- */

static void test_write__lands_where_it_was_sent(void **state)
{
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	pair_fill(pair, 1);
	pair_write(pair, 0, 0, 0, PAIR_PAGE);
	pair_write(pair, 1, 0, PAIR_GRANULE, 512u << 10);
	pair_write(pair, 0, 0, 3 * PAIR_GRANULE + PAIR_PAGE, 4 * PAIR_PAGE);
	pair_write(pair, 1, 1, PAIR_GRANULE - fabric->write_max, fabric->write_max);
	pair_barrier(pair, 1);

	assert_memory_equal(pair->to[0], pair->from[0], PAIR_PAGE);
	assert_true(all_zero(pair->to[0] + PAIR_PAGE, PAIR_GRANULE - PAIR_PAGE));
	assert_memory_equal(pair->to[0] + PAIR_GRANULE, pair->from[0] + PAIR_GRANULE, 512u << 10);
	assert_memory_equal(pair->to[0] + 3 * PAIR_GRANULE + PAIR_PAGE,
			    pair->from[0] + 3 * PAIR_GRANULE + PAIR_PAGE, 4 * PAIR_PAGE);
	assert_memory_equal(pair->to[1] + PAIR_GRANULE - fabric->write_max,
			    pair->from[1] + PAIR_GRANULE - fabric->write_max, fabric->write_max);
	pair_free(pair);
}

/* Over a relaxed fabric it takes a barrier in between: fewer of them, then. */
static void test_write__of_one_page_again_and_again_keeps_its_order(void **state)
{
	const uint64_t times = fabric->relaxed ? 200 : 2000;
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	pair_fill(pair, 2);
	for (uint64_t i = 0; i < times; i++) {
		const uint64_t page = i % (pair->length[0] / PAIR_PAGE);

		if (fabric->relaxed && i > 0)
			pair_barrier(pair, i);
		assert_int_equal(pair_post(pair, 1, 0, 0, PAIR_PAGE, pair->from[0] + page * PAIR_PAGE), 0);
		if (i % 97 == 0)
			assert_int_equal(fabric->source_flush(pair->source), 0);
	}
	pair_barrier(pair, times);
	assert_int_equal(pair_post(pair, 1, 0, 0, PAIR_PAGE, pair->from[1]), 0);
	pair_barrier(pair, times + 1);

	assert_memory_equal(pair->to[0], pair->from[1], PAIR_PAGE);
	pair_free(pair);
}

static void test_write__refuses_what_is_no_write(void **state)
{
	struct joined *pair = pair_new(fabric, 2);
	struct fabric_write write = { .length = PAIR_PAGE, .data = pair->from[0] };

	(void)state;
	write.channel = 2;
	assert_int_equal(fabric->source_write(pair->source, &write), -EINVAL);
	write.channel = 0;
	write.length = 0;
	assert_int_equal(fabric->source_write(pair->source, &write), -EINVAL);
	write.length = PAIR_PAGE + 512;
	assert_int_equal(fabric->source_write(pair->source, &write), -EINVAL);
	write.length = fabric->write_max + PAIR_PAGE;
	assert_int_equal(fabric->source_write(pair->source, &write), -EINVAL);
	pair_barrier(pair, 1);
	pair_free(pair);
}

/* the page of each channel holds the round's number, at the moment when the barrier is reported */
static void expect_round_in_memory(struct joined *pair, uint32_t channel, uint64_t round)
{
	_Atomic uint32_t *wrong = pair->opaque;
	uint64_t seen;

	memcpy(&seen, pair->to[0] + (uint64_t)channel * PAIR_GRANULE + 8, sizeof(seen));
	if (seen != round)
		(*wrong)++;
}

static void test_barrier__means_that_the_writes_can_be_seen(void **state)
{
	struct joined *pair = pair_new(fabric, 3);
	_Atomic uint32_t wrong = 0;

	(void)state;
	pair->opaque = &wrong;
	pair->on_barrier = expect_round_in_memory;
	for (uint64_t round = 1; round <= 200; round++) {
		for (uint32_t i = 0; i < 3; i++) {
			memcpy(pair->from[0] + (uint64_t)i * PAIR_GRANULE + 8, &round, sizeof(round));
			pair_write(pair, i, 0, (uint64_t)i * PAIR_GRANULE, 4 * PAIR_PAGE);
		}
		pair_barrier(pair, round);
	}

	assert_int_equal(wrong, 0);
	assert_int_equal(pair_events(pair), 600);
	pair_free(pair);
}

static void test_barrier__many_at_once_come_in_order_on_each_channel(void **state)
{
	struct joined *pair = pair_new(fabric, 4);
	uint64_t last[4] = { 0 };

	(void)state;
	for (uint64_t round = 1; round <= 500; round++)
		assert_int_equal(pair_post_barrier(pair, round), 0);
	pair_await_round(pair, 500);

	assert_int_equal(pair_events(pair), 2000);
	for (uint32_t i = 0; i < 2000; i++) {
		const struct pair_event *event = &pair->event[i];

		assert_int_equal(event->kind, PAIR_BARRIER);
		assert_int_equal(event->value, last[event->channel] + 1);
		last[event->channel] = event->value;
	}
	pair_free(pair);
}

static void test_flush__hands_over_all_that_was_queued(void **state)
{
	const uint64_t deadline_ns = clock_deadline_ns(PAIR_LATE_NS);
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	pair_write(pair, 0, 0, 0, PAIR_PAGE);
	pair_write(pair, 1, 0, PAIR_GRANULE, PAIR_PAGE);
	assert_int_equal(fabric->source_pending(pair->source), 2 * PAIR_PAGE);
	assert_int_equal(fabric->source_flush(pair->source), 0);
	while (fabric->source_pending(pair->source) > 0 && clock_now_ns() < deadline_ns)
		usleep(1000);

	assert_int_equal(fabric->source_pending(pair->source), 0);
	pair_free(pair);
}

/* however small the time, what is written goes out without being flushed, or whoever waits for room would wait forever */
static void test_write__with_hardly_any_time_under_way(void **state)
{
	struct joined *pair = pair_open(fabric, 2);

	(void)state;
	pair->source_opts.under_way_ns = 1;
	pair_connect(pair);
	pair_fill(pair, 5);
	for (uint64_t i = 0; i < 2 * PAIR_GRANULE / PAIR_PAGE; i++)
		pair_write(pair, (uint32_t)(i * PAIR_PAGE / PAIR_GRANULE), 0, i * PAIR_PAGE, PAIR_PAGE);
	pair_barrier(pair, 1);
	assert_memory_equal(pair->to[0], pair->from[0], (size_t)2 * PAIR_GRANULE);
	pair_free(pair);
}

static void test_wait__has_nothing_to_wait_for(void **state)
{
	struct joined *pair = pair_new(fabric, 1);

	(void)state;

	assert_int_equal(fabric->source_wait(pair->source, PAIR_LATE_NS), 0);
	pair_free(pair);
}

static void test_stats__count_what_was_written(void **state)
{
	struct fabric_source_stats stats;
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		pair_write(pair, i % 2, 0, (uint64_t)i * 2 * PAIR_PAGE, 2 * PAIR_PAGE);
	pair_barrier(pair, 1);
	fabric->source_stats(pair->source, &stats);

	assert_int_equal(stats.writes, 100);
	assert_int_equal(stats.bytes, 200 * PAIR_PAGE);
	assert_true(stats.posts >= 2);
	pair_free(pair);
}

/* ---- messages ---- */

static void test_message__arrives_whole_and_in_order(void **state)
{
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	for (uint64_t i = 0; i < 300; i++)
		assert_int_equal(pair_message(pair, &i, sizeof(i)), 0);
	pair_barrier(pair, 1);

	assert_int_equal(pair_events(pair), 302);
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t at = i;

		/* the other channel's barrier may come at any time */
		while (pair->event[at].kind != PAIR_MESSAGE || pair->event[at].value != i)
			assert_true(++at < i + 2);
	}
	pair_free(pair);
}

static int compare_with_source(struct joined *pair, const void *data, size_t length)
{
	return memcmp(pair->from[0], data, length) == 0 && length == FABRIC_MESSAGE_MAX ? 0 : -EIO;
}

static void test_message__may_be_of_any_length_up_to_the_limit(void **state)
{
	struct joined *pair = pair_new(fabric, 1);

	(void)state;
	pair_fill(pair, 3);
	assert_int_equal(pair_message(pair, NULL, 0), 0);
	assert_int_equal(pair_message(pair, "x", 1), 0);
	pair_barrier(pair, 1);
	pair->on_message = compare_with_source;
	assert_int_equal(pair_message(pair, pair->from[0], FABRIC_MESSAGE_MAX), 0);
	pair_barrier(pair, 2);

	assert_int_equal(pair->event[0].value, 0);
	assert_int_equal(pair->event[1].value, 'x');
	assert_int_equal(pair->lost[0], 0);
	assert_int_equal(fabric->source_message(pair->source, pair->from[0], FABRIC_MESSAGE_MAX + 1), -EMSGSIZE);
	pair_free(pair);
}

static void test_message__keeps_its_place_among_barriers(void **state)
{
	struct joined *pair = pair_new(fabric, 1);

	(void)state;
	for (uint64_t i = 1; i <= 50; i++) {
		assert_int_equal(pair_message(pair, &i, sizeof(i)), 0);
		assert_int_equal(pair_post_barrier(pair, i), 0);
	}
	pair_await_round(pair, 50);

	assert_int_equal(pair_events(pair), 100);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(pair->event[i].kind, i % 2 == 0 ? PAIR_MESSAGE : PAIR_BARRIER);
		assert_int_equal(pair->event[i].value, i / 2 + 1);
	}
	pair_free(pair);
}

/* A consumer that takes a message only when it is let. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t let, taken;
	_Atomic uint32_t sent;
	int rc;
};

static int pass_gate(struct joined *pair, const void *data, size_t length)
{
	struct gate *gate = pair->opaque;

	(void)data;
	(void)length;
	pthread_mutex_lock(&gate->lock);
	while (gate->taken >= gate->let)
		pthread_cond_wait(&gate->changed, &gate->lock);
	gate->taken++;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
	return 0;
}

static void open_gate(struct gate *gate, uint32_t let)
{
	pthread_mutex_lock(&gate->lock);
	gate->let = let;
	pthread_cond_broadcast(&gate->changed);
	while (let != UINT32_MAX && gate->taken < let)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static void *send_messages(void *arg)
{
	struct joined *pair = arg;
	struct gate *gate = pair->opaque;

	for (uint64_t i = 0; i < 200 && gate->rc == 0; i++) {
		gate->rc = pair_message(pair, &i, sizeof(i));
		gate->sent++;
	}
	return NULL;
}

static void test_message__waits_for_a_consumer_that_blocks(void **state)
{
	struct gate gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct joined *pair = pair_new(fabric, 2);
	pthread_t producer;

	(void)state;
	pair->opaque = &gate;
	pair->on_message = pass_gate;
	assert_int_equal(pthread_create(&producer, NULL, send_messages, pair), 0);
	for (uint32_t let = 1; let <= 50; let += 7) {
		open_gate(&gate, let);
		usleep(2000);
		assert_true(gate.sent <= let + CREDITS_MAX);
	}
	open_gate(&gate, UINT32_MAX);
	pthread_join(producer, NULL);
	pair_barrier(pair, 1);

	assert_int_equal(gate.rc, 0);
	assert_int_equal(gate.taken, 200);
	pair_free(pair);
}

static int take_no_message(struct joined *pair, const void *data, size_t length)
{
	(void)pair;
	(void)data;
	(void)length;
	return -ENOSPC;
}

static void test_message__refused_by_the_consumer_kills_the_sink(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	pair->on_message = take_no_message;
	fabric->source_message(pair->source, "m", 1);

	assert_int_equal(pair_await_lost(pair, 0), -ENOSPC);
	assert_true(pair_await_failure(pair, 0) < 0);
	fabric->source_last_error(pair->source, &err);
	assert_true(err.code < 0);
	assert_string_not_equal(err.msg, "");
	pair_free(pair);
}

/* ---- what is refused ---- */

static void expect_refused(uint32_t channel, uint32_t region, uint64_t offset, uint32_t length)
{
	struct joined *pair = pair_new(fabric, 2);

	pair_fill(pair, 4);
	assert_int_equal(pair_post(pair, channel, region, offset, length, pair->from[0]), 0);
	fabric->source_flush(pair->source);

	assert_true(pair_await_failure(pair, channel) < 0);
	assert_int_equal(pair_await_lost(pair, channel), refusal());
	fabric->sink_fence(pair->sink);
	for (uint32_t i = 0; i < PAIR_REGIONS; i++) {
		/* pair_await_failure() writes the first page of region 0 */
		const size_t skip = i == 0 ? PAIR_PAGE : 0;

		assert_true(all_zero(pair->to[i] + skip, pair->length[i] - skip));
	}
	pair_free(pair);
}

static void test_write__outside_of_what_is_exposed_kills_the_channel(void **state)
{
	(void)state;

	expect_refused(0, 1, PAIR_GRANULE, PAIR_PAGE);
	expect_refused(1, 1, 2 * PAIR_GRANULE - PAIR_PAGE, PAIR_PAGE);
}

static void test_write__beyond_a_region_kills_the_channel(void **state)
{
	(void)state;

	expect_refused(0, 0, 3 * PAIR_GRANULE + 4 * PAIR_PAGE, 2 * PAIR_PAGE);
	expect_refused(1, 0, 64 * PAIR_GRANULE, PAIR_PAGE);
	expect_refused(1, 0, UINT64_MAX - PAIR_PAGE + 1, PAIR_PAGE);
	expect_refused(0, PAIR_REGIONS, 0, PAIR_PAGE);
	expect_refused(0, UINT32_MAX, 0, PAIR_PAGE);
}

static void test_write__across_granules_kills_the_channel(void **state)
{
	(void)state;

	expect_refused(0, 0, PAIR_GRANULE - PAIR_PAGE, 2 * PAIR_PAGE);
}

static void test_expose__refuses_what_is_no_granule(void **state)
{
	struct joined *pair = pair_open(fabric, 1);
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t rkey;

	(void)state;

	assert_int_equal(fabric->sink_expose(pair->sink, 0, PAIR_PAGE, PAIR_GRANULE, pair->to[0], &rkey, &err),
			 -EINVAL);
	assert_int_equal(fabric->sink_expose(pair->sink, 0, 0, PAIR_PAGE, pair->to[0], &rkey, &err), -EINVAL);
	assert_int_equal(fabric->sink_expose(pair->sink, 0, 3 * PAIR_GRANULE, PAIR_GRANULE, pair->to[0], &rkey,
					     &err),
			 -EINVAL);
	assert_int_equal(fabric->sink_expose(pair->sink, 9, 0, PAIR_GRANULE, pair->to[0], &rkey, &err), -EINVAL);
	pair_expose(pair, 0, 0);
	pair_free(pair);
}

static void test_connect__with_a_wrong_token_is_refused_and_disturbs_nobody(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair = pair_open(fabric, 2);
	struct fabric_source_opts wrong = pair->source_opts;
	struct fabric_source *source = NULL;

	(void)state;
	wrong.tokens[1][FABRIC_TOKEN_SIZE - 1] ^= 1;
	wrong.tokens[0][0] ^= 1;
	assert_int_equal(fabric->source_connect(&wrong, &source, &err), -EACCES);
	assert_string_not_equal(err.msg, "");
	wrong = pair->source_opts;
	wrong.epoch++;
	assert_int_equal(fabric->source_connect(&wrong, &source, &err), -EACCES);
	assert_null(source);

	pair_connect(pair);
	pair_barrier(pair, 1);
	assert_true(fabric->source_connect(&pair->source_opts, &source, &err) < 0);
	assert_null(source);
	pair_barrier(pair, 2);
	pair_free(pair);
}

/* Somebody who has heard the source's tokens, and can show only what he has heard, is none of ours. */
static void test_connect__to_a_sink_with_a_wrong_token_fails(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct joined *pair = pair_open(fabric, 2);
		struct fabric_source_opts opts = pair->source_opts;
		struct fabric_source *source = NULL;

		if (how == 0)
			opts.answers[1][FABRIC_TOKEN_SIZE - 1] ^= 0x80;
		else if (how == 1)
			memcpy(opts.answers[0], opts.answers[1], FABRIC_TOKEN_SIZE);
		else
			memcpy(opts.answers, opts.tokens, sizeof(opts.answers));
		assert_int_equal(fabric->source_connect(&opts, &source, &err), -EACCES);
		assert_non_null(strstr(err.msg, "token is wrong"));
		assert_null(source);
		pair_free(pair);
	}
}

static void test_connect__with_tokens_that_have_expired_is_refused(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair = pair_open(fabric, 2);
	struct fabric_source *source = NULL;

	(void)state;
	fabric->sink_close(pair->sink);
	pair->sink_opts.token_timeout_ns = 1;
	assert_int_equal(fabric->sink_open(&pair->sink_opts, &pair->sink, NULL), 0);
	fabric->sink_address(pair->sink, &pair->source_opts.address);
	assert_int_equal(fabric->source_connect(&pair->source_opts, &source, &err), -EACCES);
	assert_non_null(strstr(err.msg, "expired"));
	assert_null(source);
	pair_free(pair);
}

static void test_connect__to_an_address_of_another_fabric_is_refused(void **state)
{
	struct joined *pair = pair_open(fabric, 1);
	struct fabric_source *source = NULL;

	(void)state;
	for (uint32_t length = 0; length <= FABRIC_ADDRESS_MAX; length += 64) {
		memset(pair->source_opts.address.bytes, 0xff, FABRIC_ADDRESS_MAX);
		pair->source_opts.address.length = length;
		assert_int_equal(fabric->source_connect(&pair->source_opts, &source, NULL), -EPROTO);
	}
	pair_free(pair);
}

static void test_connect__to_a_closed_sink_is_refused(void **state)
{
	struct joined *pair = pair_open(fabric, 1);
	struct fabric_source *source = NULL;

	(void)state;
	fabric->sink_close(pair->sink);
	pair->sink = NULL;

	assert_int_equal(fabric->source_connect(&pair->source_opts, &source, NULL), -ECONNREFUSED);
	pair_free(pair);
}

/* ---- ends ---- */

/* A thread that writes without end. */
struct writer {
	struct joined *pair;
	pthread_t thread;
	_Atomic uint64_t writes;
	int rc;
};

static void *write_on(void *arg)
{
	struct writer *writer = arg;
	struct joined *pair = writer->pair;

	for (uint64_t i = 0; writer->rc == 0; i++) {
		const uint64_t offset = i * 64 * PAIR_PAGE % (3 * PAIR_GRANULE);

		writer->rc = pair_post(pair, i % pair->channels, 0, offset, 64 * PAIR_PAGE,
				       pair->from[0] + offset);
		if (writer->rc == 0 && i % 32 == 0)
			writer->rc = pair_post_barrier(pair, i + 1);
		writer->writes++;
	}
	return NULL;
}

static void start_writer(struct writer *writer, struct joined *pair)
{
	writer->pair = pair;
	assert_int_equal(pthread_create(&writer->thread, NULL, write_on, writer), 0);
	while (writer->writes < 100)
		usleep(100);
}

static void test_fence__nothing_lands_and_nothing_is_reported_after_it(void **state)
{
	struct joined *pair = pair_new(fabric, 2);
	struct writer writer = { 0 };
	uint8_t *before = malloc(pair->length[0]);
	uint32_t events;

	(void)state;
	pair_fill(pair, 5);
	start_writer(&writer, pair);
	fabric->sink_fence(pair->sink);
	events = pair_events(pair);
	memset(pair->to[0], 0x5a, pair->length[0]);
	memset(before, 0x5a, pair->length[0]);
	usleep(50000);
	fabric->sink_fence(pair->sink);
	pthread_join(writer.thread, NULL);

	assert_memory_equal(pair->to[0], before, pair->length[0]);
	assert_int_equal(pair_events(pair), events);
	assert_true(writer.rc < 0);
	free(before);
	pair_free(pair);
}

static void test_close__of_the_sink_lets_its_memory_go(void **state)
{
	struct joined *pair = pair_new(fabric, 2);
	struct writer writer = { 0 };

	(void)state;
	start_writer(&writer, pair);
	fabric->sink_close(pair->sink);
	pair->sink = NULL;
	assert_int_equal(munmap(pair->to[0], pair->length[0]), 0);
	pthread_join(writer.thread, NULL);

	assert_true(writer.rc < 0);
	pair->to[0] = mmap(pair->to[0], pair->length[0], PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pair_free(pair);
}

static void test_close__of_the_sink_is_noticed_by_the_source(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair = pair_new(fabric, 3);
	int rc;

	(void)state;
	fabric->sink_close(pair->sink);
	pair->sink = NULL;
	rc = pair_await_failure(pair, 2);
	fabric->source_last_error(pair->source, &err);

	assert_true(rc < 0 && rc != -EAGAIN && rc != -ECANCELED);
	assert_int_equal(err.code, rc);
	assert_string_not_equal(err.msg, "");
	assert_int_equal(fabric->source_flush(pair->source), rc);
	assert_int_equal(fabric->source_barrier(pair->source, 1), rc);
	assert_int_equal(fabric->source_message(pair->source, "m", 1), rc);
	assert_int_equal(fabric->source_wait(pair->source, PAIR_LATE_NS), rc);
	pair_free(pair);
}

static void test_close__of_the_source_under_a_barrier_is_no_loss(void **state)
{
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	pair_write(pair, 0, 0, 0, PAIR_PAGE);
	pair_barrier(pair, 1);
	fabric->source_close(pair->source);
	pair->source = NULL;
	usleep(20000);
	fabric->sink_fence(pair->sink);

	assert_int_equal(pair_events(pair), 2);
	pair_free(pair);
}

static void test_close__of_the_source_without_a_barrier_is_a_loss(void **state)
{
	struct joined *pair = pair_new(fabric, 2);

	(void)state;
	pair_barrier(pair, 1);
	pair_write(pair, 1, 0, 0, PAIR_PAGE);
	fabric->source_close(pair->source);
	pair->source = NULL;

	assert_true(pair_await_lost(pair, 1) < 0);
	fabric->sink_fence(pair->sink);
	assert_int_equal(pair_events(pair), 3);
	pair_free(pair);
}

static void test_stop__from_another_thread_ends_all_reading(void **state)
{
	struct joined *pair = pair_new(fabric, 2);
	struct writer writer = { 0 };

	(void)state;
	start_writer(&writer, pair);
	fabric->source_stop(pair->source);
	assert_int_equal(mprotect(pair->from[0], pair->length[0], PROT_NONE), 0);
	fabric->source_stop(pair->source);
	pthread_join(writer.thread, NULL);

	assert_int_equal(writer.rc, -ECANCELED);
	assert_int_equal(fabric->source_flush(pair->source), -ECANCELED);
	assert_int_equal(fabric->source_barrier(pair->source, 9), -ECANCELED);
	assert_int_equal(fabric->source_wait(pair->source, PAIR_LATE_NS), -ECANCELED);
	pair_free(pair);
}

static void test_close__of_nothing_is_fine(void **state)
{
	(void)state;

	fabric->sink_close(NULL);
	fabric->source_close(NULL);
}

static void test_open__refuses_a_wrong_shape(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair = pair_open(fabric, 1);
	struct fabric_sink_opts opts = pair->sink_opts;
	struct fabric_sink *sink = NULL;

	(void)state;
	opts.channels = 0;
	assert_int_equal(fabric->sink_open(&opts, &sink, &err), -EINVAL);
	opts.channels = FABRIC_CHANNELS_MAX + 1;
	assert_int_equal(fabric->sink_open(&opts, &sink, &err), -EINVAL);
	opts.channels = 1;
	opts.granule_size[1] = 0;
	assert_int_equal(fabric->sink_open(&opts, &sink, &err), -EINVAL);
	opts.granule_size[1] = PAIR_GRANULE;
	opts.region_length[1] = PAIR_PAGE + 1;
	assert_int_equal(fabric->sink_open(&opts, &sink, &err), -EINVAL);
	assert_null(sink);
	pair_free(pair);
}

static void test_find__knows_each_fabric_by_its_name(void **state)
{
	(void)state;

	assert_ptr_equal(fabric_find(fabric->name), fabric);
	assert_null(fabric_find("carrier pigeon"));
	assert_true(fabric->default_channels >= 1 && fabric->default_channels <= FABRIC_CHANNELS_MAX);
	assert_int_equal(fabric->write_max % PAIR_PAGE, 0);
}

/* ---- much of it ---- */

struct stress {
	uint8_t *from, *to;
	struct fabric_sink *sink;
	uint64_t *rkey;
	_Atomic uint64_t exposed; /* granules, from the first on */
	bool written[STRESS_BYTES / PAIR_PAGE];
	bool under_way[STRESS_BYTES / PAIR_PAGE]; /* since the last barrier */
	uint64_t round;
};

static void *expose_all(void *arg)
{
	struct stress *stress = arg;

	for (uint64_t i = 0; i < STRESS_BYTES / PAIR_GRANULE; i++) {
		assert_int_equal(fabric->sink_expose(stress->sink, 0, i * PAIR_GRANULE, PAIR_GRANULE,
						     stress->to + i * PAIR_GRANULE, &stress->rkey[i], NULL),
				 0);
		stress->exposed++;
	}
	return NULL;
}

/* a guest's store: it may fall into the page while the fabric reads it, and the page is written again after it */
__attribute__((no_sanitize("thread"), noinline)) static void stress_store(uint8_t *page, uint64_t value)
{
	*(volatile uint64_t *)page = value;
}

/* A relaxed fabric is not given a page of which another write is under way. */
static void stress_order(struct joined *pair, struct stress *stress, uint64_t first, uint64_t pages)
{
	if (fabric->relaxed && memchr(stress->under_way + first, 1, pages) != NULL) {
		pair_barrier(pair, ++stress->round);
		memset(stress->under_way, false, sizeof(stress->under_way));
	}
	memset(stress->under_way + first, true, pages);
	memset(stress->written + first, true, pages);
}

/* runs of random length at random places among what is exposed by then, each page on the channel of its granule */
static void stress_write(struct joined *pair, struct stress *stress, uint64_t bytes)
{
	uint64_t seed = 4711;

	for (uint64_t sent = 0; sent < bytes;) {
		const uint64_t granule = pair_random(&seed) % stress->exposed;
		const uint64_t first = pair_random(&seed) % (PAIR_GRANULE / PAIR_PAGE);
		const uint64_t longest = pair_random(&seed) % 8 == 0 ? fabric->write_max / PAIR_PAGE : 8;
		uint64_t pages = pair_random(&seed) % longest + 1;
		const uint64_t offset = granule * PAIR_GRANULE + first * PAIR_PAGE;

		if (pages > PAIR_GRANULE / PAIR_PAGE - first)
			pages = PAIR_GRANULE / PAIR_PAGE - first;
		stress_order(pair, stress, offset / PAIR_PAGE, pages);
		stress_store(stress->from + offset + (pages - 1) * PAIR_PAGE, seed);
		assert_int_equal(pair_post(pair, granule % STRESS_CHANNELS, 0, offset,
					   (uint32_t)(pages * PAIR_PAGE), stress->from + offset),
				 0);
		sent += pages * PAIR_PAGE;
	}
}

static void stress_check(const struct stress *stress)
{
	for (uint64_t i = 0; i < STRESS_BYTES / PAIR_PAGE; i++) {
		if (stress->written[i])
			assert_memory_equal(stress->to + i * PAIR_PAGE, stress->from + i * PAIR_PAGE, PAIR_PAGE);
		else
			assert_true(all_zero(stress->to + i * PAIR_PAGE, PAIR_PAGE));
	}
}

static uint8_t *stress_map(void)
{
	uint8_t *memory = mmap(NULL, STRESS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void test_stress__random_runs_while_granules_are_exposed(void **state)
{
	static struct stress stress;
	struct joined *pair = pair_open(fabric, STRESS_CHANNELS);
	pthread_t exposer;

	(void)state;
	memset(&stress, 0, sizeof(stress));
	stress.from = stress_map();
	stress.to = stress_map();
	for (uint64_t i = 0; i < STRESS_BYTES / sizeof(i); i++)
		((uint64_t *)stress.from)[i] = i;
	fabric->sink_close(pair->sink);
	pair->sink_opts.regions = 1;
	pair->sink_opts.region_length[0] = STRESS_BYTES;
	assert_int_equal(fabric->sink_open(&pair->sink_opts, &pair->sink, NULL), 0);
	fabric->sink_address(pair->sink, &pair->source_opts.address);
	pair_connect(pair);
	pair_share(pair, stress.from, STRESS_BYTES);
	stress.sink = pair->sink;
	stress.rkey = pair->rkey[0];
	assert_int_equal(pthread_create(&exposer, NULL, expose_all, &stress), 0);
	while (stress.exposed == 0)
		usleep(100);
	stress_write(pair, &stress, STRESS_BYTES);
	pthread_join(exposer, NULL);
	pair_barrier(pair, stress.round + 1);

	stress_check(&stress);
	pair_free(pair);
	munmap(stress.from, STRESS_BYTES);
	munmap(stress.to, STRESS_BYTES);
}

static const struct CMUnitTest conformance[] = {
	cmocka_unit_test(test_write__lands_where_it_was_sent),
	cmocka_unit_test(test_write__of_one_page_again_and_again_keeps_its_order),
	cmocka_unit_test(test_write__refuses_what_is_no_write),
	cmocka_unit_test(test_barrier__means_that_the_writes_can_be_seen),
	cmocka_unit_test(test_barrier__many_at_once_come_in_order_on_each_channel),
	cmocka_unit_test(test_flush__hands_over_all_that_was_queued),
	cmocka_unit_test(test_wait__has_nothing_to_wait_for),
	cmocka_unit_test(test_stats__count_what_was_written),
	cmocka_unit_test(test_message__arrives_whole_and_in_order),
	cmocka_unit_test(test_message__may_be_of_any_length_up_to_the_limit),
	cmocka_unit_test(test_message__keeps_its_place_among_barriers),
	cmocka_unit_test(test_write__with_hardly_any_time_under_way),
	cmocka_unit_test(test_message__waits_for_a_consumer_that_blocks),
	cmocka_unit_test(test_message__refused_by_the_consumer_kills_the_sink),
	cmocka_unit_test(test_write__outside_of_what_is_exposed_kills_the_channel),
	cmocka_unit_test(test_write__beyond_a_region_kills_the_channel),
	cmocka_unit_test(test_write__across_granules_kills_the_channel),
	cmocka_unit_test(test_expose__refuses_what_is_no_granule),
	cmocka_unit_test(test_connect__with_a_wrong_token_is_refused_and_disturbs_nobody),
	cmocka_unit_test(test_connect__to_a_sink_with_a_wrong_token_fails),
	cmocka_unit_test(test_connect__with_tokens_that_have_expired_is_refused),
	cmocka_unit_test(test_connect__to_an_address_of_another_fabric_is_refused),
	cmocka_unit_test(test_connect__to_a_closed_sink_is_refused),
	cmocka_unit_test(test_fence__nothing_lands_and_nothing_is_reported_after_it),
	cmocka_unit_test(test_close__of_the_sink_lets_its_memory_go),
	cmocka_unit_test(test_close__of_the_sink_is_noticed_by_the_source),
	cmocka_unit_test(test_close__of_the_source_under_a_barrier_is_no_loss),
	cmocka_unit_test(test_close__of_the_source_without_a_barrier_is_a_loss),
	cmocka_unit_test(test_stop__from_another_thread_ends_all_reading),
	cmocka_unit_test(test_close__of_nothing_is_fine),
	cmocka_unit_test(test_open__refuses_a_wrong_shape),
	cmocka_unit_test(test_find__knows_each_fabric_by_its_name),
	cmocka_unit_test(test_stress__random_runs_while_granules_are_exposed),
};

/* What zero-copy could break. */
static const struct CMUnitTest zero_copy[] = {
	cmocka_unit_test(test_write__lands_where_it_was_sent),
	cmocka_unit_test(test_write__of_one_page_again_and_again_keeps_its_order),
	cmocka_unit_test(test_flush__hands_over_all_that_was_queued),
	cmocka_unit_test(test_message__keeps_its_place_among_barriers),
	cmocka_unit_test(test_fence__nothing_lands_and_nothing_is_reported_after_it),
	cmocka_unit_test(test_close__of_the_source_under_a_barrier_is_no_loss),
	cmocka_unit_test(test_close__of_the_source_without_a_barrier_is_a_loss),
	cmocka_unit_test(test_stop__from_another_thread_ends_all_reading),
	cmocka_unit_test(test_stress__random_runs_while_granules_are_exposed),
};

static int hold(const char *name)
{
	fabric = fabric_find(name);
	assert_non_null(fabric);
	return cmocka_run_group_tests_name(name, conformance, NULL, NULL);
}

/* Over loopback the kernel copies on the way, but by the same calls, and it tells by the same completions. */
static int hold_zero_copy(void)
{
	int failed;

	fabric = fabric_find("tcp");
	pair_zero_copy = DECANT_ZERO_COPY_ON;
	failed = cmocka_run_group_tests_name("tcp-zero-copy", zero_copy, NULL, NULL);
	pair_zero_copy = DECANT_ZERO_COPY_AUTO;
	return failed;
}

/* Arguments: a fabric, and which of its tests, as "*barrier*". Without: the fabrics that need no device. */
int main(int argc, char **argv)
{
	if (argc < 2)
		return hold("tcp") + hold_zero_copy() + hold("loop") != 0;
	if (fabric_find(argv[1]) == NULL)
		return 2;
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	if (!pair_has_rails(fabric_find(argv[1])))
		return 77;
	return hold(argv[1]) != 0;
}
