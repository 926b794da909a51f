/* SPDX-License-Identifier: BSD-2-Clause */
/* msr.h -- model specific registers: which belong to a state, reading and writing them */
#ifndef KVM_MSR_H
#define KVM_MSR_H

#include "kvm/kvm.h"

#define MSR_TSC 0x10u
#define MSR_TSC_DEADLINE 0x6e0u

/* One MSR in a state record, as it travels. */
struct kvm_msr_value {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
	uint64_t reset; /* in a fresh vCPU of the host that saved */
};

_Static_assert(sizeof(struct kvm_msr_value) == 24, "travels as is");

/* kvm_msr_list_new() -- the host's list of MSRs, and those that it leaves out although guests have them */
int kvm_msr_list_new(struct decant_kvm *kvm, struct decant_error *err);

/* kvm_msr_get() -- 1 with *@value, 0 if this vCPU cannot read it, -errno */
int kvm_msr_get(int vcpu_fd, uint32_t index, uint64_t *value);

/* kvm_msr_set() -- 1, 0 if KVM refuses it, -errno */
int kvm_msr_set(int vcpu_fd, uint32_t index, uint64_t value);

/* kvm_msr_reset_read() -- note what a fresh vCPU has in them */
int kvm_msr_reset_read(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_error *err);

/* kvm_msr_values() -- all that can be read of this vCPU into @values (decant_kvm.msr_count of them); their number */
int kvm_msr_values(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu, struct kvm_msr_value *values,
		   struct decant_error *err);

/*
 * kvm_msr_load() -- write @count values and read them back
 *
 * An MSR that this host lacks or refuses is -EOPNOTSUPP, unless its value is the one of a fresh vCPU at the
 * source: then the guest has not used it.
 */
int kvm_msr_load(const struct kvm_vcpu *vcpu, const struct kvm_msr_value *values, uint32_t count,
		 struct decant_error *err);

/* kvm_msr_known() -- is @index in the list of this host */
bool kvm_msr_known(const struct decant_kvm *kvm, uint32_t index);

#endif
