/* SPDX-License-Identifier: BSD-2-Clause */
/* stop_list.c -- what is known before the pause to be sent in it */
#include "migration/stop_list.h"

#include "migration/gaps.h"
#include "migration/source.h"
#include "util/bitmap.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 1024u

static int make_room(struct stop_list *list, struct decant_error *err)
{
	const uint64_t capacity = list->capacity > 0 ? 2 * list->capacity : FIRST_CAPACITY;
	struct stop_run *larger;

	if (list->count < list->capacity)
		return 0;
	larger = realloc(list->run, capacity * sizeof(*larger));
	if (larger == NULL)
		return decant_error_set(err, -ENOMEM, "no memory for the list of the last pages");
	list->run = larger;
	list->capacity = capacity;
	return 0;
}

/* Puts the dirty pages of the chunk at page @first on the list, and re-arms them. */
static int take_chunk(struct stop_list *list, struct decant_migration *m, uint32_t region, uint64_t first,
		      uint64_t pages, struct decant_error *err)
{
	uint64_t bitmap[CHUNK_PAGES / 64] = { 0 };
	uint64_t at = 0, run;
	int rc = 0;

	memcpy(bitmap, m->dirty[region] + first / 64, bitmap_words(pages) * sizeof(*bitmap));
	bitmap_clear_range(m->dirty[region], first, pages);
	rc = m->ops.dirty_clear(m->vmm, region, first, pages, bitmap, err);
	list->pages += bitmap_count(bitmap, 0, pages);
	gaps_fill(bitmap, mover_sent(m->mover, region) + first / 64, pages, m->gap_pages);
	while (rc == 0 && (run = bitmap_next_run(bitmap, &at, pages)) > 0) {
		rc = make_room(list, err);
		if (rc < 0)
			return rc;
		list->run[list->count++] = (struct stop_run){ first + at, region, (uint32_t)run };
		at += run;
	}
	return rc;
}

static int take_region(struct stop_list *list, struct decant_migration *m, uint32_t region,
		       struct decant_error *err)
{
	const uint64_t pages = decant_memory_region(m->memory, region)->length / DECANT_PAGE_SIZE;
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && bitmap_next_run(m->dirty[region], &at, pages) > 0) {
		const uint64_t first = at / CHUNK_PAGES * CHUNK_PAGES;
		const uint64_t count = pages - first < CHUNK_PAGES ? pages - first : CHUNK_PAGES;

		rc = take_chunk(list, m, region, first, count, err);
		at = first + count;
	}
	return rc;
}

int stop_list_take(struct stop_list *list, struct decant_migration *m, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(m->memory); i++)
		rc = take_region(list, m, i, err);
	return rc;
}

int stop_list_send(const struct stop_list *list, struct decant_migration *m, struct decant_error *err)
{
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < list->count; i++) {
		const struct stop_run *run = &list->run[i];
		const uint64_t offset = run->first * DECANT_PAGE_SIZE;
		const uint64_t length = run->pages * (uint64_t)DECANT_PAGE_SIZE;

		/* what was a hole until now is not registered any more */
		if (mover_is_announced(m->mover, run->region, offset))
			rc = decant_mover_push(m->mover, run->region, offset, length, err);
		else
			rc = mover_push_inline(m->mover, run->region, offset, length, err);
	}
	return rc < 0 ? rc : mover_flush(m->mover, err);
}

void stop_list_free(struct stop_list *list)
{
	free(list->run);
	*list = (struct stop_list){ 0 };
}
