/* SPDX-License-Identifier: BSD-2-Clause */
/* test_forecast.c -- when to switch over, when to go on, when to give up */
#include "migration/forecast.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define DATA (1024 * MIB)

/* 1 GiB of data sent at 1 GiB/s, a limit of 100 ms, fixed costs of 10 ms */
static struct forecast after_first_pass(void)
{
	struct forecast forecast;

	forecast_init(&forecast, 100 * NSEC_PER_MSEC, DATA);
	forecast.fixed_ns = 10 * NSEC_PER_MSEC;
	forecast_measured(&forecast, DATA, NSEC_PER_SEC);
	return forecast;
}

static void test_forecast_downtime__is_the_rest_and_the_fixed_costs(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	assert_int_equal(forecast_rate_Bps(&forecast), DATA);
	assert_int_equal(forecast_downtime_ns(&forecast, 0), 10 * NSEC_PER_MSEC);
	assert_in_range(forecast_downtime_ns(&forecast, 64 * MIB), 72 * NSEC_PER_MSEC, 73 * NSEC_PER_MSEC);
}

static void test_forecast_downtime__is_unknown_without_a_rate(void **state)
{
	struct forecast forecast;

	(void)state;
	forecast_init(&forecast, 100 * NSEC_PER_MSEC, DATA);
	assert_true(forecast_downtime_ns(&forecast, 1) == UINT64_MAX);
	assert_int_equal(forecast_downtime_ns(&forecast, 0), 0);
}

static void test_forecast_measured__ignores_passes_too_short_to_tell(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	forecast_measured(&forecast, 4096, NSEC_PER_SEC);
	forecast_measured(&forecast, 64 * MIB, 0);
	assert_int_equal(forecast_rate_Bps(&forecast), DATA);
}

static void test_forecast_measured__forgets_old_passes(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	for (unsigned int i = 0; i < FORECAST_RATES; i++)
		forecast_measured(&forecast, 64 * MIB, NSEC_PER_SEC);
	assert_int_equal(forecast_rate_Bps(&forecast), 64 * MIB);
}

static void test_forecast_forget__only_what_comes_then_counts(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	forecast_forget(&forecast);
	assert_int_equal(forecast_rate_Bps(&forecast), 0);
	assert_true(forecast_downtime_ns(&forecast, MIB) == UINT64_MAX);
	/* as after the first pass: anything is better than nothing */
	forecast_measured(&forecast, MIB, NSEC_PER_SEC / 64);
	assert_int_equal(forecast_rate_Bps(&forecast), 64 * MIB);
}

/* 90 MiB would take 88 ms and the fixed 10; with as much again between them they do not fit */
static void test_forecast_filled__gaps_count_as_well(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	assert_int_equal(forecast_decide(&forecast, 90 * MIB, 0), FORECAST_PASS);
	assert_int_equal(forecast_decide(&forecast, 90 * MIB, 0), FORECAST_SWITCH);
	forecast_measured(&forecast, 180 * MIB, 180 * NSEC_PER_SEC / 1024);
	forecast_filled(&forecast, 90 * MIB, 90 * MIB);
	assert_int_equal(forecast_rate_Bps(&forecast), DATA);
	assert_in_range(forecast_downtime_ns(&forecast, 90 * MIB), 185 * NSEC_PER_MSEC, 186 * NSEC_PER_MSEC);
	assert_int_equal(forecast_decide(&forecast, 90 * MIB, 0), FORECAST_PASS);
	/* a pass that sent nothing tells nothing of gaps */
	forecast_filled(&forecast, 0, 0);
	assert_in_range(forecast_downtime_ns(&forecast, 90 * MIB), 185 * NSEC_PER_MSEC, 186 * NSEC_PER_MSEC);
}

static void test_forecast_look__a_pass_takes_its_gaps_too(void **state)
{
	struct forecast forecast = after_first_pass();
	uint64_t before;

	(void)state;
	forecast_dirtied(&forecast, 256 * MIB, NSEC_PER_SEC);
	before = forecast_look(&forecast, 256 * MIB, 0).left_ns;
	forecast_filled(&forecast, 2 * MIB, MIB);
	assert_true(forecast_look(&forecast, 256 * MIB, 0).left_ns >= before + 125 * NSEC_PER_MSEC);
}

static void test_forecast_downtime__is_bounded_at_any_rate(void **state)
{
	struct forecast forecast;

	(void)state;
	forecast_init(&forecast, 100 * NSEC_PER_MSEC, DATA);
	forecast_measured(&forecast, 1, NSEC_PER_SEC);
	assert_in_range(forecast_downtime_ns(&forecast, UINT64_MAX / 2), 3600 * NSEC_PER_SEC, UINT64_MAX / 256);
	assert_int_equal(forecast_decide(&forecast, UINT64_MAX / 2, 0), FORECAST_PASS);
}

