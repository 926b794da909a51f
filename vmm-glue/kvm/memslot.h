/* SPDX-License-Identifier: BSD-2-Clause */
/* memslot.h -- guest memory as KVM's memory slots, one per region */
#ifndef KVM_MEMSLOT_H
#define KVM_MEMSLOT_H

#include "kvm/kvm.h"

/* kvm_memslot_log() -- switch KVM's dirty logging of one slot on or off */
int kvm_memslot_log(struct decant_kvm *kvm, uint32_t index, bool on, struct decant_error *err);

/* kvm_memslot_log_all() -- of all slots; on failure those switched are switched back */
int kvm_memslot_log_all(struct decant_kvm *kvm, bool on, struct decant_error *err);

void kvm_memslot_free_all(struct decant_kvm *kvm);

#endif
