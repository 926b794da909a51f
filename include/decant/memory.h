/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/memory.h -- guest memory as decant sees it: regions of shared, possibly sparse memory */
#ifndef DECANT_MEMORY_H
#define DECANT_MEMORY_H

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The unit of dirty tracking and of every offset and length that decant takes, whatever the region's page size. */
#define DECANT_PAGE_SIZE 4096u

/* The smallest unit of registration. A region's granule is the larger of this and its page size. */
#define DECANT_GRANULE_SIZE (2u << 20)

#define DECANT_REGION_NAME_MAX 32
#define DECANT_REGIONS_MAX 64

/*
 * One region: contiguous in the guest's physical address space and in the host's mapping.
 *
 * Regions are matched between the two ends by their index in the set, and must agree in name, length and page size.
 */
struct decant_region {
	size_t size;                       /* sizeof(struct decant_region) */
	char name[DECANT_REGION_NAME_MAX]; /* "ram0"; terminated */
	void *address;                     /* host mapping, MAP_SHARED */
	uint64_t length;                   /* bytes, a multiple of page_size */
	uint64_t page_size;                /* bytes: 4 KiB, 2 MiB or 1 GiB */
	uint64_t guest_address;            /* guest physical address of the first byte */
	int numa_node;                     /* the host's node the memory should lie on, -1: anywhere */
	int fd;                            /* the memfd behind it, -1: unknown (then it has no holes) */
	uint64_t fd_offset;                /* where the region starts in @fd, bytes */
};

#define DECANT_REGION_INIT                                                                                      \
	{                                                                                                       \
		.size = sizeof(struct decant_region), .page_size = DECANT_PAGE_SIZE, .numa_node = -1, .fd = -1, \
	}

/* A set of regions. Not thread-safe while regions are added; read-only and shared freely afterwards. */
struct decant_memory;

/* decant_memory_new() -- an empty set. Returns 0 or -ENOMEM. */
int decant_memory_new(struct decant_memory **memory, struct decant_error *err);

/*
 * decant_memory_add() -- add memory that the caller has mapped
 *
 * Copies *@region. Mapping and descriptor stay the caller's and must outlive the set.
 * Returns the region's index, -EINVAL (shape), -EEXIST (name, or guest addresses that overlap), -ENOSPC (too many).
 */
int decant_memory_add(struct decant_memory *memory, const struct decant_region *region, struct decant_error *err);

/*
 * decant_memory_allocate() -- create memory for a region and add it
 *
 * Takes name, length, page_size, guest_address and numa_node of *@region; makes a memfd (hugetlb above 4 KiB) sealed
 * against shrinking, sets the node's policy before anything touches it, maps it shared. It is sparse: no page is
 * allocated, except that huge pages are reserved, so that their lack shows here and not as SIGBUS later.
 * It is in no core dump, and no child has it. The set owns mapping and descriptor.
 * Returns the region's index, or as decant_memory_add(), or -ENOMEM (with the limit that was hit and how to raise it).
 */
int decant_memory_allocate(struct decant_memory *memory, const struct decant_region *region,
			   struct decant_error *err);

/*
 * decant_memory_populate() -- touch all of it: no page has to be allocated later
 *
 * For memory that is to be ready before it is needed. By several threads, near each region's node; returns when all is done. What
 * was written stays.
 * Returns 0; -ENOMEM, with the limit that was hit and how to raise it; -EAGAIN (no thread).
 */
int decant_memory_populate(struct decant_memory *memory, struct decant_error *err);

/*
 * decant_memory_move() -- all regions of @from become regions of @to, with mapping, descriptor and who owns them
 *
 * @from is empty afterwards. Returns 0, or as decant_memory_add(): then nothing has moved.
 */
int decant_memory_move(struct decant_memory *to, struct decant_memory *from, struct decant_error *err);

/* decant_memory_count() -- number of regions */
uint32_t decant_memory_count(const struct decant_memory *memory);

/* decant_memory_region() -- region @index, owned by the set; NULL if there is none */
const struct decant_region *decant_memory_region(const struct decant_memory *memory, uint32_t index);

/* decant_memory_bytes() -- the sum of all lengths */
uint64_t decant_memory_bytes(const struct decant_memory *memory);

/* decant_memory_allocated() -- bytes that are backed by pages now, all regions; equals the length where that cannot be known */
uint64_t decant_memory_allocated(const struct decant_memory *memory);

/*
 * decant_memory_next_data() -- the next extent that has pages behind it
 *
 * Looks in [*@offset, @end) of region @index; sets *@offset and *@length (bytes, multiples of 4 KiB) and returns 1,
 * or returns 0 when all the rest is a hole. Never allocates a page. Where holes cannot be known, all is data.
 */
int decant_memory_next_data(const struct decant_memory *memory, uint32_t index, uint64_t *offset, uint64_t end,
			    uint64_t *length, struct decant_error *err);

/*
 * decant_memory_fault() -- is this SIGBUS the library's, that touches guest memory? For a signal handler
 *
 * A page of guest memory may not be there when the library reads it: the host's memory has failed (hardware poison), or the
 * file behind a region was cut. That ends the process, as SIGBUS does, unless the program installs a handler for it (with
 * SA_SIGINFO) that gives @siginfo, a siginfo_t, and @context, the ucontext_t, to this function before it does anything else:
 *
 *     if (!decant_memory_fault(info, context))
 *             ... a SIGBUS of the program's own ...
 *
 * If it was the library's this does not return: the migration ends with -EHWPOISON or -EFAULT and the page's place, and the guest
 * goes on at the source. Else returns false, and has done nothing. The library installs no handler. Async-signal-safe.
 */
bool decant_memory_fault(const void *siginfo, const void *context);

/* decant_memory_free() -- unmap and close what the set owns; NULL is fine */
void decant_memory_free(struct decant_memory *memory);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
