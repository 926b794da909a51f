/* SPDX-License-Identifier: BSD-2-Clause */
/* scenario_move.c -- migrations that work */
#include "integration/scenarios.h"

#include <string.h>
#include <unistd.h>

#include "support/hugepages.h"

static void move(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);
}

void scenario_quiet(struct rig *rig)
{
	rig->config.writers = 0;
	move(rig);

	/* to register a granule fills its holes, with zeros that are not sent */
	if (rig_has_rails(rig))
		assert_in_range(rig->stats.data_bytes, (HOLE_FIRST - WSS_PAGES) * PAGE, HOLE_FIRST * PAGE);
	else
		assert_int_equal(rig->stats.data_bytes, (HOLE_FIRST - WSS_PAGES) * PAGE);
	assert_int_equal(rig->stats.sent_bytes, (HOLE_FIRST - WSS_PAGES) * PAGE);
	assert_int_equal(rig->stats.failovers, 0);
	assert_true(rig->stats.channels >= 1);
	assert_true(rig->stats.writes >= 1);
	assert_true(rig->stats.writes <= rig->stats.pages_sent);
	assert_int_equal(rig->stats.pages_sent, rig->stats.sent_bytes / PAGE);
}

/* On a busy host the writer may not have had a CPU since pass 1 looked at its pages: it gets one now. */
static void let_it_write(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	const uint64_t before = synthetic_work(vmm);

	(void)opaque;
	if (event != SYNTHETIC_FETCH || nth != 1)
		return;
	/* the one that it may be at was begun before */
	for (int i = 0; i < 20000 && synthetic_work(vmm) < before + 2; i++)
		usleep(1000);
}

/*
 * As fast as it can, in a working set that can be sent within the downtime. Generous: the forecast adds what saving and loading took
 * in the rehearsal, and a host that was busy just then made that long for the whole migration.
 */
static void move_hot(struct rig *rig, enum synthetic_dirty dirty, bool all_set)
{
	rig->config.dirty = dirty;
	rig->config.all_set = all_set;
	rig->config.rate = 0;
	rig->config.wss_pages = WSS_PAGES / 4;
	rig->opts.verify = true;
	rig->opts.max_downtime_ns = 5000 * MS;
	rig_boot(rig);
	synthetic_set_hook(rig->source, let_it_write, NULL);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.verified, 1);
	assert_true(rig->stats.passes >= 2);
	/* what had data once, and what the writer wrote meanwhile once more */
	assert_true(rig->stats.pages_sent > rig->stats.data_bytes / PAGE - rig->stats.pages_skipped);
}

void scenario_hot_ring(struct rig *rig)
{
	move_hot(rig, SYNTHETIC_DIRTY_RING, false);
}

void scenario_hot_log(struct rig *rig)
{
	move_hot(rig, SYNTHETIC_DIRTY_LOG, false);
}

/* All pages dirty from the start, holes too: they must not come into being for it. */
void scenario_hot_log_all_set(struct rig *rig)
{
	move_hot(rig, SYNTHETIC_DIRTY_LOG, true);

	assert_true(decant_memory_allocated(synthetic_memory(rig->source)) <= HOLE_FIRST * PAGE);
	assert_true(rig->stats.dest_allocated <= HOLE_FIRST * PAGE + DECANT_GRANULE_SIZE);
}

void scenario_random_pattern(struct rig *rig)
{
	rig->config.pattern = SYNTHETIC_RANDOM;
	rig->config.rate = 20000;
	rig->opts.verify = true;
	move(rig);
}

void scenario_several_writers(struct rig *rig)
{
	rig->config.writers = 3;
	rig->config.rate = 9000;
	rig->config.pattern = SYNTHETIC_RANDOM;
	move(rig);
}

void scenario_no_data_at_all(struct rig *rig)
{
	rig->config.writers = 0;
	rig_boot_bare(rig);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.data_bytes, 0);
	assert_int_equal(rig->stats.sent_bytes, 0);
	assert_int_equal(rig->stats.dest_allocated, 0);
	assert_int_equal(decant_memory_allocated(synthetic_memory(rig->source)), 0);
}

void scenario_one_page(struct rig *rig)
{
	rig->config.writers = 0;
	rig->config.region[0].length = PAGE;
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 0, 1);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.pages_sent, 1);
}

