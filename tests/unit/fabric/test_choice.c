/* SPDX-License-Identifier: BSD-2-Clause */
/* test_choice.c -- --rail taken apart, and which pairs of rails are tried and taken */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/rdma/choice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HARDWARE false
#define SOFTWARE true

/* Two hosts, to be filled by each test. */
struct hosts {
	struct fabric_rail local[FABRIC_RAILS_MAX], remote[FABRIC_RAILS_MAX];
	uint8_t prefix[FABRIC_RAILS_MAX];
	struct choice_ends ends;
	struct choice_wishes wishes;
	struct choice_candidate candidates[CHOICE_CANDIDATES_MAX];
	struct decant_error err;
};

static struct hosts no_hosts(void)
{
	return (struct hosts){ .ends = { .near_node = -1 } };
}

static struct fabric_rail rail(const char *device, const char *address, bool software, uint32_t speed_mbps)
{
	struct fabric_rail made = { .port = 1, .software = software, .numa_node = -1, .speed_mbps = speed_mbps };

	snprintf(made.device, sizeof(made.device), "%s", device);
	made.family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
	assert_int_equal(inet_pton(made.family, address, made.address), 1);
	return made;
}

static struct fabric_rail *add_local(struct hosts *hosts, const char *device, const char *address)
{
	hosts->prefix[hosts->ends.local_count] = 24;
	hosts->local[hosts->ends.local_count] = rail(device, address, HARDWARE, 100000);
	return &hosts->local[hosts->ends.local_count++];
}

static struct fabric_rail *add_remote(struct hosts *hosts, const char *device, const char *address)
{
	hosts->remote[hosts->ends.remote_count] = rail(device, address, HARDWARE, 100000);
	return &hosts->remote[hosts->ends.remote_count++];
}

static int order(struct hosts *hosts, const char *wishes)
{
	int rc = choice_parse(wishes, &hosts->wishes, &hosts->err);

	hosts->ends.local = hosts->local;
	hosts->ends.remote = hosts->remote;
	hosts->ends.local_prefix = hosts->prefix;
	return rc < 0 ? rc : choice_candidates(&hosts->ends, &hosts->wishes, hosts->candidates, &hosts->err);
}

/* "0-1" is local rail 0 to remote rail 1 */
static void assert_order(const struct hosts *hosts, int count, const char *expected)
{
	char text[CHOICE_CANDIDATES_MAX * 4 + 1] = "";
	size_t used = 0;

	for (int i = 0; i < count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u-%u", i == 0 ? "" : " ",
					 hosts->candidates[i].local, hosts->candidates[i].remote);
	assert_string_equal(text, expected);
}

/* ---- parsing ---- */

