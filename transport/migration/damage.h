/* SPDX-License-Identifier: BSD-2-Clause */
/* damage.h -- pages of guest memory that cannot be read any more: which, and what that means */
#ifndef MIGRATION_DAMAGE_H
#define MIGRATION_DAMAGE_H

#include "util/fault.h"
#include <decant/memory.h>

/* damage_explain() -- the error for @fault, which is in @region. Returns its code. */
int damage_explain(const struct decant_region *region, const struct fault *fault, struct decant_error *err);

/* damage_find() -- is there a page in [@offset, + @length) that cannot be read, or written with @write? 0: none; else the error */
int damage_find(const struct decant_region *region, uint64_t offset, uint64_t length, bool write,
		struct decant_error *err);

/* damage_is() -- may this error of a fabric, or of a system call, come from such a page? */
bool damage_is(int code);

#endif
