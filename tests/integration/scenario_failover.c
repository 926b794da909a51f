/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_failover.c -- data channels that die, and writes that come too late
 *
 * On the loop fabric a plan kills a write; RDMA's channels are broken by the breaker, and TCP goes on; of TCP's connections one is
 * shut.
 */
#include "integration/scenarios.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "fabric/loop/loop.h"

/* What a plan of the loop fabric, and the hooks, share. */
struct killer {
	struct rig *rig;
	_Atomic int kills;  /* to come */
	_Atomic bool armed; /* the next write dies */
	_Atomic unsigned killed;
	unsigned pass;  /* kill in this one */
	uint64_t clean; /* granules from 0 that are not written to yet */
};

static enum loop_action kill_armed(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	struct killer *killer = opaque;

	(void)epoch;
	(void)write;
	if (!atomic_exchange(&killer->armed, false))
		return LOOP_DELIVER;
	atomic_fetch_add(&killer->killed, 1);
	return LOOP_KILL;
}

static void kill_now(struct killer *killer)
{
	if (atomic_load(&killer->kills) <= 0)
		return;
	if (strcmp(killer->rig->fabric, "loop") == 0) {
		if (!atomic_exchange(&killer->armed, true))
			atomic_fetch_sub(&killer->kills, 1);
	} else if (rig_kill_fabric(killer->rig)) {
		atomic_fetch_sub(&killer->kills, 1);
		atomic_fetch_add(&killer->killed, 1);
	}
}

static void kill_in_pass(void *opaque, const struct decant_stats *stats)
{
	struct killer *killer = opaque;

	if (stats->state == DECANT_STATE_PRECOPY && stats->passes >= killer->pass && stats->sent_bytes > 0)
		kill_now(killer);
}

/* With something to send, whatever the writer has come to. */
static void kill_while_saving(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)nth;
	if (event != SYNTHETIC_SAVE)
		return;
	synthetic_fill(vmm, 0, 100, 10);
	kill_now(opaque);
}

/* Slow enough that there is time to kill, and with something to send in every pass. */
static void prepare(struct rig *rig, struct killer *killer, int kills)
{
	const struct loop_plan plan = { .decide = kill_armed, .opaque = killer };

	memset(killer, 0, sizeof(*killer));
	killer->rig = rig;
	atomic_store(&killer->kills, kills);
	rig->config.rate = 20000;
	rig->config.wss_pages = WSS_PAGES / 4;
	rig->opts.verify = true;
	rig->opts.opaque = killer;
	rig_boot(rig);
	rig_listen(rig);
	loop_plan_set(&plan);
}

static void expect_failovers(struct rig *rig, struct killer *killer, unsigned failovers)
{
	rig_expect_moved(rig);
	assert_int_equal(atomic_load(&killer->killed), failovers);
	assert_int_equal(rig->stats.failovers, failovers);
	assert_int_equal(rig->stats.verified, 1);
}

void scenario_channel_dies_in_pass_1(struct rig *rig)
{
	struct killer killer;

	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE * 2;
	rig->opts.progress = kill_in_pass;
	prepare(rig, &killer, 1);
	killer.pass = 1;
	rig_migrate(rig);

	expect_failovers(rig, &killer, 1);
	assert_true(rig->stats.sent_bytes >= rig->stats.data_bytes);
}

static void kill_after_pass_1(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	if (event != SYNTHETIC_FETCH || nth != 1)
		return;
	synthetic_fill(vmm, 0, 100, 10);
	kill_now(opaque);
}

void scenario_channel_dies_in_a_later_pass(struct rig *rig)
{
	struct killer killer;

	prepare(rig, &killer, 1);
	synthetic_set_hook(rig->source, kill_after_pass_1, &killer);
	rig_migrate(rig);

	expect_failovers(rig, &killer, 1);
}

/* After the failover: a page of each granule before the working set, backwards, since those that follow one are announced with it. */
static void write_where_it_was_clean(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	struct killer *killer = opaque;

	if (event != SYNTHETIC_FETCH || !synthetic_is_running(vmm))
		return;
	if (nth == 1) {
		/* enough for a second pass, whatever the writer has come to */
		synthetic_fill(vmm, 0, WSS_FIRST + WSS_PAGES / 4, 300);
		kill_now(killer);
	} else if (atomic_load(&killer->killed) > 0 && killer->clean > 0) {
		synthetic_fill(vmm, 0, --killer->clean * (DECANT_GRANULE_SIZE / PAGE) + 5, 1);
	}
}

