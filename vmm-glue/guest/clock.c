/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock.c -- the stress guest's clock: heartbeat, the gaps between two turns, and the pace of writing
 *
 * A turn is the smallest thing the guest can be late with. The distance of two turns in TSC ticks is what the guest knows of
 * having been stopped, whatever stopped it.
 */
#include "guest/stress.h"
#include "guest/stress_guest.h"
#include "guest/stress_stamp.h"

#include <stdint.h>

#define PIT_HZ 1193182u
#define PIT_COMMAND 0x43
#define PIT_CHANNEL0 0x40
#define PIT_LATCH_LOOKS 1000000u
#define CALIBRATE_TICKS 11932u     /* of the PIT: 10 ms */
#define BACKWARDS_TICKS (1u << 22) /* about a millisecond: less is the skew of two of the host's CPUs */

static uint32_t divide(uint64_t dividend, uint32_t divisor)
{
	uint32_t quotient, rest;

	if ((uint32_t)(dividend >> 32) >= divisor)
		return 0xffffffff;
	__asm__("divl %4"
		: "=a"(quotient), "=d"(rest)
		: "0"((uint32_t)dividend), "1"((uint32_t)(dividend >> 32)), "r"(divisor));
	return quotient;
}

static uint32_t pit_count(void)
{
	uint32_t low;

	guest_out(PIT_COMMAND, 0x00);
	low = guest_in(PIT_CHANNEL0);
	return low | (uint32_t)guest_in(PIT_CHANNEL0) << 8;
}

/* For a VMM that has not told: time 10 ms of the interval timer. 0: there is none. */
uint32_t guest_clock_khz(void)
{
	uint64_t start;

	guest_out(PIT_COMMAND, 0x34);
	guest_out(PIT_CHANNEL0, 0xff);
	guest_out(PIT_CHANNEL0, 0xff);
	start = guest_tsc();
	for (uint32_t looks = 0; looks < PIT_LATCH_LOOKS; looks++) {
		uint32_t passed = 0xffff - pit_count();

		if (passed >= CALIBRATE_TICKS && passed < 0xf000)
			return divide((guest_tsc() - start) * (PIT_HZ / 1000), passed);
	}
	return 0;
}

static void gaps_forget(struct guest_cpu *cpu)
{
	for (uint32_t i = 0; i < STRESS_GAP_BUCKETS; i++)
		cpu->status->gap[i] = 0;
	cpu->status->gap_max_tsc = 0;
	cpu->gap_max = 0;
	cpu->gap_seen = guest_boot()->gap_reset;
	cpu->status->gap_reset_done = cpu->gap_seen;
}

/* The rate is divided up once: ticks in which one vCPU may write one batch. */
void guest_clock_start(struct guest_cpu *cpu)
{
	uint32_t rate = guest_boot()->rate_pages;

	gaps_forget(cpu);
	if (rate != 0) {
		uint32_t per_khz = divide((uint64_t)1000 * GUEST_BATCH * guest_layout.vcpus << 12, rate);

		cpu->interval = (uint64_t)per_khz * guest_boot()->tsc_khz >> 12;
	}
	cpu->last = guest_tsc();
	cpu->due = cpu->last;
}

/* 2^32 ticks or more: a second or two; or backwards */
static void gap_long(struct guest_cpu *cpu, uint64_t gap, uint64_t now)
{
	uint32_t bucket = 63 - (uint32_t)__builtin_clz((uint32_t)(gap >> 32));

	if ((int64_t)gap < 0) {
		if (0 - gap > BACKWARDS_TICKS)
			guest_bad(STRESS_BAD_CLOCK, 0, (uint32_t)(cpu->last >> 32), (uint32_t)(now >> 32));
		return;
	}
	cpu->status->gap[bucket < STRESS_GAP_BUCKETS ? bucket : STRESS_GAP_BUCKETS - 1]++;
	cpu->gap_max = 0xffffffff;
	if (gap > cpu->status->gap_max_tsc)
		cpu->status->gap_max_tsc = gap;
}

static void gap_short(struct guest_cpu *cpu, uint32_t gap)
{
	cpu->status->gap[31 - (uint32_t)__builtin_clz(gap | 1)]++;
	if (gap <= cpu->gap_max)
		return;
	cpu->gap_max = gap;
	cpu->status->gap_max_tsc = gap;
}

void guest_clock_turn(struct guest_cpu *cpu)
{
	volatile uint32_t *heartbeat = (volatile uint32_t *)&cpu->status->heartbeat;
	uint64_t now = guest_tsc();
	uint64_t gap = now - cpu->last;

	if ((uint32_t)(gap >> 32) == 0)
		gap_short(cpu, (uint32_t)gap);
	else
		gap_long(cpu, gap, now);
	cpu->last = now;
	if (heartbeat[0] != cpu->turns)
		guest_bad((uint32_t)heartbeat / STAMP_PAGE_SIZE, (uint32_t)heartbeat % STAMP_PAGE_SIZE, cpu->turns,
			  heartbeat[0]);
	heartbeat[0] = ++cpu->turns;
	if (cpu->turns == 0)
		heartbeat[1]++;
	if (guest_boot()->gap_reset != cpu->gap_seen)
		gaps_forget(cpu);
}

/* After a stop there is no catching up: the rate is a rate, not a sum. A verdict asked for is not kept waiting. */
void guest_clock_pace(struct guest_cpu *cpu)
{
	cpu->due += cpu->interval;
	if ((int64_t)(cpu->last - cpu->due) > (int64_t)(16 * cpu->interval))
		cpu->due = cpu->last;
	while ((int64_t)(cpu->last - cpu->due) < 0 && !guest_asked()) {
		guest_relax();
		guest_clock_turn(cpu);
	}
}
