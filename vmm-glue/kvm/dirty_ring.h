/* SPDX-License-Identifier: BSD-2-Clause */
/* dirty_ring.h -- dirty pages by one ring per vCPU */
#ifndef KVM_DIRTY_RING_H
#define KVM_DIRTY_RING_H

#include "kvm/dirty.h"

extern const struct kvm_dirty_ops kvm_dirty_ring_ops;

/* kvm_dirty_ring_new() -- enable rings of @entries, or 0 for the default; -EOPNOTSUPP where the host has none */
int kvm_dirty_ring_new(struct decant_kvm *kvm, uint32_t entries, struct decant_error *err);

/* kvm_dirty_ring_map() -- map the ring of a vCPU */
int kvm_dirty_ring_map(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_error *err);

void kvm_dirty_ring_unmap(struct decant_kvm *kvm, struct kvm_vcpu *vcpu);

#endif
