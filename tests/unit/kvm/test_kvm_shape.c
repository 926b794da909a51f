/* SPDX-License-Identifier: BSD-2-Clause */
/* test_kvm_shape.c -- what a destination must have before it takes a VM, and what it says when it has not */
#include "kvm/cpuid.h"
#include "kvm/kvm.h"
#include "support/tiny_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MEMORY (2u << 20)

static const struct tiny_vm_opts two_vcpus = { .vcpus = 2, .memory = MEMORY };

static struct decant_state_writer *shape_of(struct tiny_vm *vm)
{
	struct decant_state_writer *writer = NULL;
	struct decant_error err = DECANT_ERROR_INIT;

	assert_int_equal(decant_state_writer_new(&writer, NULL), 0);
	if (decant_kvm_shape_save(vm->kvm, writer, &err) < 0)
		fail_msg("%s", err.msg);
	return writer;
}

static int load(struct tiny_vm *vm, const struct decant_state_writer *shape, struct decant_error *err)
{
	struct decant_state_reader *reader = NULL;
	size_t length;
	const void *bytes = decant_state_writer_bytes(shape, &length);
	int r;

	assert_int_equal(decant_state_reader_new(bytes, length, &reader, NULL), 0);
	r = decant_kvm_shape_load(vm->kvm, reader, err);
	decant_state_reader_free(reader);
	return r;
}

typedef void change_fn(void *data, size_t length);

/* A copy of @shape with the first record of that name changed, or left out. */
static struct decant_state_writer *changed(const struct decant_state_writer *shape, const char *name,
					   change_fn *change)
{
	struct decant_state_writer *copy = NULL;
	struct decant_state_reader *reader = NULL;
	struct decant_state_record record;
	size_t length;
	const void *bytes = decant_state_writer_bytes(shape, &length);
	bool done = false;

	assert_int_equal(decant_state_reader_new(bytes, length, &reader, NULL), 0);
	assert_int_equal(decant_state_writer_new(&copy, NULL), 0);
	while (decant_state_next(reader, &record)) {
		void *data = malloc(record.length);
		bool this = !done && strcmp(record.name, name) == 0;

		memcpy(data, record.data, record.length);
		if (this && change != NULL)
			change(data, record.length);
		if (!this || change != NULL)
			assert_int_equal(decant_state_put(copy, record.name, record.instance, record.version, data,
							  record.length, NULL),
					 0);
		done |= this;
		free(data);
	}
	decant_state_reader_free(reader);
	return copy;
}

static struct kvm_cpuid_entry2 *entry_of(void *data, size_t length, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *entries = data;

	for (size_t i = 0; i < length / sizeof(*entries); i++)
		if (entries[i].function == function && entries[i].index == index)
			return &entries[i];
	fail_msg("CPUID leaf 0x%x.%u is not there", function, index);
	return NULL;
}

static void test_shape_load__into_an_equal_vm(void **state)
{
	struct kvm_cpuid2 *none = kvm_cpuid_new(1);
	const struct tiny_vm_opts blank = { .vcpus = 2, .memory = MEMORY, .cpuid = none };
	struct tiny_vm *from = tiny_vm_new(&two_vcpus);
	struct tiny_vm *to = tiny_vm_new(&blank);
	struct decant_state_writer *first = shape_of(from);
	struct decant_state_writer *second;
	struct decant_error err = DECANT_ERROR_INIT;
	const void *a, *b;
	size_t length_a, length_b;

	(void)state;
	for (int i = 0; i < 2; i++)
		if (load(to, first, &err) < 0)
			fail_msg("%s", err.msg);
	second = shape_of(to);

	a = decant_state_writer_bytes(first, &length_a);
	b = decant_state_writer_bytes(second, &length_b);
	assert_int_equal(length_a, length_b);
	assert_memory_equal(a, b, length_a);
	decant_state_writer_free(first);
	decant_state_writer_free(second);
	tiny_vm_free(from);
	tiny_vm_free(to);
	free(none);
}

static void another_vcpu(void *data, size_t length)
{
	(void)length;
	((uint32_t *)data)[0] = 3;
}

