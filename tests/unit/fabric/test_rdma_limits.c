/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_rdma_limits.c -- what the RDMA fabric costs, what it does on smaller devices, over one rail and two, and what it leaves
 *
 * Counted by the device, not by the fabric.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/rdma/channel.h"
#include "unit/fabric/rdma_rig.h"
#include "util/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)
#define LARGE (16 * PAIR_GRANULE)

static const struct fabric_ops *const rdma = &fabric_rdma_ops;

/* ---- what a GiB costs ---- */

/* contiguous data: granule after granule, each on the channel of its stripe */
static void write_bytes(struct joined *pair, uint64_t bytes)
{
	for (uint64_t sent = 0; sent < bytes; sent += rdma->write_max) {
		const uint64_t offset = sent % (3 * PAIR_GRANULE);

		pair_write(pair, (uint32_t)(offset / PAIR_GRANULE % pair->channels), 0, offset, rdma->write_max);
	}
}

static void expect_costs(uint32_t channels)
{
	struct joined *pair = pair_new(rdma, channels);
	struct fabric_source_stats stats;
	struct fake_counts before, after;

	pair_barrier(pair, 1);
	fake_watch(pair->from[0], pair->length[0]);
	fake_counts(&before);
	write_bytes(pair, GIB);
	assert_int_equal(rdma->source_flush(pair->source), 0);
	pair_barrier(pair, 2);
	while (rdma->source_pending(pair->source) > 0)
		usleep(1000);
	fake_counts(&after);
	rdma->source_stats(pair->source, &stats);

	print_message("%u channels, per GiB: %llu work requests, %llu posts, %llu signalled, %llu completions\n",
		      channels, (unsigned long long)(after.work_requests - before.work_requests),
		      (unsigned long long)(after.posts - before.posts),
		      (unsigned long long)(after.signalled - before.signalled),
		      (unsigned long long)(after.send_completions - before.send_completions));
	assert_true(after.work_requests - before.work_requests <= 1100);
	assert_true(after.posts - before.posts <= 80);
	assert_true(after.signalled - before.signalled <= 80);
	assert_true(after.send_completions - before.send_completions <= 80);
	assert_int_equal(after.write_bytes - before.write_bytes, GIB);
	/* straight from the guest's memory: nothing was copied before */
	assert_int_equal(after.watched_bytes - before.watched_bytes, GIB);
	assert_int_equal(after.not_ready, 0);
	assert_int_equal(stats.bytes, GIB);
	assert_int_equal(stats.writes, GIB / rdma->write_max);
	assert_true(stats.posts <= 80 + channels);
	pair_free(pair);
}

static void test_costs__of_a_gib_over_one_channel(void **state)
{
	(void)state;

	expect_costs(1);
}

static void test_costs__of_a_gib_over_several_channels(void **state)
{
	(void)state;

	expect_costs(3);
}

/* pages here and there: as many as a list holds go with each call */
static void test_costs__of_scattered_pages(void **state)
{
	const uint64_t pages = 4096;
	struct joined *pair = pair_new(rdma, 1);
	struct fake_counts before, after;

	(void)state;
	fake_counts(&before);
	for (uint64_t i = 0; i < pages; i++) {
		if (i % 512 == 0)
			pair_barrier(pair, 1 + i);
		pair_write(pair, 0, 0, i % 512 * 2 * PAIR_PAGE, PAIR_PAGE);
	}
	pair_barrier(pair, pages);
	fake_counts(&after);
	assert_int_equal(after.writes - before.writes, pages);
	assert_true(after.posts - before.posts <= pages / CHANNEL_LIST_MAX + 32);
	assert_true(after.signalled - before.signalled <= pages / CHANNEL_LIST_MAX + 32);
	pair_free(pair);
}

/* fills the queue of a device that stands still, and waits for room */
static void wait_in_vain(struct joined *pair, uint64_t ns)
{
	const struct fabric_write write = {
		.length = PAIR_PAGE,
		.data = pair->from[0],
		.lkey = pair->share[0].lkey,
		.rkey = pair->rkey[0][0],
	};

	while (rdma->source_write(pair->source, &write) == 0)
		;
	assert_int_equal(rdma->source_wait(pair->source, ns), -ETIMEDOUT);
}

