/* SPDX-License-Identifier: BSD-2-Clause */
/* test_rdma_faults.c -- the RDMA fabric over a device that fails: every fault ends in an error, soon, and leaves nothing */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/fabric/rdma_rig.h"
#include "util/clock.h"
#include "util/io.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

static const struct fabric_ops *const rdma = &fabric_rdma_ops;

/* ---- queue pairs that fail ---- */

static void expect_broken(enum ibv_wc_status status, int code)
{
	const struct fake_plan plan = { .break_at = 20, .break_status = status };
	struct joined *pair = pair_new(rdma, 2);
	struct decant_error err = DECANT_ERROR_INIT;
	int rc;

	fake_plan_set(&plan);
	rc = rdma_rig_await_error(pair, 1, &err);
	/* where the peer has failed too its end of the connection may be the first news */
	assert_true(rc == code || rc == -ECONNRESET);
	rdma->source_close(pair->source);
	pair->source = NULL;
	assert_true(pair_await_lost(pair, 1) < 0);
	rdma->sink_fence(pair->sink);
	pair_free(pair);
	fake_plan_set(NULL);
}

static void test_work__that_fails_loses_the_epoch(void **state)
{
	(void)state;

	expect_broken(IBV_WC_RETRY_EXC_ERR, -ETIMEDOUT);
	expect_broken(IBV_WC_REM_ACCESS_ERR, -EACCES);
	expect_broken(IBV_WC_REM_OP_ERR, -EIO);
	expect_broken(IBV_WC_LOC_PROT_ERR, -EIO);
	expect_broken(IBV_WC_WR_FLUSH_ERR, -ECONNRESET);
}

static void test_sink__whose_queue_pair_fails_loses_the_channel(void **state)
{
	struct joined *pair = pair_new(rdma, 1);
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	/* the passive end of the only connection: its own work is to give credits back */
	assert_true(fake_break(1, IBV_WC_RETRY_EXC_ERR));
	for (uint64_t round = 1; round <= 8; round++)
		assert_int_equal(pair_post_barrier(pair, round), 0);
	assert_int_equal(pair_await_lost(pair, 0), -ETIMEDOUT);
	assert_true(rdma_rig_await_error(pair, 0, &err) < 0);
	pair_free(pair);
}

/* The sink's end fails when it gives credits back for the fourth barrier; two more have arrived by then. */
static void break_at_fourth(struct joined *pair, uint32_t channel, uint64_t round)
{
	(void)pair;
	(void)channel;
	if (round != 4)
		return;
	usleep(2000); /* the other two may not have been handed over yet */
	assert_true(fake_break(1, IBV_WC_RETRY_EXC_ERR));
}

static void test_sink__that_fails_has_first_reported_what_arrived(void **state)
{
	(void)state;

	for (int attempt = 0; attempt < 10; attempt++) {
		struct joined *pair = pair_open(rdma, 1);

		pair->on_barrier = break_at_fourth;
		pair_connect(pair);
		for (uint64_t round = 1; round <= 6; round++)
			assert_int_equal(pair_post_barrier(pair, round), 0);
		assert_int_equal(pair_await_lost(pair, 0), -ETIMEDOUT);
		assert_int_equal(pair->round[0], 6);
		pair_free(pair);
	}
}

static void test_work__without_an_answer_is_given_up_in_time(void **state)
{
	struct joined *pair = pair_new(rdma, 2);
	const uint64_t begin_ns = clock_now_ns();
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	fake_cut(true);
	assert_int_equal(rdma_rig_await_error(pair, 0, &err), -ETIMEDOUT);
	assert_true(clock_now_ns() - begin_ns < 10 * NSEC_PER_SEC);
	pair_free(pair);
}

/* with a full queue, so that it is the wait that must end */
static void test_wait__ends_when_the_peer_is_gone(void **state)
{
	struct fabric_write write = { .length = PAIR_PAGE };
	struct joined *pair = pair_new(rdma, 1);
	int rc;

	(void)state;
	write.data = pair->from[0];
	write.lkey = pair->share[0].lkey;
	write.rkey = pair->rkey[0][0];
	fake_cut(true);
	do
		rc = rdma->source_write(pair->source, &write);
	while (rc == 0);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(rdma->source_wait(pair->source, PAIR_LATE_NS), -ETIMEDOUT);
	assert_int_equal(rdma->source_flush(pair->source), -ETIMEDOUT);
	pair_free(pair);
}

