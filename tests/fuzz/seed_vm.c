/* SPDX-License-Identifier: BSD-2-Clause */
/* seed_vm.c -- what libdecant-kvm saves of a VM of the fake KVM */
#include "fuzz/seed.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <decant/kvm.h>

#include "fuzz/state_list.h"
#include "support/fake_kvm.h"

#define FRAME 56u /* of a record: its length stands at FRAME_LENGTH, its name at FRAME_NAME */
#define FRAME_LENGTH 12u
#define FRAME_NAME 24u
#define CHOOSE_SHAPE 0x80
#define CHOOSE_START 0x40

typedef int save_fn(struct decant_kvm *kvm, struct decant_state_writer *writer, struct decant_error *err);

/* What a clock said would make another seed each time. */
static void forget_clocks(uint8_t *list, size_t length)
{
	for (size_t at = 0; at + FRAME <= length;) {
		const char *name = (const char *)list + at + FRAME_NAME;
		uint32_t data;

		memcpy(&data, list + at + FRAME_LENGTH, sizeof(data));
		if (strcmp(name, "kvm.clock") == 0 || strcmp(name, "kvm.vcpu.tsc") == 0)
			memset(list + at + FRAME, 0, data);
		at += FRAME + ((data + 7) & ~7u);
	}
	state_list_mend(list, length);
}

static int seed_list(const char *name, uint8_t oddities, uint8_t choice, save_fn *save)
{
	const uint32_t vcpus = 1 + choice % FAKE_VCPUS_MAX;
	struct decant_kvm_opts opts = DECANT_KVM_OPTS_INIT;
	struct decant_error err = DECANT_ERROR_INIT;
	struct decant_state_writer *writer = NULL;
	struct decant_kvm *kvm = NULL;
	uint8_t *bytes = NULL;
	const void *list;
	size_t length = 0;
	int rc;

	opts.kvm_fd = FAKE_KVM_FD;
	opts.vm_fd = FAKE_VM_FD;
	fake_kvm_reset(oddities);
	rc = decant_state_writer_new(&writer, &err);
	rc = rc < 0 ? rc : decant_kvm_new(&opts, &kvm, &err);
	for (uint32_t i = 0; rc == 0 && i < vcpus; i++)
		rc = decant_kvm_add_vcpu(kvm, i, FAKE_VCPU_FD + (int)i, &err);
	rc = rc < 0 ? rc : save(kvm, writer, &err);
	if (rc == 0) {
		list = decant_state_writer_bytes(writer, &length);
		bytes = malloc(2 + length);
	}
	if (bytes != NULL) {
		bytes[0] = oddities;
		bytes[1] = choice;
		memcpy(bytes + 2, list, length);
		forget_clocks(bytes + 2, length);
		rc = seed_write("fuzz_kvm", name, bytes, 2 + length);
	} else {
		fprintf(stderr, "%s: %s\n", name, err.msg);
		rc = -1;
	}
	free(bytes);
	decant_kvm_free(kvm);
	decant_state_writer_free(writer);
	return rc;
}

int seed_kvm(void)
{
	static const struct {
		const char *name;
		uint8_t oddities, choice;
		save_fn *save;
	} seeds[] = {
		{ "shape-1", 0, CHOOSE_SHAPE, decant_kvm_shape_save },
		{ "shape-3", FAKE_KVM_NO_IRQCHIPS, CHOOSE_SHAPE | 2, decant_kvm_shape_save },
		{ "state-1", 0, CHOOSE_START, decant_kvm_state_save },
		{ "state-2", FAKE_KVM_NO_IRQCHIPS, CHOOSE_START | 1, decant_kvm_state_save },
		{ "state-xsave2", FAKE_KVM_XSAVE2 | FAKE_KVM_NO_SREGS2, CHOOSE_START, decant_kvm_state_save },
		{ "state-refused", FAKE_KVM_REFUSES, 0, decant_kvm_state_save },
		{ "state-changed", FAKE_KVM_CHANGES, 0, decant_kvm_state_save },
	};

	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		if (seed_list(seeds[i].name, seeds[i].oddities, seeds[i].choice, seeds[i].save) < 0)
			return -1;
	return 0;
}
