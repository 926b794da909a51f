/* SPDX-License-Identifier: BSD-2-Clause */
/* test_pagehash.c -- hashes of pages, holes left as they are */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include <cmocka.h>

#include <decant/memory.h>

#include "migration/pagehash.h"

#define PAGE DECANT_PAGE_SIZE
#define PAGES 256u

static struct decant_memory *memory;
static const struct decant_region *region;

static int make_memory(void **state)
{
	(void)state;
	struct decant_region shape = DECANT_REGION_INIT;

	strcpy(shape.name, "ram0");
	shape.length = (uint64_t)PAGES * PAGE;
	if (decant_memory_new(&memory, NULL) < 0 || decant_memory_allocate(memory, &shape, NULL) < 0)
		return -1;
	region = decant_memory_region(memory, 0);
	return 0;
}

static int free_memory(void **state)
{
	(void)state;
	decant_memory_free(memory);
	return 0;
}

static char *page_at(uint64_t page)
{
	return (char *)region->address + page * PAGE;
}

static void test_pagehash_range__holes_are_not_there_and_stay_holes(void **state)
{
	(void)state;
	uint64_t hashes[PAGES], present[PAGES / 64];
	uint64_t before;

	memset(hashes, 0xee, sizeof(hashes));
	memset(present, 0xff, sizeof(present));
	page_at(3)[17] = 1;
	memset(page_at(200), 7, PAGE);
	memset(page_at(201), 0, PAGE);
	before = decant_memory_allocated(memory);

	assert_int_equal(pagehash_range(&(struct extents){ .memory = memory, .index = 0 }, 0, PAGES, hashes,
					present, NULL),
			 3);
	assert_int_equal(decant_memory_allocated(memory), before);
	assert_int_equal(present[0], 1u << 3);
	assert_int_equal(present[1] | present[2], 0);
	assert_int_equal(present[3], 1u << 8 | 1u << 9);
	assert_int_equal(hashes[3], XXH3_64bits(page_at(3), PAGE));
	assert_int_equal(hashes[200], XXH3_64bits(page_at(200), PAGE));
	assert_int_equal(hashes[201], pagehash_zero());
	assert_int_equal(hashes[0], 0xeeeeeeeeeeeeeeee);
}

static void test_pagehash_range__part_counts_from_its_first_page(void **state)
{
	(void)state;
	uint64_t hashes[2], present[1] = { 0 };

	memset(page_at(99), 1, PAGE);
	memset(page_at(101), 2, PAGE);
	memset(page_at(102), 3, PAGE);

	assert_int_equal(pagehash_range(&(struct extents){ .memory = memory, .index = 0 }, 100, 2, hashes, present,
					NULL),
			 1);
	assert_int_equal(present[0], 2);
	assert_int_equal(hashes[1], pagehash_page(page_at(101)));
}

static void test_pagehash_range__any_bit_counts(void **state)
{
	(void)state;
	uint64_t seen = pagehash_zero();

	for (unsigned bit = 0; bit < 8 * PAGE; bit += 511) {
		page_at(0)[bit / 8] ^= (char)(1u << bit % 8);
		assert_int_not_equal(pagehash_page(page_at(0)), seen);
		seen = pagehash_page(page_at(0));
	}
}

static void test_pagehash_range__beyond_the_end(void **state)
{
	(void)state;
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t hashes[1], present[1];

	assert_int_equal(pagehash_range(&(struct extents){ .memory = memory, .index = 0 }, PAGES, 1, hashes,
					present, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "ram0"));
	assert_int_equal(pagehash_range(&(struct extents){ .memory = memory, .index = 0 }, UINT64_MAX, 2, hashes,
					present, &err),
			 -EINVAL);
	assert_int_equal(pagehash_range(&(struct extents){ .memory = memory, .index = 1 }, 0, 1, hashes, present,
					&err),
			 -EINVAL);
	assert_int_equal(pagehash_range(&(struct extents){ .memory = memory, .index = 0 }, PAGES, 0, hashes,
					present, &err),
			 0);
}

#define with_memory(test) cmocka_unit_test_setup_teardown(test, make_memory, free_memory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_memory(test_pagehash_range__holes_are_not_there_and_stay_holes),
		with_memory(test_pagehash_range__part_counts_from_its_first_page),
		with_memory(test_pagehash_range__any_bit_counts),
		with_memory(test_pagehash_range__beyond_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
