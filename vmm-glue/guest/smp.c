/* SPDX-License-Identifier: BSD-2-Clause */
/* smp.c -- the other processors: woken with INIT and SIPI through the local APIC, and a barrier for all */
#include "guest/stress.h"
#include "guest/stress_guest.h"

#include <stdint.h>

#define TRAMPOLINE 0x8000u /* below 640 KiB, clear of what firmware and loaders hand over */
#define APIC_SPURIOUS ((volatile uint32_t *)0xfee000f0)
#define APIC_ICR_LOW ((volatile uint32_t *)0xfee00300)
#define APIC_ICR_HIGH ((volatile uint32_t *)0xfee00310)
#define APIC_ENABLE 0x1ff
#define ICR_INIT 0x4500
#define ICR_STARTUP 0x4600
#define SIPI_TRIES 100
#define WAIT_TICKS (20u << 20) /* about 10 ms */

/* how many barriers each vCPU has reached; written by that vCPU alone */
static volatile uint32_t reached[STRESS_VCPUS_MAX];
static volatile uint32_t up[STRESS_VCPUS_MAX];

static void apic_send(uint32_t id, uint32_t command)
{
	*APIC_ICR_HIGH = id << 24;
	*APIC_ICR_LOW = command;
}

static int wait_up(uint32_t id)
{
	uint64_t start = guest_tsc();

	while (guest_tsc() - start < WAIT_TICKS) {
		if (up[id])
			return 1;
		guest_relax();
	}
	return up[id] != 0;
}

static void start_one(uint32_t id)
{
	apic_send(id, ICR_INIT);
	wait_up(id);
	for (int i = 0; i < SIPI_TRIES; i++) {
		apic_send(id, ICR_STARTUP | TRAMPOLINE >> 12);
		if (wait_up(id))
			return;
	}
	guest_halt("a processor does not start; are there as many as vcpus= says?");
}

void guest_smp_up(uint32_t index)
{
	up[index] = 1;
}

void guest_smp_start(uint32_t vcpus)
{
	volatile uint8_t *to = (volatile uint8_t *)TRAMPOLINE;

	for (const uint8_t *from = guest_trampoline; from < guest_trampoline_end; from++)
		*to++ = *from;
	*APIC_SPURIOUS = APIC_ENABLE;
	guest_status()->vcpus_up = 1;
	for (uint32_t id = 1; id < vcpus; id++) {
		start_one(id);
		guest_status()->vcpus_up = id + 1;
	}
}

void guest_smp_wait(struct guest_cpu *cpu)
{
	uint32_t turn = ++cpu->barriers;

	reached[cpu->index] = turn;
	for (uint32_t i = 0; i < guest_layout.vcpus; i++) {
		while ((int32_t)(reached[i] - turn) < 0) {
			guest_relax();
			if (cpu->last != 0)
				guest_clock_turn(cpu);
		}
	}
}