/* Neither a multiple of a granule nor of 64 pages, with data up to the very end. */
void scenario_odd_length(struct rig *rig)
{
	const uint64_t pages = 3 * DECANT_GRANULE_SIZE / PAGE + 77;

	rig->config.region[0].length = pages * PAGE;
	rig->config.wss_first = pages - 100;
	rig->config.wss_pages = 100;
	rig->opts.verify = true;
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 1, 3);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);
}

void scenario_regions(struct rig *rig)
{
	rig_add_region(rig, "high", 4 * GIB, RAM / 2, DECANT_PAGE_SIZE);
	rig_add_region(rig, "rom", 0xfffe0000, 32 * PAGE, DECANT_PAGE_SIZE);
	rig->config.wss_region = 1;
	rig->config.wss_first = 0;
	rig->config.rate = 10000;
	rig->opts.verify = true;
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 10, 1000);
	synthetic_fill(rig->source, 2, 0, 32);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);
}

/* Both ends live here, so both ends' huge pages are needed. */
void scenario_regions_of_huge_pages(struct rig *rig)
{
	const uint64_t length = 16 * MIB;
	int ret = hugepages_reserve(2 * (unsigned)(length / (2 * MIB)));

	if (ret < 0) {
		print_message("SKIP: 2 MiB pages: %s\n", strerror(-ret));
		skip();
	}
	rig_add_region(rig, "huge", 1 * GIB, length, 2 * MIB);
	rig->config.wss_region = 1;
	rig->config.wss_first = 700;
	rig->config.wss_pages = 200;
	rig->opts.verify = true;
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 0, 100);
	synthetic_fill(rig->source, 1, 2048, 3);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_true(rig->stats.dest_allocated <= DECANT_GRANULE_SIZE + 3 * 2 * MIB);
	assert_true(decant_memory_allocated(synthetic_memory(rig->source)) <= 100 * PAGE + 3 * 2 * MIB);
}

void scenario_several_channels(struct rig *rig)
{
	rig->opts.channels = 4;
	rig->config.rate = 20000;
	rig->config.pattern = SYNTHETIC_RANDOM;
	rig->opts.verify = true;
	move(rig);

	assert_int_equal(rig->stats.channels, 4);
}

void scenario_verify(struct rig *rig)
{
	rig->opts.verify = true;
	move(rig);

	assert_int_equal(rig->stats.verified, 1);
	assert_true(rig->stats.verify_ns > 0);
}

static void corrupt_in_pause(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	if (event == SYNTHETIC_PAUSE)
		synthetic_corrupt(vmm, 0, 5);
}

static void mend(struct synthetic *vmm)
{
	synthetic_corrupt(vmm, 0, 5);
	synthetic_set_hook(vmm, NULL, NULL);
}

/* The page was sent long before; only a comparison can tell. */
void scenario_verify_sees_a_changed_page(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	rig_listen(rig);
	synthetic_set_hook(rig->source, corrupt_in_pause, NULL);
	rig_migrate(rig);
	mend(rig->source);

	rig_expect_stayed(rig, 0);
	assert_non_null(strstr(rig->err.msg, "ram0"));
	rig_expect_usable(rig);
}

void scenario_verdict_and_pause(struct rig *rig)
{
	rig->config.rate = 0;
	rig->config.wss_pages = WSS_PAGES / 4;
	rig->opts.ask_verdict = true;
	move(rig);

	assert_int_equal(rig->stats.verdict.status, DECANT_VERDICT_OK);
	assert_true(rig->stats.verdict.work_rate > 0);
	assert_true(rig->stats.verdict.pause_ns + rig->stats.clock_error_ns >= rig->stats.downtime_ns);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_VERDICT), 1);
}

/* Within one process every fabric reaches; which one is taken is said. */
void scenario_fabric_auto(struct rig *rig)
{
	rig->opts.fabric = "auto";
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);
	rig->fabric = rig->stats.fabric;
	rig_expect_moved(rig);

	assert_true(strlen(rig->stats.fabric_reason) > 0);
}

/* The guest that was moved is moved on: what it runs on now is a source like any other. */
void scenario_again_and_back(struct rig *rig)
{
	struct rig back;

	move(rig);
	rig_init(&back, rig->fabric);
	back.config.writers = rig->config.writers;
	back.source = rig->destination;
	back.destination = synthetic_new_empty();
	rig_listen(&back);
	rig_migrate(&back);
	rig_expect_moved(&back);
	back.source = NULL;
	rig_destroy(&back);
}
