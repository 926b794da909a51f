/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vcpu_state.c -- what KVM holds of one vCPU, as records
 *
 * One table names the records in the order in which they are restored; each row knows how to read its part from
 * KVM and how to give it back. A row that reads nothing (length 0) has no record: a vCPU without a local APIC in
 * the kernel, for one. A load writes row by row, and when the whole VM is loaded every row is read again and
 * compared, so that a value which this host's KVM took and changed is found here and not by the guest.
 *
 * mp_state is read first at a save, because KVM_GET_MP_STATE makes KVM work off an INIT or SIPI that is still
 * pending, and that changes registers.
 */
#include "kvm/vcpu_state.h"

#include "kvm/cpuid.h"
#include "kvm/msr.h"
#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION 1u
#define XSAVE_LEGACY_SIZE sizeof(struct kvm_xsave)
#define XSAVE_MXCSR_MASK 28u /* what the host's processor has there; KVM ignores it */
#define VMX_NO_VMXON ~0ull

struct vcpu_record {
	const char *name;
	const char *what; /* for messages */
	bool optional;
	size_t unit; /* the length is this, or with @many a multiple of it */
	bool many;
	/* fills decant_kvm.scratch; returns the length or -errno */
	int (*get)(struct decant_kvm *kvm, struct kvm_vcpu *vcpu);
	int (*put)(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		   struct decant_error *err);
	/* decant_kvm.scratch against the record; NULL: byte by byte */
	bool (*same)(const struct decant_kvm *kvm, const void *data, size_t length, size_t now_length);
};

struct vcpu_xcr {
	uint32_t number;
	uint32_t reserved;
	uint64_t value;
};

static int vcpu_refused(struct kvm_vcpu *vcpu, const char *call, int code, struct decant_error *err)
{
	if (code == -EINVAL)
		return decant_error_set(err, -EOPNOTSUPP,
					"vCPU %u: %s: this host's KVM does not take the guest's state",
					vcpu->index, call);
	return decant_error_set(err, code, "vCPU %u: %s: %s", vcpu->index, call, strerror(-code));
}

static int vcpu_read(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, unsigned long request, size_t length)
{
	int r;

	memset(kvm->scratch, 0, length);
	r = kvm_ioctl(vcpu->fd, request, kvm->scratch);
	return r < 0 ? r : (int)length;
}

static int vcpu_write(struct kvm_vcpu *vcpu, unsigned long request, const char *call, const void *data,
		      struct decant_error *err)
{
	int r = kvm_ioctl(vcpu->fd, request, data);

	return r < 0 ? vcpu_refused(vcpu, call, r, err) : 0;
}

static int sregs_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	return vcpu_read(kvm, vcpu, KVM_GET_SREGS, sizeof(struct kvm_sregs));
}

static int sregs_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		     struct decant_error *err)
{
	(void)kvm, (void)length;
	return vcpu_write(vcpu, KVM_SET_SREGS, "KVM_SET_SREGS", data, err);
}

/* A PAE guest's page directory pointers are registers: memory may say something else by now. */
static int pdptrs_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	struct kvm_sregs2 sregs = { 0 };
	int r;

	if (!kvm->sregs2)
		return 0;
	r = kvm_ioctl(vcpu->fd, KVM_GET_SREGS2, &sregs);
	if (r < 0 || !(sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
		return r < 0 ? r : 0;
	memcpy(kvm->scratch, sregs.pdptrs, sizeof(sregs.pdptrs));
	return sizeof(sregs.pdptrs);
}

static int pdptrs_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		      struct decant_error *err)
{
	struct kvm_sregs2 sregs = { 0 };
	int r;

	if (!kvm->sregs2)
		return decant_error_set(
			err, -EOPNOTSUPP,
			"vCPU %u: PAE page directory pointers: this host's KVM has no KVM_CAP_SREGS2",
			vcpu->index);
	r = kvm_ioctl(vcpu->fd, KVM_GET_SREGS2, &sregs);
	if (r < 0)
		return vcpu_refused(vcpu, "KVM_GET_SREGS2", r, err);
	sregs.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
	memcpy(sregs.pdptrs, data, length);
	return vcpu_write(vcpu, KVM_SET_SREGS2, "KVM_SET_SREGS2", &sregs, err);
}

