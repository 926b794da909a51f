/* SPDX-License-Identifier: BSD-2-Clause */
/* stress_layout.c -- which page of the stress guest is what; compiled for the 32-bit guest and for the host */
#include "guest/stress_layout.h"

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t block_end(uint32_t first, uint32_t pages)
{
	return pages == 0 ? first : ((first + pages) / STRESS_SLOT_PAGES + 1) * STRESS_SLOT_PAGES;
}

void stress_layout_defaults(struct stress_boot *boot)
{
	boot->wss_pages = least(STRESS_WSS_DEFAULT, boot->memory_pages / 4);
	boot->data_pages = least(STRESS_DATA_DEFAULT, boot->memory_pages / 4);
	boot->zero_pages = least(STRESS_ZERO_DEFAULT, boot->memory_pages / 16);
}

static int is_data(const struct stress_layout *layout, uint32_t slot)
{
	return (layout->data_map[slot / 32] >> (slot % 32)) & 1;
}

static void draw_data(struct stress_layout *layout, const struct stress_boot *boot)
{
	uint32_t random = boot->seed;

	for (uint32_t i = 0; i < sizeof(layout->data_map) / sizeof(layout->data_map[0]); i++)
		layout->data_map[i] = 0;
	for (uint32_t piece = 0; piece < layout->pieces; piece++) {
		uint32_t slot = piece;

		if (boot->scatter) {
			random = random * 1664525u + 1013904223u;
			slot = (random >> 16) % layout->slots;
			while (is_data(layout, slot))
				slot = slot + 1 == layout->slots ? 0 : slot + 1;
		}
		layout->data_map[slot / 32] |= 1u << (slot % 32);
		layout->last_slot = slot;
	}
}

uint32_t stress_layout_room(const struct stress_boot *boot)
{
	uint32_t memory = least(boot->memory_pages, STRESS_SLOTS_MAX * STRESS_SLOT_PAGES);
	uint32_t first;

	if (boot->wss_pages > memory || boot->zero_pages > memory)
		return 0;
	first = block_end(block_end(STRESS_WSS_FIRST, boot->wss_pages), boot->zero_pages);
	return first > memory ? 0 : (memory - first) / STRESS_SLOT_PAGES * STRESS_SLOT_PAGES;
}

int stress_layout_plan(struct stress_layout *layout, const struct stress_boot *boot)
{
	uint32_t room = stress_layout_room(boot);

	layout->memory_pages = least(boot->memory_pages, STRESS_SLOTS_MAX * STRESS_SLOT_PAGES);
	layout->vcpus = boot->vcpus;
	layout->wss_pages = boot->wss_pages;
	layout->zero_first = block_end(STRESS_WSS_FIRST, boot->wss_pages);
	layout->zero_pages = boot->zero_pages;
	layout->slot_first = block_end(layout->zero_first, boot->zero_pages);
	layout->slots = room / STRESS_SLOT_PAGES;
	layout->pieces = (boot->data_pages + STRESS_SLOT_PAGES - 1) / STRESS_SLOT_PAGES;
	layout->last_slot = 0;
	layout->last_pages = boot->data_pages - (layout->pieces - 1) * STRESS_SLOT_PAGES;
	if (boot->memory_pages < STRESS_MEMORY_MIN || layout->slot_first > layout->memory_pages ||
	    boot->wss_pages > layout->memory_pages || boot->zero_pages > layout->memory_pages ||
	    boot->data_pages > room)
		return 0;
	draw_data(layout, boot);
	return 1;
}

uint32_t stress_layout_part(const struct stress_layout *layout, uint32_t part)
{
	uint32_t each = layout->wss_pages / layout->vcpus;
	uint32_t rest = layout->wss_pages % layout->vcpus;

	return STRESS_WSS_FIRST + part * each + least(part, rest);
}

enum stress_kind stress_layout_kind(const struct stress_layout *layout, uint32_t page, uint32_t *end)
{
	uint32_t wss_end = STRESS_WSS_FIRST + layout->wss_pages;
	uint32_t zero_end = layout->zero_first + layout->zero_pages;
	uint32_t slot, filled;

	*end = layout->memory_pages;
	if (page < wss_end) {
		*end = page < STRESS_WSS_FIRST ? STRESS_WSS_FIRST : wss_end;
		return page < STRESS_WSS_FIRST ? STRESS_KIND_HOLE : STRESS_KIND_WSS;
	}
	if (page < zero_end) {
		*end = page < layout->zero_first ? layout->zero_first : zero_end;
		return page < layout->zero_first ? STRESS_KIND_HOLE : STRESS_KIND_ZERO;
	}
	if (page < layout->slot_first) {
		*end = layout->slot_first;
		return STRESS_KIND_HOLE;
	}
	slot = (page - layout->slot_first) / STRESS_SLOT_PAGES;
	if (slot >= layout->slots)
		return STRESS_KIND_HOLE;
	*end = layout->slot_first + (slot + 1) * STRESS_SLOT_PAGES;
	if (!is_data(layout, slot))
		return STRESS_KIND_HOLE;
	filled = slot == layout->last_slot ? layout->last_pages : STRESS_SLOT_PAGES;
	if (page - layout->slot_first - slot * STRESS_SLOT_PAGES >= filled)
		return STRESS_KIND_HOLE;
	*end -= STRESS_SLOT_PAGES - filled;
	return STRESS_KIND_DATA;
}
