/* SPDX-License-Identifier: BSD-2-Clause */
/* test_seldom.c -- what strangers repeat is logged once in a while, and counted */
#include "util/seldom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define START (1000 * NSEC_PER_SEC)

static void test_seldom__says_it_once_and_counts_the_rest(void **state)
{
	struct seldom seldom;
	uint64_t silent = 77;

	(void)state;
	seldom_init(&seldom);
	assert_true(seldom_now(&seldom, "192.0.2.1", -13, START, &silent));
	assert_int_equal(silent, 0);
	for (unsigned int i = 1; i <= 100; i++)
		assert_false(seldom_now(&seldom, "192.0.2.1", -13, START + i, &silent));
	assert_false(seldom_now(&seldom, "192.0.2.1", -13, START + SELDOM_NS - 1, &silent));
	assert_true(seldom_now(&seldom, "192.0.2.1", -13, START + SELDOM_NS, &silent));
	assert_int_equal(silent, 101);
	assert_false(seldom_now(&seldom, "192.0.2.1", -13, START + SELDOM_NS + 1, &silent));
	assert_int_equal(seldom_rest(&seldom), 1);
	assert_int_equal(seldom_rest(&seldom), 0);
	seldom_destroy(&seldom);
}

static void test_seldom__tells_causes_and_addresses_apart(void **state)
{
	struct seldom seldom;
	uint64_t silent;

	(void)state;
	seldom_init(&seldom);
	assert_true(seldom_now(&seldom, "192.0.2.1", -13, START, &silent));
	assert_true(seldom_now(&seldom, "192.0.2.1", -71, START, &silent));
	assert_true(seldom_now(&seldom, "192.0.2.2", -13, START, &silent));
	assert_false(seldom_now(&seldom, "192.0.2.1", -13, START, &silent));
	assert_false(seldom_now(&seldom, "192.0.2.1", -71, START, &silent));
	assert_false(seldom_now(&seldom, "192.0.2.2", -13, START, &silent));
	seldom_destroy(&seldom);
}

/* However many addresses: so many lines in each period, and every one that was not logged is counted in the end. */
static void test_seldom__is_not_outdone_by_many_addresses(void **state)
{
	uint64_t lines = 0, told = 0, silent;
	struct seldom seldom;
	char who[32];

	(void)state;
	seldom_init(&seldom);
	for (unsigned int i = 0; i < 10000; i++) {
		snprintf(who, sizeof(who), "2001:db8::%x", i);
		if (!seldom_now(&seldom, who, -13, START + i * (SELDOM_NS / 5000), &silent))
			continue;
		lines++;
		told += silent;
	}
	assert_true(lines <= 3 * (SELDOM_PLACES + 1));
	assert_int_equal(lines + told + seldom_rest(&seldom), 10000);
	seldom_destroy(&seldom);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seldom__says_it_once_and_counts_the_rest),
		cmocka_unit_test(test_seldom__tells_causes_and_addresses_apart),
		cmocka_unit_test(test_seldom__is_not_outdone_by_many_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