static int regs_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	return vcpu_read(kvm, vcpu, KVM_GET_REGS, sizeof(struct kvm_regs));
}

static int regs_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		    struct decant_error *err)
{
	(void)kvm, (void)length;
	return vcpu_write(vcpu, KVM_SET_REGS, "KVM_SET_REGS", data, err);
}

static int xsave_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	return vcpu_read(kvm, vcpu, kvm->xsave_size > XSAVE_LEGACY_SIZE ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
			 kvm->xsave_size);
}

/* Two hosts may have areas of different length; what is beyond the shorter one must be unused. */
static int xsave_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		     struct decant_error *err)
{
	size_t shorter = length < kvm->xsave_size ? length : kvm->xsave_size;

	for (size_t i = shorter; i < length; i++)
		if (((const uint8_t *)data)[i] != 0)
			return decant_error_set(
				err, -EOPNOTSUPP,
				"vCPU %u: XSAVE: the guest uses %zu bytes, this host's KVM offers %u", vcpu->index,
				length, kvm->xsave_size);
	memset(kvm->scratch, 0, kvm->xsave_size);
	memcpy(kvm->scratch, data, shorter);
	return vcpu_write(vcpu, KVM_SET_XSAVE, "KVM_SET_XSAVE", kvm->scratch, err);
}

static bool xsave_same(const struct decant_kvm *kvm, const void *data, size_t length, size_t now_length)
{
	const uint8_t *a = data;
	const uint8_t *b = kvm->scratch;
	size_t shorter = length < now_length ? length : now_length;

	return memcmp(a, b, XSAVE_MXCSR_MASK) == 0 &&
	       memcmp(a + XSAVE_MXCSR_MASK + 4, b + XSAVE_MXCSR_MASK + 4, shorter - XSAVE_MXCSR_MASK - 4) == 0;
}

static int xcrs_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	struct kvm_xcrs xcrs = { 0 };
	struct vcpu_xcr *out = kvm->scratch;
	int r = kvm_ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < xcrs.nr_xcrs; i++)
		out[i] = (struct vcpu_xcr){ .number = xcrs.xcrs[i].xcr, .value = xcrs.xcrs[i].value };
	return (int)(xcrs.nr_xcrs * sizeof(*out));
}

static int xcrs_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		    struct decant_error *err)
{
	const struct vcpu_xcr *in = data;
	struct kvm_xcrs xcrs = { .nr_xcrs = (uint32_t)(length / sizeof(*in)) };

	(void)kvm;
	if (xcrs.nr_xcrs > KVM_MAX_XCRS)
		return decant_error_set(err, -EPROTO, "vCPU %u: XCRs: %u of them", vcpu->index, xcrs.nr_xcrs);
	for (uint32_t i = 0; i < xcrs.nr_xcrs; i++) {
		xcrs.xcrs[i].xcr = in[i].number;
		xcrs.xcrs[i].value = in[i].value;
	}
	return vcpu_write(vcpu, KVM_SET_XCRS, "KVM_SET_XCRS", &xcrs, err);
}

static int debugregs_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	return vcpu_read(kvm, vcpu, KVM_GET_DEBUGREGS, sizeof(struct kvm_debugregs));
}

static int debugregs_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
			 struct decant_error *err)
{
	(void)kvm, (void)length;
	return vcpu_write(vcpu, KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", data, err);
}

static int msrs_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	int count = kvm_msr_values(kvm, vcpu, kvm->scratch, NULL);

	return count < 0 ? count : (int)((size_t)count * sizeof(struct kvm_msr_value));
}

static int msrs_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		    struct decant_error *err)
{
	(void)kvm;
	return kvm_msr_load(vcpu, data, (uint32_t)(length / sizeof(struct kvm_msr_value)), err);
}

/* kvm_msr_load() has read them back, MSR by MSR, and knows which may differ. */
static bool msrs_same(const struct decant_kvm *kvm, const void *data, size_t length, size_t now_length)
{
	(void)kvm, (void)data, (void)length, (void)now_length;
	return true;
}

