/* SPDX-License-Identifier: BSD-2-Clause */
/* test_payload.c -- where payloads lie: made places first, then memory of their own, and back */
#include "migration/payload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct payloads payloads;

static int make(void **state)
{
	(void)state;
	return payloads_init(&payloads);
}

static int destroy(void **state)
{
	(void)state;
	payloads_destroy(&payloads);
	return 0;
}

static bool is_slot(const uint8_t *bytes)
{
	return bytes >= payloads.slots && bytes < payloads.slots + (size_t)PAYLOAD_SLOTS * PAYLOAD_SLOT_SIZE;
}

static void test_payloads_take__small_ones_in_slots_of_their_own(void **state)
{
	uint8_t *taken[PAYLOAD_SLOTS];

	(void)state;
	for (unsigned int i = 0; i < PAYLOAD_SLOTS; i++) {
		taken[i] = payloads_take(&payloads, PAYLOAD_SLOT_SIZE);
		assert_true(is_slot(taken[i]));
		memset(taken[i], (int)i, PAYLOAD_SLOT_SIZE);
	}
	for (unsigned int i = 0; i < PAYLOAD_SLOTS; i++) {
		assert_int_equal(taken[i][0], i);
		assert_int_equal(taken[i][PAYLOAD_SLOT_SIZE - 1], i);
		payloads_give(&payloads, taken[i]);
	}
}

static void test_payloads_take__one_more_than_there_are_slots(void **state)
{
	uint8_t *taken[PAYLOAD_SLOTS + 1], *again;

	(void)state;
	for (unsigned int i = 0; i <= PAYLOAD_SLOTS; i++)
		taken[i] = payloads_take(&payloads, i);
	assert_non_null(taken[PAYLOAD_SLOTS]);
	assert_false(is_slot(taken[PAYLOAD_SLOTS]));
	payloads_give(&payloads, taken[7]);
	again = payloads_take(&payloads, 1);
	assert_ptr_equal(again, taken[7]);
	for (unsigned int i = 0; i <= PAYLOAD_SLOTS; i++)
		payloads_give(&payloads, taken[i]);
}

static void test_payloads_reserve__holds_one_at_a_time(void **state)
{
	uint8_t *first, *second, *third;

	(void)state;
	assert_int_equal(payloads_reserve(&payloads, 100000), 0);
	first = payloads_take(&payloads, 100000);
	second = payloads_take(&payloads, 100000);
	assert_ptr_equal(first, payloads.large);
	assert_true(second != first && second != NULL);
	assert_int_equal(payloads_reserve(&payloads, 200000), -EBUSY);
	payloads_give(&payloads, first);
	third = payloads_take(&payloads, 5000);
	assert_ptr_equal(third, first);
	payloads_give(&payloads, second);
	payloads_give(&payloads, third);
	payloads_give(&payloads, NULL);
}

static void test_payloads_reserve__grows_and_never_shrinks(void **state)
{
	uint8_t *bytes;

	(void)state;
	assert_int_equal(payloads_reserve(&payloads, 2000), 0);
	assert_int_equal(payloads_reserve(&payloads, 90000), 0);
	assert_int_equal(payloads_reserve(&payloads, 3000), 0);
	bytes = payloads_take(&payloads, 90000);
	assert_ptr_equal(bytes, payloads.large);
	payloads_give(&payloads, bytes);
}

#define payload_test(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		payload_test(test_payloads_take__small_ones_in_slots_of_their_own),
		payload_test(test_payloads_take__one_more_than_there_are_slots),
		payload_test(test_payloads_reserve__holds_one_at_a_time),
		payload_test(test_payloads_reserve__grows_and_never_shrinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
