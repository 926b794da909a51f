/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_kvm.c -- the ioctls of one VM, without a KVM */
#include "support/fake_kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#define SLOT_BYTES FAKE_XSAVE2_SIZE
#define MSRS_MAX 256u
#define CPUID_MAX 256u
#define TSC_KHZ 2000000

/* What is set by one request and read by another, as it is. */
static const struct fake_pair {
	unsigned long get, set;
	size_t length;
} pairs[] = {
	{ KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs) },
	{ KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs) },
	{ KVM_GET_SREGS2, KVM_SET_SREGS2, sizeof(struct kvm_sregs2) },
	{ KVM_GET_XSAVE, KVM_SET_XSAVE, sizeof(struct kvm_xsave) },
	{ KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs) },
	{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs) },
	{ KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state) },
	{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events) },
	{ KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state) },
	{ KVM_GET_PIT2, KVM_SET_PIT2, sizeof(struct kvm_pit_state2) },
	{ KVM_GET_CLOCK, KVM_SET_CLOCK, sizeof(struct kvm_clock_data) },
};

#define PAIRS (sizeof(pairs) / sizeof(pairs[0]))

struct fake_vcpu {
	uint8_t slot[PAIRS][SLOT_BYTES];
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[CPUID_MAX];
	} cpuid;
	struct kvm_msr_entry msr[MSRS_MAX];
	uint32_t msrs;
	uint64_t tsc_offset;
};

/* the last one stands for the VM itself */
static struct fake_vcpu vcpus[FAKE_VCPUS_MAX + 1];
static struct kvm_irqchip irqchip[3];
static uint32_t odd;

static const uint32_t msr_list[] = { 0x10,       0x174,      0x175,      0x176,     0x277,
				     0xc0000080, 0xc0000081, 0xc0000082, 0x4b564d00 };

void fake_kvm_reset(uint32_t oddities)
{
	memset(vcpus, 0, sizeof(vcpus));
	memset(irqchip, 0, sizeof(irqchip));
	odd = oddities;
}

static int fail(int code)
{
	errno = code;
	return -1;
}

static int extension(unsigned long capability)
{
	switch (capability) {
	case KVM_CAP_XSAVE2:
		return (odd & FAKE_KVM_XSAVE2) ? (int)FAKE_XSAVE2_SIZE : 0;
	case KVM_CAP_SREGS2:
		return !(odd & FAKE_KVM_NO_SREGS2);
	case KVM_CAP_NESTED_STATE:
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return 0;
	default:
		return 1;
	}
}

static int list_msrs(struct kvm_msr_list *list)
{
	const uint32_t count = sizeof(msr_list) / sizeof(msr_list[0]);

	if (list->nmsrs < count) {
		list->nmsrs = count;
		return fail(E2BIG);
	}
	list->nmsrs = count;
	memcpy(list->indices, msr_list, sizeof(msr_list));
	return 0;
}

static int give_cpuid(const struct fake_vcpu *vcpu, struct kvm_cpuid2 *to)
{
	if (to->nent < vcpu->cpuid.head.nent)
		return fail(E2BIG);
	to->nent = vcpu->cpuid.head.nent;
	memcpy(to->entries, vcpu->cpuid.entries, to->nent * sizeof(to->entries[0]));
	return 0;
}

static int take_cpuid(struct fake_vcpu *vcpu, const struct kvm_cpuid2 *from)
{
	if (from->nent > CPUID_MAX)
		return fail(E2BIG);
	vcpu->cpuid.head.nent = from->nent;
	memcpy(vcpu->cpuid.entries, from->entries, from->nent * sizeof(from->entries[0]));
	return 0;
}

static int supported_cpuid(struct kvm_cpuid2 *to)
{
	static const uint32_t leaves[] = { 0, 1, 7, 0xd, 0x40000000, 0x40000001, 0x80000001, 0x80000008 };
	const uint32_t count = sizeof(leaves) / sizeof(leaves[0]);

	if (to->nent < count)
		return fail(E2BIG);
	to->nent = count;
	for (uint32_t i = 0; i < count; i++)
		to->entries[i] = (struct kvm_cpuid_entry2){
			.function = leaves[i], .eax = 0x30, .ebx = 0xffff, .ecx = 0xffff, .edx = 0xffff
		};
	return 0;
}

static struct kvm_msr_entry *find_msr(struct fake_vcpu *vcpu, uint32_t index, bool make)
{
	for (uint32_t i = 0; i < vcpu->msrs; i++)
		if (vcpu->msr[i].index == index)
			return &vcpu->msr[i];
	if (!make || vcpu->msrs == MSRS_MAX)
		return NULL;
	vcpu->msr[vcpu->msrs].index = index;
	return &vcpu->msr[vcpu->msrs++];
}

