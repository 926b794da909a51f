/* SPDX-License-Identifier: BSD-2-Clause */
/* test_resident.c -- which memory is mapped to pages already */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "migration/resident.h"

#define PAGE 4096u
#define PAGES 1200u /* more than are asked for at once, and no multiple of it */
#define LENGTH ((uint64_t)PAGES * PAGE)

static char *memory;
static int memory_fd = -1;
static int fd = -1;

static int make_memory(void **state)
{
	(void)state;
	memory_fd = memfd_create("resident", MFD_CLOEXEC);
	if (memory_fd < 0 || ftruncate(memory_fd, LENGTH) < 0)
		return -1;
	memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	fd = resident_open();
	return memory == MAP_FAILED || fd < 0 ? -1 : 0;
}

static int free_memory(void **state)
{
	(void)state;
	munmap(memory, LENGTH);
	close(memory_fd);
	close(fd);
	return 0;
}

static void test_resident_all__nothing_is_there(void **state)
{
	(void)state;

	assert_false(resident_all(fd, memory, LENGTH));
	assert_false(resident_all(fd, memory, PAGE));
}

static void test_resident_all__all_is_there(void **state)
{
	(void)state;
	memset(memory, 1, LENGTH);

	assert_true(resident_all(fd, memory, LENGTH));
	assert_true(resident_all(fd, memory + PAGE, 3 * PAGE));
}

static void test_resident_all__any_one_page_lacks(void **state)
{
	(void)state;
	static const unsigned lacking[] = { 0, 1, 511, 512, 513, PAGES - 1 };

	for (unsigned i = 0; i < sizeof(lacking) / sizeof(lacking[0]); i++) {
		memset(memory, 1, LENGTH);
		assert_return_code(madvise(memory + lacking[i] * PAGE, PAGE, MADV_REMOVE), 0);
		assert_false(resident_all(fd, memory, LENGTH));
	}
}

static void test_resident_all__in_the_page_cache_is_not_mapped(void **state)
{
	(void)state;
	char page[PAGE] = { 1 };

	assert_int_equal(pwrite(memory_fd, page, PAGE, 0), PAGE);

	assert_false(resident_all(fd, memory, PAGE));
}

static void test_resident_all__without_a_descriptor(void **state)
{
	(void)state;
	memset(memory, 1, LENGTH);

	assert_false(resident_all(-1, memory, LENGTH));
}

#define with_memory(test) cmocka_unit_test_setup_teardown(test, make_memory, free_memory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_memory(test_resident_all__nothing_is_there),
		with_memory(test_resident_all__all_is_there),
		with_memory(test_resident_all__any_one_page_lacks),
		with_memory(test_resident_all__in_the_page_cache_is_not_mapped),
		with_memory(test_resident_all__without_a_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
