/* SPDX-License-Identifier: BSD-2-Clause */
/* test_clock.c -- time and deadlines */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <limits.h>
#include <cmocka.h>

#include "util/clock.h"

static void test_clock_now__runs_forwards(void **state)
{
	uint64_t last = clock_now_ns();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		const uint64_t now = clock_now_ns();

		assert_true(now >= last);
		last = now;
	}
	while (clock_now_ns() == last)
		;
}

static void test_clock_thread_cpu__counts_work_not_sleep(void **state)
{
	const struct timespec nap = { .tv_nsec = 50 * (long)NSEC_PER_MSEC };
	const uint64_t start = clock_thread_cpu_ns();
	uint64_t worked;

	(void)state;
	while (clock_thread_cpu_ns() < start + NSEC_PER_MSEC)
		;
	worked = clock_thread_cpu_ns();
	nanosleep(&nap, NULL);
	assert_true(clock_thread_cpu_ns() - worked < 45 * NSEC_PER_MSEC);
}

static void test_clock_deadline__never_overflows(void **state)
{
	const uint64_t before = clock_now_ns();
	const uint64_t deadline = clock_deadline_ns(NSEC_PER_SEC);

	(void)state;
	assert_true(deadline >= before + NSEC_PER_SEC);
	assert_true(deadline <= clock_now_ns() + NSEC_PER_SEC);
	assert_int_equal(clock_deadline_ns(CLOCK_NEVER), CLOCK_NEVER);
	assert_int_equal(clock_deadline_ns(CLOCK_NEVER - 1), CLOCK_NEVER);
	assert_int_equal(clock_deadline_ns(CLOCK_NEVER - before), CLOCK_NEVER);
}

static void test_clock_poll_ms__rounds_up_and_has_ends(void **state)
{
	int ms;

	(void)state;
	assert_int_equal(clock_poll_ms(CLOCK_NEVER), -1);
	assert_int_equal(clock_poll_ms(0), 0);
	assert_int_equal(clock_poll_ms(clock_now_ns()), 0);
	assert_int_equal(clock_poll_ms(CLOCK_NEVER - 1), INT_MAX);
	ms = clock_poll_ms(clock_now_ns() + 3600 * NSEC_PER_SEC);
	assert_in_range(ms, 3500000, 3600000);
	/* a part of a millisecond must not become a poll(2) that spins */
	for (int i = 0; i < 1000; i++) {
		const uint64_t deadline = clock_now_ns() + 999999;

		ms = clock_poll_ms(deadline);
		assert_true(ms == 1 || clock_now_ns() >= deadline);
	}
}

static void test_clock_timespec__splits(void **state)
{
	const struct timespec ts = clock_timespec(3 * NSEC_PER_SEC + 7);
	const struct timespec never = clock_timespec(CLOCK_NEVER);

	(void)state;
	assert_int_equal(ts.tv_sec, 3);
	assert_int_equal(ts.tv_nsec, 7);
	assert_true(never.tv_sec > 100ll * 365 * 86400);
	assert_in_range(never.tv_nsec, 0, 999999999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_now__runs_forwards),
		cmocka_unit_test(test_clock_thread_cpu__counts_work_not_sleep),
		cmocka_unit_test(test_clock_deadline__never_overflows),
		cmocka_unit_test(test_clock_poll_ms__rounds_up_and_has_ends),
		cmocka_unit_test(test_clock_timespec__splits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
