/* SPDX-License-Identifier: BSD-2-Clause */
/* test_rail.c -- finding and pairing rails, and telling of them, over the fake: fake0 at 10.77.0.1/24, fake1 at 10.77.1.1/24 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/rdma/rail.h"
#include "support/fake_verbs.h"
#include "util/clock.h"
#include "util/io.h"

#include <decant/rdma.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define CALLS_MAX 200
#define PATIENT (60 * NSEC_PER_SEC)

static struct fake_config config;

static int set_up(void **state)
{
	(void)state;
	config = fake_config_default();
	fake_reset(&config);
	return 0;
}

static int nothing_is_left(void **state)
{
	char leaks[256];

	(void)state;
	fake_plan_set(NULL);
	if (fake_leaks(leaks, sizeof(leaks))[0] != '\0')
		fail_msg("left: %s", leaks);
	return 0;
}

static void reset_with(unsigned devices, uint32_t vendor)
{
	config.devices = devices;
	config.bare_interfaces = 2;
	config.vendor = vendor;
	fake_reset(&config);
}

static struct fabric_rail a_rail(const char *device, uint8_t net, uint8_t host)
{
	struct fabric_rail rail = { .port = 1, .numa_node = -1, .family = AF_INET, .speed_mbps = 100000 };

	snprintf(rail.device, sizeof(rail.device), "%s", device);
	memcpy(rail.address, (const uint8_t[]){ 10, 77, net, host }, 4);
	return rail;
}

/* ---- list ---- */

static void test_rail_list__what_has_a_device_behind_it(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	char text[RAIL_TEXT_MAX];

	(void)state;
	reset_with(2, 0x15b3);
	assert_int_equal(rail_list(rails, FABRIC_RAILS_MAX, NULL), 2);
	assert_string_equal(rail_text(&rails[0], text), "fake0 (10.77.0.1)");
	assert_string_equal(rail_text(&rails[1], text), "fake1 (10.77.1.1)");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rails[i].port, 1);
		assert_int_equal(rails[i].speed_mbps, 100000);
		assert_int_equal(rails[i].numa_node, -1);
		assert_false(rails[i].software);
	}
	assert_int_equal(rail_list(rails, 1, NULL), 1);
}

static void test_rail_list__software_is_known_by_its_vendor(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];

	(void)state;
	reset_with(1, FAKE_VENDOR_RXE);
	assert_int_equal(rail_list(rails, FABRIC_RAILS_MAX, NULL), 1);
	assert_true(rails[0].software);
}

static void test_rail_list__a_port_that_is_down_is_none(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	fake_port_set(0, false);
	assert_int_equal(rail_list(rails, FABRIC_RAILS_MAX, &err), 1);
	assert_string_equal(rails[0].device, "fake1");
	fake_port_set(1, false);
	assert_int_equal(rail_list(rails, FABRIC_RAILS_MAX, &err), -ENETDOWN);
	assert_non_null(strstr(err.msg, "port 1 of the RDMA device fake1 is not active"));
}

static void test_rail_list__no_device(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;
	struct fake_counts counts;

	(void)state;
	reset_with(0, 0);
	assert_true(rail_list(rails, FABRIC_RAILS_MAX, &err) < 0);
	assert_string_not_equal(err.msg, "");
	fake_counts(&counts);
	assert_int_equal(counts.call[FAKE_EVENT_CHANNEL], 0);
}

static void test_rail_list__a_failure_is_no_lack_of_rails(void **state)
{
	const struct fake_plan plan = { .fail[FAKE_QUERY_PORT] = { .nth = 1, .error = ENOSPC, .stays = true } };
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	fake_plan_set(&plan);
	assert_int_equal(rail_list(rails, FABRIC_RAILS_MAX, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "ibv_query_port on fake0"));
}

static void test_rail_list__any_call_may_fail(void **state)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	struct fake_counts counts;
	unsigned nth = 1;

	(void)state;
	do {
		const struct fake_plan plan = { .fail_any = { .nth = nth, .error = ENOMEM } };
		struct decant_error err = DECANT_ERROR_INIT;
		int rc;

		fake_reset(&config);
		fake_plan_set(&plan);
		rc = rail_list(rails, FABRIC_RAILS_MAX, &err);
		fake_counts(&counts);
		assert_true(rc >= 1 || (rc < 0 && err.code == rc && err.msg[0] != '\0'));
		nothing_is_left(NULL);
	} while (counts.failed > 0 && nth++ < CALLS_MAX);
	assert_in_range(nth, 8, CALLS_MAX);
}

/* ---- pairs ---- */

static struct fabric_pair_opts towards(const struct fabric_rail *remote, uint32_t count)
{
	return (struct fabric_pair_opts){
		.remote = remote, .count = count, .near_node = -1, .timeout_ns = PATIENT, .wake_fd = -1
	};
}