static void lapic_timer_set(void *lapic, uint32_t initial, uint32_t current)
{
	memcpy((uint8_t *)lapic + LAPIC_TIMER_INITIAL, &initial, sizeof(initial));
	memcpy((uint8_t *)lapic + LAPIC_TIMER_CURRENT, &current, sizeof(current));
}

static int lapic_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	int r = vcpu_read(kvm, vcpu, KVM_GET_LAPIC, sizeof(struct kvm_lapic_state));

	if (r == -EINVAL)
		return 0;
	if (r > 0 && vcpu->timers.aside)
		lapic_timer_set(kvm->scratch, vcpu->timers.lapic_initial, vcpu->timers.lapic_current);
	return r;
}

static int lapic_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		     struct decant_error *err)
{
	const uint8_t *lapic = data;

	memcpy(&vcpu->timers.lapic_initial, lapic + LAPIC_TIMER_INITIAL, sizeof(vcpu->timers.lapic_initial));
	memcpy(&vcpu->timers.lapic_current, lapic + LAPIC_TIMER_CURRENT, sizeof(vcpu->timers.lapic_current));
	memcpy(kvm->scratch, data, length);
	lapic_timer_set(kvm->scratch, 0, 0);
	return vcpu_write(vcpu, KVM_SET_LAPIC, "KVM_SET_LAPIC", kvm->scratch, err);
}

/* The version is the destination's KVM's own, the processor priority follows from other registers. */
static bool lapic_same(const struct decant_kvm *kvm, const void *data, size_t length, size_t now_length)
{
	const uint8_t *a = data;
	const uint8_t *b = kvm->scratch;

	(void)now_length;
	for (size_t i = 0; i < length; i++) {
		bool own = i / 4 == LAPIC_VERSION / 4 || i / 4 == LAPIC_PROCESSOR_PRIORITY / 4;

		if (a[i] != b[i] && !own)
			return false;
	}
	return true;
}

static int deadline_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	uint64_t *deadline = kvm->scratch;
	int r;

	*deadline = vcpu->timers.tsc_deadline;
	if (vcpu->timers.aside)
		return vcpu->timers.has_deadline ? (int)sizeof(*deadline) : 0;
	r = kvm_msr_get(vcpu->fd, MSR_TSC_DEADLINE, deadline);
	return r <= 0 ? r : (int)sizeof(*deadline);
}

static int deadline_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
			struct decant_error *err)
{
	int r = kvm_msr_set(vcpu->fd, MSR_TSC_DEADLINE, 0);

	(void)kvm;
	vcpu->timers.has_deadline = true;
	memcpy(&vcpu->timers.tsc_deadline, data, length);
	if (r == 1 || vcpu->timers.tsc_deadline == 0)
		return 0;
	return decant_error_set(
		err, r < 0 ? r : -EOPNOTSUPP,
		"vCPU %u: MSR 0x%x: the guest uses the TSC deadline timer, this host's KVM does not take it",
		vcpu->index, MSR_TSC_DEADLINE);
}

static int events_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	return vcpu_read(kvm, vcpu, KVM_GET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events));
}

static int events_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		      struct decant_error *err)
{
	(void)kvm, (void)length;
	return vcpu_write(vcpu, KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", data, err);
}

static int mp_state_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	return vcpu_read(kvm, vcpu, KVM_GET_MP_STATE, sizeof(struct kvm_mp_state));
}

static int mp_state_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
			struct decant_error *err)
{
	(void)kvm, (void)length;
	return vcpu_write(vcpu, KVM_SET_MP_STATE, "KVM_SET_MP_STATE", data, err);
}

static int tsc_get(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	memcpy(kvm->scratch, &vcpu->tsc, sizeof(vcpu->tsc));
	return sizeof(vcpu->tsc);
}

static int tsc_put(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, const void *data, size_t length,
		   struct decant_error *err)
{
	(void)kvm, (void)err;
	memcpy(&vcpu->tsc, data, length);
	return 0;
}