static void test_costs__of_waiting_for_a_device_that_takes_long(void **state)
{
	struct joined *pair = pair_new(rdma, 1);
	struct fake_counts before, after;

	(void)state;
	fake_hold(true);
	for (int i = 0; i < 3; i++)
		wait_in_vain(pair, 2 * NSEC_PER_MSEC);
	fake_counts(&before);
	wait_in_vain(pair, 100 * NSEC_PER_MSEC);
	fake_counts(&after);

	/* it has found out, and sleeps */
	assert_true(after.call[FAKE_POLL_CQ] - before.call[FAKE_POLL_CQ] < 10);
	fake_hold(false);
	pair_free(pair);
}

/* what a device that stands still is given */
static uint64_t given_in_vain(uint64_t under_way_ns)
{
	struct joined *pair = pair_open(rdma, 1);
	uint64_t bytes;

	pair->source_opts.under_way_ns = under_way_ns;
	pair_connect(pair);
	fake_hold(true);
	wait_in_vain(pair, NSEC_PER_MSEC);
	bytes = rdma->source_pending(pair->source);
	fake_hold(false);
	pair_free(pair);
	return bytes;
}

static void test_under_way__little_as_long_as_no_rate_is_known(void **state)
{
	(void)state;

	assert_in_range(given_in_vain(40 * NSEC_PER_MSEC), CHANNEL_BYTES_MIN, CHANNEL_BYTES_MIN + PAIR_PAGE);
	assert_int_equal(given_in_vain(0), (uint64_t)CHANNEL_DEPTH * PAIR_PAGE);
}

static void test_costs__of_a_connection_with_nothing_to_do(void **state)
{
	struct joined *pair = pair_new(rdma, 4);
	struct fake_counts before, after;
	uint64_t cpu_ns;

	(void)state;
	pair_barrier(pair, 1);
	usleep(100000);
	fake_counts(&before);
	cpu_ns = clock_process_cpu_ns();
	assert_int_equal(rdma->source_wait(pair->source, 0), 0);
	sleep(2);
	cpu_ns = clock_process_cpu_ns() - cpu_ns;
	fake_counts(&after);

	/* both ends and the device too */
	assert_true(cpu_ns < 20 * NSEC_PER_MSEC);
	assert_true(after.call[FAKE_POLL_CQ] - before.call[FAKE_POLL_CQ] < 50);
	pair_free(pair);
}

/* ---- devices with less ---- */

static void expect_works(int max_qp_wr, int max_cqe, uint32_t max_msg_sz, uint32_t channels)
{
	struct fake_limits limits = fake_config_default().limits;
	struct joined *pair;

	limits.max_qp_wr = max_qp_wr;
	limits.max_cqe = max_cqe;
	limits.max_msg_sz = max_msg_sz;
	rdma_rig_limits(2, &limits);
	pair = pair_new(rdma, channels);
	for (uint64_t round = 1; round <= 5; round++) {
		rdma_rig_move(pair, round);
		assert_int_equal(pair_message(pair, "message", 8), 0);
	}
	pair_free(pair);
}

static void test_device__with_short_messages_gets_its_writes_in_pieces(void **state)
{
	struct fake_counts counts;

	(void)state;
	expect_works(16384, 1 << 20, 128 << 10, 2);
	expect_works(16384, 1 << 20, 64 << 10, 1);
	fake_counts(&counts);
	assert_true(counts.writes > 5 * 4 * PAIR_GRANULE / (64 << 10));
}

static void test_device__with_short_queues_is_used_as_it_is(void **state)
{
	(void)state;

	for (int depth = 20; depth <= 64; depth += 4)
		expect_works(depth, 1 << 20, 1 << 30, 2);
	for (int cqe = 36; cqe <= 64; cqe += 4)
		expect_works(16384, cqe, 1 << 30, 2);
	expect_works(32, 64, 256 << 10, 3);
}

