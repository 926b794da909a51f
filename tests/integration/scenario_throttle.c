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

/* Fewer units of work say nothing of a rate. */
#define UNITS_MIN 50u

/* What was seen when the guest was slowed first, and last. */
struct slowing {
	struct rig *rig;
	uint64_t first_thought, last_thought;
	uint64_t first_twin, last_twin;
	bool cancel;
	bool slowed;
};

/* Does as a thinker does and is no vCPU: what a busy machine takes from the one, it takes from the other. */
static struct {
	pthread_t thread;
	_Atomic bool stop;
	_Atomic uint64_t work;
} twin;

static struct slowing slowing;

static void watch(void *opaque, const struct decant_stats *stats)
{
	struct slowing *seen = opaque;

	if (stats->throttle_permille == 0)
		return;
	seen->slowed |= synthetic_throttled(seen->rig->source);
	seen->last_thought = synthetic_thought(seen->rig->source, 0);
	seen->last_twin = atomic_load(&twin.work);
	if (seen->first_twin == 0) {
		seen->first_twin = seen->last_twin;
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
	for (int i = 0; i < 20000 && synthetic_work(rig->source) < 2 * WSS; i++)
		usleep(1000);
	rig_listen(rig);
}

static void *twin_main(void *opaque)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;

	(void)opaque;
	pthread_mutex_lock(&lock);
	while (!atomic_load(&twin.stop)) {
		const struct timespec next = clock_timespec(clock_deadline_ns(NSEC_PER_MSEC));

		pthread_cond_clockwait(&never, &lock, CLOCK_MONOTONIC, &next);
		atomic_fetch_add(&twin.work, 1);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* A vCPU that were slowed as the other would keep a tenth. */
static void expect_thinker_undisturbed(const struct rig *rig)
{
	const uint64_t thought = slowing.last_thought - slowing.first_thought;
	const uint64_t units = slowing.last_twin - slowing.first_twin;

	if (units < UNITS_MIN)
		return;
	print_message(
		"# the vCPU that does not write kept %.2f of its rate, the one that does was slowed by %u permille\n",
		(double)thought / (double)units, rig->stats.throttle_vcpu_max_permille[0]);
	assert_true(3 * thought > units);
}

void scenario_throttle_converges(struct rig *rig)
{
	begin(rig);
	atomic_store(&twin.work, 1);
	atomic_store(&twin.stop, false);
	assert_int_equal(pthread_create(&twin.thread, NULL, twin_main, NULL), 0);
	rig_migrate(rig);
	atomic_store(&twin.stop, true);
	pthread_join(twin.thread, NULL);

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
