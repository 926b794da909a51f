/* SPDX-License-Identifier: BSD-2-Clause */
/* scenario_limit.c -- bounds, cancelling, and a source that fails: the guest must not notice */
#include "integration/scenarios.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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
