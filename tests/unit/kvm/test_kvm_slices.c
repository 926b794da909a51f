/* SPDX-License-Identifier: BSD-2-Clause */
/* test_kvm_slices.c -- slices of time: who is told to hold, for how long, and that it ends */
#include "util/cleanup.h"
#include "util/clock.h"

#include <decant/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define VCPUS 3
#define PATIENCE_MS 60000

/* What the VMM was told. */
static struct {
	pthread_mutex_t lock;
	unsigned holds[VCPUS], ends[VCPUS];
	uint64_t ns[VCPUS]; /* of the last hold */
} told = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void hold(void *opaque, uint32_t vcpu, uint64_t ns)
{
	(void)opaque;
	DECANT_AUTO_UNLOCK(&told.lock);
	if (ns == 0)
		told.ends[vcpu]++;
	else
		told.holds[vcpu]++;
	told.ns[vcpu] = ns;
}

static unsigned holds(uint32_t vcpu)
{
	DECANT_AUTO_UNLOCK(&told.lock);
	return told.holds[vcpu];
}

static uint64_t last_ns(uint32_t vcpu)
{
	DECANT_AUTO_UNLOCK(&told.lock);
	return told.ns[vcpu];
}

static void await_holds(uint32_t vcpu, unsigned count)
{
	const unsigned begin = holds(vcpu);

	for (int ms = 0; ms < PATIENCE_MS && holds(vcpu) < begin + count; ms++)
		usleep(1000);
	assert_true(holds(vcpu) >= begin + count);
}

static unsigned slicers(void)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL) {
		char path[300], name[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%.200s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		if (fgets(name, sizeof(name), file) != NULL)
			count += strncmp(name, "decant-slices", 13) == 0;
		fclose(file);
	}
	closedir(folder);
	return count;
}

static struct decant_kvm_slices *three(void)
{
	const struct decant_kvm_slices_opts opts = { .size = sizeof(opts), .vcpus = VCPUS, .hold = hold };
	struct decant_kvm_slices *slices = NULL;

	memset(told.holds, 0, sizeof(told.holds));
	memset(told.ends, 0, sizeof(told.ends));
	memset(told.ns, 0, sizeof(told.ns));
	assert_int_equal(decant_kvm_slices_new(&opts, &slices, NULL), 0);
	return slices;
}

static void test_set__holds_that_vcpu_for_its_share(void **state)
{
	struct decant_kvm_slices *slices = three();

	(void)state;
	assert_int_equal(slicers(), 0);
	assert_int_equal(decant_kvm_slices_set(slices, 1, 500, NULL), 0);
	await_holds(1, 3);
	assert_int_equal(last_ns(1), 5 * NSEC_PER_MSEC);
	assert_int_equal(holds(0) + holds(2), 0);

	assert_int_equal(decant_kvm_slices_set(slices, 1, 900, NULL), 0);
	await_holds(1, 2);
	assert_int_equal(last_ns(1), 9 * NSEC_PER_MSEC);

	/* half a millisecond is left to run */
	assert_int_equal(decant_kvm_slices_set(slices, 1, 990, NULL), 0);
	await_holds(1, 2);
	assert_int_equal(last_ns(1), 49500 * (NSEC_PER_MSEC / 1000));
	decant_kvm_slices_free(slices);
}

static void test_set__keeps_to_the_period(void **state)
{
	struct decant_kvm_slices *slices = three();
	const uint64_t begin_ns = clock_now_ns();
	unsigned count;

	(void)state;
	assert_int_equal(decant_kvm_slices_set(slices, 0, 500, NULL), 0);
	await_holds(0, 10);
	count = holds(0);
	/* never more often than every 10 ms; the first comes at once */
	assert_true(clock_now_ns() - begin_ns >= (count - 1) * 10 * NSEC_PER_MSEC);
	decant_kvm_slices_free(slices);
}

static void test_set__nothing_comes_after_the_end(void **state)
{
	struct decant_kvm_slices *slices = three();
	unsigned before;

	(void)state;
	for (uint32_t i = 0; i < VCPUS; i++)
		assert_int_equal(decant_kvm_slices_set(slices, i, 990, NULL), 0);
	await_holds(2, 1);
	assert_int_equal(slicers(), 1);
	assert_int_equal(decant_kvm_slices_set(slices, 2, 0, NULL), 0);
	assert_int_equal(last_ns(2), 0);
	before = holds(2);
	await_holds(0, 2);
	assert_int_equal(holds(2), before);
	assert_int_equal(last_ns(2), 0);

	assert_int_equal(decant_kvm_slices_set(slices, 0, 0, NULL), 0);
	assert_int_equal(decant_kvm_slices_set(slices, 1, 0, NULL), 0);
	assert_int_equal(slicers(), 0);
	/* and again */
	assert_int_equal(decant_kvm_slices_set(slices, 1, 100, NULL), 0);
	await_holds(1, 1);
	decant_kvm_slices_free(slices);
}

static void test_free__lets_them_run(void **state)
{
	struct decant_kvm_slices *slices = three();

	(void)state;
	assert_int_equal(decant_kvm_slices_set(slices, 0, 300, NULL), 0);
	assert_int_equal(decant_kvm_slices_set(slices, 2, 300, NULL), 0);
	await_holds(2, 1);
	decant_kvm_slices_free(slices);
	assert_int_equal(last_ns(0) + last_ns(2), 0);
	assert_int_equal(told.ends[0] + told.ends[2], 2);
	assert_int_equal(told.ends[1], 0);
	assert_int_equal(slicers(), 0);
	decant_kvm_slices_free(NULL);
}

static void test_bad_arguments(void **state)
{
	const struct decant_kvm_slices_opts none = { .size = sizeof(none), .vcpus = 1 };
	/* of a caller who does not know of hold yet: what lies there is not looked at */
	const struct decant_kvm_slices_opts cut = {
		.size = offsetof(struct decant_kvm_slices_opts, hold),
		.vcpus = 1,
		.hold = hold,
	};
	struct decant_kvm_slices *slices = NULL;

	(void)state;
	assert_int_equal(decant_kvm_slices_new(&none, &slices, NULL), -EINVAL);
	assert_int_equal(decant_kvm_slices_new(&cut, &slices, NULL), -EINVAL);
	assert_null(slices);
	slices = three();
	assert_int_equal(decant_kvm_slices_set(slices, VCPUS, 1, NULL), -EINVAL);
	assert_int_equal(decant_kvm_slices_set(slices, 0, 991, NULL), -EINVAL);
	assert_int_equal(slicers(), 0);
	decant_kvm_slices_free(slices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set__holds_that_vcpu_for_its_share),
		cmocka_unit_test(test_set__keeps_to_the_period),
		cmocka_unit_test(test_set__nothing_comes_after_the_end),
		cmocka_unit_test(test_free__lets_them_run),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
