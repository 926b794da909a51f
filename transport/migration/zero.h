/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zero.h -- which pages hold nothing but zeros
 *
 * The guest may write to a page while it is looked at. That is no error: such a page is dirty, comes again in the next pass, and
 * until then either answer will do.
 */
#ifndef MIGRATION_ZERO_H
#define MIGRATION_ZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* zero_page() -- are all 4096 bytes at @page, which is aligned to 64, zero? The fastest way this CPU has. */
bool zero_page(const void *page);

/*
 * zero_scan() -- look at those of the @pages pages at @memory whose bit in @bitmap is set (bit i = page i)
 *
 * Clears the bits of the pages that are all zeros; pages whose bit is 0 are not read. Returns how many were cleared.
 */
uint64_t zero_scan(const void *memory, uint64_t pages, uint64_t *bitmap);

/* One way of looking at a page, for tests and benchmarks. */
struct zero_variant {
	const char *name;
	bool (*supported)(void); /* by this CPU */
	bool (*page)(const void *page);
};

/* zero_variants() -- all that this build has, the best first; the last one runs anywhere */
const struct zero_variant *zero_variants(size_t *count);

#endif
