/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty_ring.c -- dirty pages by one ring per vCPU
 *
 * A vCPU that dirties a page pushes (slot, page) and marks the entry DIRTY. The collector takes entries in
 * order, marks them RESET, and then asks KVM_RESET_DIRTY_RINGS to protect those pages again.
 *
 * Between the push and the reset the page is writable and not logged a second time. So the order is: take the
 * entry, reset, and only then let anyone read the page. Bits that were collected wait in the slot's harvest
 * until they are fetched, because a ring holds entries of all slots, and because a full ring is emptied by
 * whoever gets there first. One lock makes collecting and resetting one step, or a fetch could return a bit that
 * another thread has taken and not reset yet.
 *
 * A fetch collects from every ring, always: with the vCPUs out of KVM_RUN (where the processor's own log is
 * flushed too) it is therefore complete. What was dirty before the start is not reported.
 *
 * KVM keeps a reserve of entries and leaves KVM_RUN before a ring is full. A KVM that emulates its guests pushes
 * an entry for every write and may emulate many instructions between two looks at the ring: then it runs past
 * the reserve and over entries that nobody has taken (it only warns in the kernel's log), whose pages are
 * neither reported nor protected. So a keeper thread empties the rings long before they are full, which also
 * spares ordinary vCPUs the exit. And a ring that was run over is recognised: all of its entries were waiting at
 * once, or those given back were overwritten before KVM got to them and stay flagged. Its index and ours are
 * apart then, for ever, so tracking ends for this VM with an error; the guest goes on.
 */
#include "kvm/dirty_ring.h"

#include "kvm/memslot.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define RING_ENTRIES_DEFAULT 65536u
#define RING_ENTRIES_MIN 4096u /* what an overrun leaves behind must never fill the ring by itself */
#define RING_KEEP_NS (1 * NSEC_PER_MSEC)
#define RING_KEEP_PART 8 /* the keeper empties a ring that holds more than this part */

static size_t dirty_ring_bytes(const struct decant_kvm *kvm)
{
	return (size_t)kvm->ring_entries * sizeof(struct kvm_dirty_gfn);
}

static int dirty_ring_entries(uint32_t wanted, uint32_t most, uint32_t *entries, struct decant_error *err)
{
	if (wanted == 0) {
		*entries = RING_ENTRIES_DEFAULT < most ? RING_ENTRIES_DEFAULT : most;
		return 0;
	}
	if (wanted < RING_ENTRIES_MIN || (wanted & (wanted - 1)) != 0)
		return decant_error_set(err, -EINVAL, "dirty ring: %u entries: must be a power of two from %u on",
					wanted, RING_ENTRIES_MIN);
	*entries = wanted < most ? wanted : most;
	return 0;
}

int kvm_dirty_ring_new(struct decant_kvm *kvm, uint32_t entries, struct decant_error *err)
{
	struct kvm_enable_cap enable = { .cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL };
	int most = kvm_extension(kvm->vm_fd, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
	int r;

	if (most <= 0) {
		enable.cap = KVM_CAP_DIRTY_LOG_RING;
		most = kvm_extension(kvm->vm_fd, KVM_CAP_DIRTY_LOG_RING);
	}
	if (most <= 0)
		return decant_error_set(
			err, -EOPNOTSUPP,
			"dirty ring: this host's KVM has no KVM_CAP_DIRTY_LOG_RING; use the dirty log");
	r = dirty_ring_entries(entries, (uint32_t)most / sizeof(struct kvm_dirty_gfn), &kvm->ring_entries, err);
	if (r < 0)
		return r;
	kvm->ring_keep_ns = RING_KEEP_NS;
	enable.args[0] = dirty_ring_bytes(kvm);
	r = kvm_ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &enable);
	if (r < 0)
		return decant_error_set(err, r, "KVM_ENABLE_CAP: KVM_CAP_DIRTY_LOG_RING: %u entries: %s%s",
					kvm->ring_entries, strerror(-r),
					r == -EINVAL ? "; it must come before the first vCPU" : "");
	return 0;
}

int kvm_dirty_ring_map(struct decant_kvm *kvm, struct kvm_vcpu *vcpu, struct decant_error *err)
{
	off_t offset = (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * DECANT_PAGE_SIZE;
	void *ring = mmap(NULL, dirty_ring_bytes(kvm), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, offset);

	if (ring == MAP_FAILED) {
		int r = -errno;

		return decant_error_set(err, r, "dirty ring: vCPU %u: mmap of %u entries: %s", vcpu->index,
					kvm->ring_entries, strerror(-r));
	}
	vcpu->ring = ring;
	return 0;
}

void kvm_dirty_ring_unmap(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	if (vcpu->ring != NULL)
		munmap(vcpu->ring, dirty_ring_bytes(kvm));
	vcpu->ring = NULL;
}

static void dirty_ring_take(struct decant_kvm *kvm, uint32_t slot, uint64_t page)
{
	uint32_t index = slot & 0xffff; /* the upper half is the address space */

	if (index < kvm->slot_count && page < kvm->slots[index].pages)
		bitmap_set(kvm->slots[index].harvest, page);
}

static struct kvm_dirty_gfn *dirty_ring_entry(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu,
					      uint32_t at)
{
	return &vcpu->ring[at & (kvm->ring_entries - 1)];
}

/* acquire: KVM writes slot and page before it publishes the flag, and re-uses an entry only after it has cleared RESET */
static uint32_t dirty_ring_flags(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu, uint32_t at)
{
	return __atomic_load_n(&dirty_ring_entry(kvm, vcpu, at)->flags, __ATOMIC_ACQUIRE);
}

/* Called with ring_lock. Takes all that is in one ring now. */
static void dirty_ring_collect(struct decant_kvm *kvm, struct kvm_vcpu *vcpu)
{
	vcpu->ring_taken = 0;
	while (vcpu->ring_taken < kvm->ring_entries &&
	       (dirty_ring_flags(kvm, vcpu, vcpu->ring_next) & KVM_DIRTY_GFN_F_DIRTY)) {
		struct kvm_dirty_gfn *entry = dirty_ring_entry(kvm, vcpu, vcpu->ring_next);

		dirty_ring_take(kvm, entry->slot, entry->offset);
		/* release: from here on KVM may use the entry again */
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		vcpu->ring_next++;
		vcpu->ring_taken++;
	}
	vcpu->dirtied += vcpu->ring_taken;
}

static int dirty_ring_reset(struct decant_kvm *kvm, struct decant_error *err)
{
	int r;

	do {
		/* a signal ends it half-way, with what is left kept for the next call */
		r = kvm_ioctl_value(kvm->vm_fd, KVM_RESET_DIRTY_RINGS, 0);
	} while (r == -EINTR);
	return r < 0 ? decant_error_set(err, r, "KVM_RESET_DIRTY_RINGS: %s", strerror(-r)) : 0;
}

/* Called with ring_lock, after the reset. */
static bool dirty_ring_run_over(const struct decant_kvm *kvm, const struct kvm_vcpu *vcpu)
{
	if (vcpu->ring_taken == 0)
		return false;
	return vcpu->ring_taken == kvm->ring_entries ||
	       (dirty_ring_flags(kvm, vcpu, vcpu->ring_next - 1) & KVM_DIRTY_GFN_F_RESET);
}

/* Called with ring_lock. */
static int dirty_ring_collect_all(struct decant_kvm *kvm, struct decant_error *err)
{
	uint32_t any = 0;
	int r;

	for (uint32_t i = 0; i < kvm->vcpu_count; i++) {
		dirty_ring_collect(kvm, kvm->vcpus[i]);
		any |= kvm->vcpus[i]->ring_taken;
	}
	if (any == 0)
		return 0;
	r = dirty_ring_reset(kvm, err);
	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++)
		kvm->ring_overrun |= dirty_ring_run_over(kvm, kvm->vcpus[i]);
	return r;
}

static int dirty_ring_broken(struct decant_error *err)
{
	return decant_error_set(
		err, -EOVERFLOW,
		"dirty ring: this host's KVM ran over a ring, so writes went unnoticed; run the VM with the "
		"dirty log");
}

/* Called with ring_lock. With the logging off nothing is pushed any more: what is flagged anywhere can be given back. */
static void dirty_ring_give_up(struct decant_kvm *kvm)
{
	log_err(&kvm->log,
		"kvm: this host's KVM ran over a dirty ring: tracking ends; run the VM with the dirty log");
	kvm->ring_logging = false;
	if (kvm_memslot_log_all(kvm, false, NULL) < 0)
		return;
	for (uint32_t i = 0; i < kvm->vcpu_count; i++)
		for (uint32_t at = 0; at < kvm->ring_entries; at++)
			if (dirty_ring_flags(kvm, kvm->vcpus[i], at) & KVM_DIRTY_GFN_F_DIRTY)
				__atomic_store_n(&dirty_ring_entry(kvm, kvm->vcpus[i], at)->flags,
						 KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	dirty_ring_reset(kvm, NULL);
}

/* Called with ring_lock, tracking on. */
static int dirty_ring_harvest(struct decant_kvm *kvm, struct decant_error *err)
{
	int r;

	if (kvm->ring_overrun)
		return dirty_ring_broken(err);
	r = dirty_ring_collect_all(kvm, err);
	if (r < 0 || !kvm->ring_overrun)
		return r;
	dirty_ring_give_up(kvm);
	return dirty_ring_broken(err);
}

static bool dirty_ring_wants_keeper(const struct decant_kvm *kvm)
{
	for (uint32_t i = 0; i < kvm->vcpu_count; i++) {
		const struct kvm_vcpu *vcpu = kvm->vcpus[i];

		if (dirty_ring_flags(kvm, vcpu, vcpu->ring_next + kvm->ring_entries / RING_KEEP_PART) &
		    KVM_DIRTY_GFN_F_DIRTY)
			return true;
	}
	return false;
}

/* What it finds broken the next fetch will tell. */
static void *dirty_ring_keeper(void *opaque)
{
	struct decant_kvm *kvm = opaque;
	DECANT_AUTO_UNLOCK(&kvm->ring_lock);

	while (kvm->ring_keeping) {
		struct timespec until = clock_timespec(clock_deadline_ns(kvm->ring_keep_ns));

		if (dirty_ring_wants_keeper(kvm))
			dirty_ring_harvest(kvm, NULL);
		pthread_cond_clockwait(&kvm->ring_keep, &kvm->ring_lock, CLOCK_MONOTONIC, &until);
	}
	return NULL;
}

/* Called with ring_lock. It runs rarely and shortly, but then it should run at once; where that is not allowed, it need not. */
static int dirty_ring_keeper_start(struct decant_kvm *kvm, struct decant_error *err)
{
	struct sched_param priority = { .sched_priority = sched_get_priority_min(SCHED_FIFO) };
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	kvm->ring_keeping = true;
	r = pthread_create(&kvm->ring_keeper, NULL, dirty_ring_keeper, kvm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		kvm->ring_keeping = false;
		return decant_error_set(err, -r, "dirty ring: keeper thread: %s", strerror(r));
	}
	pthread_setname_np(kvm->ring_keeper, "decant-ring");
	pthread_setschedparam(kvm->ring_keeper, SCHED_FIFO, &priority);
	return 0;
}

static void dirty_ring_keeper_stop(struct decant_kvm *kvm)
{
	pthread_mutex_lock(&kvm->ring_lock);
	kvm->ring_keeping = false;
	pthread_cond_signal(&kvm->ring_keep);
	pthread_mutex_unlock(&kvm->ring_lock);
	pthread_join(kvm->ring_keeper, NULL);
}

static void dirty_ring_forget(struct decant_kvm *kvm)
{
	for (uint32_t i = 0; i < kvm->slot_count; i++)
		memset(kvm->slots[i].harvest, 0, bitmap_words(kvm->slots[i].pages) * sizeof(uint64_t));
}

static int dirty_ring_start(struct decant_kvm *kvm, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&kvm->ring_lock);
	int r = kvm->ring_overrun ? dirty_ring_broken(err) : dirty_ring_collect_all(kvm, err);

	if (r < 0)
		return r;
	dirty_ring_forget(kvm);
	for (uint32_t i = 0; i < kvm->vcpu_count; i++)
		kvm->vcpus[i]->dirtied = 0;
	r = kvm_memslot_log_all(kvm, true, err);
	if (r == 0)
		r = dirty_ring_keeper_start(kvm, err);
	if (r < 0)
		kvm_memslot_log_all(kvm, false, NULL);
	kvm->ring_logging = r == 0;
	return r;
}

static int dirty_ring_fetch(struct decant_kvm *kvm, uint32_t region, uint64_t *bitmap, struct decant_error *err)
{
	struct kvm_memslot *slot = &kvm->slots[region];
	DECANT_AUTO_UNLOCK(&kvm->ring_lock);
	int r = dirty_ring_harvest(kvm, err);

	if (r < 0)
		return r;
	bitmap_or(bitmap, slot->harvest, slot->pages);
	memset(slot->harvest, 0, bitmap_words(slot->pages) * sizeof(uint64_t));
	return 0;
}

/* The fetch has protected them already. */
static int dirty_ring_clear(struct decant_kvm *kvm, uint32_t region, uint64_t first, uint64_t pages,
			    const uint64_t *bitmap, struct decant_error *err)
{
	(void)kvm, (void)region, (void)first, (void)pages, (void)bitmap, (void)err;
	return 0;
}

static void dirty_ring_end(struct decant_kvm *kvm)
{
	struct decant_error err = DECANT_ERROR_INIT;
	DECANT_AUTO_UNLOCK(&kvm->ring_lock);
	int r = 0;

	if (kvm->ring_logging)
		r = kvm_memslot_log_all(kvm, false, &err);
	kvm->ring_logging = false;
	/* entries left behind would stop a vCPU as soon as the next tracking has filled the rest */
	if (r == 0 && !kvm->ring_overrun)
		r = dirty_ring_collect_all(kvm, &err);
	if (r < 0)
		log_warning(&kvm->log, "kvm: %s: the guest goes on slower than it could", err.msg);
	dirty_ring_forget(kvm);
}

static void dirty_ring_stop(struct decant_kvm *kvm)
{
	dirty_ring_keeper_stop(kvm);
	dirty_ring_end(kvm);
}

int decant_kvm_vcpu_dirtied(struct decant_kvm *kvm, uint32_t vcpu, uint64_t *pages, struct decant_error *err)
{
	if (vcpu >= kvm->vcpu_count)
		return decant_error_set(err, -ENOENT, "vCPU %u: there are %u", vcpu, kvm->vcpu_count);
	if (kvm->ring_entries == 0)
		return decant_error_set(err, -EOPNOTSUPP,
					"dirty log: it does not tell which vCPU has written; the dirty ring does");
	DECANT_AUTO_UNLOCK(&kvm->ring_lock);
	*pages = kvm->vcpus[vcpu]->dirtied;
	return 0;
}

int decant_kvm_ring_full(struct decant_kvm *kvm, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&kvm->ring_lock);
	int r;

	if (kvm->ring_entries == 0)
		return decant_error_set(err, -EINVAL, "dirty ring: this VM uses the dirty log");
	/* a ring that was run over is the next fetch's error: the guest may go on */
	r = kvm->ring_logging ? dirty_ring_harvest(kvm, err) : dirty_ring_collect_all(kvm, err);
	if (!kvm->ring_overrun)
		return r;
	decant_error_clear(err);
	return 0;
}

const struct kvm_dirty_ops kvm_dirty_ring_ops = {
	.name = "ring",
	.start = dirty_ring_start,
	.fetch = dirty_ring_fetch,
	.clear = dirty_ring_clear,
	.stop = dirty_ring_stop,
};
