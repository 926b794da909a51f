/* SPDX-License-Identifier: BSD-2-Clause */
/* test_report_qemu.c -- the report of a QEMU's guest: what is known, what is not, and in words */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "qemu/json.h"
#include "util/clock.h"
#include "vmm/report.h"
#include "vmm/report_qemu.h"

static struct qemu_move_result good_result(void)
{
	return (struct qemu_move_result){
		.outcome = DECANT_STATE_COMPLETED,
		.name = "vm7",
		.sidecar = { .fabric = "tcp",
			     .stream_bytes = 300u << 20,
			     .forwarded_bytes = 320000,
			     .region_bytes = 1u << 28,
			     .drain_ns = 2 * NSEC_PER_MSEC },
		.qemu = { .status = MOVE_STATUS_COMPLETED,
			  .downtime_ns = 9 * NSEC_PER_MSEC,
			  .setup_ns = 4 * NSEC_PER_MSEC,
			  .syncs = 3 },
		.stats = { .size = sizeof(struct decant_stats),
			   .state = DECANT_STATE_COMPLETED,
			   .fabric = "tcp",
			   .fabric_reason = "as asked for",
			   .channels = 2,
			   .ram_bytes = 1ull << 29,
			   .sent_bytes = 100ull << 20,
			   .pages_sent = 25600,
			   .total_ns = 2 * NSEC_PER_SEC,
			   .downtime_bound_ns = 11 * NSEC_PER_MSEC },
	};
}

static struct json_object *make_report(const struct qemu_move_result *result, const char *error)
{
	const struct report_qemu report = { .monitor = "/run/a.qmp",
					    .peer = "host:7",
					    .max_downtime_ns = 300 * NSEC_PER_MSEC,
					    .result = result,
					    .error = error };

	return report_qemu_json(&report);
}

static char *print_report(struct json_object *report)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	report_qemu_print(out, report);
	fclose(out);
	return text;
}

static void expect_words(struct json_object *report, const char *words)
{
	char *text = print_report(report);

	if (strstr(text, words) == NULL)
		fail_msg("\"%s\" is not in: %s", words, text);
	free(text);
}

static struct json_object *member(struct json_object *report, const char *key)
{
	struct json_object *found = NULL;

	json_object_object_get_ex(report, key, &found);
	return found;
}

static void test_report_qemu_json__has_what_is_known(void **state)
{
	const struct qemu_move_result result = good_result();
	struct json_object *report = make_report(&result, NULL);
	(void)state;

	assert_int_equal(json_get_number(report, "decant", 0), REPORT_VERSION);
	assert_string_equal(json_get_text(report, "vm", ""), "vm7");
	assert_string_equal(json_get_text(report, "qmp", ""), "/run/a.qmp");
	assert_string_equal(json_get_text(report, "outcome", ""), "completed");
	assert_string_equal(json_get_text(report, "guest_there", ""), "running");
	assert_null(member(report, "guest_here"));
	assert_int_equal(json_get_number(report, "pages_sent", 0), 25600);
	assert_int_equal((int)json_get_real(report, "downtime_bound_ms", 0), 11);
	assert_int_equal((int)json_get_real(member(report, "qemu"), "downtime_ms", 0), 9);
	assert_int_equal(json_get_number(member(report, "qemu"), "passes", 0), 3);
	assert_int_equal(json_get_number(member(report, "stream"), "forwarded_bytes", 0), 320000);
	assert_int_equal(report_exit(report), EXIT_DONE);
	json_object_put(report);
}

static void test_report_qemu_json__leaves_out_what_is_not_known(void **state)
{
	static const char *const unknown[] = { "downtime_ms",    "clock_error_ms", "verified", "guest_verdict",
					       "guest_pause_ms", "dest_cpu_ms",    "passes" };
	const struct qemu_move_result result = good_result();
	struct json_object *report = make_report(&result, NULL), *none = NULL;
	(void)state;

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_false(json_object_object_get_ex(report, unknown[i], &none));
	assert_false(json_object_object_get_ex(member(report, "qemu"), "total_ms", &none));
	json_object_put(report);
}

static void expect_end(enum decant_migration_state outcome, const char *guest, enum report_exit status,
		       const char *word, const char *words)
{
	struct qemu_move_result result = good_result();
	struct json_object *report;

	result.outcome = outcome;
	snprintf(result.guest, sizeof(result.guest), "%s", guest);
	report = make_report(&result, "why");
	assert_string_equal(json_get_text(report, "outcome", ""), word);
	assert_string_equal(json_get_text(report, "error", ""), "why");
	assert_int_equal(report_exit(report), status);
	expect_words(report, words);
	json_object_put(report);
}

static void test_report_qemu__ends(void **state)
{
	(void)state;
	expect_end(DECANT_STATE_FAILED, "running", EXIT_FAILED, "failed", "the guest is here, as it was");
	expect_end(DECANT_STATE_FAILED, "io-error", EXIT_FAILED, "failed", "says that it is io-error");
	expect_end(DECANT_STATE_CANCELLED, "running", EXIT_FAILED, "cancelled", "migration cancelled");
	expect_end(DECANT_STATE_IN_DOUBT, "", EXIT_IN_DOUBT, "in-doubt", "Settling by hand");
}

static void test_report_qemu_print__a_guest_that_was_paused(void **state)
{
	struct qemu_move_result result = good_result();
	struct json_object *report;
	(void)state;

	result.paused = true;
	report = make_report(&result, NULL);
	assert_string_equal(json_get_text(report, "guest_there", ""), "paused");
	expect_words(report, "paused as it was");
	json_object_put(report);
}

static void test_report_qemu_print__figures(void **state)
{
	struct qemu_move_result result = good_result();
	struct json_object *report = make_report(&result, NULL);
	(void)state;

	expect_words(report, "vm7: migrated to host:7");
	expect_words(report, "3 passes");
	expect_words(report, "tcp, 2 channels");
	expect_words(report, "11.0 ms at most");
	json_object_put(report);

	result.name[0] = '\0';
	result.sidecar.fallback = true;
	report = make_report(&result, NULL);
	expect_words(report, "/run/a.qmp: migrated");
	expect_words(report, "passed through unchanged");
	json_object_put(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_qemu_json__has_what_is_known),
		cmocka_unit_test(test_report_qemu_json__leaves_out_what_is_not_known),
		cmocka_unit_test(test_report_qemu__ends),
		cmocka_unit_test(test_report_qemu_print__a_guest_that_was_paused),
		cmocka_unit_test(test_report_qemu_print__figures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
