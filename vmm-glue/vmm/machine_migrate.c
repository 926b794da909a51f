/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine_migrate.c -- struct decant_vmm_ops for a machine
 *
 * The record "vmm.run", version 1, one byte: 1 if the machine was held by its user when it was paused for the migration;
 * then it stays held on the other side.
 */
#include "vmm/machine_internal.h"
#include "vmm/machine_shape.h"

#include "util/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RUN_RECORD "vmm.run"
#define RUN_VERSION 1

static int migrate_shape_save(void *vmm, struct decant_state_writer *shape, struct decant_error *err)
{
	struct machine_slot *slot = vmm;
	int ret = machine_shape_save(&slot->machine->config, shape, err);

	if (ret == 0)
		ret = decant_kvm_shape_save(slot->machine->kvm, shape, err);
	return ret;
}

static int migrate_dirty_start(void *vmm, struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return decant_kvm_dirty_start(slot->machine->kvm, err);
}

static int migrate_dirty_fetch(void *vmm, uint32_t region, uint64_t *bitmap, uint64_t pages,
			       struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return decant_kvm_dirty_fetch(slot->machine->kvm, region, bitmap, pages, err);
}

static int migrate_dirty_clear(void *vmm, uint32_t region, uint64_t first, uint64_t pages, const uint64_t *bitmap,
			       struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return decant_kvm_dirty_clear(slot->machine->kvm, region, first, pages, bitmap, err);
}

static void migrate_dirty_stop(void *vmm)
{
	struct machine_slot *slot = vmm;

	decant_kvm_dirty_stop(slot->machine->kvm);
}

static int migrate_resume(void *vmm, struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return slot->was_held ? 0 : machine_run(slot->machine, NULL, err);
}

/* the reason that the guest itself gave says more than "has ended" */
static int migrate_ended(struct machine *machine, int code, struct decant_error *err)
{
	char why[256];
	bool failed;

	machine_why(machine, why, sizeof(why), &failed);
	return why[0] != '\0' ? decant_error_set(err, code, "%s", why) : code;
}

static int migrate_pause(void *vmm, uint64_t *left_ns, struct decant_error *err)
{
	struct machine_slot *slot = vmm;
	struct machine *machine = slot->machine;
	int ret;

	slot->was_held = machine_get_state(machine) == MACHINE_HELD;
	ret = machine_hold(machine, left_ns, err);
	if (ret < 0)
		return migrate_ended(machine, ret, err);
	if (slot->was_held)
		*left_ns = clock_now_ns();
	ret = decant_kvm_clock_stop(machine->kvm, err);
	if (ret < 0)
		migrate_resume(slot, NULL);
	return ret;
}

static int migrate_state_save(void *vmm, struct decant_state_writer *state, struct decant_error *err)
{
	struct machine_slot *slot = vmm;
	uint8_t held = slot->was_held;
	int ret = decant_state_put(state, RUN_RECORD, 0, RUN_VERSION, &held, sizeof(held), err);

	if (ret == 0)
		ret = serial_state_save(&slot->machine->serial, state, err);
	if (ret == 0)
		ret = decant_kvm_state_save(slot->machine->kvm, state, err);
	return ret;
}

/* Before anything is made: what has been allowed is the regions, and the host's KVM keeps tables as large as the memory. */
static int migrate_memory_check(const struct machine_config *config, const struct decant_region *regions,
				uint32_t count, struct decant_error *err)
{
	uint64_t announced = 0;

	for (uint32_t i = 0; i < count; i++)
		announced += regions[i].length;
	if (announced != config->memory_bytes)
		return decant_error_set(err, -EPROTO, "%llu bytes of memory announced, the shape has %llu",
					(unsigned long long)announced, (unsigned long long)config->memory_bytes);
	return 0;
}

/* The peer's regions must be the ones that a machine of this shape has. */
static int migrate_regions_check(const struct decant_memory *memory, const struct decant_region *regions,
				 uint32_t count, struct decant_error *err)
{
	if (count != decant_memory_count(memory))
		return decant_error_set(err, -EPROTO, "%u regions of memory announced, the shape has %u", count,
					decant_memory_count(memory));
	for (uint32_t i = 0; i < count; i++) {
		const struct decant_region *ours = decant_memory_region(memory, i);

		if (strcmp(ours->name, regions[i].name) != 0 || ours->length != regions[i].length ||
		    ours->page_size != regions[i].page_size)
			return decant_error_set(err, -EPROTO,
						"region \"%s\" announced does not fit the shape's \"%s\"",
						regions[i].name, ours->name);
	}
	return 0;
}

