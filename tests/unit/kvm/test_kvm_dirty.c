/* SPDX-License-Identifier: BSD-2-Clause */
/* test_kvm_dirty.c -- dirty tracking on a real VM: log, ring, own marks */
#include "kvm/kvm.h"
#include "support/tiny_vm.h"
#include "util/bitmap.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

#define MEMORY (32u << 20)
#define PAGES (MEMORY / DECANT_PAGE_SIZE)
#define FIRST_PAGE 64u /* above code and tables */
#define HOT_PAGES 1024u
#define PAUSES 20
#define SWEEPS 8u /* of the hot pages, at least, while the guest runs */
#define MARK_ROUNDS 60
#define SMALL_RING 4096u
#define PATIENCE_NS (20 * NSEC_PER_SEC)

struct way {
	struct tiny_vm_opts opts;
	struct tiny_vm *vm;
	uint64_t *bitmap;
	bool all_set;
};

static int way_setup(void **state, enum decant_kvm_dirty dirty, uint32_t entries)
{
	struct way *way = calloc(1, sizeof(*way));
	struct decant_kvm_caps caps = { .size = sizeof(caps) };

	way->opts = (struct tiny_vm_opts){ .vcpus = 2, .memory = MEMORY, .dirty = dirty, .ring_entries = entries };
	way->vm = tiny_vm_new(&way->opts);
	way->bitmap = bitmap_new(PAGES);
	assert_int_equal(decant_kvm_probe(way->vm->kvm_fd, &caps, NULL), 0);
	way->all_set = dirty != DECANT_KVM_DIRTY_RING && caps.initially_all_set;
	*state = way;
	return 0;
}

static int log_setup(void **state)
{
	return way_setup(state, DECANT_KVM_DIRTY_LOG, 0);
}

static int ring_setup(void **state)
{
	return way_setup(state, DECANT_KVM_DIRTY_RING, 0);
}

static int small_ring_setup(void **state)
{
	return way_setup(state, DECANT_KVM_DIRTY_RING, SMALL_RING);
}

static int way_teardown(void **state)
{
	struct way *way = *state;

	tiny_vm_free(way->vm);
	free(way->bitmap);
	free(way);
	return 0;
}

static void way_program_write(struct way *way, uint32_t vcpu, uint32_t page, uint32_t pages, uint32_t value)
{
	uint8_t code[TINY_CODE_MAX];

	tiny_vm_program(way->vm, vcpu, code, tiny_code_write(code, page * DECANT_PAGE_SIZE, pages, value));
}

static void way_fetch(struct way *way)
{
	memset(way->bitmap, 0, bitmap_words(PAGES) * sizeof(uint64_t));
	assert_int_equal(decant_kvm_dirty_fetch(way->vm->kvm, 0, way->bitmap, PAGES, NULL), 0);
}

static void way_fetch_and_clear(struct way *way)
{
	way_fetch(way);
	assert_int_equal(decant_kvm_dirty_clear(way->vm->kvm, 0, 0, PAGES, way->bitmap, NULL), 0);
}

/* Tracking is on and nothing is reported. */
static void way_start_clean(struct way *way)
{
	assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, NULL), 0);
	way_fetch_and_clear(way);
	if (way->all_set)
		assert_int_equal(bitmap_count(way->bitmap, 0, PAGES), PAGES);
	else
		assert_int_equal(bitmap_count(way->bitmap, 0, PAGES), 0);
	way_fetch(way);
	assert_int_equal(bitmap_count(way->bitmap, 0, PAGES), 0);
}

/* Above the code: a KVM may map a page that is only fetched from as writable, and counts it as dirty then. */
static void assert_only_pages(const uint64_t *bitmap, uint64_t first, uint64_t count)
{
	assert_int_equal(bitmap_count(bitmap, FIRST_PAGE, PAGES - FIRST_PAGE), count);
	assert_int_equal(bitmap_count(bitmap, first, count), count);
}

static void test_dirty_fetch__gives_exactly_the_written_pages(void **state)
{
	struct way *way = *state;

	way_start_clean(way);
	way_program_write(way, 0, 100, 37, 1);
	tiny_vm_run(way->vm, 0);

	way_fetch_and_clear(way);
	assert_only_pages(way->bitmap, 100, 37);

	way_fetch_and_clear(way);
	assert_only_pages(way->bitmap, 100, 0);
}

