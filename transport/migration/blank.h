/* SPDX-License-Identifier: BSD-2-Clause */
/* blank.h -- makes memory zero that may hold something */
#ifndef MIGRATION_BLANK_H
#define MIGRATION_BLANK_H

#include "migration/populate.h"
#include <decant/error.h>
#include <decant/memory.h>
#include <stdatomic.h>

/*
 * blank_memory() -- all regions of @memory hold zeros when it returns; by the threads of @pool
 *
 * Only pages that are there are looked at, and only those that hold something are written; none is freed, and no hole filled. Ends early
 * once *@stop is set. Returns 0, -ECANCELED, what damage_explain() says, -ENOMEM.
 */
int blank_memory(struct populate *pool, const struct decant_memory *memory, const atomic_bool *stop,
		 struct decant_error *err);

#endif
