/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verdict.c -- the stress guest judges all of its memory
 *
 * All vCPUs meet first, so that every part of the working set stands at a sweep that is known; then each takes every
 * n-th slot of 2 MiB. Pages of the working set are judged by their last stamps, cold pages by all of theirs. Holes and zero
 * pages are judged by a word in each quarter, at places that change with page and verdict, and one zero page of GUEST_JUDGED word by
 * word: enough to find a page, or a kilobyte of one, that does not belong there, at a cost that an emulating host can bear.
 */
#include "guest/stress.h"
#include "guest/stress_guest.h"
#include "guest/stress_stamp.h"

#include <stdint.h>

static uint32_t image_sum; /* as it was at boot */

static void say_bad(void)
{
	volatile struct stress_status *status = guest_status();

	guest_print("decant stress guest: BAD memory: page ");
	guest_print_hex(status->bad_page);
	guest_print(" offset ");
	guest_print_number(status->bad_offset);
	guest_print(" expected ");
	guest_print_hex(status->bad_expected);
	guest_print(" found ");
	guest_print_hex(status->bad_found);
	guest_print("\n");
}

void guest_bad(uint32_t page, uint32_t offset, uint32_t expected, uint32_t found)
{
	volatile struct stress_status *status = guest_status();
	uint32_t before = 1;

	__asm__ volatile("lock; xaddl %0, %1" : "+r"(before), "+m"(status->bad_pages) : : "memory");
	if (before == 0) {
		status->bad_page = page;
		status->bad_offset = offset;
		status->bad_expected = expected;
		status->bad_found = found;
		say_bad();
	}
	status->verdict = STRESS_VERDICT_BAD;
}

static uint32_t image_sum_now(void)
{
	const uint32_t *at = (const uint32_t *)guest_text_start;
	const uint32_t *layout = (const uint32_t *)&guest_layout;
	uint32_t sum = 0;

	for (; at < (const uint32_t *)guest_text_end; at++)
		sum = (sum << 1 | sum >> 31) + *at;
	for (uint32_t i = 0; i < sizeof(guest_layout) / 4; i++)
		sum = (sum << 1 | sum >> 31) + layout[i];
	return sum;
}

void guest_verdict_start(void)
{
	image_sum = image_sum_now();
}

static int expect(uint32_t page, uint32_t offset, uint32_t expected)
{
	uint32_t found = *stamp_at(page, offset);

	if (found == expected)
		return 1;
	guest_bad(page, offset, expected, found);
	return 0;
}

static void bad_data(uint32_t page)
{
	uint32_t word = stamp_cold_first(page, guest_boot()->seed);

	for (uint32_t i = 0; i < STAMP_COLD_WORDS; i++, word += STAMP_COLD_ADD) {
		uint32_t offset = i * STAMP_EIGHTH + stamp_cold_within(page);

		if (i == 0)
			offset = 0;
		else if (i == STAMP_COLD_WORDS - 1)
			offset = STAMP_LAST;
		if (!expect(page, offset, word))
			return;
	}
}

static uint32_t part_of(uint32_t page)
{
	uint32_t part = 0;

	while (page >= stress_layout_part(&guest_layout, part + 1))
		part++;
	return part;
}

/* The slow look at a page of the working set whose sum is wrong: which word is it? Its part's sweep tells what it should carry. */
void guest_bad_stamp(uint32_t page)
{
	struct stamp_key key = stamp_key((uint32_t)guest_status()->vcpu[part_of(page)].sweeps, guest_boot()->seed);
	uint32_t first = stamp_first(page, &key);

	if (expect(page, 0, first) && expect(page, STAMP_LAST, first + STAMP_LAST_ADD))
		expect(page, stamp_inside_offset(page, &key), first + STAMP_INSIDE_ADD);
}

/* At most GUEST_JUDGED pages, all of one part of the working set. */
static void judge_wss(uint32_t page, uint32_t end)
{
	uint32_t sweep = (uint32_t)guest_status()->vcpu[part_of(page)].sweeps;
	struct stamp_key key[STAMP_HISTORY];
	uint32_t known = sweep + 1 < STAMP_HISTORY ? sweep + 1 : STAMP_HISTORY;

	for (uint32_t back = 0; back < known; back++)
		key[back] = stamp_key(sweep - back, guest_boot()->seed);
	for (; page < end; page++) {
		uint32_t first = stamp_first(page, &key[0]);

		if (*stamp_at(page, 0) != first || *stamp_at(page, STAMP_LAST) != first + STAMP_LAST_ADD) {
			guest_bad_stamp(page);
			continue;
		}
		for (uint32_t back = 0; back < known; back++)
			if (!expect(page, stamp_inside_offset(page, &key[back]),
				    stamp_first(page, &key[back]) + STAMP_INSIDE_ADD))
				break;
	}
}

