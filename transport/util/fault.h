/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault.h -- to touch guest memory that may not be there
 *
 * A page may have failed in the host's memory (hardware poison), or lie beyond the end of a file that was cut. Who touches such a
 * page gets SIGBUS. Under a guard that ends what is being done, not the process, if the program hands its SIGBUS to
 * decant_memory_fault(). System calls say -EFAULT instead, and what they have found is searched for without touching it.
 */
#ifndef UTIL_FAULT_H
#define UTIL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#define FAULT_RANGES_MAX 2

struct fault {
	uintptr_t address; /* of the page of 4 KiB */
	int code;          /* -EHWPOISON: the host's memory has failed there; -EFAULT: nothing is there */
};

struct fault_range {
	const void *address;
	uint64_t length;
};

/* Must take no lock, and get no memory, that would stay taken when it ends in the middle. */
typedef void fault_fn(void *opaque);

/*
 * fault_guard() -- run @fn(@opaque), to whom a fault in one of the ranges is the end
 *
 * At most FAULT_RANGES_MAX ranges; guards do not nest. Returns 0, or the code of *@fault.
 */
int fault_guard(const struct fault_range *ranges, uint32_t count, fault_fn *fn, void *opaque, struct fault *fault);

/*
 * fault_find() -- the first page of mapped memory that cannot be read, or written with @write; it stays as it is
 *
 * Pages that do not exist yet come into being. Returns 0: there is none, or the kernel cannot tell; else the code of *@fault.
 */
int fault_find(const void *address, uint64_t length, bool write, struct fault *fault);

#endif
