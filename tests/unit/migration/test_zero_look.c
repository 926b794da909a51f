/* SPDX-License-Identifier: BSD-2-Clause */
/* test_zero_look.c -- when pages of zeros are looked for, and when that stops and begins again */
#include "migration/zero_look.h"

#include "util/bitmap.h"

#include <decant/memory.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHUNK 512u
#define CHUNKS_OF_WINDOW (ZERO_LOOK_WINDOW / CHUNK)

static unsigned char *chunk;

static int chunk_new(void **state)
{
	(void)state;
	chunk = aligned_alloc(DECANT_PAGE_SIZE, (size_t)CHUNK * DECANT_PAGE_SIZE);
	return chunk == NULL ? -1 : 0;
}

static int chunk_free(void **state)
{
	(void)state;
	free(chunk);
	return 0;
}

/* the first @zeros pages are zero, the others not */
static void fill(uint64_t zeros)
{
	memset(chunk, 0, (size_t)zeros * DECANT_PAGE_SIZE);
	memset(chunk + zeros * DECANT_PAGE_SIZE, 1, (size_t)(CHUNK - zeros) * DECANT_PAGE_SIZE);
}

static uint64_t look_at(struct zero_look *look, uint64_t *left)
{
	uint64_t bitmap[CHUNK / 64];
	uint64_t cleared;

	memset(bitmap, 0xff, sizeof(bitmap));
	cleared = zero_look_chunk(look, chunk, CHUNK, bitmap);
	*left = bitmap_count(bitmap, 0, CHUNK);
	return cleared;
}

static void assert_finds(struct zero_look *look, uint64_t zeros)
{
	uint64_t left;

	assert_int_equal(look_at(look, &left), zeros);
	assert_int_equal(left, CHUNK - zeros);
}

/* an auto that has stopped looking */
static struct zero_look tired(void)
{
	struct zero_look look = { .mode = DECANT_ZERO_SCAN_AUTO };

	fill(0);
	for (unsigned int i = 0; i < CHUNKS_OF_WINDOW; i++)
		assert_finds(&look, 0);
	assert_true(look.sampling);
	return look;
}

static void test_zero_look_chunk__on_looks_at_every_page(void **state)
{
	struct zero_look look = { .mode = DECANT_ZERO_SCAN_ON };
	(void)state;

	fill(0);
	for (unsigned int i = 0; i < 2 * CHUNKS_OF_WINDOW; i++)
		assert_finds(&look, 0);
	fill(1);
	assert_finds(&look, 1);

	assert_int_equal(look.looked, (2 * CHUNKS_OF_WINDOW + 1) * CHUNK);
	assert_int_equal(look.zeros, 1);
}

static void test_zero_look_chunk__off_looks_at_none(void **state)
{
	struct zero_look look = { .mode = DECANT_ZERO_SCAN_OFF };
	(void)state;

	fill(CHUNK);
	assert_finds(&look, 0);

	assert_int_equal(look.looked, 0);
}

static void test_zero_look_chunk__auto_stops_where_there_are_none(void **state)
{
	struct zero_look look = tired();
	const uint64_t before = look.looked;
	(void)state;

	assert_int_equal(before, ZERO_LOOK_WINDOW);
	assert_finds(&look, 0);

	assert_int_equal(look.looked, before + CHUNK / ZERO_LOOK_SAMPLE);
}

static void test_zero_look_chunk__auto_goes_on_where_there_are_some(void **state)
{
	struct zero_look look = { .mode = DECANT_ZERO_SCAN_AUTO };
	(void)state;

	fill(CHUNK / ZERO_LOOK_SHARE);
	for (unsigned int i = 0; i < 3 * CHUNKS_OF_WINDOW; i++)
		assert_finds(&look, CHUNK / ZERO_LOOK_SHARE);

	assert_int_equal(look.looked, 3 * ZERO_LOOK_WINDOW);
}

static void test_zero_look_chunk__auto_begins_again_with_a_run(void **state)
{
	struct zero_look look = tired();
	uint64_t before;
	(void)state;

	fill(2 * ZERO_LOOK_SAMPLE); /* so long that no sample can miss it */
	assert_finds(&look, 2 * ZERO_LOOK_SAMPLE);
	assert_false(look.sampling);
	before = look.looked;
	fill(1);
	assert_finds(&look, 1);

	assert_int_equal(look.looked, before + CHUNK);
}

/* A page that is always at the same place of its chunk is found all the same, before long. */
static void test_zero_look_chunk__samples_come_to_each_place(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < CHUNK; place += 37) {
		struct zero_look look = tired();
		uint64_t found = 0, left;

		memset(chunk + place * DECANT_PAGE_SIZE, 0, DECANT_PAGE_SIZE);
		for (unsigned int i = 0; i < ZERO_LOOK_SAMPLE; i++)
			found += look_at(&look, &left);
		assert_int_equal(found, 1);
		assert_true(look.sampling);
	}
}

static void test_zero_look_chunk__pages_that_are_not_asked_for_stay_out(void **state)
{
	struct zero_look look = tired();
	uint64_t bitmap[CHUNK / 64] = { [3] = 1u << 5 | 1u << 6 };
	(void)state;

	fill(3 * 64 + 6);
	assert_int_equal(zero_look_chunk(&look, chunk, CHUNK, bitmap), 1);

	assert_int_equal(bitmap[3], 1u << 6);
	assert_int_equal(bitmap_count(bitmap, 0, CHUNK), 1);
}

static void test_zero_look_finds_data__up_to_the_last_page(void **state)
{
	struct zero_look look = { .mode = DECANT_ZERO_SCAN_AUTO };
	(void)state;

	fill(CHUNK);
	assert_false(zero_look_finds_data(&look, chunk, CHUNK));
	look.mode = DECANT_ZERO_SCAN_OFF;
	assert_true(zero_look_finds_data(&look, chunk, CHUNK));
	look.mode = DECANT_ZERO_SCAN_ON;
	fill(CHUNK - 1);
	assert_true(zero_look_finds_data(&look, chunk, CHUNK));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_look_chunk__on_looks_at_every_page),
		cmocka_unit_test(test_zero_look_chunk__off_looks_at_none),
		cmocka_unit_test(test_zero_look_chunk__auto_stops_where_there_are_none),
		cmocka_unit_test(test_zero_look_chunk__auto_goes_on_where_there_are_some),
		cmocka_unit_test(test_zero_look_chunk__auto_begins_again_with_a_run),
		cmocka_unit_test(test_zero_look_chunk__samples_come_to_each_place),
		cmocka_unit_test(test_zero_look_chunk__pages_that_are_not_asked_for_stay_out),
		cmocka_unit_test(test_zero_look_finds_data__up_to_the_last_page),
	};

	return cmocka_run_group_tests(tests, chunk_new, chunk_free);
}