/* In the order of loading; docs/kvm-state.md has the reason for each place. */
static const struct vcpu_record vcpu_records[] = {
	{ "kvm.vcpu.sregs", "segments, control registers, APIC base", false, sizeof(struct kvm_sregs), false,
	  sregs_get, sregs_put, NULL },
	{ "kvm.vcpu.pdptrs", "PAE page directory pointers", true, sizeof(uint64_t[4]), false, pdptrs_get,
	  pdptrs_put, NULL },
	{ "kvm.vcpu.regs", "general registers", false, sizeof(struct kvm_regs), false, regs_get, regs_put, NULL },
	{ "kvm.vcpu.xsave", "XSAVE area", false, 64, true, xsave_get, xsave_put, xsave_same },
	{ "kvm.vcpu.xcrs", "extended control registers", false, sizeof(struct vcpu_xcr), true, xcrs_get, xcrs_put,
	  NULL },
	{ "kvm.vcpu.debugregs", "debug registers", false, sizeof(struct kvm_debugregs), false, debugregs_get,
	  debugregs_put, NULL },
	{ "kvm.vcpu.msrs", "MSRs", false, sizeof(struct kvm_msr_value), true, msrs_get, msrs_put, msrs_same },
	{ "kvm.vcpu.lapic", "local APIC", true, sizeof(struct kvm_lapic_state), false, lapic_get, lapic_put,
	  lapic_same },
	{ "kvm.vcpu.tsc_deadline", "TSC deadline", true, sizeof(uint64_t), false, deadline_get, deadline_put,
	  NULL },
	{ "kvm.vcpu.tsc", "TSC", false, sizeof(uint64_t), false, tsc_get, tsc_put, NULL },
	{ "kvm.vcpu.events", "pending events", false, sizeof(struct kvm_vcpu_events), false, events_get,
	  events_put, NULL },
	{ "kvm.vcpu.mp_state", "multiprocessing state", false, sizeof(struct kvm_mp_state), false, mp_state_get,
	  mp_state_put, NULL },
};

#define VCPU_RECORDS (sizeof(vcpu_records) / sizeof(vcpu_records[0]))

size_t kvm_vcpu_state_scratch(const struct decant_kvm *kvm)
{
	size_t most = kvm->msr_count * sizeof(struct kvm_msr_value);

	if (most < kvm->xsave_size)
		most = kvm->xsave_size;
	return most < XSAVE_LEGACY_SIZE ? XSAVE_LEGACY_SIZE : most;
}

static int vcpu_refuse_nested(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_error *err)
{
	struct kvm_nested_state *nested = kvm->nested;
	size_t size = (size_t)kvm->nested_size;
	bool active;
	int r;

	if (size == 0)
		return 0;
	memset(nested, 0, size);
	nested->size = (uint32_t)size;
	r = kvm_ioctl(vcpu->fd, KVM_GET_NESTED_STATE, nested);
	if (r == -EINVAL) /* this guest's processor cannot virtualize */
		return 0;
	if (r < 0)
		return decant_error_set(err, r, "vCPU %u: KVM_GET_NESTED_STATE: %s", vcpu->index, strerror(-r));
	active = (nested->flags & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING)) != 0;
	if (nested->format == KVM_STATE_NESTED_FORMAT_VMX)
		active |= nested->hdr.vmx.vmxon_pa != VMX_NO_VMXON;
	else
		active |= !(nested->flags & KVM_STATE_NESTED_GIF_SET);
	if (active)
		return decant_error_set(
			err, -EOPNOTSUPP,
			"vCPU %u: the guest uses nested virtualisation, which is not carried over; stop the "
			"guests inside it and unload its hypervisor",
			vcpu->index);
	return 0;
}

int kvm_vcpu_state_save(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_state_writer *state,
			struct decant_error *err)
{
	int r = mp_state_get(kvm, vcpu);

