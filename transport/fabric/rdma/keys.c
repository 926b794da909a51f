/* SPDX-License-Identifier: BSD-2-Clause */
/* keys.c -- a granule's registrations, one per pair of rails */
#include "fabric/rdma/keys.h"

#include "fabric/rdma/diagnose.h"

#include <errno.h>
#include <string.h>

_Static_assert(KEYS_BITS *FABRIC_PAIRS_MAX <= 64, "the keys of all pairs fit into one number");

/* What would be pinned and must not be is registered on demand, if the device has that; else the refusal stands. */
static int keys_register_one(struct keys *keys, uint32_t i, struct ibv_pd *pd, void *memory, uint64_t length,
			     uint64_t iova, int access)
{
	const int rc = verbs_register(pd, memory, length, iova, access, &keys->mr[i]);

	if (rc != -ENOMEM || verbs_on_demand(pd->context) <= 0 ||
	    verbs_register(pd, memory, length, iova, access | IBV_ACCESS_ON_DEMAND, &keys->mr[i]) < 0)
		return rc;
	keys->on_demand = true;
	verbs_prefetch(keys->mr[i], iova, (access & IBV_ACCESS_LOCAL_WRITE) != 0);
	return 0;
}

int keys_register(struct keys *keys, struct ibv_pd *const *pd, uint32_t count, void *memory, uint64_t length,
		  uint64_t iova, int access, struct decant_error *err)
{
	memset(keys, 0, sizeof(*keys));
	for (uint32_t i = 0; i < count; i++) {
		const int rc = keys_register_one(keys, i, pd[i], memory, length, iova,
						 access | IBV_ACCESS_RELAXED_ORDERING);

		if (rc < 0) {
			keys->mr[i] = NULL;
			keys_deregister(keys);
			return diagnose_register(rc, ibv_get_device_name(pd[i]->context->device), length, 0, err);
		}
	}
	return 0;
}

void keys_deregister(struct keys *keys)
{
	for (uint32_t i = 0; i < FABRIC_PAIRS_MAX; i++) {
		if (keys->mr[i] != NULL)
			verbs_deregister(keys->mr[i]);
		keys->mr[i] = NULL;
	}
}

uint64_t keys_pack_lkey(const struct keys *keys)
{
	uint64_t packed = 0;

	for (uint32_t i = 0; i < FABRIC_PAIRS_MAX && keys->mr[i] != NULL; i++)
		packed |= (uint64_t)keys->mr[i]->lkey << (KEYS_BITS * i);
	return packed;
}

uint64_t keys_pack_rkey(const struct keys *keys)
{
	uint64_t packed = 0;

	for (uint32_t i = 0; i < FABRIC_PAIRS_MAX && keys->mr[i] != NULL; i++)
		packed |= (uint64_t)keys->mr[i]->rkey << (KEYS_BITS * i);
	return packed;
}
