/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blank.h -- makes memory zero that may hold something, in the background and where it is needed first
 *
 * Granule by granule, each once: by the threads of a pool in their order, or by whoever is about to have it written to.
 */
#ifndef MIGRATION_BLANK_H
#define MIGRATION_BLANK_H

#include <decant/error.h>
#include <decant/memory.h>
#include <stdint.h>

struct blank;

struct blank_opts {
	const struct decant_memory *memory; /* outlives the blank */
	uint32_t threads;
	/* once, from a thread of the pool or the one in blank_range(): all is zero, or why it cannot be */
	void (*done)(void *opaque, const struct decant_error *why);
	void *opaque;
};

/*
 * blank_new() -- begin; all of @memory is zero when done() is called
 *
 * Only pages that are there are looked at, and only those that hold something are written; none is freed, and no hole filled.
 */
int blank_new(const struct blank_opts *opts, struct blank **blank, struct decant_error *err);

/*
 * blank_range() -- the granules under [@offset, + @length) of region @index are zero, or have been since; any thread
 *
 * Returns 0 or what damage_explain() says.
 */
int blank_range(struct blank *blank, uint32_t index, uint64_t offset, uint64_t length, struct decant_error *err);

/* blank_cpu_ns() -- of the pool's threads; any thread */
uint64_t blank_cpu_ns(struct blank *blank);

/* blank_free() -- end, whether done or not; nothing of it touches the memory any more, and done() is not called. NULL is fine. */
void blank_free(struct blank *blank);

#endif