static void test_forecast_decide__switches_at_once_when_little_is_left(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	assert_int_equal(forecast_decide(&forecast, MIB, 0), FORECAST_SWITCH);
}

static void test_forecast_decide__goes_on_while_it_shrinks_though_it_fits(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	assert_int_equal(forecast_decide(&forecast, 64 * MIB, 0), FORECAST_PASS);
	assert_int_equal(forecast_decide(&forecast, 32 * MIB, 0), FORECAST_PASS);
	assert_int_equal(forecast_decide(&forecast, 30 * MIB, 0), FORECAST_SWITCH);
}

static void test_forecast_decide__never_switches_when_it_does_not_fit(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	for (uint64_t bytes = 900 * MIB; bytes > 100 * MIB; bytes -= 100 * MIB)
		assert_int_equal(forecast_decide(&forecast, bytes, 0), FORECAST_PASS);
}

static void test_forecast_decide__gives_up_only_after_passes_and_time(void **state)
{
	struct forecast forecast = after_first_pass();
	uint64_t now = 0;

	(void)state;
	/* many short passes are no reason yet: the guest may have a busy moment */
	for (int i = 0; i < 100; i++)
		assert_int_equal(forecast_decide(&forecast, 500 * MIB, now += NSEC_PER_MSEC), FORECAST_PASS);
	assert_int_equal(forecast_decide(&forecast, 500 * MIB, now + 4 * NSEC_PER_SEC), FORECAST_NEVER);
}

static void test_forecast_decide__progress_starts_the_patience_anew(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	for (int i = 0; i < 10; i++)
		forecast_decide(&forecast, 500 * MIB, 0);
	assert_int_equal(forecast_decide(&forecast, 400 * MIB, 10 * NSEC_PER_SEC), FORECAST_PASS);
	assert_int_equal(forecast_decide(&forecast, 400 * MIB, 11 * NSEC_PER_SEC), FORECAST_PASS);
}

/* 1 GiB at 1 GiB/s while the guest dirties a quarter of that: passes of 256, 64 and 16 MiB, then 4 MiB in the pause */
static void test_forecast_look__plays_the_passes_to_come(void **state)
{
	struct forecast forecast = after_first_pass();
	struct forecast_outlook outlook;

	(void)state;
	forecast_dirtied(&forecast, 256 * MIB, NSEC_PER_SEC);
	outlook = forecast_look(&forecast, 256 * MIB, 0);
	/* 250 + 62.5 + 15.6 + 3.9 ms and the fixed 10; that 1 MiB is worth no pass is for forecast_decide() to say */
	assert_in_range(outlook.left_ns, 335 * NSEC_PER_MSEC, 345 * NSEC_PER_MSEC);
	assert_in_range(outlook.downtime_ns, 10 * NSEC_PER_MSEC, 14 * NSEC_PER_MSEC);
}

static void test_forecast_look__a_full_working_set_does_not_shrink(void **state)
{
	struct forecast forecast = after_first_pass();
	struct forecast_outlook outlook;

	(void)state;
	forecast_dirtied(&forecast, 64 * MIB, NSEC_PER_SEC);
	forecast_measured(&forecast, 64 * MIB, NSEC_PER_SEC / 16);
	forecast_decide(&forecast, 64 * MIB, 0);
	forecast_dirtied(&forecast, 63 * MIB, NSEC_PER_SEC / 16);
	outlook = forecast_look(&forecast, 63 * MIB, 0);
	assert_in_range(outlook.downtime_ns, 71 * NSEC_PER_MSEC, 72 * NSEC_PER_MSEC);
	assert_int_equal(outlook.left_ns, outlook.downtime_ns);
}

static void test_forecast_look__each_pass_costs_something(void **state)
{
	struct forecast forecast = after_first_pass();
	uint64_t before;

	(void)state;
	forecast_dirtied(&forecast, 256 * MIB, NSEC_PER_SEC);
	before = forecast_look(&forecast, 256 * MIB, 0).left_ns;
	forecast_measured(&forecast, MIB, 3 * NSEC_PER_MSEC);
	assert_true(forecast_look(&forecast, 256 * MIB, 0).left_ns >= before + 6 * NSEC_PER_MSEC);
}

