/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_kvm.h -- the ioctls of one VM, without a KVM: what is set is what can be read back
 *
 * A program that is linked with it has no other ioctl(2). Knows what libdecant-kvm calls outside dirty tracking, checks that each
 * length is the kernel's, and touches every byte of an argument, so that a sanitizer sees a buffer that is too short.
 */
#ifndef SUPPORT_FAKE_KVM_H
#define SUPPORT_FAKE_KVM_H

#include <stdint.h>

#define FAKE_KVM_FD 1000 /* /dev/kvm */
#define FAKE_VM_FD 1001
#define FAKE_VCPU_FD 1002 /* of vCPU 0; that of vCPU n is n more */
#define FAKE_VCPUS_MAX 4u
#define FAKE_XSAVE2_SIZE 8192u

enum fake_kvm_oddity {
	FAKE_KVM_NO_IRQCHIPS = 1,
	FAKE_KVM_XSAVE2 = 2,
	FAKE_KVM_REFUSES = 4, /* every set of registers with the top bit of its first byte set: -EINVAL */
	FAKE_KVM_CHANGES = 8, /* takes what is set, and reads back something else */
	FAKE_KVM_NO_SREGS2 = 16,
};

/* fake_kvm_reset() -- a fresh VM with those oddities */
void fake_kvm_reset(uint32_t oddities);

#endif
