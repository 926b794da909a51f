/* SPDX-License-Identifier: BSD-2-Clause */
/* blank.c -- makes memory zero that may hold something: by extents, each cut into pieces for the threads of a pool */
#include "migration/blank.h"

#include "migration/damage.h"
#include "migration/extents.h"
#include "migration/zero.h"
#include "util/cleanup.h"
#include "util/fault.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>

/* What one thread takes at a time, and what may lie with the pool: an extent may be a page, and costs a job. */
#define BLANK_PIECE ((uint64_t)2 << 20)
#define BLANK_QUEUED ((uint64_t)256 << 20)

struct blank {
	const atomic_bool *stop;
	const struct decant_region *region; /* changes only while nothing is queued */

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t queued; /* bytes */
	struct decant_error failed;
};

struct blank_piece {
	uint8_t *address;
	uint64_t length;
};

static void blank_guarded(void *opaque)
{
	const struct blank_piece *piece = opaque;

	for (uint64_t at = 0; at < piece->length; at += DECANT_PAGE_SIZE)
		if (!zero_page(piece->address + at))
			memset(piece->address + at, 0, DECANT_PAGE_SIZE);
}

/* In a thread of the pool. */
static void blank_work(void *opaque, void *address, uint64_t length)
{
	struct blank *blank = opaque;
	struct blank_piece piece = { .address = address, .length = length };
	const struct fault_range range = { .address = address, .length = length };
	struct fault fault;
	const int rc = *blank->stop ? 0 : fault_guard(&range, 1, blank_guarded, &piece, &fault);

	DECANT_AUTO_UNLOCK(&blank->lock);
	if (rc < 0 && blank->failed.code == 0)
		damage_explain(blank->region, &fault, &blank->failed);
	blank->queued -= length;
	pthread_cond_signal(&blank->changed);
}

/* Until no more than @most bytes are with the pool. */
static int await_queue(struct blank *blank, uint64_t most, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&blank->lock);
	while (blank->queued > most)
		pthread_cond_wait(&blank->changed, &blank->lock);
	if (blank->failed.code != 0 && err != NULL)
		*err = blank->failed;
	if (blank->failed.code == 0 && *blank->stop)
		return decant_error_set(err, -ECANCELED, "stopped");
	return blank->failed.code;
}

static int submit_extent(struct populate *pool, struct blank *blank, uint64_t offset, uint64_t length,
			 struct decant_error *err)
{
	const struct decant_region *region = blank->region;
	int rc;

	{
		DECANT_AUTO_UNLOCK(&blank->lock);
		blank->queued += length;
	}
	rc = populate_submit_work(pool, (uint8_t *)region->address + offset, length, BLANK_PIECE,
				  region->numa_node, blank_work, blank);
	if (rc == 0)
		return 0;
	DECANT_AUTO_UNLOCK(&blank->lock);
	blank->queued -= length;
	return decant_error_set(err, rc, "memory: region %s: making it zero: %s", region->name, strerror(-rc));
}

static int blank_region(struct populate *pool, struct blank *blank, const struct decant_memory *memory,
			uint32_t index, struct decant_error *err)
{
	struct extents extents = { .memory = memory, .index = index };
	uint64_t offset = 0, length;
	int rc, ended;

	blank->region = decant_memory_region(memory, index);
	while ((rc = extents_next(&extents, &offset, blank->region->length, &length, err)) == 1) {
		rc = submit_extent(pool, blank, offset, length, err);
		if (rc == 0)
			rc = await_queue(blank, BLANK_QUEUED, err);
		if (rc < 0)
			break;
		offset += length;
	}
	/* whatever has happened, the pool is done with it */
	ended = await_queue(blank, 0, rc < 0 ? NULL : err);
	return rc < 0 ? rc : ended;
}

int blank_memory(struct populate *pool, const struct decant_memory *memory, const atomic_bool *stop,
		 struct decant_error *err)
{
	struct blank blank = {
		.stop = stop,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(memory); i++)
		rc = blank_region(pool, &blank, memory, i, err);
	pthread_cond_destroy(&blank.changed);
	pthread_mutex_destroy(&blank.lock);
	return rc;
}
