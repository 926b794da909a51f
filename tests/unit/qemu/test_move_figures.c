/* SPDX-License-Identifier: BSD-2-Clause */
/* test_move_figures.c -- what QEMU says of its migration, and what it had better not have said */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <cmocka.h>

#include "qemu/json.h"
#include "qemu/move_figures.h"

static struct move_figures taken(const char *text)
{
	struct json_object *answer = json_parse_object(text, strlen(text));
	struct move_figures figures = { 0 };

	assert_non_null(answer);
	move_figures_take(&figures, answer);
	json_object_put(answer);
	return figures;
}

static void test_move_figures_take__an_answer_of_qemu(void **state)
{
	const struct move_figures figures = taken(
		"{\"expected-downtime\": 300, \"status\": \"active\", \"setup-time\": 2, \"total-time\": 1204,"
		"\"cpu-throttle-percentage\": 20, \"ram\": {\"total\": 285736960, \"dirty-sync-count\": 2,"
		"\"page-size\": 4096, \"remaining\": 4194304, \"mbps\": 800.5, \"transferred\": 1000,"
		"\"duplicate\": 12, \"dirty-pages-rate\": 1000, \"normal\": 34}}");
	(void)state;

	assert_int_equal(figures.status, MOVE_STATUS_ACTIVE);
	assert_int_equal(figures.setup_ns, 2000000);
	assert_int_equal(figures.total_ns, 1204000000);
	assert_int_equal(figures.expected_downtime_ns, 300000000);
	assert_int_equal(figures.downtime_ns, 0);
	assert_int_equal(figures.ram_bytes, 285736960);
	assert_int_equal(figures.remaining_bytes, 4194304);
	assert_int_equal(figures.rate_Bps, 100062500);
	assert_int_equal(figures.dirty_rate_Bps, 4096000);
	assert_int_equal(figures.normal_pages, 34);
	assert_int_equal(figures.zero_pages, 12);
	assert_int_equal(figures.throttle_percent, 20);
}

static void test_move_figures_take__nonsense(void **state)
{
	static const char *const answers[] = {
		"{}",
		"{\"status\": 5, \"ram\": [], \"total-time\": \"soon\"}",
		"{\"status\": \"\", \"total-time\": 18446744073709551615, \"downtime\": -1}",
		("{\"ram\": {\"total\": 18446744073709551615, \"remaining\": -5, \"mbps\": 1e300, \"page-size\": 0,"
		 "\"dirty-pages-rate\": 18446744073709551615, \"dirty-sync-count\": 99999999999}}"),
		"{\"cpu-throttle-percentage\": 4000000000}",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const struct move_figures figures = taken(answers[i]);
		struct decant_stats stats = { .size = sizeof(stats) };

		move_figures_show(&figures, &stats);
		assert_true(stats.progress_permille <= 1000);
		assert_int_equal(figures.rate_Bps, 0);
		assert_int_equal(figures.total_ns, 0);
		assert_int_equal(figures.throttle_percent, 0);
	}
}

static void test_move_status__all_words(void **state)
{
	(void)state;
	assert_int_equal(move_status("setup"), MOVE_STATUS_SETUP);
	assert_int_equal(move_status("pre-switchover"), MOVE_STATUS_PRE_SWITCHOVER);
	assert_int_equal(move_status("a word of the future"), MOVE_STATUS_ACTIVE);
	assert_false(move_status_is_end(move_status("device")));
	assert_false(move_status_is_end(move_status("cancelling")));
	assert_true(move_status_is_end(move_status("completed")));
	assert_true(move_status_is_end(move_status("failed")));
	assert_true(move_status_is_end(move_status("cancelled")));
}

static void test_move_figures_show__progress_and_forecast(void **state)
{
	struct move_figures figures = { .status = MOVE_STATUS_ACTIVE,
					.ram_bytes = 1000,
					.remaining_bytes = 250,
					.syncs = 1,
					.rate_Bps = 100,
					.dirty_rate_Bps = 50,
					.expected_downtime_ns = 300000000 };
	struct decant_stats stats = { .size = sizeof(stats) };
	(void)state;

	move_figures_show(&figures, &stats);
	assert_int_equal(stats.progress_permille, 749);
	assert_int_equal(stats.forecast_total_ns, 5000000000);
	assert_int_equal(stats.forecast_downtime_ns, 0);

	figures.syncs = 2;
	figures.remaining_bytes = 500;
	move_figures_show(&figures, &stats);
	assert_int_equal(stats.progress_permille, 749);
	assert_int_equal(stats.passes, 2);
	assert_int_equal(stats.forecast_downtime_ns, 300000000);

	figures.dirty_rate_Bps = 100;
	move_figures_show(&figures, &stats);
	assert_int_equal(stats.forecast_total_ns, 0);
	figures.status = MOVE_STATUS_COMPLETED;
	move_figures_show(&figures, &stats);
	assert_int_equal(stats.progress_permille, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move_figures_take__an_answer_of_qemu),
		cmocka_unit_test(test_move_figures_take__nonsense),
		cmocka_unit_test(test_move_status__all_words),
		cmocka_unit_test(test_move_figures_show__progress_and_forecast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
