/* SPDX-License-Identifier: BSD-2-Clause */
/* test_populate.c -- memory touched ahead by a pool of threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <decant/memory.h>

#include "migration/populate.h"
#include "support/two_nodes.h"

#define GRANULE (2ull << 20)
#define GRANULES 16u
#define LENGTH (GRANULES * GRANULE)

static struct decant_memory *memory;
static char *base;

/* What the callbacks saw; the lock is theirs. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned calls;
	unsigned per_granule[GRANULES + 1];
	uint64_t bytes;
	int worst;
	char order[8];
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static struct two_nodes host;
static struct cpus seen_cpus[GRANULES];

static int make_memory(void **state)
{
	(void)state;
	struct decant_region region = DECANT_REGION_INIT;

	strcpy(region.name, "ram0");
	region.length = LENGTH;
	if (decant_memory_new(&memory, NULL) < 0 || decant_memory_allocate(memory, &region, NULL) < 0)
		return -1;
	base = decant_memory_region(memory, 0)->address;
	seen.calls = 0;
	seen.bytes = 0;
	seen.worst = 0;
	memset(seen.per_granule, 0, sizeof(seen.per_granule));
	memset(seen.order, 0, sizeof(seen.order));
	return 0;
}

static int free_memory(void **state)
{
	(void)state;
	decant_memory_free(memory);
	return 0;
}

static void note(void *opaque, uint64_t offset, uint64_t length, int code)
{
	pthread_mutex_lock(&seen.lock);
	if (opaque != NULL && seen.calls < sizeof(seen.order) - 1)
		seen.order[seen.calls] = *(const char *)opaque;
	seen.calls++;
	seen.per_granule[offset / GRANULE]++;
	seen.bytes += length;
	if (code < seen.worst)
		seen.worst = code;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static void wait_for_calls(unsigned calls)
{
	pthread_mutex_lock(&seen.lock);
	while (seen.calls < calls)
		pthread_cond_wait(&seen.changed, &seen.lock);
	pthread_mutex_unlock(&seen.lock);
}

static void populate_all_with(unsigned threads)
{
	struct populate *populate;

	assert_int_equal(populate_new(threads, &populate, NULL), 0);
	assert_int_equal(decant_memory_allocated(memory), 0);
	assert_int_equal(populate_submit(populate, base, LENGTH, GRANULE, 0, note, NULL), 0);
	wait_for_calls(GRANULES);
	populate_free(populate);

	assert_int_equal(seen.calls, GRANULES);
	assert_int_equal(seen.bytes, LENGTH);
	assert_int_equal(seen.worst, 0);
	for (unsigned i = 0; i < GRANULES; i++)
		assert_int_equal(seen.per_granule[i], 1);
	assert_int_equal(decant_memory_allocated(memory), LENGTH);
}

static void test_populate_submit__in_place(void **state)
{
	(void)state;
	populate_all_with(0);
}

static void test_populate_submit__one_thread(void **state)
{
	(void)state;
	populate_all_with(1);
}

static void test_populate_submit__several_threads(void **state)
{
	(void)state;
	populate_all_with(4);
}

static void test_populate_submit__last_granule_is_shorter(void **state)
{
	(void)state;
	struct populate *populate;

	assert_int_equal(populate_new(2, &populate, NULL), 0);
	assert_int_equal(populate_submit(populate, base, 2 * GRANULE + 4096, GRANULE, -1, note, NULL), 0);
	wait_for_calls(3);
	populate_free(populate);

	assert_int_equal(seen.bytes, 2 * GRANULE + 4096);
	assert_int_equal(seen.per_granule[2], 1);
	assert_int_equal(decant_memory_allocated(memory), 2 * GRANULE + 4096);
}

static void test_populate_submit__keeps_what_is_there(void **state)
{
	(void)state;
	struct populate *populate;

	base[12345] = 42;
	assert_int_equal(populate_new(1, &populate, NULL), 0);
	assert_int_equal(populate_submit(populate, base, GRANULE, GRANULE, -1, note, NULL), 0);
	wait_for_calls(1);
	populate_free(populate);

	assert_int_equal(base[12345], 42);
	assert_int_equal(base[12346], 0);
}

static void test_populate_submit__jobs_in_order(void **state)
{
	(void)state;
	struct populate *populate;
	char a = 'a', b = 'b', c = 'c';

	assert_int_equal(populate_new(1, &populate, NULL), 0);
	assert_int_equal(populate_submit(populate, base, 2 * GRANULE, GRANULE, -1, note, &a), 0);
	assert_int_equal(populate_submit(populate, base + 2 * GRANULE, GRANULE, GRANULE, -1, note, &b), 0);
	assert_int_equal(populate_submit(populate, base + 3 * GRANULE, 2 * GRANULE, GRANULE, -1, note, &c), 0);
	wait_for_calls(5);
	populate_free(populate);

	assert_string_equal(seen.order, "aabcc");
}

static void work(void *opaque, void *address, uint64_t length)
{
	note(opaque, (uint64_t)((char *)address - base), length, 0);
}

static void test_populate_submit_work__touches_nothing(void **state)
{
	(void)state;
	struct populate *populate;

	assert_int_equal(populate_new(2, &populate, NULL), 0);
	assert_int_equal(populate_submit_work(populate, base + GRANULE, 2 * GRANULE, GRANULE, -1, work, NULL), 0);
	wait_for_calls(2);
	populate_free(populate);

	assert_int_equal(seen.per_granule[1], 1);
	assert_int_equal(seen.per_granule[2], 1);
	assert_int_equal(seen.bytes, 2 * GRANULE);
	assert_int_equal(decant_memory_allocated(memory), 0);
}

static void test_populate_submit__bad_shapes(void **state)
{
	(void)state;
	struct populate *populate;

	assert_int_equal(populate_new(0, &populate, NULL), 0);

	assert_int_equal(populate_submit(populate, base, 0, GRANULE, -1, note, NULL), -EINVAL);
	assert_int_equal(populate_submit(populate, base, GRANULE, 0, -1, note, NULL), -EINVAL);
	assert_int_equal(populate_submit(populate, base, GRANULE, 100, -1, note, NULL), -EINVAL);
	assert_int_equal(populate_submit(populate, base + 1, GRANULE, GRANULE, -1, note, NULL), -EINVAL);
	assert_int_equal(seen.calls, 0);
	populate_free(populate);
}

static void test_populate_submit__memory_that_is_not_there(void **state)
{
	(void)state;
	struct decant_error err = DECANT_ERROR_INIT;
	struct populate *populate;

	assert_int_equal(munmap(base + GRANULE, GRANULE), 0);
	assert_int_equal(populate_new(1, &populate, NULL), 0);
	assert_int_equal(populate_submit(populate, base, 3 * GRANULE, GRANULE, -1, note, NULL), 0);
	wait_for_calls(3);
	populate_free(populate);

	assert_int_equal(seen.worst, -ENOMEM);
	assert_int_equal(decant_memory_allocated(memory), 2 * GRANULE);
	assert_int_equal(populate_explain(&err, seen.worst, "region ram0", GRANULE, 4096), -ENOMEM);
	assert_non_null(strstr(err.msg, "region ram0: 2 MiB"));
}

/* A file that is shorter than its mapping stands for a page that cannot be had: SIGBUS for a writer, EFAULT here. */
static void test_populate_submit__what_would_be_sigbus(void **state)
{
	(void)state;
	struct decant_error err = DECANT_ERROR_INIT;
	struct populate *populate;
	int fd = memfd_create("short", MFD_CLOEXEC);
	void *address = mmap(NULL, GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_int_equal(populate_new(0, &populate, NULL), 0);
	assert_int_equal(populate_submit(populate, address, GRANULE, GRANULE, -1, note, NULL), 0);
	populate_free(populate);

	assert_int_equal(seen.worst, -EFAULT);
	assert_int_equal(populate_explain(&err, -EFAULT, "region huge", GRANULE, 2u << 20), -EFAULT);
	assert_non_null(strstr(err.msg, "huge pages of 2 MiB"));
	munmap(address, GRANULE);
	close(fd);
}

static atomic_uint slow_calls;

static void be_slow(void *opaque, uint64_t offset, uint64_t length, int code)
{
	(void)opaque;
	(void)offset;
	(void)length;
	(void)code;
	atomic_fetch_add(&slow_calls, 1);
	usleep(2000);
}

static void test_populate_free__drops_what_is_queued(void **state)
{
	(void)state;
	struct populate *populate;
	unsigned calls;

	atomic_store(&slow_calls, 0);
	assert_int_equal(populate_new(2, &populate, NULL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(populate_submit(populate, base, LENGTH, 4096, -1, be_slow, NULL), 0);
	while (atomic_load(&slow_calls) == 0)
		usleep(100);
	populate_free(populate);

	calls = atomic_load(&slow_calls);
	assert_true(calls < 4 * LENGTH / 4096);
	usleep(10000);
	assert_int_equal(atomic_load(&slow_calls), calls);
}

static void test_populate_free__idle_and_null(void **state)
{
	(void)state;
	struct populate *populate;

	populate_free(NULL);
	assert_int_equal(populate_new(3, &populate, NULL), 0);
	assert_int_equal(populate_cpu_ns(populate), 0);
	populate_free(populate);
}

static void test_populate_cpu_ns__counts_the_work(void **state)
{
	(void)state;
	struct populate *populate;

	assert_int_equal(populate_new(1, &populate, NULL), 0);
	assert_int_equal(populate_submit(populate, base, LENGTH, GRANULE, -1, note, NULL), 0);
	wait_for_calls(GRANULES);

	assert_true(populate_cpu_ns(populate) > 0);
	populate_free(populate);
}

#define with_memory(test) cmocka_unit_test_setup_teardown(test, make_memory, free_memory)

static void note_cpus(void *opaque, void *address, uint64_t length)
{
	(void)opaque;
	(void)length;
	pthread_mutex_lock(&seen.lock);
	cpus_of_thread(&seen_cpus[((char *)address - base) / GRANULE]);
	seen.calls++;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static void test_populate_submit__on_cpus_of_the_node(void **state)
{
	static const int nodes[] = { 1, 0, -1, 7, 1 };
	const uint32_t count = sizeof(nodes) / sizeof(nodes[0]);
	struct populate *populate;
	(void)state;

	if (cpus_count(&host.both) == 0)
		skip();
	assert_int_equal(populate_new(1, &populate, NULL), 0);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(populate_submit_work(populate, base + i * GRANULE, GRANULE, GRANULE, nodes[i],
						      note_cpus, NULL),
				 0);
	wait_for_calls(count);
	populate_free(populate);

	for (uint32_t i = 0; i < count; i++)
		assert_true(cpus_equal(&seen_cpus[i],
				       nodes[i] == 0 || nodes[i] == 1 ? &host.node[nodes[i]] : &host.both));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_memory(test_populate_submit__in_place),
		with_memory(test_populate_submit__one_thread),
		with_memory(test_populate_submit__several_threads),
		with_memory(test_populate_submit__last_granule_is_shorter),
		with_memory(test_populate_submit__keeps_what_is_there),
		with_memory(test_populate_submit__jobs_in_order),
		with_memory(test_populate_submit_work__touches_nothing),
		with_memory(test_populate_submit__bad_shapes),
		with_memory(test_populate_submit__memory_that_is_not_there),
		with_memory(test_populate_submit__what_would_be_sigbus),
		with_memory(test_populate_free__drops_what_is_queued),
		with_memory(test_populate_free__idle_and_null),
		with_memory(test_populate_cpu_ns__counts_the_work),
		with_memory(test_populate_submit__on_cpus_of_the_node),
	};

	(void)two_nodes_make(&host);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