static int migrate_create_machine(struct machine_slot *slot, struct decant_state_reader *shape,
				  const struct machine_config *config, const struct decant_region *regions,
				  uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	int ret = migrate_memory_check(config, regions, count, err);

	if (ret < 0)
		return ret;
	ret = machine_new(config, &slot->host, memory, &slot->machine, err);
	if (ret == 0)
		ret = migrate_regions_check(memory, regions, count, err);
	if (ret == 0)
		ret = decant_kvm_shape_load(slot->machine->kvm, shape, err);
	if (ret < 0) {
		machine_free(slot->machine);
		slot->machine = NULL;
	}
	return ret;
}

static int migrate_create(void *vmm, struct decant_state_reader *shape, const struct decant_region *regions,
			  uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct machine_slot *slot = vmm;
	struct machine_config config;
	int ret = machine_shape_load(&config, shape, err);

	if (ret < 0)
		return ret;
	if (slot->name[0] != '\0')
		snprintf(config.name, sizeof(config.name), "%s", slot->name);
	if (slot->admit != NULL)
		ret = slot->admit(slot->opaque, config.name, err);
	if (ret < 0)
		return ret;
	ret = migrate_create_machine(slot, shape, &config, regions, count, memory, err);
	if (ret < 0 && slot->dismiss != NULL)
		slot->dismiss(slot->opaque);
	return ret;
}

static int migrate_run_load(struct machine_slot *slot, struct decant_state_reader *state, struct decant_error *err)
{
	struct decant_state_record record;
	int ret = decant_state_get(state, RUN_RECORD, 0, RUN_VERSION, &record, err);

	if (ret < 0)
		return ret;
	if (record.length != 1)
		return decant_error_set(err, -EPROTO, "%s: %zu bytes instead of 1", RUN_RECORD, record.length);
	slot->was_held = *(const uint8_t *)record.data != 0;
	return 0;
}

static int migrate_state_load(void *vmm, struct decant_state_reader *state, struct decant_error *err)
{
	struct machine_slot *slot = vmm;
	struct decant_state_record record;
	int ret = migrate_run_load(slot, state, err);

	if (ret == 0)
		ret = serial_state_load(&slot->machine->serial, state, err);
	if (ret == 0)
		ret = decant_kvm_state_load(slot->machine->kvm, state, err);
	if (ret == 0 && decant_state_unused(state, &record))
		return decant_error_set(err, -EOPNOTSUPP,
					"state record \"%s\" %u: this version has no use for it, so it "
					"would be lost",
					record.name, record.instance);
	return ret;
}

static int migrate_start(void *vmm, const struct decant_handover *handover, uint64_t *entered_ns,
			 struct decant_error *err)
{
	struct machine_slot *slot = vmm;
	int ret = decant_kvm_clock_start(slot->machine->kvm, handover, err);

	if (ret < 0)
		return ret;
	stress_host_started(&slot->machine->stress);
	if (!slot->was_held)
		return machine_run(slot->machine, entered_ns, err);
	*entered_ns = clock_now_ns();
	return 0;
}

static void migrate_discard(void *vmm)
{
	struct machine_slot *slot = vmm;

	if (slot->machine == NULL)
		return;
	machine_free(slot->machine);
	slot->machine = NULL;
	if (slot->dismiss != NULL)
		slot->dismiss(slot->opaque);
}

static int migrate_verdict(void *vmm, struct decant_verdict *verdict, struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return machine_verdict(slot->machine, verdict, err);
}

static void migrate_gap_reset(void *vmm)
{
	struct machine_slot *slot = vmm;

	machine_gap_reset(slot->machine);
}

static int migrate_vcpu_dirtied(void *vmm, uint32_t vcpu, uint64_t *pages, struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return decant_kvm_vcpu_dirtied(slot->machine->kvm, vcpu, pages, err);
}

static int migrate_throttle(void *vmm, uint32_t vcpu, uint32_t share_permille, struct decant_error *err)
{
	struct machine_slot *slot = vmm;

	return decant_kvm_slices_set(slot->machine->slices, vcpu, share_permille, err);
}

static const struct decant_vmm_ops machine_ops = {
	.size = sizeof(machine_ops),
	.shape_save = migrate_shape_save,
	.dirty_start = migrate_dirty_start,
	.dirty_fetch = migrate_dirty_fetch,
	.dirty_clear = migrate_dirty_clear,
	.dirty_stop = migrate_dirty_stop,
	.pause = migrate_pause,
	.resume = migrate_resume,
	.state_save = migrate_state_save,
	.create = migrate_create,
	.state_load = migrate_state_load,
	.start = migrate_start,
	.discard = migrate_discard,
	.verdict = migrate_verdict,
	.gap_reset = migrate_gap_reset,
	.vcpu_dirtied = migrate_vcpu_dirtied,
	.throttle = migrate_throttle,
};

const struct decant_vmm_ops *machine_vmm_ops(void)
{
	return &machine_ops;
}
