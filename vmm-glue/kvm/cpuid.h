/* SPDX-License-Identifier: BSD-2-Clause */
/* cpuid.h -- the processor that a guest has been promised, and whether this host can keep the promise */
#ifndef KVM_CPUID_H
#define KVM_CPUID_H

#include "kvm/kvm.h"

#define KVM_CPUID_ENTRIES_MAX 256u /* KVM's own limit */

/* kvm_cpuid_new() -- a table with room for @entries, zeroed; freed with free() */
struct kvm_cpuid2 *kvm_cpuid_new(uint32_t entries);

/* kvm_cpuid_host() -- all that this host's KVM says it supports */
int kvm_cpuid_host(int kvm_fd, struct kvm_cpuid2 **cpuid, struct decant_error *err);

/* kvm_cpuid_read() -- what the vCPU has; replaces vcpu->cpuid. The vCPU must not be in KVM_RUN. */
int kvm_cpuid_read(struct kvm_vcpu *vcpu, struct decant_error *err);

/* kvm_cpuid_offer() -- all that a guest on this host has, listed or not; sets it on @vcpu, which must not have run */
int kvm_cpuid_offer(int kvm_fd, struct kvm_vcpu *vcpu, struct kvm_cpuid2 **cpuid, struct decant_error *err);

/*
 * kvm_cpuid_check() -- does @host offer every feature that @guest has
 *
 * -EOPNOTSUPP names leaf, register and the bits that lack. What changes while a guest runs (OSXSAVE, OSPKE),
 * what the VMM makes up (APIC ids, topology, cache sizes, brand) and what KVM emulates without listing it is not
 * compared.
 */
int kvm_cpuid_check(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *host, bool tsc_deadline,
		    struct decant_error *err);

/* kvm_cpuid_is_hyperv() -- is the guest told that it runs on a Hyper-V */
bool kvm_cpuid_is_hyperv(const struct kvm_cpuid2 *cpuid);

#endif
