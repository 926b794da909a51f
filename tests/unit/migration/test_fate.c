/* SPDX-License-Identifier: BSD-2-Clause */
/* test_fate.c -- tombstones: kept, found, and the oldest given up first */
#include "migration/fate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void make_id(uint8_t id[16], uint32_t number)
{
	memset(id, 0, 16);
	memcpy(id, &number, sizeof(number));
}

static int set_up(void **state)
{
	struct fate *fate = malloc(sizeof(*fate));

	fate_init(fate);
	*state = fate;
	return 0;
}

static int tear_down(void **state)
{
	fate_destroy(*state);
	free(*state);
	return 0;
}

static void test_fate_get__knows_nothing_of_a_stranger(void **state)
{
	uint8_t id[16];

	make_id(id, 0);
	assert_int_equal(fate_get(*state, id), WIRE_FATE_UNKNOWN);
}

static void test_fate_set__says_what_became_of_a_claim(void **state)
{
	uint8_t id[16], other[16];

	make_id(id, 7);
	make_id(other, 8);
	assert_true(fate_claim(*state, id));
	assert_int_equal(fate_get(*state, id), WIRE_FATE_PENDING);
	assert_true(fate_claim(*state, other));
	fate_set(*state, other, WIRE_FATE_RUNNING);
	fate_set(*state, id, WIRE_FATE_NEVER);
	assert_int_equal(fate_get(*state, id), WIRE_FATE_NEVER);
	assert_int_equal(fate_get(*state, other), WIRE_FATE_RUNNING);
}

/* A copy of a HELLO may get past the door while the first session ends. */
static void test_fate_claim__takes_no_fate_back(void **state)
{
	static const enum wire_fate fates[] = { WIRE_FATE_PENDING, WIRE_FATE_RUNNING, WIRE_FATE_NEVER };
	uint8_t id[16];

	for (uint32_t i = 0; i < 3; i++) {
		make_id(id, i);
		assert_true(fate_claim(*state, id));
		fate_set(*state, id, fates[i]);
		assert_false(fate_claim(*state, id));
		assert_int_equal(fate_get(*state, id), fates[i]);
	}
	fate_set(*state, id, WIRE_FATE_RUNNING);
	fate_set(*state, id, WIRE_FATE_PENDING);
	assert_int_equal(fate_get(*state, id), WIRE_FATE_NEVER);
}

static void test_fate_set__gives_up_the_oldest(void **state)
{
	uint8_t id[16];

	for (uint32_t i = 0; i <= FATES_KEPT; i++) {
		make_id(id, i);
		assert_true(fate_claim(*state, id));
		fate_set(*state, id, WIRE_FATE_NEVER);
	}
	make_id(id, 0);
	assert_int_equal(fate_get(*state, id), WIRE_FATE_UNKNOWN);
	for (uint32_t i = 1; i <= FATES_KEPT; i++) {
		make_id(id, i);
		assert_int_equal(fate_get(*state, id), WIRE_FATE_NEVER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fate_get__knows_nothing_of_a_stranger, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fate_set__says_what_became_of_a_claim, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fate_claim__takes_no_fate_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fate_set__gives_up_the_oldest, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
