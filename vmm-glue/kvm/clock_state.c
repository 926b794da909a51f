/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock_state.c -- guest TSC and kvmclock, which go on counting while the VM travels
 *
 * At the pause both are noted for one instant of CLOCK_MONOTONIC. At the start the destination takes that
 * instant into its own time by the hand-over's offset, and sets both to what was noted plus the time since then.
 * The guest sees a pause as long as the real one.
 *
 * An instant is tied to the processor's TSC by reading CLOCK_MONOTONIC before and after it, several times, and
 * taking the narrowest. All else follows from the TSC alone: KVM_GET_CLOCK tells the TSC at which its answer was
 * true, and a vCPU's TSC is the host's (scaled where KVM scales) plus the vCPU's offset. So the vCPUs keep their
 * differences to the tick. Where KVM does not tell, the ioctl itself is timed in the same way. The capture takes
 * the earlier end of the narrowest pair, the start the later one: what error is left makes the pause seen by the
 * guest longer, never shorter.
 *
 * Setting: KVM_SET_CLOCK with KVM_CLOCK_REALTIME and the realtime of the very instant, so that KVM adds the time
 * that its own call took. The source's realtime is not used: the hand-over's offset has a known error, two
 * hosts' wall clocks have not. If somebody steps the wall clock in that very moment KVM adds the step, too; it shows in
 * how far the wall clock has gone beside CLOCK_MONOTONIC, and then it is set once more.
 *
 * A KVM may run guests on the host's bare TSC and ignore the offset that it lets one set. Then the guest's TSC
 * is right only by luck; it is refused if it would run backwards, and said if it jumps ahead.
 *
 * On a host whose own TSC is unstable KVM sets each vCPU's offset anew whenever it loads the vCPU, so that the
 * guest goes on where it left, and lets it catch up with real time when it enters. What can be read then is the
 * value of the last exit, for each vCPU its own; the newest is taken for all. Offsets are set in the same way,
 * and KVM catches up from there.
 */
#include "kvm/clock_state.h"

#include "kvm/msr.h"
#include "util/clock.h"
#include "util/log.h"

#include <string.h>
#include <x86intrin.h>

#define CLOCK_RECORD "kvm.clock"
#define RECORD_VERSION 1u
#define CLOCK_TRIES 16
#define TSC_JUMP_NS (1 * NSEC_PER_MSEC) /* a difference that is worth a word */
#define STEP_NS (1 * NSEC_PER_MSEC)     /* two clocks of one host do not part so far by themselves */

/* The record as it travels. Each vCPU's TSC is a record of its own. */
struct clock_record {
	uint64_t monotonic_ns;
	uint64_t kvmclock_ns;
};

_Static_assert(sizeof(struct clock_record) == 16, "travels as is");

/* One instant: the processor's TSC, and CLOCK_MONOTONIC just before and just after it. */
struct clock_tie {
	uint64_t tsc;
	uint64_t before_ns;
	uint64_t after_ns;
};

static struct clock_tie clock_tie_now(void)
{
	struct clock_tie best = { .after_ns = UINT64_MAX };

	for (int i = 0; i < CLOCK_TRIES; i++) {
		struct clock_tie tie;

		tie.before_ns = clock_now_ns();
		_mm_lfence();
		tie.tsc = __rdtsc();
		_mm_lfence();
		tie.after_ns = clock_now_ns();
		if (tie.after_ns - tie.before_ns < best.after_ns - best.before_ns)
			best = tie;
	}
	return best;
}

static uint64_t clock_realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static uint64_t clock_ticks(uint64_t ns, uint32_t khz)
{
	return (uint64_t)((unsigned __int128)ns * khz / 1000000u);
}

/* @ticks may be negative: the instant was earlier */
static int64_t clock_ns_of_ticks(int64_t ticks, uint32_t khz)
{
	return (int64_t)((__int128)ticks * 1000000 / khz);
}

static int tsc_offset(int vcpu_fd, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return kvm_ioctl(vcpu_fd, request, &attr);
}

bool kvm_tsc_drifts(int vcpu_fd)
{
	uint64_t first, second;

	return tsc_offset(vcpu_fd, KVM_GET_DEVICE_ATTR, &first) == 0 &&
	       tsc_offset(vcpu_fd, KVM_GET_DEVICE_ATTR, &second) == 0 && first != second;
}

