/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_kvm.c -- what a stranger's SHAPE and STATE make libdecant-kvm do to a VM
 *
 * The input: a byte of oddities of the KVM, a byte that chooses shape or state and the number of vCPUs, a list of records, whose
 * checksums are put right. What a load has taken is saved again; then each record of a vCPU must come back as it was.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <decant/kvm.h>

#include "fuzz/state_list.h"
#include "support/fake_kvm.h"

#define CHOOSE_SHAPE 0x80
#define CHOOSE_START 0x40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct decant_kvm *new_vm(uint32_t vcpus)
{
	struct decant_kvm_opts opts = DECANT_KVM_OPTS_INIT;
	struct decant_error err = DECANT_ERROR_INIT;
	struct decant_kvm *kvm = NULL;
	int rc;

	opts.kvm_fd = FAKE_KVM_FD;
	opts.vm_fd = FAKE_VM_FD;
	rc = decant_kvm_new(&opts, &kvm, &err);
	for (uint32_t i = 0; rc == 0 && i < vcpus; i++)
		rc = decant_kvm_add_vcpu(kvm, i, FAKE_VCPU_FD + (int)i, &err);
	assert(rc == 0);
	return kvm;
}

/* Registers have no reason to change; the rest has places that are KVM's own. */
static void same_again(struct decant_kvm *kvm, struct decant_state_reader *state)
{
	static const char *const names[] = { "kvm.vcpu.regs", "kvm.vcpu.sregs", "kvm.vcpu.debugregs",
					     "kvm.vcpu.xcrs" };
	struct decant_state_record was, is;
	struct decant_state_writer *writer;
	struct decant_state_reader *reader = NULL;
	const void *bytes;
	size_t length;

	assert(decant_state_writer_new(&writer, NULL) == 0);
	assert(decant_kvm_state_save(kvm, writer, NULL) == 0);
	bytes = decant_state_writer_bytes(writer, &length);
	assert(decant_state_reader_new(bytes, length, &reader, NULL) == 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (decant_state_get(reader, names[i], 0, 1, &is, NULL) < 0)
			continue;
		assert(decant_state_get(state, names[i], 0, 1, &was, NULL) == 0);
		assert(was.length == is.length && memcmp(was.data, is.data, is.length) == 0);
	}
	decant_state_reader_free(reader);
	decant_state_writer_free(writer);
}

static void load(uint8_t choice, struct decant_state_reader *list)
{
	const struct decant_handover handover = { .size = sizeof(handover), .clock_offset_ns = choice - 100 };
	struct decant_kvm *kvm = new_vm(1 + choice % FAKE_VCPUS_MAX);
	struct decant_error err = DECANT_ERROR_INIT;
	int rc;

	if (choice & CHOOSE_SHAPE)
		rc = decant_kvm_shape_load(kvm, list, &err);
	else
		rc = decant_kvm_state_load(kvm, list, &err);
	assert(rc == 0 || (rc == err.code && err.msg[0] != '\0'));
	if (rc == 0 && !(choice & CHOOSE_SHAPE))
		same_again(kvm, list);
	if (rc == 0 && (choice & CHOOSE_START))
		decant_kvm_clock_start(kvm, &handover, &err);
	decant_kvm_free(kvm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decant_state_reader *list;
	uint8_t *bytes;

	if (size < 2)
		return 0;
	bytes = malloc(size - 1);
	if (bytes == NULL)
		return 0;
	memcpy(bytes, data + 2, size - 2);
	state_list_mend(bytes, size - 2);
	fake_kvm_reset(data[0]);
	if (decant_state_reader_new(bytes, size - 2, &list, NULL) == 0) {
		load(data[1], list);
		decant_state_reader_free(list);
	}
	free(bytes);
	return 0;
}