static void judge_data(uint32_t page, uint32_t end)
{
	uint32_t seed = guest_boot()->seed;

	for (; page < end; page++) {
		const uint32_t *at = stamp_at(page, stamp_cold_within(page));
		uint32_t sum = *stamp_at(page, 0) + *stamp_at(page, STAMP_LAST);

		sum += at[128] + at[256] + at[384] + at[512] + at[640] + at[768];
		if (sum != stamp_cold_sum_of(stamp_cold_first(page, seed)))
			bad_data(page);
	}
}

static void judge_zero_page(uint32_t page)
{
	const uint32_t *at = stamp_at(page, 0);
	uint32_t left = STAMP_PAGE_SIZE / 4;
	uint8_t zero;

	__asm__ volatile("repe scasl; sete %2" : "+D"(at), "+c"(left), "=q"(zero) : "a"(0) : "memory", "cc");
	if (!zero)
		guest_bad(page, (uint32_t)(at - 1) % STAMP_PAGE_SIZE, 0, at[-1]);
}

static void judge_holes(uint32_t page, uint32_t end)
{
	uint32_t within = ((page / GUEST_JUDGED * 5 + guest_status()->verdict_done * 9) * 4) & (STAMP_QUARTER - 4);
	const uint32_t *stop = stamp_at(end, within);
	uint32_t any = 0;

	for (const uint32_t *at = stamp_at(page, within); at != stop; at += STAMP_PAGE_SIZE / 4)
		any |= at[0] | at[256] | at[512] | at[768];
	if (any == 0)
		return;
	for (; page < end; page++)
		judge_zero_page(page);
}

static void judge_batch(uint32_t page, uint32_t end, enum stress_kind kind)
{
	switch (kind) {
	case STRESS_KIND_WSS:
		judge_wss(page, end);
		break;
	case STRESS_KIND_DATA:
		judge_data(page, end);
		break;
	case STRESS_KIND_ZERO:
		judge_zero_page(page + guest_status()->verdict_done % (end - page));
		judge_holes(page, end);
		break;
	case STRESS_KIND_HOLE:
		judge_holes(page, end);
		break;
	}
}

static void judge_run(struct guest_cpu *cpu, uint32_t page, uint32_t end, enum stress_kind kind)
{
	while (page < end) {
		uint32_t stop = (page / GUEST_JUDGED + 1) * GUEST_JUDGED;

		if (stop > end)
			stop = end;
		if (kind == STRESS_KIND_WSS && stop > stress_layout_part(&guest_layout, part_of(page) + 1))
			stop = stress_layout_part(&guest_layout, part_of(page) + 1);
		judge_batch(page, stop, kind);
		page = stop;
		guest_clock_turn(cpu);
	}
}

static void judge_slot(struct guest_cpu *cpu, uint32_t page)
{
	uint32_t stop = page + STRESS_SLOT_PAGES;
	uint32_t end;

	if (stop > guest_layout.memory_pages)
		stop = guest_layout.memory_pages;
	while (page < stop) {
		enum stress_kind kind = stress_layout_kind(&guest_layout, page, &end);

		if (end > stop)
			end = stop;
		judge_run(cpu, page, end, kind);
		page = end;
	}
}

void guest_verdict(struct guest_cpu *cpu)
{
	volatile struct stress_status *status = guest_status();
	uint32_t step = STRESS_SLOT_PAGES * guest_layout.vcpus;
	uint32_t asked = guest_boot()->verdict_ask;
	uint32_t sum;

	guest_smp_wait(cpu);
	if (cpu->index == 0)
		status->phase = STRESS_PHASE_SWEEP;
	for (uint32_t page = STRESS_SWEEP_FIRST + cpu->index * STRESS_SLOT_PAGES; page < guest_layout.memory_pages;
	     page += step)
		judge_slot(cpu, page);
	guest_smp_wait(cpu);
	if (cpu->index == 0) {
		sum = image_sum_now();
		if (sum != image_sum)
			guest_bad(STRESS_LOAD_ADDRESS / STAMP_PAGE_SIZE, 0, image_sum, sum);
		if (status->verdict == STRESS_VERDICT_NONE)
			status->verdict = STRESS_VERDICT_OK;
		status->phase = STRESS_PHASE_RUN;
		status->verdict_done = asked;
	}
	guest_smp_wait(cpu);
	cpu->due = cpu->last;
}