/* ---- receivers that are not ready ---- */

static void quick_retries(void)
{
	struct fake_config config = fake_config_default();

	config.rnr_ms = 5;
	fake_reset(&config);
}

static void test_receiver__that_is_late_is_tried_again(void **state)
{
	const struct fake_plan plan = { .not_ready = 2 };
	struct joined *pair;

	(void)state;
	quick_retries();
	pair = pair_new(rdma, 1);
	fake_plan_set(&plan);
	pair_barrier(pair, 1);
	rdma_rig_move(pair, 2);
	pair_free(pair);
}

static void test_receiver__that_is_never_ready_loses_the_epoch(void **state)
{
	const struct fake_plan plan = { .not_ready = 1000 };
	struct decant_error err = DECANT_ERROR_INIT;
	struct joined *pair;

	(void)state;
	quick_retries();
	pair = pair_new(rdma, 1);
	fake_plan_set(&plan);
	assert_int_equal(rdma->source_barrier(pair->source, 1), 0);
	assert_int_equal(rdma_rig_await_error(pair, 0, &err), -ETIMEDOUT);
	pair_free(pair);
}

static int dawdle(struct joined *pair, const void *data, size_t length)
{
	(void)pair;
	(void)data;
	(void)length;
	usleep(2000);
	return 0;
}

static void test_receives__never_run_dry(void **state)
{
	struct joined *pair = pair_new(rdma, 3);
	struct fake_counts counts;
	static uint8_t message[FABRIC_MESSAGE_MAX];

	(void)state;
	pair->on_message = dawdle;
	for (uint64_t i = 1; i <= 200; i++) {
		assert_int_equal(pair_message(pair, message, i % 4 == 0 ? sizeof(message) : 8), 0);
		if (i % 3 == 0)
			assert_int_equal(pair_post_barrier(pair, i), 0);
	}
	pair_barrier(pair, 201);
	fake_counts(&counts);
	assert_int_equal(counts.not_ready, 0);
	pair_free(pair);
}

/* ---- completions that never come ---- */

static void test_completion__that_is_lost_is_made_good_by_the_next(void **state)
{
	const struct fake_plan plan = { .lose_completion = 2 };
	struct joined *pair = pair_new(rdma, 2);

	(void)state;
	fake_plan_set(&plan);
	for (uint64_t round = 1; round <= 40; round++)
		rdma_rig_move(pair, round);
	pair_free(pair);
}

static void *await_end(void *arg)
{
	struct joined *pair = arg;
	const uint64_t begin_ns = clock_now_ns();
	intptr_t rc;

	do
		rc = pair_post(pair, 0, 0, 0, PAIR_PAGE, pair->from[0]);
	while (rc == 0);
	assert_true(clock_now_ns() - begin_ns < 45 * NSEC_PER_SEC);
	return (void *)rc;
}

/* both kinds of waiting at once, for a device takes ten seconds to be given up */
static void test_completions__that_are_lost_end_in_a_timeout(void **state)
{
	const struct fake_plan plan = { .lose_completion = 1, .lose_rest = true };
	struct joined *full = pair_new(rdma, 1), *empty = pair_new(rdma, 1);
	struct decant_error err = DECANT_ERROR_INIT;
	pthread_t thread;
	void *rc;

	(void)state;
	fake_plan_set(&plan);
	pair_write(empty, 0, 0, 0, PAIR_PAGE);
	assert_int_equal(rdma->source_flush(empty->source), 0);
	assert_int_equal(pthread_create(&thread, NULL, await_end, full), 0);
	do {
		usleep(10000);
		rdma->source_last_error(empty->source, &err);
	} while (rdma->source_pending(empty->source) > 0 && err.code == 0);
	pthread_join(thread, &rc);

	assert_int_equal(err.code, -ETIMEDOUT);
	assert_int_equal((intptr_t)rc, -ETIMEDOUT);
	assert_int_equal(rdma->source_barrier(empty->source, 1), -ETIMEDOUT);
	pair_free(full);
	pair_free(empty);
}

