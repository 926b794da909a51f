/* SPDX-License-Identifier: BSD-2-Clause */
/* test_memory.c -- regions, their holes, and the limits that a host sets */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <decant/memory.h>

#include "migration/limit.h"
#include "migration/memory_data.h"
#include "support/hugepages.h"

#define PAGE ((uint64_t)DECANT_PAGE_SIZE)
#define MIB (1ull << 20)
#define HUGE_PAGE (2 * MIB)
#define HUGE_PAGES 8u

static struct decant_memory *memory;
static struct decant_error err;
static int huge_ret;

static int make_memory(void **state)
{
	(void)state;
	decant_error_clear(&err);
	return decant_memory_new(&memory, NULL);
}

static int free_memory(void **state)
{
	(void)state;
	decant_memory_free(memory);
	return 0;
}

static struct decant_region shape(const char *name, uint64_t guest_address, uint64_t length)
{
	struct decant_region region = DECANT_REGION_INIT;

	snprintf(region.name, sizeof(region.name), "%s", name);
	region.guest_address = guest_address;
	region.length = length;
	return region;
}

static int allocate(const char *name, uint64_t guest_address, uint64_t length)
{
	struct decant_region region = shape(name, guest_address, length);

	return decant_memory_allocate(memory, &region, &err);
}

static void test_decant_memory_new__is_empty(void **state)
{
	(void)state;
	assert_int_equal(decant_memory_count(memory), 0);
	assert_int_equal(decant_memory_bytes(memory), 0);
	assert_int_equal(decant_memory_allocated(memory), 0);
	assert_null(decant_memory_region(memory, 0));
}

static void test_decant_memory_free__null(void **state)
{
	(void)state;
	decant_memory_free(NULL);
}

static void test_decant_memory_allocate__is_sparse_shared_and_sealed(void **state)
{
	(void)state;
	const struct decant_region *region;

	assert_int_equal(allocate("ram0", 0, 8ull << 30), 0);
	region = decant_memory_region(memory, 0);

	assert_string_equal(region->name, "ram0");
	assert_int_equal(decant_memory_bytes(memory), 8ull << 30);
	assert_int_equal(decant_memory_allocated(memory), 0);
	assert_int_equal(fcntl(region->fd, F_GET_SEALS) & F_SEAL_SHRINK, F_SEAL_SHRINK);
	assert_int_equal(ftruncate(region->fd, 0), -1);
	((char *)region->address)[5 * PAGE] = 1;
	assert_int_equal(decant_memory_allocated(memory), PAGE);
}

static bool vm_flag_is_set(const void *address, const char *flag)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	char line[512];
	bool here = false, found = false;

	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps) != NULL) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)address && (uintptr_t)address < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	fclose(maps);
	return found;
}

static void test_decant_memory_allocate__children_do_not_get_it(void **state)
{
	(void)state;
	assert_int_equal(allocate("ram0", 0, MIB), 0);

	assert_true(vm_flag_is_set(decant_memory_region(memory, 0)->address, " dc"));
}

static void test_decant_memory_allocate__regions_have_indexes(void **state)
{
	(void)state;
	assert_int_equal(allocate("low", 0, 2 * MIB), 0);
	assert_int_equal(allocate("high", 4ull << 30, 4 * MIB), 1);

	assert_int_equal(decant_memory_count(memory), 2);
	assert_int_equal(decant_memory_bytes(memory), 6 * MIB);
	assert_string_equal(decant_memory_region(memory, 1)->name, "high");
	assert_null(decant_memory_region(memory, 2));
}

static void test_decant_memory_allocate__name_and_place_taken(void **state)
{
	(void)state;
	assert_int_equal(allocate("ram0", 2 * MIB, 2 * MIB), 0);

	assert_int_equal(allocate("ram0", 8 * MIB, MIB), -EEXIST);
	assert_int_equal(allocate("first", MIB, MIB + PAGE), -EEXIST);
	assert_non_null(strstr(err.msg, "ram0"));
	assert_int_equal(allocate("inside", 3 * MIB, PAGE), -EEXIST);
	assert_int_equal(allocate("around", 0, 16 * MIB), -EEXIST);
	assert_int_equal(allocate("last", 4 * MIB - PAGE, MIB), -EEXIST);
	assert_int_equal(decant_memory_count(memory), 1);
	assert_int_equal(allocate("before", 0, 2 * MIB), 1);
	assert_int_equal(allocate("after", 4 * MIB, MIB), 2);
}