static void no_pit(void *data, size_t length)
{
	(void)length;
	((uint32_t *)data)[1] &= 1;
}

static void faster_tsc(void *data, size_t length)
{
	(void)length;
	((uint32_t *)data)[2] += ((uint32_t *)data)[2] / 10;
}

static void bit_that_nobody_has(void *data, size_t length)
{
	entry_of(data, length, 7, 0)->ebx |= 1u << 14; /* mpx: gone from Linux */
}

static void wider_addresses(void *data, size_t length)
{
	struct kvm_cpuid_entry2 *entry = entry_of(data, length, 0x80000008, 0);

	entry->eax = (entry->eax & ~0xffu) | 60;
}

static void xsave_elsewhere(void *data, size_t length)
{
	entry_of(data, length, 0xd, 2)->ebx += 64;
}

static void kvm_feature_that_nobody_has(void *data, size_t length)
{
	entry_of(data, length, 0x40000001, 0)->eax |= 1u << 22;
}

static void test_shape_load__refuses_what_this_host_lacks(void **state)
{
	static const struct {
		const char *record;
		change_fn *change;
		int code;
		const char *says[3];
	} cases[] = {
		{ "kvm.shape", NULL, -EPROTO, { "kvm.shape" } },
		{ "kvm.cpuid", NULL, -EPROTO, { "kvm.cpuid" } },
		{ "kvm.msrs", NULL, -EPROTO, { "kvm.msrs" } },
		{ "kvm.shape", another_vcpu, -EINVAL, { "3 vCPUs", "2" } },
		{ "kvm.shape", no_pit, -EINVAL, { "PIT" } },
		{ "kvm.cpuid", bit_that_nobody_has, -EOPNOTSUPP, { "leaf 0x7.0 EBX", "14 (mpx)", "0x4000" } },
		{ "kvm.cpuid", wider_addresses, -EOPNOTSUPP, { "0x80000008", "60 bits" } },
		{ "kvm.cpuid", xsave_elsewhere, -EOPNOTSUPP, { "leaf 0xd.2" } },
		{ "kvm.cpuid", kvm_feature_that_nobody_has, -EOPNOTSUPP, { "leaf 0x40000001.0 EAX", "22" } },
	};
	struct tiny_vm *from = tiny_vm_new(&two_vcpus);
	struct tiny_vm *to = tiny_vm_new(&two_vcpus);
	struct decant_state_writer *shape = shape_of(from);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct decant_state_writer *bad = changed(shape, cases[i].record, cases[i].change);
		struct decant_error err = DECANT_ERROR_INIT;

		if (load(to, bad, &err) != cases[i].code)
			fail_msg("case %zu: %d: %s", i, err.code, err.msg);
		for (size_t j = 0; j < 3 && cases[i].says[j] != NULL; j++)
			if (strstr(err.msg, cases[i].says[j]) == NULL)
				fail_msg("case %zu: no \"%s\" in: %s", i, cases[i].says[j], err.msg);
		decant_state_writer_free(bad);
	}
	assert_int_equal(load(to, shape, NULL), 0);
	decant_state_writer_free(shape);
	tiny_vm_free(from);
	tiny_vm_free(to);
}

static void test_shape_load__tsc_frequency(void **state)
{
	struct tiny_vm *from = tiny_vm_new(&two_vcpus);
	struct tiny_vm *to = tiny_vm_new(&two_vcpus);
	struct decant_state_writer *shape = shape_of(from);
	struct decant_state_writer *other = changed(shape, "kvm.shape", faster_tsc);
	struct decant_error err = DECANT_ERROR_INIT;
	int r = load(to, other, &err);

	(void)state;
	if (kvm_extension(to->vm_fd, KVM_CAP_TSC_CONTROL) > 0) {
		assert_int_equal(r, 0);
		assert_true(to->kvm->vcpus[0]->tsc_khz > from->kvm->vcpus[0]->tsc_khz);
	} else {
		assert_int_equal(r, -EOPNOTSUPP);
		assert_non_null(strstr(err.msg, "kHz"));
	}
	decant_state_writer_free(shape);
	decant_state_writer_free(other);
	tiny_vm_free(from);
	tiny_vm_free(to);
}