bool kvm_tsc_offset_works(int vcpu_fd)
{
	uint64_t old, now, other;

	if (kvm_tsc_drifts(vcpu_fd))
		return true;
	if (tsc_offset(vcpu_fd, KVM_GET_DEVICE_ATTR, &old) < 0)
		return false;
	other = old ^ 0x1000;
	if (tsc_offset(vcpu_fd, KVM_SET_DEVICE_ATTR, &other) < 0)
		return false;
	if (tsc_offset(vcpu_fd, KVM_GET_DEVICE_ATTR, &now) < 0)
		return false;
	tsc_offset(vcpu_fd, KVM_SET_DEVICE_ATTR, &old);
	return now == other;
}

/*
 * The part of a vCPU's TSC that is the same for all vCPUs, at the instant of @tie: what the guest would read if
 * its offset were 0. It is the host's TSC unless KVM scales; and that shows, because then the value does not lie
 * between two readings.
 */
static int tsc_unshifted(const struct kvm_vcpu *vcpu, const struct clock_tie *tie, uint64_t *tsc)
{
	uint64_t offset, value, before, after;
	int r = tsc_offset(vcpu->fd, KVM_GET_DEVICE_ATTR, &offset);

	if (r < 0)
		return r;
	before = __rdtsc();
	r = kvm_msr_get(vcpu->fd, MSR_TSC, &value);
	after = __rdtsc();
	if (r <= 0)
		return r < 0 ? r : -EOPNOTSUPP;
	value -= offset;
	if (value - before <= after - before || kvm_tsc_drifts(vcpu->fd))
		*tsc = tie->tsc;
	else
		*tsc = value - clock_ticks(clock_now_ns() - tie->after_ns, vcpu->tsc_khz);
	return 0;
}

/* Without the offset's attribute: the guest's TSC now, taken back to the instant of @tie. */
static int tsc_read_msr(const struct kvm_vcpu *vcpu, const struct clock_tie *tie, uint64_t *tsc)
{
	uint64_t value;
	int r = kvm_msr_get(vcpu->fd, MSR_TSC, &value);

	if (r <= 0)
		return r < 0 ? r : -EOPNOTSUPP;
	*tsc = value - clock_ticks(clock_now_ns() - tie->before_ns, vcpu->tsc_khz);
	return 0;
}

/* On a host whose TSC is unstable: the newest value that any vCPU has seen, for all. */
static int tsc_capture_newest(struct decant_kvm *kvm)
{
	uint64_t newest = 0;

	for (uint32_t i = 0; i < kvm->vcpu_count; i++) {
		uint64_t value = 0;
		int r = kvm_msr_get(kvm->vcpus[i]->fd, MSR_TSC, &value);

		if (r <= 0)
			return r < 0 ? r : -EOPNOTSUPP;
		newest = value > newest ? value : newest;
	}
	for (uint32_t i = 0; i < kvm->vcpu_count; i++)
		kvm->vcpus[i]->tsc = newest;
	return 0;
}

static int tsc_capture_each(struct decant_kvm *kvm, const struct clock_tie *tie)
{
	uint64_t unshifted = 0;
	bool attr = tsc_unshifted(kvm->vcpus[0], tie, &unshifted) == 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++) {
		struct kvm_vcpu *vcpu = kvm->vcpus[i];
		uint64_t offset = 0;

		if (attr) {
			r = tsc_offset(vcpu->fd, KVM_GET_DEVICE_ATTR, &offset);
			vcpu->tsc = unshifted + offset;
		} else {
			r = tsc_read_msr(vcpu, tie, &vcpu->tsc);
		}
	}
	return r;
}

static int tsc_capture(struct decant_kvm *kvm, const struct clock_tie *tie, struct decant_error *err)
{
	int r = 0;

	if (kvm->vcpu_count > 0)
		r = kvm_tsc_drifts(kvm->vcpus[0]->fd) ? tsc_capture_newest(kvm) : tsc_capture_each(kvm, tie);
	return r < 0 ? decant_error_set(err, r, "read the vCPUs' TSC: %s", strerror(-r)) : 0;
}

/* kvmclock at the instant of @tie */
static int kvmclock_capture(struct decant_kvm *kvm, const struct clock_tie *tie, uint64_t *ns,
			    struct decant_error *err)
{
	uint64_t narrowest = UINT64_MAX;