static void test_dirty_fetch__two_vcpus(void **state)
{
	struct way *way = *state;

	way_start_clean(way);
	way_program_write(way, 0, 100, 3, 1);
	way_program_write(way, 1, 200, 5, 1);
	tiny_vm_run(way->vm, 0);
	tiny_vm_run(way->vm, 1);

	way_fetch_and_clear(way);

	assert_int_equal(bitmap_count(way->bitmap, FIRST_PAGE, PAGES - FIRST_PAGE), 8);
	assert_int_equal(bitmap_count(way->bitmap, 100, 3), 3);
	assert_int_equal(bitmap_count(way->bitmap, 200, 5), 5);
}

/* A KVM that emulates counts each write, any other each page. */
static void test_vcpu_dirtied__is_told_by_the_rings(void **state)
{
	struct way *way = *state;
	struct decant_kvm *kvm = way->vm->kvm;
	uint64_t first = 0, second = 0;

	way_start_clean(way);
	way_program_write(way, 0, 100, 300, 1);
	way_program_write(way, 1, 500, 5, 1);
	tiny_vm_run(way->vm, 0);
	tiny_vm_run(way->vm, 1);
	way_fetch_and_clear(way);
	assert_int_equal(decant_kvm_vcpu_dirtied(kvm, 0, &first, NULL), 0);
	assert_int_equal(decant_kvm_vcpu_dirtied(kvm, 1, &second, NULL), 0);
	assert_true(first >= 300 && second >= 5 && second < 300);
	assert_int_equal(decant_kvm_vcpu_dirtied(kvm, 2, &first, NULL), -ENOENT);

	decant_kvm_dirty_stop(kvm);
	way_start_clean(way);
	assert_int_equal(decant_kvm_vcpu_dirtied(kvm, 0, &first, NULL), 0);
	assert_int_equal(first, 0);
}

static void test_vcpu_dirtied__is_not_known_to_the_log(void **state)
{
	struct way *way = *state;
	uint64_t pages;

	assert_int_equal(decant_kvm_vcpu_dirtied(way->vm->kvm, 1, &pages, NULL), -EOPNOTSUPP);
	assert_int_equal(decant_kvm_vcpu_dirtied(way->vm->kvm, 2, &pages, NULL), -ENOENT);
}

static void test_dirty_fetch__adds_to_what_the_caller_has(void **state)
{
	struct way *way = *state;

	way_start_clean(way);
	way_program_write(way, 0, 100, 1, 1);
	tiny_vm_run(way->vm, 0);
	memset(way->bitmap, 0, bitmap_words(PAGES) * sizeof(uint64_t));
	bitmap_set(way->bitmap, 500);

	assert_int_equal(decant_kvm_dirty_fetch(way->vm->kvm, 0, way->bitmap, PAGES, NULL), 0);

	assert_true(bitmap_test(way->bitmap, 100));
	assert_true(bitmap_test(way->bitmap, 500));
}

static void test_dirty_clear__a_later_write_is_reported_again(void **state)
{
	struct way *way = *state;

	way_start_clean(way);
	for (uint32_t i = 0; i < 3; i++) {
		way_program_write(way, 0, 100, 2, i);
		tiny_vm_run(way->vm, 0);
		way_fetch_and_clear(way);
		assert_only_pages(way->bitmap, 100, 2);
	}
}

static void test_dirty_start__after_stop(void **state)
{
	struct way *way = *state;

	way_start_clean(way);
	way_program_write(way, 0, 100, 20, 1);
	tiny_vm_run(way->vm, 0);
	decant_kvm_dirty_stop(way->vm->kvm);
	way_program_write(way, 0, 300, 20, 1);
	tiny_vm_run(way->vm, 0);

	way_start_clean(way);
	way_program_write(way, 0, 400, 4, 1);
	tiny_vm_run(way->vm, 0);
	way_fetch_and_clear(way);

	assert_only_pages(way->bitmap, 400, 4);
}

static void test_dirty_start__twice_is_refused(void **state)
{
	struct way *way = *state;
	struct decant_error err = DECANT_ERROR_INIT;

	way_start_clean(way);

	assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, &err), -EALREADY);
	decant_kvm_dirty_stop(way->vm->kvm);
	decant_kvm_dirty_stop(way->vm->kvm);
}

