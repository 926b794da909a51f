/* SPDX-License-Identifier: BSD-2-Clause */
/* scenario_sparse.c -- holes, zeros, and what becomes of them on the way */
#include "integration/scenarios.h"

#include <string.h>

#define PIECE_PAGES (2 * MIB / PAGE)
#define SPARSE_LENGTH SCALE(8 * GIB, 1 * GIB)
#define SPARSE_DATA SCALE(100 * MIB, 20 * MIB)

static void boot_sparse(struct rig *rig)
{
	rig->config.writers = 0;
	rig->config.region[0].length = SPARSE_LENGTH;
	rig->opts.verify = true;
	rig_boot_bare(rig);
}

/* What it takes and costs is what the data takes and costs. */
static void move_sparse(struct rig *rig)
{
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.ram_bytes, SPARSE_LENGTH);
	assert_int_equal(rig->stats.data_bytes, SPARSE_DATA);
	assert_int_equal(rig->stats.sent_bytes, SPARSE_DATA);
	assert_int_equal(decant_memory_allocated(synthetic_memory(rig->source)), SPARSE_DATA);
	assert_int_equal(rig->stats.source_allocated, SPARSE_DATA);
	assert_int_equal(rig->stats.dest_allocated, SPARSE_DATA);
	assert_int_equal(decant_memory_allocated(rig->received), SPARSE_DATA);
}

void scenario_sparse_in_one_block(struct rig *rig)
{
	boot_sparse(rig);
	synthetic_fill(rig->source, 0, SPARSE_LENGTH / PAGE / 2, SPARSE_DATA / PAGE);
	move_sparse(rig);
}

/* Each piece in its own part of memory, at a place that only looks random. */
void scenario_sparse_in_pieces(struct rig *rig)
{
	const uint64_t pieces = SPARSE_DATA / (2 * MIB);
	const uint64_t places = SPARSE_LENGTH / (2 * MIB) / pieces;

	boot_sparse(rig);
	for (uint64_t i = 0; i < pieces; i++) {
		uint64_t place = i * places + (i * 2654435761u >> 7) % places;

		synthetic_fill(rig->source, 0, place * PIECE_PAGES, PIECE_PAGES);
	}
	move_sparse(rig);
}

/* Pages that are there and zero are not sent in the first pass. */
void scenario_zero_pages_are_skipped(struct rig *rig)
{
	const uint64_t zeros = 1000;

	rig->config.writers = 0;
	rig->opts.verify = true;
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 0, 600);
	synthetic_zero(rig->source, 0, 300, zeros);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.pages_looked, 300 + zeros);
	assert_int_equal(rig->stats.pages_skipped, zeros);
	assert_int_equal(rig->stats.pages_sent, 300);
	assert_true(rig->stats.dest_allocated <= 3 * DECANT_GRANULE_SIZE);
}

/* Unless nobody looks: then they are pages like any other, and so are holes that registration has filled. */
void scenario_zero_pages_are_sent_unlooked(struct rig *rig)
{
	rig->config.writers = 0;
	rig->opts.verify = true;
	rig->opts.zero_scan = DECANT_ZERO_SCAN_OFF;
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 0, 300);
	synthetic_zero(rig->source, 0, 300, 1000);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.pages_looked, 0);
	assert_int_equal(rig->stats.pages_skipped, 0);
	assert_in_range(rig->stats.pages_sent, 1300, 3 * PIECE_PAGES);
}

/* The harvest in the pause is a fetch as well, but then nobody writes any more. */
static bool is_early_fetch(struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	return event == SYNTHETIC_FETCH && nth <= 3 && synthetic_is_running(vmm);
}

static void fill_holes(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	if (is_early_fetch(vmm, event, nth)) {
		synthetic_fill(vmm, 0, HOLE_FIRST + nth * PIECE_PAGES + 5, 20);
		synthetic_fill(vmm, 0, RAM_PAGES - nth, 1);
	}
}

void scenario_hole_fills_in_precopy(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	synthetic_set_hook(rig->source, fill_holes, NULL);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);
}

/* Saving the state may write memory, and where it wrote there may have been nothing. */
static void fill_hole_while_saving(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	if (event != SYNTHETIC_SAVE)
		return;
	synthetic_fill(vmm, 0, HOLE_FIRST + 3 * PIECE_PAGES + 7, 3);
	synthetic_fill(vmm, 0, RAM_PAGES - 1, 1);
}

void scenario_hole_fills_in_the_last_pass(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	synthetic_set_hook(rig->source, fill_hole_while_saving, NULL);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);

	assert_int_equal(rig->stats.inline_pages, 4);
}

static void make_zeros(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	if (is_early_fetch(vmm, event, nth))
		synthetic_zero(vmm, 0, nth * 40, 30);
	if (event == SYNTHETIC_SAVE)
		synthetic_zero(vmm, 0, 500, 2);
}

void scenario_page_becomes_zero(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	synthetic_set_hook(rig->source, make_zeros, NULL);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);
}

static void punch_pages(struct rig *rig, uint64_t first, uint64_t pages)
{
	synthetic_punch(rig->source, 0, first, pages);
	decant_migration_punched(rig->migration, 0, first * PAGE, pages * PAGE);
}

static void punch(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	if (is_early_fetch(vmm, event, nth))
		punch_pages(opaque, nth * 40, 30);
	if (event == SYNTHETIC_SAVE)
		punch_pages(opaque, 500, 2);
}

void scenario_page_is_punched(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	synthetic_set_hook(rig->source, punch, rig);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_moved(rig);
}
