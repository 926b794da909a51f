/* SPDX-License-Identifier: BSD-2-Clause */
/* test_route.c -- which fabric a source takes, over which rails, and why */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "integration/breaker.h"
#include "migration/host.h"
#include "migration/mover_private.h"
#include "migration/rails.h"
#include "migration/route.h"

#define PEER "10.0.0.2:7000"

static struct wire_welcome welcome;
static struct route route;
static struct decant_error err;

/* A destination like this host, with hardware. */
static int set_up(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	const struct decant_log log = { 0 };

	(void)state;
	breaker_reset();
	breaker_hardware(true);
	host_welcome(&welcome, 1, 0);
	rails_welcome(&welcome, rails, &log);
	decant_error_clear(&err);
	return 0;
}

static int memory_node = -1;

static int choose(const char *fabric, const char *rails)
{
	const struct route_opts opts = {
		.memory_node = memory_node,
		.fabric = fabric,
		.rails = rails,
		.peer = PEER,
		.welcome = &welcome,
		.timeout_ns = 1000000000u,
		.wake_fd = -1,
	};

	return route_choose(&opts, &route, &err);
}

static void expect_word(const char *text, const char *word)
{
	if (strstr(text, word) == NULL)
		fail_msg("\"%s\" says nothing of \"%s\"", text, word);
}

static void test_choose__auto_takes_hardware(void **state)
{
	(void)state;
	assert_int_equal(choose("auto", NULL), 0);

	assert_string_equal(route.ops->name, "rdma");
	assert_int_equal(route.pairs, 1);
	assert_false(route.named);
	assert_string_equal(route.reason, "rail0 reaches 127.0.0.1");
}

static void test_choose__near_the_memory(void **state)
{
	struct breaker_counts counts;
	(void)state;

	memory_node = 3;
	assert_int_equal(choose("auto", NULL), 0);
	breaker_counts(&counts);
	assert_int_equal(counts.near_node, 3);
	memory_node = -1;
	assert_int_equal(choose("auto", NULL), 0);
	breaker_counts(&counts);
	assert_int_equal(counts.near_node, -1);
}

static void add_region(struct decant_memory *memory, const char *name, uint64_t pages, int node)
{
	struct decant_region region = DECANT_REGION_INIT;

	snprintf(region.name, sizeof(region.name), "%s", name);
	region.address = (void *)(uintptr_t)DECANT_PAGE_SIZE; /* nobody looks there */
	region.length = pages * DECANT_PAGE_SIZE;
	region.guest_address = (uint64_t)decant_memory_count(memory) << 32;
	region.numa_node = node;
	assert_true(decant_memory_add(memory, &region, NULL) >= 0);
}

static void test_memory_node__where_most_of_it_lies(void **state)
{
	struct decant_mover mover = { 0 };
	struct decant_memory *memory;
	(void)state;

	assert_int_equal(decant_memory_new(&memory, NULL), 0);
	mover.memory = memory;
	add_region(memory, "anywhere", 100, -1);
	assert_int_equal(mover_memory_node(&mover), -1);
	add_region(memory, "a", 3, 1);
	assert_int_equal(mover_memory_node(&mover), 1);
	add_region(memory, "b", 2, 0);
	assert_int_equal(mover_memory_node(&mover), 1);
	add_region(memory, "c", 2, 0);
	assert_int_equal(mover_memory_node(&mover), 0);
	decant_memory_free(memory);
}

static void test_choose__auto_leaves_software(void **state)
{
	(void)state;
	welcome.rail[0].flags = WIRE_RAIL_SOFTWARE;
	assert_int_equal(choose("auto", NULL), 0);

	assert_string_equal(route.ops->name, "tcp");
	assert_int_equal(route.pairs, 0);
	expect_word(route.reason, "no RDMA path: only software");
}

static void test_choose__by_name_takes_software(void **state)
{
	(void)state;
	welcome.rail[0].flags = WIRE_RAIL_SOFTWARE;
	assert_int_equal(choose("rdma", NULL), 0);

	assert_string_equal(route.ops->name, "rdma");
	assert_true(route.named);
}

