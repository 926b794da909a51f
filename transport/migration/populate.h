/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * populate.h -- a pool of threads that make memory ready ahead of the data: touch it, or what else its owner has to do
 *
 * Threads: the pool makes @threads of its own, named "decant-populate", which block all signals. decant_populate calls may
 * come from any thread, except that populate_free() ends the pool for all and must not come from @done.
 */
#ifndef MIGRATION_POPULATE_H
#define MIGRATION_POPULATE_H

#include <decant/error.h>
#include <stdint.h>

struct populate;

/*
 * Called once per granule, from a thread of the pool (from populate_submit() itself if the pool has no threads), for several granules at
 * once and in any order. @offset counts from the submitted address. @code is 0 or a negative errno; see populate_explain().
 */
typedef void populate_done_fn(void *opaque, uint64_t offset, uint64_t length, int code);

/* populate_new() -- a pool of @threads threads; with 0 all work is done inside populate_submit(). -EAGAIN, -ENOMEM. */
int populate_new(unsigned threads, struct populate **populate, struct decant_error *err);

/*
 * populate_submit() -- touch [@address, + @length) granule by granule, so that it is allocated and mapped
 *
 * @granule is a multiple of 4 KiB; granules count from @address, the last may be shorter. @node is the NUMA node whose CPUs shall do
 * it, -1: any. Jobs are begun in the order of submission. Costs memory for a job, not for its granules. Does not block.
 * Returns 0; -EINVAL; -ENOMEM: then @done is not called.
 */
int populate_submit(struct populate *populate, void *address, uint64_t length, uint64_t granule, int node,
		    populate_done_fn *done, void *opaque);

/* populate_touch() -- what populate_submit() does to one granule, here and now; its code. Any thread. */
int populate_touch(const struct populate *populate, void *address, uint64_t length);

/* Called like populate_done_fn, with the granule itself. */
typedef void populate_work_fn(void *opaque, void *address, uint64_t length);

/* populate_submit_work() -- as populate_submit(), but @work does it, and the pool touches nothing */
int populate_submit_work(struct populate *populate, void *address, uint64_t length, uint64_t granule, int node,
			 populate_work_fn *work, void *opaque);

/*
 * populate_explain() -- what a @code handed to @done means for memory called @what, and what to do about it
 *
 * @length: bytes that could not be had. Returns @code.
 */
int populate_explain(struct decant_error *err, int code, const char *what, uint64_t length, uint64_t page_size);

/*
 * populate_free() -- drop what is queued, wait for what is running, end the threads; NULL is fine
 *
 * @done is not called for what is dropped, and never again after the return.
 */
void populate_free(struct populate *populate);

/* populate_cpu_ns() -- CPU time of the pool's threads so far; any thread */
uint64_t populate_cpu_ns(struct populate *populate);

#endif
