/* SPDX-License-Identifier: BSD-2-Clause */
/* test_blank.c -- memory that holds something becomes zero, and what is written to it after its turn stays */
#include "migration/blank.h"
#include "util/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define PAGE ((uint64_t)DECANT_PAGE_SIZE)
#define REGIONS 3u

static const uint64_t lengths[REGIONS] = { 64 * MIB, 5 * MIB + PAGE, 8 * MIB };

struct blanking {
	struct decant_memory *memory;
	uint8_t *base[REGIONS];
	int fd[REGIONS];
	struct blank *blank;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned told;
	int code;
};

static void on_done(void *opaque, const struct decant_error *why)
{
	struct blanking *b = opaque;

	DECANT_AUTO_UNLOCK(&b->lock);
	b->told++;
	b->code = why->code;
	pthread_cond_broadcast(&b->changed);
}

/* Pages here and there, and whole stretches; the last region's file is not known. */
static void open_memory(struct blanking *b)
{
	*b = (struct blanking){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	assert_int_equal(decant_memory_new(&b->memory, NULL), 0);
	for (uint32_t i = 0; i < REGIONS; i++) {
		struct decant_region region = DECANT_REGION_INIT;

		b->fd[i] = memfd_create("blank", MFD_CLOEXEC);
		assert_int_equal(ftruncate(b->fd[i], (off_t)lengths[i]), 0);
		b->base[i] = mmap(NULL, lengths[i], PROT_READ | PROT_WRITE, MAP_SHARED, b->fd[i], 0);
		assert_ptr_not_equal(b->base[i], MAP_FAILED);
		for (uint64_t page = 3; page < lengths[i] / PAGE; page += page % 900 < 700 ? 1 : 517)
			memset(b->base[i] + page * PAGE, page % 3 == 0 ? 0 : 0x77, PAGE);
		snprintf(region.name, sizeof(region.name), "ram%u", i);
		region.address = b->base[i];
		region.length = lengths[i];
		region.guest_address = i * (1ull << 30);
		region.fd = i == 2 ? -1 : b->fd[i];
		assert_int_equal(decant_memory_add(b->memory, &region, NULL), (int)i);
	}
}

static void start(struct blanking *b, uint32_t threads)
{
	const struct blank_opts opts = {
		.memory = b->memory,
		.threads = threads,
		.done = on_done,
		.opaque = b,
	};

	assert_int_equal(blank_new(&opts, &b->blank, NULL), 0);
}

static void await_done(struct blanking *b)
{
	DECANT_AUTO_UNLOCK(&b->lock);
	while (b->told == 0)
		pthread_cond_wait(&b->changed, &b->lock);
	assert_int_equal(b->code, 0);
}

static void close_memory(struct blanking *b)
{
	blank_free(b->blank);
	assert_true(b->told <= 1);
	decant_memory_free(b->memory);
	for (uint32_t i = 0; i < REGIONS; i++) {
		munmap(b->base[i], lengths[i]);
		close(b->fd[i]);
	}
}

static blkcnt_t blocks(const struct blanking *b, uint32_t i)
{
	struct stat status;

	assert_int_equal(fstat(b->fd[i], &status), 0);
	return status.st_blocks;
}

static bool is_zero(const uint8_t *page)
{
	for (uint64_t i = 0; i < PAGE; i++)
		if (page[i] != 0)
			return false;
	return true;
}

static void test_blank__leaves_zeros_and_holes(void **state)
{
	struct blanking b;
	blkcnt_t before[REGIONS];

	(void)state;
	open_memory(&b);
	for (uint32_t i = 0; i < REGIONS; i++)
		before[i] = blocks(&b, i);
	start(&b, 2);
	await_done(&b);
	assert_int_equal(blocks(&b, 0), before[0]);
	assert_int_equal(blocks(&b, 1), before[1]);
	for (uint32_t i = 0; i < REGIONS; i++)
		for (uint64_t at = 0; at < lengths[i]; at += PAGE)
			if (!is_zero(b.base[i] + at))
				fail_msg("region %u at %llu", i, (unsigned long long)at);
	close_memory(&b);
}

/* Who has had a granule made zero may write to it, while all others are at work. */
static void test_blank_range__what_is_written_then_stays(void **state)
{
	uint8_t *written;
	struct blanking b;
	uint32_t random = 5;

	(void)state;
	open_memory(&b);
	written = calloc(1, lengths[0] / PAGE);
	assert_non_null(written);
	start(&b, 3);
	for (unsigned int i = 0; i < 400; i++) {
		uint64_t page;

		random = random * 1664525u + 1013904223u;
		page = (random >> 8) % (lengths[0] / PAGE);
		assert_int_equal(blank_range(b.blank, 0, page * PAGE, PAGE, NULL), 0);
		if (!written[page] && !is_zero(b.base[0] + page * PAGE))
			fail_msg("page %llu is not zero", (unsigned long long)page);
		memset(b.base[0] + page * PAGE, 0xee, PAGE);
		written[page] = 1;
	}
	await_done(&b);
	assert_int_equal(blank_range(b.blank, 1, 0, lengths[1], NULL), 0);
	for (uint64_t page = 0; page < lengths[0] / PAGE; page++)
		if (written[page] ? b.base[0][page * PAGE + 9] != 0xee : !is_zero(b.base[0] + page * PAGE))
			fail_msg("page %llu", (unsigned long long)page);
	free(written);
	close_memory(&b);
}

static void test_blank_free__in_the_middle(void **state)
{
	struct blanking b;

	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		open_memory(&b);
		start(&b, 1 + i % 3);
		blank_range(b.blank, 0, i * 9 * MIB, PAGE, NULL);
		close_memory(&b);
	}
	blank_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blank__leaves_zeros_and_holes),
		cmocka_unit_test(test_blank_range__what_is_written_then_stays),
		cmocka_unit_test(test_blank_free__in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
