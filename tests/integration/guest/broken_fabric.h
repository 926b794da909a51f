/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * broken_fabric.h -- a loop fabric that can be broken on purpose
 *
 * It brings its own fabric_find(), which a test program that links it gets instead of the library's: the library itself has no
 * such thing in it. One migration at a time.
 */
#ifndef GUEST_BROKEN_FABRIC_H
#define GUEST_BROKEN_FABRIC_H

#include <stdbool.h>
#include <stdint.h>

enum broken_kind {
	BROKEN_NOT,
	BROKEN_SKIP,    /* one page is not sent */
	BROKEN_HALF,    /* the second half of a page is not sent */
	BROKEN_SHIFT,   /* a run lands one page too far */
	BROKEN_GARBAGE, /* a page of noise is written besides */
	BROKEN_BARRIER, /* the barrier is reported while these pages of the last pass are still on their way */
};

struct broken_plan {
	enum broken_kind kind;
	bool last_pass; /* only with the guest paused, and only where the two ends differ; otherwise only before */
	uint32_t first,
		end; /* of these pages of region 0; BROKEN_GARBAGE: page @end, along with a write of one of them */
};

/* broken_fabric_plan() -- from now on; not while a migration runs */
void broken_fabric_plan(const struct broken_plan *plan);

/* broken_fabric_paused() -- told by the test when the guest is paused, and when it goes on */
void broken_fabric_paused(bool paused);

/* broken_fabric_count() -- times that it did what was planned */
uint32_t broken_fabric_count(void);

#endif
