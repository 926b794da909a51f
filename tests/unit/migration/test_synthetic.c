/* SPDX-License-Identifier: BSD-2-Clause */
/* test_synthetic.c -- the oracle that the integration tests trust: does it see what it must see? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "support/synthetic.h"
#include "util/bitmap.h"

#define MIB (1ull << 20)
#define PAGES 2048u
#define WSS_FIRST 512u
#define WSS_PAGES 300u

static struct synthetic *make(enum synthetic_dirty dirty, enum synthetic_pattern pattern, uint32_t writers)
{
	struct synthetic_config config = SYNTHETIC_CONFIG_INIT;
	struct decant_region region = DECANT_REGION_INIT;
	struct synthetic *vmm;

	strcpy(region.name, "ram0");
	region.length = (uint64_t)PAGES * DECANT_PAGE_SIZE;
	config.region[0] = region;
	config.regions = 1;
	config.dirty = dirty;
	config.pattern = pattern;
	config.writers = writers;
	config.wss_first = WSS_FIRST;
	config.wss_pages = WSS_PAGES;
	vmm = synthetic_new(&config);
	assert_non_null(vmm);
	synthetic_fill(vmm, 0, 100, 50);
	synthetic_zero(vmm, 0, 120, 10);
	return vmm;
}

static enum decant_verdict_status judge(struct synthetic *vmm)
{
	struct decant_verdict verdict;

	synthetic_judge(vmm, &verdict);
	return verdict.status;
}

static void let_it_write(struct synthetic *vmm, uint64_t pages)
{
	const uint64_t goal = synthetic_work(vmm) + pages;

	while (synthetic_work(vmm) < goal)
		usleep(200);
}

static void judge_while_running(enum synthetic_pattern pattern, uint32_t writers)
{
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_RING, pattern, writers);

	synthetic_run(vmm);
	for (int i = 0; i < 10; i++) {
		let_it_write(vmm, 77);
		assert_int_equal(judge(vmm), DECANT_VERDICT_OK);
		assert_true(synthetic_is_running(vmm));
	}
	let_it_write(vmm, 3 * WSS_PAGES);
	assert_int_equal(judge(vmm), DECANT_VERDICT_OK);
	synthetic_free(vmm);
}

static void test_synthetic_judge__sequential(void **state)
{
	(void)state;
	judge_while_running(SYNTHETIC_SEQUENTIAL, 1);
}

static void test_synthetic_judge__random_by_two(void **state)
{
	(void)state;
	judge_while_running(SYNTHETIC_RANDOM, 2);
}

static void judge_corrupted(uint64_t page)
{
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_RING, SYNTHETIC_RANDOM, 2);
	struct decant_verdict verdict;
	uint64_t left_ns;

	synthetic_run(vmm);
	let_it_write(vmm, 2 * WSS_PAGES);
	assert_int_equal(synthetic_ops()->pause(vmm, &left_ns, NULL), 0);
	assert_int_equal(judge(vmm), DECANT_VERDICT_OK);
	synthetic_corrupt(vmm, 0, page);

	synthetic_judge(vmm, &verdict);
	assert_int_equal(verdict.status, DECANT_VERDICT_BAD);
	assert_non_null(strstr(verdict.text, "word 77"));
	synthetic_free(vmm);
}

static void test_synthetic_judge__corrupted_page(void **state)
{
	(void)state;
	judge_corrupted(WSS_FIRST + 17); /* hot */
	judge_corrupted(100);            /* cold */
	judge_corrupted(125);            /* zero, there */
	judge_corrupted(2000);           /* a hole */
}

/* What a lost page looks like: an older version, or none. */
static void test_synthetic_judge__stale_page(void **state)
{
	(void)state;
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_RING, SYNTHETIC_SEQUENTIAL, 1);
	char *base = decant_memory_region(synthetic_memory(vmm), 0)->address;
	char *page = base + (WSS_FIRST + 10) * DECANT_PAGE_SIZE;
	char old[DECANT_PAGE_SIZE];
	uint64_t left_ns;

	synthetic_run(vmm);
	let_it_write(vmm, WSS_PAGES + 20);
	assert_int_equal(synthetic_ops()->pause(vmm, &left_ns, NULL), 0);
	memcpy(old, page, sizeof(old));
	assert_int_equal(synthetic_ops()->resume(vmm, NULL), 0);
	let_it_write(vmm, WSS_PAGES);
	assert_int_equal(synthetic_ops()->pause(vmm, &left_ns, NULL), 0);
	assert_int_equal(judge(vmm), DECANT_VERDICT_OK);

	memcpy(page, old, sizeof(old));
	assert_int_equal(judge(vmm), DECANT_VERDICT_BAD);
	synthetic_free(vmm);
}