static void test_choice_parse__good(void **state)
{
	static const struct {
		const char *text;
		struct choice_wishes wishes;
	} cases[] = {
		{ NULL, { 0 } },
		{ "mlx5_0", { 1, { { "mlx5_0", "" } } } },
		{ "mlx5_0=mlx5_1", { 1, { { "mlx5_0", "mlx5_1" } } } },
		{ "10.9.0.1=10.9.0.2,fd00::1", { 2, { { "10.9.0.1", "10.9.0.2" }, { "fd00::1", "" } } } },
		{ "a=c,b=c", { 2, { { "a", "c" }, { "b", "c" } } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct choice_wishes wishes;

		assert_int_equal(choice_parse(cases[i].text, &wishes, NULL), 0);
		assert_int_equal(wishes.count, cases[i].wishes.count);
		for (uint32_t j = 0; j < wishes.count; j++) {
			assert_string_equal(wishes.wish[j].local, cases[i].wishes.wish[j].local);
			assert_string_equal(wishes.wish[j].remote, cases[i].wishes.wish[j].remote);
		}
	}
}

static void test_choice_parse__bad_is_told(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
		{ "", "a name is missing" },
		{ ",", "a name is missing" },
		{ "a,", "a name is missing" },
		{ ",a", "a name is missing" },
		{ "=b", "a name is missing" },
		{ "a=", "a name is missing" },
		{ "a=b=c", "two '='" },
		{ "a,b,c", "at most 2 pairs" },
		{ "a=b,a=c", "a is there twice" },
		{ "0123456789012345678901234567890123456789012345678901234567890123", "too long" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct choice_wishes wishes;

		assert_int_equal(choice_parse(cases[i].text, &wishes, &err), -EINVAL);
		if (strstr(err.msg, cases[i].told) == NULL || strstr(err.msg, "--rail") == NULL)
			fail_msg("'%s': %s", cases[i].text, err.msg);
	}
}

/* ---- order ---- */

static void test_choice_candidates__hardware_before_software(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "rxe0", "10.9.0.1")->software = true;
	add_local(&hosts, "mlx5_0", "10.8.0.1");
	add_remote(&hosts, "rxe0", "10.9.0.2")->software = true;
	add_remote(&hosts, "mlx5_0", "10.7.0.2");
	assert_order(&hosts, order(&hosts, NULL), "1-1 0-0 0-1");
}

static void test_choice_candidates__one_subnet_before_speed(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1")->speed_mbps = 400000;
	add_local(&hosts, "mlx5_1", "10.8.0.1");
	add_remote(&hosts, "mlx5_0", "10.8.0.2")->speed_mbps = 400000;
	add_local(&hosts, "mlx5_1", "10.7.0.1");
	add_remote(&hosts, "mlx5_1", "10.6.0.2")->speed_mbps = 400000;
	assert_order(&hosts, order(&hosts, NULL), "1-0 0-1 1-1 2-0 2-1");
	hosts.prefix[1] = 0; /* not known */
	assert_order(&hosts, order(&hosts, NULL), "0-0 0-1 1-0 1-1 2-0 2-1");
}

static void test_choice_candidates__not_into_the_subnet_of_another_device(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_local(&hosts, "mlx5_1", "10.8.0.1");
	add_remote(&hosts, "mlx5_0", "10.9.0.2");
	add_remote(&hosts, "mlx5_1", "10.8.0.2");
	assert_order(&hosts, order(&hosts, NULL), "0-0 1-1");
	assert_order(&hosts, order(&hosts, "mlx5_0=mlx5_1"), "0-1"); /* who asks for it knows the network */
}

static void test_choice_candidates__subnet_ends_inside_a_byte(void **state)
{
	static const struct {
		uint8_t prefix;
		const char *remote;
		bool same;
	} cases[] = { { 20, "10.9.15.2", true }, { 20, "10.9.16.2", false }, { 32, "10.9.0.1", true },
		      { 32, "10.9.0.2", false }, { 33, "10.9.0.1", false },  { 1, "100.0.0.1", true },
		      { 1, "200.0.0.1", false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hosts hosts = no_hosts();

		add_local(&hosts, "far", "11.9.0.1")->speed_mbps = 200000;
		add_local(&hosts, "near", "10.9.0.1");
		add_remote(&hosts, "mlx5_0", cases[i].remote)->speed_mbps = 200000;
		hosts.prefix[0] = 32;
		hosts.prefix[1] = cases[i].prefix;
		assert_order(&hosts, order(&hosts, NULL), cases[i].same ? "1-0" : "0-0 1-0");
	}
}

static void test_choice_candidates__speed_is_the_slower_end(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1")->speed_mbps = 400000;
	add_local(&hosts, "mlx5_1", "10.9.0.2")->speed_mbps = 200000;
	add_remote(&hosts, "slow", "10.9.0.3")->speed_mbps = 25000;
	add_remote(&hosts, "fast", "10.9.0.4")->speed_mbps = 400000;
	assert_order(&hosts, order(&hosts, NULL), "0-1 1-1 0-0 1-0");
}

static void test_choice_candidates__the_nearer_of_equals(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1")->numa_node = 0;
	add_local(&hosts, "mlx5_1", "10.9.0.2")->numa_node = 1;
	add_remote(&hosts, "mlx5_0", "10.9.0.3");
	hosts.ends.near_node = 1;
	assert_order(&hosts, order(&hosts, NULL), "1-0 0-0");
	hosts.ends.near_node = 0;
	assert_order(&hosts, order(&hosts, NULL), "0-0 1-0");
}

static void test_choice_candidates__only_of_one_kind_of_address(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "fe80::1");
	add_local(&hosts, "mlx5_0", "fd00::1");
	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_remote(&hosts, "mlx5_0", "10.9.0.2");
	add_remote(&hosts, "mlx5_0", "fe80::2");
	add_remote(&hosts, "mlx5_0", "fd00::2");
	assert_order(&hosts, order(&hosts, NULL), "1-2 2-0 0-1");
}

static void test_choice_candidates__what_was_asked_for(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_local(&hosts, "mlx5_1", "10.8.0.1");
	add_remote(&hosts, "mlx5_0", "10.9.0.2");
	add_remote(&hosts, "mlx5_1", "fd00::2");
	add_remote(&hosts, "mlx5_1", "10.8.0.2");
	assert_order(&hosts, order(&hosts, "mlx5_1"), "1-2 1-0");
	assert_order(&hosts, order(&hosts, "10.9.0.1=10.8.0.2"), "0-2");
	assert_order(&hosts, order(&hosts, "mlx5_1=mlx5_0,mlx5_0=mlx5_1"), "1-0 0-2");
}

static void test_choice_candidates__a_name_that_is_not_there(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_remote(&hosts, "mlx5_1", "10.9.0.2");
	assert_int_equal(order(&hosts, "mlx5_1"), -EINVAL);
	assert_non_null(
		strstr(hosts.err.msg, "this host has no usable RDMA rail 'mlx5_1'; it has mlx5_0 (10.9.0.1)"));
	assert_int_equal(order(&hosts, "mlx5_0=10.9.0.1"), -EINVAL);
	assert_non_null(
		strstr(hosts.err.msg, "the destination has no usable RDMA rail '10.9.0.1'; it has mlx5_1"));
}

static void test_choice_candidates__hardware_only(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	hosts.ends.hardware_only = true;
	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_remote(&hosts, "rxe0", "10.9.0.2")->software = true;
	assert_int_equal(order(&hosts, NULL), -ENODEV);
	assert_non_null(strstr(hosts.err.msg, "the destination's rxe0 is software"));
	add_remote(&hosts, "mlx5_0", "10.9.0.3");
	assert_order(&hosts, order(&hosts, NULL), "0-1");
}

static void test_choice_candidates__no_common_family(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_remote(&hosts, "mlx5_0", "fd00::1");
	assert_int_equal(order(&hosts, NULL), -ENETUNREACH);
	assert_non_null(strstr(hosts.err.msg, "here mlx5_0 (10.9.0.1), there mlx5_0 (fd00::1)"));
}

static void test_choice_candidates__as_many_as_there_can_be(void **state)
{
	struct hosts hosts = no_hosts();

	(void)state;
	for (unsigned i = 0; i < FABRIC_RAILS_MAX; i++) {
		char address[16], device[16];

		snprintf(device, sizeof(device), "mlx5_%u", i);
		snprintf(address, sizeof(address), "10.9.%u.1", i);
		add_local(&hosts, device, address);
		hosts.prefix[i] = 16;
		snprintf(address, sizeof(address), "10.9.%u.2", i);
		add_remote(&hosts, device, address);
	}
	assert_int_equal(order(&hosts, NULL), CHOICE_CANDIDATES_MAX);
}

/* ---- picking ---- */

/* two hosts with two rails each, all in one subnet: 0-0 0-1 1-0 1-1 */
static struct hosts square(const char *wishes)
{
	struct hosts hosts = no_hosts();

	add_local(&hosts, "mlx5_0", "10.9.0.1");
	add_local(&hosts, "mlx5_1", "10.9.0.2");
	add_remote(&hosts, "mlx5_0", "10.9.0.3");
	add_remote(&hosts, "mlx5_1", "10.9.0.4");
	assert_true(order(&hosts, wishes) > 0);
	return hosts;
}

static void assert_pick(struct hosts *hosts, const char *states, const char *expected, bool settled)
{
	uint32_t picked[FABRIC_PAIRS_MAX];
	struct hosts taken = *hosts;
	bool is_settled;
	uint32_t count;

	for (size_t i = 0; i < strlen(states); i++)
		hosts->candidates[i].state = states[i] == 'r'   ? CHOICE_REACHED
					     : states[i] == 'f' ? CHOICE_FAILED
								: CHOICE_PENDING;
	hosts->ends.local = hosts->local;
	hosts->ends.remote = hosts->remote;
	count = choice_pick(&hosts->ends, &hosts->wishes, hosts->candidates, (uint32_t)strlen(states), picked,
			    &is_settled);
	for (uint32_t i = 0; i < count; i++)
		taken.candidates[i] = hosts->candidates[picked[i]];
	assert_order(&taken, (int)count, expected);
	assert_int_equal(is_settled, settled);
}

static void test_choice_pick__each_device_serves_once(void **state)
{
	struct hosts hosts = square(NULL);

	(void)state;
	assert_pick(&hosts, "rrrr", "0-0 1-1", true);
	assert_pick(&hosts, "frrr", "0-1 1-0", true);
	assert_pick(&hosts, "ffrr", "1-0", true);
	assert_pick(&hosts, "ffff", "", true);
}

static void test_choice_pick__waits_for_what_may_change_it(void **state)
{
	struct hosts hosts = square(NULL);

	(void)state;
	assert_pick(&hosts, "pppp", "", false);
	assert_pick(&hosts, "prrp", "0-1 1-0", false);
	assert_pick(&hosts, "rppf", "0-0", true); /* both that are under way share a device with what is taken */
	assert_pick(&hosts, "rppp", "0-0", false);
	assert_pick(&hosts, "rppr", "0-0 1-1", true);
}

static void test_choice_pick__one_pair_a_wish(void **state)
{
	struct hosts hosts = square("mlx5_0=mlx5_0,mlx5_1");

	(void)state;
	assert_order(&hosts, 3, "0-0 1-0 1-1");
	assert_pick(&hosts, "rrr", "0-0 1-1", true);
	hosts = square("mlx5_0");
	assert_order(&hosts, 2, "0-0 0-1");
	assert_pick(&hosts, "rr", "0-0", true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice_parse__good),
		cmocka_unit_test(test_choice_parse__bad_is_told),
		cmocka_unit_test(test_choice_candidates__hardware_before_software),
		cmocka_unit_test(test_choice_candidates__one_subnet_before_speed),
		cmocka_unit_test(test_choice_candidates__not_into_the_subnet_of_another_device),
		cmocka_unit_test(test_choice_candidates__subnet_ends_inside_a_byte),
		cmocka_unit_test(test_choice_candidates__speed_is_the_slower_end),
		cmocka_unit_test(test_choice_candidates__the_nearer_of_equals),
		cmocka_unit_test(test_choice_candidates__only_of_one_kind_of_address),
		cmocka_unit_test(test_choice_candidates__what_was_asked_for),
		cmocka_unit_test(test_choice_candidates__a_name_that_is_not_there),
		cmocka_unit_test(test_choice_candidates__hardware_only),
		cmocka_unit_test(test_choice_candidates__no_common_family),
		cmocka_unit_test(test_choice_candidates__as_many_as_there_can_be),
		cmocka_unit_test(test_choice_pick__each_device_serves_once),
		cmocka_unit_test(test_choice_pick__waits_for_what_may_change_it),
		cmocka_unit_test(test_choice_pick__one_pair_a_wish),
	};

	return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}
