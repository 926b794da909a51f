/* SPDX-License-Identifier: BSD-2-Clause */
/* limit.h -- how much memory this process may still allocate, and which limit says so */
#ifndef MIGRATION_LIMIT_H
#define MIGRATION_LIMIT_H

#include <decant/error.h>
#include <stdint.h>

#define LIMIT_NAME_MAX 192

struct limit {
	uint64_t available;        /* bytes */
	uint64_t value;            /* what the limit is set to, bytes */
	char name[LIMIT_NAME_MAX]; /* "MemAvailable of /proc/meminfo" or the cgroup's file */
};

/*
 * limit_available() -- the narrowest of the host's available memory and the memory cgroups above this process
 *
 * Page cache that the kernel can reclaim counts as available. Ordinary pages only; see limit_huge_available().
 */
void limit_available(struct limit *limit);

/* limit_huge_available() -- huge pages of @page_size that are neither used nor reserved, in bytes; 0 if there is no such size */
void limit_huge_available(uint64_t page_size, struct limit *limit);

/*
 * limit_explain() -- the error for memory that could not be had
 *
 * @code is what the kernel returned for @need bytes in pages of @page_size; @what names them. Returns @code, with the
 * limit that was hit, its value, the value needed and how to raise it.
 */
int limit_explain(struct decant_error *err, int code, const char *what, uint64_t need, uint64_t page_size);

#endif