	if (r < 0)
		return decant_error_set(err, r, "vCPU %u: KVM_GET_MP_STATE: %s", vcpu->index, strerror(-r));
	if (vcpu->cpuid->nent == 0)
		r = kvm_cpuid_read(vcpu, err);
	if (r >= 0)
		r = vcpu_refuse_nested(kvm, vcpu, err);
	for (size_t i = 0; r >= 0 && i < VCPU_RECORDS; i++) {
		const struct vcpu_record *record = &vcpu_records[i];

		r = record->get(kvm, vcpu);
		if (r < 0)
			return decant_error_set(err, r, "vCPU %u: read %s: %s", vcpu->index, record->what,
						strerror(-r));
		if (r > 0)
			r = decant_state_put(state, record->name, vcpu->index, RECORD_VERSION, kvm->scratch,
					     (size_t)r, err);
	}
	return r < 0 ? r : 0;
}

/* 1 with the record, 0 if it may be missing and is, -errno */
static int vcpu_record_find(const struct vcpu_record *record, const struct kvm_vcpu *vcpu,
			    struct decant_state_reader *state, struct decant_state_record *found,
			    struct decant_error *err)
{
	int r = decant_state_get(state, record->name, vcpu->index, RECORD_VERSION, found, err);
	bool fits;

	if (r == -ENOENT && record->optional) {
		decant_error_clear(err);
		return 0;
	}
	if (r == -ENOENT)
		return decant_error_set(err, -EPROTO, "record %s of vCPU %u is missing", record->name,
					vcpu->index);
	if (r < 0)
		return r;
	fits = record->many ? found->length % record->unit == 0 && found->length > 0
			    : found->length == record->unit;
	if (!fits)
		return decant_error_set(err, -EPROTO, "record %s of vCPU %u: %zu bytes", record->name, vcpu->index,
					found->length);
	return 1;
}

int kvm_vcpu_state_load(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_state_reader *state,
			struct decant_error *err)
{
	vcpu->timers = (struct kvm_timers){ .aside = true };
	for (size_t i = 0; i < VCPU_RECORDS; i++) {
		struct decant_state_record found;
		int r = vcpu_record_find(&vcpu_records[i], vcpu, state, &found, err);

		if (r > 0)
			r = vcpu_records[i].put(kvm, vcpu, found.data, found.length, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int kvm_vcpu_state_check(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_state_reader *state,
			 struct decant_error *err)
{
	for (size_t i = 0; i < VCPU_RECORDS; i++) {
		const struct vcpu_record *record = &vcpu_records[i];
		struct decant_state_record found = { 0 };
		int there = vcpu_record_find(record, vcpu, state, &found, err);
		int length = there < 0 ? there : record->get(kvm, vcpu);
		bool same;

		if (there < 0)
			return there;
		if (length < 0)
			return decant_error_set(err, length, "vCPU %u: read %s: %s", vcpu->index, record->what,
						strerror(-length));
		if (there == 0 || length == 0)
			same = (there == 0) == (length == 0);
		else if (record->same != NULL)
			same = record->same(kvm, found.data, found.length, (size_t)length);
		else
			same = found.length == (size_t)length &&
			       memcmp(found.data, kvm->scratch, found.length) == 0;
		if (!same)
			return decant_error_set(err, -EOPNOTSUPP,
						"vCPU %u: %s: this host's KVM makes something else of the guest's",
						vcpu->index, record->what);
	}
	return 0;
}

int kvm_vcpu_timers_arm(struct kvm_vcpu *vcpu, struct decant_error *err)
{
	struct kvm_lapic_state lapic;
	int r = 0;

	if (!vcpu->timers.aside)
		return 0;
	if (vcpu->timers.lapic_initial != 0) {
		r = kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic);
		if (r < 0)
			return vcpu_refused(vcpu, "KVM_GET_LAPIC", r, err);
		lapic_timer_set(&lapic, vcpu->timers.lapic_initial, vcpu->timers.lapic_current);
		r = vcpu_write(vcpu, KVM_SET_LAPIC, "KVM_SET_LAPIC", &lapic, err);
		if (r < 0)
			return r;
	}
	if (vcpu->timers.tsc_deadline != 0)
		r = kvm_msr_set(vcpu->fd, MSR_TSC_DEADLINE, vcpu->timers.tsc_deadline);
	if (r < 0)
		return vcpu_refused(vcpu, "KVM_SET_MSRS: TSC deadline", r, err);
	vcpu->timers.aside = false;
	return 0;
}
