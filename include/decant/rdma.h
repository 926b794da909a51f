/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/rdma.h -- what this host has for RDMA, and what keeps it from being used; for decant probe and its like */
#ifndef DECANT_RDMA_H
#define DECANT_RDMA_H

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One port of one device. What it points to is good until the callback that was given it returns. */
struct decant_rdma_port {
	size_t size;
	const char *device;    /* "mlx5_0" */
	const char *interface; /* the network interface whose addresses lead to it, "" if that is not known */
	const char *state;     /* "ACTIVE", "DOWN", ... */
	uint32_t port;         /* from 1 */
	int32_t numa_node;     /* -1: not known */
	uint32_t speed_mbps;   /* 0: not known */
	bool software;         /* rxe, siw: --fabric auto leaves it alone */
	bool usable;           /* by this process: it has at least one address */
	uint32_t address_count;
	const char *const *addresses;       /* numeric, those under which decant can connect */
	const struct decant_error *trouble; /* NULL, or why it is not usable, and what to do about it */
};

/*
 * decant_rdma_ports() -- look for RDMA ports; @each, which may be NULL, is called for every one, usable or not
 *
 * Opens the devices as a migration would, for a moment; blocks no longer than that. Any thread; @each is called in the caller's.
 * Returns the number of usable ports, or why there is none: -ENODEV (no device), -ENETDOWN, -EADDRNOTAVAIL (a port
 * without address), -EACCES (no permission), -ENOENT (a kernel module or a library is missing).
 */
int decant_rdma_ports(void (*each)(void *opaque, const struct decant_rdma_port *port), void *opaque,
		      struct decant_error *err);

/* How much memory this process may have pinned for RDMA devices at once. */
struct decant_rdma_limits {
	size_t size;
	uint64_t memlock_bytes; /* RLIMIT_MEMLOCK; UINT64_MAX: unlimited */
	uint64_t pinned_bytes;  /* counted against it now */
	bool lifted;            /* the process has CAP_IPC_LOCK where it counts: there is no limit */
};

#define DECANT_RDMA_LIMITS_INIT                           \
	{                                                 \
		.size = sizeof(struct decant_rdma_limits) \
	}

/* decant_rdma_get_limits() -- fill @limits, whose size is set; any thread */
void decant_rdma_get_limits(struct decant_rdma_limits *limits);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
