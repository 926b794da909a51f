/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * decant/kvm.h -- libdecant-kvm: the glue for VMMs on KVM
 *
 * Wraps the descriptors that the VMM has opened; owns none of them. It keeps the memory slots, their dirty tracking and
 * the save and load of all that KVM holds of a VM. What it does not do: run vCPUs, and device models.
 */
#ifndef DECANT_KVM_H
#define DECANT_KVM_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/migration.h>
#include <decant/state.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum decant_kvm_dirty {
	DECANT_KVM_DIRTY_AUTO, /* the log */
	DECANT_KVM_DIRTY_LOG,
	DECANT_KVM_DIRTY_RING,
};

struct decant_kvm_opts {
	size_t size;
	int kvm_fd; /* /dev/kvm */
	int vm_fd;  /* KVM_CREATE_VM; no vCPU made yet (the ring must be enabled before) */
	enum decant_kvm_dirty dirty;
	uint32_t ring_entries; /* per vCPU, a power of two; 0: 65536, less if the host allows less */
	struct decant_log log;
};

#define DECANT_KVM_OPTS_INIT                           \
	{                                              \
		.size = sizeof(struct decant_kvm_opts) \
	}

struct decant_kvm;

/*
 * decant_kvm_new() -- look at what the host's KVM can do and enable what the glue uses
 *
 * Returns 0, -EOPNOTSUPP (which capability is missing), -EINVAL, -ENOMEM.
 */
int decant_kvm_new(const struct decant_kvm_opts *opts, struct decant_kvm **kvm, struct decant_error *err);

/*
 * decant_kvm_add_memory() -- one memory slot per region of @memory, slot number = region index
 *
 * @memory must outlive the glue. Returns 0 or KVM's error with the region's name.
 */
int decant_kvm_add_memory(struct decant_kvm *kvm, const struct decant_memory *memory, struct decant_error *err);

/*
 * decant_kvm_add_vcpu() -- tell of vCPU @index (0, 1, ... in order) and its KVM_CREATE_VCPU descriptor; maps its dirty ring
 *
 * Notes CPUID and TSC frequency, so set them before (decant_kvm_shape_load() sets its own): an ioctl on a vCPU waits until it leaves
 * KVM_RUN, and decant_kvm_shape_save() comes while the guest runs. A vCPU added without CPUID is asked there, once.
 */
int decant_kvm_add_vcpu(struct decant_kvm *kvm, uint32_t index, int vcpu_fd, struct decant_error *err);

/*
 * decant_kvm_shape_save() -- the records an equal VM is built from: number of vCPUs, CPUID, TSC frequency, MSRs in use
 * decant_kvm_shape_load() -- on a fresh VM with its vCPUs added: check that this host can take it, and set CPUID and TSC kHz
 *
 * load returns -EOPNOTSUPP and names the CPUID leaf and bits, the MSR, or the frequency that this host lacks.
 */
int decant_kvm_shape_save(struct decant_kvm *kvm, struct decant_state_writer *shape, struct decant_error *err);
int decant_kvm_shape_load(struct decant_kvm *kvm, struct decant_state_reader *shape, struct decant_error *err);

/*
 * decant_kvm_dirty_*() -- dirty tracking, with the semantics of struct decant_vmm_ops
 *
 * With the ring, a vCPU that leaves with KVM_EXIT_DIRTY_RING_FULL must call decant_kvm_ring_full() before it enters again. While
 * tracking is on a thread of the glue ("decant-ring") keeps the rings from filling. A KVM that emulates its guests can still
 * run past a ring: fetch is then -EOVERFLOW, for ever, the guest goes on, and the VM needs the log.
 */
int decant_kvm_dirty_start(struct decant_kvm *kvm, struct decant_error *err);
int decant_kvm_dirty_fetch(struct decant_kvm *kvm, uint32_t region, uint64_t *bitmap, uint64_t pages,
			   struct decant_error *err);
int decant_kvm_dirty_clear(struct decant_kvm *kvm, uint32_t region, uint64_t first, uint64_t pages,
			   const uint64_t *bitmap, struct decant_error *err);
void decant_kvm_dirty_stop(struct decant_kvm *kvm);

/* decant_kvm_ring_full() -- collect the rings so that they have room again; any vCPU's thread */
int decant_kvm_ring_full(struct decant_kvm *kvm, struct decant_error *err);

/*
 * decant_kvm_vcpu_dirtied() -- decant_vmm_ops.vcpu_dirtied: the entries of the vCPU's dirty ring, since the start of tracking
 *
 * As of the last collection; a fetch is one. -EOPNOTSUPP with the dirty log, which does not know who has written. -ENOENT: no such vCPU.
 */
int decant_kvm_vcpu_dirtied(struct decant_kvm *kvm, uint32_t vcpu, uint64_t *pages, struct decant_error *err);

