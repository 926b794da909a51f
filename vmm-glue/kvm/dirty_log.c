/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty_log.c -- dirty pages by KVM_GET_DIRTY_LOG
 *
 * With manual protection KVM_GET_DIRTY_LOG only reads the bitmap, and a page is protected again by
 * KVM_CLEAR_DIRTY_LOG, range by range, just before it is read: so a page is not caught writing, and sent again,
 * for a write that came between the harvest and its turn. Initially-all-set takes the rest out of the start:
 * nothing is protected then, every page is reported dirty until it is cleared for the first time.
 *
 * Where the host has no manual protection, KVM_GET_DIRTY_LOG itself protects all that it reports, and the clear
 * has nothing to do.
 */
#include "kvm/dirty_log.h"

#include "kvm/memslot.h"
#include "util/bitmap.h"
#include "util/log.h"

#include <string.h>

int kvm_dirty_log_new(struct decant_kvm *kvm, struct decant_error *err)
{
	const uint64_t wanted = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
	struct kvm_enable_cap enable = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };
	int r;

	enable.args[0] = (uint64_t)kvm_extension(kvm->vm_fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & wanted;
	if (!(enable.args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)) {
		log_notice(&kvm->log,
			   "kvm: no manual dirty log protection here: a harvest protects all pages at once");
		return 0;
	}
	r = kvm_ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &enable);
	if (r < 0)
		return decant_error_set(err, r, "KVM_ENABLE_CAP: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: %s",
					strerror(-r));
	kvm->manual_protect = true;
	kvm->initially_all_set = (enable.args[0] & KVM_DIRTY_LOG_INITIALLY_SET) != 0;
	return 0;
}

static int dirty_log_start(struct decant_kvm *kvm, struct decant_error *err)
{
	return kvm_memslot_log_all(kvm, true, err);
}

static int dirty_log_fetch(struct decant_kvm *kvm, uint32_t region, uint64_t *bitmap, struct decant_error *err)
{
	struct kvm_memslot *slot = &kvm->slots[region];
	struct kvm_dirty_log log = { .slot = region, .dirty_bitmap = slot->harvest };
	int r = kvm_ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log);

	if (r < 0)
		return decant_error_set(err, r, "KVM_GET_DIRTY_LOG: region %s: %s", slot->region->name,
					strerror(-r));
	bitmap_or(bitmap, slot->harvest, slot->pages);
	return 0;
}

static int dirty_log_clear_words(struct decant_kvm *kvm, uint32_t region, uint64_t first, uint64_t pages,
				 const uint64_t *bitmap, struct decant_error *err)
{
	struct kvm_clear_dirty_log clear = {
		.slot = region,
		.num_pages = (uint32_t)pages,
		.first_page = first,
		.dirty_bitmap = (void *)(uintptr_t)bitmap,
	};
	int r = kvm_ioctl(kvm->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear);

	if (r < 0)
		return decant_error_set(err, r, "KVM_CLEAR_DIRTY_LOG: region %s: %llu pages at %llu: %s",
					kvm->slots[region].region->name, (unsigned long long)pages,
					(unsigned long long)first, strerror(-r));
	return 0;
}

/* KVM takes whole words, except at the end of the slot; a part of a word is widened with zeros. */
static int dirty_log_clear(struct decant_kvm *kvm, uint32_t region, uint64_t first, uint64_t pages,
			   const uint64_t *bitmap, struct decant_error *err)
{
	const uint64_t most = 1ull << 30; /* KVM's counter of pages has 32 bits */
	uint64_t total = kvm->slots[region].pages;
	uint64_t whole = first + pages == total ? pages : pages / 64 * 64;
	uint64_t tail = pages - whole;

	if (!kvm->manual_protect)
		return 0;
	for (uint64_t done = 0; done < whole;) {
		uint64_t part = whole - done < most ? whole - done : most;
		int r = dirty_log_clear_words(kvm, region, first + done, part, bitmap + done / 64, err);

		if (r < 0)
			return r;
		done += part;
	}
	if (tail > 0) {
		uint64_t word = bitmap[whole / 64] & ((1ull << tail) - 1);
		uint64_t left = total - first - whole;

		return dirty_log_clear_words(kvm, region, first + whole, left < 64 ? left : 64, &word, err);
	}
	return 0;
}

static void dirty_log_stop(struct decant_kvm *kvm)
{
	struct decant_error err = DECANT_ERROR_INIT;

	if (kvm_memslot_log_all(kvm, false, &err) < 0)
		log_warning(&kvm->log, "kvm: %s: the guest goes on slower than it could", err.msg);
}

const struct kvm_dirty_ops kvm_dirty_log_ops = {
	.name = "log",
	.start = dirty_log_start,
	.fetch = dirty_log_fetch,
	.clear = dirty_log_clear,
	.stop = dirty_log_stop,
};
