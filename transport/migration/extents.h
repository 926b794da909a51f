/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * extents.h -- a walk over a region's data that remembers the extent it is in
 *
 * Where data begins the kernel finds at once, but where it ends only page by page. So an extent is told a part at a time, that the first
 * byte does not wait for what comes later, and remembered, that nothing is asked for twice. Data once found stays data: a page
 * that is punched out meanwhile reads as zeros and counts as dirty. Holes are never remembered; they fill.
 */
#ifndef MIGRATION_EXTENTS_H
#define MIGRATION_EXTENTS_H

#include <decant/memory.h>
#include <stdint.h>

/* { .memory, .index } and zeros is a walk that knows nothing yet. One thread. */
struct extents {
	const struct decant_memory *memory;
	uint32_t index;      /* of the region */
	uint64_t start, end; /* [start, end) is data */
};

/* extents_next() -- as decant_memory_next_data(), but a long extent comes in several parts */
int extents_next(struct extents *extents, uint64_t *offset, uint64_t end, uint64_t *length,
		 struct decant_error *err);

/* extents_share() -- what another walk of the same region knows of @offset need not be asked for again */
void extents_share(struct extents *extents, const struct extents *other, uint64_t offset);

#endif
