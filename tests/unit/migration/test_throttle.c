/* SPDX-License-Identifier: BSD-2-Clause */
/* test_throttle.c -- who is slowed, by how much, when, and that it is undone */
#include "migration/source.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>
#include <cmocka.h>

#define MB UINT64_C(1000000)
#define MOST DECANT_THROTTLE_MAX_PERMILLE

/* ---- the plan ---- */

static void test_keep__is_half_of_what_is_carried(void **state)
{
	(void)state;
	assert_int_equal(throttle_keep(100 * MB, 100 * MB), 500);
	assert_int_equal(throttle_keep(100 * MB, 150 * MB), 750);
	assert_int_equal(throttle_keep(50 * MB, 100 * MB), 1000);
	assert_int_equal(throttle_keep(0, 100 * MB), 1000);
	assert_int_equal(throttle_keep(100 * MB, 0), 1000);
	/* a step is no larger than this */
	assert_int_equal(throttle_keep(10000 * MB, 100 * MB), 250);
}

static void test_plan__slows_only_who_dirties(void **state)
{
	struct throttle_vcpu vcpu[3] = { { .pages = 10000 }, { .pages = 10 }, { .pages = 0 } };

	(void)state;
	assert_true(throttle_plan(vcpu, 3, 500));
	assert_in_range(vcpu[0].share, 490, 510);
	assert_int_equal(vcpu[1].share, 0);
	assert_int_equal(vcpu[2].share, 0);
	assert_int_equal(vcpu[0].share_max, vcpu[0].share);
	assert_int_equal(vcpu[2].share_max, 0);
}

static void test_plan__brings_all_above_it_to_one_level(void **state)
{
	struct throttle_vcpu vcpu[3] = { { .pages = 8000 }, { .pages = 4000 }, { .pages = 1000 } };

	(void)state;
	/* 6500 in all: 1000 of the last, 2750 of each other */
	assert_true(throttle_plan(vcpu, 3, 500));
	assert_in_range(vcpu[0].share, 650, 660);
	assert_in_range(vcpu[1].share, 310, 315);
	assert_int_equal(vcpu[2].share, 0);
}

static void test_plan__goes_on_from_the_shares_there_are(void **state)
{
	struct throttle_vcpu vcpu[1] = { { .pages = 1000 } };

	(void)state;
	assert_true(throttle_plan(vcpu, 1, 500));
	assert_true(throttle_plan(vcpu, 1, 500));
	assert_int_equal(vcpu[0].share, 750);
	assert_true(throttle_plan(vcpu, 1, 250));
	assert_in_range(vcpu[0].share, 936, 939);
}

static void test_plan__ends_at_the_cap(void **state)
{
	struct throttle_vcpu vcpu[2] = { { .pages = 1 }, { .pages = UINT32_MAX } };
	int steps = 0;

	(void)state;
	while (throttle_plan(vcpu, 2, 250))
		steps++;
	assert_in_range(steps, 2, 10);
	assert_int_equal(vcpu[0].share, 0);
	assert_int_equal(vcpu[1].share, MOST);
	assert_false(throttle_plan(vcpu, 2, 250));
	assert_false(throttle_plan(vcpu, 0, 250));
}

static void test_plan__gives_time_back_to_who_has_stopped(void **state)
{
	struct throttle_vcpu vcpu[2] = { { .pages = 0, .share = 900, .share_max = 900 }, { .pages = 1000 } };

	(void)state;
	assert_true(throttle_plan(vcpu, 2, 500));
	assert_int_equal(vcpu[0].share, 800);
	assert_true(throttle_plan(vcpu, 2, 500));
	throttle_plan(vcpu, 2, 500);
	throttle_plan(vcpu, 2, 500);
	assert_int_equal(vcpu[0].share, 0);
	assert_int_equal(vcpu[0].share_max, 900);
}

/* ---- the steps, over a VMM of two vCPUs ---- */

struct vmm {
	uint64_t dirtied[2];
	uint32_t share[2];
	unsigned calls;
	int code;     /* of throttle */
	bool unknown; /* nobody knows who dirties */
};

static int vmm_dirtied(void *opaque, uint32_t vcpu, uint64_t *pages, struct decant_error *err)
{
	const struct vmm *vmm = opaque;

	if (vcpu >= 2)
		return decant_error_set(err, -ENOENT, "no such vCPU");
	if (vmm->unknown)
		return decant_error_set(err, -EOPNOTSUPP, "nobody knows");
	*pages = vmm->dirtied[vcpu];
	return 0;
}

static int vmm_throttle(void *opaque, uint32_t vcpu, uint32_t share, struct decant_error *err)
{
	struct vmm *vmm = opaque;

	vmm->calls++;
	if (vmm->code != 0 && share != 0)
		return decant_error_set(err, vmm->code, "told to fail");
	vmm->share[vcpu] = share;
	return 0;
}

/* A limit of 100 ms that a pause does not fit into, and a guest that dirties as much as is carried. */
static void set_up(struct decant_migration *m, struct vmm *vmm)
{
	*vmm = (struct vmm){ .dirtied = { 1000, 0 } };
	memset(m, 0, sizeof(*m));
	m->vmm = vmm;
	m->ops.vcpu_dirtied = vmm_dirtied;
	m->ops.throttle = vmm_throttle;
	m->opts.if_not_converging = DECANT_NOT_CONVERGING_THROTTLE;
	m->opts.max_downtime_ns = 100 * NSEC_PER_MSEC;
	m->forecast.fixed_ns = 10 * NSEC_PER_MSEC;
	m->forecast.stagnant = 2;
	m->now.forecast_downtime_ns = NSEC_PER_SEC;
	m->now.dirty_rate_Bps = m->now.rate_Bps = 100 * MB;
}