static void test_decant_memory_allocate__bad_shapes(void **state)
{
	(void)state;
	struct decant_region region;

	region = shape("", 0, MIB);
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 0, MIB);
	memset(region.name, 'x', sizeof(region.name));
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 0, 0);
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 0, MIB + 1);
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 1, MIB);
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", -(4ull << 20), 8 * MIB);
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 0, MIB);
	region.page_size = 8192;
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 0, 3 * MIB);
	region.page_size = HUGE_PAGE;
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	region = shape("x", 0, MIB);
	region.size = 8;
	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	assert_int_equal(decant_memory_count(memory), 0);
}

static void test_decant_memory_allocate__too_many(void **state)
{
	(void)state;
	char name[16];

	for (uint64_t i = 0; i < DECANT_REGIONS_MAX; i++) {
		snprintf(name, sizeof(name), "r%u", (unsigned)i);
		assert_int_equal(allocate(name, i * MIB, MIB), i);
	}

	assert_int_equal(allocate("more", 1ull << 40, MIB), -ENOSPC);
}

static void test_decant_memory_allocate__node_that_is_none(void **state)
{
	(void)state;
	struct decant_region region = shape("ram0", 0, MIB);

	region.numa_node = 900;

	assert_int_equal(decant_memory_allocate(memory, &region, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "NUMA node 900"));
}

static void test_decant_memory_allocate__node_0(void **state)
{
	(void)state;
	struct decant_region region = shape("ram0", 0, MIB);

	region.numa_node = 0;

	assert_int_equal(decant_memory_allocate(memory, &region, &err), 0);
	((char *)decant_memory_region(memory, 0)->address)[0] = 1;
}

static void test_decant_memory_allocate__larger_than_the_address_space(void **state)
{
	(void)state;
	assert_int_equal(allocate("ram0", 0, 1ull << 50), -ENOMEM);
	assert_non_null(strstr(err.msg, "ram0"));
	assert_non_null(strstr(err.msg, "raise"));
}

static void test_decant_memory_allocate__too_few_huge_pages(void **state)
{
	(void)state;
	struct decant_region region = shape("ram0", 0, 1ull << 40);

	region.page_size = HUGE_PAGE;

	assert_int_equal(decant_memory_allocate(memory, &region, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "needs 524288 huge pages"));
	assert_non_null(strstr(err.msg, "nr_hugepages"));
	assert_non_null(strstr(err.msg, "echo"));
}

static void test_decant_memory_add__is_not_owned(void **state)
{
	(void)state;
	struct decant_region region = shape("ram0", 0, MIB);
	void *address = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	region.address = address;
	assert_int_equal(decant_memory_add(memory, &region, &err), 0);
	decant_memory_free(memory);

	((char *)address)[0] = 1;
	munmap(address, MIB);
	assert_int_equal(decant_memory_new(&memory, NULL), 0);
}

static void test_decant_memory_add__bad_address(void **state)
{
	(void)state;
	struct decant_region region = shape("ram0", 0, MIB);

	assert_int_equal(decant_memory_add(memory, &region, &err), -EINVAL);
	region.address = (void *)0x1001;
	assert_int_equal(decant_memory_add(memory, &region, &err), -EINVAL);
}

static void test_decant_memory_populate__leaves_no_hole_and_keeps_what_is_there(void **state)
{
	const uint64_t length = 65 * MIB + PAGE;
	const struct decant_region *region;
	uint64_t offset = 0, found = 0;
	(void)state;

	assert_int_equal(allocate("a", 0, length), 0);
	assert_int_equal(allocate("b", 1ull << 32, PAGE), 1);
	region = decant_memory_region(memory, 0);
	memset((char *)region->address + 3 * PAGE, 7, PAGE);
	assert_int_equal(decant_memory_populate(memory, &err), 0);

	assert_int_equal(decant_memory_allocated(memory), length + PAGE);
	assert_int_equal(decant_memory_next_data(memory, 0, &offset, length, &found, NULL), 1);
	assert_int_equal(found, length);
	assert_int_equal(((char *)region->address)[3 * PAGE], 7);
	assert_int_equal(((char *)region->address)[4 * PAGE], 0);
	assert_true(memory_is_populated(memory, 0));
	assert_true(memory_is_populated(memory, 1));
}

