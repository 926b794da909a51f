/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limits.h -- how much memory this process may pin, and what holds it back
 *
 * The kernel charges pages that a registration pins to the process (once per registration, so once per rail) and refuses what would
 * exceed RLIMIT_MEMLOCK, unless the process has CAP_IPC_LOCK in the initial user namespace. A memory cgroup limits what
 * the pinned pages may be, an rdma cgroup how many objects a device gives.
 *
 * @root goes before "/proc" and "/sys": "" for this host; a test gives a folder.
 */
#ifndef FABRIC_RDMA_LIMITS_H
#define FABRIC_RDMA_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMITS_NONE UINT64_MAX

struct limits_memlock {
	uint64_t soft, hard; /* RLIMIT_MEMLOCK, bytes; LIMITS_NONE: unlimited */
	uint64_t pinned;     /* by this process, now */
	bool lifted;         /* CAP_IPC_LOCK counts here */
	bool namespaced; /* the process has CAP_IPC_LOCK, but in a user namespace of its own, where it does not count */
};

void limits_memlock(const char *root, struct limits_memlock *limits);

/* limits_memory_room() -- bytes until the tightest memory cgroup is full, and where it is; LIMITS_NONE: no limit is known */
uint64_t limits_memory_room(const char *root, char *folder, size_t length);

/* limits_rdma() -- what the process's rdma cgroup allows, "rxe0 hca_handle=2 hca_object=2000"; false: no limit is known */
bool limits_rdma(const char *root, const char *device, char *text, size_t length);

#endif