static void test_choose__a_destination_without_the_feature(void **state)
{
	(void)state;
	welcome.features &= ~HOST_FEATURE_RDMA;
	assert_int_equal(choose("auto", NULL), 0);
	assert_string_equal(route.ops->name, "tcp");
	expect_word(route.reason, PEER " has none");

	assert_int_equal(choose("rdma", NULL), -EOPNOTSUPP);
	expect_word(err.msg, "fabric rdma: ");
}

static void test_choose__a_destination_without_rails(void **state)
{
	(void)state;
	welcome.rails = 0;
	strcpy(welcome.why, "load mlx5_ib");
	assert_int_equal(choose("auto", NULL), 0);
	assert_string_equal(route.ops->name, "tcp");
	expect_word(route.reason, "no RDMA path: " PEER " has none: load mlx5_ib");

	assert_int_equal(choose("rdma", NULL), -ENODEV);
	expect_word(err.msg, "load mlx5_ib");
}

static void test_choose__rails_by_name(void **state)
{
	(void)state;
	assert_int_equal(choose("rdma", "rail0"), 0);
	assert_int_equal(choose("rdma", "rail9"), -ENODEV);
	expect_word(err.msg, "rail9");
	assert_int_equal(choose("auto", "rail9"), 0);
	assert_string_equal(route.ops->name, "tcp");
	expect_word(route.reason, "rail9");
	assert_int_equal(choose("tcp", "rail0"), -EINVAL);
	expect_word(err.msg, "no rails");
}

static void test_choose__others_by_name(void **state)
{
	(void)state;
	assert_int_equal(choose("tcp", NULL), 0);
	assert_string_equal(route.ops->name, "tcp");
	assert_string_equal(route.reason, "as asked for");
	assert_int_equal(choose("ib", NULL), -EINVAL);
	expect_word(err.msg, "auto, rdma, tcp or loop");
	welcome.pid = 1;
	assert_int_equal(choose("loop", NULL), -EINVAL);
	expect_word(err.msg, "inside one process");
	welcome.features &= ~HOST_FEATURE_TCP;
	assert_int_equal(choose("tcp", NULL), -EOPNOTSUPP);
}

/* What WELCOME says is long, and so may be what a fabric says: neither may run over. */
static void test_choose__long_reasons_are_cut(void **state)
{
	(void)state;
	welcome.rails = 0;
	memset(welcome.why, 'w', sizeof(welcome.why) - 1);
	assert_int_equal(choose("auto", NULL), 0);
	assert_int_equal(strlen(route.reason), ROUTE_REASON_MAX - 1);
}

static void test_leave_rails__after_the_beginning(void **state)
{
	struct decant_error why = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&why, -EIO, "the QP is in error");
	assert_int_equal(choose("rdma", NULL), 0);
	assert_int_equal(route_leave_rails(&route, true, &why, &err), 0);

	assert_string_equal(route.ops->name, "tcp");
	assert_int_equal(route.pairs, 0);
	assert_string_equal(route.reason, "RDMA was lost: the QP is in error");
}

static void test_leave_rails__before_it(void **state)
{
	struct decant_error why = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&why, -ENOMEM, "RLIMIT_MEMLOCK");
	assert_int_equal(choose("rdma", NULL), 0);
	assert_int_equal(route_leave_rails(&route, false, &why, &err), -ENOMEM);
	assert_string_equal(err.msg, "fabric rdma: RLIMIT_MEMLOCK");

	assert_int_equal(choose("auto", NULL), 0);
	assert_int_equal(route_leave_rails(&route, false, &why, &err), 0);
	assert_string_equal(route.reason, "RDMA could not begin: RLIMIT_MEMLOCK");
}

static void test_leave_rails__without_any(void **state)
{
	struct decant_error why = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&why, -EIO, "a connection broke");
	assert_int_equal(choose("tcp", NULL), 0);
	assert_int_equal(route_leave_rails(&route, true, &why, &err), 0);
	assert_string_equal(route.ops->name, "tcp");
	assert_string_equal(route.reason, "as asked for");
}

