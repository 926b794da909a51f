/* SPDX-License-Identifier: BSD-2-Clause */
/* stress_guest.h -- what the files of the stress guest share; 32-bit and freestanding, never included by the host */
#ifndef GUEST_STRESS_GUEST_H
#define GUEST_STRESS_GUEST_H

#include "guest/stress_layout.h"

#include <stdint.h>

#define GUEST_BATCH 8u   /* pages written between two looks at the clock */
#define GUEST_JUDGED 32u /* pages judged between two */

/* One vCPU, on its own stack. */
struct guest_cpu {
	volatile struct stress_vcpu *status;
	uint32_t index;
	uint32_t first; /* its part of the working set, page numbers */
	uint32_t end;
	uint32_t sweep;    /* whole sweeps so far: what its pages carry */
	uint32_t turns;    /* must equal the heartbeat that the status page shows */
	uint32_t gap_seen; /* the gap_reset it has answered */
	uint32_t gap_max;  /* the status page's, cut at 32 bits */
	uint32_t barriers; /* passed so far */
	uint64_t last;     /* TSC of the last turn */
	uint64_t due;      /* TSC at which the next batch may be written */
	uint64_t interval; /* TSC ticks per batch, 0: as fast as it can */
};

extern struct stress_layout guest_layout;

/* entry.S and the linker script */
extern const uint8_t guest_text_start[], guest_text_end[];
extern const uint8_t guest_trampoline[], guest_trampoline_end[];

/* stress.c: called by entry.S */
void guest_main(uint32_t magic, uint32_t info);
void guest_ap_main(uint32_t index);

/* params.c */
void guest_params(uint32_t magic, uint32_t info);

/* console.c */
void guest_print(const char *text);
void guest_print_number(uint32_t number);
void guest_print_hex(uint32_t number);
void guest_halt(const char *why) __attribute__((noreturn));

/* smp.c */
void guest_smp_up(uint32_t index);
void guest_smp_start(uint32_t vcpus);
void guest_smp_wait(struct guest_cpu *cpu);

/* clock.c */
uint32_t guest_clock_khz(void);
void guest_clock_start(struct guest_cpu *cpu);
void guest_clock_turn(struct guest_cpu *cpu);
void guest_clock_pace(struct guest_cpu *cpu);

/* verdict.c */
void guest_bad_stamp(uint32_t page);
void guest_bad(uint32_t page, uint32_t offset, uint32_t expected, uint32_t found);
void guest_verdict_start(void);
void guest_verdict(struct guest_cpu *cpu);

static inline volatile struct stress_boot *guest_boot(void)
{
	return (volatile struct stress_boot *)STRESS_BOOT_ADDRESS;
}

static inline volatile struct stress_status *guest_status(void)
{
	return (volatile struct stress_status *)STRESS_STATUS_ADDRESS;
}

static inline int guest_asked(void)
{
	return guest_boot()->verdict_ask != guest_status()->verdict_done;
}

static inline void guest_out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t guest_in(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t guest_tsc(void)
{
	uint64_t tsc;

	__asm__ volatile("rdtsc" : "=A"(tsc) : : "memory");
	return tsc;
}

static inline void guest_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#endif
