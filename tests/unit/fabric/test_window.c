/* SPDX-License-Identifier: BSD-2-Clause */
/* test_window.c -- what may be under way, over networks of all speeds */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/window.h"
#include "util/clock.h"

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define KEPT 2u /* pieces under way at a time */

/*
 * @pieces of work of @bytes each through a network that carries @rate_Bps, with KEPT of them under way as long as it is kept @busy; each end
 * is noticed @late_ns after it was one, or with the next one. Returns what may be under way in the end.
 */
static uint64_t carry(struct window *window, unsigned pieces, uint64_t bytes, uint64_t rate_Bps, bool busy,
		      uint64_t late_ns)
{
	const uint64_t piece_ns = bytes * NSEC_PER_SEC / rate_Bps;
	struct window_mark mark[KEPT];
	uint64_t now_ns = 1;

	for (unsigned i = 0; i < KEPT; i++)
		mark[i] = window_begin(window, now_ns);
	for (unsigned i = 0; i < pieces; i++) {
		now_ns += busy ? piece_ns : 100 * piece_ns;
		window_end(window, &mark[i % KEPT], bytes, busy, now_ns + (i % KEPT == 0 ? late_ns : 0));
		mark[i % KEPT] = window_begin(window, now_ns + (i % KEPT == 0 ? late_ns : 0));
	}
	return window_bytes(window, 1, 1000 * MIB);
}

static void test_window__is_what_is_carried_in_its_time(void **state)
{
	static const uint64_t rates[] = { 14 * MIB, 125 * MIB, 1200 * MIB };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct window window = { .time_ns = 40 * NSEC_PER_MSEC };
		const uint64_t want = rates[i] * 40 / 1000;

		assert_in_range(carry(&window, 20, MIB, rates[i], true, 0), want * 9 / 10, want * 11 / 10);
	}
}

static void test_window__holds_to_its_limits(void **state)
{
	struct window window = { .time_ns = 40 * NSEC_PER_MSEC };

	(void)state;
	assert_int_equal(window_bytes(&window, MIB, 40 * MIB), MIB);
	carry(&window, 20, MIB, MIB, true, 0);
	assert_int_equal(window_bytes(&window, MIB, 40 * MIB), MIB);
	carry(&window, 20, MIB, 20000 * MIB, true, 0);
	assert_int_equal(window_bytes(&window, MIB, 40 * MIB), 40 * MIB);
}

static void test_window__without_a_time_has_no_bound(void **state)
{
	struct window window = { 0 };

	(void)state;
	carry(&window, 20, MIB, MIB, true, 0);
	assert_int_equal(window_bytes(&window, MIB, 40 * MIB), 40 * MIB);
}

/* a source that has little to send tells nothing bad of the network */
static void test_window__does_not_shrink_where_little_is_sent(void **state)
{
	struct window window = { .time_ns = 40 * NSEC_PER_MSEC };
	const uint64_t before = carry(&window, 20, MIB, 1000 * MIB, true, 0);

	(void)state;
	assert_int_equal(carry(&window, 100, MIB, 1000 * MIB, false, 0), before);
}

/* ends that are noticed late, and so two at a time, tell no rate that there is not */
static void test_window__is_not_deceived_by_late_looks(void **state)
{
	struct window window = { .time_ns = 40 * NSEC_PER_MSEC };
	const uint64_t want = 100 * MIB * 40 / 1000;
	const uint64_t late_ns = 9 * NSEC_PER_MSEC; /* of the 10 ms that a piece takes */

	(void)state;
	assert_in_range(carry(&window, 100, MIB, 100 * MIB, true, late_ns), want / 2, want * 2);
}

static void test_window__follows_a_network_that_slows_down(void **state)
{
	struct window window = { .time_ns = 40 * NSEC_PER_MSEC };
	const uint64_t want = 10 * MIB * 40 / 1000;

	(void)state;
	carry(&window, 20, MIB, 1000 * MIB, true, 0);
	assert_in_range(carry(&window, 30, MIB, 10 * MIB, true, 0), want * 9 / 10, want * 11 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window__is_what_is_carried_in_its_time),
		cmocka_unit_test(test_window__holds_to_its_limits),
		cmocka_unit_test(test_window__without_a_time_has_no_bound),
		cmocka_unit_test(test_window__does_not_shrink_where_little_is_sent),
		cmocka_unit_test(test_window__is_not_deceived_by_late_looks),
		cmocka_unit_test(test_window__follows_a_network_that_slows_down),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