/* KVM stops at the first that it does not have, and says how many it has done. */
static int msrs(struct fake_vcpu *vcpu, struct kvm_msrs *call, bool set)
{
	for (uint32_t i = 0; i < call->nmsrs; i++) {
		struct kvm_msr_entry *msr;

		if (call->entries[i].index >= 0xd0000000)
			return (int)i;
		msr = find_msr(vcpu, call->entries[i].index, set);
		if (set && msr == NULL)
			return (int)i;
		if (set)
			msr->data = call->entries[i].data;
		else
			call->entries[i].data = msr != NULL ? msr->data : 0;
	}
	return (int)call->nmsrs;
}

static int tsc_attribute(struct fake_vcpu *vcpu, const struct kvm_device_attr *attr, bool set)
{
	uint64_t *value = (uint64_t *)(uintptr_t)attr->addr;

	if (set)
		vcpu->tsc_offset = *value;
	else
		*value = vcpu->tsc_offset;
	return 0;
}

static int chip(struct kvm_irqchip *state, bool set)
{
	if (odd & FAKE_KVM_NO_IRQCHIPS)
		return fail(ENXIO);
	if (state->chip_id >= 3)
		return fail(EINVAL);
	if (set)
		irqchip[state->chip_id] = *state;
	else
		*state = irqchip[state->chip_id];
	return 0;
}

/* 1: @request is one of the pairs, and *@result its result */
static int pair(struct fake_vcpu *vcpu, unsigned long request, void *argument, int *result)
{
	*result = 0;
	for (size_t i = 0; i < PAIRS; i++) {
		size_t length = pairs[i].length;

		if (pairs[i].get != request && pairs[i].set != request)
			continue;
		if (pairs[i].get == KVM_GET_XSAVE && (odd & FAKE_KVM_XSAVE2))
			length = FAKE_XSAVE2_SIZE;
		if ((pairs[i].get == KVM_GET_LAPIC || pairs[i].get == KVM_GET_PIT2) &&
		    (odd & FAKE_KVM_NO_IRQCHIPS))
			*result = fail(pairs[i].get == KVM_GET_PIT2 ? ENXIO : EINVAL);
		else if (pairs[i].get == request)
			memcpy(argument, vcpu->slot[i], length);
		else if ((odd & FAKE_KVM_REFUSES) && (*(const uint8_t *)argument & 0x80))
			*result = fail(EINVAL);
		else
			memcpy(vcpu->slot[i], argument, length);
		if (*result == 0 && pairs[i].set == request && (odd & FAKE_KVM_CHANGES))
			vcpu->slot[i][length - 1] ^= 1;
		return 1;
	}
	return 0;
}

static int answer(struct fake_vcpu *vcpu, unsigned long request, void *argument)
{
	int result;

	if (pair(vcpu, request, argument, &result))
		return result;
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return extension((unsigned long)(uintptr_t)argument);
	case KVM_GET_XSAVE2:
		return answer(vcpu, KVM_GET_XSAVE, argument);
	case KVM_GET_MSR_INDEX_LIST:
		return list_msrs(argument);
	case KVM_GET_SUPPORTED_CPUID:
		return supported_cpuid(argument);
	case KVM_GET_CPUID2:
		return give_cpuid(vcpu, argument);
	case KVM_SET_CPUID2:
		return take_cpuid(vcpu, argument);
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return msrs(vcpu, argument, request == KVM_SET_MSRS);
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return tsc_attribute(vcpu, argument, request == KVM_SET_DEVICE_ATTR);
	case KVM_GET_IRQCHIP:
	case KVM_SET_IRQCHIP:
		return chip(argument, request == KVM_SET_IRQCHIP);
	case KVM_GET_TSC_KHZ:
		return TSC_KHZ;
	case KVM_SET_TSC_KHZ:
	case KVM_ENABLE_CAP:
	case KVM_KVMCLOCK_CTRL:
		return 0;
	default:
		return fail(EINVAL);
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	void *argument;
	va_list list;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	if (fd < FAKE_KVM_FD || fd >= FAKE_VCPU_FD + (int)FAKE_VCPUS_MAX)
		return fail(ENOTTY);
	return answer(&vcpus[fd >= FAKE_VCPU_FD ? fd - FAKE_VCPU_FD : (int)FAKE_VCPUS_MAX], request, argument);
}
