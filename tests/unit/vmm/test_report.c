/* SPDX-License-Identifier: BSD-2-Clause */
/* test_report.c -- the report as JSON and in words, its file, and the progress line */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "qemu/json.h"
#include "util/clock.h"
#include "vmm/progress.h"
#include "vmm/report.h"
#include "vmm/report_file.h"

static struct decant_stats completed_stats(void)
{
	return (struct decant_stats){
		.size = sizeof(struct decant_stats),
		.state = DECANT_STATE_COMPLETED,
		.fabric = "tcp",
		.fabric_reason = "as asked for",
		.channels = 2,
		.ram_bytes = 1ull << 30,
		.data_bytes = 100ull << 20,
		.sent_bytes = 120ull << 20,
		.pages_sent = 30720,
		.pages_skipped = 7,
		.passes = 2,
		.pass = { { 50 * NSEC_PER_MSEC, 100ull << 20, 25600 },
			  { 1500 * NSEC_PER_USEC, 20ull << 20, 5120 } },
		.setup_ns = 3 * NSEC_PER_MSEC,
		.total_ns = 60 * NSEC_PER_MSEC,
		.downtime_ns = 12345678,
		.downtime_bound_ns = 13 * NSEC_PER_MSEC,
		.throughput_Bps = 2000000000,
		.clock_error_ns = 40 * NSEC_PER_USEC,
		.verified = 1,
		.verdict = { .status = DECANT_VERDICT_OK, .pause_ns = 14 * NSEC_PER_MSEC, .text = "all well" },
	};
}

static struct json_object *make_report(const struct decant_stats *stats, const char *error)
{
	const struct report report = { .vm = "demo",
				       .peer = "host:7",
				       .max_downtime_ns = 300 * NSEC_PER_MSEC,
				       .stats = stats,
				       .error = error };

	return report_json(&report);
}

static void test_report_json__has_all_that_is_documented(void **state)
{
	static const char *const keys[] = {
		"decant",
		"vm",
		"outcome",
		"mode",
		"verified",
		"fabric",
		"fabric_reason",
		"channels",
		"ram_bytes",
		"data_bytes",
		"pages_sent",
		"pages_skipped",
		"pages_looked",
		"zero_copy_bytes",
		"stamps_ns",
		"clock_offset_ns",
		"passes",
		"setup_ms",
		"total_ms",
		"downtime_ms",
		"downtime_bound_ms",
		"throughput_Bps",
		"source_cpu_ms",
		"dest_cpu_ms",
		"guest_verdict",
		"guest_pause_ms",
		"verify_ms",
		"clock_error_ms",
		"forecast_error",
		"source_allocated",
		"dest_allocated",
		"error",
		"peer",
	};
	const struct decant_stats stats = completed_stats();
	struct json_object *report = make_report(&stats, NULL);
	(void)state;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!json_object_object_get_ex(report, keys[i], NULL))
			fail_msg("\"%s\" is missing", keys[i]);
	json_object_put(report);
}

static void test_report_json__values(void **state)
{
	const struct decant_stats stats = completed_stats();
	struct json_object *report = make_report(&stats, NULL);
	struct json_object *passes = json_object_object_get(report, "passes");
	(void)state;

	assert_int_equal(json_get_number(report, "decant", 0), 1);
	assert_string_equal(json_get_text(report, "outcome", ""), "completed");
	assert_string_equal(json_get_text(report, "guest_verdict", ""), "ok");
	assert_true(json_get_bool(report, "verified", false));
	assert_non_null(
		strstr(json_object_to_json_string_ext(report, JSON_C_TO_STRING_PLAIN), "\"downtime_ms\":12.346,"));
	assert_int_equal(json_object_array_length(passes), 2);
	assert_int_equal(json_get_number(json_object_array_get_idx(passes, 1), "dirty_pages", 0), 5120);
	json_object_put(report);
}

static void test_report_json__forecasts_and_their_error(void **state)
{
	struct decant_stats stats = completed_stats();
	struct json_object *report, *error, *passes;
	(void)state;

	stats.forecast[0] = (struct decant_forecast){ 50 * NSEC_PER_MSEC, 9 * NSEC_PER_MSEC, 7 * NSEC_PER_MSEC };
	stats.forecasts_judged = 1;
	stats.forecast_left_error_permille = 83;
	stats.forecast_downtime_error_permille = 1205;
	report = make_report(&stats, NULL);
	passes = json_object_object_get(report, "passes");
	error = json_object_object_get(report, "forecast_error");

	assert_true(json_get_real(error, "total", 0) > 0.0829 && json_get_real(error, "total", 0) < 0.0831);
	assert_true(json_get_real(error, "downtime", 0) > 1.2049 && json_get_real(error, "downtime", 0) < 1.2051);
	assert_true(json_get_real(json_object_array_get_idx(passes, 0), "forecast_total_ms", 0) > 8.9);
	assert_null(json_object_object_get(json_object_array_get_idx(passes, 1), "forecast_total_ms"));
	json_object_put(report);
}

