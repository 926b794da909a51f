/* SPDX-License-Identifier: BSD-2-Clause */
/* clock_state.h -- guest TSC and kvmclock, which go on counting while the VM travels */
#ifndef KVM_CLOCK_STATE_H
#define KVM_CLOCK_STATE_H

#include "kvm/kvm.h"

/* kvm_clock_state_save() -- what was captured at the pause, or by the load */
int kvm_clock_state_save(struct decant_kvm *kvm, struct decant_state_writer *state, struct decant_error *err);

/* kvm_clock_state_load() -- before the vCPUs, whose MSRs may make KVM use the clock */
int kvm_clock_state_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err);

/* kvm_clock_state_check() -- after the vCPUs: refuse where the guest's TSC would run backwards and cannot be set */
int kvm_clock_state_check(struct decant_kvm *kvm, struct decant_error *err);

/* kvm_tsc_offset_works() -- does this KVM do what the TSC offset of a vCPU says; the vCPU must not run */
bool kvm_tsc_offset_works(int vcpu_fd);

/* kvm_tsc_drifts() -- is the offset another one each time it is read: a host whose own TSC is unstable */
bool kvm_tsc_drifts(int vcpu_fd);

/* kvm_clock_start() -- set both to what was captured plus the time since then */
int kvm_clock_start(struct decant_kvm *kvm, const struct decant_handover *handover, struct decant_error *err);

#endif