static void test_decant_memory_move__takes_all_or_nothing(void **state)
{
	struct decant_memory *other;
	void *address;
	(void)state;

	assert_int_equal(decant_memory_new(&other, NULL), 0);
	assert_int_equal(allocate("a", 0, PAGE), 0);
	assert_int_equal(allocate("b", PAGE, PAGE), 1);
	address = decant_memory_region(memory, 1)->address;
	assert_false(memory_is_populated(memory, 1));
	assert_int_equal(decant_memory_populate(memory, &err), 0);
	assert_int_equal(decant_memory_move(other, memory, &err), 0);
	assert_int_equal(decant_memory_count(memory), 0);
	assert_int_equal(decant_memory_count(other), 2);
	assert_ptr_equal(decant_memory_region(other, 1)->address, address);
	assert_true(memory_is_populated(other, 1));

	assert_int_equal(allocate("c", 2 * PAGE, PAGE), 0);
	assert_int_equal(allocate("b", 3 * PAGE, PAGE), 1);
	assert_int_equal(decant_memory_move(other, memory, &err), -EEXIST);
	assert_int_equal(decant_memory_count(memory), 2);
	assert_int_equal(decant_memory_count(other), 2);
	decant_memory_free(other);
}

static void test_decant_memory_next_data__without_a_file_all_is_data(void **state)
{
	(void)state;
	struct decant_region region = shape("ram0", 0, MIB);
	uint64_t offset = 3 * PAGE, length = 0;

	region.address = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(decant_memory_add(memory, &region, &err), 0);

	assert_int_equal(decant_memory_next_data(memory, 0, &offset, UINT64_MAX, &length, &err), 1);
	assert_int_equal(offset, 3 * PAGE);
	assert_int_equal(length, MIB - 3 * PAGE);
	assert_int_equal(decant_memory_allocated(memory), MIB);
	munmap(region.address, MIB);
}

static void assert_next(uint64_t from, uint64_t end, uint64_t offset, uint64_t length)
{
	uint64_t found = from, bytes = 0;

	assert_int_equal(decant_memory_next_data(memory, 0, &found, end, &bytes, &err), 1);
	assert_int_equal(found, offset);
	assert_int_equal(bytes, length);
}

static void assert_none(uint64_t from, uint64_t end)
{
	uint64_t found = from, bytes = 0;

	assert_int_equal(decant_memory_next_data(memory, 0, &found, end, &bytes, &err), 0);
}

static void test_decant_memory_next_data__extents_and_bounds(void **state)
{
	(void)state;
	char *base;

	assert_int_equal(allocate("ram0", 0, 64 * MIB), 0);
	base = decant_memory_region(memory, 0)->address;
	assert_none(0, 64 * MIB);
	base[10 * PAGE] = 0;
	base[11 * PAGE] = 1;
	base[64 * MIB - 1] = 1;

	assert_next(0, 64 * MIB, 10 * PAGE, 2 * PAGE);
	assert_next(11 * PAGE, 64 * MIB, 11 * PAGE, PAGE);
	assert_next(12 * PAGE, 64 * MIB, 64 * MIB - PAGE, PAGE);
	assert_next(0, 11 * PAGE, 10 * PAGE, PAGE);
	assert_none(0, 10 * PAGE);
	assert_none(12 * PAGE, 64 * MIB - PAGE);
	assert_none(64 * MIB, UINT64_MAX);
	assert_none(10 * PAGE, 10 * PAGE);
	assert_int_equal(decant_memory_allocated(memory), 3 * PAGE);
}

