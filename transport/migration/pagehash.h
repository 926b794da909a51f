/* SPDX-License-Identifier: BSD-2-Clause */
/* pagehash.h -- XXH3-64 of each page of a range, without bringing holes into being */
#ifndef MIGRATION_PAGEHASH_H
#define MIGRATION_PAGEHASH_H

#include "migration/extents.h"
#include <decant/memory.h>
#include <stdint.h>

/*
 * pagehash_range() -- hash pages [@first, @first + @count) of 4 KiB of the region that @extents walks
 *
 * hashes[i] is the hash of page @first + i and bit i of @present is set, if there is such a page; for a hole hashes[i] is left
 * alone and the bit is 0. A page that is there and zero has pagehash_zero(), so a hole and it can be told to be equal.
 * Nobody may write to the range meanwhile.
 * Returns the number of pages present (at most INT64_MAX), or a negative errno: -EINVAL (no such region or range).
 */
int64_t pagehash_range(struct extents *extents, uint64_t first, uint64_t count, uint64_t *hashes,
		       uint64_t *present, struct decant_error *err);

/* pagehash_page() -- of one page of 4 KiB */
uint64_t pagehash_page(const void *page);

/* pagehash_zero() -- of a page of zeros */
uint64_t pagehash_zero(void);

#endif
