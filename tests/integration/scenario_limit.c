/* SPDX-License-Identifier: BSD-2-Clause */
/* scenario_limit.c -- bounds, cancelling, and a source that fails: the guest must not notice */
#include "integration/scenarios.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

/* Only a lower bound for the time: a busy machine may be as slow as it likes. */
void scenario_bandwidth(struct rig *rig)
{
	const uint64_t bandwidth = HOLE_FIRST * PAGE; /* so it takes a second */

	rig->config.writers = 0;
	rig->opts.bandwidth_Bps = bandwidth;
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_true(rig->stats.total_ns >= rig->stats.sent_bytes * 9 / 10 * 1000 / (bandwidth / 1000000));
	assert_true(rig->stats.throughput_Bps <= bandwidth * 11 / 10);
}

/* A guest that has only just begun is quiet. */
static void await_sweep(const struct rig *rig)
{
	for (int i = 0; i < 20000 && synthetic_work(rig->source) < 2 * rig->config.wss_pages; i++)
		usleep(1000);
	assert_true(synthetic_work(rig->source) >= 2 * rig->config.wss_pages);
}

void scenario_downtime_out_of_reach(struct rig *rig)
{
	rig->config.rate = 0;
	rig->config.wss_pages = SCALE(4096, 1024);
	rig->config.wss_first = 0;
	rig->opts.bandwidth_Bps = SCALE(32, 8) * MIB;
	rig->opts.max_downtime_ns = 20 * MS;
	rig_boot_bare(rig);
	await_sweep(rig);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_stayed(rig, 0);
	assert_non_null(strstr(rig->err.msg, "/s"));
	assert_non_null(strstr(rig->err.msg, "downtime"));
	assert_non_null(strstr(rig->err.msg, "--if-not-converging throttle"));
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 0);
	rig->opts.bandwidth_Bps = 0;
	rig->opts.max_downtime_ns = 60000 * MS;
	rig_expect_usable(rig);
}

void scenario_timeout(struct rig *rig)
{
	rig->opts.bandwidth_Bps = 1 * MIB;
	rig->opts.timeout_ns = 300 * MS;
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_stayed(rig, -ETIMEDOUT);
	assert_true(rig->stats.total_ns < 5000 * MS);
	rig->opts.bandwidth_Bps = 0;
	rig->opts.timeout_ns = 0;
	rig_expect_usable(rig);
}

/* The destination loads once to see what that takes; this is about the load in the pause. */
static void be_slow_in_the_pause(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	if (event == SYNTHETIC_LOAD)
		synthetic_set_delay(vmm, SYNTHETIC_LOAD, nth == 2 ? 4000 : 0);
}

void scenario_switchover_timeout(struct rig *rig)
{
	rig->opts.switchover_timeout_ns = SCALE(300, 1500) * MS;
	rig_boot(rig);
	synthetic_set_hook(rig->destination, be_slow_in_the_pause, NULL);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_stayed(rig, -ETIMEDOUT);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_LOAD), 2);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
	rig->opts.switchover_timeout_ns = 20000 * MS;
	rig_expect_usable(rig);
}

void scenario_cancel_before_run(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	assert_int_equal(decant_migration_new(&rig->opts, synthetic_ops(), rig->source,
					      synthetic_memory(rig->source), &rig->migration, &rig->err),
			 0);
	decant_migration_cancel(rig->migration);
	rig->ret = decant_migration_run(rig->migration, &rig->err);
	rig->stats.size = sizeof(rig->stats);
	decant_migration_get_stats(rig->migration, &rig->stats);

	rig_expect_stayed(rig, -ECANCELED);
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 0);
	rig_expect_usable(rig);
}

struct cancel_at {
	struct rig *rig;
	enum synthetic_event event;
	unsigned nth;
};

static void cancel_hook(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	const struct cancel_at *at = opaque;

	(void)vmm;
	if (event == at->event && nth == at->nth)
		rig_cancel_from_outside(at->rig);
}

static void cancel_when(struct rig *rig, bool at_source, enum synthetic_event event, unsigned nth)
{
	struct cancel_at at = { rig, event, nth };

	rig->opts.max_downtime_ns = 60000 * MS;
	rig_boot(rig);
	synthetic_set_hook(at_source ? rig->source : rig->destination, cancel_hook, &at);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_stayed(rig, -ECANCELED);
	rig_expect_usable(rig);
}

void scenario_cancel_in_setup(struct rig *rig)
{
	cancel_when(rig, false, SYNTHETIC_CREATE, 1);
}

void scenario_cancel_in_precopy(struct rig *rig)
{
	cancel_when(rig, true, SYNTHETIC_FETCH, 1);
}

