/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tsc_offset.c -- what a vCPU's KVM_VCPU_TSC_OFFSET does to the TSC that the guest reads
 *
 * Relied upon: it is one of these, and they can be told apart by reading the offset back.
 *   kept     the guest reads the host's TSC (scaled, where KVM scales) plus the offset
 *   ignored  KVM takes the offset and reports the old one; the guest reads the host's TSC (a KVM without VMX and SVM)
 *   drifts   the host's own TSC is unstable: the offset is another one at each reading, and the guest catches up
 */
#include "machine.h"

#include <x86intrin.h>

#define SHIFT (1ull << 45)

static uint64_t offset_call(const struct machine *m, unsigned long request, uint64_t offset)
{
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL,
					.attr = KVM_VCPU_TSC_OFFSET,
					.addr = (uintptr_t)&offset };

	must(ioctl(m->vcpu_fd, request, &attr) == 0);
	return offset;
}

static uint64_t guest_tsc(struct machine *m)
{
	/* rdtsc; mov [0x8000], eax; mov [0x8004], edx; out PORT, al; hlt */
	const uint8_t code[] = { 0x0f, 0x31, 0xa3, 0, 0x80, 0, 0, 0x89, 0x15, 4, 0x80, 0, 0, 0xe6, PORT, 0xf4 };
	uint64_t tsc;

	machine_run(m, code, sizeof(code), 0);
	memcpy(&tsc, m->memory + 0x8000, sizeof(tsc));
	return tsc;
}

static bool between(uint64_t low, uint64_t value, uint64_t high)
{
	return value - low <= high - low;
}

int main(void)
{
	struct kvm_device_attr has = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET };
	uint64_t old, before, value, after;
	struct machine m;

	machine_new(&m);
	machine_slot(&m, 0);
	machine_vcpu(&m);
	if (ioctl(m.vcpu_fd, KVM_HAS_DEVICE_ATTR, &has) != 0)
		skip("no KVM_VCPU_TSC_OFFSET");
	old = offset_call(&m, KVM_GET_DEVICE_ATTR, 0);
	if (old != offset_call(&m, KVM_GET_DEVICE_ATTR, 0)) {
		value = guest_tsc(&m);
		must(guest_tsc(&m) > value);
		printf("TSC offset: drifts, the host's TSC is unstable\n");
		return 0;
	}
	offset_call(&m, KVM_SET_DEVICE_ATTR, SHIFT);
	before = __rdtsc();
	value = guest_tsc(&m);
	after = __rdtsc();
	if (offset_call(&m, KVM_GET_DEVICE_ATTR, 0) == SHIFT) {
		must(between(before + SHIFT, value, after + SHIFT));
		printf("TSC offset: kept\n");
	} else {
		must(offset_call(&m, KVM_GET_DEVICE_ATTR, 0) == old);
		must(between(before + old, value, after + old));
		printf("TSC offset: ignored, the guest reads the host's TSC\n");
	}
	return 0;
}
