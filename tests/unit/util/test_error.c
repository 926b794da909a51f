/* SPDX-License-Identifier: BSD-2-Clause */
/* test_error.c -- errors by value, and the log line */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <decant/error.h>

#include "util/log.h"

static void test_error_set__fills_and_returns_the_code(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	errno = EBADF;
	assert_int_equal(decant_error_set(&err, -ENOENT, "open %s: %d", "x", 7), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.msg, "open x: 7");
	assert_int_equal(errno, EBADF);
}

static void test_error_set__null_is_fine(void **state)
{
	(void)state;
	assert_int_equal(decant_error_set(NULL, -EIO, "%s", "nobody listens"), -EIO);
	decant_error_prefix(NULL, "x");
	decant_error_clear(NULL);
}

static void test_error_set__cut_and_terminated(void **state)
{
	struct decant_error err;
	char longer[2 * DECANT_ERROR_MAX];

	(void)state;
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	memset(&err, 0xff, sizeof(err));
	decant_error_set(&err, -EIO, "%s", longer);
	assert_int_equal(strlen(err.msg), DECANT_ERROR_MAX - 1);
}

static void test_error_set__from_its_own_message(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&err, -EIO, "disk");
	decant_error_set(&err, -ENOSPC, "%s is full, %s", err.msg, err.msg);
	assert_string_equal(err.msg, "disk is full, disk");
}

static void test_error_set__one_line_whatever_the_arguments(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&err, -EIO, "peer says \"%s\"", "a\nb\r\nc");
	assert_null(strpbrk(err.msg, "\r\n"));
	decant_error_prefix(&err, "x\ny");
	assert_null(strpbrk(err.msg, "\r\n"));
}

static void test_error_prefix__stacks_and_keeps_the_code(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&err, -EPROTO, "length");
	decant_error_prefix(&err, "message %d", 3);
	decant_error_prefix(&err, "session");
	assert_int_equal(err.code, -EPROTO);
	assert_string_equal(err.msg, "session: message 3: length");
}

static void test_error_prefix__cut_at_every_length(void **state)
{
	char prefix[DECANT_ERROR_MAX + 8];

	(void)state;
	for (size_t n = DECANT_ERROR_MAX - 16; n < sizeof(prefix); n++) {
		struct decant_error err = DECANT_ERROR_INIT;
		size_t expected = n + strlen(": cause");

		memset(prefix, 'p', n);
		prefix[n] = '\0';
		decant_error_set(&err, -EIO, "cause");
		decant_error_prefix(&err, "%s", prefix);
		if (expected > DECANT_ERROR_MAX - 1)
			expected = DECANT_ERROR_MAX - 1;
		assert_int_equal(strlen(err.msg), expected);
		assert_memory_equal(err.msg, prefix, n < expected ? n : expected);
	}
}

static void test_error_clear__back_to_none(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&err, -EIO, "x");
	decant_error_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.msg, "");
}

struct log_seen {
	int lines;
	enum decant_log_level level;
	char text[2048];
};

static void log_keep(void *opaque, enum decant_log_level level, const char *message)
{
	struct log_seen *seen = opaque;

	seen->lines++;
	seen->level = level;
	snprintf(seen->text, sizeof(seen->text), "%s", message);
	errno = ENOTTY;
}

static int count_evaluations(int *count)
{
	return ++*count;
}

static void test_log__level_is_tested_before_formatting(void **state)
{
	struct log_seen seen = { 0 };
	const struct decant_log log = { .fn = log_keep, .opaque = &seen, .level = DECANT_LOG_INFO };
	int evaluated = 0;

	(void)state;
	log_debug(&log, "%d", count_evaluations(&evaluated));
	assert_int_equal(evaluated, 0);
	assert_int_equal(seen.lines, 0);
	log_info(&log, "%d", count_evaluations(&evaluated));
	assert_int_equal(evaluated, 1);
	assert_int_equal(seen.lines, 1);
	assert_int_equal(seen.level, DECANT_LOG_INFO);
	assert_string_equal(seen.text, "1");
}

static void test_log__without_a_target(void **state)
{
	const struct decant_log log = { 0 };
	int evaluated = 0;

	(void)state;
	log_err(&log, "%d", count_evaluations(&evaluated));
	assert_int_equal(evaluated, 0);
	log_write(&log, DECANT_LOG_ERR, "nobody");
}

static void test_log__one_line_cut_and_errno_kept(void **state)
{
	struct log_seen seen = { 0 };
	const struct decant_log log = { .fn = log_keep, .opaque = &seen, .level = DECANT_LOG_DEBUG };
	char longer[1500];

	(void)state;
	memset(longer, '\n', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	errno = EPIPE;
	log_err(&log, "x%s", longer);
	assert_int_equal(errno, EPIPE);
	assert_null(strpbrk(seen.text, "\r\n"));
	assert_true(strlen(seen.text) > 500 && strlen(seen.text) < sizeof(longer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_set__fills_and_returns_the_code),
		cmocka_unit_test(test_error_set__null_is_fine),
		cmocka_unit_test(test_error_set__cut_and_terminated),
		cmocka_unit_test(test_error_set__from_its_own_message),
		cmocka_unit_test(test_error_set__one_line_whatever_the_arguments),
		cmocka_unit_test(test_error_prefix__stacks_and_keeps_the_code),
		cmocka_unit_test(test_error_prefix__cut_at_every_length),
		cmocka_unit_test(test_error_clear__back_to_none),
		cmocka_unit_test(test_log__level_is_tested_before_formatting),
		cmocka_unit_test(test_log__without_a_target),
		cmocka_unit_test(test_log__one_line_cut_and_errno_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