static void test_decant_memory_next_data__no_such_region(void **state)
{
	(void)state;
	uint64_t offset = 0, length;

	assert_int_equal(decant_memory_next_data(memory, 0, &offset, MIB, &length, &err), -EINVAL);
}

static void test_decant_memory_next_data__reading_a_hole_makes_no_data_of_it(void **state)
{
	(void)state;
	volatile const char *base;

	assert_int_equal(allocate("ram0", 0, MIB), 0);
	base = decant_memory_region(memory, 0)->address;
	assert_none(0, MIB);
	assert_int_equal(base[7 * PAGE], 0);

	/* shmem allocates on a read fault too; whatever it does, both answers must agree */
	if (decant_memory_allocated(memory) == 0)
		assert_none(0, MIB);
	else
		assert_next(0, MIB, 7 * PAGE, PAGE);
}

static void *map_again(const struct decant_region *region)
{
	void *other = mmap(NULL, region->length, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);

	assert_ptr_not_equal(other, MAP_FAILED);
	return other;
}

static void test_decant_memory_next_data__touched_through_another_mapping(void **state)
{
	(void)state;
	char *other;

	assert_int_equal(allocate("ram0", 0, MIB), 0);
	other = map_again(decant_memory_region(memory, 0));
	other[9 * PAGE] = 1;

	assert_next(0, MIB, 9 * PAGE, PAGE);
	munmap(other, MIB);
}

static void test_decant_memory_next_data__part_of_a_file(void **state)
{
	(void)state;
	struct decant_region region = shape("part", 0, MIB);
	int fd = memfd_create("whole", MFD_CLOEXEC);
	char *whole;

	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	whole = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	whole[0] = 1;
	whole[2 * MIB + 5 * PAGE] = 1;
	whole[3 * MIB] = 1;
	region.fd = fd;
	region.fd_offset = 2 * MIB;
	region.address = whole + 2 * MIB;

	assert_int_equal(decant_memory_add(memory, &region, &err), 0);
	assert_next(0, MIB, 5 * PAGE, PAGE);
	assert_none(6 * PAGE, MIB);
	assert_int_equal(decant_memory_allocated(memory), PAGE);
	munmap(whole, 4 * MIB);
	close(fd);
}

/* ---- huge pages ---- */

static char *allocate_huge(void)
{
	struct decant_region region = shape("ram0", 0, HUGE_PAGES * HUGE_PAGE);

	if (huge_ret < 0) {
		print_message("SKIP: %u huge pages: %s\n", HUGE_PAGES, strerror(-huge_ret));
		skip();
	}
	region.page_size = HUGE_PAGE;
	assert_int_equal(decant_memory_allocate(memory, &region, &err), 0);
	return decant_memory_region(memory, 0)->address;
}

static void test_decant_memory_allocate__huge_pages_are_reserved_not_taken(void **state)
{
	(void)state;
	struct decant_region region = shape("more", 1ull << 30, HUGE_PAGES * HUGE_PAGE);
	struct limit limit;

	allocate_huge();
	assert_int_equal(decant_memory_allocated(memory), 0);
	limit_huge_available(HUGE_PAGE, &limit);
	region.length = limit.available + HUGE_PAGES * HUGE_PAGE;
	region.page_size = HUGE_PAGE;

	assert_int_equal(decant_memory_allocate(memory, &region, &err), -ENOMEM);
}

static void test_decant_memory_next_data__huge_extents(void **state)
{
	(void)state;
	char *base = allocate_huge();
	const uint64_t end = HUGE_PAGES * HUGE_PAGE;

	assert_none(0, end);
	base[2 * HUGE_PAGE + 77] = 1;
	base[3 * HUGE_PAGE] = 0;
	base[7 * HUGE_PAGE] = 1;

	assert_next(0, end, 2 * HUGE_PAGE, 2 * HUGE_PAGE);
	assert_next(2 * HUGE_PAGE + 3 * PAGE, end, 2 * HUGE_PAGE + 3 * PAGE, 2 * HUGE_PAGE - 3 * PAGE);
	assert_next(4 * HUGE_PAGE, end, 7 * HUGE_PAGE, HUGE_PAGE);
	assert_next(0, 2 * HUGE_PAGE + PAGE, 2 * HUGE_PAGE, PAGE);
	assert_none(4 * HUGE_PAGE, 7 * HUGE_PAGE);
	assert_int_equal(decant_memory_allocated(memory), 3 * HUGE_PAGE);
}