static void test_synthetic_judge__missing_page(void **state)
{
	(void)state;
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_RING, SYNTHETIC_SEQUENTIAL, 0);
	char *base = decant_memory_region(synthetic_memory(vmm), 0)->address;

	memset(base + 149ull * DECANT_PAGE_SIZE, 0, DECANT_PAGE_SIZE);

	assert_int_equal(judge(vmm), DECANT_VERDICT_BAD);
	synthetic_free(vmm);
}

static uint64_t fetch(struct synthetic *vmm, uint64_t *bitmap)
{
	memset(bitmap, 0, PAGES / 8);
	assert_int_equal(synthetic_ops()->dirty_fetch(vmm, 0, bitmap, PAGES, NULL), 0);
	return bitmap_count(bitmap, 0, PAGES);
}

static void test_synthetic_dirty__ring_reports_once(void **state)
{
	(void)state;
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_RING, SYNTHETIC_SEQUENTIAL, 0);
	uint64_t bitmap[PAGES / 64];

	assert_int_equal(synthetic_ops()->dirty_start(vmm, NULL), 0);
	synthetic_fill(vmm, 0, 7, 2);
	synthetic_punch(vmm, 0, 100, 1);

	assert_int_equal(fetch(vmm, bitmap), 3);
	assert_true(bitmap_test(bitmap, 7) && bitmap_test(bitmap, 8) && bitmap_test(bitmap, 100));
	assert_int_equal(fetch(vmm, bitmap), 0);
	assert_int_equal(judge(vmm), DECANT_VERDICT_OK);
	synthetic_free(vmm);
}

static void test_synthetic_dirty__log_reports_until_cleared(void **state)
{
	(void)state;
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_LOG, SYNTHETIC_SEQUENTIAL, 0);
	uint64_t bitmap[PAGES / 64];
	const uint64_t second = 1ull << 1;

	assert_int_equal(synthetic_ops()->dirty_start(vmm, NULL), 0);
	synthetic_fill(vmm, 0, 64, 2);

	assert_int_equal(fetch(vmm, bitmap), 2);
	assert_int_equal(fetch(vmm, bitmap), 2);
	assert_int_equal(synthetic_ops()->dirty_clear(vmm, 0, 64, 64, &second, NULL), 0);
	assert_int_equal(fetch(vmm, bitmap), 1);
	assert_true(bitmap_test(bitmap, 64));
	synthetic_free(vmm);
}

static void test_synthetic_dirty__guest_that_was_paused_writes_nothing(void **state)
{
	(void)state;
	struct synthetic *vmm = make(SYNTHETIC_DIRTY_RING, SYNTHETIC_SEQUENTIAL, 2);
	uint64_t bitmap[PAGES / 64];
	uint64_t left_ns;

	synthetic_run(vmm);
	let_it_write(vmm, 10);
	assert_int_equal(synthetic_ops()->dirty_start(vmm, NULL), 0);
	let_it_write(vmm, 10);
	assert_int_equal(synthetic_ops()->pause(vmm, &left_ns, NULL), 0);
	assert_true(left_ns > 0);

	assert_true(fetch(vmm, bitmap) > 0);
	usleep(5000);
	assert_int_equal(fetch(vmm, bitmap), 0);
	assert_false(synthetic_is_running(vmm));
	synthetic_free(vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synthetic_judge__sequential),
		cmocka_unit_test(test_synthetic_judge__random_by_two),
		cmocka_unit_test(test_synthetic_judge__corrupted_page),
		cmocka_unit_test(test_synthetic_judge__stale_page),
		cmocka_unit_test(test_synthetic_judge__missing_page),
		cmocka_unit_test(test_synthetic_dirty__ring_reports_once),
		cmocka_unit_test(test_synthetic_dirty__log_reports_until_cleared),
		cmocka_unit_test(test_synthetic_dirty__guest_that_was_paused_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
