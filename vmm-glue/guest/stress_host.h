/* SPDX-License-Identifier: BSD-2-Clause */
/* stress_host.h -- the host's side of the stress guest: its image, its parameters, what it says */
#ifndef GUEST_STRESS_HOST_H
#define GUEST_STRESS_HOST_H

#include "guest/stress.h"

#include <decant/error.h>
#include <decant/memory.h>
#include <decant/stats.h>
#include <stdbool.h>
#include <stdint.h>

/* the Multiboot image, an ELF file */
extern const uint8_t stress_image[], stress_image_end[];

#define STRESS_DEFAULT UINT64_MAX /* of a size: as stress_layout.h says */

/* As told: bytes. */
struct stress_options {
	uint64_t wss;
	uint64_t data;
	uint64_t zero;
	uint64_t rate; /* bytes dirtied per second by all vCPUs, 0: as fast as it can */
	uint32_t pattern;
	uint32_t seed;
	uint32_t scatter;
};

/*
 * stress_options_parse() -- "wss=40M,data=128M,zero=4M,rate=100M,pattern=seq|random,seed=1,scatter=0|1"; all optional
 *
 * Sizes and rate as size.h takes them; they are rounded up to pages. NULL and "" are all defaults.
 * Returns 0 or -EINVAL: which key, what is wrong with it, what there is.
 */
int stress_options_parse(const char *text, struct stress_options *options, struct decant_error *err);

/*
 * stress_options_fill() -- make the boot page's content
 *
 * @memory_bytes: guest memory from address 0 to the first hole. @tsc_khz: of the guest's TSC, not 0.
 * Returns 0, or -EINVAL: too many vCPUs, or it does not fit into the memory, with what would.
 */
int stress_options_fill(const struct stress_options *options, uint64_t memory_bytes, uint32_t vcpus,
			uint32_t tsc_khz, struct stress_boot *boot, struct decant_error *err);

/* A stress guest in the memory of this process. Used by one thread at a time. */
struct stress_host {
	/* set by attach */
	volatile struct stress_boot *boot;
	const volatile struct stress_status *status;
	void (*mark)(void *opaque, uint64_t guest_address, uint64_t length);
	void *opaque;
	/* of the last start */
	uint64_t start_ns;
	uint64_t start_work;
	uint64_t start_heartbeat[STRESS_VCPUS_MAX];
	/* any thread */
	_Atomic bool abandoned;
};

/*
 * stress_host_attach() -- find boot page and status in the guest's memory
 *
 * @mark is told of each write of the host to guest memory, when it is done; it may be NULL.
 * Returns 0, -EINVAL: no memory there.
 */
int stress_host_attach(struct stress_host *host, const struct decant_memory *memory,
		       void (*mark)(void *opaque, uint64_t guest_address, uint64_t length), void *opaque,
		       struct decant_error *err);

/* stress_host_boot() -- hand the parameters over; after the image has been loaded, before the first vCPU runs */
void stress_host_boot(struct stress_host *host, const struct stress_boot *boot);

/* stress_host_present() -- has a stress guest started in this memory? */
bool stress_host_present(const struct stress_host *host);

/* stress_host_phase() -- an enum stress_phase; STRESS_PHASE_BOOT until it has started */
uint32_t stress_host_phase(const struct stress_host *host);

/* stress_host_started() -- note work and time: verdict's rate counts from here. Call just before the vCPUs enter. */
void stress_host_started(struct stress_host *host);

/* stress_host_gap_reset() -- the guest shall forget the gaps seen so far; does not wait for it */
void stress_host_gap_reset(struct stress_host *host);

/* stress_host_gap_max_ns() -- the largest gap of any vCPU since the last reset that it has answered */
uint64_t stress_host_gap_max_ns(const struct stress_host *host);

/* stress_host_work() -- pages stamped so far by all vCPUs */
uint64_t stress_host_work(const struct stress_host *host);

/*
 * stress_host_verdict() -- ask the guest, which runs, to judge all of its memory, and wait for the answer
 *
 * Waits first until every vCPU has turned since stress_host_started(), so that the pause is the guest's whole pause, and
 * reads it before the sweep, which has gaps of its own.
 * Returns 0 with *@verdict filled, also when that is BAD; -ETIMEDOUT: no answer, and how far it came;
 * -ECANCELED: abandoned.
 */
int stress_host_verdict(struct stress_host *host, uint64_t timeout_ns, struct decant_verdict *verdict,
			struct decant_error *err);

/* stress_host_abandon() -- the guest will not run in this memory again: wait for no verdict; any thread */
void stress_host_abandon(struct stress_host *host);

#endif
