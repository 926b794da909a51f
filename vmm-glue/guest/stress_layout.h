/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress_layout.h -- which page of the stress guest is what: a pure function of its parameters
 *
 * Compiled into the guest, which stamps and judges by it, and into the host, which checks the parameters by it: no libc.
 *
 *	0      2 MiB  4 MiB                                                             memory_pages
 *	| low,  | hole | working set | hole | zero | hole | data or holes, by 2 MiB slots |
 *	| image |      |             |      |      |      |                               |
 *
 * Each block begins at 2 MiB and leaves at least one page, and at most 2 MiB, of hole before the next. Data fills the slots from
 * the first on, or (scatter) slots drawn by the seed; the slot drawn last may be filled in part. What is left is holes.
 */
#ifndef GUEST_STRESS_LAYOUT_H
#define GUEST_STRESS_LAYOUT_H

#include "guest/stress.h"

#define STRESS_SLOT_PAGES 512u               /* 2 MiB */
#define STRESS_SLOTS_MAX 2048u               /* 4 GiB */
#define STRESS_SWEEP_FIRST STRESS_SLOT_PAGES /* pages below are the image's and the firmware's */
#define STRESS_WSS_FIRST 1024u               /* 4 MiB */

#define STRESS_MEMORY_MIN 4096u   /* pages: 16 MiB */
#define STRESS_WSS_DEFAULT 10240u /* 40 MiB, or a quarter of the memory */
#define STRESS_DATA_DEFAULT \
	32768u /* 128 MiB, or a quarter of the memory: what an emulated KVM fills in half a second */
#define STRESS_ZERO_DEFAULT 1024u /* 4 MiB, or a sixteenth of the memory */

enum stress_kind {
	STRESS_KIND_HOLE,
	STRESS_KIND_WSS,
	STRESS_KIND_DATA,
	STRESS_KIND_ZERO,
};

struct stress_layout {
	uint32_t memory_pages;
	uint32_t vcpus;
	uint32_t wss_pages;
	uint32_t zero_first;
	uint32_t zero_pages;
	uint32_t slot_first; /* page number of slot 0 */
	uint32_t slots;      /* whole ones */
	uint32_t pieces;     /* of them, how many hold data */
	uint32_t last_slot;  /* the piece that may be short: its slot, */
	uint32_t last_pages; /* and its pages */
	uint32_t data_map[STRESS_SLOTS_MAX / 32];
};

/* stress_layout_defaults() -- what is not told; memory_pages is filled */
void stress_layout_defaults(struct stress_boot *boot);

/* stress_layout_room() -- pages that data may have beside the working set and the zero pages; 0 also when those do not fit */
uint32_t stress_layout_room(const struct stress_boot *boot);

/* stress_layout_plan() -- 1, or 0 when it does not fit into the memory */
int stress_layout_plan(struct stress_layout *layout, const struct stress_boot *boot);

/* stress_layout_part() -- where the working set of vCPU @part begins; of vCPU @vcpus: where it ends */
uint32_t stress_layout_part(const struct stress_layout *layout, uint32_t part);

/* stress_layout_kind() -- what @page (from STRESS_SWEEP_FIRST on) is, and in *@end where its like ends or may end */
enum stress_kind stress_layout_kind(const struct stress_layout *layout, uint32_t page, uint32_t *end);

#endif