void scenario_cancel_in_pause(struct rig *rig)
{
	cancel_when(rig, true, SYNTHETIC_PAUSE, 1);
}

/* The second load: the one in the pause. */
void scenario_cancel_while_loading(struct rig *rig)
{
	cancel_when(rig, false, SYNTHETIC_LOAD, 2);
}

void scenario_cancel_after_the_end(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);
	decant_migration_cancel(rig->migration);

	rig_expect_moved(rig);
}

/* ---- in the same instant as GO ---- */

/* The destination is about to be READY; from there on it is a few messages to GO, and some microseconds more to the start. */
struct race {
	struct rig *rig;
	uint64_t delay_ns;
	_Atomic uint64_t loaded_ns, started_ns; /* 0: not yet */
};

static void note_times(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	struct race *race = opaque;

	(void)vmm;
	if (event == SYNTHETIC_LOAD && nth == 2)
		atomic_store(&race->loaded_ns, clock_now_ns());
	if (event == SYNTHETIC_START)
		atomic_store(&race->started_ns, clock_now_ns());
}

/* A sleep is too coarse for where it is to hit. */
static void *cancel_later(void *opaque)
{
	struct race *race = opaque;

	while (atomic_load(&race->loaded_ns) == 0)
		usleep(10);
	while (clock_now_ns() < atomic_load(&race->loaded_ns) + race->delay_ns)
		;
	decant_migration_cancel(race->rig->migration);
	return NULL;
}

static void boot_small(struct rig *rig, const char *fabric)
{
	rig_init(rig, fabric);
	rig->config.region[0].length = 2 * MIB;
	rig->config.wss_first = 0;
	rig->config.wss_pages = 16;
	rig->opts.max_downtime_ns = 60000 * MS;
	rig_boot_bare(rig);
}

/* From the load to the start, with nobody in its way: 0 where it was cancelled. */
static uint64_t race_once(const char *fabric, uint64_t delay_ns)
{
	struct race race = { .delay_ns = delay_ns };
	struct rig rig;
	pthread_t thread;

	boot_small(&rig, fabric);
	race.rig = &rig;
	synthetic_set_hook(rig.destination, note_times, &race);
	rig_listen(&rig);
	rig_migrate_begin(&rig);
	assert_int_equal(pthread_create(&thread, NULL, cancel_later, &race), 0);
	rig_migrate_end(&rig);
	pthread_join(thread, NULL);
	if (rig.ret == 0) {
		rig_expect_moved(&rig);
		assert_int_equal(synthetic_count(rig.source, SYNTHETIC_RESUME), 0);
	} else {
		rig_expect_stayed(&rig, -ECANCELED);
		assert_int_equal(synthetic_count(rig.destination, SYNTHETIC_START), 0);
	}
	rig_destroy(&rig);
	return rig.ret == 0 ? atomic_load(&race.started_ns) - atomic_load(&race.loaded_ns) : 0;
}

/* Each time it is the one or the other, whole. */
void scenario_cancel_around_go(struct rig *rig)
{
	const unsigned int rounds = SCALE(60u, 12u);
	unsigned int seed = (unsigned int)clock_now_ns(), moved = 0;
	uint64_t window_ns = MS;

	for (unsigned int i = 0; i < rounds; i++) {
		const uint64_t took = race_once(rig->fabric, window_ns * (rand_r(&seed) % 1024) / 1024);

		moved += took > 0;
		/* GO is somewhere before the start; a busy machine may be off as far as it likes */
		if (took > 0)
			window_ns = took + took / 4;
	}
	print_message("# cancelled around GO: %u moved, %u stayed\n", moved, rounds - moved);
}

/* Each operation of the source fails once; the guest runs on, and the next attempt works. */
void scenario_source_faults(struct rig *rig)
{
	static const enum synthetic_event events[] = {
		SYNTHETIC_SHAPE_SAVE, SYNTHETIC_DIRTY_START, SYNTHETIC_FETCH, SYNTHETIC_PAUSE, SYNTHETIC_SAVE,
	};

	rig_boot(rig);
	rig_listen(rig);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		synthetic_set_fault(rig->source, events[i], -EIO);
		for (int attempt = 0; attempt < 100; attempt++) {
			rig_migrate(rig);
			if (rig->ret != -EBUSY)
				break;
			usleep(100000);
		}
		rig_expect_stayed(rig, -EIO);
		assert_non_null(strstr(rig->err.msg, "told to fail"));
		synthetic_set_fault(rig->source, events[i], 0);
	}
	rig_expect_usable(rig);
}
