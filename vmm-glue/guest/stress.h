/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress.h -- what the stress guest and the VMM share: fixed places in guest memory
 *
 * Included by the guest (32-bit, freestanding) and the host (64-bit): fixed widths, naturally aligned, no pointers. All
 * fields little-endian. The VMM finds both structs at fixed guest physical addresses once the image is loaded.
 */
#ifndef GUEST_STRESS_H
#define GUEST_STRESS_H

#define STRESS_LOAD_ADDRESS 0x00100000u
#define STRESS_BOOT_ADDRESS 0x00101000u   /* struct stress_boot, one page */
#define STRESS_STATUS_ADDRESS 0x00102000u /* struct stress_status, four pages */
#define STRESS_BOOT_MAGIC 0x54534344u     /* "DCST" */
#define STRESS_VCPUS_MAX 16
#define STRESS_GAP_BUCKETS 40

#ifndef __ASSEMBLER__ /* the guest's entry takes only the numbers */

#include <stdint.h>

enum stress_pattern {
	STRESS_PATTERN_SEQUENTIAL = 0,
	STRESS_PATTERN_RANDOM = 1,
};

/* written by the VMM before the first instruction (or by the guest itself from the multiboot command line) */
struct stress_boot {
	uint32_t magic;
	uint32_t vcpus;
	uint32_t memory_pages; /* of 4 KiB below the 32-bit hole: all that the guest may touch */
	uint32_t wss_pages;    /* working set, written for ever */
	uint32_t data_pages;   /* stamped once at boot, then cold; beside the working set */
	uint32_t zero_pages;   /* written with data and zeroed again at boot: pages that are allocated and zero */
	uint32_t rate_pages;   /* pages written per second by all vCPUs together, 0: as fast as it can */
	uint32_t pattern;      /* enum stress_pattern */
	uint32_t seed;
	uint32_t scatter; /* 0: cold data in one block; 1: at random in pieces of 2 MiB */
	uint32_t tsc_khz; /* 0: unknown */
	/* commands: the VMM counts up, the guest answers in stress_status with the same number */
	uint32_t gap_reset;   /* forget the gaps seen so far */
	uint32_t verdict_ask; /* sweep all memory once and judge */
};

enum stress_verdict {
	STRESS_VERDICT_NONE = 0,
	STRESS_VERDICT_OK = 1,
	STRESS_VERDICT_BAD = 2,
};

enum stress_phase {
	STRESS_PHASE_BOOT = 0,
	STRESS_PHASE_FILL = 1,
	STRESS_PHASE_RUN = 2, /* only from here on is the heartbeat regular */
	STRESS_PHASE_SWEEP = 3,
};

/* bad_page when no page is to blame */
#define STRESS_BAD_CLOCK \
	0xffffffffu /* a vCPU's TSC ran backwards; expected, found: its high words before, after */

struct stress_vcpu {
	uint64_t heartbeat;   /* counts loop turns */
	uint64_t work;        /* pages stamped */
	uint64_t gap_max_tsc; /* largest distance of two turns since the last gap_reset */
	uint64_t sweeps;      /* whole sweeps of its part of the working set */
	uint32_t gap_reset_done;
	uint32_t reserved;
	uint32_t gap[STRESS_GAP_BUCKETS]; /* histogram: bucket i counts gaps of [2^i, 2^(i+1)) TSC ticks */
};

struct stress_status {
	uint32_t magic;        /* STRESS_BOOT_MAGIC when the guest has started */
	uint32_t phase;        /* enum stress_phase, of the slowest vCPU */
	uint32_t verdict_done; /* the verdict_ask that this answers */
	uint32_t verdict;      /* enum stress_verdict; BAD as soon as any check fails, for ever */
	uint32_t bad_pages;    /* found so far */
	uint32_t bad_page;     /* the first: page number, */
	uint32_t bad_offset;   /* byte in it, */
	uint32_t bad_expected; /* what should be there */
	uint32_t bad_found;    /* and what is */
	uint32_t vcpus_up;
	uint64_t reserved;
	struct stress_vcpu vcpu[STRESS_VCPUS_MAX];
};

#endif
#endif