	for (int i = 0; i < CLOCK_TRIES; i++) {
		struct kvm_clock_data data = { 0 };
		uint64_t before = clock_now_ns();
		int r = kvm_ioctl(kvm->vm_fd, KVM_GET_CLOCK, &data);
		uint64_t after = clock_now_ns();

		if (r < 0)
			return decant_error_set(err, r, "KVM_GET_CLOCK: %s", strerror(-r));
		if ((data.flags & KVM_CLOCK_HOST_TSC) && kvm->host_tsc_khz != 0) {
			*ns = data.clock -
			      (uint64_t)clock_ns_of_ticks((int64_t)(data.host_tsc - tie->tsc), kvm->host_tsc_khz);
			return 0;
		}
		if (after - before >= narrowest)
			continue;
		narrowest = after - before;
		*ns = data.clock - (before - tie->before_ns);
	}
	return 0;
}

int decant_kvm_clock_stop(struct decant_kvm *kvm, struct decant_error *err)
{
	struct clock_tie tie = clock_tie_now();
	uint64_t kvmclock_ns = 0;
	int r = kvmclock_capture(kvm, &tie, &kvmclock_ns, err);

	if (r == 0)
		r = tsc_capture(kvm, &tie, err);
	if (r < 0)
		return r;
	kvm->clock.captured = true;
	kvm->clock.monotonic_ns = tie.before_ns;
	kvm->clock.kvmclock_ns = kvmclock_ns;
	return 0;
}

int kvm_clock_state_save(struct decant_kvm *kvm, struct decant_state_writer *state, struct decant_error *err)
{
	struct clock_record record = {
		.monotonic_ns = kvm->clock.monotonic_ns,
		.kvmclock_ns = kvm->clock.kvmclock_ns,
	};

	return decant_state_put(state, CLOCK_RECORD, 0, RECORD_VERSION, &record, sizeof(record), err);
}

int kvm_clock_state_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err)
{
	struct decant_state_record found;
	struct clock_record record;
	struct kvm_clock_data data = { 0 };
	int r = decant_state_get(state, CLOCK_RECORD, 0, RECORD_VERSION, &found, err);

	if (r == -ENOENT)
		return decant_error_set(err, -EPROTO, "record " CLOCK_RECORD " is missing");
	if (r < 0)
		return r;
	if (found.length != sizeof(record))
		return decant_error_set(err, -EPROTO, "record " CLOCK_RECORD ": %zu bytes", found.length);
	memcpy(&record, found.data, sizeof(record));
	data.clock = record.kvmclock_ns;
	r = kvm_ioctl(kvm->vm_fd, KVM_SET_CLOCK, &data);
	if (r < 0)
		return decant_error_set(err, r, "KVM_SET_CLOCK: %s", strerror(-r));
	kvm->clock.captured = true;
	kvm->clock.monotonic_ns = record.monotonic_ns;
	kvm->clock.kvmclock_ns = record.kvmclock_ns;
	return 0;
}

int kvm_clock_state_check(struct decant_kvm *kvm, struct decant_error *err)
{
	for (uint32_t i = 0; i < kvm->vcpu_count; i++) {
		const struct kvm_vcpu *vcpu = kvm->vcpus[i];
		uint64_t now = 0;
		uint64_t offset;

		/* without the attribute IA32_TSC itself is written, which every KVM knows that has no attribute */
		if (tsc_offset(vcpu->fd, KVM_GET_DEVICE_ATTR, &offset) < 0 || kvm_tsc_offset_works(vcpu->fd))
			continue;
		if (kvm_msr_get(vcpu->fd, MSR_TSC, &now) != 1 || now >= vcpu->tsc)
			continue;
		return decant_error_set(err, -EOPNOTSUPP,
					"vCPU %u: this host's KVM gives guests the host's own TSC, which is %llu ms "
					"behind the guest's: it would see time run backwards",
					i, (unsigned long long)((vcpu->tsc - now) / vcpu->tsc_khz));
	}
	return 0;
}

static void tsc_say_jump(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu, int64_t ticks)
{
	int64_t ns = clock_ns_of_ticks(ticks, vcpu->tsc_khz);

	if (ns < (int64_t)TSC_JUMP_NS && ns > -(int64_t)TSC_JUMP_NS)
		return;
	log_warning(
		&kvm->log,
		"kvm: vCPU %u: this host's KVM ignores TSC offsets: the guest's TSC jumps %s by %lld ms more than the pause",
		vcpu->index, ns > 0 ? "ahead" : "back", (long long)((ns > 0 ? ns : -ns) / (int64_t)NSEC_PER_MSEC));
}

