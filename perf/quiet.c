/* SPDX-License-Identifier: BSD-2-Clause */
/* quiet.c -- the memory of a guest that does nothing */
#include "quiet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define WORDS_PER_PAGE (DECANT_PAGE_SIZE / sizeof(uint64_t))

int quiet_populate(const struct decant_memory *memory, struct decant_error *err)
{
	for (uint32_t i = 0; i < decant_memory_count(memory); i++) {
		const struct decant_region *region = decant_memory_region(memory, i);

		if (madvise(region->address, region->length, MADV_POPULATE_WRITE) < 0)
			return decant_error_set(err, -errno,
						"populating %" PRIu64 " MiB: %s; is so much memory free?",
						region->length >> 20, strerror(errno));
	}
	return 0;
}

int quiet_new(uint64_t length, uint64_t page_size, struct decant_memory **out, struct decant_error *err)
{
	struct decant_region region = DECANT_REGION_INIT;
	struct decant_memory *memory;
	int rc = decant_memory_new(&memory, err);

	if (rc < 0)
		return rc;
	snprintf(region.name, sizeof(region.name), "ram0");
	region.length = length;
	region.page_size = page_size;
	rc = decant_memory_allocate(memory, &region, err);
	if (rc >= 0)
		rc = quiet_populate(memory, err);
	if (rc < 0) {
		decant_memory_free(memory);
		return rc;
	}
	*out = memory;
	return 0;
}

/* A page starts from its own number, so that a page in another's place is found out. */
static uint64_t first_word(uint64_t page)
{
	return (page + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t next_word(uint64_t word)
{
	word ^= word << 13;
	word ^= word >> 7;
	return word ^ word << 17;
}

static void fill_page(uint64_t *words, uint64_t page)
{
	uint64_t word = first_word(page);

	for (unsigned int i = 0; i < WORDS_PER_PAGE; i++, word = next_word(word))
		words[i] = word;
}

/* How many words are as fill_page() leaves them, from the first. */
static unsigned int right_words(const uint64_t *words, uint64_t page)
{
	uint64_t word = first_word(page);
	unsigned int i;

	for (i = 0; i < WORDS_PER_PAGE && words[i] == word; i++)
		word = next_word(word);
	return i;
}

void quiet_fill(const struct decant_memory *memory)
{
	for (uint32_t i = 0; i < decant_memory_count(memory); i++) {
		const struct decant_region *region = decant_memory_region(memory, i);
		uint64_t *words = region->address;

		for (uint64_t page = 0; page < region->length / DECANT_PAGE_SIZE; page++)
			fill_page(words + page * WORDS_PER_PAGE, page);
	}
}

static int check_region(const struct decant_region *region, struct decant_error *err)
{
	const uint64_t *words = region->address;

	for (uint64_t page = 0; page < region->length / DECANT_PAGE_SIZE; page++) {
		const unsigned int right = right_words(words + page * WORDS_PER_PAGE, page);

		if (right < WORDS_PER_PAGE)
			return decant_error_set(err, -EBADMSG,
						"region %s: the destination differs from the source at %#" PRIx64,
						region->name,
						page * DECANT_PAGE_SIZE + right * (uint64_t)sizeof(uint64_t));
	}
	return 0;
}

int quiet_check(const struct decant_memory *memory, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(memory); i++)
		rc = check_region(decant_memory_region(memory, i), err);
	return rc;
}

void quiet_mark(const struct decant_memory *memory, uint64_t offset, uint64_t length)
{
	uint64_t *words = decant_memory_region(memory, 0)->address;

	for (uint64_t page = offset / DECANT_PAGE_SIZE; page < (offset + length) / DECANT_PAGE_SIZE; page++)
		words[page * WORDS_PER_PAGE] = first_word(page);
}

int quiet_check_marks(const struct decant_memory *memory, uint64_t offset, uint64_t length,
		      struct decant_error *err)
{
	const uint64_t *words = decant_memory_region(memory, 0)->address;

	for (uint64_t page = offset / DECANT_PAGE_SIZE; page < (offset + length) / DECANT_PAGE_SIZE; page++) {
		if (words[page * WORDS_PER_PAGE] != first_word(page))
			return decant_error_set(err, -EBADMSG,
						"the destination differs from the source at %#" PRIx64,
						page * DECANT_PAGE_SIZE);
	}
	return 0;
}
