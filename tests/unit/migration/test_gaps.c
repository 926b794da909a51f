/* SPDX-License-Identifier: BSD-2-Clause */
/* test_gaps.c -- which gaps between dirty pages are filled */
#include "migration/gaps.h"
#include "util/bitmap.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 512u
#define WORDS (PAGES / 64)

static uint64_t bitmap[WORDS], sent[WORDS];

static int setup(void **state)
{
	(void)state;
	memset(bitmap, 0, sizeof(bitmap));
	memset(sent, 0xff, sizeof(sent));
	return 0;
}

static void test_gaps_fill__short_ones_alone(void **state)
{
	(void)state;
	bitmap_set_range(bitmap, 10, 5);
	bitmap_set_range(bitmap, 17, 1); /* behind 2 */
	bitmap_set_range(bitmap, 21, 1); /* behind 3 */
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 2), 2);
	assert_int_equal(bitmap_count(bitmap, 10, 8), 8);
	assert_int_equal(bitmap_count(bitmap, 0, PAGES), 9);
}

static void test_gaps_fill__never_a_page_that_was_not_sent(void **state)
{
	(void)state;
	bitmap_set(bitmap, 62);
	bitmap_set(bitmap, 66);
	bitmap_clear(sent, 64);
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 16), 0);
	bitmap_set(sent, 64);
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 16), 3);
}

static void test_gaps_fill__neither_before_the_first_nor_behind_the_last(void **state)
{
	(void)state;
	bitmap_set(bitmap, 1);
	bitmap_set(bitmap, PAGES - 2);
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 16), 0);
	assert_int_equal(bitmap_count(bitmap, 0, PAGES), 2);
}

static void test_gaps_fill__nothing_to_do(void **state)
{
	(void)state;
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 16), 0);
	bitmap_set(bitmap, 1);
	bitmap_set(bitmap, 3);
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 0), 0);
	bitmap_set_range(bitmap, 0, PAGES);
	assert_int_equal(gaps_fill(bitmap, sent, PAGES, 16), 0);
}

/* Against the plain rule, page by page. */
static bool is_filled(const uint64_t *before, uint64_t page, uint64_t most)
{
	uint64_t start = page, end = page;

	while (start > 0 && !bitmap_test(before, start - 1))
		start--;
	while (end + 1 < PAGES && !bitmap_test(before, end + 1))
		end++;
	if (start == 0 || end + 1 == PAGES || end + 1 - start > most)
		return false;
	return bitmap_count(sent, start, end + 1 - start) == end + 1 - start;
}

static void test_gaps_fill__as_the_rule(void **state)
{
	uint64_t before[WORDS];

	(void)state;
	srandom(1);
	for (int round = 0; round < 300; round++) {
		const uint64_t most = (uint64_t)round % 9;

		for (unsigned int page = 0; page < PAGES; page++) {
			(random() % 4 == 0 ? bitmap_set : bitmap_clear)(bitmap, page);
			(random() % 8 != 0 ? bitmap_set : bitmap_clear)(sent, page);
		}
		memcpy(before, bitmap, sizeof(before));
		gaps_fill(bitmap, sent, PAGES, most);
		for (unsigned int page = 0; page < PAGES; page++)
			if (bitmap_test(bitmap, page) !=
			    (bitmap_test(before, page) || is_filled(before, page, most)))
				fail_msg("round %d: page %u", round, page);
	}
}

static void test_gaps_worth__what_a_write_costs(void **state)
{
	(void)state;
	assert_int_equal(gaps_worth(0, 400), 0);
	assert_int_equal(gaps_worth(1000000000, 400), 0);
	assert_int_equal(gaps_worth(12500000000, 400), 1);
	assert_int_equal(gaps_worth(50000000000, 400), 4);
	assert_int_equal(gaps_worth(UINT64_MAX, NSEC_PER_SEC), GAP_PAGES_MAX);
	assert_int_equal(gaps_worth(UINT64_MAX, 0), 0);
}

#define gaps_test(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		gaps_test(test_gaps_fill__short_ones_alone),
		gaps_test(test_gaps_fill__never_a_page_that_was_not_sent),
		gaps_test(test_gaps_fill__neither_before_the_first_nor_behind_the_last),
		gaps_test(test_gaps_fill__nothing_to_do),
		gaps_test(test_gaps_fill__as_the_rule),
		gaps_test(test_gaps_worth__what_a_write_costs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