static void test_device__with_too_short_queues_is_refused(void **state)
{
	static const struct {
		int qp_wr, cqe;
	} small[] = { { 8, 1 << 20 }, { 16384, 16 }, { 8, 16 } };

	(void)state;
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
		struct fake_limits limits = fake_config_default().limits;
		struct decant_error err = DECANT_ERROR_INIT;
		struct fabric_source *source = NULL;
		struct joined *pair;
		char number[16];

		limits.max_qp_wr = small[i].qp_wr;
		limits.max_cqe = small[i].cqe;
		rdma_rig_limits(1, &limits);
		pair = pair_open(rdma, 1);
		assert_int_equal(rdma->source_connect(&pair->source_opts, &source, &err), -EOPNOTSUPP);
		snprintf(number, sizeof(number), "%d", small[i].qp_wr);
		assert_non_null(strstr(err.msg, number));
		assert_non_null(strstr(err.msg, "fake0"));
		pair_free(pair);
	}
}

static void test_device__that_registers_no_more_says_so(void **state)
{
	struct fake_limits limits = fake_config_default().limits;
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair;
	uint64_t rkey;

	(void)state;
	limits.max_mr = 5;
	rdma_rig_limits(1, &limits);
	pair = pair_open(rdma, 1);
	assert_int_equal(rdma->sink_expose(pair->sink, 1, PAIR_GRANULE, PAIR_GRANULE, pair->to[1] + PAIR_GRANULE,
					   &rkey, &err),
			 -ENOMEM);
	assert_string_not_equal(err.msg, "");
	pair_free(pair);
}

/* ---- what a device can do besides ---- */

static void test_registration__is_relaxed_for_guest_memory_and_strict_for_messages(void **state)
{
	struct joined *pair = pair_new(rdma, 2);
	struct fake_counts counts;

	(void)state;
	fake_counts(&counts);
	/* both regions at the source, five granules at the sink, once per rail; a ring per end of a channel */
	assert_int_equal(counts.relaxed, 2 * 2 + 2 * 5);
	assert_int_equal(counts.mrs, counts.relaxed + 4);
	assert_int_equal(counts.on_demand, 0);
	for (uint64_t round = 1; round <= 3; round++)
		rdma_rig_move(pair, round);
	fake_counts(&counts);
	assert_int_equal(counts.unordered, 0);
	pair_free(pair);
}

/* Another sink, of one large page: that is its granule. */
static uint8_t *expose_large(struct joined *pair)
{
	uint8_t *memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	rdma->sink_close(pair->sink);
	pair->sink_opts.regions = 1;
	pair->sink_opts.region_length[0] = pair->sink_opts.granule_size[0] = LARGE;
	assert_int_equal(rdma->sink_open(&pair->sink_opts, &pair->sink, NULL), 0);
	rdma->sink_address(pair->sink, &pair->source_opts.address);
	assert_int_equal(rdma->sink_expose(pair->sink, 0, 0, LARGE, memory, &pair->rkey[0][0], NULL), 0);
	for (uint64_t i = 1; i < LARGE / PAIR_GRANULE; i++)
		pair->rkey[0][i] = pair->rkey[0][0];
	return memory;
}

/* any stripe of it goes by its one key */
static void move_large(struct joined *pair, const uint8_t *memory)
{
	pair_connect(pair);
	pair_fill(pair, 3);
	pair_write(pair, pair->channels - 1, 0, PAIR_GRANULE, PAIR_GRANULE);
	pair_write(pair, 0, 0, 2 * PAIR_GRANULE, PAIR_GRANULE);
	pair_barrier(pair, 1);
	assert_memory_equal(memory + PAIR_GRANULE, pair->from[0] + PAIR_GRANULE, 2 * PAIR_GRANULE);
}

