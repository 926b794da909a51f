/* SPDX-License-Identifier: BSD-2-Clause */
/* keys.c -- a granule's registrations, one per pair of rails */
#include "fabric/rdma/keys.h"

#include "fabric/rdma/diagnose.h"

#include <string.h>

_Static_assert(KEYS_BITS *FABRIC_PAIRS_MAX <= 64, "the keys of all pairs fit into one number");

int keys_register(struct keys *keys, struct ibv_pd *const *pd, uint32_t count, void *memory, uint64_t length,
		  uint64_t iova, int access, struct decant_error *err)
{
	memset(keys, 0, sizeof(*keys));
	for (uint32_t i = 0; i < count; i++) {
		const int rc = verbs_register(pd[i], memory, length, iova, access, &keys->mr[i]);

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
