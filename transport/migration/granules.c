/* SPDX-License-Identifier: BSD-2-Clause */
/* granules.c -- the source's table of one region's granules */
#include "migration/granules.h"

#include "util/bitmap.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t granule_size(uint64_t page_size)
{
	return page_size > DECANT_GRANULE_SIZE ? page_size : DECANT_GRANULE_SIZE;
}

int granules_init(struct granules *granules, const struct decant_region *region, struct decant_error *err)
{
	*granules = (struct granules){ .size = granule_size(region->page_size) };
	granules->count = (region->length + granules->size - 1) / granules->size;
	granules->pages = region->length / DECANT_PAGE_SIZE;
	granules->state = calloc(granules->count, sizeof(*granules->state));
	granules->rkey = calloc(granules->count, sizeof(*granules->rkey));
	granules->lkey = calloc(granules->count, sizeof(*granules->lkey));
	granules->mapped = calloc(granules->count, sizeof(*granules->mapped));
	granules->mapping = calloc(granules->count, sizeof(*granules->mapping));
	granules->stale = calloc(granules->count, sizeof(*granules->stale));
	granules->unacked = bitmap_new(granules->pages);
	granules->sent = bitmap_new(granules->pages);
	if (granules->state != NULL && granules->rkey != NULL && granules->lkey != NULL &&
	    granules->mapped != NULL && granules->mapping != NULL && granules->stale != NULL &&
	    granules->unacked != NULL && granules->sent != NULL)
		return 0;
	granules_destroy(granules);
	return decant_error_set(err, -ENOMEM, "region %s: no memory for its table of granules", region->name);
}

int granules_keep_written(struct granules *granules, struct decant_error *err)
{
	granules->written = bitmap_new(granules->pages);
	return granules->written != NULL ? 0 : decant_error_set(err, -ENOMEM, "no memory for a table of pages");
}

void granules_forget(struct granules *granules)
{
	memset(granules->state, GRANULE_NONE, granules->count);
	memset(granules->mapped, 0, granules->count * sizeof(*granules->mapped));
	memset(granules->mapping, 0, granules->count * sizeof(*granules->mapping));
	memset(granules->stale, 0, granules->count * sizeof(*granules->stale));
	bitmap_clear_range(granules->sent, 0, granules->pages);
}

bool granules_writable(const struct granules *granules, uint64_t g)
{
	return granules->state[g] == GRANULE_GRANTED && granules->mapped[g] && !granules->stale[g];
}

bool granules_busy(const struct granules *granules)
{
	for (uint64_t g = 0; g < granules->count; g++)
		if (granules->state[g] != GRANULE_NONE && !granules_writable(granules, g))
			return true;
	return false;
}

void granules_destroy(struct granules *granules)
{
	free(granules->state);
	free(granules->rkey);
	free(granules->lkey);
	free(granules->mapped);
	free(granules->mapping);
	free(granules->stale);
	free(granules->unacked);
	free(granules->sent);
	free(granules->written);
	*granules = (struct granules){ 0 };
}
