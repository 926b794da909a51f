/* SPDX-License-Identifier: BSD-2-Clause */
/* dirty.c -- dirty tracking: own marks, then KVM's log or rings */
#include "kvm/dirty.h"

#include "kvm/dirty_log.h"
#include "kvm/dirty_ring.h"
#include "kvm/marks.h"
#include "util/bitmap.h"

int kvm_dirty_new(struct decant_kvm *kvm, const struct decant_kvm_opts *opts, struct decant_error *err)
{
	int r;

	switch (opts->dirty) {
	case DECANT_KVM_DIRTY_AUTO:
	case DECANT_KVM_DIRTY_LOG:
		kvm->dirty = &kvm_dirty_log_ops;
		r = kvm_dirty_log_new(kvm, err);
		break;
	case DECANT_KVM_DIRTY_RING:
		kvm->dirty = &kvm_dirty_ring_ops;
		r = kvm_dirty_ring_new(kvm, opts->ring_entries, err);
		break;
	default:
		r = decant_error_set(err, -EINVAL, "dirty tracking: no way number %d", (int)opts->dirty);
	}
	return r;
}

static int dirty_check_region(const struct decant_kvm *kvm, uint32_t region, struct decant_error *err)
{
	if (region >= kvm->slot_count)
		return decant_error_set(err, -EINVAL, "dirty tracking: region %u of %u", region, kvm->slot_count);
	if (!kvm->tracking)
		return decant_error_set(err, -EINVAL, "dirty tracking: region %s: not started",
					kvm->slots[region].region->name);
	return 0;
}

int decant_kvm_dirty_start(struct decant_kvm *kvm, struct decant_error *err)
{
	int r;

	if (kvm->tracking)
		return decant_error_set(err, -EALREADY, "dirty tracking: already on");
	for (uint32_t i = 0; i < kvm->slot_count; i++)
		kvm_marks_clear(kvm->slots[i].marks, kvm->slots[i].pages);
	atomic_store_explicit(&kvm->marking, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	r = kvm->dirty->start(kvm, err);
	if (r < 0) {
		atomic_store_explicit(&kvm->marking, false, memory_order_relaxed);
		return r;
	}
	kvm->tracking = true;
	return 0;
}

int decant_kvm_dirty_fetch(struct decant_kvm *kvm, uint32_t region, uint64_t *bitmap, uint64_t pages,
			   struct decant_error *err)
{
	int r = dirty_check_region(kvm, region, err);

	if (r < 0)
		return r;
	if (pages != kvm->slots[region].pages)
		return decant_error_set(err, -EINVAL, "dirty tracking: region %s: %llu pages asked of %llu",
					kvm->slots[region].region->name, (unsigned long long)pages,
					(unsigned long long)kvm->slots[region].pages);
	r = kvm->dirty->fetch(kvm, region, bitmap, err);
	if (r < 0)
		return r;
	bitmap_or_atomic_take(bitmap, kvm->slots[region].marks, pages);
	return 0;
}

int decant_kvm_dirty_clear(struct decant_kvm *kvm, uint32_t region, uint64_t first, uint64_t pages,
			   const uint64_t *bitmap, struct decant_error *err)
{
	int r = dirty_check_region(kvm, region, err);

	if (r < 0)
		return r;
	if (first % 64 != 0 || first > kvm->slots[region].pages || pages > kvm->slots[region].pages - first)
		return decant_error_set(err, -EINVAL,
					"dirty tracking: region %s: clear of %llu pages at %llu: must start at a "
					"multiple of 64 and end in the region",
					kvm->slots[region].region->name, (unsigned long long)pages,
					(unsigned long long)first);
	if (pages == 0)
		return 0;
	return kvm->dirty->clear(kvm, region, first, pages, bitmap, err);
}

void decant_kvm_dirty_stop(struct decant_kvm *kvm)
{
	if (!kvm->tracking)
		return;
	kvm->dirty->stop(kvm);
	atomic_store_explicit(&kvm->marking, false, memory_order_relaxed);
	kvm->tracking = false;
}
