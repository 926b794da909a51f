/* SPDX-License-Identifier: BSD-2-Clause */
/* kvm.h -- the glue's object, shared by the files of this folder */
#ifndef KVM_KVM_H
#define KVM_KVM_H

#include <decant/kvm.h>
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

struct kvm_dirty_ops;

/*
 * What counts down by itself in KVM. A load leaves these disarmed, or the interrupt would come before the VM runs;
 * decant_kvm_clock_start() arms them. Until then a save gives these values and not KVM's.
 */
struct kvm_timers {
	bool aside;
	uint32_t lapic_initial; /* TMICT */
	uint32_t lapic_current; /* TMCCT */
	bool has_deadline;
	uint64_t tsc_deadline;
};

struct kvm_vcpu {
	uint32_t index;
	int fd;
	/*
	 * As it was when the vCPU was added, or as decant_kvm_shape_load() has set it: an ioctl on a vCPU waits
	 * until it leaves KVM_RUN, and the shape is saved while the guest runs.
	 */
	struct kvm_cpuid2 *cpuid;
	uint32_t tsc_khz;
	uint64_t *msr_reset; /* value of each of decant_kvm.msrs in the fresh vCPU, 0 where it could not be read */

	/* under decant_kvm.ring_lock */
	struct kvm_dirty_gfn *ring;
	uint32_t ring_next;  /* first entry not collected yet; counts on for ever */
	uint32_t ring_taken; /* by the last collection */
	uint64_t dirtied;    /* entries collected since tracking began */

	/* vCPU paused */
	struct kvm_timers timers;
	uint64_t tsc; /* the guest's at decant_kvm.clock.monotonic_ns */
};

/* One memory slot: slot number = index of the region. */
struct kvm_memslot {
	const struct decant_region *region;
	uint64_t pages;          /* of 4 KiB */
	uint64_t *harvest;       /* log: KVM's answer; ring: collected and not fetched yet (under ring_lock) */
	_Atomic uint64_t *marks; /* set with release by whoever wrote, taken with acquire by the fetch */
};

struct kvm_clock {
	bool captured;         /* by stop or load, until the next start */
	uint64_t monotonic_ns; /* the CLOCK_MONOTONIC of the host that captured; the rest is valid for this instant */
	uint64_t kvmclock_ns;
};

struct decant_kvm {
	/* set at creation, read-only after */
	int kvm_fd;
	int vm_fd;
	struct decant_log log;
	bool manual_protect;
	bool initially_all_set;
	bool sregs2;
	bool clock_realtime;
	uint32_t nested_size;            /* bytes of KVM_GET_NESTED_STATE, 0: none */
	struct kvm_nested_state *nested; /* of that size; only ever looked at */
	uint32_t xsave_size;
	uint32_t ring_entries; /* 0: no ring */
	const struct kvm_dirty_ops *dirty;
	uint32_t *msrs; /* what a state holds, less what this host's guests cannot read */
	uint32_t msr_count;

	/* set while the VM is built, read-only after */
	uint32_t slot_count;
	struct kvm_memslot *slots;
	uint32_t vcpu_count;
	uint32_t host_tsc_khz; /* of a fresh vCPU */
	struct kvm_vcpu **vcpus;

	/* decant_kvm_mark(), any thread; partner: the fence in decant_kvm_dirty_start() */
	atomic_bool marking;
	/* the migration's thread only */
	bool tracking;
	pthread_t ring_keeper;

	/* protects the rings, what follows and, with rings, each slot's harvest */
	pthread_mutex_t ring_lock;
	bool ring_logging;
	bool ring_overrun; /* KVM has run over a ring once: its index and ours are apart */
	bool ring_keeping;
	uint64_t ring_keep_ns; /* how often the keeper looks */
	pthread_cond_t ring_keep;

	/* vCPUs paused */
	struct kvm_clock clock;
	void *scratch; /* one record of a vCPU on its way; allocated once, a save inside the pause allocates little */
	bool pit_aside;
	uint8_t pit_mode; /* of channel 0, while pit_aside */
};

/* ioctl(2) in the house's convention: the result, or -errno */
static inline int kvm_ioctl(int fd, unsigned long request, const void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

/* the same for requests whose argument is a number */
static inline int kvm_ioctl_value(int fd, unsigned long request, unsigned long value)
{
	int result = ioctl(fd, request, value);

	return result < 0 ? -errno : result;
}

/* kvm_extension() -- KVM_CHECK_EXTENSION; 0 when it is not there */
static inline int kvm_extension(int fd, unsigned long capability)
{
	int result = kvm_ioctl_value(fd, KVM_CHECK_EXTENSION, capability);

	return result < 0 ? 0 : result;
}

#endif
