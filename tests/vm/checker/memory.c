/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c -- pages that carry their number and version in every word: checked, and written anew with the next version, round and round
 *
 * A few are rewritten in every round, so that each pass of a migration finds them dirty; beside them a window wanders through all. What a
 * page must hold is known from its number and from a table of versions, so a page that is old, torn or another one's shows.
 */
#include "checker.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define HOT_PAGES 64 /* rewritten in each round */
#define WINDOW_PAGES 32
#define NAP_MS 50 /* with the above: 7.5 MB/s are written, 2.5 MB/s of them to pages that were clean */
#define ODD_STEP 0x9e3779b97f4a7c15ull

struct area {
	uint64_t (*pages)[PAGE_WORDS];
	uint32_t *versions;
	size_t count;
};

static void stamp(struct area *area, size_t number)
{
	uint64_t word = checker_mix(number, ++area->versions[number]);

	for (size_t i = 0; i < PAGE_WORDS; i++, word += ODD_STEP)
		area->pages[number][i] = word;
}

static bool check(struct checker *checker, const struct area *area, size_t number)
{
	uint64_t word = checker_mix(number, area->versions[number]);

	for (size_t i = 0; i < PAGE_WORDS; i++, word += ODD_STEP) {
		if (area->pages[number][i] != word) {
			checker_bad(checker, CHECKER_MEMORY, "page %zu is not that of version %u from byte %zu on",
				    number, area->versions[number], i * sizeof(word));
			return false;
		}
	}
	return true;
}

static bool renew(struct checker *checker, struct area *area, size_t begin, size_t count)
{
	for (size_t i = begin; i < begin + count; i++) {
		if (!check(checker, area, i))
			return false;
		stamp(area, i);
	}
	return true;
}

static bool set_up(struct checker *checker, struct area *area)
{
	const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
	void *pages, *versions;

	area->count = checker->memory_bytes / PAGE_BYTES / WINDOW_PAGES * WINDOW_PAGES;
	pages = mmap(NULL, area->count * PAGE_BYTES, protection, flags, -1, 0);
	versions = mmap(NULL, area->count * sizeof(uint32_t), protection, flags, -1, 0);
	if (area->count < HOT_PAGES + WINDOW_PAGES || pages == MAP_FAILED || versions == MAP_FAILED) {
		checker_bad(checker, CHECKER_MEMORY, "no %zu bytes: %s", checker->memory_bytes, strerror(errno));
		return false;
	}
	area->pages = pages;
	area->versions = versions;
	for (size_t i = 0; i < area->count; i++)
		stamp(area, i);
	return true;
}

void *checker_memory(void *opaque)
{
	struct checker *checker = opaque;
	struct area area = { 0 };
	size_t window = HOT_PAGES;

	if (!set_up(checker, &area))
		return NULL;
	while (!checker->judging) {
		if (!renew(checker, &area, 0, HOT_PAGES) || !renew(checker, &area, window, WINDOW_PAGES))
			return NULL;
		window += WINDOW_PAGES;
		if (window == area.count)
			window = HOT_PAGES;
		checker->rounds[CHECKER_MEMORY]++;
		checker_nap(NAP_MS);
	}
	for (size_t i = 0; i < area.count && check(checker, &area, i); i++)
		;
	return NULL;
}
