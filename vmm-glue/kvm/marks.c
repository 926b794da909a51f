/* SPDX-License-Identifier: BSD-2-Clause */
/* marks.c -- dirty marks for pages that others than a vCPU have written */
#include "kvm/marks.h"

#include "kvm/kvm.h"
#include "util/bitmap.h"

#include <stdlib.h>

_Atomic uint64_t *kvm_marks_new(uint64_t pages)
{
	return (_Atomic uint64_t *)calloc(bitmap_words(pages), sizeof(_Atomic uint64_t));
}

void kvm_marks_set(_Atomic uint64_t *marks, uint64_t first, uint64_t count)
{
	while (count > 0) {
		uint64_t bit = first % 64;
		uint64_t here = 64 - bit < count ? 64 - bit : count;
		uint64_t mask = (here == 64 ? ~0ull : (1ull << here) - 1) << bit;

		atomic_fetch_or_explicit(&marks[first / 64], mask, memory_order_release);
		first += here;
		count -= here;
	}
}

void kvm_marks_clear(_Atomic uint64_t *marks, uint64_t pages)
{
	for (size_t i = 0; i < bitmap_words(pages); i++)
		atomic_store_explicit(&marks[i], 0, memory_order_relaxed);
}

void kvm_marks_free(_Atomic uint64_t *marks)
{
	free((void *)marks);
}

static void marks_set_in(struct kvm_memslot *slot, uint64_t address, uint64_t last)
{
	uint64_t start = slot->region->guest_address;
	uint64_t end = start + slot->region->length - 1;

	if (last < start || address > end)
		return;
	if (address < start)
		address = start;
	if (last > end)
		last = end;
	address = (address - start) / DECANT_PAGE_SIZE;
	last = (last - start) / DECANT_PAGE_SIZE;
	kvm_marks_set(slot->marks, address, last - address + 1);
}

void decant_kvm_mark(struct decant_kvm *kvm, uint64_t guest_address, uint64_t length)
{
	uint64_t last = guest_address + length - 1;

	if (length == 0)
		return;
	if (last < guest_address)
		last = UINT64_MAX;
	/*
	 * Either this thread sees that tracking is on, or its write came before the fence in
	 * decant_kvm_dirty_start() and is seen by whoever reads the page after that.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&kvm->marking, memory_order_relaxed))
		return;
	for (uint32_t i = 0; i < kvm->slot_count; i++)
		marks_set_in(&kvm->slots[i], guest_address, last);
}
