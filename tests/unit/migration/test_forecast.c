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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forecast_downtime__is_the_rest_and_the_fixed_costs),
		cmocka_unit_test(test_forecast_downtime__is_unknown_without_a_rate),
		cmocka_unit_test(test_forecast_measured__ignores_passes_too_short_to_tell),
		cmocka_unit_test(test_forecast_measured__forgets_old_passes),
		cmocka_unit_test(test_forecast_decide__switches_at_once_when_little_is_left),
		cmocka_unit_test(test_forecast_decide__goes_on_while_it_shrinks_though_it_fits),
		cmocka_unit_test(test_forecast_decide__never_switches_when_it_does_not_fit),
		cmocka_unit_test(test_forecast_decide__gives_up_only_after_passes_and_time),
		cmocka_unit_test(test_forecast_decide__progress_starts_the_patience_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
