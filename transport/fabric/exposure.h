/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exposure.h -- what a sink lets its source write to: the granules exposed so far, and where they lie
 *
 * For fabrics whose sink does the writing itself; RDMA has the NIC's table of registrations for it.
 *
 * exposure_add() may be called from any thread, also while others look up: each granule is one pointer, stored with
 * release when the memory behind it is ready, and loaded with acquire.
 */
#ifndef FABRIC_EXPOSURE_H
#define FABRIC_EXPOSURE_H

#include "fabric/fabric.h"

struct exposure_region {
	uint64_t length;
	uint64_t granule_size;
	uint64_t granules;
	void *_Atomic *memory; /* of each granule, NULL: not exposed */
};

struct exposure {
	uint32_t regions;
	struct exposure_region region[FABRIC_REGIONS_MAX];
};

/* exposure_init() -- nothing exposed yet; checks what @opts says of regions. Returns 0, -EINVAL, -ENOMEM. */
int exposure_init(struct exposure *exposure, const struct fabric_sink_opts *opts, struct decant_error *err);

/* exposure_destroy() -- also of one that is all zeros */
void exposure_destroy(struct exposure *exposure);

/* exposure_add() -- expose one granule at @memory; again with the same memory is fine. Returns 0 or -EINVAL. */
int exposure_add(struct exposure *exposure, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		 struct decant_error *err);

/*
 * exposure_find() -- where a write of [@offset, + @length) in @region goes
 *
 * The arguments are the peer's, so anything may be wrong with them. Returns 0 with *@memory set, or -EPROTO: no such region,
 * not whole pages, beyond the region's end, across granules, or not exposed.
 */
int exposure_find(const struct exposure *exposure, uint32_t region, uint64_t offset, uint64_t length,
		  void **memory, struct decant_error *err);

#endif
