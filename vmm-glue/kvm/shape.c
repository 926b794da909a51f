/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shape.c -- what an equal VM is built from: number of vCPUs, interrupt chips, CPUID, TSC frequency, MSRs
 *
 * Saved while the guest runs, so no ioctl on a vCPU is used: such a call waits until that vCPU leaves KVM_RUN.
 */
#include "kvm/cpuid.h"
#include "kvm/irqchip_state.h"
#include "kvm/msr.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>

#define SHAPE_RECORD "kvm.shape"
#define CPUID_RECORD "kvm.cpuid"
#define MSRS_RECORD "kvm.msrs"
#define RECORD_VERSION 1u
#define TSC_TOLERANCE_PPM 250u /* what KVM itself lets pass without scaling, and what an NTP daemon corrects */

struct shape_record {
	uint32_t vcpus;
	uint32_t irqchips; /* kvm_irqchip_shape() */
	uint32_t tsc_khz;  /* 0: unknown */
	uint32_t reserved;
};

_Static_assert(sizeof(struct shape_record) == 16, "travels as is");
_Static_assert(sizeof(struct kvm_cpuid_entry2) == 40, "travels as is");

int decant_kvm_shape_save(struct decant_kvm *kvm, struct decant_state_writer *shape, struct decant_error *err)
{
	struct shape_record record = { .vcpus = kvm->vcpu_count, .irqchips = kvm_irqchip_shape(kvm) };
	int r;

	if (kvm->vcpu_count == 0)
		return decant_error_set(err, -EINVAL, "VM shape: no vCPU was added");
	record.tsc_khz = kvm->vcpus[0]->tsc_khz;
	r = decant_state_put(shape, SHAPE_RECORD, 0, RECORD_VERSION, &record, sizeof(record), err);
	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++) {
		struct kvm_vcpu *vcpu = kvm->vcpus[i];

		if (vcpu->cpuid->nent == 0)
			r = kvm_cpuid_read(vcpu, err);
		if (r == 0)
			r = decant_state_put(shape, CPUID_RECORD, i, RECORD_VERSION, vcpu->cpuid->entries,
					     vcpu->cpuid->nent * sizeof(vcpu->cpuid->entries[0]), err);
	}
	if (r == 0)
		r = decant_state_put(shape, MSRS_RECORD, 0, RECORD_VERSION, kvm->msrs,
				     kvm->msr_count * sizeof(kvm->msrs[0]), err);
	return r;
}

static int shape_get(struct decant_state_reader *shape, const char *name, uint32_t instance, size_t unit,
		     bool many, struct decant_state_record *found, struct decant_error *err)
{
	int r = decant_state_get(shape, name, instance, RECORD_VERSION, found, err);

	if (r == -ENOENT)
		return decant_error_set(err, -EPROTO, "record %s %u is missing", name, instance);
	if (r < 0)
		return r;
	if (many ? found->length % unit != 0 : found->length != unit)
		return decant_error_set(err, -EPROTO, "record %s %u: %zu bytes", name, instance, found->length);
	return 0;
}

static int shape_check_vm(struct decant_kvm *kvm, const struct shape_record *record, struct decant_error *err)
{
	uint32_t irqchips = kvm_irqchip_shape(kvm);

	if (kvm->vcpu_count == 0 || record->vcpus != kvm->vcpu_count)
		return decant_error_set(err, -EINVAL, "VM shape: the source has %u vCPUs, this VM %u",
					record->vcpus, kvm->vcpu_count);
	if (record->irqchips != irqchips)
		return decant_error_set(
			err, -EINVAL,
			"VM shape: interrupt chips in the kernel: the source has PIC and IOAPIC %u, PIT %u; "
			"this VM %u, %u",
			record->irqchips & 1, record->irqchips >> 1 & 1, irqchips & 1, irqchips >> 1);
	return 0;
}

