/* SPDX-License-Identifier: BSD-2-Clause */
/* kvm.c -- the glue's object: what the host's KVM can do, and the VM's vCPUs */
#include "kvm/kvm.h"

#include "kvm/cpuid.h"
#include "kvm/dirty.h"
#include "kvm/dirty_ring.h"
#include "kvm/memslot.h"
#include "kvm/msr.h"
#include "kvm/vcpu_state.h"

#include <stdlib.h>
#include <string.h>

struct kvm_needed {
	int capability;
	const char *name;
};

static const struct kvm_needed kvm_needed[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
	{ KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
	{ KVM_CAP_XCRS, "KVM_CAP_XCRS" },
	{ KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK" },
	{ KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ" },
};

static int kvm_check_needed(const struct decant_kvm *kvm, struct decant_error *err)
{
	for (size_t i = 0; i < sizeof(kvm_needed) / sizeof(kvm_needed[0]); i++)
		if (kvm_extension(kvm->vm_fd, (unsigned long)kvm_needed[i].capability) == 0)
			return decant_error_set(err, -EOPNOTSUPP,
						"KVM: this host has no %s; decant needs Linux 6.1",
						kvm_needed[i].name);
	return 0;
}

/* What makes pending exceptions complete in their record; a host without them has nothing more to tell. */
static void kvm_enable_events(const struct decant_kvm *kvm)
{
	static const uint32_t capabilities[] = { KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X86_TRIPLE_FAULT_EVENT };

	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		struct kvm_enable_cap enable = { .cap = capabilities[i], .args[0] = 1 };

		if (kvm_extension(kvm->vm_fd, capabilities[i]) > 0)
			kvm_ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &enable);
	}
}

static void kvm_look(struct decant_kvm *kvm)
{
	int xsave2 = kvm_extension(kvm->vm_fd, KVM_CAP_XSAVE2);
	int legacy = (int)sizeof(struct kvm_xsave);

	kvm->xsave_size = (uint32_t)(xsave2 > legacy ? xsave2 : legacy);
	kvm->sregs2 = kvm_extension(kvm->vm_fd, KVM_CAP_SREGS2) > 0;
	kvm->nested_size = (uint32_t)kvm_extension(kvm->vm_fd, KVM_CAP_NESTED_STATE);
	kvm->clock_realtime = (kvm_extension(kvm->vm_fd, KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_REALTIME) != 0;
}

int decant_kvm_new(const struct decant_kvm_opts *opts, struct decant_kvm **kvm_ptr, struct decant_error *err)
{
	struct decant_kvm_opts copy = DECANT_KVM_OPTS_INIT;
	struct decant_kvm *kvm;
	int r;

	if (opts == NULL || opts->size < offsetof(struct decant_kvm_opts, dirty))
		return decant_error_set(err, -EINVAL,
					"KVM: options: size is not set; begin with DECANT_KVM_OPTS_INIT");
	memcpy(&copy, opts, opts->size < sizeof(copy) ? opts->size : sizeof(copy));
	kvm = calloc(1, sizeof(*kvm));
	if (kvm == NULL)
		return decant_error_set(err, -ENOMEM, "KVM: out of memory");
	kvm->kvm_fd = copy.kvm_fd;
	kvm->vm_fd = copy.vm_fd;
	kvm->log = copy.log;
	pthread_mutex_init(&kvm->ring_lock, NULL);
	pthread_cond_init(&kvm->ring_keep, NULL);
	r = kvm_check_needed(kvm, err);
	if (r == 0)
		r = kvm_dirty_new(kvm, &copy, err);
	if (r == 0)
		r = kvm_msr_list_new(kvm, err);
	if (r < 0)
		goto err_free;
	kvm_look(kvm);
	kvm_enable_events(kvm);
	kvm->scratch = malloc(kvm_vcpu_state_scratch(kvm));
	kvm->nested = calloc(1, kvm->nested_size + 1u);
	if (kvm->scratch == NULL || kvm->nested == NULL) {
		r = decant_error_set(err, -ENOMEM, "KVM: out of memory");
		goto err_free;
	}
	*kvm_ptr = kvm;
	return 0;

err_free:
	decant_kvm_free(kvm);
	return r;
}

static void vcpu_free(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	kvm_dirty_ring_unmap(kvm, vcpu);
	free(vcpu->cpuid);
	free(vcpu->msr_reset);
	free(vcpu);
}

static int vcpu_look(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_error *err)
{
	int khz = kvm_ioctl_value(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	int r = kvm_cpuid_read(vcpu, err);

	if (khz < 0)
		return decant_error_set(err, khz, "vCPU %u: KVM_GET_TSC_KHZ: %s", vcpu->index, strerror(-khz));
	vcpu->tsc_khz = (uint32_t)khz;
	if (r == 0)
		r = kvm_msr_reset_read(kvm, vcpu, err);
	if (r == 0 && kvm->ring_entries != 0)
		r = kvm_dirty_ring_map(kvm, vcpu, err);
	return r;
}

int decant_kvm_add_vcpu(struct decant_kvm *kvm, uint32_t index, int vcpu_fd, struct decant_error *err)
{
	struct kvm_vcpu **vcpus;
	struct kvm_vcpu *vcpu;
	int r;

	if (index != kvm->vcpu_count)
		return decant_error_set(err, -EINVAL, "vCPU %u: out of order, next is %u", index, kvm->vcpu_count);
	vcpus = realloc(kvm->vcpus, (index + 1) * sizeof(struct kvm_vcpu *));
	if (vcpus != NULL)
		kvm->vcpus = vcpus;
	vcpu = calloc(1, sizeof(*vcpu));
	if (vcpus == NULL || vcpu == NULL) {
		free(vcpu);
		return decant_error_set(err, -ENOMEM, "vCPU %u: out of memory", index);
	}
	vcpu->index = index;
	vcpu->fd = vcpu_fd;
	r = vcpu_look(kvm, vcpu, err);
	if (r < 0) {
		vcpu_free(kvm, vcpu);
		return r;
	}
	if (index == 0)
		kvm->host_tsc_khz = vcpu->tsc_khz;
	kvm->vcpus[kvm->vcpu_count++] = vcpu;
	return 0;
}

void decant_kvm_free(struct decant_kvm *kvm)
{
	if (kvm == NULL)
		return;
	decant_kvm_dirty_stop(kvm);
	for (uint32_t i = 0; i < kvm->vcpu_count; i++)
		vcpu_free(kvm, kvm->vcpus[i]);
	free(kvm->vcpus);
	kvm_memslot_free_all(kvm);
	free(kvm->msrs);
	free(kvm->scratch);
	free(kvm->nested);
	pthread_cond_destroy(&kvm->ring_keep);
	pthread_mutex_destroy(&kvm->ring_lock);
	free(kvm);
}
