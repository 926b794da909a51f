/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_rdma_device.c -- what the RDMA fabric costs over a device of the machine, and what its keys and tokens are worth there
 *
 * Counted at the device's door: librdmacm makes the queue pairs, and here its call is led through a function that puts
 * counting ones before the provider's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "support/slow.h"
#include "unit/fabric/fabric_pair.h"
#include "util/clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* An emulated processor takes a minute for a GiB. */
#define SHARE (slow_here() ? 4u : 1u)
#define BYTES ((UINT64_C(1) << 30) / SHARE)
#define IDLE_SECONDS 10

static const struct fabric_ops *const rdma = &fabric_rdma_ops;

/* ---- counting ---- */

static struct {
	_Atomic uint64_t requests, posts, signalled, write_bytes, watched_bytes, polls;
} counts;

static const uint8_t *_Atomic watched;
static _Atomic uint64_t watched_length;

/* the provider's; every device of a machine with rxe alone has the same */
static int (*_Atomic device_post)(struct ibv_qp *, struct ibv_send_wr *, struct ibv_send_wr **);
static int (*_Atomic device_poll)(struct ibv_cq *, int, struct ibv_wc *);

static void count_write(const struct ibv_send_wr *wr)
{
	for (int i = 0; i < wr->num_sge; i++) {
		const uint64_t into = wr->sg_list[i].addr - (uintptr_t)atomic_load(&watched);

		atomic_fetch_add(&counts.write_bytes, wr->sg_list[i].length);
		if (into < atomic_load(&watched_length) &&
		    wr->sg_list[i].length <= atomic_load(&watched_length) - into)
			atomic_fetch_add(&counts.watched_bytes, wr->sg_list[i].length);
	}
}

static int counting_post(struct ibv_qp *qp, struct ibv_send_wr *list, struct ibv_send_wr **bad)
{
	atomic_fetch_add(&counts.posts, 1);
	for (const struct ibv_send_wr *wr = list; wr != NULL; wr = wr->next) {
		atomic_fetch_add(&counts.requests, 1);
		atomic_fetch_add(&counts.signalled, (wr->send_flags & IBV_SEND_SIGNALED) != 0);
		if (wr->opcode == IBV_WR_RDMA_WRITE)
			count_write(wr);
	}
	return atomic_load(&device_post)(qp, list, bad);
}

static int counting_poll(struct ibv_cq *cq, int max, struct ibv_wc *completions)
{
	atomic_fetch_add(&counts.polls, 1);
	return atomic_load(&device_poll)(cq, max, completions);
}

/* librdmacm's, and counting functions in the context that it has opened */
int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	int (*real)(struct rdma_cm_id *, struct ibv_pd *, struct ibv_qp_init_attr *);
	void *symbol = dlsym(RTLD_NEXT, "rdma_create_qp");
	struct ibv_context_ops *ops = &id->verbs->ops;

	memcpy(&real, &symbol, sizeof(real));
	if (ops->post_send != counting_post) {
		atomic_store(&device_post, ops->post_send);
		atomic_store(&device_poll, ops->poll_cq);
		ops->post_send = counting_post;
		ops->poll_cq = counting_poll;
	}
	return real(id, pd, attr);
}

static void count_from_here(const uint8_t *memory, uint64_t length)
{
	atomic_store(&watched, memory);
	atomic_store(&watched_length, length);
	memset(&counts, 0, sizeof(counts));
}

/* ---- what it costs ---- */

/* contiguous data: granule after granule, each on the channel of its stripe */
static void write_bytes(struct joined *pair, uint64_t bytes)
{
	for (uint64_t sent = 0; sent < bytes; sent += rdma->write_max) {
		const uint64_t offset = sent % (3 * PAIR_GRANULE);

		pair_write(pair, (uint32_t)(offset / PAIR_GRANULE % pair->channels), 0, offset, rdma->write_max);
	}
}

/* the SENDs of both ends are among them */
static void expect_costs(uint32_t channels)
{
	struct joined *pair = pair_new(rdma, channels);

	pair_fill(pair, channels);
	pair_barrier(pair, 1);
	count_from_here(pair->from[0], pair->length[0]);
	write_bytes(pair, BYTES);
	pair_barrier(pair, 2);

	print_message("%u channels, for %llu MiB: %llu work requests, %llu posts, %llu signalled\n", channels,
		      (unsigned long long)(BYTES >> 20), (unsigned long long)counts.requests,
		      (unsigned long long)counts.posts, (unsigned long long)counts.signalled);
	assert_true(counts.requests <= 1100 / SHARE);
	assert_true(counts.posts <= 80 / SHARE);
	assert_true(counts.signalled <= 80 / SHARE);
	assert_int_equal(counts.write_bytes, BYTES);
	/* straight from the guest's memory: nothing was copied before */
	assert_int_equal(counts.watched_bytes, BYTES);
	assert_memory_equal(pair->to[0], pair->from[0], 3 * PAIR_GRANULE);
	pair_free(pair);
}

static void test_costs__over_one_channel(void **state)
{
	(void)state;

	expect_costs(1);
}

static void test_costs__over_several_channels(void **state)
{
	(void)state;

	expect_costs(3);
}

static void test_costs__of_a_connection_with_nothing_to_do(void **state)
{
	struct joined *pair = pair_new(rdma, 4);
	uint64_t cpu_ns;

	(void)state;
	pair_barrier(pair, 1);
	usleep(100000);
	count_from_here(NULL, 0);
	cpu_ns = clock_process_cpu_ns();
	sleep(IDLE_SECONDS);
	cpu_ns = clock_process_cpu_ns() - cpu_ns;

	print_message("idle for %d s: %llu us of CPU, %llu polls\n", IDLE_SECONDS,
		      (unsigned long long)(cpu_ns / 1000), (unsigned long long)counts.polls);
	assert_true(cpu_ns < IDLE_SECONDS * NSEC_PER_SEC / 100);
	assert_int_equal(counts.polls, 0);
	pair_barrier(pair, 2);
	pair_free(pair);
}

