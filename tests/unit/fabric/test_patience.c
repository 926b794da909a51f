/* SPDX-License-Identifier: BSD-2-Clause */
/* test_patience.c -- when a wait for completions looks, and when it sleeps */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/rdma/patience.h"
#include "util/clock.h"

#include <cmocka.h>

static void wait_often(struct patience *patience, unsigned times, uint64_t ns)
{
	for (unsigned i = 0; i < times; i++)
		patience_waited(patience, ns);
}

static void test_patience_look_ns__looks_where_waits_are_short(void **state)
{
	struct patience patience = { 0 };

	(void)state;
	assert_true(patience_look_ns(&patience) > 0);
	wait_often(&patience, 100, 10 * NSEC_PER_USEC);
	assert_true(patience_look_ns(&patience) > 0);
	/* never for longer than a sleep would cost */
	assert_true(patience_look_ns(&patience) <= 100 * NSEC_PER_USEC);
}

static void test_patience_look_ns__sleeps_where_waits_are_long(void **state)
{
	struct patience patience = { 0 };

	(void)state;
	wait_often(&patience, 2, NSEC_PER_MSEC);
	assert_int_equal(patience_look_ns(&patience), 0);
	wait_often(&patience, 100, 200 * NSEC_PER_USEC);
	assert_int_equal(patience_look_ns(&patience), 0);
}

static void test_patience_waited__forgets_in_time(void **state)
{
	struct patience patience = { 0 };
	unsigned waits = 0;

	(void)state;
	/* one long wait among short ones changes little, and a second changes soon */
	wait_often(&patience, 10, 5 * NSEC_PER_USEC);
	patience_waited(&patience, 100 * NSEC_PER_SEC);
	while (patience_look_ns(&patience) == 0 && waits++ < 100)
		patience_waited(&patience, 20 * NSEC_PER_USEC);
	assert_in_range(waits, 1, 10);
}

static void test_patience_look_ns__never_over_software(void **state)
{
	struct patience patience = { .never = true };

	(void)state;
	assert_int_equal(patience_look_ns(&patience), 0);
	wait_often(&patience, 100, 1);
	assert_int_equal(patience_look_ns(&patience), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patience_look_ns__looks_where_waits_are_short),
		cmocka_unit_test(test_patience_look_ns__sleeps_where_waits_are_long),
		cmocka_unit_test(test_patience_waited__forgets_in_time),
		cmocka_unit_test(test_patience_look_ns__never_over_software),
	};

	return cmocka_run_group_tests_name("patience", tests, NULL, NULL);
}
