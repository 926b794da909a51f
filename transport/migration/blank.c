/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blank.c -- makes memory zero that may hold something
 *
 * Theory of operation
 * -------------------
 * A granule is DIRTY, is made zero by one thread (BUSY), and is CLEAN from then on. Nothing may be written to it from outside before, so what
 * is written later is never taken for what it held. Pages that are there are found by their extents; the pool's threads go over a hole
 * of many granules with one question to the kernel.
 */
#include "migration/blank.h"

#include "migration/damage.h"
#include "migration/granules.h"
#include "migration/memory_data.h"
#include "migration/populate.h"
#include "migration/zero.h"
#include "util/cleanup.h"
#include "util/fault.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_GRANULES 64u /* that a thread of the pool takes at a time */

enum blank_state {
	BLANK_DIRTY,
	BLANK_BUSY,
	BLANK_CLEAN,
};

struct blank_region {
	struct blank *blank;
	uint32_t index;
	uint64_t granule; /* bytes */
	uint64_t count;
	uint8_t *state; /* enum blank_state, protected by the blank's lock */
};

struct blank {
	/* set at creation, read-only after */
	struct blank_opts opts;
	struct blank_region region[DECANT_REGIONS_MAX];
	struct populate *pool;

	atomic_bool stop;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t left; /* granules that are not CLEAN */
	bool told;
	struct decant_error failed;
};

struct blank_piece {
	uint8_t *address;
	uint64_t length;
};

static void zero_guarded(void *opaque)
{
	const struct blank_piece *piece = opaque;

	for (uint64_t at = 0; at < piece->length; at += DECANT_PAGE_SIZE)
		if (!zero_page(piece->address + at))
			memset(piece->address + at, 0, DECANT_PAGE_SIZE);
}

static int zero_extent(const struct decant_region *region, uint64_t offset, uint64_t length,
		       struct decant_error *err)
{
	struct blank_piece piece = { .address = (uint8_t *)region->address + offset, .length = length };
	const struct fault_range range = { .address = piece.address, .length = length };
	struct fault fault;

	return fault_guard(&range, 1, zero_guarded, &piece, &fault) < 0 ? damage_explain(region, &fault, err) : 0;
}

static uint64_t granule_end(const struct blank_region *of, const struct decant_region *region, uint64_t g)
{
	const uint64_t end = (g + 1) * of->granule;

	return end < region->length ? end : region->length;
}

static int zero_granule(const struct blank_region *of, uint64_t g, struct decant_error *err)
{
	const struct decant_memory *memory = of->blank->opts.memory;
	const struct decant_region *region = decant_memory_region(memory, of->index);
	const uint64_t end = granule_end(of, region, g);
	uint64_t offset = g * of->granule, length;
	int rc;

	while ((rc = memory_next_data(memory, of->index, &offset, end, of->granule, &length, err)) == 1) {
		rc = zero_extent(region, offset, length, err);
		if (rc < 0)
			return rc;
		offset += length;
	}
	return rc;
}

/* Tells the owner, once, when there is something to tell. */
static void tell(struct blank *blank)
{
	struct decant_error why;

	{
		DECANT_AUTO_UNLOCK(&blank->lock);
		if (blank->told || blank->stop || (blank->left > 0 && blank->failed.code == 0))
			return;
		blank->told = true;
		why = blank->failed;
	}
	blank->opts.done(blank->opts.opaque, &why);
}

/* true: it is the caller's to make zero; false: it is CLEAN */
static bool claim(struct blank_region *of, uint64_t g)
{
	struct blank *blank = of->blank;

	DECANT_AUTO_UNLOCK(&blank->lock);
	while (of->state[g] == BLANK_BUSY)
		pthread_cond_wait(&blank->changed, &blank->lock);
	if (of->state[g] == BLANK_CLEAN)
		return false;
	of->state[g] = BLANK_BUSY;
	return true;
}

static void release(struct blank_region *of, uint64_t g, int rc, const struct decant_error *why)
{
	struct blank *blank = of->blank;

	DECANT_AUTO_UNLOCK(&blank->lock);
	of->state[g] = rc < 0 ? BLANK_DIRTY : BLANK_CLEAN;
	if (rc == 0)
		blank->left--;
	else if (blank->failed.code == 0)
		blank->failed = *why;
	pthread_cond_broadcast(&blank->changed);
}

