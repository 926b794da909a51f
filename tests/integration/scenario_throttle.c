/* SPDX-License-Identifier: BSD-2-Clause */
/* scenario_throttle.c -- a guest that dirties more than the network carries, and is slowed until it fits */
#include "integration/scenarios.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

/* The writer dirties its working set several times in the time in which it is sent once. */
#define WSS SCALE(2048ull, 512ull)
#define BANDWIDTH (SCALE(48, 8) * MIB)
#define DIRTY_RATE SCALE(40000ull, 10000ull)

/* What was seen when the guest was slowed first, and last. */
struct slowing {
	struct rig *rig;
	uint64_t boot_ns;
	uint64_t first_ns, last_ns;
	uint64_t first_thought, last_thought;
	bool cancel;
	bool slowed;
};

static struct slowing slowing;

static void watch(void *opaque, const struct decant_stats *stats)
{
	struct slowing *seen = opaque;

	if (stats->throttle_permille == 0)
		return;
	seen->slowed |= synthetic_throttled(seen->rig->source);
	seen->last_ns = clock_now_ns();
	seen->last_thought = synthetic_thought(seen->rig->source, 0);
	if (seen->first_ns == 0) {
		seen->first_ns = seen->last_ns;
		seen->first_thought = seen->last_thought;
	}
	if (seen->cancel)
		decant_migration_cancel(seen->rig->migration);
}

static void begin(struct rig *rig)
{
	memset(&slowing, 0, sizeof(slowing));
	slowing.rig = rig;
	rig->config.wss_pages = WSS;
	rig->config.rate = DIRTY_RATE;
	rig->config.thinkers = 1;
	rig->opts.bandwidth_Bps = BANDWIDTH;
	/* half of the time that the working set takes */
	rig->opts.max_downtime_ns = SCALE(80, 120) * MS;
	rig->opts.if_not_converging = DECANT_NOT_CONVERGING_THROTTLE;
	rig->opts.progress = watch;
	rig->opts.opaque = &slowing;
	rig_boot_bare(rig);
	slowing.boot_ns = clock_now_ns();
	for (int i = 0; i < 20000 && synthetic_work(rig->source) < 2 * WSS; i++)
		usleep(1000);
	rig_listen(rig);
}

/* It works in steps of a millisecond, so that a busy machine takes little of it; the bound is far from what a slowed one would have. */
static void expect_thinker_undisturbed(const struct rig *rig)
{
	const double before = (double)slowing.first_thought / (double)(slowing.first_ns - slowing.boot_ns);
	const double during = (double)(slowing.last_thought - slowing.first_thought) /
			      (double)(slowing.last_ns - slowing.first_ns);

	print_message(
		"# the vCPU that does not write kept %.2f of its rate, the one that does was slowed by %u permille\n",
		during / before, rig->stats.throttle_vcpu_max_permille[0]);
	assert_true(during > 0.4 * before);
}

void scenario_throttle_converges(struct rig *rig)
{
	begin(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	assert_true(slowing.slowed);
	assert_false(synthetic_throttled(rig->source));
	assert_int_equal(rig->stats.throttle_permille, 0);
	assert_int_equal(rig->stats.throttle_alike, 0);
	assert_int_equal(rig->stats.throttle_vcpus, 2);
	assert_in_range(rig->stats.throttle_vcpu_max_permille[0], 500, DECANT_THROTTLE_MAX_PERMILLE);
	assert_int_equal(rig->stats.throttle_max_permille, rig->stats.throttle_vcpu_max_permille[0]);
	assert_int_equal(rig->stats.throttle_vcpu_max_permille[1], 0);
	assert_true(rig->stats.throttle_ns > 0);
	expect_thinker_undisturbed(rig);
}

void scenario_throttle_cancelled(struct rig *rig)
{
	begin(rig);
	slowing.cancel = true;
	rig_migrate(rig);

	rig_expect_stayed(rig, -ECANCELED);
	assert_true(slowing.slowed);
	assert_false(synthetic_throttled(rig->source));
	assert_true(rig->stats.throttle_max_permille > 0);
}

/* Nobody knows who writes; and the pause, which comes while the guest is slowed, fails. */
void scenario_throttle_with_the_log_and_a_save_that_fails(struct rig *rig)
{
	rig->config.dirty = SYNTHETIC_DIRTY_LOG;
	begin(rig);
	synthetic_set_fault(rig->source, SYNTHETIC_SAVE, -EIO);
	rig_migrate(rig);

	rig_expect_stayed(rig, -EIO);
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 1);
	assert_true(slowing.slowed);
	assert_false(synthetic_throttled(rig->source));
	assert_int_equal(rig->stats.throttle_alike, 1);
	assert_int_equal(rig->stats.throttle_vcpus, 2);
	assert_true(rig->stats.throttle_vcpu_max_permille[0] > 0);
	assert_int_equal(rig->stats.throttle_vcpu_max_permille[1], rig->stats.throttle_vcpu_max_permille[0]);
}
