/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault.c -- guards, as a jump out of the signal handler
 *
 * Theory of operation
 * -------------------
 * A guard notes where it may be left to, in a variable of its thread; SIGBUS comes to the thread that touches the page, in the
 * middle of the access, so decant_memory_fault() can look there and jump. That costs a sigsetjmp(3), 2 ns, for a chunk
 * of memory: the look for zero pages runs at the memory's full speed under it. Reading through the kernel instead
 * (pread(2), process_vm_readv(2)), which would say EFAULT, brings it to 0.37 of that, and asking beforehand (MADV_POPULATE_READ) to 0.82,
 * without being sure: a page can fail between the question and the access.
 *
 * The library installs no handler: signals belong to the program. A SIGBUS outside the guarded ranges is not the library's, nor
 * is one that was sent by a process, or that only tells of a page that nobody has touched (BUS_MCEERR_AO).
 */
#include "util/fault.h"

#include <assert.h>
#include <decant/memory.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE_BYTES 4096u

struct guard {
	sigjmp_buf leave;
	const struct fault_range *ranges;
	uint32_t count;
	struct fault *fault;
};

/* of this model, so that a signal handler may read it in a thread that never has */
static __thread struct guard *volatile guard_current __attribute__((tls_model("initial-exec")));

/* The first byte of [@address, + @length) that the guard covers; 0: none. */
static uintptr_t guard_covers(const struct guard *guard, uintptr_t address, uintptr_t length)
{
	for (uint32_t i = 0; i < guard->count; i++) {
		const uintptr_t start = (uintptr_t)guard->ranges[i].address;
		const uintptr_t end = start + guard->ranges[i].length;

		if (address < end && start < address + length)
			return address > start ? address : start;
	}
	return 0;
}

/* What has failed: bytes, as a page of any size; 0 if this signal is no access to memory */
static uintptr_t fault_extent(const siginfo_t *info)
{
	if (info->si_code == BUS_MCEERR_AR)
		return (uintptr_t)1 << info->si_addr_lsb;
	return info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR;
}

bool decant_memory_fault(const void *siginfo, const void *context)
{
	struct guard *guard = guard_current;
	const siginfo_t *info = siginfo;
	const ucontext_t *interrupted = context;
	const uintptr_t extent = fault_extent(info);
	uintptr_t address;

	if (guard == NULL || extent == 0)
		return false;
	address = guard_covers(guard, (uintptr_t)info->si_addr & ~(extent - 1), extent);
	if (address == 0)
		return false;
	guard->fault->address = address & ~(uintptr_t)(PAGE_BYTES - 1);
	guard->fault->code = info->si_code == BUS_MCEERR_AR ? -EHWPOISON : -EFAULT;
	/* the handler may have been installed with any mask */
	pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL);
	siglongjmp(guard->leave, 1);
}

int fault_guard(const struct fault_range *ranges, uint32_t count, fault_fn *fn, void *opaque, struct fault *fault)
{
	struct guard guard = { .ranges = ranges, .count = count, .fault = fault };

	assert(guard_current == NULL && count <= FAULT_RANGES_MAX);
	*fault = (struct fault){ 0 };
	if (sigsetjmp(guard.leave, 0) == 0) {
		guard_current = &guard;
		fn(opaque);
	}
	guard_current = NULL;
	return fault->code;
}

/* What touching it would do; 0, -EHWPOISON or -EFAULT */
static int fault_populate(uintptr_t address, uint64_t length, int advice)
{
	while (madvise((void *)address, length, advice) < 0) {
		if (errno == EHWPOISON || errno == EFAULT)
			return -errno;
		if (errno != EINTR && errno != EAGAIN)
			return 0;
	}
	return 0;
}

int fault_find(const void *memory, uint64_t length, bool write, struct fault *fault)
{
	const int advice = write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
	uintptr_t address = (uintptr_t)memory & ~(uintptr_t)(PAGE_BYTES - 1);
	uint64_t pages = ((uintptr_t)memory + length - address + PAGE_BYTES - 1) / PAGE_BYTES;
	int code = fault_populate(address, pages * PAGE_BYTES, advice);

	/* the first half that holds one, until it is a page */
	while (code < 0 && pages > 1) {
		const uint64_t half = pages / 2;
		const int first = fault_populate(address, half * PAGE_BYTES, advice);

		if (first < 0) {
			pages = half;
			code = first;
		} else {
			address += half * PAGE_BYTES;
			pages -= half;
			code = fault_populate(address, pages * PAGE_BYTES, advice);
		}
	}
	*fault = (struct fault){ .address = address, .code = code };
	return code;
}