/* Room for the rings and not for the guest. */
static void refuse_pinning(bool on_demand)
{
	struct fake_config config = fake_config_default();

	config.devices = 1;
	config.on_demand = on_demand;
	config.limits.max_pinned = 3 * CHANNEL_CREDITS * FABRIC_MESSAGE_MAX;
	fake_reset(&config);
}

static void test_registration__pins_nothing_where_that_is_refused_and_the_device_can_do_without(void **state)
{
	struct fake_counts counts;
	struct joined *pair;
	uint8_t *memory;

	(void)state;
	refuse_pinning(true);
	pair = pair_open(rdma, 1);
	memory = expose_large(pair);
	fake_counts(&counts);
	assert_true(counts.on_demand > 0);
	/* what is needed soon is looked up at once */
	assert_true(counts.prefetched >= LARGE);
	move_large(pair, memory);
	pair_free(pair);
	munmap(memory, LARGE);
}

static void test_registration__says_what_was_refused_where_the_device_cannot(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_sink *sink = NULL;
	struct joined *pair = pair_new(rdma, 1);
	struct fabric_sink_opts opts = pair->sink_opts;
	uint64_t rkey;
	int rc = 0;

	(void)state;
	pair_free(pair);
	refuse_pinning(false);
	assert_int_equal(rdma->sink_open(&opts, &sink, &err), 0);
	for (uint64_t g = 0; rc == 0 && g < 2; g++) {
		void *memory = mmap(NULL, PAIR_GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		assert_ptr_not_equal(memory, MAP_FAILED);
		rc = rdma->sink_expose(sink, 0, g * PAIR_GRANULE, PAIR_GRANULE, memory, &rkey, &err);
		munmap(memory, PAIR_GRANULE);
	}
	assert_int_equal(rc, -ENOMEM);
	assert_non_null(strstr(err.msg, "registering"));
	rdma->sink_close(sink);
}

static void test_registration__of_a_large_page_is_one(void **state)
{
	struct joined *pair = pair_open(rdma, 2);
	struct fake_counts before, after;
	uint8_t *memory;

	(void)state;
	fake_counts(&before);
	memory = expose_large(pair);
	fake_counts(&after);
	/* for each rail, whatever its size */
	assert_int_equal(after.call[FAKE_REG_MR] - before.call[FAKE_REG_MR], 2);
	move_large(pair, memory);
	pair_free(pair);
	munmap(memory, LARGE);
}

/* ---- rails ---- */

static void test_rails__carry_every_other_channel(void **state)
{
	struct joined *pair = pair_new(rdma, 4);
	struct fake_counts counts;

	(void)state;
	assert_int_equal(pair->source_opts.pair_count, 2);
	assert_string_not_equal(pair->source_opts.pairs[0].local.device, pair->source_opts.pairs[1].local.device);
	fake_counts(&counts);
	/* both regions at the source, five granules at the sink, eight rings; each but the rings once per rail */
	assert_int_equal(counts.mrs, 2 * 2 + 2 * 5 + 8);
	assert_int_equal(counts.pds, 4);
	rdma_rig_move(pair, 1);

	/* with the second rail down the first still carries, and what is given to the second fails */
	fake_port_set((unsigned)(pair->source_opts.pairs[1].local.device[4] - '0'), false);
	pair_write(pair, 0, 0, 0, PAIR_PAGE);
	pair_write(pair, 2, 0, 0, PAIR_PAGE);
	while (rdma->source_pending(pair->source) > 0)
		assert_int_equal(rdma->source_flush(pair->source), 0);
	assert_int_equal(pair_await_failure(pair, 1), -ETIMEDOUT);
	pair_free(pair);
}

static void test_rails__are_no_more_than_channels(void **state)
{
	struct joined *pair = pair_new(rdma, 1);
	struct fake_counts counts;

	(void)state;
	fake_counts(&counts);
	assert_int_equal(counts.pds, 2);
	rdma_rig_move(pair, 1);
	pair_free(pair);
}

static void test_rail__alone_carries_all(void **state)
{
	struct joined *pair;

	(void)state;
	rdma_rig_limits(1, NULL);
	pair = pair_new(rdma, 4);
	assert_int_equal(pair->source_opts.pair_count, 1);
	rdma_rig_move(pair, 1);
	pair_free(pair);
}

/* ---- keys ---- */

/* one page through @pair with a key that is not its own */
static void expect_dead(struct joined *pair, uint64_t rkey)
{
	pair->rkey[0][0] = rkey;
	assert_int_equal(pair_post(pair, 0, 0, 0, PAIR_PAGE, pair->from[0]), 0);
	assert_int_equal(rdma->source_flush(pair->source), 0);
	assert_true(pair_await_lost(pair, 0) < 0);
	pair_free(pair);
}

static void test_keys__of_another_migration_open_nothing(void **state)
{
	struct joined *other = pair_new(rdma, 1), *mine = pair_new(rdma, 1);

	(void)state;
	expect_dead(mine, other->rkey[0][0]);
	rdma_rig_move(other, 1);
	pair_free(other);
}

static void test_keys__are_dead_when_the_sink_is_closed(void **state)
{
	struct joined *other = pair_new(rdma, 1), *mine = pair_new(rdma, 1);
	const uint64_t rkey = other->rkey[0][0];

	(void)state;
	rdma_rig_move(other, 1);
	pair_free(other);
	expect_dead(mine, rkey);
}

static void test_keys__of_the_source_let_nobody_write(void **state)
{
	struct joined *pair = pair_new(rdma, 1);

	(void)state;
	/* the key by which the source's own device reads */
	expect_dead(pair, pair->share[0].lkey);
}

/* ---- ends ---- */

static void test_fence__destroys_the_queue_pairs_and_keeps_the_memory(void **state)
{
	struct joined *pair = pair_new(rdma, 4);
	struct fake_counts before, after;

	(void)state;
	rdma_rig_move(pair, 1);
	fake_counts(&before);
	rdma->sink_fence(pair->sink);
	fake_counts(&after);

	assert_int_equal(before.qps, 8);
	assert_int_equal(after.qps, 4);
	/* what takes long is left for the close */
	assert_int_equal(after.call[FAKE_DEREG_MR], before.call[FAKE_DEREG_MR]);
	pair_free(pair);
}

static void *fence(void *arg)
{
	rdma->sink_fence(((struct joined *)arg)->sink);
	return NULL;
}

static void test_fence__from_several_threads_at_once(void **state)
{
	(void)state;

	for (int round = 0; round < 20; round++) {
		struct joined *pair = pair_new(rdma, 2);
		pthread_t threads[3];

		for (int i = 0; i < 64; i++)
			assert_int_equal(pair_post(pair, i % 2, 0, i % 2 * PAIR_GRANULE, PAIR_PAGE, pair->from[0]),
					 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, fence, pair), 0);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		pair_free(pair);
	}
}

