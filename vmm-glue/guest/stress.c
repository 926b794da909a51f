/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress.c -- the stress guest: stamps memory for ever, and looks each time whether the last stamp is still there
 *
 * Theory of operation
 * -------------------
 * Each vCPU owns a part of the working set. It sweeps it again and again; in sweep s each page must carry the stamp of
 * sweep s - 1, which is computed, never remembered by the page itself, and then gets the stamp of s. Cold data and zero
 * pages are written once at boot. On request all vCPUs finish their sweep and judge all of the memory (verdict.c).
 *
 * Some hosts run this guest in KVM's instruction emulator, where every instruction costs about the same and many that an
 * optimiser likes are missing. Hence: 486 instructions only, a short straight path per page, and the clock, the commands
 * and the counters looked at once per batch of pages.
 */
#include "guest/stress.h"
#include "guest/stress_guest.h"
#include "guest/stress_stamp.h"

#include <stdint.h>

#define PERMUTE_MULTIPLY 1664525u /* 1 modulo 4: with an odd addend the full period of any power of two */

struct stress_layout guest_layout;

/* of the last sweep, and what is added to come to this one */
struct sweep_keys {
	uint32_t word;
	uint32_t word_step;
	uint32_t place;
};

/* Judges and stamps one page. @odd is a constant to the compiler, which so knows both halves: 24 instructions. */
static inline __attribute__((always_inline)) void visit(uint32_t page, const struct sweep_keys *keys, int odd)
{
	uint32_t *at = stamp_at(page, 0);
	uint32_t place = (uint8_t)(page + keys->place);
	uint32_t first = page * STAMP_PAGE + keys->word;
	uint32_t sum;

	sum = at[0] + at[place * 2 + (odd ? STAMP_HALF_EVEN : STAMP_HALF_ODD) / 4] + at[STAMP_LAST / 4];
	if (sum != stamp_sum_of(first))
		guest_bad_stamp(page);
	first += keys->word_step;
	place = (uint8_t)(place + STAMP_PLACE_STEP);
	at[0] = first;
	at[place * 2 + (odd ? STAMP_HALF_ODD : STAMP_HALF_EVEN) / 4] = first + STAMP_INSIDE_ADD;
	at[STAMP_LAST / 4] = first + STAMP_LAST_ADD;
}

static void batch_end(struct guest_cpu *cpu, uint32_t pages)
{
	volatile uint32_t *work = (volatile uint32_t *)&cpu->status->work;

	__asm__ volatile("addl %2, %0; adcl $0, %1" : "+m"(work[0]), "+m"(work[1]) : "r"(pages));
	guest_clock_turn(cpu);
	if (cpu->interval != 0)
		guest_clock_pace(cpu);
}

static inline __attribute__((always_inline)) void sweep_sequential(struct guest_cpu *cpu,
								   const struct sweep_keys *keys, int odd)
{
	const struct sweep_keys local = *keys;
	uint32_t page = cpu->first;

	while (page < cpu->end) {
		uint32_t pages = cpu->end - page < GUEST_BATCH ? cpu->end - page : GUEST_BATCH;
		uint32_t stop = page + pages;

		for (; page != stop; page++)
			visit(page, &local, odd);
		batch_end(cpu, pages);
	}
}

/* Each page once, in an order that changes from sweep to sweep: a full-period generator over the next power of two. */
static inline __attribute__((always_inline)) void sweep_random(struct guest_cpu *cpu,
							       const struct sweep_keys *keys, int odd)
{
	const struct sweep_keys local = *keys;
	uint32_t pages = cpu->end - cpu->first, first = cpu->first;
	uint32_t bits = 0, mask, batch = 0, state = local.word >> 16, add = (local.word << 1) | 1;

	while ((1u << bits) < pages)
		bits++;
	mask = (1u << bits) - 1;
	for (uint32_t left = 1u << bits; left != 0; left--) {
		uint32_t index;

		state = state * PERMUTE_MULTIPLY + add;
		index = (state & mask) ^ (state & mask) >> (bits / 2 + 1);
		if (index >= pages)
			continue;
		visit(first + index, &local, odd);
		if (++batch == GUEST_BATCH) {
			batch_end(cpu, batch);
			batch = 0;
		}
	}
	batch_end(cpu, batch);
}

static void sweep_pages(struct guest_cpu *cpu)
{
	struct stamp_key old = stamp_key(cpu->sweep, guest_boot()->seed);
	struct stamp_key new = stamp_key(cpu->sweep + 1, guest_boot()->seed);
	struct sweep_keys keys = { .word = old.word, .word_step = new.word - old.word, .place = old.place };
	int odd = new.half == STAMP_HALF_ODD;

	if (guest_boot()->pattern == STRESS_PATTERN_RANDOM && odd)
		sweep_random(cpu, &keys, 1);
	else if (guest_boot()->pattern == STRESS_PATTERN_RANDOM)
		sweep_random(cpu, &keys, 0);
	else if (odd)
		sweep_sequential(cpu, &keys, 1);
	else
		sweep_sequential(cpu, &keys, 0);
}

