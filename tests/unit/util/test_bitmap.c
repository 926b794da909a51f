/* SPDX-License-Identifier: BSD-2-Clause */
/* test_bitmap.c -- bitmaps against a model of one bool per bit, with random input */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "util/bitmap.h"

#define BITS_MAX 1000u

static uint64_t random_state = 88172645463325252ull;

/* xorshift64: the same numbers in each run */
static uint64_t random_below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

struct model {
	bool bit[BITS_MAX];
	uint64_t bits;
	uint64_t *map;
};

static void model_new(struct model *model, uint64_t bits)
{
	memset(model, 0, sizeof(*model));
	model->bits = bits;
	model->map = bitmap_new(bits);
	assert_non_null(model->map);
}

static void model_check(const struct model *model)
{
	for (uint64_t i = 0; i < model->bits; i++)
		assert_int_equal(bitmap_test(model->map, i), model->bit[i]);
	if (model->bits % 64 != 0)
		assert_int_equal(model->map[model->bits / 64] >> (model->bits % 64), 0);
}

static uint64_t model_count(const struct model *model, uint64_t first, uint64_t count)
{
	uint64_t set = 0;

	for (uint64_t i = first; i < first + count; i++)
		set += model->bit[i];
	return set;
}

static uint64_t model_next_run(const struct model *model, uint64_t *first, uint64_t end)
{
	uint64_t start = *first, length = 0;

	while (start < end && !model->bit[start])
		start++;
	if (start >= end)
		return 0;
	while (start + length < end && model->bit[start + length])
		length++;
	*first = start;
	return length;
}

static void model_mutate(struct model *model)
{
	const uint64_t first = random_below(model->bits);
	const uint64_t count = random_below(model->bits - first + 1);

	switch (random_below(4)) {
	case 0:
		bitmap_set(model->map, first);
		model->bit[first] = true;
		break;
	case 1:
		bitmap_clear(model->map, first);
		model->bit[first] = false;
		break;
	case 2:
		bitmap_set_range(model->map, first, count);
		memset(&model->bit[first], true, count);
		break;
	default:
		bitmap_clear_range(model->map, first, count);
		memset(&model->bit[first], false, count);
		break;
	}
}

static void test_bitmap_ranges__as_the_model(void **state)
{
	(void)state;
	for (int round = 0; round < 60; round++) {
		struct model model;

		model_new(&model, 1 + random_below(BITS_MAX));
		for (int i = 0; i < 30; i++) {
			model_mutate(&model);
			model_check(&model);
		}
		free(model.map);
	}
}

static void test_bitmap_count__as_the_model(void **state)
{
	struct model model;

	(void)state;
	model_new(&model, BITS_MAX);
	for (int i = 0; i < 2000; i++) {
		const uint64_t first = random_below(BITS_MAX + 1);
		const uint64_t count = random_below(BITS_MAX - first + 1);

		model_mutate(&model);
		assert_int_equal(bitmap_count(model.map, first, count), model_count(&model, first, count));
	}
	free(model.map);
}

static void test_bitmap_next_run__as_the_model(void **state)
{
	struct model model;

	(void)state;
	model_new(&model, BITS_MAX);
	for (int i = 0; i < 2000; i++) {
		uint64_t first = random_below(BITS_MAX + 1), expected_first = first;
		const uint64_t end = first + random_below(BITS_MAX - first + 1);

		model_mutate(&model);
		assert_int_equal(bitmap_next_run(model.map, &first, end),
				 model_next_run(&model, &expected_first, end));
		assert_int_equal(first, expected_first);
	}
	free(model.map);
}

