/* SPDX-License-Identifier: BSD-2-Clause */
/* test_return_path.c -- what the destination's QEMU says, in any split */
#include "qemu/return_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* PONG 1, SWITCHOVER_ACK without anything, SHUT 0 */
static const uint8_t talk[] = { 0, 2, 0, 4, 0, 0, 0, 1, 0, 7, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0 };

static void test_return_path_saw__any_split(void **state)
{
	(void)state;
	for (size_t first = 0; first <= sizeof(talk); first++) {
		for (size_t second = first; second <= sizeof(talk); second++) {
			struct return_path path = { 0 };

			return_path_saw(&path, talk, first);
			return_path_saw(&path, talk + first, second - first);
			assert_int_equal(return_path_loaded(&path), second == sizeof(talk));
			assert_int_equal(return_path_open(&path), second > 0 && second < sizeof(talk));
			return_path_saw(&path, talk + second, sizeof(talk) - second);
			assert_true(return_path_loaded(&path));
			assert_false(path.strange);
		}
	}
}

static void test_return_path_saw__a_load_that_failed(void **state)
{
	static const uint8_t failed[] = { 0, 1, 0, 4, 0, 0, 0, 1 };
	struct return_path path = { 0 };

	(void)state;
	return_path_saw(&path, failed, sizeof(failed));
	assert_true(path.shut);
	assert_int_equal(path.status, 1);
	assert_false(return_path_loaded(&path));
}

/* Bytes inside a message that look like SHUT are none. */
static void test_return_path_saw__what_a_message_carries_is_skipped(void **state)
{
	static const uint8_t message[] = { 0, 4, 0, 12, 0, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 4 };
	struct return_path path = { 0 };

	(void)state;
	return_path_saw(&path, message, sizeof(message));
	assert_false(path.shut || path.strange);
	return_path_saw(&path, talk, sizeof(talk));
	assert_true(return_path_loaded(&path));
}

static void test_return_path_saw__what_is_no_return_path(void **state)
{
	static const uint8_t strange[][8] = {
		{ 0, 0, 0, 4 }, { 0x51, 0x45, 0x56, 0x4d }, { 0, 1, 0, 5 }, { 0, 1, 0, 0 }
	};

	(void)state;
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		struct return_path path = { 0 };

		return_path_saw(&path, strange[i], sizeof(strange[i]));
		return_path_saw(&path, talk, sizeof(talk));
		assert_true(path.strange);
		assert_false(return_path_loaded(&path));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_return_path_saw__any_split),
		cmocka_unit_test(test_return_path_saw__a_load_that_failed),
		cmocka_unit_test(test_return_path_saw__what_a_message_carries_is_skipped),
		cmocka_unit_test(test_return_path_saw__what_is_no_return_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