/* ---- connections that end ---- */

static void test_disconnect__is_known_at_both_ends_at_once(void **state)
{
	struct joined *pair = pair_new(rdma, 2);
	const uint64_t begin_ns = clock_now_ns();
	struct fabric_write write = { .length = PAIR_PAGE };
	int rc;

	(void)state;
	pair_barrier(pair, 1);
	assert_true(fake_disconnect(0));
	assert_int_equal(pair_await_lost(pair, 0), -ECONNRESET);
	write.data = pair->from[0];
	write.lkey = pair->share[0].lkey;
	write.rkey = pair->rkey[0][0];
	do {
		rc = rdma->source_write(pair->source, &write);
		if (rc == 0 || rc == -EAGAIN)
			rc = rdma->source_wait(pair->source, PAIR_LATE_NS);
	} while (rc == 0);
	assert_int_equal(rc, -ECONNRESET);
	assert_true(clock_now_ns() - begin_ns < 10 * NSEC_PER_SEC);
	pair_free(pair);
}

static void test_disconnect__amid_writes_loses_the_epoch(void **state)
{
	const struct fake_plan plan = { .disconnect_at = 10 };
	struct joined *pair = pair_new(rdma, 1);

	(void)state;
	fake_plan_set(&plan);
	for (int i = 0; i < 16; i++)
		pair_write(pair, 0, 0, 0, PAIR_PAGE);
	assert_int_equal(rdma->source_flush(pair->source), 0);
	assert_int_equal(pair_await_lost(pair, 0), -ECONNRESET);
	pair_free(pair);
}

/* Else nobody would hear of the end of a channel, nor of anything else. */
static void test_sink__whose_connection_manager_fails_loses_the_channel(void **state)
{
	struct fake_plan plan = { .fail[FAKE_GET_CM_EVENT] = { .nth = 1, .error = EIO, .stays = true } };
	struct joined *pair = pair_new(rdma, 2);

	(void)state;
	pair_barrier(pair, 1);
	fake_plan_set(&plan);
	assert_true(fake_disconnect(0));
	assert_int_equal(pair_await_lost(pair, 1), -EIO);
	pair_free(pair);
}

static void test_device__that_is_removed_loses_the_epoch(void **state)
{
	const struct fake_plan plan = { .remove_at = 40 };
	struct joined *pair = pair_new(rdma, 2);
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	fake_plan_set(&plan);
	assert_true(rdma_rig_await_error(pair, 0, &err) < 0);
	assert_true(pair_await_lost(pair, 0) < 0);
	pair_free(pair);
}

static void test_port__that_goes_down_loses_the_epoch(void **state)
{
	struct joined *pair = pair_new(rdma, 2);
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	rdma_rig_move(pair, 1);
	fake_port_set(0, false);
	assert_int_equal(rdma_rig_await_error(pair, 0, &err), -ETIMEDOUT);
	pair_free(pair);
}

/* ---- connecting ---- */

static void expect_no_connection(const struct fake_plan *plan, int code)
{
	struct joined *pair = pair_open(rdma, 3);
	struct fabric_source *source = NULL;
	struct decant_error err = DECANT_ERROR_INIT;
	const uint64_t begin_ns = clock_now_ns();

	pair->source_opts.connect_timeout_ns = 300 * NSEC_PER_MSEC;
	fake_plan_set(plan);
	assert_int_equal(rdma->source_connect(&pair->source_opts, &source, &err), code);
	fake_plan_set(NULL);
	assert_null(source);
	assert_int_equal(err.code, code);
	assert_true(clock_now_ns() - begin_ns < 10 * NSEC_PER_SEC);
	assert_non_null(strstr(err.msg, "fake0"));

	/* and nobody was disturbed */
	pair->source_opts.connect_timeout_ns = PAIR_LATE_NS;
	pair_connect(pair);
	rdma_rig_move(pair, 1);
	pair_free(pair);
}

