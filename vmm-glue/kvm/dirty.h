/* SPDX-License-Identifier: BSD-2-Clause */
/* dirty.h -- the two ways in which KVM tells what the guest has written, behind one table */
#ifndef KVM_DIRTY_H
#define KVM_DIRTY_H

#include "kvm/kvm.h"

/* Arguments are checked and own marks dealt with by the front, dirty.c. */
struct kvm_dirty_ops {
	const char *name;
	int (*start)(struct decant_kvm *kvm, struct decant_error *err);
	int (*fetch)(struct decant_kvm *kvm, uint32_t region, uint64_t *bitmap, struct decant_error *err);
	int (*clear)(struct decant_kvm *kvm, uint32_t region, uint64_t first, uint64_t pages,
		     const uint64_t *bitmap, struct decant_error *err);
	void (*stop)(struct decant_kvm *kvm);
};

/* kvm_dirty_new() -- choose and enable one of them; before the first vCPU is made */
int kvm_dirty_new(struct decant_kvm *kvm, const struct decant_kvm_opts *opts, struct decant_error *err);

#endif