static void test_dirty_fetch__bad_arguments(void **state)
{
	struct way *way = *state;
	struct decant_kvm *kvm = way->vm->kvm;

	assert_int_equal(decant_kvm_dirty_fetch(kvm, 0, way->bitmap, PAGES, NULL), -EINVAL);
	way_start_clean(way);
	assert_int_equal(decant_kvm_dirty_fetch(kvm, 1, way->bitmap, PAGES, NULL), -EINVAL);
	assert_int_equal(decant_kvm_dirty_fetch(kvm, 0, way->bitmap, PAGES - 1, NULL), -EINVAL);
	assert_int_equal(decant_kvm_dirty_clear(kvm, 0, 1, 1, way->bitmap, NULL), -EINVAL);
	assert_int_equal(decant_kvm_dirty_clear(kvm, 0, 64, PAGES, way->bitmap, NULL), -EINVAL);
	assert_int_equal(decant_kvm_dirty_clear(kvm, 0, PAGES, 0, way->bitmap, NULL), 0);
}

static uint32_t way_word(const struct way *way, uint32_t page)
{
	return __atomic_load_n((uint32_t *)(way->vm->ram + page * DECANT_PAGE_SIZE), __ATOMIC_ACQUIRE);
}

static void way_copy_all(const struct way *way, uint32_t *copy)
{
	for (uint32_t p = 0; p < PAGES; p++)
		copy[p] = way_word(way, p);
}

static void way_assert_copied(const struct way *way, const uint32_t *copy)
{
	for (uint32_t p = FIRST_PAGE; p < FIRST_PAGE + HOT_PAGES; p++)
		assert_int_equal(copy[p], way_word(way, p));
}

static void way_start_sweeping(struct way *way, uint32_t pages)
{
	uint8_t code[TINY_CODE_MAX];

	tiny_vm_program(way->vm, 0, code, tiny_code_sweep(code, FIRST_PAGE * DECANT_PAGE_SIZE, pages, 1));
	tiny_vm_start(way->vm, 0);
}

/* Copies what is reported; how many pages. */
static uint64_t way_round(struct way *way, uint32_t *copy)
{
	way_fetch_and_clear(way);
	for (uint32_t p = FIRST_PAGE; p < FIRST_PAGE + HOT_PAGES; p++)
		if (bitmap_test(way->bitmap, p))
			copy[p] = way_word(way, p);
	return bitmap_count(way->bitmap, FIRST_PAGE, HOT_PAGES);
}

/*
 * What makes pre-copy correct, held against a vCPU that writes all the time: whoever copies each page that is
 * reported, after it has been cleared, has all of memory when the vCPU has stopped and the last report is
 * copied. In between a page may be newer than its copy and not reported yet: KVM reports a write some time after
 * it, at the latest when the vCPU leaves KVM_RUN.
 */
static void test_dirty_fetch__loses_nothing_while_the_guest_writes(void **state)
{
	struct way *way = *state;
	uint32_t *copy = calloc(PAGES, sizeof(*copy));

	way_start_sweeping(way, HOT_PAGES);
	assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, NULL), 0);
	way_copy_all(way, copy);
	for (int pause = 0; pause < PAUSES; pause++) {
		uint64_t reported = 0;

		while (reported < HOT_PAGES)
			reported += way_round(way, copy);
		tiny_vm_stop(way->vm, 0);
		way_round(way, copy);
		way_assert_copied(way, copy);
		tiny_vm_start(way->vm, 0);
	}
	tiny_vm_stop(way->vm, 0);

	free(copy);
}

/* Clears [first, first + count) in two calls that end within a word, then copies. */
static void way_clear_and_copy(struct way *way, uint32_t first, uint32_t count, uint32_t *copy)
{
	for (uint32_t part = 0; part < count; part += 128) {
		uint32_t length = count - part < 100 ? count - part : 100;

		assert_int_equal(decant_kvm_dirty_clear(way->vm->kvm, 0, first + part, length,
							way->bitmap + (first + part) / 64, NULL),
				 0);
	}
	for (uint32_t p = first; p < first + count; p++)
		if (bitmap_test(way->bitmap, p))
			copy[p] = way_word(way, p);
}

