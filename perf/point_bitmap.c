/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * point_bitmap.c -- the dirty bitmap of a large guest: finding its runs, as a pass does, and the limit of that, reading it once
 *
 * One page in ten thousand is dirty, spread as evenly as a permutation spreads them, which is worse for a search than clusters. Bytes are
 * those of the bitmap.
 */
#include "point.h"

#include "util/bitmap.h"
#include "util/clock.h"
#include <decant/memory.h>
#include <errno.h>
#include <stdlib.h>

#define DIRTY_ONE_IN 10000u
#define REPEATS 16u

/* What is searched or read for: the same at each repetition, and known beforehand. */
struct task {
	uint64_t *map;
	uint64_t pages;
	uint64_t expected;
	uint64_t (*run)(const struct task *task);
};

static uint64_t find_runs(const struct task *task)
{
	uint64_t first = 0, found = 0, run;

	while ((run = bitmap_next_run(task->map, &first, task->pages)) > 0) {
		found += run;
		first += run;
	}
	return found;
}

/* As fast as a processor reads memory: sums that do not wait for each other. */
static uint64_t read_once(const struct task *task)
{
	const size_t words = bitmap_words(task->pages);
	uint64_t sum[8] = { 0 };
	size_t w = 0;

	for (; w + 8 <= words; w += 8)
		for (unsigned int i = 0; i < 8; i++)
			sum[i] ^= task->map[w + i];
	for (; w < words; w++)
		sum[0] ^= task->map[w];
	return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

static int task_new(struct task *task, const struct point_opts *opts, struct decant_error *err)
{
	task->pages = opts->length / DECANT_PAGE_SIZE;
	task->map = bitmap_new(task->pages);
	if (task->map == NULL)
		return decant_error_set(err, -ENOMEM, "bitmap: no memory for %zu bytes",
					bitmap_words(task->pages) * sizeof(uint64_t));
	/* a place of its own in each ten thousand pages */
	for (uint64_t i = 0; (i + 1) * DIRTY_ONE_IN <= task->pages; i++)
		bitmap_set(task->map, i * DIRTY_ONE_IN + i * 2654435761u % DIRTY_ONE_IN);
	return 0;
}

static int measure(struct task *task, const struct point_opts *opts, struct point_result *result,
		   struct decant_error *err)
{
	int rc = task_new(task, opts, err);
	uint64_t cpu_ns, started;

	if (rc < 0)
		return rc;
	task->expected = task->run == find_runs ? task->pages / DIRTY_ONE_IN : task->run(task);
	cpu_ns = point_cpu_ns();
	started = clock_now_ns();
	for (unsigned int i = 0; rc == 0 && i < REPEATS; i++) {
		if (task->run(task) != task->expected)
			rc = decant_error_set(err, -EIO, "bitmap: not what is in it was found");
	}
	result->ns = clock_now_ns() - started;
	result->cpu_ns = point_cpu_ns() - cpu_ns;
	result->bytes = REPEATS * bitmap_words(task->pages) * sizeof(uint64_t);
	result->streams = 1;
	free(task->map);
	return rc;
}

int point_bitmap_scan(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	struct task task = { .run = find_runs };

	return measure(&task, opts, result, err);
}

int point_bitmap_read(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	struct task task = { .run = read_once };

	return measure(&task, opts, result, err);
}