static void strange_msr(void *data, size_t length)
{
	uint32_t *last = (uint32_t *)data + length / sizeof(uint32_t) - 1;

	last[-1] = 0xdead0;
	last[0] = 0xdead1;
}

struct said {
	char text[200];
	unsigned int count;
};

static void keep_message(void *opaque, enum decant_log_level level, const char *message)
{
	struct said *said = opaque;

	(void)level;
	if (strstr(message, "MSR") == NULL)
		return;
	strncpy(said->text, message, sizeof(said->text) - 1);
	said->count++;
}

/* Once: a source may list as many as it likes. */
static void test_shape_load__says_which_msr_this_host_lacks(void **state)
{
	struct said said = { .count = 0 };
	const struct tiny_vm_opts opts = {
		.vcpus = 2,
		.memory = MEMORY,
		.log = { .fn = keep_message, .opaque = &said, .level = DECANT_LOG_NOTICE }
	};
	struct tiny_vm *from = tiny_vm_new(&two_vcpus);
	struct tiny_vm *to = tiny_vm_new(&opts);
	struct decant_state_writer *shape = shape_of(from);
	struct decant_state_writer *other = changed(shape, "kvm.msrs", strange_msr);

	(void)state;
	assert_int_equal(load(to, other, NULL), 0);
	assert_non_null(strstr(said.text, "MSR 0xdead0 (2 such"));
	assert_int_equal(said.count, 1);

	decant_state_writer_free(shape);
	decant_state_writer_free(other);
	tiny_vm_free(from);
	tiny_vm_free(to);
}

/* Two tables of one leaf each. */
static int check_leaf(uint32_t function, uint32_t flags, uint32_t guest_ecx, uint32_t host_ecx,
		      struct decant_error *err)
{
	struct kvm_cpuid2 *guest = kvm_cpuid_new(1);
	struct kvm_cpuid2 *host = kvm_cpuid_new(1);
	int r;

	guest->entries[0] = (struct kvm_cpuid_entry2){ .function = function, .flags = flags, .ecx = guest_ecx };
	host->entries[0] = (struct kvm_cpuid_entry2){ .function = function, .flags = flags, .ecx = host_ecx };
	r = kvm_cpuid_check(guest, host, false, err);
	free(guest);
	free(host);
	return r;
}

static void test_cpuid_check__what_changes_is_not_compared(void **state)
{
	(void)state;
	assert_int_equal(check_leaf(1, 0, 1u << 27, 0, NULL), 0);                              /* OSXSAVE */
	assert_int_equal(check_leaf(7, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, 1u << 4, 0, NULL), 0); /* OSPKE */
	assert_int_equal(check_leaf(1, 0, 0, ~0u, NULL), 0);
	assert_int_equal(check_leaf(0xb, 0, ~0u, 0, NULL), 0); /* topology */
}

static void test_cpuid_check__names_every_bit(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	assert_int_equal(check_leaf(1, 0, 1u << 12 | 1u << 28 | 1u << 14, 0, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "leaf 0x1.0 ECX"));
	assert_non_null(strstr(err.msg, "12 (fma), 14, 28 (avx)"));
	assert_int_equal(check_leaf(1, 0, ~0u, 0, &err), -EOPNOTSUPP);
	assert_int_equal(check_leaf(1, 0, 1u << 24, ~0u, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "tsc_deadline_timer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shape_load__into_an_equal_vm),
		cmocka_unit_test(test_shape_load__refuses_what_this_host_lacks),
		cmocka_unit_test(test_shape_load__tsc_frequency),
		cmocka_unit_test(test_shape_load__says_which_msr_this_host_lacks),
		cmocka_unit_test(test_cpuid_check__what_changes_is_not_compared),
		cmocka_unit_test(test_cpuid_check__names_every_bit),
	};

	if (!tiny_vm_available())
		return 77;
	return cmocka_run_group_tests_name("kvm_shape", tests, NULL, NULL);
}