static int shape_load_tsc(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, uint32_t khz, struct decant_error *err)
{
	uint32_t here = vcpu->tsc_khz;
	uint32_t apart = khz > here ? khz - here : here - khz;
	int r;

	if (khz == 0 || here == 0 || apart == 0)
		return 0;
	if (kvm_extension(kvm->vm_fd, KVM_CAP_TSC_CONTROL) == 0) {
		if ((uint64_t)apart * 1000000u <= (uint64_t)here * TSC_TOLERANCE_PPM)
			return 0;
		return decant_error_set(
			err, -EOPNOTSUPP,
			"TSC: the guest's runs at %u kHz, this host's at %u kHz, and its KVM cannot scale it", khz,
			here);
	}
	r = kvm_ioctl_value(vcpu->fd, KVM_SET_TSC_KHZ, khz);
	if (r < 0)
		return decant_error_set(err, -EOPNOTSUPP, "vCPU %u: KVM_SET_TSC_KHZ: %u kHz: %s", vcpu->index, khz,
					strerror(-r));
	vcpu->tsc_khz = khz;
	return 0;
}

static int shape_load_cpuid(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const struct decant_state_record *found,
			    const struct kvm_cpuid2 *host, struct decant_error *err)
{
	uint32_t entries = (uint32_t)(found->length / sizeof(host->entries[0]));
	bool deadline = kvm_extension(kvm->vm_fd, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	struct kvm_cpuid2 *cpuid;
	int r;

	if (entries > KVM_CPUID_ENTRIES_MAX)
		return decant_error_set(err, -EPROTO, "record %s %u: %u entries", CPUID_RECORD, vcpu->index,
					entries);
	cpuid = kvm_cpuid_new(entries);
	if (cpuid == NULL)
		return decant_error_set(err, -ENOMEM, "CPUID: out of memory");
	memcpy(cpuid->entries, found->data, found->length);
	r = kvm_cpuid_check(cpuid, host, deadline, err);
	if (r == 0) {
		r = kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid);
		if (r < 0)
			decant_error_set(err, r, "vCPU %u: KVM_SET_CPUID2: %s", vcpu->index, strerror(-r));
	}
	if (r < 0) {
		free(cpuid);
		return r;
	}
	free(vcpu->cpuid);
	vcpu->cpuid = cpuid;
	return 0;
}

/* No reason to refuse yet: the guest may never have touched them. The load of the state will tell. */
static int shape_compare_msrs(const struct decant_kvm *kvm, struct decant_state_reader *shape,
			      struct decant_error *err)
{
	struct decant_state_record found;
	int r = shape_get(shape, MSRS_RECORD, 0, sizeof(uint32_t), true, &found, err);
	const uint32_t *msrs = found.data;
	size_t unknown = 0;
	uint32_t first = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < found.length / sizeof(*msrs); i++) {
		if (kvm_msr_known(kvm, msrs[i]))
			continue;
		first = unknown == 0 ? msrs[i] : first;
		unknown++;
	}
	if (unknown > 0)
		log_notice(
			&kvm->log,
			"kvm: this host's KVM does not list MSR 0x%x (%zu such in all); the state is refused if the guest uses it",
			first, unknown);
	return 0;
}

int decant_kvm_shape_load(struct decant_kvm *kvm, struct decant_state_reader *shape, struct decant_error *err)
{
	DECANT_AUTO_FREE struct kvm_cpuid2 *host = NULL;
	struct decant_state_record found;
	struct shape_record record;
	int r = shape_get(shape, SHAPE_RECORD, 0, sizeof(record), false, &found, err);

	if (r < 0)
		return r;
	memcpy(&record, found.data, sizeof(record));
	r = shape_check_vm(kvm, &record, err);
	if (r == 0)
		r = kvm_cpuid_offer(kvm->kvm_fd, kvm->vcpus[0], &host, err);
	if (r == 0)
		r = shape_compare_msrs(kvm, shape, err);
	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++) {
		r = shape_get(shape, CPUID_RECORD, i, sizeof(struct kvm_cpuid_entry2), true, &found, err);
		if (r == 0)
			r = shape_load_cpuid(kvm, kvm->vcpus[i], &found, host, err);
		if (r == 0)
			r = shape_load_tsc(kvm, kvm->vcpus[i], record.tsc_khz, err);
	}
	return r;
}
