/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * marks.h -- dirty marks for pages that others than a vCPU have written
 *
 * KVM's log knows only what goes through KVM's page tables: a device model that writes guest memory by its own
 * mapping is not seen. Such a writer sets the page's bit after its write (release); the fetch exchanges it to 0
 * (acquire) before the page is read. So a bit that was taken means that the reader sees the write, and a write
 * after the reading sets a new one.
 */
#ifndef KVM_MARKS_H
#define KVM_MARKS_H

#include <stdatomic.h>
#include <stdint.h>

/* kvm_marks_new() -- all 0, NULL without memory */
_Atomic uint64_t *kvm_marks_new(uint64_t pages);

/* kvm_marks_set() -- mark [first, first + count), release */
void kvm_marks_set(_Atomic uint64_t *marks, uint64_t first, uint64_t count);

/* kvm_marks_clear() -- forget all */
void kvm_marks_clear(_Atomic uint64_t *marks, uint64_t pages);

void kvm_marks_free(_Atomic uint64_t *marks);

#endif