static enum forecast_decision step(struct decant_migration *m, enum forecast_decision decision)
{
	struct vmm *vmm = m->vmm;

	assert_int_equal(throttle_step(m, &decision, NULL), 0);
	vmm->dirtied[0] += 1000;
	return decision;
}

static void test_step__waits_until_it_does_not_converge(void **state)
{
	struct decant_migration m;
	struct vmm vmm;

	(void)state;
	set_up(&m, &vmm);
	m.forecast.stagnant = 1;
	assert_int_equal(step(&m, FORECAST_PASS), FORECAST_PASS);
	assert_int_equal(vmm.share[0], 0);
	m.forecast.stagnant = 2;
	assert_int_equal(step(&m, FORECAST_PASS), FORECAST_PASS);
	assert_int_equal(vmm.share[0], 500);
	assert_int_equal(vmm.share[1], 0);
	assert_int_equal(m.now.throttle_permille, 500);
	/* it converges: as it is */
	m.now.dirty_rate_Bps = 40 * MB;
	assert_int_equal(step(&m, FORECAST_PASS), FORECAST_PASS);
	assert_int_equal(vmm.share[0], 500);
	throttle_end(&m);
	throttle_destroy(&m.throttle);
}

static void test_step__leaves_alone_what_it_cannot_help(void **state)
{
	struct decant_migration m;
	struct vmm vmm;

	(void)state;
	set_up(&m, &vmm);
	m.opts.if_not_converging = DECANT_NOT_CONVERGING_ABORT;
	assert_int_equal(step(&m, FORECAST_NEVER), FORECAST_NEVER);
	m.opts.if_not_converging = DECANT_NOT_CONVERGING_THROTTLE;
	m.forecast.fixed_ns = m.opts.max_downtime_ns;
	assert_int_equal(step(&m, FORECAST_NEVER), FORECAST_NEVER);
	m.forecast.fixed_ns = 0;
	m.now.forecast_downtime_ns = m.opts.max_downtime_ns;
	assert_int_equal(step(&m, FORECAST_SWITCH), FORECAST_SWITCH);
	assert_int_equal(step(&m, FORECAST_PASS), FORECAST_PASS);
	assert_int_equal(vmm.calls, 0);
	throttle_destroy(&m.throttle);
}

static void test_step__gives_up_when_nothing_is_left_to_slow(void **state)
{
	struct decant_migration m;
	char text[96];
	struct vmm vmm;
	int steps = 0;

	(void)state;
	set_up(&m, &vmm);
	assert_string_equal(throttle_words(&m, text, sizeof(text)), "");
	while (step(&m, FORECAST_NEVER) == FORECAST_PASS)
		assert_true(++steps < 30);
	assert_int_equal(vmm.share[0], MOST);
	assert_int_equal(vmm.share[1], 0);
	assert_non_null(strstr(throttle_words(&m, text, sizeof(text)), "99.0 %"));
	throttle_end(&m);
	throttle_destroy(&m.throttle);
}

static void test_step__slows_all_alike_where_nobody_knows(void **state)
{
	struct decant_migration m;
	struct vmm vmm;

	(void)state;
	set_up(&m, &vmm);
	vmm.unknown = true;
	assert_int_equal(step(&m, FORECAST_PASS), FORECAST_PASS);
	assert_int_equal(vmm.share[0], 500);
	assert_int_equal(vmm.share[1], 500);
	assert_int_equal(m.now.throttle_alike, 1);
	assert_int_equal(m.now.throttle_vcpus, 2);
	throttle_end(&m);
	throttle_destroy(&m.throttle);
}

static void test_step__that_fails_says_so(void **state)
{
	enum forecast_decision decision = FORECAST_PASS;
	struct decant_error err = DECANT_ERROR_INIT;
	struct decant_migration m;
	struct vmm vmm;

	(void)state;
	set_up(&m, &vmm);
	vmm.code = -EPERM;
	assert_int_equal(throttle_step(&m, &decision, &err), -EPERM);
	assert_non_null(strstr(err.msg, "slowing the vCPUs"));
	throttle_end(&m);
	throttle_destroy(&m.throttle);
}

static void test_end__gives_everyone_its_time_back_once(void **state)
{
	struct decant_migration m;
	struct vmm vmm;

	(void)state;
	set_up(&m, &vmm);
	throttle_end(&m);
	assert_int_equal(vmm.calls, 0);
	step(&m, FORECAST_PASS);
	assert_int_equal(vmm.share[0], 500);
	throttle_end(&m);
	assert_int_equal(vmm.share[0], 0);
	assert_int_equal(m.now.throttle_permille, 0);
	assert_int_equal(m.now.throttle_max_permille, 500);
	assert_true(m.now.throttle_ns > 0);
	vmm.calls = 0;
	throttle_end(&m);
	assert_int_equal(vmm.calls, 0);
	throttle_destroy(&m.throttle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep__is_half_of_what_is_carried),
		cmocka_unit_test(test_plan__slows_only_who_dirties),
		cmocka_unit_test(test_plan__brings_all_above_it_to_one_level),
		cmocka_unit_test(test_plan__goes_on_from_the_shares_there_are),
		cmocka_unit_test(test_plan__ends_at_the_cap),
		cmocka_unit_test(test_plan__gives_time_back_to_who_has_stopped),
		cmocka_unit_test(test_step__waits_until_it_does_not_converge),
		cmocka_unit_test(test_step__leaves_alone_what_it_cannot_help),
		cmocka_unit_test(test_step__gives_up_when_nothing_is_left_to_slow),
		cmocka_unit_test(test_step__slows_all_alike_where_nobody_knows),
		cmocka_unit_test(test_step__that_fails_says_so),
		cmocka_unit_test(test_end__gives_everyone_its_time_back_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