/* The pause finds all that holds data registered, in the new epoch as in the old. */
void scenario_clean_granules_after_a_failover(struct rig *rig)
{
	struct killer killer;

	/* slow enough for a second pass, whatever the fabric */
	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE * 4;
	prepare(rig, &killer, 1);
	killer.clean = WSS_FIRST * PAGE / DECANT_GRANULE_SIZE;
	synthetic_set_hook(rig->source, write_where_it_was_clean, &killer);
	rig_migrate(rig);

	expect_failovers(rig, &killer, 1);
	assert_int_equal(rig->stats.inline_pages, 0);
}

void scenario_channel_dies_in_the_last_pass(struct rig *rig)
{
	struct killer killer;

	prepare(rig, &killer, 1);
	synthetic_set_hook(rig->source, kill_while_saving, &killer);
	rig_migrate(rig);

	expect_failovers(rig, &killer, 1);
}

void scenario_one_of_several_channels_dies(struct rig *rig)
{
	struct killer killer;

	rig->opts.channels = 4;
	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE * 2;
	rig->opts.progress = kill_in_pass;
	prepare(rig, &killer, 1);
	killer.pass = 1;
	rig_migrate(rig);

	expect_failovers(rig, &killer, 1);
}

/* Each time when the data has gone on over a new connection. */
static void kill_each_epoch(void *opaque, const struct decant_stats *stats)
{
	struct killer *killer = opaque;

	if (stats->state == DECANT_STATE_PRECOPY && stats->failovers == atomic_load(&killer->killed))
		kill_now(killer);
}

void scenario_channels_die_again_and_again(struct rig *rig)
{
	struct killer killer;

	rig->opts.channels = 2;
	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE;
	rig->opts.progress = kill_each_epoch;
	prepare(rig, &killer, 3);
	rig_migrate(rig);

	expect_failovers(rig, &killer, 3);
}

/* ---- the loop fabric's own: a packet that is late ---- */

struct holder {
	_Atomic unsigned held;
	bool killed; /* the plan's */
};

/* One old page is stuck in the network, then its connection breaks; the same page is sent anew over the next. */
static enum loop_action hold_then_kill(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	struct holder *holder = opaque;
	const uint64_t page = write->offset / PAGE;

	if (epoch != 1)
		return LOOP_DELIVER;
	if (atomic_load(&holder->held) == 0 && page < WSS_FIRST + WSS_PAGES / 4 &&
	    page + write->length / PAGE > WSS_FIRST) {
		atomic_store(&holder->held, 1);
		return LOOP_HOLD;
	}
	if (atomic_load(&holder->held) == 0 || holder->killed)
		return LOOP_DELIVER;
	holder->killed = true;
	return LOOP_KILL;
}

static void release_in_pause(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	unsigned *released = opaque;

	(void)vmm;
	(void)nth;
	if (event == SYNTHETIC_SAVE)
		*released += loop_release();
}

void scenario_held_write_after_failover(struct rig *rig)
{
	struct holder holder = { 0 };
	const struct loop_plan plan = { .decide = hold_then_kill, .opaque = &holder };
	struct loop_counts counts;
	unsigned released = 0;

	rig->opts.channels = 2;
	rig->opts.verify = true;
	rig->config.rate = 20000;
	rig->config.wss_pages = WSS_PAGES / 4;
	rig_boot(rig);
	rig_listen(rig);
	synthetic_set_hook(rig->source, release_in_pause, &released);
	loop_plan_set(&plan);
	rig_migrate(rig);

	loop_counts(&counts);
	assert_int_equal(counts.held, 1);
	assert_int_equal(released, 1);
	assert_int_equal(counts.landed_late, 0);
	assert_int_equal(counts.dropped_after_fence, 1);
	rig_expect_moved(rig);
	assert_int_equal(rig->stats.failovers, 1);
}

static enum loop_action delay_some(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	_Atomic unsigned *asked = opaque;

	(void)epoch;
	(void)write;
	return atomic_fetch_add(asked, 1) % 5 == 0 ? LOOP_DELAY : LOOP_DELIVER;
}

/* Channels in random order, writes that come late: order holds within a channel only, and that must do. */
void scenario_channels_out_of_step(struct rig *rig)
{
	_Atomic unsigned asked = 0;
	const struct loop_plan plan = { .decide = delay_some, .opaque = &asked, .delay = 3, .seed = 77 };

	rig->opts.channels = 4;
	rig->opts.verify = true;
	rig->config.rate = 20000;
	rig->config.pattern = SYNTHETIC_RANDOM;
	rig_boot(rig);
	rig_listen(rig);
	loop_plan_set(&plan);
	rig_migrate(rig);

	rig_expect_moved(rig);
	loop_plan_set(NULL);
}
