/* SPDX-License-Identifier: BSD-2-Clause */
/* test_zero.c -- every variant of the zero page test against every position of a byte */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "migration/zero.h"

#define PAGE 4096u

static unsigned char three_pages[3 * PAGE] __attribute__((aligned(PAGE)));
static unsigned char *const page = three_pages + PAGE;

static void test_zero_variants__last_is_supported_everywhere(void **state)
{
	(void)state;
	size_t count;
	const struct zero_variant *variant = zero_variants(&count);

	assert_true(count >= 1);
	assert_true(variant[count - 1].supported());
}

static void test_zero_page__zeros(void **state)
{
	(void)state;
	size_t count;
	const struct zero_variant *variant = zero_variants(&count);

	memset(three_pages, 0xff, sizeof(three_pages));
	memset(page, 0, PAGE);

	assert_true(zero_page(page));
	for (size_t v = 0; v < count; v++)
		if (variant[v].supported())
			assert_true(variant[v].page(page));
}

static void test_zero_page__one_byte_anywhere(void **state)
{
	(void)state;
	size_t count;
	const struct zero_variant *variant = zero_variants(&count);

	memset(three_pages, 0, sizeof(three_pages));
	for (size_t v = 0; v < count; v++) {
		if (!variant[v].supported())
			continue;
		for (size_t at = 0; at < PAGE; at++) {
			page[at] = (unsigned char)(1u << at % 8);
			if (variant[v].page(page))
				fail_msg("%s does not see byte %zu", variant[v].name, at);
			page[at] = 0;
		}
		assert_true(variant[v].page(page));
	}
}

static void test_zero_page__two_bytes_that_cancel_out(void **state)
{
	(void)state;
	size_t count;
	const struct zero_variant *variant = zero_variants(&count);

	memset(three_pages, 0, sizeof(three_pages));
	page[64] = 0x80;
	page[128] = 0x80;
	page[PAGE - 1] = 0x01;

	for (size_t v = 0; v < count; v++)
		if (variant[v].supported())
			assert_false(variant[v].page(page));
}

static void test_zero_scan__clears_bits_of_zero_pages_only(void **state)
{
	(void)state;
	const uint64_t pages = 200;
	unsigned char *memory = aligned_alloc(PAGE, pages * PAGE);
	uint64_t bitmap[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, 0xff };

	memset(memory, 0, pages * PAGE);
	memory[0] = 1;
	memory[63 * PAGE + 5] = 1;
	memory[64 * PAGE + PAGE - 1] = 1;
	memory[199 * PAGE] = 1;

	assert_int_equal(zero_scan(memory, pages, bitmap), pages - 4);
	assert_int_equal(bitmap[0], 1ull | 1ull << 63);
	assert_int_equal(bitmap[1], 1);
	assert_int_equal(bitmap[2], 0);
	assert_int_equal(bitmap[3], 1ull << (199 - 192));
	free(memory);
}

static void test_zero_scan__leaves_clear_bits_alone(void **state)
{
	(void)state;
	unsigned char *memory = aligned_alloc(PAGE, 4 * PAGE);
	uint64_t bitmap = 1u << 1 | 1u << 2;

	memset(memory, 0, 4 * PAGE);
	memory[0] = 1;
	memory[2 * PAGE] = 1;

	assert_int_equal(zero_scan(memory, 4, &bitmap), 1);
	assert_int_equal(bitmap, 1u << 2);
	assert_int_equal(zero_scan(memory, 0, &bitmap), 0);
	assert_int_equal(bitmap, 1u << 2);
	free(memory);
}

static atomic_bool stop_writing;

static void *write_for_ever(void *opaque)
{
	volatile unsigned char *at = opaque;

	while (!atomic_load(&stop_writing))
		at[1000]++;
	return NULL;
}

/* What it answers for that page is open; that it answers, and rightly for the neighbour, is not. */
static void test_zero_scan__guest_writes_meanwhile(void **state)
{
	(void)state;
	pthread_t writer;

	memset(three_pages, 0, sizeof(three_pages));
	three_pages[2 * PAGE + 7] = 1;
	atomic_store(&stop_writing, false);
	assert_int_equal(pthread_create(&writer, NULL, write_for_ever, page), 0);
	for (int i = 0; i < 2000; i++) {
		uint64_t bitmap = 7;

		zero_scan(three_pages, 3, &bitmap);
		assert_int_equal(bitmap & 5, 4);
	}
	atomic_store(&stop_writing, true);
	pthread_join(writer, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_variants__last_is_supported_everywhere),
		cmocka_unit_test(test_zero_page__zeros),
		cmocka_unit_test(test_zero_page__one_byte_anywhere),
		cmocka_unit_test(test_zero_page__two_bytes_that_cancel_out),
		cmocka_unit_test(test_zero_scan__clears_bits_of_zero_pages_only),
		cmocka_unit_test(test_zero_scan__leaves_clear_bits_alone),
		cmocka_unit_test(test_zero_scan__guest_writes_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
