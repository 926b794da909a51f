/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mover_map.c -- the source's granules made known to its fabric, ahead of the data
 *
 * Theory of operation
 * -------------------
 * To map a granule may be nothing (tcp, loop) or take as long as to send it (RDMA registers it with the NIC). So for a
 * fabric with rails a pool of threads maps what has been announced while earlier granules are on the wire, and a push waits
 * for its own granule alone. A granule that cannot be mapped loses the epoch.
 *
 * A page that is punched out of mapped memory stays with the NIC, which would go on reading what is there no more. Whoever
 * punches says so (decant_migration_punched()), and the granule is mapped anew before it is sent again. The old mapping
 * lives on unused until the epoch ends: writes that are on their way may still refer to it.
 *
 * A pool lives for one epoch: it is gone before its source is closed, so no key outlives it.
 */
#include "migration/mover_private.h"

#include "migration/host.h"
#include "util/cleanup.h"
#include <errno.h>
#include <string.h>

/* The cores belong to the guests; and a device gets no faster by more. */
#define MAP_THREADS_MAX 4u

static uint64_t granule_length(const struct decant_region *region, const struct granules *granules, uint64_t g)
{
	const uint64_t left = region->length - g * granules->size;

	return left < granules->size ? left : granules->size;
}

/* In a thread of the pool. */
static void map_work(void *opaque, void *address, uint64_t length)
{
	const struct mover_map *map = opaque;
	struct decant_mover *mover = map->mover;
	const struct decant_region *region = decant_memory_region(mover->memory, map->region);
	struct granules *granules = &mover->granules[map->region];
	const uint64_t g = (uint64_t)((uint8_t *)address - (uint8_t *)region->address) / granules->size;
	struct decant_error err = DECANT_ERROR_INIT;
	uint64_t lkey;
	const int rc = mover->route.ops->source_map(mover->source, address, length, &lkey, &err);

	DECANT_AUTO_UNLOCK(&mover->lock);
	granules->mapping[g] = false;
	if (rc == 0) {
		granules->lkey[g] = lkey;
		granules->mapped[g] = true;
		mover->mapped = true;
	} else {
		mover->map_failed = true;
		if (mover->lost.code == 0)
			mover->lost = err;
	}
	pthread_cond_broadcast(&mover->changed);
}

static int map_now(struct decant_mover *mover, uint32_t index, uint64_t g, struct decant_error *err)
{
	const struct decant_region *region = decant_memory_region(mover->memory, index);
	struct granules *granules = &mover->granules[index];
	uint64_t lkey;
	const int rc = mover->route.ops->source_map(mover->source, (uint8_t *)region->address + g * granules->size,
						    granule_length(region, granules, g), &lkey, err);

	if (rc < 0)
		return rc;
	DECANT_AUTO_UNLOCK(&mover->lock);
	granules->mapping[g] = false;
	granules->lkey[g] = lkey;
	granules->mapped[g] = true;
	return 0;
}

/* Before it is mapped, so that what is punched from now on makes it stale once more. */
static void begin_mapping(struct decant_mover *mover, struct granules *granules, uint64_t g)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	granules->mapping[g] = true;
	granules->mapped[g] = granules->stale[g] = false;
}

int mover_map_granule(struct decant_mover *mover, uint32_t index, uint64_t g, struct decant_error *err)
{
	const struct decant_region *region = decant_memory_region(mover->memory, index);
	struct granules *granules = &mover->granules[index];
	int rc;

	begin_mapping(mover, granules, g);
	if (mover->mappers == NULL)
		return map_now(mover, index, g, err);
	rc = populate_submit_work(mover->mappers, (uint8_t *)region->address + g * granules->size,
				  granule_length(region, granules, g), granules->size, region->numa_node, map_work,
				  &mover->map[index]);
	return rc < 0 ? decant_error_set(err, rc, "mapping a granule of %s: %s", region->name, strerror(-rc)) : 0;
}

static bool is_to_be_renewed(struct decant_mover *mover, uint32_t index, uint64_t g)
{
	const struct granules *granules = &mover->granules[index];

	DECANT_AUTO_UNLOCK(&mover->lock);
	return granules->state[g] != GRANULE_NONE && granules->stale[g] && !granules->mapping[g];
}

int mover_map_renew(struct decant_mover *mover, uint32_t index, uint64_t g, struct decant_error *err)
{
	return is_to_be_renewed(mover, index, g) ? mover_map_granule(mover, index, g, err) : 0;
}

void decant_mover_punched(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length)
{
	struct granules *granules;
	uint64_t end;

	if (index >= decant_memory_count(mover->memory) || length == 0)
		return;
	granules = &mover->granules[index];
	end = (offset + length + granules->size - 1) / granules->size;
	DECANT_AUTO_UNLOCK(&mover->lock);
	for (uint64_t g = offset / granules->size; g < end && g < granules->count; g++)
		granules->stale[g] = granules->state[g] != GRANULE_NONE || granules->mapping[g];
	pthread_cond_broadcast(&mover->changed);
}

int mover_map_open(struct decant_mover *mover, struct decant_error *err)
{
	const uint32_t threads = host_populate_threads(0, cpus_count(&mover->placement->cpus));

	if (mover->route.pairs == 0)
		return 0;
	for (uint32_t i = 0; i < decant_memory_count(mover->memory); i++)
		mover->map[i] = (struct mover_map){ .mover = mover, .region = i };
	return populate_new(threads < MAP_THREADS_MAX ? threads : MAP_THREADS_MAX, &mover->mappers, err);
}

void mover_map_close(struct decant_mover *mover)
{
	if (mover->mappers == NULL)
		return;
	mover->fabric_cpu_ns += populate_cpu_ns(mover->mappers);
	populate_free(mover->mappers);
	mover->mappers = NULL;
}

static bool is_busy(struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	for (uint32_t i = 0; i < decant_memory_count(mover->memory); i++) {
		if (granules_busy(&mover->granules[i])) {
			mover_wait_change(mover, MOVER_WAIT_NS);
			return true;
		}
	}
	return false;
}

static int renew_all(struct decant_mover *mover, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < decant_memory_count(mover->memory); i++)
		for (uint64_t g = 0; rc == 0 && g < mover->granules[i].count; g++)
			rc = mover_map_renew(mover, i, g, err);
	return rc;
}

int mover_settle_granules(struct decant_mover *mover, struct decant_error *err)
{
	int rc = mover_check(mover, err);

	while (rc == 0 && is_busy(mover)) {
		rc = mover_check(mover, err);
		if (rc == 0)
			rc = renew_all(mover, err);
		if (rc == 0 && mover_epoch_alive(mover) != 0)
			rc = mover_failover(mover, err);
	}
	return rc;
}