/* @target at the instant of @tie */
static int tsc_set_msr(const struct kvm_vcpu *vcpu, const struct clock_tie *tie, uint64_t target)
{
	int r = kvm_msr_set(vcpu->fd, MSR_TSC,
			    target + clock_ticks(clock_now_ns() - tie->before_ns, vcpu->tsc_khz));

	return r == 0 ? -EOPNOTSUPP : (r < 0 ? r : 0);
}

static int tsc_set_offset(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu, uint64_t unshifted,
			  uint64_t target)
{
	uint64_t offset = target - unshifted;
	uint64_t now = offset;
	int r = tsc_offset(vcpu->fd, KVM_SET_DEVICE_ATTR, &offset);

	if (r == 0)
		r = tsc_offset(vcpu->fd, KVM_GET_DEVICE_ATTR, &now);
	if (r == 0 && now != offset && !kvm_tsc_drifts(vcpu->fd))
		tsc_say_jump(kvm, vcpu, (int64_t)(now - offset));
	return r;
}

static int tsc_start(struct decant_kvm *kvm, const struct clock_tie *tie, uint64_t elapsed_ns,
		     struct decant_error *err)
{
	uint64_t unshifted = 0;
	bool attr = kvm->vcpu_count > 0 && tsc_unshifted(kvm->vcpus[0], tie, &unshifted) == 0;

	for (uint32_t i = 0; i < kvm->vcpu_count; i++) {
		const struct kvm_vcpu *vcpu = kvm->vcpus[i];
		uint64_t target = vcpu->tsc + clock_ticks(elapsed_ns, vcpu->tsc_khz);
		int r = attr ? tsc_set_offset(kvm, vcpu, unshifted, target) : tsc_set_msr(vcpu, tie, target);

		if (r < 0)
			return decant_error_set(err, r, "vCPU %u: set the TSC: %s", i, strerror(-r));
	}
	return 0;
}

/* 0: set; 1: set, and it is wrong by as much as the wall clock was stepped meanwhile */
static int kvmclock_set(const struct decant_kvm *kvm, uint64_t start_ns, bool realtime)
{
	struct kvm_clock_data data = { 0 };
	uint64_t now_ns;
	int64_t stepped;
	int r;

	/* realtime first: KVM adds what passes from there to its own reading, this thread's delay included */
	data.realtime = clock_realtime_ns();
	now_ns = clock_now_ns();
	if (realtime)
		data.flags = KVM_CLOCK_REALTIME;
	data.clock = kvm->clock.kvmclock_ns + (now_ns > start_ns ? now_ns - start_ns : 0);
	r = kvm_ioctl(kvm->vm_fd, KVM_SET_CLOCK, &data);
	if (r < 0)
		return r;
	stepped = (int64_t)(clock_realtime_ns() - data.realtime - (clock_now_ns() - now_ns));
	return realtime && (stepped > (int64_t)STEP_NS || stepped < -(int64_t)STEP_NS);
}

static int kvmclock_start(struct decant_kvm *kvm, int64_t clock_offset_ns, struct decant_error *err)
{
	const uint64_t start_ns = kvm->clock.monotonic_ns + (uint64_t)clock_offset_ns;
	int r = 1;

	for (int i = 0; r > 0 && i < CLOCK_TRIES; i++)
		r = kvmclock_set(kvm, start_ns, kvm->clock_realtime);
	if (r > 0)
		r = kvmclock_set(kvm, start_ns, false);
	return r < 0 ? decant_error_set(err, r, "KVM_SET_CLOCK: %s", strerror(-r)) : 0;
}

int kvm_clock_start(struct decant_kvm *kvm, const struct decant_handover *handover, struct decant_error *err)
{
	int64_t clock_offset_ns = handover != NULL ? handover->clock_offset_ns : 0;
	uint64_t start_ns = kvm->clock.monotonic_ns + (uint64_t)clock_offset_ns;
	struct clock_tie tie;
	int r;

	r = kvmclock_start(kvm, clock_offset_ns, err);
	if (r < 0)
		return r;
	tie = clock_tie_now();
	r = tsc_start(kvm, &tie, tie.after_ns > start_ns ? tie.after_ns - start_ns : 0, err);
	if (r < 0)
		return r;
	/* tells a guest with kvmclock that it was stopped, so that its watchdogs forgive; others refuse it */
	for (uint32_t i = 0; i < kvm->vcpu_count; i++)
		kvm_ioctl_value(kvm->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, 0);
	return 0;
}
