/* SPDX-License-Identifier: BSD-2-Clause */
/* dirty_log.h -- dirty pages by KVM_GET_DIRTY_LOG */
#ifndef KVM_DIRTY_LOG_H
#define KVM_DIRTY_LOG_H

#include "kvm/dirty.h"

extern const struct kvm_dirty_ops kvm_dirty_log_ops;

/* kvm_dirty_log_new() -- enable manual protection and initially-all-set where the host has them */
int kvm_dirty_log_new(struct decant_kvm *kvm, struct decant_error *err);

#endif
