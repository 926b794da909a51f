/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_rails.c -- RDMA that is chosen, cannot begin, or is lost on the way
 *
 * For the fabric "rdma" alone, which here is one that the breaker can break.
 */
#include "integration/breaker.h"
#include "integration/scenarios.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What pass 1 sends, about: the writer's pages are in it or not. */
#define DATA_BYTES (HOLE_FIRST * PAGE)

static void expect_reason(const struct rig *rig, const char *word)
{
	if (strstr(rig->stats.fabric_reason, word) == NULL)
		fail_msg("the reason is \"%s\", and says nothing of \"%s\"", rig->stats.fabric_reason, word);
}

/* Keys die with their source and sink: none may be left. The destination lets go of them a moment after the guest runs. */
static void expect_nothing_left(void)
{
	struct breaker_counts counts;

	for (int i = 0; i < 10000; i++) {
		breaker_counts(&counts);
		if (counts.sources == 0 && counts.sinks == 0)
			return;
		usleep(1000);
	}
	fail_msg("%u sources and %u sinks are still open", counts.sources, counts.sinks);
}

static void expect_lost(enum breaker_fault fault)
{
	struct breaker_counts counts;

	breaker_counts(&counts);
	assert_true(counts.losses[fault] > 0);
}

static void boot(struct rig *rig)
{
	rig->opts.verify = true;
	rig->config.rate = 20000;
	rig->config.wss_pages = WSS_PAGES / 4;
	rig_boot(rig);
}

static void begin(struct rig *rig)
{
	boot(rig);
	rig_listen(rig);
}