static void test_decant_memory_next_data__huge_page_touched_through_another_mapping(void **state)
{
	(void)state;
	char *base = allocate_huge();
	char *other = map_again(decant_memory_region(memory, 0));
	const uint64_t end = HUGE_PAGES * HUGE_PAGE;

	base[0] = 1;
	assert_next(0, end, 0, HUGE_PAGE);
	other[6 * HUGE_PAGE - 1] = 1;

	assert_next(HUGE_PAGE, end, 5 * HUGE_PAGE, HUGE_PAGE);
	assert_none(6 * HUGE_PAGE, end);
	assert_int_equal(base[6 * HUGE_PAGE - 1], 1);
	assert_int_equal(decant_memory_allocated(memory), 2 * HUGE_PAGE);
	munmap(other, HUGE_PAGES * HUGE_PAGE);
}

static void test_decant_memory_next_data__huge_page_that_was_punched(void **state)
{
	(void)state;
	char *base = allocate_huge();
	const struct decant_region *region = decant_memory_region(memory, 0);
	const uint64_t end = HUGE_PAGES * HUGE_PAGE;

	base[0] = 1;
	base[HUGE_PAGE] = 1;
	assert_next(0, end, 0, 2 * HUGE_PAGE);
	assert_int_equal(fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE_PAGE), 0);

	assert_next(0, end, HUGE_PAGE, HUGE_PAGE);
	assert_int_equal(decant_memory_allocated(memory), HUGE_PAGE);
}

static void test_limit_available__is_within_the_host(void **state)
{
	(void)state;
	struct limit limit;

	limit_available(&limit);

	assert_true(limit.available > 0);
	assert_true(limit.available <= limit.value);
	assert_true(limit.available < (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE);
	assert_true(strlen(limit.name) > 0);
}

#define with_memory(test) cmocka_unit_test_setup_teardown(test, make_memory, free_memory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_memory(test_decant_memory_new__is_empty),
		cmocka_unit_test(test_decant_memory_free__null),
		with_memory(test_decant_memory_allocate__is_sparse_shared_and_sealed),
		with_memory(test_decant_memory_allocate__children_do_not_get_it),
		with_memory(test_decant_memory_allocate__regions_have_indexes),
		with_memory(test_decant_memory_allocate__name_and_place_taken),
		with_memory(test_decant_memory_allocate__bad_shapes),
		with_memory(test_decant_memory_allocate__too_many),
		with_memory(test_decant_memory_allocate__node_that_is_none),
		with_memory(test_decant_memory_allocate__node_0),
		with_memory(test_decant_memory_allocate__larger_than_the_address_space),
		with_memory(test_decant_memory_allocate__too_few_huge_pages),
		with_memory(test_decant_memory_add__is_not_owned),
		with_memory(test_decant_memory_add__bad_address),
		with_memory(test_decant_memory_populate__leaves_no_hole_and_keeps_what_is_there),
		with_memory(test_decant_memory_move__takes_all_or_nothing),
		with_memory(test_decant_memory_next_data__without_a_file_all_is_data),
		with_memory(test_decant_memory_next_data__extents_and_bounds),
		with_memory(test_decant_memory_next_data__no_such_region),
		with_memory(test_decant_memory_next_data__reading_a_hole_makes_no_data_of_it),
		with_memory(test_decant_memory_next_data__touched_through_another_mapping),
		with_memory(test_decant_memory_next_data__part_of_a_file),
		with_memory(test_decant_memory_allocate__huge_pages_are_reserved_not_taken),
		with_memory(test_decant_memory_next_data__huge_extents),
		with_memory(test_decant_memory_next_data__huge_page_touched_through_another_mapping),
		with_memory(test_decant_memory_next_data__huge_page_that_was_punched),
		cmocka_unit_test(test_limit_available__is_within_the_host),
	};

	huge_ret = hugepages_reserve(HUGE_PAGES);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
