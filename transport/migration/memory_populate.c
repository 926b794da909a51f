/* SPDX-License-Identifier: BSD-2-Clause */
/* memory_populate.c -- touches all of a set beforehand, by a pool of threads of its own */
#include <decant/memory.h>

#include <pthread.h>

#include "migration/host.h"
#include "migration/memory_data.h"
#include "migration/populate.h"
#include "util/cleanup.h"
#include "util/placement.h"

#define PIECE ((uint64_t)64 << 20) /* so that large pages fit, and several threads have something to do */

struct populating {
	pthread_mutex_t lock;
	pthread_cond_t finished;
	uint64_t left; /* bytes of this region */
	int code;      /* the first that failed */
};

static void piece_done(void *opaque, uint64_t offset, uint64_t length, int code)
{
	struct populating *populating = opaque;
	DECANT_AUTO_UNLOCK(&populating->lock);

	(void)offset;
	if (populating->code == 0)
		populating->code = code;
	populating->left -= length;
	if (populating->left == 0)
		pthread_cond_signal(&populating->finished);
}

static int populate_region(struct populate *pool, struct populating *populating,
			   const struct decant_region *region, struct decant_error *err)
{
	const uint64_t piece = region->page_size > PIECE ? region->page_size : PIECE;
	int ret;

	populating->left = region->length;
	ret = populate_submit(pool, region->address, region->length, piece, region->numa_node, piece_done,
			      populating);
	if (ret == 0) {
		DECANT_AUTO_UNLOCK(&populating->lock);
		while (populating->left != 0)
			pthread_cond_wait(&populating->finished, &populating->lock);
		ret = populating->code;
	}
	return ret < 0 ? populate_explain(err, ret, region->name, region->length, region->page_size) : 0;
}

int decant_memory_populate(struct decant_memory *memory, struct decant_error *err)
{
	struct populating populating = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.finished = PTHREAD_COND_INITIALIZER,
	};
	struct placement placement;
	struct placement_scope scope;
	struct populate *pool;
	int ret = placement_new(NULL, &placement, err);

	if (ret < 0)
		return ret;
	placement_enter(&placement, &scope);
	ret = populate_new(host_populate_threads(0, cpus_count(&placement.cpus)), &pool, err);
	placement_leave(&scope);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; ret == 0 && i < decant_memory_count(memory); i++)
		ret = populate_region(pool, &populating, decant_memory_region(memory, i), err);
	populate_free(pool);
	if (ret == 0)
		memory_set_populated(memory);
	return ret;
}