static void test_connect__ends_in_time_whatever_does_not_answer(void **state)
{
	const struct fake_plan silent = { .silent = true };
	const struct fake_plan no_address = { .no_address = true };
	const struct fake_plan no_route = { .no_route = true };

	(void)state;
	expect_no_connection(&silent, -ETIMEDOUT);
	expect_no_connection(&no_address, -ETIMEDOUT);
	expect_no_connection(&no_route, -ENETUNREACH);
}

static void *wake_soon(void *opaque)
{
	usleep(20000);
	io_wake_set(*(const int *)opaque);
	return NULL;
}

static void test_connect__ends_at_once_when_it_is_woken(void **state)
{
	const struct fake_plan silent = { .silent = true };
	struct joined *pair = pair_open(rdma, 3);
	struct fabric_source *source = NULL;
	struct decant_error err = DECANT_ERROR_INIT;
	const uint64_t begin_ns = clock_now_ns();
	int wake_fd = io_wake_new();
	pthread_t thread;

	(void)state;
	pair->source_opts.wake_fd = wake_fd;
	fake_plan_set(&silent);
	assert_int_equal(pthread_create(&thread, NULL, wake_soon, &wake_fd), 0);
	assert_int_equal(rdma->source_connect(&pair->source_opts, &source, &err), -ECANCELED);
	assert_true(clock_now_ns() - begin_ns < PAIR_LATE_NS / 2);
	pthread_join(thread, NULL);
	fake_plan_set(NULL);
	assert_null(source);
	close(wake_fd);

	pair->source_opts.wake_fd = -1;
	pair_connect(pair);
	rdma_rig_move(pair, 1);
	pair_free(pair);
}

static void test_connect__says_when_the_sink_cannot_make_its_end(void **state)
{
	/* the source's queue pair is the first, the sink's the second */
	const struct fake_plan plan = { .fail[FAKE_CREATE_QP] = { .nth = 2, .error = ENOMEM } };
	struct joined *pair = pair_open(rdma, 1);
	struct fabric_source *source = NULL;
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	fake_plan_set(&plan);
	assert_int_equal(rdma->source_connect(&pair->source_opts, &source, &err), -EACCES);
	assert_non_null(strstr(err.msg, "queue pair"));
	assert_non_null(strstr(err.msg, "RLIMIT_MEMLOCK"));
	pair_connect(pair);
	pair_barrier(pair, 1);
	pair_free(pair);
}

/* ---- registration ---- */

static void test_expose__that_fails_half_way_leaves_nothing_and_may_be_tried_again(void **state)
{
	struct joined *pair = pair_new(rdma, 2);
	struct decant_error err = DECANT_ERROR_INIT;
	struct fake_counts before, after;
	uint64_t rkey = 0;

	(void)state;
	assert_int_equal(pair->source_opts.pair_count, 2);
	fake_counts(&before);
	for (unsigned nth = 1; nth <= 2; nth++) {
		const struct fake_plan plan = { .fail[FAKE_REG_MR] = { .nth = nth, .error = ENOMEM } };

		fake_plan_set(&plan);
		assert_int_equal(rdma->sink_expose(pair->sink, 1, PAIR_GRANULE, PAIR_GRANULE,
						   pair->to[1] + PAIR_GRANULE, &rkey, &err),
				 -ENOMEM);
		assert_string_not_equal(err.msg, "");
		assert_int_equal(rdma->source_map(pair->source, pair->from[0], PAIR_GRANULE, &rkey, &err), 0);
	}
	fake_counts(&after);
	assert_int_equal(after.mrs, before.mrs + 4); /* the mappings that went well */
	fake_plan_set(NULL);
	pair_expose(pair, 1, 1);
	pair_write(pair, 1, 1, PAIR_GRANULE, 16 * PAIR_PAGE);
	rdma_rig_move(pair, 1);
	pair_free(pair);
}

