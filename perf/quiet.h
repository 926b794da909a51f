/* SPDX-License-Identifier: BSD-2-Clause */
/* quiet.h -- the memory of a guest that does nothing: populated, and full of what can be recomputed */
#ifndef PERF_QUIET_H
#define PERF_QUIET_H

#include <decant/error.h>
#include <decant/memory.h>

/* quiet_new() -- one region in a memfd, populated; nothing of it has to be faulted in, mapped or zeroed later */
int quiet_new(uint64_t length, uint64_t page_size, struct decant_memory **memory, struct decant_error *err);

/* quiet_populate() -- the same for regions that somebody else has made */
int quiet_populate(const struct decant_memory *memory, struct decant_error *err);

/* quiet_fill() -- every word of every page, none of it zero pages */
void quiet_fill(const struct decant_memory *memory);

/* quiet_check() -- is it what quiet_fill() writes? -EBADMSG with the first offset that is not */
int quiet_check(const struct decant_memory *memory, struct decant_error *err);

/* quiet_mark() -- one word of each page of [@offset, + @length) of the first region: as good as full where only zeros matter */
void quiet_mark(const struct decant_memory *memory, uint64_t offset, uint64_t length);

/* quiet_check_marks() -- are they there? as quiet_check() */
int quiet_check_marks(const struct decant_memory *memory, uint64_t offset, uint64_t length,
		      struct decant_error *err);

#endif
