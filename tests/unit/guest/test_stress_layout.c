/* SPDX-License-Identifier: BSD-2-Clause */
/* test_stress_layout.c -- every page of the stress guest's memory has one kind, and there are as many of each as told */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdbool.h>
#include <cmocka.h>

#include "guest/stress_layout.h"

struct layout_case {
	uint32_t memory, wss, data, zero, vcpus, scatter;
};

static const struct layout_case cases[] = {
	{ 131072, 10240, 32768, 1024, 2, 0 },
	{ 131072, 10240, 32768, 1024, 2, 1 },
	{ 131072, 10239, 32001, 1023, 3, 1 },
	{ 16384, 511, 513, 1, 16, 1 },
	{ 16384, 512, 512, 512, 1, 0 },
	{ 16384, 513, 1, 513, 4, 0 },
	{ 16384, 0, 0, 0, 1, 0 },
	{ 16385, 3, 0, 0, 16, 1 },
	{ 16384, 0, 15360, 0, 1, 1 }, /* every slot */
	{ 5000, 700, 900, 300, 2, 1 },
};

static struct stress_layout plan(const struct layout_case *c, uint32_t seed)
{
	struct stress_boot boot = {
		.memory_pages = c->memory,
		.wss_pages = c->wss,
		.data_pages = c->data,
		.zero_pages = c->zero,
		.vcpus = c->vcpus,
		.scatter = c->scatter,
		.seed = seed,
	};
	struct stress_layout layout;

	assert_int_equal(stress_layout_plan(&layout, &boot), 1);
	return layout;
}

static void test_stress_layout_kind__counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stress_layout layout = plan(&cases[i], 1);
		uint32_t count[4] = { 0 };
		uint32_t end;

		for (uint32_t page = STRESS_SWEEP_FIRST; page < cases[i].memory; page++)
			count[stress_layout_kind(&layout, page, &end)]++;
		assert_int_equal(count[STRESS_KIND_WSS], cases[i].wss);
		assert_int_equal(count[STRESS_KIND_DATA], cases[i].data);
		assert_int_equal(count[STRESS_KIND_ZERO], cases[i].zero);
	}
}

static void test_stress_layout_kind__runs_agree_with_pages(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stress_layout layout = plan(&cases[i], 2);
		uint32_t page = STRESS_SWEEP_FIRST, end, ignored;

		while (page < cases[i].memory) {
			enum stress_kind kind = stress_layout_kind(&layout, page, &end);

			assert_true(end > page && end <= cases[i].memory);
			for (; page < end; page++)
				assert_int_equal(stress_layout_kind(&layout, page, &ignored), kind);
		}
	}
}

static void test_stress_layout_kind__blocks_stand_apart(void **state)
{
	struct stress_layout layout = plan(&cases[0], 1);
	uint32_t end;

	(void)state;
	assert_int_equal(stress_layout_kind(&layout, STRESS_WSS_FIRST - 1, &end), STRESS_KIND_HOLE);
	assert_int_equal(stress_layout_kind(&layout, STRESS_WSS_FIRST, &end), STRESS_KIND_WSS);
	assert_int_equal(stress_layout_kind(&layout, STRESS_WSS_FIRST + 10240, &end), STRESS_KIND_HOLE);
	assert_int_equal(stress_layout_kind(&layout, layout.zero_first - 1, &end), STRESS_KIND_HOLE);
	assert_int_equal(stress_layout_kind(&layout, layout.slot_first - 1, &end), STRESS_KIND_HOLE);
	assert_int_equal(stress_layout_kind(&layout, layout.slot_first, &end), STRESS_KIND_DATA);
}

static void test_stress_layout_part__covers_the_working_set_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stress_layout layout = plan(&cases[i], 1);

		assert_int_equal(stress_layout_part(&layout, 0), STRESS_WSS_FIRST);
		assert_int_equal(stress_layout_part(&layout, cases[i].vcpus), STRESS_WSS_FIRST + cases[i].wss);
		for (uint32_t part = 0; part < cases[i].vcpus; part++)
			assert_true(stress_layout_part(&layout, part) <= stress_layout_part(&layout, part + 1));
	}
}

static void test_stress_layout_plan__scatter_follows_the_seed(void **state)
{
	struct stress_layout one = plan(&cases[1], 1);
	struct stress_layout again = plan(&cases[1], 1);
	struct stress_layout other = plan(&cases[1], 2);
	struct stress_layout block = plan(&cases[0], 1);

	(void)state;
	assert_memory_equal(one.data_map, again.data_map, sizeof(one.data_map));
	assert_memory_not_equal(one.data_map, other.data_map, sizeof(one.data_map));
	assert_memory_not_equal(one.data_map, block.data_map, sizeof(one.data_map));
}

static void test_stress_layout_room__is_what_fits(void **state)
{
	struct stress_boot boot = { .memory_pages = 16384, .wss_pages = 2048, .zero_pages = 256, .vcpus = 1 };
	struct stress_layout layout;

	(void)state;
	boot.data_pages = stress_layout_room(&boot);
	assert_int_equal(stress_layout_plan(&layout, &boot), 1);
	boot.data_pages++;
	assert_int_equal(stress_layout_plan(&layout, &boot), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stress_layout_kind__counts),
		cmocka_unit_test(test_stress_layout_kind__runs_agree_with_pages),
		cmocka_unit_test(test_stress_layout_kind__blocks_stand_apart),
		cmocka_unit_test(test_stress_layout_part__covers_the_working_set_once),
		cmocka_unit_test(test_stress_layout_plan__scatter_follows_the_seed),
		cmocka_unit_test(test_stress_layout_room__is_what_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