/* A source that waits for a consumer which takes its time: asleep, not polling. */
static int take_slowly(struct joined *pair, const void *data, size_t length)
{
	(void)pair;
	(void)data;
	(void)length;
	usleep(200000);
	return 0;
}

static void test_costs__of_waiting_for_a_slow_consumer(void **state)
{
	struct joined *pair = pair_open(rdma, 1);
	uint64_t start_ns, cpu_ns;

	(void)state;
	pair->on_message = take_slowly;
	pair_connect(pair);
	start_ns = clock_now_ns();
	cpu_ns = clock_process_cpu_ns();
	for (int i = 0; i < 30; i++)
		assert_int_equal(pair_message(pair, "message", 8), 0);
	cpu_ns = clock_process_cpu_ns() - cpu_ns;
	/* the credits let half of them through without a wait */
	assert_true(clock_now_ns() - start_ns > 2 * NSEC_PER_SEC);
	assert_true(cpu_ns < (clock_now_ns() - start_ns) / 20);
	pair_barrier(pair, 1);
	pair_free(pair);
}

/* ---- who may ---- */

static void expect_refused(const struct fabric_source_opts *opts)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_source *source = NULL;

	assert_int_equal(rdma->source_connect(opts, &source, &err), -EACCES);
	assert_null(source);
	assert_string_not_equal(err.msg, "");
}

static void test_token__none_a_wrong_one_or_of_another_is_refused(void **state)
{
	struct joined *pair = pair_open(rdma, 2);
	struct fabric_source_opts opts = pair->source_opts;

	(void)state;
	memset(opts.tokens, 0, sizeof(opts.tokens));
	expect_refused(&opts);
	opts = pair->source_opts;
	opts.tokens[0][FABRIC_TOKEN_SIZE - 1] ^= 0x80;
	expect_refused(&opts);
	opts = pair->source_opts;
	memcpy(opts.tokens[0], opts.tokens[1], FABRIC_TOKEN_SIZE); /* of another channel */
	expect_refused(&opts);
	opts = pair->source_opts;
	opts.epoch++; /* of another migration */
	expect_refused(&opts);

	/* and the right one is not disturbed by them */
	pair_connect(pair);
	pair_barrier(pair, 1);
	pair_free(pair);
}

/* one page through @pair with a key that is not its own: the device refuses it, and nothing lands */
static void expect_dead(struct joined *pair, uint64_t rkey)
{
	static const uint8_t zeros[PAIR_PAGE];

	pair_fill(pair, 1);
	pair->rkey[0][0] = rkey;
	assert_int_equal(pair_post(pair, 0, 0, 0, PAIR_PAGE, pair->from[0]), 0);
	assert_int_equal(rdma->source_flush(pair->source), 0);
	assert_true(pair_await_lost(pair, 0) < 0);
	assert_int_equal(pair_await_failure(pair, 0), -EACCES);
	assert_memory_equal(pair->to[0], zeros, PAIR_PAGE);
	pair_free(pair);
}

static void test_keys__of_another_migration_open_nothing(void **state)
{
	static const uint8_t zeros[PAIR_PAGE];
	struct joined *other = pair_new(rdma, 1), *mine = pair_new(rdma, 1);

	(void)state;
	expect_dead(mine, other->rkey[0][0]);
	pair_barrier(other, 1);
	assert_memory_equal(other->to[0], zeros, PAIR_PAGE);
	pair_free(other);
}

static void test_keys__are_dead_when_the_sink_is_closed(void **state)
{
	struct joined *other = pair_new(rdma, 1), *mine = pair_new(rdma, 1);
	const uint64_t rkey = other->rkey[0][0];

	(void)state;
	pair_write(other, 0, 0, 0, PAIR_PAGE);
	pair_barrier(other, 1);
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

/* ---- a dead peer ---- */

static void test_fence__is_noticed_by_the_source_within_seconds(void **state)
{
	struct joined *pair = pair_new(rdma, 1);
	uint64_t start_ns;

	(void)state;
	pair_barrier(pair, 1);
	/* the queue pair is gone without a word, as with a host that has died: nothing is acknowledged any more */
	rdma->sink_fence(pair->sink);
	start_ns = clock_now_ns();
	assert_int_equal(pair_post(pair, 0, 0, 0, PAIR_PAGE, pair->from[0]), 0);
	assert_true(pair_await_failure(pair, 0) < 0);
	print_message("noticed after %llu ms\n",
		      (unsigned long long)((clock_now_ns() - start_ns) / NSEC_PER_MSEC));
	assert_true(clock_now_ns() - start_ns < 15 * NSEC_PER_SEC);
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_costs__over_one_channel),
		cmocka_unit_test(test_costs__over_several_channels),
		cmocka_unit_test(test_costs__of_a_connection_with_nothing_to_do),
		cmocka_unit_test(test_costs__of_waiting_for_a_slow_consumer),
		cmocka_unit_test(test_token__none_a_wrong_one_or_of_another_is_refused),
		cmocka_unit_test(test_keys__of_another_migration_open_nothing),
		cmocka_unit_test(test_keys__are_dead_when_the_sink_is_closed),
		cmocka_unit_test(test_keys__of_the_source_let_nobody_write),
		cmocka_unit_test(test_fence__is_noticed_by_the_source_within_seconds),
	};

	if (!pair_has_rails(rdma))
		return 77;
	return cmocka_run_group_tests_name("rdma device", tests, NULL, NULL);
}