/* The same with pages cleared in pieces, each just before it is read, as a migration does it; some not cleared at all. */
static void test_dirty_clear__in_pieces_while_the_guest_writes(void **state)
{
	struct way *way = *state;
	uint32_t *copy = calloc(PAGES, sizeof(*copy));
	uint64_t reported = 0;
	bool last = false;

	way_start_sweeping(way, HOT_PAGES);
	assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, NULL), 0);
	way_copy_all(way, copy);
	for (;;) {
		way_fetch(way);
		reported += bitmap_count(way->bitmap, FIRST_PAGE, HOT_PAGES);
		for (uint32_t first = 0; first < PAGES; first += 192)
			way_clear_and_copy(way, first, PAGES - first < 192 ? PAGES - first : 192, copy);
		if (last)
			break;
		last = reported >= SWEEPS * HOT_PAGES;
		if (last)
			tiny_vm_stop(way->vm, 0);
	}

	way_assert_copied(way, copy);
	free(copy);
}

static void test_dirty_log__page_stays_reported_until_cleared(void **state)
{
	struct way *way = *state;

	if (!way->all_set)
		tiny_vm_skip("this way of dirty tracking does not begin with all pages set");
	way_start_clean(way);
	way_program_write(way, 0, 100, 2, 1);
	tiny_vm_run(way->vm, 0);
	way_fetch(way);
	assert_only_pages(way->bitmap, 100, 2);

	way_fetch(way);
	assert_only_pages(way->bitmap, 100, 2);

	assert_int_equal(decant_kvm_dirty_clear(way->vm->kvm, 0, 64, 37, way->bitmap + 1, NULL), 0);
	way_fetch(way);
	assert_only_pages(way->bitmap, 101, 1);
}

static void test_dirty_ring__does_not_report_what_came_before(void **state)
{
	struct way *way = *state;

	way_program_write(way, 0, 100, 50, 1);
	tiny_vm_run(way->vm, 0);

	way_start_clean(way);
	way_program_write(way, 0, 120, 1, 2);
	tiny_vm_run(way->vm, 0);
	way_fetch(way);

	assert_only_pages(way->bitmap, 120, 1);
}

/* In portions smaller than the reserve that KVM keeps in a ring, so that no KVM runs past it. */
static void way_write_in_portions(struct way *way, uint32_t vcpu, uint32_t page, uint32_t pages)
{
	for (uint32_t done = 0; done < pages; done += 32) {
		way_program_write(way, vcpu, page + done, pages - done < 32 ? pages - done : 32, 1);
		tiny_vm_run(way->vm, vcpu);
	}
}

static void test_ring_full__nothing_is_lost(void **state)
{
	struct way *way = *state;

	way->vm->kvm->ring_keep_ns = CLOCK_NEVER;
	way_start_clean(way);
	way_write_in_portions(way, 0, 100, 5000);
	way_write_in_portions(way, 1, 5150, 300);
	way_fetch(way);

	assert_true(way->vm->vcpu[0].rings_full > 0);
	assert_int_equal(bitmap_count(way->bitmap, FIRST_PAGE, PAGES - FIRST_PAGE), 5300);
	assert_int_equal(bitmap_count(way->bitmap, 100, 5000), 5000);
	assert_int_equal(bitmap_count(way->bitmap, 5150, 300), 300);
}

static uint32_t way_ring_next(struct way *way)
{
	uint32_t next;

	pthread_mutex_lock(&way->vm->kvm->ring_lock);
	next = way->vm->kvm->vcpus[0]->ring_next;
	pthread_mutex_unlock(&way->vm->kvm->ring_lock);
	return next;
}

static void test_dirty_ring__is_emptied_by_its_keeper(void **state)
{
	struct way *way = *state;
	uint64_t deadline = clock_deadline_ns(PATIENCE_NS);
	uint32_t before;

	way_start_clean(way);
	before = way_ring_next(way);
	way_write_in_portions(way, 0, 100, SMALL_RING / 2);
	while (way_ring_next(way) == before && clock_now_ns() < deadline)
		usleep(1000);
	assert_true(way_ring_next(way) > before);

	way_fetch(way);
	assert_only_pages(way->bitmap, 100, SMALL_RING / 2);
}