static void test_rail_pair__each_with_its_neighbour(void **state)
{
	const struct fabric_rail remote[] = { a_rail("fake1", 1, 1), a_rail("fake0", 0, 1) };
	struct fabric_pair_opts opts = towards(remote, 2);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];

	(void)state;
	assert_int_equal(rail_pair(&opts, pairs, NULL), 2);
	assert_string_equal(pairs[0].local.device, "fake0");
	assert_int_equal(pairs[0].remote_index, 1);
	assert_memory_equal(&pairs[0].remote, &remote[1], sizeof(remote[1]));
	assert_string_equal(pairs[1].local.device, "fake1");
	assert_int_equal(pairs[1].remote_index, 0);
}

static void test_rail_pair__as_asked_for(void **state)
{
	const struct fabric_rail remote[] = { a_rail("fake0", 0, 1), a_rail("fake1", 1, 1) };
	struct fabric_pair_opts opts = towards(remote, 2);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	opts.rails = "fake1";
	assert_int_equal(rail_pair(&opts, pairs, &err), 1);
	assert_string_equal(pairs[0].local.device, "fake1");
	opts.rails = "10.77.1.1=fake1,fake0";
	assert_int_equal(rail_pair(&opts, pairs, &err), 2);
	assert_string_equal(pairs[0].remote.device, "fake1");
	assert_string_equal(pairs[1].remote.device, "fake0");
	opts.rails = "fake0=fake1,fake1=10.77.1.1";
	assert_int_equal(rail_pair(&opts, pairs, &err), -ENETUNREACH);
	opts.rails = "fake7";
	assert_int_equal(rail_pair(&opts, pairs, &err), -EINVAL);
	opts.rails = "fake0,,";
	assert_int_equal(rail_pair(&opts, pairs, &err), -EINVAL);
}

static void test_rail_pair__software_is_left_out_if_told(void **state)
{
	const struct fabric_rail remote = a_rail("fake0", 0, 1);
	struct fabric_pair_opts opts = towards(&remote, 1);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	reset_with(1, FAKE_VENDOR_RXE);
	assert_int_equal(rail_pair(&opts, pairs, &err), 1);
	opts.hardware_only = true;
	assert_int_equal(rail_pair(&opts, pairs, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "fake0 is software"));
}

static void test_rail_pair__nobody_answers(void **state)
{
	const struct fabric_rail remote = a_rail("fake0", 0, 200);
	struct fabric_pair_opts opts = towards(&remote, 1);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t begin_ns = clock_now_ns();

	(void)state;
	opts.rails = "fake0";
	opts.timeout_ns = 100 * NSEC_PER_MSEC;
	assert_int_equal(rail_pair(&opts, pairs, &err), -ENETUNREACH);
	assert_non_null(strstr(err.msg, "no way from fake0 (10.77.0.1) to the destination's rail 10.77.0.200"));
	assert_non_null(strstr(err.msg, "does not answer"));
	assert_true(clock_now_ns() - begin_ns >= 100 * NSEC_PER_MSEC);
}

static void test_rail_pair__ends_at_once_when_it_is_woken(void **state)
{
	const struct fabric_rail remote = a_rail("fake0", 0, 200);
	struct fabric_pair_opts opts = towards(&remote, 1);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t begin_ns = clock_now_ns();

	(void)state;
	opts.wake_fd = io_wake_new();
	io_wake_set(opts.wake_fd);
	assert_int_equal(rail_pair(&opts, pairs, &err), -ECANCELED);
	assert_true(clock_now_ns() - begin_ns < PATIENT / 2);
	close(opts.wake_fd);
}

static void test_rail_pair__does_not_wait_long_for_a_second(void **state)
{
	const struct fabric_rail remote[] = { a_rail("fake0", 0, 1), a_rail("gone", 1, 200) };
	struct fabric_pair_opts opts = towards(remote, 2);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];

	(void)state;
	assert_int_equal(rail_pair(&opts, pairs, NULL), 1);
	assert_string_equal(pairs[0].local.device, "fake0");
	assert_int_equal(pairs[0].remote_index, 0);
}