void scenario_rdma_says_which_rails(struct rig *rig)
{
	struct breaker_counts counts;

	begin(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	expect_reason(rig, " reaches ");
	assert_int_equal(rig->stats.failovers, 0);
	breaker_counts(&counts);
	assert_int_equal(counts.paired, 1);
	assert_true(counts.maps > 0);
	assert_true(counts.exposes >= counts.maps);
	expect_nothing_left();
}

/* ---- lost on the way ---- */

static void expect_went_on_over_tcp(struct rig *rig, enum breaker_fault fault, const char *word)
{
	rig_expect_moved(rig);
	expect_lost(fault);
	assert_string_equal(rig->stats.fabric, "tcp");
	assert_int_equal(rig->stats.failovers, 1);
	assert_int_equal(rig->stats.verified, 1);
	expect_reason(rig, "RDMA was lost: ");
	expect_reason(rig, word);
	expect_nothing_left();
}

static void lose_in_pass_1(struct rig *rig, unsigned percent)
{
	begin(rig);
	breaker_arm(BREAKER_WRITE, (DATA_BYTES - WSS_PAGES * PAGE) / 100 * percent);
	rig_migrate(rig);

	expect_went_on_over_tcp(rig, BREAKER_WRITE, "broken the channels");
	/* all since the last acknowledged barrier once more, and in pass 1 there was none */
	assert_true(rig->stats.sent_bytes >= rig->stats.data_bytes + rig->stats.data_bytes / 100 * percent / 2);
}

void scenario_rdma_lost_at_1_percent(struct rig *rig)
{
	lose_in_pass_1(rig, 1);
}

void scenario_rdma_lost_at_50_percent(struct rig *rig)
{
	lose_in_pass_1(rig, 50);
}

void scenario_rdma_lost_at_99_percent(struct rig *rig)
{
	lose_in_pass_1(rig, 99);
}

/* The hand-over's load: the second. */
static void look_at_sources(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	struct breaker_counts counts;

	(void)vmm;
	breaker_counts(&counts);
	if (event == SYNTHETIC_LOAD && nth == 2)
		atomic_store((atomic_uint *)opaque, counts.sources);
}

static void break_while_saving(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	if (event != SYNTHETIC_SAVE)
		return;
	synthetic_fill(vmm, 0, 100, 10);
	breaker_arm(BREAKER_WRITE, 0);
}

/* To let go of all that is registered takes time that grows with the memory: not in the pause. */
void scenario_rdma_lost_in_the_last_pass(struct rig *rig)
{
	atomic_uint sources = UINT_MAX;

	boot(rig);
	synthetic_set_hook(rig->source, break_while_saving, NULL);
	synthetic_set_hook(rig->destination, look_at_sources, &sources);
	rig_listen(rig);
	rig_migrate(rig);

	expect_went_on_over_tcp(rig, BREAKER_WRITE, "broken the channels");
	assert_int_equal(atomic_load(&sources), 1);
}

void scenario_rdma_registration_fails_at_the_source(struct rig *rig)
{
	begin(rig);
	breaker_arm(BREAKER_MAP, 2);
	rig_migrate(rig);

	expect_went_on_over_tcp(rig, BREAKER_MAP, "memory at the source");
}

void scenario_rdma_registration_fails_at_the_destination(struct rig *rig)
{
	begin(rig);
	breaker_arm(BREAKER_EXPOSE, 2);
	rig_migrate(rig);

	expect_went_on_over_tcp(rig, BREAKER_EXPOSE, "memory at the destination");
}

/* ---- never begun ---- */

struct beginning {
	enum breaker_fault fault;
	int code;
	const char *word;
};

static const struct beginning beginnings[] = {
	{ BREAKER_RAILS, -ENODEV, "taken it out" },
	{ BREAKER_PAIR, -ENETUNREACH, "has cut them" },
	{ BREAKER_OPEN, -EADDRNOTAVAIL, "nobody listen" },
	{ BREAKER_CONNECT, -ECONNREFUSED, "nobody connect" },
	{ BREAKER_MAP, -ENOMEM, "memory at the source" },
	{ BREAKER_EXPOSE, -ENOMEM, "memory at the destination" },
};

#define BEGINNINGS (sizeof(beginnings) / sizeof(beginnings[0]))

/* Asked for by name: it fails, and says why. Then the same receiver takes the same guest. */
void scenario_rdma_that_cannot_begin(struct rig *rig)
{
	begin(rig);
	for (size_t i = 0; i < BEGINNINGS; i++) {
		breaker_reset();
		breaker_arm(beginnings[i].fault, 0);
		do {
			usleep(1000);
			rig_migrate(rig);
		} while (rig->ret == -EBUSY);
		rig_expect_stayed(rig, beginnings[i].code);
		expect_lost(beginnings[i].fault);
		if (strstr(rig->err.msg, "fabric rdma: ") == NULL ||
		    strstr(rig->err.msg, beginnings[i].word) == NULL)
			fail_msg("the message is \"%s\"", rig->err.msg);
		expect_nothing_left();
	}
	breaker_reset();
	rig_expect_usable(rig);
	assert_string_equal(rig->stats.fabric, "rdma");
}

static bool base_has_hardware(void)
{
	struct fabric_rail rail;

	breaker_hardware(true);
	return breaker_base()->rails(&rail, 1, NULL) > 0 && !rail.software;
}

/* Not asked for: it goes over TCP, and says why. */
static void try_auto(struct rig *rig, const struct beginning *beginning, bool tried)
{
	rig_init(rig, "rdma");
	breaker_reset();
	breaker_hardware(true);
	breaker_arm(beginning->fault, 0);
	rig->opts.fabric = "auto";
	rig->expected = "tcp";
	begin(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	expect_lost(beginning->fault);
	expect_reason(rig, tried ? "RDMA could not begin: " : "no RDMA path: ");
	expect_reason(rig, beginning->word);
	assert_int_equal(rig->stats.failovers, tried);
	expect_nothing_left();
}

/* Software rails are not even tried: only what comes before the choice can be seen there. */
void scenario_auto_where_rdma_cannot_begin(struct rig *rig)
{
	const size_t count = base_has_hardware() ? BEGINNINGS : 2;

	for (size_t i = 0; i < count; i++) {
		struct rig one;

		try_auto(&one, &beginnings[i], i >= 2);
		rig_destroy(&one);
	}
	(void)rig;
}

void scenario_auto_takes_hardware(struct rig *rig)
{
	const bool hardware = base_has_hardware();

	rig->opts.fabric = "auto";
	rig->expected = hardware ? "rdma" : "tcp";
	begin(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	expect_reason(rig, hardware ? " reaches " : "no RDMA path: ");
	assert_int_equal(rig->stats.failovers, 0);
}

void scenario_auto_leaves_software(struct rig *rig)
{
	struct fabric_rail rail;

	assert_true(breaker_base()->rails(&rail, 1, NULL) > 0);
	rig->opts.fabric = "auto";
	rig->expected = rail.software ? "tcp" : "rdma";
	begin(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	expect_reason(rig, rail.software ? "no RDMA path: " : " reaches ");
}

/* ---- rails by name ---- */

void scenario_rail_by_name(struct rig *rig)
{
	struct breaker_counts counts;
	struct fabric_rail rail;

	assert_true(breaker_base()->rails(&rail, 1, NULL) > 0);
	rig->opts.rails = rail.device;
	begin(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	expect_reason(rig, rail.device);
	breaker_counts(&counts);
	assert_string_equal(counts.rails, rail.device);
}

void scenario_rail_that_is_none(struct rig *rig)
{
	begin(rig);
	rig->opts.rails = "nosuch7";
	rig_migrate(rig);
	rig_expect_stayed(rig, 0);
	assert_non_null(strstr(rig->err.msg, "nosuch7"));

	rig->opts.fabric = "tcp";
	do {
		usleep(1000);
		rig_migrate(rig);
	} while (rig->ret == -EBUSY);
	rig_expect_stayed(rig, -EINVAL);
	assert_non_null(strstr(rig->err.msg, "has no rails"));
}

/* ---- when and where is memory registered ---- */

static void note_pause(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	/* a hole that fills in the last pass */
	if (event == SYNTHETIC_SAVE)
		synthetic_fill(vmm, 0, RAM_PAGES - 10, 3);
	if (event == SYNTHETIC_PAUSE)
		breaker_paused(true);
}

void scenario_nothing_is_registered_in_the_pause(struct rig *rig)
{
	struct breaker_counts counts;

	begin(rig);
	breaker_slow_map(20);
	synthetic_set_hook(rig->source, note_pause, NULL);
	rig_migrate(rig);
	breaker_paused(false);

	rig_expect_moved(rig);
	breaker_counts(&counts);
	assert_true(counts.maps > 0);
	assert_int_equal(counts.maps_paused, 0);
	assert_true(rig->stats.inline_pages >= 3);
}

/* A sparse guest stays sparse: only what holds data is registered, at both ends. */
void scenario_only_data_is_registered(struct rig *rig)
{
	struct breaker_counts counts;
	const uint64_t granules = (HOLE_FIRST * PAGE + DECANT_GRANULE_SIZE - 1) / DECANT_GRANULE_SIZE;

	rig->config.writers = 0;
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
	breaker_counts(&counts);
	assert_true(counts.maps <= granules);
	assert_int_equal(counts.maps, counts.exposes);
}

/* ---- and after it ---- */

static void cancel_in_precopy(void *opaque, const struct decant_stats *stats)
{
	struct rig *rig = opaque;

	if (stats->state == DECANT_STATE_PRECOPY && stats->sent_bytes > 0)
		decant_migration_cancel(rig->migration);
}

void scenario_keys_die_with_the_migration(struct rig *rig)
{
	struct breaker_counts counts;

	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE;
	rig->opts.progress = cancel_in_precopy;
	rig->opts.opaque = rig;
	begin(rig);
	rig_migrate(rig);

	rig_expect_stayed(rig, -ECANCELED);
	breaker_counts(&counts);
	assert_true(counts.exposes > 0);
	expect_nothing_left();
}
