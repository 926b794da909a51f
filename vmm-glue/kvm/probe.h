/* SPDX-License-Identifier: BSD-2-Clause */
/* probe.h -- a throw-away VM of one vCPU, to try what a host's KVM really does */
#ifndef KVM_PROBE_H
#define KVM_PROBE_H

#include "kvm/kvm.h"

struct kvm_probe_vm {
	int vm_fd;
	int vcpu_fd;
	struct kvm_run *run;
	size_t run_size;
	uint8_t *memory; /* KVM_PROBE_MEMORY bytes at guest address 0 */
};

#define KVM_PROBE_MEMORY 0x8000u

/* kvm_probe_vm_new() -- one vCPU with all CPUID that the host supports */
int kvm_probe_vm_new(int kvm_fd, struct kvm_probe_vm *vm, struct decant_error *err);
void kvm_probe_vm_free(struct kvm_probe_vm *vm);

/* kvm_probe_run_watched() -- run what is in the VM for a second at most; true if the answer of the probe's guest came */
bool kvm_probe_run_watched(struct kvm_probe_vm *vm);

/* kvm_probe_long_mode() -- does a 64-bit guest run */
bool kvm_probe_long_mode(struct kvm_probe_vm *vm);

#endif
