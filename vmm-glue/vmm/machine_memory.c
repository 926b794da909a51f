/* SPDX-License-Identifier: BSD-2-Clause */
/* machine_memory.c -- the memory of a machine: which regions it has, and where they come from */
#include "vmm/machine_internal.h"

#include "util/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* @like says page size and node. */
static int memory_add(struct decant_memory *memory, const char *name, const struct decant_region *like,
		      uint64_t address, uint64_t length, struct decant_error *err)
{
	struct decant_region region = *like;
	int index;

	snprintf(region.name, sizeof(region.name), "%s", name);
	region.length = length;
	region.guest_address = address;
	index = decant_memory_allocate(memory, &region, err);
	return index < 0 ? index : 0;
}

static int memory_allocate(struct decant_memory *memory, uint64_t bytes, uint64_t page_size, int numa_node,
			   struct decant_error *err)
{
	struct decant_region like = DECANT_REGION_INIT;
	uint64_t low = bytes < MACHINE_LOW_MAX ? bytes : MACHINE_LOW_MAX;
	int ret;

	like.page_size = page_size;
	like.numa_node = numa_node;
	ret = memory_add(memory, "ram-low", &like, 0, low, err);
	if (ret == 0 && bytes > low)
		ret = memory_add(memory, "ram-high", &like, MACHINE_HIGH_ADDRESS, bytes - low, err);
	return ret;
}

static bool memory_fits(const struct decant_memory *reserve, const struct machine_config *config)
{
	return reserve != NULL && decant_memory_count(reserve) > 0 &&
	       decant_memory_bytes(reserve) == config->memory_bytes &&
	       decant_memory_region(reserve, 0)->page_size == config->page_size;
}

/* Beside the memory of a VM that it does not fit it would only take the host's. The set itself is its owner's. */
static int memory_drop(struct machine *machine, struct decant_memory *reserve, struct decant_error *err)
{
	struct decant_memory *dropped;
	int ret;

	if (reserve == NULL || decant_memory_count(reserve) == 0)
		return 0;
	log_warning(&machine->host.log,
		    "the %" PRIu64 " MiB allocated beforehand do not fit VM %s, of %" PRIu64
		    " MiB in pages of %" PRIu64 " KiB: they are freed",
		    decant_memory_bytes(reserve) >> 20, machine->config.name, machine->config.memory_bytes >> 20,
		    machine->config.page_size >> 10);
	ret = decant_memory_new(&dropped, err);
	if (ret < 0)
		return ret;
	ret = decant_memory_move(dropped, reserve, err);
	decant_memory_free(dropped);
	return ret;
}

int machine_make_memory(struct machine *machine, struct decant_error *err)
{
	const struct machine_config *config = &machine->config;
	struct decant_memory *reserve = machine->host.reserve;
	const bool fits = memory_fits(reserve, config);
	int ret = fits ? 0 : memory_drop(machine, reserve, err);

	machine->host.reserve = NULL; /* it need not live longer than this */
	if (ret == 0 && machine->memory == NULL) {
		ret = decant_memory_new(&machine->memory, err);
		machine->owns_memory = true;
	}
	if (ret == 0 && fits)
		ret = decant_memory_move(machine->memory, reserve, err);
	else if (ret == 0)
		ret = memory_allocate(machine->memory, config->memory_bytes, config->page_size,
				      machine->host.numa_node, err);
	if (ret == 0)
		ret = decant_kvm_add_memory(machine->kvm, machine->memory, err);
	return ret;
}

int machine_memory_new(uint64_t bytes, uint64_t page_size, int numa_node, struct decant_memory **memory_ptr,
		       struct decant_error *err)
{
	struct decant_memory *memory;
	int ret = decant_memory_new(&memory, err);

	if (ret < 0)
		return ret;
	ret = memory_allocate(memory, bytes, page_size, numa_node, err);
	if (ret == 0)
		ret = decant_memory_populate(memory, err);
	if (ret < 0) {
		decant_memory_free(memory);
		return ret;
	}
	*memory_ptr = memory;
	return 0;
}