static int blank_granule(struct blank_region *of, uint64_t g, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;
	int rc;

	if (!claim(of, g))
		return 0;
	rc = zero_granule(of, g, &why);
	release(of, g, rc, &why);
	tell(of->blank);
	if (rc < 0 && err != NULL)
		*err = why;
	return rc;
}

/* Granules [@g, @end) were holes when nobody but who would have claimed them could write to them. */
static void pass_over(struct blank_region *of, uint64_t g, uint64_t end)
{
	struct blank *blank = of->blank;

	{
		DECANT_AUTO_UNLOCK(&blank->lock);
		for (; g < end; g++) {
			if (of->state[g] != BLANK_DIRTY)
				continue;
			of->state[g] = BLANK_CLEAN;
			blank->left--;
		}
	}
	tell(blank);
}

/* In a thread of the pool. */
static void blank_work(void *opaque, void *address, uint64_t length)
{
	struct blank_region *of = opaque;
	struct blank *blank = of->blank;
	const struct decant_region *region = decant_memory_region(blank->opts.memory, of->index);
	const uint64_t start = (uint64_t)((uint8_t *)address - (uint8_t *)region->address);
	const uint64_t end = (start + length + of->granule - 1) / of->granule;
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t g = start / of->granule;

	while (g < end && !blank->stop) {
		uint64_t offset = g * of->granule, known;
		const int rc = memory_next_data(blank->opts.memory, of->index, &offset, start + length,
						of->granule, &known, &err);
		const uint64_t found = rc == 0 ? end : offset / of->granule;

		/* what cannot be asked for is looked at */
		if (rc >= 0)
			pass_over(of, g, found);
		g = rc >= 0 ? found : g;
		if (g < end && blank_granule(of, g, &err) < 0)
			return;
		g++;
	}
}

int blank_range(struct blank *blank, uint32_t index, uint64_t offset, uint64_t length, struct decant_error *err)
{
	struct blank_region *of = &blank->region[index];
	const uint64_t end = (offset + length + of->granule - 1) / of->granule;
	int rc = 0;

	for (uint64_t g = offset / of->granule; rc == 0 && g < end; g++)
		rc = blank_granule(of, g, err);
	return rc;
}

/* ---- life ---- */

static int add_region(struct blank *blank, uint32_t index)
{
	const struct decant_region *region = decant_memory_region(blank->opts.memory, index);
	struct blank_region *of = &blank->region[index];

	of->blank = blank;
	of->index = index;
	of->granule = granule_size(region->page_size);
	of->count = (region->length + of->granule - 1) / of->granule;
	of->state = calloc(of->count, sizeof(*of->state));
	blank->left += of->count;
	return of->state != NULL ? 0 : -ENOMEM;
}

static int submit_region(struct blank *blank, uint32_t index)
{
	const struct decant_region *region = decant_memory_region(blank->opts.memory, index);
	struct blank_region *of = &blank->region[index];

	return populate_submit_work(blank->pool, region->address, region->length, PIECE_GRANULES * of->granule,
				    region->numa_node, blank_work, of);
}

int blank_new(const struct blank_opts *opts, struct blank **out, struct decant_error *err)
{
	struct blank *blank = calloc(1, sizeof(*blank));
	const uint32_t count = decant_memory_count(opts->memory);
	int rc = 0;

	if (blank == NULL)
		return decant_error_set(err, -ENOMEM, "making memory zero: out of memory");
	blank->opts = *opts;
	pthread_mutex_init(&blank->lock, NULL);
	pthread_cond_init(&blank->changed, NULL);
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = add_region(blank, i);
	if (rc == 0)
		rc = populate_new(opts->threads, &blank->pool, err);
	/* before there is anything to be told of */
	*out = blank;
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = submit_region(blank, i);
	if (rc == 0)
		return 0;
	*out = NULL;
	blank_free(blank);
	return decant_error_set(err, rc, "making memory zero: %s", strerror(-rc));
}

uint64_t blank_cpu_ns(struct blank *blank)
{
	return populate_cpu_ns(blank->pool);
}

void blank_free(struct blank *blank)
{
	if (blank == NULL)
		return;
	blank->stop = true;
	populate_free(blank->pool);
	for (uint32_t i = 0; i < DECANT_REGIONS_MAX; i++)
		free(blank->region[i].state);
	pthread_cond_destroy(&blank->changed);
	pthread_mutex_destroy(&blank->lock);
	free(blank);
}