static char *printed(struct json_object *report)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	report_print(out, report);
	fclose(out);
	return text;
}

static void test_report_json__throttle(void **state)
{
	struct decant_stats stats = completed_stats();
	struct json_object *report, *throttle;
	char *text;
	(void)state;

	report = make_report(&stats, NULL);
	assert_false(json_object_object_get_ex(report, "throttle", NULL));
	json_object_put(report);

	stats.throttle_max_permille = stats.throttle_vcpu_max_permille[1] = 875;
	stats.throttle_vcpus = 3;
	stats.throttle_ns = 1500 * NSEC_PER_MSEC;
	report = make_report(&stats, NULL);
	assert_true(json_object_object_get_ex(report, "throttle", &throttle));
	assert_string_equal(
		json_object_to_json_string_ext(throttle, JSON_C_TO_STRING_PLAIN),
		"{\"max_permille\":875,\"ms\":1500.000,\"vcpu_max_permille\":[0,875,0],\"alike\":false}");
	text = printed(report);
	assert_non_null(strstr(text, "1 of 3 vCPUs slowed by up to 87.5%"));
	free(text);
	json_object_put(report);
}

static void test_report_json__more_passes_than_are_kept(void **state)
{
	struct decant_stats stats = completed_stats();
	struct json_object *report;
	(void)state;

	stats.passes = DECANT_PASSES_MAX + 100;
	report = make_report(&stats, NULL);

	assert_int_equal(json_object_array_length(json_object_object_get(report, "passes")), DECANT_PASSES_MAX);
	json_object_put(report);
}

static void test_report_json__guest_that_cannot_judge(void **state)
{
	struct decant_stats stats = completed_stats();
	struct json_object *report;
	struct json_object *value;
	(void)state;

	stats.verdict = (struct decant_verdict){ .status = DECANT_VERDICT_NONE };
	report = make_report(&stats, NULL);

	assert_true(json_object_object_get_ex(report, "guest_verdict", &value));
	assert_null(value);
	assert_true(json_object_object_get_ex(report, "guest_pause_ms", &value));
	assert_null(value);
	assert_int_equal(report_exit(report), EXIT_DONE);
	json_object_put(report);
}

struct exit_case {
	enum decant_migration_state state;
	enum decant_verdict_status verdict;
	const char *outcome;
	enum report_exit status;
};

static const struct exit_case exit_cases[] = {
	{ DECANT_STATE_COMPLETED, DECANT_VERDICT_OK, "completed", EXIT_DONE },
	{ DECANT_STATE_COMPLETED, DECANT_VERDICT_NONE, "completed", EXIT_DONE },
	{ DECANT_STATE_COMPLETED, DECANT_VERDICT_BAD, "completed", EXIT_FAILED },
	{ DECANT_STATE_FAILED, DECANT_VERDICT_NONE, "failed", EXIT_FAILED },
	{ DECANT_STATE_CANCELLED, DECANT_VERDICT_NONE, "cancelled", EXIT_FAILED },
	{ DECANT_STATE_IN_DOUBT, DECANT_VERDICT_NONE, "in-doubt", EXIT_IN_DOUBT },
};

static void test_report_exit__of_each_outcome(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(exit_cases) / sizeof(exit_cases[0]); i++) {
		struct decant_stats stats = completed_stats();
		struct json_object *report;

		stats.state = exit_cases[i].state;
		stats.verdict.status = exit_cases[i].verdict;
		report = make_report(&stats, "why");
		assert_string_equal(json_get_text(report, "outcome", ""), exit_cases[i].outcome);
		assert_int_equal(report_exit(report), exit_cases[i].status);
		json_object_put(report);
	}
}

static void test_report_print__bad_verdict_is_loud(void **state)
{
	struct decant_stats stats = completed_stats();
	struct json_object *report;
	char *text;
	(void)state;

	stats.verdict.status = DECANT_VERDICT_BAD;
	snprintf(stats.verdict.text, sizeof(stats.verdict.text), "page 0x123");
	report = make_report(&stats, NULL);
	text = printed(report);

	assert_non_null(strstr(text, "BAD"));
	assert_null(strstr(text, "forecast"));
	assert_non_null(strstr(text, "page 0x123"));
	free(text);
	json_object_put(report);
}

static void test_report_print__empty_object(void **state)
{
	struct json_object *report = json_object_new_object();
	char *text = printed(report);
	(void)state;

	assert_non_null(strstr(text, "failed"));
	free(text);
	json_object_put(report);
}

