/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * broken_fabric.c -- the loop fabric with one fault in it
 *
 * A page that is dirty by the log may be right at the destination already: it was written after its bit was cleared and before
 * it was read. To skip such a page harms nothing and proves nothing. So, source and sink being in one process, a fault of the
 * last pass is kept for a page in which the two ends do differ. A page may be sent twice in the pause, from the list that was made
 * before it and with the last harvest; so the page that was struck is struck again.
 */
#include "broken_fabric.h"

#include "fabric/fabric.h"

#include <decant/memory.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define PAGE DECANT_PAGE_SIZE

static struct broken_plan plan;
static _Atomic bool guest_paused;
static _Atomic uint32_t count;
static uint32_t struck;                /* the page, once count is not 0 */
static _Atomic(uint8_t *) sink_memory; /* of region 0, offset 0 */
static uint8_t scratch[PAGE];          /* read by the fabric later */
static struct fabric_ops broken_ops;

void broken_fabric_plan(const struct broken_plan *wanted)
{
	plan = *wanted;
	atomic_store(&guest_paused, false);
	atomic_store(&count, 0);
}

void broken_fabric_paused(bool paused)
{
	atomic_store(&guest_paused, paused);
}

uint32_t broken_fabric_count(void)
{
	return atomic_load(&count);
}

static int broken_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
			 uint64_t *rkey, struct decant_error *err)
{
	if (region == 0)
		atomic_store(&sink_memory, (uint8_t *)memory - offset);
	return fabric_loop_ops.sink_expose(sink, region, offset, length, memory, rkey, err);
}

/* All or nothing to the caller, so a full queue is waited for here. */
static int post(struct fabric_source *source, const struct fabric_write *write, uint32_t page, uint32_t pages,
		const void *data)
{
	struct fabric_write part = *write;
	int ret;

	if (pages == 0)
		return 0;
	part.offset = (uint64_t)page * PAGE;
	part.length = pages * PAGE;
	part.data = data;
	while ((ret = fabric_loop_ops.source_write(source, &part)) == -EAGAIN) {
		ret = fabric_loop_ops.source_wait(source, 1000000000u);
		if (ret < 0 && ret != -ETIMEDOUT)
			return ret;
	}
	return ret;
}

/* The write's first page to which the plan applies; its end if there is none. */
static uint32_t find_victim(const struct fabric_write *write)
{
	uint32_t first = (uint32_t)(write->offset / PAGE), end = first + write->length / PAGE;
	const uint8_t *there = atomic_load(&sink_memory);

	if (write->region != 0 || atomic_load(&guest_paused) != plan.last_pass)
		return end;
	if (plan.kind != BROKEN_BARRIER && atomic_load(&count) != 0)
		return plan.last_pass && struck >= first && struck < end ? struck : end;
	for (uint32_t page = first; page < end; page++) {
		const uint8_t *here = (const uint8_t *)write->data + (size_t)(page - first) * PAGE;

		if (page >= plan.first && page < plan.end &&
		    (!plan.last_pass || memcmp(here, there + (size_t)page * PAGE, PAGE) != 0))
			return page;
	}
	return end;
}

/* The write but for @victim, which is sent as in @instead, or (NULL) not at all. */
static int post_but(struct fabric_source *source, const struct fabric_write *write, uint32_t victim,
		    const void *instead)
{
	const uint32_t first = (uint32_t)(write->offset / PAGE), end = first + write->length / PAGE;
	const uint8_t *data = write->data;
	int ret = post(source, write, first, victim - first, data);

	if (ret == 0 && instead != NULL)
		ret = post(source, write, victim, 1, instead);
	if (ret == 0)
		ret = post(source, write, victim + 1, end - victim - 1,
			   data + (size_t)(victim + 1 - first) * PAGE);
	return ret;
}

static int break_write(struct fabric_source *source, const struct fabric_write *write, uint32_t victim)
{
	const uint32_t first = (uint32_t)(write->offset / PAGE), end = first + write->length / PAGE;
	const uint8_t *page = (const uint8_t *)write->data + (size_t)(victim - first) * PAGE;
	int ret;

	switch (plan.kind) {
	case BROKEN_SKIP:
		return post_but(source, write, victim, NULL);
	case BROKEN_HALF:
		memcpy(scratch, page, PAGE / 2);
		memcpy(scratch + PAGE / 2, atomic_load(&sink_memory) + (size_t)victim * PAGE + PAGE / 2, PAGE / 2);
		return post_but(source, write, victim, scratch);
	case BROKEN_SHIFT:
		ret = post(source, write, first, victim - first, write->data);
		return ret != 0 ? ret : post(source, write, victim, end - victim, page - PAGE);
	case BROKEN_GARBAGE:
		memset(scratch, 0x5a, PAGE);
		ret = post(source, write, first, end - first, write->data);
		return ret != 0 ? ret : post(source, write, plan.end, 1, scratch);
	case BROKEN_BARRIER: /* still on its way when the fence cuts it off */
		ret = plan.first > first ? post(source, write, first, plan.first - first, write->data) : 0;
		return ret != 0 || plan.end >= end
			       ? ret
			       : post(source, write, plan.end, end - plan.end,
				      (const uint8_t *)write->data + (size_t)(plan.end - first) * PAGE);
	case BROKEN_NOT:
		break;
	}
	return 0;
}

static int broken_write(struct fabric_source *source, const struct fabric_write *write)
{
	uint32_t end = (uint32_t)((write->offset + write->length) / PAGE);
	uint32_t victim = plan.kind == BROKEN_NOT ? end : find_victim(write);

	if (victim == end)
		return fabric_loop_ops.source_write(source, write);
	struck = victim;
	atomic_fetch_add(&count, 1);
	return break_write(source, write, victim);
}

const struct fabric_ops *fabric_find(const char *name)
{
	if (strcmp(name, fabric_loop_ops.name) != 0)
		return NULL;
	if (broken_ops.name == NULL) {
		broken_ops = fabric_loop_ops;
		broken_ops.sink_expose = broken_expose;
		broken_ops.source_write = broken_write;
	}
	return &broken_ops;
}
