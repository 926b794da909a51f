/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msr.c -- model specific registers: which belong to a state, reading and writing them
 *
 * KVM names those it emulates (KVM_GET_MSR_INDEX_LIST), but leaves out MTRRs and machine check banks, which a
 * guest does set. IA32_TSC is in no list here: it is a clock. IA32_TSC_DEADLINE is a timer. The old numbers of
 * the two kvmclock MSRs are other names for the new ones, and writing them last would make KVM believe in a
 * guest that knows only those.
 *
 * Hyper-V's MSRs belong to a state only if the guest is told that there is a Hyper-V. Of these the reference
 * counter follows from kvmclock, and the time that a vCPU has run goes on while its thread does anything: it is
 * set and not compared.
 */
#include "kvm/msr.h"

#include "kvm/cpuid.h"
#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>

#define MSR_KVM_WALL_CLOCK_OLD 0x11u
#define MSR_KVM_SYSTEM_TIME_OLD 0x12u
#define MSR_KVM_WALL_CLOCK 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01u

#define MSR_HYPERV_FIRST 0x40000000u
#define MSR_HYPERV_LAST 0x4000ffffu
#define MSR_HYPERV_VP_RUNTIME 0x40000010u
#define MSR_HYPERV_TIME_REF_COUNT 0x40000020u

#define MSRS_PER_CALL 64u

struct msr_range {
	uint32_t first;
	uint32_t count;
};

static const struct msr_range msr_unlisted[] = {
	{ 0x2ff, 1 },   /* MTRRdefType */
	{ 0x250, 1 },   /* MTRRfix64K */
	{ 0x258, 2 },   /* MTRRfix16K */
	{ 0x268, 8 },   /* MTRRfix4K */
	{ 0x200, 16 },  /* MTRRphysBase, MTRRphysMask, 8 pairs */
	{ 0x400, 128 }, /* MCi_CTL, _STATUS, _ADDR, _MISC of 32 banks */
};

struct msr_call {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[MSRS_PER_CALL];
};

int kvm_msr_get(int vcpu_fd, uint32_t index, uint64_t *value)
{
	struct msr_call call = { .head.nmsrs = 1, .entries[0].index = index };
	int r = kvm_ioctl(vcpu_fd, KVM_GET_MSRS, &call);

	if (r == 1)
		*value = call.entries[0].data;
	return r;
}

int kvm_msr_set(int vcpu_fd, uint32_t index, uint64_t value)
{
	struct msr_call call = { .head.nmsrs = 1, .entries[0] = { .index = index, .data = value } };

	return kvm_ioctl(vcpu_fd, KVM_SET_MSRS, &call);
}

bool kvm_msr_known(const struct decant_kvm *kvm, uint32_t index)
{
	for (uint32_t i = 0; i < kvm->msr_count; i++)
		if (kvm->msrs[i] == index)
			return true;
	return false;
}

static bool msr_listed(const struct kvm_msr_list *list, uint32_t index)
{
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

static bool msr_left_out(const struct kvm_msr_list *list, uint32_t index)
{
	switch (index) {
	case MSR_TSC:
	case MSR_TSC_DEADLINE:
	case MSR_HYPERV_TIME_REF_COUNT:
		return true;
	case MSR_KVM_WALL_CLOCK_OLD:
		return msr_listed(list, MSR_KVM_WALL_CLOCK);
	case MSR_KVM_SYSTEM_TIME_OLD:
		return msr_listed(list, MSR_KVM_SYSTEM_TIME);
	default:
		return false;
	}
}

static void msr_list_add(struct decant_kvm *kvm, uint32_t index)
{
	if (!kvm_msr_known(kvm, index))
		kvm->msrs[kvm->msr_count++] = index;
}

/* How long the list is: KVM writes the number and says E2BIG. */
static int msr_list_read(int kvm_fd, struct kvm_msr_list **list)
{
	struct kvm_msr_list head = { .nmsrs = 0 };
	int r = kvm_ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &head);

	if (r < 0 && r != -E2BIG)
		return r;
	*list = calloc(1, sizeof(**list) + head.nmsrs * sizeof((*list)->indices[0]));
	if (*list == NULL)
		return -ENOMEM;
	(*list)->nmsrs = head.nmsrs;
	return kvm_ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, *list);
}

int kvm_msr_list_new(struct decant_kvm *kvm, struct decant_error *err)
{
	DECANT_AUTO_FREE struct kvm_msr_list *list = NULL;
	uint32_t most;
	int r = msr_list_read(kvm->kvm_fd, &list);

	if (r < 0)
		return decant_error_set(err, r, "KVM_GET_MSR_INDEX_LIST: %s", strerror(-r));
	most = list->nmsrs;
	for (size_t i = 0; i < sizeof(msr_unlisted) / sizeof(msr_unlisted[0]); i++)
		most += msr_unlisted[i].count;
	kvm->msrs = calloc(most, sizeof(*kvm->msrs));
	if (kvm->msrs == NULL)
		return decant_error_set(err, -ENOMEM, "MSR list: out of memory");
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (!msr_left_out(list, list->indices[i]))
			msr_list_add(kvm, list->indices[i]);
	for (size_t i = 0; i < sizeof(msr_unlisted) / sizeof(msr_unlisted[0]); i++)
		for (uint32_t j = 0; j < msr_unlisted[i].count; j++)
			msr_list_add(kvm, msr_unlisted[i].first + j);
	return 0;
}

/*
 * Reads @count MSRs into @values and tells by @readable which could be. KVM stops at the first it cannot read
 * and returns how many it has done.
 */
