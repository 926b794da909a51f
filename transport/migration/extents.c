/* SPDX-License-Identifier: BSD-2-Clause */
/* extents.c -- a walk over a region's data that remembers the extent it is in */
#include "migration/extents.h"

#include "migration/memory_data.h"
#include <stdbool.h>

/* Looked at in one go: the first byte waits for it. */
#define EXTENT_MOST ((uint64_t)16 << 20)

static bool covers(const struct extents *extents, uint64_t offset)
{
	return offset >= extents->start && offset < extents->end;
}

static uint64_t extent_most(const struct decant_region *region)
{
	return region->page_size > EXTENT_MOST ? region->page_size : EXTENT_MOST;
}

int extents_next(struct extents *extents, uint64_t *offset, uint64_t end, uint64_t *length,
		 struct decant_error *err)
{
	const struct decant_region *region = decant_memory_region(extents->memory, extents->index);
	int rc;

	if (*offset >= end)
		return 0;
	if (!covers(extents, *offset)) {
		uint64_t at = *offset, known;

		rc = memory_next_data(extents->memory, extents->index, &at, region->length, extent_most(region),
				      &known, err);
		if (rc <= 0)
			return rc;
		extents->start = at;
		extents->end = at + known;
		if (at >= end)
			return 0;
		*offset = at;
	}
	*length = (extents->end < end ? extents->end : end) - *offset;
	return 1;
}

void extents_share(struct extents *extents, const struct extents *other, uint64_t offset)
{
	if (covers(extents, offset) || !covers(other, offset))
		return;
	extents->start = other->start;
	extents->end = other->end;
}
