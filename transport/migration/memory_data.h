/* SPDX-License-Identifier: BSD-2-Clause */
/* memory_data.h -- what the engine needs of guest memory beyond <decant/memory.h>: extents, found a part at a time, and what is known to be there */
#ifndef MIGRATION_MEMORY_DATA_H
#define MIGRATION_MEMORY_DATA_H

#include <decant/memory.h>

/*
 * memory_next_data() -- as decant_memory_next_data(), but of an extent longer than @most bytes only so much is told
 *
 * Takes time for what it tells, not for the whole extent; unless that is swapped out. @most is a multiple of the region's page size.
 */
int memory_next_data(const struct decant_memory *memory, uint32_t index, uint64_t *offset, uint64_t end,
		     uint64_t most, uint64_t *length, struct decant_error *err);

/*
 * memory_set_populated(), memory_is_populated() -- all of it has been touched, so nobody need look whether it is there
 *
 * A page that the kernel has swapped out since is fetched by who touches it, as any other.
 */
void memory_set_populated(struct decant_memory *memory);
bool memory_is_populated(const struct decant_memory *memory, uint32_t index);

#endif