static int msr_read_each(int vcpu_fd, const uint32_t *msrs, uint32_t count, uint64_t *values, bool *readable)
{
	for (uint32_t done = 0; done < count;) {
		struct msr_call call = { 0 };
		uint32_t n = count - done < MSRS_PER_CALL ? count - done : MSRS_PER_CALL;
		int r;

		call.head.nmsrs = n;
		for (uint32_t i = 0; i < n; i++)
			call.entries[i].index = msrs[done + i];
		r = kvm_ioctl(vcpu_fd, KVM_GET_MSRS, &call);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < (uint32_t)r; i++) {
			values[done + i] = call.entries[i].data;
			readable[done + i] = true;
		}
		done += (uint32_t)r;
		if ((uint32_t)r < n)
			readable[done++] = false;
	}
	return 0;
}

int kvm_msr_reset_read(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_error *err)
{
	DECANT_AUTO_FREE bool *readable = calloc(kvm->msr_count, sizeof(*readable));
	int r;

	vcpu->msr_reset = calloc(kvm->msr_count, sizeof(*vcpu->msr_reset));
	if (readable == NULL || vcpu->msr_reset == NULL)
		return decant_error_set(err, -ENOMEM, "vCPU %u: MSRs: out of memory", vcpu->index);
	r = msr_read_each(vcpu->fd, kvm->msrs, kvm->msr_count, vcpu->msr_reset, readable);
	if (r < 0)
		return decant_error_set(err, r, "vCPU %u: KVM_GET_MSRS: %s", vcpu->index, strerror(-r));
	return 0;
}

static bool msr_belongs(uint32_t index, bool hyperv)
{
	return hyperv || index < MSR_HYPERV_FIRST || index > MSR_HYPERV_LAST;
}

/* A part of the list at a time, so that a save in the pause of a guest allocates nothing. */
int kvm_msr_values(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu, struct kvm_msr_value *values,
		   struct decant_error *err)
{
	bool hyperv = kvm_cpuid_is_hyperv(vcpu->cpuid);
	int count = 0;

	for (uint32_t done = 0; done < kvm->msr_count; done += MSRS_PER_CALL) {
		uint32_t n = kvm->msr_count - done < MSRS_PER_CALL ? kvm->msr_count - done : MSRS_PER_CALL;
		uint64_t read[MSRS_PER_CALL];
		bool readable[MSRS_PER_CALL];
		int r = msr_read_each(vcpu->fd, kvm->msrs + done, n, read, readable);

		if (r < 0)
			return decant_error_set(err, r, "vCPU %u: KVM_GET_MSRS: %s", vcpu->index, strerror(-r));
		for (uint32_t i = 0; i < n; i++) {
			if (!readable[i] || !msr_belongs(kvm->msrs[done + i], hyperv))
				continue;
			values[count++] = (struct kvm_msr_value){
				.index = kvm->msrs[done + i],
				.value = read[i],
				.reset = vcpu->msr_reset[done + i],
			};
		}
	}
	return count;
}

static int msr_refuse(const struct kvm_vcpu *vcpu, const struct kvm_msr_value *msr, struct decant_error *err)
{
	if (msr->value == msr->reset)
		return 0;
	return decant_error_set(err, -EOPNOTSUPP,
				"vCPU %u: MSR 0x%x: this host's KVM does not take the guest's value 0x%llx",
				vcpu->index, msr->index, (unsigned long long)msr->value);
}

static int msr_write_each(const struct kvm_vcpu *vcpu, const struct kvm_msr_value *values, uint32_t count,
			  struct decant_error *err)
{
	for (uint32_t done = 0; done < count;) {
		struct msr_call call = { 0 };
		uint32_t n = count - done < MSRS_PER_CALL ? count - done : MSRS_PER_CALL;
		int r;

		call.head.nmsrs = n;
		for (uint32_t i = 0; i < n; i++) {
			call.entries[i].index = values[done + i].index;
			call.entries[i].data = values[done + i].value;
		}
		r = kvm_ioctl(vcpu->fd, KVM_SET_MSRS, &call);
		if (r < 0)
			return decant_error_set(err, r, "vCPU %u: KVM_SET_MSRS: %s", vcpu->index, strerror(-r));
		done += (uint32_t)r;
		if ((uint32_t)r == n)
			continue;
		r = msr_refuse(vcpu, &values[done++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Has the vCPU what it was given? @count: MSRS_PER_CALL at most. */
static int msr_check_part(const struct kvm_vcpu *vcpu, const struct kvm_msr_value *values, uint32_t count,
			  struct decant_error *err)
{
	uint32_t msrs[MSRS_PER_CALL] = { 0 };
	uint64_t now[MSRS_PER_CALL];
	bool readable[MSRS_PER_CALL];
	int r;

	for (uint32_t i = 0; i < count; i++)
		msrs[i] = values[i].index;
	r = msr_read_each(vcpu->fd, msrs, count, now, readable);
	if (r < 0)
		return decant_error_set(err, r, "vCPU %u: KVM_GET_MSRS: %s", vcpu->index, strerror(-r));
	for (uint32_t i = 0; i < count; i++) {
		if (readable[i] && (now[i] == values[i].value || msrs[i] == MSR_HYPERV_VP_RUNTIME))
			continue;
		r = msr_refuse(vcpu, &values[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int kvm_msr_load(const struct kvm_vcpu *vcpu, const struct kvm_msr_value *values, uint32_t count,
		 struct decant_error *err)
{
	int r = msr_write_each(vcpu, values, count, err);

	for (uint32_t done = 0; r == 0 && done < count; done += MSRS_PER_CALL)
		r = msr_check_part(vcpu, values + done,
				   count - done < MSRS_PER_CALL ? count - done : MSRS_PER_CALL, err);
	return r;
}
