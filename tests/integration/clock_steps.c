/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock_steps.c -- the time of day jumps while a guest is migrated, in each of the stages, by hours and by days
 *
 * clock_gettime(), gettimeofday() and time() are this program's own, and the library calls them: so whatever took the time of day for a
 * deadline would wait for days, or not at all. The kernel's own timers on it cannot be stepped here; that is for the VM
 * (tests/vm/time_of_day.py).
 */
#include "integration/rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "wire/wire.h"

#define HOUR 3600
#define DAY (24 * HOUR)

static _Atomic int64_t step_s;

int clock_gettime(clockid_t id, struct timespec *now)
{
	const int ret = (int)syscall(SYS_clock_gettime, id, now);

	if (ret == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		now->tv_sec += atomic_load(&step_s);
	return ret;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec exact;
	const int ret = clock_gettime(CLOCK_REALTIME, &exact);

	(void)zone;
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return ret;
}

time_t time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out != NULL)
		*out = now.tv_sec;
	return now.tv_sec;
}

struct stage {
	const char *name;
	bool at_source;
	enum synthetic_event event;
	unsigned int nth;
};

/* The second load is the one of the hand-over. */
static const struct stage stages[] = {
	{ "creating", false, SYNTHETIC_CREATE, 1 }, { "a pass", true, SYNTHETIC_FETCH, 1 },
	{ "the pause", true, SYNTHETIC_PAUSE, 1 },  { "loading", false, SYNTHETIC_LOAD, 2 },
	{ "the start", false, SYNTHETIC_START, 1 },
};

static const int64_t steps[] = { HOUR, -30 * DAY, -HOUR, 30 * DAY };

struct jump {
	const struct stage *stage;
	int64_t by;
	atomic_bool done;
};

static void jump_there(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	struct jump *jump = opaque;

	(void)vmm;
	if (event != jump->stage->event || nth != jump->stage->nth)
		return;
	atomic_fetch_add(&step_s, jump->by);
	atomic_store(&jump->done, true);
}

static void boot(struct rig *rig, const char *fabric, struct jump *jump)
{
	rig_init(rig, fabric);
	rig->config.region[0].length = 4 * MIB;
	rig->config.wss_first = 0;
	rig->config.wss_pages = 64;
	/* all there are; none of them is to end */
	rig->opts.timeout_ns = 600000 * MS;
	rig->opts.switchover_timeout_ns = 600000 * MS;
	rig->opts.max_downtime_ns = 60000 * MS;
	rig->opts.ask_verdict = true;
	rig->receiver_opts.lease_ns = SCALE(1000, 4000) * MS;
	rig_boot_bare(rig);
	synthetic_set_hook(jump->stage->at_source ? rig->source : rig->destination, jump_there, jump);
	rig_listen(rig);
}

static void migrate_over_a_step(const char *fabric, const struct stage *stage, int64_t by)
{
	struct jump jump = { .stage = stage, .by = by };
	const uint64_t start = clock_now_ns();
	struct rig rig;

	boot(&rig, fabric, &jump);
	rig_migrate(&rig);
	assert_true(atomic_load(&jump.done));
	rig_expect_moved(&rig);
	if (rig.stats.downtime_bound_ns > clock_now_ns() - start || rig.stats.total_ns > clock_now_ns() - start)
		fail_msg("%s, by %lld s: the times are none", stage->name, (long long)by);
	rig_destroy(&rig);
}

static void migrate_over_steps(const char *fabric, size_t count)
{
	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++)
		for (size_t j = 0; j < count; j++)
			migrate_over_a_step(fabric, &stages[i], steps[j]);
}

static void test_migration_run__over_tcp_while_the_time_of_day_jumps(void **state)
{
	(void)state;
	migrate_over_steps("tcp", sizeof(steps) / sizeof(steps[0]));
}

static void test_migration_run__over_loop_while_the_time_of_day_jumps(void **state)
{
	(void)state;
	migrate_over_steps("loop", 2);
}

/* The lease is one of those that must not end, and must not hang: GO never comes, and it ends all the same. */
static void test_receiver_run__lease_ends_while_the_time_of_day_jumps(void **state)
{
	static const struct stage ready = { "ready", false, SYNTHETIC_LOAD, 2 };
	const struct proxy_rule rule = { .type = WIRE_GO, .action = PROXY_CUT };
	struct jump jump = { .stage = &ready, .by = -30 * DAY };
	struct rig rig;

	(void)state;
	boot(&rig, "tcp", &jump);
	rig_add_proxy(&rig);
	proxy_set_rule(rig.proxy, &rule);
	rig_migrate(&rig);
	assert_true(proxy_has_acted(rig.proxy));
	rig_expect_stayed(&rig, 0);
	rig_destroy(&rig);
}

/* Is it this program's clock that the library sees? */
static void test_clock__is_the_one_that_is_stepped(void **state)
{
	struct timespec before, after;
	const uint64_t monotonic = clock_now_ns();

	(void)state;
	clock_gettime(CLOCK_REALTIME, &before);
	atomic_fetch_add(&step_s, 10 * DAY);
	clock_gettime(CLOCK_REALTIME, &after);
	assert_true(after.tv_sec - before.tv_sec >= 10 * DAY);
	assert_true(clock_now_ns() - monotonic < DAY * NSEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock__is_the_one_that_is_stepped),
		cmocka_unit_test(test_migration_run__over_tcp_while_the_time_of_day_jumps),
		cmocka_unit_test(test_migration_run__over_loop_while_the_time_of_day_jumps),
		cmocka_unit_test(test_receiver_run__lease_ends_while_the_time_of_day_jumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
