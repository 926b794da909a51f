/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.h -- a granule's registrations, one per pair of rails, and the one key that the engine has for all of them
 *
 * Each rail's device has a protection domain of this migration's own, so a granule is registered once per rail. The engine
 * carries one number of 64 bits: the first rail's key in the low half, the second's in the high half.
 *
 * Relaxed ordering: guest memory is registered so that PCIe may carry its bytes in any order, which devices make use of where many
 * are in flight, and which the kernel leaves away where there is no such thing. What is lost is the order of two writes of one page:
 * the engine has a barrier acknowledged between them (fabric_ops.relaxed). What is kept is all that a barrier stands on: a completion
 * still says that its own data and all that came before it on the queue pair can be seen, since it is itself written in order, and
 * a strictly ordered write passes no other, relaxed or not. The fence stands on the same: the device's word that a queue pair
 * is destroyed is such a write. The rings of barriers and messages stay strictly ordered.
 *
 * On demand: where pinning is refused and the device can look pages up as it needs them, the memory is registered that way. It comes
 * second, for a packet that comes before its page costs a round of retransmission; so pages are looked up ahead, too.
 */
#ifndef FABRIC_RDMA_KEYS_H
#define FABRIC_RDMA_KEYS_H

#include "fabric/fabric.h"
#include "fabric/rdma/verbs.h"

#define KEYS_BITS 32
#define KEYS_ON_DEMAND_TEXT \
	"memory may not be pinned here: the device looks its pages up on demand, which is slower; raise RLIMIT_MEMLOCK"

struct keys {
	struct ibv_mr *mr[FABRIC_PAIRS_MAX];
	bool on_demand; /* one of them pins nothing */
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
