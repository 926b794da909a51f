/* SPDX-License-Identifier: BSD-2-Clause */
/* memslot.c -- guest memory as KVM's memory slots, one per region */
#include "kvm/memslot.h"

#include "kvm/marks.h"
#include "util/bitmap.h"

#include <stdlib.h>
#include <string.h>

static int memslot_set(struct decant_kvm *kvm, uint32_t index, uint32_t flags)
{
	const struct decant_region *region = kvm->slots[index].region;
	struct kvm_userspace_memory_region slot = {
		.slot = index,
		.flags = flags,
		.guest_phys_addr = region->guest_address,
		.memory_size = region->length,
		.userspace_addr = (uintptr_t)region->address,
	};

	return kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);
}

static int memslot_remove(struct decant_kvm *kvm, uint32_t index)
{
	struct kvm_userspace_memory_region slot = { .slot = index };

	return kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);
}

static int memslot_init(struct kvm_memslot *slot, const struct decant_region *region)
{
	slot->region = region;
	slot->pages = region->length / DECANT_PAGE_SIZE;
	slot->harvest = bitmap_new(slot->pages);
	slot->marks = kvm_marks_new(slot->pages);
	return slot->harvest == NULL || slot->marks == NULL ? -ENOMEM : 0;
}

int kvm_memslot_log(struct decant_kvm *kvm, uint32_t index, bool on, struct decant_error *err)
{
	int r = memslot_set(kvm, index, on ? KVM_MEM_LOG_DIRTY_PAGES : 0);

	if (r < 0)
		return decant_error_set(err, r, "KVM_SET_USER_MEMORY_REGION: region %s: dirty logging %s: %s",
					kvm->slots[index].region->name, on ? "on" : "off", strerror(-r));
	return 0;
}

int kvm_memslot_log_all(struct decant_kvm *kvm, bool on, struct decant_error *err)
{
	for (uint32_t i = 0; i < kvm->slot_count; i++) {
		int r = kvm_memslot_log(kvm, i, on, err);

		if (r < 0) {
			while (i-- > 0)
				memslot_set(kvm, i, on ? 0 : KVM_MEM_LOG_DIRTY_PAGES);
			return r;
		}
	}
	return 0;
}

void kvm_memslot_free_all(struct decant_kvm *kvm)
{
	for (uint32_t i = 0; i < kvm->slot_count; i++) {
		free(kvm->slots[i].harvest);
		kvm_marks_free(kvm->slots[i].marks);
	}
	free(kvm->slots);
	kvm->slots = NULL;
	kvm->slot_count = 0;
}

int decant_kvm_add_memory(struct decant_kvm *kvm, const struct decant_memory *memory, struct decant_error *err)
{
	uint32_t count = decant_memory_count(memory);
	int r;

	if (kvm->slot_count != 0)
		return decant_error_set(err, -EEXIST, "guest memory: this VM has its memory already");
	if (count == 0)
		return decant_error_set(err, -EINVAL, "guest memory: no region; add memory to the set first");
	kvm->slots = calloc(count, sizeof(*kvm->slots));
	if (kvm->slots == NULL)
		return decant_error_set(err, -ENOMEM, "guest memory: %u slots: out of memory", count);
	for (uint32_t i = 0; i < count; i++) {
		const struct decant_region *region = decant_memory_region(memory, i);

		kvm->slot_count = i + 1;
		r = memslot_init(&kvm->slots[i], region);
		if (r == 0)
			r = memslot_set(kvm, i, 0);
		if (r < 0) {
			decant_error_set(err, r,
					 "KVM_SET_USER_MEMORY_REGION: region %s: 0x%llx bytes at guest 0x%llx: %s",
					 region->name, (unsigned long long)region->length,
					 (unsigned long long)region->guest_address, strerror(-r));
			goto err_remove;
		}
	}
	return 0;

err_remove:
	for (uint32_t i = 0; i + 1 < kvm->slot_count; i++)
		memslot_remove(kvm, i);
	kvm_memslot_free_all(kvm);
	return r;
}