static void *connect_source(void *arg)
{
	struct joined *pair = arg;

	pair->source_opts.connect_timeout_ns = NSEC_PER_SEC;
	(void)rdma->source_connect(&pair->source_opts, &pair->source, NULL);
	return NULL;
}

/* at any moment of connecting */
static void test_close__of_the_sink_while_the_source_connects(void **state)
{
	(void)state;

	for (useconds_t delay = 0; delay < 3000; delay += 150) {
		struct joined *pair = pair_open(rdma, 4);
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, connect_source, pair), 0);
		usleep(delay);
		rdma->sink_close(pair->sink);
		pair->sink = NULL;
		pthread_join(thread, NULL);
		pair_free(pair);
	}
}

static void test_close__in_every_other_state(void **state)
{
	struct joined *pair = pair_open(rdma, 2);

	(void)state;
	pair_free(pair); /* nobody has come */
	pair = pair_new(rdma, 2);
	pair_free(pair); /* nothing was done */
	pair = pair_new(rdma, 2);
	fake_hold(true);
	pair_write(pair, 0, 0, 0, PAIR_PAGE);
	assert_int_equal(rdma->source_flush(pair->source), 0);
	assert_int_equal(rdma->source_barrier(pair->source, 1), 0);
	pair_free(pair); /* work under way */
	fake_hold(false);
	pair = pair_new(rdma, 2);
	fake_remove(0);
	pair_free(pair); /* a device is gone */
	rdma_rig_set_up(state);
	pair = pair_new(rdma, 2);
	fake_cut(true);
	pair_write(pair, 1, 0, 0, PAIR_PAGE);
	assert_int_equal(rdma->source_flush(pair->source), 0);
	pair_free(pair); /* nobody answers */
	fake_cut(false);
}

