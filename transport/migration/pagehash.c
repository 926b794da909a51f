/* SPDX-License-Identifier: BSD-2-Clause */
/* pagehash.c -- XXH3-64 of each page of a range, without bringing holes into being */
#include "migration/pagehash.h"

#include "migration/damage.h"

#include <errno.h>
#include <inttypes.h>
#include <xxhash.h>

#include "util/bitmap.h"

uint64_t pagehash_page(const void *page)
{
	return XXH3_64bits(page, DECANT_PAGE_SIZE);
}

uint64_t pagehash_zero(void)
{
	static const char zeros[DECANT_PAGE_SIZE] __attribute__((aligned(64)));

	return pagehash_page(zeros);
}

static int check_range(const struct decant_region *region, uint32_t index, uint64_t first, uint64_t count,
		       struct decant_error *err)
{
	uint64_t pages;

	if (region == NULL)
		return decant_error_set(err, -EINVAL, "page hash: there is no region %" PRIu32, index);
	pages = region->length / DECANT_PAGE_SIZE;
	if (first > pages || count > pages - first)
		return decant_error_set(err, -EINVAL,
					"page hash: pages %" PRIu64 "+%" PRIu64 " lie beyond the %" PRIu64
					" pages of region %s",
					first, count, pages, region->name);
	return 0;
}

/* Pages to be hashed, one after the other. */
struct run {
	const char *memory;
	uint64_t count;
	uint64_t *hashes;
};

static void hash_run(void *opaque)
{
	const struct run *run = opaque;

	for (uint64_t i = 0; i < run->count; i++)
		run->hashes[i] = pagehash_page(run->memory + i * DECANT_PAGE_SIZE);
}

static int hash_guarded(const struct decant_region *region, struct run *run, struct decant_error *err)
{
	const struct fault_range range = { run->memory, run->count * DECANT_PAGE_SIZE };
	struct fault fault;

	return fault_guard(&range, 1, hash_run, run, &fault) < 0 ? damage_explain(region, &fault, err) : 0;
}

int64_t pagehash_range(struct extents *extents, uint64_t first, uint64_t count, uint64_t *hashes,
		       uint64_t *present, struct decant_error *err)
{
	const struct decant_region *region = decant_memory_region(extents->memory, extents->index);
	uint64_t offset = first * DECANT_PAGE_SIZE;
	const uint64_t end = offset + count * DECANT_PAGE_SIZE;
	uint64_t length;
	int64_t found = 0;
	int ret;

	ret = check_range(region, extents->index, first, count, err);
	if (ret < 0)
		return ret;
	bitmap_clear_range(present, 0, count);
	while ((ret = extents_next(extents, &offset, end, &length, err)) > 0) {
		const uint64_t at = offset / DECANT_PAGE_SIZE - first;
		struct run run = {
			.memory = (const char *)region->address + offset,
			.count = length / DECANT_PAGE_SIZE,
			.hashes = hashes + at,
		};

		ret = hash_guarded(region, &run, err);
		if (ret < 0)
			break;
		bitmap_set_range(present, at, run.count);
		found += (int64_t)run.count;
		offset += length;
	}
	return ret < 0 ? ret : found;
}
