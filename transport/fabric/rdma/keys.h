/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.h -- a granule's registrations, one per pair of rails, and the one key that the engine has for all of them
 *
 * Each rail's device has a protection domain of this migration's own, so a granule is registered once per rail. The engine
 * carries one number of 64 bits: the first rail's key in the low half, the second's in the high half.
 */
#ifndef FABRIC_RDMA_KEYS_H
#define FABRIC_RDMA_KEYS_H

#include "fabric/fabric.h"
#include "fabric/rdma/verbs.h"

#define KEYS_BITS 32

struct keys {
	struct ibv_mr *mr[FABRIC_PAIRS_MAX];
};

/* keys_register() -- [@memory, + @length) with each of @count domains, at the address @iova. All or nothing. */
int keys_register(struct keys *keys, struct ibv_pd *const *pd, uint32_t count, void *memory, uint64_t length,
		  uint64_t iova, int access, struct decant_error *err);

/* keys_deregister() -- the keys are dead when it has returned. All zeros is fine. */
void keys_deregister(struct keys *keys);

uint64_t keys_pack_lkey(const struct keys *keys);
uint64_t keys_pack_rkey(const struct keys *keys);

static inline uint32_t keys_unpack(uint64_t packed, uint32_t pair)
{
	return (uint32_t)(packed >> (KEYS_BITS * pair));
}

#endif
