/* SPDX-License-Identifier: BSD-2-Clause */
/* idle.h -- a VMM without a VM: its guest never runs, and no page of it is ever dirty */
#ifndef PERF_IDLE_H
#define PERF_IDLE_H

#include <decant/migration.h>
#include <stdbool.h>

/* What it does besides; the VMM may also be NULL: nothing. */
struct idle {
	bool fresh; /* the destination's memory is not populated beforehand */
	/* called at either end where memory may be at its most: when state is saved, and when it is loaded */
	void (*note)(void *opaque);
	void *opaque;
};

/* idle_ops() -- for a struct idle */
const struct decant_vmm_ops *idle_ops(void);

#endif