static void test_bitmap_next_run__walks_all_runs_in_order(void **state)
{
	struct model model;

	(void)state;
	for (int round = 0; round < 100; round++) {
		uint64_t first = 0, length, seen = 0;

		model_new(&model, 1 + random_below(BITS_MAX));
		for (int i = 0; i < 20; i++)
			model_mutate(&model);
		while ((length = bitmap_next_run(model.map, &first, model.bits)) > 0) {
			assert_int_equal(model_count(&model, first, length), length);
			assert_true(first + length == model.bits || !model.bit[first + length]);
			seen += length;
			first += length;
		}
		assert_int_equal(seen, model_count(&model, 0, model.bits));
		free(model.map);
	}
}

static void test_bitmap_next_run__whole_words(void **state)
{
	uint64_t map[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX };
	uint64_t first = 0;

	(void)state;
	assert_int_equal(bitmap_next_run(map, &first, 192), 192);
	assert_int_equal(first, 0);
	first = 64;
	assert_int_equal(bitmap_next_run(map, &first, 128), 64);
	first = 192;
	assert_int_equal(bitmap_next_run(map, &first, 192), 0);
	assert_int_equal(first, 192);
}

static void test_bitmap_or__joins(void **state)
{
	uint64_t into[3] = { 1, 0, 1ull << 63 };
	const uint64_t from[3] = { 2, 3, 5 };

	(void)state;
	bitmap_or(into, from, 129);
	assert_int_equal(into[0], 3);
	assert_int_equal(into[1], 3);
	assert_int_equal(into[2], (1ull << 63) | 5);
	bitmap_or(into, (const uint64_t[]){ 8 }, 64);
	assert_int_equal(into[0], 11);
}

static void test_bitmap_or_atomic_take__moves_every_mark_once(void **state)
{
	_Atomic uint64_t marks[4] = { 1, 0, UINT64_MAX, 4 };
	uint64_t into[4] = { 2, 0, 0, 0 };

	(void)state;
	bitmap_or_atomic_take(into, marks, 192);
	assert_int_equal(into[0], 3);
	assert_int_equal(into[2], UINT64_MAX);
	assert_int_equal(into[3], 0);
	assert_int_equal(atomic_load(&marks[0]), 0);
	assert_int_equal(atomic_load(&marks[2]), 0);
	assert_int_equal(atomic_load(&marks[3]), 4);
}

#define MARKS 4096u

static _Atomic uint64_t shared_marks[MARKS / 64];
static uint64_t shared_values[MARKS];

static void *mark_all(void *opaque)
{
	(void)opaque;
	for (uint64_t i = 0; i < MARKS; i++) {
		shared_values[i] = i + 1;
		atomic_fetch_or_explicit(&shared_marks[i / 64], 1ull << (i % 64), memory_order_release);
	}
	return NULL;
}

static void test_bitmap_or_atomic_take__sees_what_was_written_before_the_mark(void **state)
{
	uint64_t taken[MARKS / 64], all = 0;
	pthread_t marker;

	(void)state;
	assert_int_equal(pthread_create(&marker, NULL, mark_all, NULL), 0);
	while (all < MARKS) {
		uint64_t first = 0, length;

		memset(taken, 0, sizeof(taken));
		bitmap_or_atomic_take(taken, shared_marks, MARKS);
		while ((length = bitmap_next_run(taken, &first, MARKS)) > 0) {
			for (uint64_t i = first; i < first + length; i++)
				assert_int_equal(shared_values[i], i + 1);
			first += length;
			all += length;
		}
	}
	assert_int_equal(all, MARKS);
	pthread_join(marker, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bitmap_ranges__as_the_model),
		cmocka_unit_test(test_bitmap_count__as_the_model),
		cmocka_unit_test(test_bitmap_next_run__as_the_model),
		cmocka_unit_test(test_bitmap_next_run__walks_all_runs_in_order),
		cmocka_unit_test(test_bitmap_next_run__whole_words),
		cmocka_unit_test(test_bitmap_or__joins),
		cmocka_unit_test(test_bitmap_or_atomic_take__moves_every_mark_once),
		cmocka_unit_test(test_bitmap_or_atomic_take__sees_what_was_written_before_the_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
