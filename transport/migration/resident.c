/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resident.c -- which memory is mapped to pages already
 *
 * The kernel's table has a word per page, whose highest bit tells that the page is there (not swapped out, not only in the
 * page cache). To read it takes a tenth of the time in which MADV_POPULATE_WRITE finds that there is nothing to do, since that takes
 * hold of each page and counts it as used.
 */
#include "migration/resident.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define PRESENT (UINT64_C(1) << 63)
#define WORDS 512u /* asked for at once: of one granule */

int resident_open(void)
{
	return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

static bool all_present(const uint64_t *word, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (!(word[i] & PRESENT))
			return false;
	return true;
}

bool resident_all(int fd, const void *address, uint64_t length)
{
	uint64_t page = (uintptr_t)address / PAGE_BYTES;
	uint64_t left = length / PAGE_BYTES;
	uint64_t word[WORDS];

	if (fd < 0)
		return false;
	while (left > 0) {
		const uint64_t count = left < WORDS ? left : WORDS;
		const size_t bytes = count * sizeof(word[0]);

		if (pread(fd, word, bytes, (off_t)(page * sizeof(word[0]))) != (ssize_t)bytes ||
		    !all_present(word, count))
			return false;
		page += count;
		left -= count;
	}
	return true;
}
