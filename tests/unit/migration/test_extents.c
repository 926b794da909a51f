/* SPDX-License-Identifier: BSD-2-Clause */
/* test_extents.c -- the walk over a region's data: all of it, nothing else, a part at a time */
#include "migration/extents.h"

#include "util/bitmap.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((uint64_t)DECANT_PAGE_SIZE)
#define MIB ((uint64_t)1 << 20)
#define LENGTH (64 * MIB)
#define CHUNK (2 * MIB)
#define PAGES (LENGTH / PAGE)

static struct decant_memory *memory;
static struct decant_error err;
static char *base;
static int fd;

static int make(void **state)
{
	struct decant_region region = DECANT_REGION_INIT;
	(void)state;

	snprintf(region.name, sizeof(region.name), "ram0");
	region.length = LENGTH;
	if (decant_memory_new(&memory, &err) < 0 || decant_memory_allocate(memory, &region, &err) < 0)
		return -1;
	base = decant_memory_region(memory, 0)->address;
	fd = decant_memory_region(memory, 0)->fd;
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	decant_memory_free(memory);
	return 0;
}

/* what a walk in chunks finds from @offset on */
static void walk(struct extents *extents, uint64_t offset, uint64_t *found)
{
	memset(found, 0, bitmap_words(PAGES) * sizeof(*found));
	for (; offset < LENGTH; offset += CHUNK) {
		uint64_t at = offset, length;

		while (extents_next(extents, &at, offset + CHUNK, &length, &err) > 0) {
			assert_true(length > 0 && at + length <= offset + CHUNK);
			bitmap_set_range(found, at / PAGE, length / PAGE);
			at += length;
		}
	}
}

/* Runs of all lengths, some of them there through another mapping only. */
static void test_extents_next__finds_the_data_and_no_hole(void **state)
{
	char *other = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct extents extents = { .memory = memory };
	uint64_t expected[PAGES / 64] = { 0 }, found[PAGES / 64];
	uint64_t random = 1;
	(void)state;

	assert_ptr_not_equal(other, MAP_FAILED);
	for (uint64_t page = 0; page < PAGES;) {
		uint64_t run;

		random = random * 6364136223846793005u + 1442695040888963407u;
		run = (random >> 60 == 0 ? 5000 : 1) * (1 + (random >> 33) % 9);
		if (run > PAGES - page)
			run = PAGES - page;
		for (uint64_t i = page; (random >> 59 & 1) && i < page + run; i++) {
			(random >> 58 & 1 ? base : other)[i * PAGE] = 1;
			bitmap_set(expected, i);
		}
		page += run;
	}

	walk(&extents, 0, found);
	assert_memory_equal(found, expected, sizeof(found));
	assert_int_equal(decant_memory_allocated(memory), bitmap_count(expected, 0, PAGES) * PAGE);
	munmap(other, LENGTH);
}

static void test_extents_next__a_long_extent_comes_in_parts(void **state)
{
	struct extents extents = { .memory = memory };
	uint64_t offset = 0, length, found[PAGES / 64];
	(void)state;

	memset(base, 1, LENGTH);
	assert_int_equal(extents_next(&extents, &offset, LENGTH, &length, &err), 1);
	assert_int_equal(offset, 0);
	assert_true(length >= CHUNK && length <= LENGTH / 4);

	walk(&extents, 0, found);
	assert_int_equal(bitmap_count(found, 0, PAGES), PAGES);
}

static void test_extents_next__a_hole_that_fills_is_found(void **state)
{
	struct extents extents = { .memory = memory };
	uint64_t offset = 0, length;
	(void)state;

	base[0] = 1;
	assert_int_equal(extents_next(&extents, &offset, CHUNK, &length, &err), 1);
	assert_int_equal(length, PAGE);
	offset = PAGE;
	assert_int_equal(extents_next(&extents, &offset, CHUNK, &length, &err), 0);
	base[3 * PAGE] = 1;

	assert_int_equal(extents_next(&extents, &offset, CHUNK, &length, &err), 1);
	assert_int_equal(offset, 3 * PAGE);
	assert_int_equal(length, PAGE);
}

static void test_extents_next__what_is_punched_out_stays_data(void **state)
{
	struct extents extents = { .memory = memory };
	uint64_t offset = 0, length;
	(void)state;

	memset(base, 1, 4 * PAGE);
	assert_int_equal(extents_next(&extents, &offset, PAGE, &length, &err), 1);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * (off_t)PAGE), 0);
	offset = PAGE;

	assert_int_equal(extents_next(&extents, &offset, CHUNK, &length, &err), 1);
	assert_int_equal(offset, PAGE);
	assert_int_equal(length, 3 * PAGE);
}

static void test_extents_share__spares_the_other_walk_the_question(void **state)
{
	struct extents one = { .memory = memory }, other = { .memory = memory };
	uint64_t offset = 0, length;
	(void)state;

	memset(base, 1, 4 * PAGE);
	assert_int_equal(extents_next(&one, &offset, CHUNK, &length, &err), 1);
	extents_share(&other, &one, 4 * PAGE);
	assert_int_equal(other.end, 0);
	extents_share(&other, &one, PAGE);

	assert_int_equal(other.start, 0);
	assert_int_equal(other.end, 4 * PAGE);
}

#define with_memory(test) cmocka_unit_test_setup_teardown(test, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_memory(test_extents_next__finds_the_data_and_no_hole),
		with_memory(test_extents_next__a_long_extent_comes_in_parts),
		with_memory(test_extents_next__a_hole_that_fills_is_found),
		with_memory(test_extents_next__what_is_punched_out_stays_data),
		with_memory(test_extents_share__spares_the_other_walk_the_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
