/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_damage.c -- a page of guest memory that is not there any more ends the migration, and nothing else
 *
 * A page of an empty file is mapped over the page that is to be lost: to touch it is SIGBUS, and a system call says EFAULT, as with memory
 * that has failed in the host (tests/cli/damage.py has that). The page behind it stays as it was, and comes back
 * when the guest is judged. What a device has pinned it goes on reading: there it is the comparison of both ends that finds it.
 */
#include "integration/scenarios.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOST_PAGE (WSS_FIRST / 2) /* of no writer's */
#define LOST_HOLE (HOLE_FIRST + 100)

static void map_page(const struct decant_memory *memory, uint64_t page, int fd, uint64_t offset)
{
	uint8_t *at = (uint8_t *)decant_memory_region(memory, 0)->address + page * PAGE;
	void *mapped = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

	assert_ptr_equal(mapped, at);
}

static void lose_page(const struct decant_memory *memory, uint64_t page)
{
	const int fd = memfd_create("nothing", MFD_CLOEXEC);

	assert_true(fd >= 0);
	map_page(memory, page, fd, 0);
	close(fd);
}

static void find_page(const struct rig *rig, uint64_t page)
{
	struct decant_memory *memory = synthetic_memory(rig->source);

	synthetic_set_hook(rig->source, NULL, NULL);
	map_page(memory, page, decant_memory_region(memory, 0)->fd, page * PAGE);
}

static void expect_named(const struct rig *rig, uint64_t page)
{
	char place[64];

	snprintf(place, sizeof(place), "ram0 + 0x%" PRIx64, page * PAGE);
	if (strstr(rig->err.msg, place) == NULL)
		fail_msg("does not say %s: %s", place, rig->err.msg);
}

/* It ended for that page; the guest is well, and can be moved when the page is back. */
static void expect_ended_by(struct rig *rig, uint64_t page)
{
	find_page(rig, page);
	rig_expect_stayed(rig, -EFAULT);
	expect_named(rig, page);
	rig_expect_usable(rig);
}

void scenario_damage_in_pass_1(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	lose_page(synthetic_memory(rig->source), LOST_PAGE);
	rig_migrate(rig);
	expect_ended_by(rig, LOST_PAGE);
}

static void lose_between_passes(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	if (event != SYNTHETIC_FETCH || nth != 1)
		return;
	synthetic_fill(vmm, 0, LOST_PAGE, 1);
	lose_page(synthetic_memory(vmm), LOST_PAGE);
}

/* The fabric is the one that reads it. */
void scenario_damage_in_a_later_pass(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	rig_listen(rig);
	synthetic_set_hook(rig->source, lose_between_passes, NULL);
	rig_migrate(rig);
	expect_ended_by(rig, LOST_PAGE);
}

static void lose_while_saving(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	if (event != SYNTHETIC_SAVE)
		return;
	synthetic_fill(vmm, 0, LOST_HOLE, 1);
	lose_page(synthetic_memory(vmm), LOST_HOLE);
}

/* In a granule that was a hole until then, so that the control connection carries it. */
void scenario_damage_in_the_last_pass(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	synthetic_set_hook(rig->source, lose_while_saving, NULL);
	rig_migrate(rig);
	expect_ended_by(rig, LOST_HOLE);
}

static void lose_in_pause(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	if (event == SYNTHETIC_PAUSE)
		lose_page(synthetic_memory(vmm), LOST_PAGE);
}

void scenario_damage_seen_by_verify(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	rig_listen(rig);
	synthetic_set_hook(rig->source, lose_in_pause, NULL);
	rig_migrate(rig);
	expect_ended_by(rig, LOST_PAGE);
}

static void lose_at_the_destination(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	struct rig *rig = opaque;

	if (event != SYNTHETIC_FETCH || nth != 1)
		return;
	lose_page(synthetic_memory(rig->destination), LOST_PAGE);
	synthetic_fill(vmm, 0, LOST_PAGE, 1);
}

/* The VM that is thrown away is the one there; the next one has memory of its own. */
void scenario_damage_at_the_destination(struct rig *rig)
{
	rig->opts.verify = true;
	rig_boot(rig);
	rig_listen(rig);
	synthetic_set_hook(rig->source, lose_at_the_destination, rig);
	rig_migrate(rig);
	synthetic_set_hook(rig->source, NULL, NULL);
	rig_expect_stayed(rig, 0);
	assert_non_null(strstr(rig->err.msg, "memory"));
	rig_expect_usable(rig);
}