static void test_rail_pair__no_route(void **state)
{
	const struct fabric_rail remote = a_rail("fake0", 0, 1);
	const struct fake_plan plan = { .no_route = true };
	struct fabric_pair_opts opts = towards(&remote, 1);
	struct fabric_pair pairs[FABRIC_PAIRS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	fake_plan_set(&plan);
	assert_int_equal(rail_pair(&opts, pairs, &err), -ENETUNREACH);
	assert_non_null(strstr(err.msg, "--rail LOCAL=REMOTE"));
	assert_int_equal(rail_pair(&(struct fabric_pair_opts){ .near_node = -1,
							       .timeout_ns = PATIENT,
							       .wake_fd = -1 },
				   pairs, &err),
			 -ENODEV);
	assert_non_null(strstr(err.msg, "the destination has no usable RDMA rail"));
}

static void test_rail_pair__any_call_may_fail(void **state)
{
	const struct fabric_rail remote[] = { a_rail("fake0", 0, 1), a_rail("fake1", 1, 1) };
	struct fabric_pair_opts opts = towards(remote, 2);
	struct fake_counts counts;
	unsigned nth = 1;

	(void)state;
	do {
		const struct fake_plan plan = { .fail_any = { .nth = nth, .error = ENOMEM } };
		struct fabric_pair pairs[FABRIC_PAIRS_MAX];
		struct decant_error err = DECANT_ERROR_INIT;
		int rc;

		fake_reset(&config);
		fake_plan_set(&plan);
		rc = rail_pair(&opts, pairs, &err);
		fake_counts(&counts);
		assert_true(rc >= 1 || (rc < 0 && err.code == rc && err.msg[0] != '\0'));
		nothing_is_left(NULL);
	} while (counts.failed > 0 && nth++ < CALLS_MAX);
	assert_in_range(nth, 20, CALLS_MAX);
}

/* ---- addresses ---- */

static void test_rail_sockaddr__of_either_family(void **state)
{
	struct fabric_pair pair = { .local = { .family = AF_INET6, .scope_id = 7 },
				    .remote = { .family = AF_INET6, .address = { 0xfe, 0x80, [15] = 2 } } };
	struct fabric_rail neither = { .family = AF_UNIX };
	struct sockaddr_storage address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
	struct fabric_rail rail = a_rail("fake0", 3, 4);

	(void)state;
	assert_int_equal(rail_sockaddr(&rail, 7000, &address), sizeof(*v4));
	assert_int_equal(v4->sin_port, htons(7000));
	assert_int_equal(ntohl(v4->sin_addr.s_addr), 0x0a4d0304);
	assert_int_equal(rail_remote_sockaddr(&pair, 7000, &address), sizeof(*v6));
	assert_int_equal(v6->sin6_scope_id, 7);
	assert_int_equal(v6->sin6_port, htons(7000));
	pair.remote.address[0] = 0xfd;
	rail_remote_sockaddr(&pair, 0, &address);
	assert_int_equal(v6->sin6_scope_id, 0);
	assert_int_equal(rail_sockaddr(&neither, 0, &address), 0);
}

/* ---- decant/rdma.h ---- */

struct seen {
	unsigned usable, troubled;
	char device[32], address[64], trouble[DECANT_ERROR_MAX];
};

/* A host that runs the tests may have ports of its own. */
static void see(void *opaque, const struct decant_rdma_port *port)
{
	struct seen *seen = opaque;

	if (strncmp(port->device, "fake", 4) != 0)
		return;
	assert_int_equal(port->usable, port->trouble == NULL);
	assert_int_equal(port->usable, port->address_count > 0);
	seen->usable += port->usable;
	seen->troubled += !port->usable;
	snprintf(seen->device, sizeof(seen->device), "%s", port->device);
	if (port->usable)
		snprintf(seen->address, sizeof(seen->address), "%s", port->addresses[0]);
}

static void test_decant_rdma_ports__as_a_migration_would_find_them(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(decant_rdma_ports(see, &seen, NULL), 2);
	assert_int_equal(seen.usable, 2);
	assert_string_equal(seen.device, "fake1");
	assert_string_equal(seen.address, "10.77.1.1");
	fake_port_set(0, false);
	fake_port_set(1, false);
	assert_int_equal(decant_rdma_ports(NULL, NULL, &err), -ENETDOWN);
	assert_int_equal(err.code, -ENETDOWN);
}

static void test_decant_rdma_get_limits__of_an_older_caller(void **state)
{
	struct decant_rdma_limits limits = { .size = offsetof(struct decant_rdma_limits, pinned_bytes),
					     .pinned_bytes = 1234567 };

	(void)state;
	decant_rdma_get_limits(&limits);
	assert_int_equal(limits.pinned_bytes, 1234567);
	assert_int_equal(limits.size, offsetof(struct decant_rdma_limits, pinned_bytes));
	assert_true(limits.memlock_bytes > 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, nothing_is_left)
	const struct CMUnitTest tests[] = {
		CASE(test_rail_list__what_has_a_device_behind_it),
		CASE(test_rail_list__software_is_known_by_its_vendor),
		CASE(test_rail_list__a_port_that_is_down_is_none),
		CASE(test_rail_list__no_device),
		CASE(test_rail_list__a_failure_is_no_lack_of_rails),
		CASE(test_rail_list__any_call_may_fail),
		CASE(test_rail_pair__each_with_its_neighbour),
		CASE(test_rail_pair__as_asked_for),
		CASE(test_rail_pair__software_is_left_out_if_told),
		CASE(test_rail_pair__nobody_answers),
		CASE(test_rail_pair__ends_at_once_when_it_is_woken),
		CASE(test_rail_pair__does_not_wait_long_for_a_second),
		CASE(test_rail_pair__no_route),
		CASE(test_rail_pair__any_call_may_fail),
		CASE(test_rail_sockaddr__of_either_family),
		CASE(test_decant_rdma_ports__as_a_migration_would_find_them),
		CASE(test_decant_rdma_get_limits__of_an_older_caller),
	};
#undef CASE

	return cmocka_run_group_tests_name("rail", tests, NULL, NULL);
}
