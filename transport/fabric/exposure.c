/* SPDX-License-Identifier: BSD-2-Clause */
/* exposure.c -- the granules that a sink lets its source write to */
#include "fabric/exposure.h"

#include <decant/memory.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static bool exposure_aligned(uint64_t value)
{
	return value % DECANT_PAGE_SIZE == 0;
}

static int exposure_region_init(struct exposure_region *region, uint64_t length, uint64_t granule_size,
				struct decant_error *err)
{
	if (length == 0 || granule_size == 0 || !exposure_aligned(length) || !exposure_aligned(granule_size))
		return decant_error_set(err, -EINVAL,
					"fabric sink: region of %" PRIu64 " bytes in granules of %" PRIu64
					": both must be whole pages",
					length, granule_size);
	region->length = length;
	region->granule_size = granule_size;
	region->granules = (length - 1) / granule_size + 1;
	region->memory = calloc(region->granules, sizeof(*region->memory));
	if (region->memory == NULL)
		return decant_error_set(err, -ENOMEM, "fabric sink: table of %" PRIu64 " granules: out of memory",
					region->granules);
	return 0;
}

int exposure_init(struct exposure *exposure, const struct fabric_sink_opts *opts, struct decant_error *err)
{
	memset(exposure, 0, sizeof(*exposure));
	if (opts->regions > FABRIC_REGIONS_MAX)
		return decant_error_set(err, -EINVAL, "fabric sink: %" PRIu32 " regions, at most %d",
					opts->regions, FABRIC_REGIONS_MAX);
	for (uint32_t i = 0; i < opts->regions; i++) {
		const int rc = exposure_region_init(&exposure->region[i], opts->region_length[i],
						    opts->granule_size[i], err);

		if (rc < 0) {
			exposure_destroy(exposure);
			return rc;
		}
		exposure->regions = i + 1;
	}
	return 0;
}

void exposure_destroy(struct exposure *exposure)
{
	for (uint32_t i = 0; i < exposure->regions; i++)
		free((void *)exposure->region[i].memory);
	exposure->regions = 0;
}

int exposure_add(struct exposure *exposure, uint32_t index, uint64_t offset, uint64_t length, void *memory,
		 struct decant_error *err)
{
	struct exposure_region *region;
	uint64_t rest;

	if (index >= exposure->regions)
		return decant_error_set(err, -EINVAL, "fabric sink: expose: there is no region %" PRIu32, index);
	region = &exposure->region[index];
	rest = offset < region->length ? region->length - offset : 0;
	if (memory == NULL || offset % region->granule_size != 0 || length == 0 ||
	    length != (rest < region->granule_size ? rest : region->granule_size))
		return decant_error_set(err, -EINVAL,
					"fabric sink: expose: offset %#" PRIx64 " length %#" PRIx64
					" is not a granule of region %" PRIu32,
					offset, length, index);
	atomic_store_explicit(&region->memory[offset / region->granule_size], memory, memory_order_release);
	return 0;
}

static int exposure_refuse(uint32_t region, uint64_t offset, uint64_t length, const char *why,
			   struct decant_error *err)
{
	return decant_error_set(err, -EPROTO,
				"write to region %" PRIu32 " offset %#" PRIx64 " length %#" PRIx64 " refused: %s",
				region, offset, length, why);
}

int exposure_find(const struct exposure *exposure, uint32_t index, uint64_t offset, uint64_t length, void **memory,
		  struct decant_error *err)
{
	const struct exposure_region *region;
	char *base;

	if (index >= exposure->regions)
		return exposure_refuse(index, offset, length, "there is no such region", err);
	region = &exposure->region[index];
	if (length == 0 || !exposure_aligned(offset) || !exposure_aligned(length))
		return exposure_refuse(index, offset, length, "it is not whole pages", err);
	if (offset >= region->length || length > region->length - offset)
		return exposure_refuse(index, offset, length, "it is beyond the region's end", err);
	if (length > region->granule_size - offset % region->granule_size)
		return exposure_refuse(index, offset, length, "it crosses granules", err);
	base = atomic_load_explicit(&region->memory[offset / region->granule_size], memory_order_acquire);
	if (base == NULL)
		return exposure_refuse(index, offset, length, "its granule was not exposed", err);
	*memory = base + offset % region->granule_size;
	return 0;
}
