/* SPDX-License-Identifier: BSD-2-Clause */
/* vcpu_state.h -- what KVM holds of one vCPU, as records; docs/kvm-state.md has the order and its reasons */
#ifndef KVM_VCPU_STATE_H
#define KVM_VCPU_STATE_H

#include "kvm/kvm.h"

/* Offsets in the page of KVM_GET_LAPIC. */
#define LAPIC_VERSION 0x030u
#define LAPIC_PROCESSOR_PRIORITY 0x0a0u
#define LAPIC_TIMER_INITIAL 0x380u
#define LAPIC_TIMER_CURRENT 0x390u

/* kvm_vcpu_state_scratch() -- bytes that the largest record of a vCPU takes */
size_t kvm_vcpu_state_scratch(const struct decant_kvm *kvm);

/* kvm_vcpu_state_save() -- -EOPNOTSUPP if the guest itself runs guests */
int kvm_vcpu_state_save(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_state_writer *state,
			struct decant_error *err);

/* kvm_vcpu_state_load() -- restore; timers are left disarmed, TSC untouched */
int kvm_vcpu_state_load(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_state_reader *state,
			struct decant_error *err);

/* kvm_vcpu_state_check() -- read back what was loaded; when all of the VM has been */
int kvm_vcpu_state_check(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_state_reader *state,
			 struct decant_error *err);

/* kvm_vcpu_timers_arm() -- let the timers that were kept aside count; the TSC must be right by now */
int kvm_vcpu_timers_arm(struct kvm_vcpu *vcpu, struct decant_error *err);

#endif