static void test_map__that_fails_half_way_leaves_nothing_and_may_be_tried_again(void **state)
{
	struct joined *pair = pair_new(rdma, 2);
	struct decant_error err = DECANT_ERROR_INIT;
	struct fake_counts before, after;
	uint64_t lkey = 0;

	(void)state;
	fake_counts(&before);
	for (unsigned nth = 1; nth <= 2; nth++) {
		const struct fake_plan plan = { .fail[FAKE_REG_MR] = { .nth = nth, .error = ENOMEM } };

		fake_plan_set(&plan);
		assert_int_equal(rdma->source_map(pair->source, pair->from[0], PAIR_GRANULE, &lkey, &err),
				 -ENOMEM);
		assert_string_not_equal(err.msg, "");
	}
	fake_counts(&after);
	assert_int_equal(after.mrs, before.mrs);
	rdma_rig_move(pair, 1);
	pair_free(pair);
}

/* CAP_IPC_LOCK lifts the limit that the message is about; only the effective set changes, so it comes back. */
static void set_ipc_lock(bool on)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	assert_int_equal(syscall(SYS_capget, &head, data), 0);
	if (on)
		data[0].effective |= data[0].permitted & 1u << CAP_IPC_LOCK;
	else
		data[0].effective &= ~(1u << CAP_IPC_LOCK);
	assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

static struct joined *open_with_no_room(void)
{
	struct fake_limits limits = fake_config_default().limits;

	/* region 0 and the first granule of region 1, and that is all */
	limits.max_pinned = 4 * PAIR_GRANULE + 5 * PAIR_PAGE;
	rdma_rig_limits(1, &limits);
	return pair_open(rdma, 1);
}

static void expect_no_room(struct joined *pair, struct decant_error *err)
{
	uint64_t rkey;

	assert_int_equal(rdma->sink_expose(pair->sink, 1, PAIR_GRANULE, PAIR_GRANULE, pair->to[1] + PAIR_GRANULE,
					   &rkey, err),
			 -ENOMEM);
	assert_non_null(strstr(err->msg, "fake0"));
	assert_non_null(strstr(err->msg, "2048 KiB"));
}

