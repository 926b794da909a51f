/* SPDX-License-Identifier: BSD-2-Clause */
/* idle.c -- a VMM without a VM */
#include "idle.h"
#include "quiet.h"

#include "util/clock.h"
#include <errno.h>

static void idle_note(void *vmm)
{
	const struct idle *idle = vmm;

	if (idle != NULL && idle->note != NULL)
		idle->note(idle->opaque);
}

static int idle_save(void *vmm, struct decant_state_writer *writer, struct decant_error *err)
{
	(void)writer;
	(void)err;
	idle_note(vmm);
	return 0;
}

static int idle_dirty_start(void *vmm, struct decant_error *err)
{
	(void)vmm;
	(void)err;
	return 0;
}

static int idle_dirty_fetch(void *vmm, uint32_t region, uint64_t *bitmap, uint64_t pages, struct decant_error *err)
{
	(void)vmm;
	(void)region;
	(void)bitmap;
	(void)pages;
	(void)err;
	return 0;
}

static int idle_dirty_clear(void *vmm, uint32_t region, uint64_t first, uint64_t pages, const uint64_t *bitmap,
			    struct decant_error *err)
{
	(void)vmm;
	(void)region;
	(void)first;
	(void)pages;
	(void)bitmap;
	(void)err;
	return 0;
}

static void idle_nothing(void *vmm)
{
	(void)vmm;
}

static int idle_pause(void *vmm, uint64_t *left_ns, struct decant_error *err)
{
	(void)vmm;
	(void)err;
	*left_ns = clock_now_ns();
	return 0;
}

static int idle_resume(void *vmm, struct decant_error *err)
{
	(void)vmm;
	(void)err;
	return 0;
}

/* Unless it is to be fresh, populated here, before PREPARED is answered: so outside pass 1, as for every baseline. */
static int idle_create(void *vmm, struct decant_state_reader *shape, const struct decant_region *regions,
		       uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	const struct idle *idle = vmm;
	int rc = 0;

	(void)shape;
	for (uint32_t i = 0; rc >= 0 && i < count; i++)
		rc = decant_memory_allocate(memory, &regions[i], err);
	if (rc < 0 || (idle != NULL && idle->fresh))
		return rc < 0 ? rc : 0;
	return quiet_populate(memory, err);
}

static int idle_load(void *vmm, struct decant_state_reader *state, struct decant_error *err)
{
	(void)state;
	(void)err;
	idle_note(vmm);
	return 0;
}

static int idle_start(void *vmm, const struct decant_handover *handover, uint64_t *entered_ns,
		      struct decant_error *err)
{
	(void)vmm;
	(void)handover;
	(void)err;
	*entered_ns = clock_now_ns();
	return 0;
}

static const struct decant_vmm_ops ops = {
	.size = sizeof(struct decant_vmm_ops),
	.shape_save = idle_save,
	.dirty_start = idle_dirty_start,
	.dirty_fetch = idle_dirty_fetch,
	.dirty_clear = idle_dirty_clear,
	.dirty_stop = idle_nothing,
	.pause = idle_pause,
	.resume = idle_resume,
	.state_save = idle_save,
	.create = idle_create,
	.state_load = idle_load,
	.start = idle_start,
	.discard = idle_nothing,
};

const struct decant_vmm_ops *idle_ops(void)
{
	return &ops;
}