static void test_forecast_look__counts_what_lies_between(void **state)
{
	struct forecast forecast = after_first_pass();
	uint64_t before;

	(void)state;
	/* to be sent in the pause: the pages are listed before it, and nothing else comes between */
	forecast_dirtied(&forecast, MIB, NSEC_PER_SEC);
	before = forecast_look(&forecast, MIB, 0).left_ns;
	assert_int_equal(before, forecast_look(&forecast, MIB, 0).downtime_ns);
	forecast_armed(&forecast, 2 * MIB, 4 * NSEC_PER_MSEC);
	forecast_armed(&forecast, 0, 0);
	forecast.between_ns = NSEC_PER_MSEC;
	forecast.harvest_ns = 5 * NSEC_PER_MSEC;
	assert_int_equal(forecast_look(&forecast, MIB, 0).left_ns, before + 3 * NSEC_PER_MSEC);
	assert_int_equal(forecast_look(&forecast, MIB, 0).downtime_ns, before);
}

static void test_forecast_look__counts_what_lies_between_passes(void **state)
{
	struct forecast forecast = after_first_pass();
	struct forecast_outlook before, after;

	(void)state;
	forecast_dirtied(&forecast, 256 * MIB, NSEC_PER_SEC);
	before = forecast_look(&forecast, 256 * MIB, 0);
	forecast.between_ns = NSEC_PER_MSEC;
	forecast.harvest_ns = 5 * NSEC_PER_MSEC;
	after = forecast_look(&forecast, 256 * MIB, 0);
	/* three or four passes, and the pause */
	assert_in_range(after.left_ns - before.left_ns, 19 * NSEC_PER_MSEC, 25 * NSEC_PER_MSEC);
}

static void test_forecast_look__no_end_in_sight(void **state)
{
	struct forecast forecast = after_first_pass();
	struct forecast_outlook outlook;

	(void)state;
	forecast_dirtied(&forecast, 500 * MIB, NSEC_PER_SEC);
	forecast_dirtied(&forecast, 500 * MIB, NSEC_PER_SEC / 2);
	outlook = forecast_look(&forecast, 500 * MIB, 0);
	assert_int_equal(outlook.left_ns, 0);
	assert_int_equal(outlook.downtime_ns, forecast_downtime_ns(&forecast, 500 * MIB));
}

static void test_forecast_look__changes_nothing(void **state)
{
	struct forecast forecast = after_first_pass();

	(void)state;
	forecast_dirtied(&forecast, 64 * MIB, NSEC_PER_SEC);
	forecast_look(&forecast, 64 * MIB, 0);
	assert_int_equal(forecast_decide(&forecast, 64 * MIB, 0), FORECAST_PASS);
}

static void test_forecast_error__is_a_share_of_what_came(void **state)
{
	(void)state;
	assert_int_equal(forecast_error_permille(120, 100), 200);
	assert_int_equal(forecast_error_permille(80, 100), 200);
	assert_int_equal(forecast_error_permille(0, 100), 1000);
	assert_int_equal(forecast_error_permille(0, 0), 0);
	assert_true(forecast_error_permille(1, 0) == UINT32_MAX);
	assert_true(forecast_error_permille(UINT64_MAX, 1) == UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forecast_downtime__is_the_rest_and_the_fixed_costs),
		cmocka_unit_test(test_forecast_downtime__is_unknown_without_a_rate),
		cmocka_unit_test(test_forecast_measured__ignores_passes_too_short_to_tell),
		cmocka_unit_test(test_forecast_measured__forgets_old_passes),
		cmocka_unit_test(test_forecast_forget__only_what_comes_then_counts),
		cmocka_unit_test(test_forecast_filled__gaps_count_as_well),
		cmocka_unit_test(test_forecast_look__a_pass_takes_its_gaps_too),
		cmocka_unit_test(test_forecast_downtime__is_bounded_at_any_rate),
		cmocka_unit_test(test_forecast_decide__switches_at_once_when_little_is_left),
		cmocka_unit_test(test_forecast_decide__goes_on_while_it_shrinks_though_it_fits),
		cmocka_unit_test(test_forecast_decide__never_switches_when_it_does_not_fit),
		cmocka_unit_test(test_forecast_decide__gives_up_only_after_passes_and_time),
		cmocka_unit_test(test_forecast_decide__progress_starts_the_patience_anew),
		cmocka_unit_test(test_forecast_look__plays_the_passes_to_come),
		cmocka_unit_test(test_forecast_look__a_full_working_set_does_not_shrink),
		cmocka_unit_test(test_forecast_look__each_pass_costs_something),
		cmocka_unit_test(test_forecast_look__counts_what_lies_between),
		cmocka_unit_test(test_forecast_look__counts_what_lies_between_passes),
		cmocka_unit_test(test_forecast_look__no_end_in_sight),
		cmocka_unit_test(test_forecast_look__changes_nothing),
		cmocka_unit_test(test_forecast_error__is_a_share_of_what_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