/* A guest that fills its ring, and nobody who empties it in time. */
static void way_provoke_overrun(struct way *way)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_NS);

	way->vm->kvm->ring_keep_ns = CLOCK_NEVER;
	way_start_sweeping(way, SMALL_RING * 3 / 2);
	assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, NULL), 0);
	while (__atomic_load_n(&way->vm->vcpu[0].rings_full, __ATOMIC_RELAXED) == 0 && clock_now_ns() < deadline)
		usleep(1000);
}

static void test_dirty_ring__run_over_is_told_and_the_guest_goes_on(void **state)
{
	struct way *way = *state;
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t deadline;
	uint32_t seen;
	int r;

	way_provoke_overrun(way);
	r = decant_kvm_dirty_fetch(way->vm->kvm, 0, way->bitmap, PAGES, &err);
	decant_kvm_dirty_stop(way->vm->kvm);
	if (r == 0) { /* this KVM keeps to its reserve */
		assert_true(bitmap_count(way->bitmap, FIRST_PAGE, SMALL_RING * 3 / 2) > SMALL_RING / 2);
	} else {
		assert_int_equal(r, -EOVERFLOW);
		assert_non_null(strstr(err.msg, "dirty log"));
		assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, NULL), -EOVERFLOW);
	}
	deadline = clock_deadline_ns(PATIENCE_NS);
	seen = way_word(way, FIRST_PAGE);
	while (way_word(way, FIRST_PAGE) == seen && clock_now_ns() < deadline)
		usleep(1000);
	tiny_vm_stop(way->vm, 0);

	assert_int_not_equal(way_word(way, FIRST_PAGE), seen);
}

static void test_ring_full__entries_left_behind_by_a_stop(void **state)
{
	struct way *way = *state;

	way->vm->kvm->ring_keep_ns = CLOCK_NEVER;
	for (int i = 0; i < 4; i++) {
		way_start_clean(way);
		way_write_in_portions(way, 0, 100, SMALL_RING / 2);
		decant_kvm_dirty_stop(way->vm->kvm);
	}

	assert_int_equal(way->vm->vcpu[0].rings_full, 0);
}

static void test_ring_full__without_a_ring(void **state)
{
	struct way *way = *state;
	struct decant_error err = DECANT_ERROR_INIT;

	assert_int_equal(decant_kvm_ring_full(way->vm->kvm, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "dirty log"));
}

static void test_kvm_new__bad_ring_size(void **state)
{
	const uint32_t sizes[] = { 2048, 1, 5000 };
	struct decant_error err = DECANT_ERROR_INIT;
	struct tiny_vm *vm;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tiny_vm_opts opts = {
			.vcpus = 1, .memory = MEMORY, .dirty = DECANT_KVM_DIRTY_RING, .ring_entries = sizes[i]
		};

		assert_int_equal(tiny_vm_try_new(&opts, &vm, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "power of two"));
	}
}

static void test_mark__is_reported_once(void **state)
{
	struct way *way = *state;

	way_start_clean(way);
	decant_kvm_mark(way->vm->kvm, 100 * DECANT_PAGE_SIZE + 4095, 2);
	decant_kvm_mark(way->vm->kvm, 200 * DECANT_PAGE_SIZE, 130 * DECANT_PAGE_SIZE);

	way_fetch_and_clear(way);
	assert_int_equal(bitmap_count(way->bitmap, 0, PAGES), 132);
	assert_int_equal(bitmap_count(way->bitmap, 100, 2), 2);
	assert_int_equal(bitmap_count(way->bitmap, 200, 130), 130);

	way_fetch(way);
	assert_int_equal(bitmap_count(way->bitmap, 0, PAGES), 0);
}

static void test_mark__outside_memory_or_tracking(void **state)
{
	struct way *way = *state;

	decant_kvm_mark(way->vm->kvm, 100 * DECANT_PAGE_SIZE, 1);
	way_start_clean(way);
	decant_kvm_mark(way->vm->kvm, MEMORY, DECANT_PAGE_SIZE);
	decant_kvm_mark(way->vm->kvm, UINT64_MAX - 3, 8);
	decant_kvm_mark(way->vm->kvm, 100 * DECANT_PAGE_SIZE, 0);
	way_fetch(way);
	assert_int_equal(bitmap_count(way->bitmap, 0, PAGES), 0);

	decant_kvm_mark(way->vm->kvm, MEMORY - 1, UINT64_MAX);
	way_fetch(way);
	assert_only_pages(way->bitmap, PAGES - 1, 1);
}