/* There and back, but for the scope, which means nothing to another host. */
static void test_rails__through_welcome(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];

	(void)state;
	assert_int_equal(rails_of_peer(&welcome, rails), 1);
	assert_string_equal(rails[0].device, "rail0");
	assert_int_equal(rails[0].port, 1);
	assert_false(rails[0].software);
	assert_int_equal(rails[0].numa_node, -1);
	assert_int_equal(rails[0].speed_mbps, 1000);
	assert_int_equal(rails[0].address[0], 127);
	assert_int_equal(rails[0].address[3], 1);
}

static void test_rails__none_and_why(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	const struct decant_log log = { 0 };

	(void)state;
	breaker_arm(BREAKER_RAILS, 0);
	assert_int_equal(rails_welcome(&welcome, rails, &log), 0);
	assert_int_equal(welcome.rails, 0);
	expect_word(welcome.why, "taken it out");
}

/* ---- how many channels ---- */

static uint32_t channels_of(uint32_t pairs, uint32_t first_mbps, uint32_t second_mbps)
{
	const struct fabric_ops ops = { .default_channels = 1 };
	const struct route made = {
		.ops = &ops,
		.pairs = pairs,
		.pair[0] = { .local.speed_mbps = first_mbps, .remote.speed_mbps = 400000 },
		.pair[1] = { .local.speed_mbps = 400000, .remote.speed_mbps = second_mbps },
	};

	return route_channels(&made);
}

static void test_channels__one_for_each_rail(void **state)
{
	(void)state;
	assert_int_equal(channels_of(0, 0, 0), 1);
	assert_int_equal(channels_of(1, 100000, 100000), 1);
	assert_int_equal(channels_of(2, 100000, 100000), 2);
	assert_int_equal(channels_of(2, 100000, 50000), 2);
	assert_int_equal(channels_of(2, 0, 0), 2);
}

static void test_channels__none_for_a_rail_that_holds_the_other_up(void **state)
{
	(void)state;
	assert_int_equal(channels_of(2, 100000, 40000), 1);
}

static void test_channels__no_fewer_than_the_fabric_wants(void **state)
{
	const struct route over_tcp = { .ops = &fabric_tcp_ops };

	(void)state;
	assert_int_equal(route_channels(&over_tcp), fabric_tcp_ops.default_channels);
}

/* ---- features ---- */

/* A source that would not use it leaves the destination's devices alone. */
static void test_features__of_a_source(void **state)
{
	(void)state;
	assert_true(route_features("auto") & HOST_FEATURE_RDMA);
	assert_true(route_features("rdma") & HOST_FEATURE_RDMA);
	assert_false(route_features("tcp") & HOST_FEATURE_RDMA);
	assert_true(route_features("tcp") & HOST_FEATURE_TCP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_choose__auto_takes_hardware, set_up),
		cmocka_unit_test_setup(test_choose__near_the_memory, set_up),
		cmocka_unit_test(test_memory_node__where_most_of_it_lies),
		cmocka_unit_test_setup(test_choose__auto_leaves_software, set_up),
		cmocka_unit_test_setup(test_choose__by_name_takes_software, set_up),
		cmocka_unit_test_setup(test_choose__a_destination_without_the_feature, set_up),
		cmocka_unit_test_setup(test_choose__a_destination_without_rails, set_up),
		cmocka_unit_test_setup(test_choose__rails_by_name, set_up),
		cmocka_unit_test_setup(test_choose__others_by_name, set_up),
		cmocka_unit_test_setup(test_choose__long_reasons_are_cut, set_up),
		cmocka_unit_test_setup(test_leave_rails__after_the_beginning, set_up),
		cmocka_unit_test_setup(test_leave_rails__before_it, set_up),
		cmocka_unit_test_setup(test_leave_rails__without_any, set_up),
		cmocka_unit_test_setup(test_rails__through_welcome, set_up),
		cmocka_unit_test_setup(test_rails__none_and_why, set_up),
		cmocka_unit_test_setup(test_channels__one_for_each_rail, set_up),
		cmocka_unit_test_setup(test_channels__none_for_a_rail_that_holds_the_other_up, set_up),
		cmocka_unit_test_setup(test_channels__no_fewer_than_the_fabric_wants, set_up),
		cmocka_unit_test_setup(test_features__of_a_source, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