/* ---- a queue whose completions are late ---- */

/* The peer's credits come back, the completions of the SENDs that took them do not: credits alone would overrun the queue. */
static void test_message__waits_for_room_in_the_queue_and_not_for_credits_alone(void **state)
{
	const struct fake_limits limits = { .max_qp_wr = 36,
					    .max_cqe = 1024,
					    .max_sge = 4,
					    .max_mr = 1024,
					    .max_msg_sz = 1u << 30,
					    .max_mr_size = UINT64_MAX };
	const struct fake_plan plan = { .lose_completion = 1, .lose_rest = true };
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair;
	uint8_t message[64] = { 1 };
	int sent = 0, idle = 0, rc;

	(void)state;
	rdma_rig_limits(1, &limits);
	pair = pair_new(rdma, 1);
	fake_plan_set(&plan);
	while (idle < 50) {
		rc = rdma->source_message(pair->source, message, sizeof(message));
		rdma->source_last_error(pair->source, &err);
		if (rc != 0 && rc != -EAGAIN)
			fail_msg("after %d messages: %d: %s", sent, rc, err.msg);
		sent += rc == 0;
		idle = rc == 0 ? 0 : idle + 1;
		if (rc == -EAGAIN)
			usleep(10000);
	}
	assert_int_equal(sent, limits.max_qp_wr - 1); /* one is kept for the goodbye */
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rdma_rig_test(test_costs__of_a_gib_over_one_channel),
		rdma_rig_test(test_costs__of_a_gib_over_several_channels),
		rdma_rig_test(test_costs__of_scattered_pages),
		rdma_rig_test(test_costs__of_waiting_for_a_device_that_takes_long),
		rdma_rig_test(test_costs__of_a_connection_with_nothing_to_do),
		rdma_rig_test(test_under_way__little_as_long_as_no_rate_is_known),
		rdma_rig_test(test_device__with_short_messages_gets_its_writes_in_pieces),
		rdma_rig_test(test_device__with_short_queues_is_used_as_it_is),
		rdma_rig_test(test_device__with_too_short_queues_is_refused),
		rdma_rig_test(test_message__waits_for_room_in_the_queue_and_not_for_credits_alone),
		rdma_rig_test(test_device__that_registers_no_more_says_so),
		rdma_rig_test(test_registration__is_relaxed_for_guest_memory_and_strict_for_messages),
		rdma_rig_test(test_registration__pins_nothing_where_that_is_refused_and_the_device_can_do_without),
		rdma_rig_test(test_registration__says_what_was_refused_where_the_device_cannot),
		rdma_rig_test(test_registration__of_a_large_page_is_one),
		rdma_rig_test(test_rails__carry_every_other_channel),
		rdma_rig_test(test_rails__are_no_more_than_channels),
		rdma_rig_test(test_rail__alone_carries_all),
		rdma_rig_test(test_keys__of_another_migration_open_nothing),
		rdma_rig_test(test_keys__are_dead_when_the_sink_is_closed),
		rdma_rig_test(test_keys__of_the_source_let_nobody_write),
		rdma_rig_test(test_fence__destroys_the_queue_pairs_and_keeps_the_memory),
		rdma_rig_test(test_fence__from_several_threads_at_once),
		rdma_rig_test(test_close__of_the_sink_while_the_source_connects),
		rdma_rig_test(test_close__in_every_other_state),
	};

	return cmocka_run_group_tests_name("rdma limits", tests, NULL, NULL);
}