static void test_expose__beyond_the_memlock_limit_says_how_to_raise_it(void **state)
{
	struct joined *pair = open_with_no_room();
	struct decant_error err = DECANT_ERROR_INIT;
	struct rlimit before, low;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	low = (struct rlimit){ .rlim_cur = 1 << 20, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	set_ipc_lock(false);
	expect_no_room(pair, &err);
	set_ipc_lock(true);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
	assert_non_null(strstr(err.msg, "RLIMIT_MEMLOCK is 1024 KiB"));
	assert_non_null(strstr(err.msg, "are needed"));
	assert_non_null(strstr(err.msg, "ulimit -l"));
	pair_free(pair);
}

static void test_expose__beyond_what_the_device_takes_says_so(void **state)
{
	struct joined *pair = open_with_no_room();
	struct decant_error err = DECANT_ERROR_INIT;
	struct rlimit before, none;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	none = (struct rlimit){ .rlim_cur = before.rlim_max, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	expect_no_room(pair, &err);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
	pair_free(pair);
}

/* ---- the nth call of any fails ---- */

/* false: the plan's call was never made, so all of them have had their turn */
static bool run_with_fault(unsigned nth, int error)
{
	const struct fake_plan plan = { .fail_any = { .nth = nth, .error = error } };
	struct joined *pair = pair_open(rdma, 2);
	struct decant_error err = DECANT_ERROR_INIT;
	struct fake_counts counts;
	uint64_t lkey;
	int rc;

	pair->source_opts.connect_timeout_ns = 500 * NSEC_PER_MSEC;
	fake_plan_set(&plan);
	rc = rdma->source_connect(&pair->source_opts, &pair->source, &err);
	if (rc == 0) {
		struct pair_share *share = &pair->share[pair->shares++];

		rc = rdma->source_map(pair->source, pair->from[0], pair->length[0], &lkey, &err);
		*share = (struct pair_share){ pair->from[0], pair->length[0], lkey };
		rc = rc < 0 ? rc : pair_post(pair, 0, 0, 0, 8 * PAIR_PAGE, pair->from[0]);
		rc = rc < 0 ? rc : pair_message(pair, "m", 1);
		rc = rc < 0 ? rc : pair_post_barrier(pair, 1);
		if (rc == 0 && rdma->source_wait(pair->source, PAIR_LATE_NS) == 0)
			(void)rdma->source_flush(pair->source);
	}
	rdma->source_close(pair->source);
	pair->source = NULL;
	rdma->sink_close(pair->sink);
	pair->sink = NULL;
	fake_plan_set(NULL);
	fake_counts(&counts);
	pair_free(pair);
	if (rc < 0)
		assert_int_not_equal(rc, -EAGAIN);
	return counts.failed > 0;
}

static void test_any_call__may_fail(void **state)
{
	char text[256];
	unsigned nth = 1;

	while (run_with_fault(nth, nth % 2 == 0 ? ENOMEM : EIO)) {
		assert_string_equal(fake_leaks(text, sizeof(text)), "");
		assert_true(++nth < 1000);
		rdma_rig_set_up(state);
	}
	assert_true(nth > 50);
}

static void test_open__may_fail_at_any_call(void **state)
{
	struct joined *pair = pair_open(rdma, 2);
	struct fabric_sink_opts opts;
	unsigned nth = 0;
	int rc;

	(void)state;
	opts = pair->sink_opts;
	do {
		const struct fake_plan plan = { .fail_any = { .nth = nth + 1, .error = ENOMEM } };
		struct decant_error err = DECANT_ERROR_INIT;
		struct fabric_sink *sink = NULL;
		uint64_t rkey;

		fake_plan_set(&plan);
		rc = rdma->sink_open(&opts, &sink, &err);
		if (rc == 0)
			rc = rdma->sink_expose(sink, 0, 0, PAIR_GRANULE, pair->to[0], &rkey, &err);
		assert_int_equal(err.code, rc);
		rdma->sink_close(sink);
		fake_plan_set(NULL);
		nth++;
	} while (rc < 0);
	assert_true(nth > 6);
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rdma_rig_test(test_work__that_fails_loses_the_epoch),
		rdma_rig_test(test_sink__whose_queue_pair_fails_loses_the_channel),
		rdma_rig_test(test_sink__that_fails_has_first_reported_what_arrived),
		rdma_rig_test(test_work__without_an_answer_is_given_up_in_time),
		rdma_rig_test(test_wait__ends_when_the_peer_is_gone),
		rdma_rig_test(test_receiver__that_is_late_is_tried_again),
		rdma_rig_test(test_receiver__that_is_never_ready_loses_the_epoch),
		rdma_rig_test(test_receives__never_run_dry),
		rdma_rig_test(test_completion__that_is_lost_is_made_good_by_the_next),
		rdma_rig_test(test_completions__that_are_lost_end_in_a_timeout),
		rdma_rig_test(test_disconnect__is_known_at_both_ends_at_once),
		rdma_rig_test(test_disconnect__amid_writes_loses_the_epoch),
		rdma_rig_test(test_sink__whose_connection_manager_fails_loses_the_channel),
		rdma_rig_test(test_device__that_is_removed_loses_the_epoch),
		rdma_rig_test(test_port__that_goes_down_loses_the_epoch),
		rdma_rig_test(test_connect__ends_in_time_whatever_does_not_answer),
		rdma_rig_test(test_connect__ends_at_once_when_it_is_woken),
		rdma_rig_test(test_connect__says_when_the_sink_cannot_make_its_end),
		rdma_rig_test(test_expose__that_fails_half_way_leaves_nothing_and_may_be_tried_again),
		rdma_rig_test(test_map__that_fails_half_way_leaves_nothing_and_may_be_tried_again),
		rdma_rig_test(test_expose__beyond_the_memlock_limit_says_how_to_raise_it),
		rdma_rig_test(test_expose__beyond_what_the_device_takes_says_so),
		rdma_rig_test(test_any_call__may_fail),
		rdma_rig_test(test_open__may_fail_at_any_call),
	};

	return cmocka_run_group_tests_name("rdma faults", tests, NULL, NULL);
}