struct marker {
	struct way *way;
	atomic_bool stop;
};

/* A device: writes by its own mapping, then marks. */
static void *marker_thread(void *opaque)
{
	struct marker *marker = opaque;

	for (uint32_t value = 1; !atomic_load(&marker->stop); value++)
		for (uint32_t p = FIRST_PAGE; p < FIRST_PAGE + 256; p++) {
			__atomic_store_n((uint32_t *)(marker->way->vm->ram + p * DECANT_PAGE_SIZE), value,
					 __ATOMIC_RELAXED);
			decant_kvm_mark(marker->way->vm->kvm, p * DECANT_PAGE_SIZE, 4);
		}
	return NULL;
}

static void test_mark__loses_nothing_while_a_device_writes(void **state)
{
	struct way *way = *state;
	struct marker marker = { .way = way };
	uint32_t copy[PAGES] = { 0 };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, marker_thread, &marker), 0);
	assert_int_equal(decant_kvm_dirty_start(way->vm->kvm, NULL), 0);
	for (uint32_t p = FIRST_PAGE; p < FIRST_PAGE + 256; p++)
		copy[p] = __atomic_load_n((uint32_t *)(way->vm->ram + p * DECANT_PAGE_SIZE), __ATOMIC_RELAXED);
	for (int round = 0; round <= MARK_ROUNDS; round++) {
		if (round == MARK_ROUNDS) {
			atomic_store(&marker.stop, true);
			pthread_join(thread, NULL);
		}
		way_fetch_and_clear(way);
		for (uint32_t p = FIRST_PAGE; p < FIRST_PAGE + 256; p++)
			if (bitmap_test(way->bitmap, p))
				copy[p] = __atomic_load_n((uint32_t *)(way->vm->ram + p * DECANT_PAGE_SIZE),
							  __ATOMIC_RELAXED);
	}

	for (uint32_t p = FIRST_PAGE; p < FIRST_PAGE + 256; p++)
		assert_int_equal(copy[p], *(uint32_t *)(way->vm->ram + p * DECANT_PAGE_SIZE));
}

#define way_test(name, function, setup)                                  \
	{                                                                \
#name " " #function, function, setup, way_teardown, NULL \
	}
#define each_way(function) way_test(log, function, log_setup), way_test(ring, function, ring_setup)

int main(void)
{
	const struct CMUnitTest common[] = {
		each_way(test_dirty_fetch__gives_exactly_the_written_pages),
		each_way(test_dirty_fetch__two_vcpus),
		way_test(ring, test_vcpu_dirtied__is_told_by_the_rings, ring_setup),
		way_test(log, test_vcpu_dirtied__is_not_known_to_the_log, log_setup),
		each_way(test_dirty_fetch__adds_to_what_the_caller_has),
		each_way(test_dirty_clear__a_later_write_is_reported_again),
		each_way(test_dirty_start__after_stop),
		each_way(test_dirty_start__twice_is_refused),
		each_way(test_dirty_fetch__bad_arguments),
		each_way(test_dirty_fetch__loses_nothing_while_the_guest_writes),
		each_way(test_dirty_clear__in_pieces_while_the_guest_writes),
		way_test(log, test_dirty_log__page_stays_reported_until_cleared, log_setup),
		way_test(ring, test_dirty_ring__does_not_report_what_came_before, ring_setup),
		way_test(small_ring, test_ring_full__nothing_is_lost, small_ring_setup),
		way_test(small_ring, test_dirty_ring__is_emptied_by_its_keeper, small_ring_setup),
		way_test(small_ring, test_dirty_ring__run_over_is_told_and_the_guest_goes_on, small_ring_setup),
		way_test(small_ring, test_ring_full__entries_left_behind_by_a_stop, small_ring_setup),
		way_test(log, test_ring_full__without_a_ring, log_setup),
		cmocka_unit_test(test_kvm_new__bad_ring_size),
		each_way(test_mark__is_reported_once),
		each_way(test_mark__outside_memory_or_tracking),
		way_test(log, test_mark__loses_nothing_while_a_device_writes, log_setup),
	};

	if (!tiny_vm_available())
		return 77;
	return cmocka_run_group_tests_name("kvm_dirty", common, NULL, NULL);
}