static void sweep(struct guest_cpu *cpu)
{
	if (cpu->first == cpu->end)
		guest_clock_turn(cpu);
	else
		sweep_pages(cpu);
	if ((uint32_t)cpu->status->sweeps != cpu->sweep)
		guest_bad((uint32_t)cpu->status / STAMP_PAGE_SIZE,
			  (uint32_t)&cpu->status->sweeps % STAMP_PAGE_SIZE, cpu->sweep,
			  (uint32_t)cpu->status->sweeps);
	cpu->status->sweeps = ++cpu->sweep;
}

static void fill_working_set(const struct guest_cpu *cpu)
{
	struct stamp_key key = stamp_key(0, guest_boot()->seed);

	for (uint32_t page = cpu->first; page < cpu->end; page++) {
		uint32_t first = stamp_first(page, &key);

		*stamp_at(page, 0) = first;
		*stamp_at(page, stamp_inside_offset(page, &key)) = first + STAMP_INSIDE_ADD;
		*stamp_at(page, STAMP_LAST) = first + STAMP_LAST_ADD;
	}
}

static void fill_data_page(uint32_t page, uint32_t seed)
{
	uint32_t *at = stamp_at(page, stamp_cold_within(page));
	uint32_t word = stamp_cold_first(page, seed);

	*stamp_at(page, 0) = word;
	at[128] = word += STAMP_COLD_ADD;
	at[256] = word += STAMP_COLD_ADD;
	at[384] = word += STAMP_COLD_ADD;
	at[512] = word += STAMP_COLD_ADD;
	at[640] = word += STAMP_COLD_ADD;
	at[768] = word += STAMP_COLD_ADD;
	*stamp_at(page, STAMP_LAST) = word + STAMP_COLD_ADD;
}

static void fill_zero_page(uint32_t page)
{
	for (uint32_t offset = 0; offset < STAMP_PAGE_SIZE; offset += STAMP_EIGHTH)
		*stamp_at(page, offset) = 0xffffffff;
	for (uint32_t offset = 0; offset < STAMP_PAGE_SIZE; offset += STAMP_EIGHTH)
		*stamp_at(page, offset) = 0;
}

/* Every vCPU fills every n-th page. */
static void fill_cold(const struct guest_cpu *cpu)
{
	uint32_t seed = guest_boot()->seed, end;

	for (uint32_t first = guest_layout.zero_first; first < guest_layout.memory_pages; first = end) {
		enum stress_kind kind = stress_layout_kind(&guest_layout, first, &end);

		if (kind == STRESS_KIND_HOLE)
			continue;
		for (uint32_t page = first + cpu->index; page < end; page += guest_layout.vcpus) {
			if (kind == STRESS_KIND_DATA)
				fill_data_page(page, seed);
			else
				fill_zero_page(page);
		}
	}
}

static void run(uint32_t index)
{
	struct guest_cpu cpu = {
		.status = &guest_status()->vcpu[index],
		.index = index,
		.first = stress_layout_part(&guest_layout, index),
		.end = stress_layout_part(&guest_layout, index + 1),
	};

	fill_working_set(&cpu);
	fill_cold(&cpu);
	guest_smp_wait(&cpu);
	if (index == 0)
		guest_status()->phase = STRESS_PHASE_RUN;
	guest_clock_start(&cpu);
	for (;;) {
		sweep(&cpu);
		if (guest_asked())
			guest_verdict(&cpu);
	}
}

void guest_ap_main(uint32_t index)
{
	if (index >= guest_layout.vcpus)
		return;
	guest_smp_up(index);
	run(index);
}

void guest_main(uint32_t magic, uint32_t info)
{
	guest_params(magic, info);
	if (!stress_layout_plan(&guest_layout, (const struct stress_boot *)STRESS_BOOT_ADDRESS))
		guest_halt("working set, data and zero pages do not fit into the memory");
	guest_verdict_start();
	guest_print("decant stress guest: ");
	guest_print_number(guest_layout.vcpus);
	guest_print(" vCPUs, ");
	guest_print_number(guest_layout.wss_pages / 256);
	guest_print(" MiB working set\n");
	guest_status()->magic = STRESS_BOOT_MAGIC;
	guest_status()->phase = STRESS_PHASE_FILL;
	guest_smp_start(guest_layout.vcpus);
	run(0);
}