static void test_report_progress_json__there_and_back(void **state)
{
	struct decant_stats stats = completed_stats();
	struct decant_stats back;
	struct json_object *event;
	(void)state;

	stats.state = DECANT_STATE_PRECOPY;
	stats.progress_permille = 321;
	stats.rate_Bps = 1000000;
	stats.dirty_rate_Bps = 2000;
	stats.forecast_downtime_ns = 5 * NSEC_PER_MSEC;
	stats.throttle_permille = 640;
	event = report_progress_json(&stats);
	report_progress_stats(event, &back);

	assert_int_equal(back.state, DECANT_STATE_PRECOPY);
	assert_int_equal(back.progress_permille, 321);
	assert_int_equal(back.throttle_permille, 640);
	assert_int_equal(back.passes, 2);
	assert_int_equal(back.rate_Bps, 1000000);
	assert_int_equal(back.dirty_rate_Bps, 2000);
	assert_int_equal(back.forecast_downtime_ns, 5 * NSEC_PER_MSEC);
	json_object_put(event);
}

static void test_report_file__written_whole_and_no_more(void **state)
{
	const struct decant_stats stats = completed_stats();
	struct json_object *report = make_report(&stats, NULL);
	struct report_file file = { .fd = -1 };
	char path[] = "/tmp/decant-report.XXXXXX";
	struct json_object *back;
	int fd = mkstemp(path);
	(void)state;

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(report_file_open(&file, path, NULL), 0);
	assert_int_equal(report_file_write(&file, report, NULL), 0);
	report_file_drop(&file);
	back = json_object_from_file(path);

	assert_non_null(back);
	assert_string_equal(json_get_text(back, "vm", ""), "demo");
	json_object_put(back);
	json_object_put(report);
	unlink(path);
}

static void test_report_file_open__full_disk(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct report_file file = { .fd = -1 };
	(void)state;

	assert_int_equal(report_file_open(&file, "/dev/full", &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "/dev/full"));
	assert_int_equal(report_file_open(&file, "/nowhere/report", &err), -ENOENT);
}

static void test_progress_show__never_runs_backwards(void **state)
{
	static const uint32_t told[] = { 10, 500, 400, 501, 0, 999, 1200 };
	static const char *const shown[] = { " 1.0%", " 50.0%", " 50.0%", " 50.1%", " 50.1%", " 99.9%", " 100.0%" };
	struct decant_stats stats = completed_stats();
	struct progress progress;
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	(void)state;

	stats.state = DECANT_STATE_PRECOPY;
	progress_init(&progress, out, true);
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		stats.progress_permille = told[i];
		progress_show(&progress, &stats, i + 1);
		assert_non_null(strstr(strrchr(text, '\r'), shown[i]));
	}
	assert_null(strchr(text, '\n'));
	progress_end(&progress);
	assert_int_equal(text[length - 1], '\n');
	fclose(out);
	free(text);
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	while ((text = strchr(text, '\n')) != NULL) {
		lines++;
		text++;
	}
	return lines;
}

static void test_progress_show__plain_lines_are_few(void **state)
{
	struct decant_stats stats = completed_stats();
	struct progress progress;
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	(void)state;

	stats.state = DECANT_STATE_PRECOPY;
	progress_init(&progress, out, false);
	for (uint64_t i = 0; i < 100; i++)
		progress_show(&progress, &stats, NSEC_PER_SEC + i * NSEC_PER_MSEC);
	assert_int_equal(count_lines(text), 1);
	stats.passes++;
	progress_show(&progress, &stats, NSEC_PER_SEC + 101 * NSEC_PER_MSEC);
	assert_int_equal(count_lines(text), 2);
	progress_show(&progress, &stats, 3 * NSEC_PER_SEC);
	assert_int_equal(count_lines(text), 3);
	assert_null(strchr(text, '\r'));
	fclose(out);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_json__has_all_that_is_documented),
		cmocka_unit_test(test_report_json__values),
		cmocka_unit_test(test_report_json__forecasts_and_their_error),
		cmocka_unit_test(test_report_json__throttle),
		cmocka_unit_test(test_report_json__more_passes_than_are_kept),
		cmocka_unit_test(test_report_json__guest_that_cannot_judge),
		cmocka_unit_test(test_report_exit__of_each_outcome),
		cmocka_unit_test(test_report_print__bad_verdict_is_loud),
		cmocka_unit_test(test_report_print__empty_object),
		cmocka_unit_test(test_report_progress_json__there_and_back),
		cmocka_unit_test(test_report_file__written_whole_and_no_more),
		cmocka_unit_test(test_report_file_open__full_disk),
		cmocka_unit_test(test_progress_show__never_runs_backwards),
		cmocka_unit_test(test_progress_show__plain_lines_are_few),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