/*
 * Slices of time, for decant_vmm_ops.throttle: a thread ("decant-slices", there while any vCPU is slowed) that tells the VMM, at the
 * end of each vCPU's slice, to keep it out of KVM_RUN for a while. A slice and the hold after it take 10 ms together, more where the
 * slice would be shorter than half a millisecond: 50 ms at the most. vCPUs that are slowed one right after the other have their
 * slices at the same time, so that one that waits for a lock of another seldom does so while that one is held.
 */
struct decant_kvm_slices;

struct decant_kvm_slices_opts {
	size_t size;
	uint32_t vcpus;
	/*
	 * Make @vcpu leave KVM_RUN and not enter it again for @ns; 0: it may enter now. Returns at once, never fails; a vCPU that is held, or
	 * paused, is not disturbed by it. From the thread of the slices, or the one in decant_kvm_slices_set(), one at a time; must
	 * not call back into the slices. A pause must end a hold: a VMM that stops its vCPUs does not wait for its end.
	 */
	void (*hold)(void *opaque, uint32_t vcpu, uint64_t ns);
	void *opaque;
};

#define DECANT_KVM_SLICES_OPTS_INIT                           \
	{                                                     \
		.size = sizeof(struct decant_kvm_slices_opts) \
	}

/* decant_kvm_slices_new() -- nothing is slowed yet, and no thread made. 0, -EINVAL, -ENOMEM */
int decant_kvm_slices_new(const struct decant_kvm_slices_opts *opts, struct decant_kvm_slices **slices,
			  struct decant_error *err);

/*
 * decant_kvm_slices_set() -- from now on keep @vcpu out of KVM_RUN for @share_permille thousandths of its time, 990 at most
 *
 * 0: let it run; when the call has returned it is held no more. One at a time. 0, -EINVAL, or why there can be no thread.
 */
int decant_kvm_slices_set(struct decant_kvm_slices *slices, uint32_t vcpu, uint32_t share_permille,
			  struct decant_error *err);

/* decant_kvm_slices_free() -- lets all vCPUs run; NULL is fine. Before the vCPUs are gone. */
void decant_kvm_slices_free(struct decant_kvm_slices *slices);

/*
 * decant_kvm_mark() -- a device (or the VMM itself) has written [@guest_address, + @length)
 *
 * Call after the write has finished. Any thread, lock-free, cheap when no tracking is on. Addresses outside memory are ignored.
 */
void decant_kvm_mark(struct decant_kvm *kvm, uint64_t guest_address, uint64_t length);

/*
 * decant_kvm_state_save() -- all that KVM holds: per vCPU and per VM, in the records of docs/kvm-state.md. vCPUs are paused,
 * and have completed their last access (KVM_RUN with immediate_exit set does that).
 *
 * -EOPNOTSUPP: a guest with nested virtualisation active.
 *
 * decant_kvm_state_load() -- restores into a VM of equal shape, in the order of docs/kvm-state.md, and checks each value
 * that KVM lets one read back. Repeatable. Clocks are kept aside until decant_kvm_clock_start().
 */
int decant_kvm_state_save(struct decant_kvm *kvm, struct decant_state_writer *state, struct decant_error *err);
int decant_kvm_state_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err);

/*
 * decant_kvm_clock_stop() -- note guest TSC and kvmclock at the pause; call when all vCPUs have left KVM_RUN
 * decant_kvm_clock_start() -- set them, advanced by the time since that stop; call just before the vCPUs enter
 *
 * @handover relates the source's clock to this host's; NULL: the VM was loaded on the host that saved it. Between a stop and
 * a resume at the source nothing needs to be called.
 */
int decant_kvm_clock_stop(struct decant_kvm *kvm, struct decant_error *err);
int decant_kvm_clock_start(struct decant_kvm *kvm, const struct decant_handover *handover,
			   struct decant_error *err);

/* What this host's KVM offers, for decant probe. */
struct decant_kvm_caps {
	size_t size;
	bool usable;    /* a VM and a vCPU could be made */
	bool long_mode; /* a 64-bit guest really runs (tried, not asked) */
	bool manual_protect;
	bool initially_all_set;
	uint32_t ring_max; /* entries per vCPU, 0: no ring */
	bool xsave2;
	bool clock_realtime; /* KVM_GET_CLOCK ties kvmclock to CLOCK_REALTIME */
	bool tsc_control;
	bool tsc_offset;
	bool nested_state;
	uint32_t vcpus_max;
};

/* decant_kvm_probe() -- try it out; @kvm_fd as in the options. Returns 0 with @caps filled, or why KVM cannot be used. */
int decant_kvm_probe(int kvm_fd, struct decant_kvm_caps *caps, struct decant_error *err);

void decant_kvm_free(struct decant_kvm *kvm);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
