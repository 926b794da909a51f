/* SPDX-License-Identifier: BSD-2-Clause */
/* zero_look.c -- when it is worth looking for pages of zeros */
#include "migration/zero_look.h"

#include "migration/zero.h"
#include "util/bitmap.h"

#include <decant/memory.h>

static const void *page_at(const void *memory, uint64_t page)
{
	return (const char *)memory + page * DECANT_PAGE_SIZE;
}

static void judge(struct zero_look *look)
{
	if (look->mode != DECANT_ZERO_SCAN_AUTO || look->window_looked < ZERO_LOOK_WINDOW)
		return;
	look->sampling = look->window_zeros < look->window_looked / ZERO_LOOK_SHARE;
	look->window_looked = look->window_zeros = 0;
}

static uint64_t look_at_all(struct zero_look *look, const void *memory, uint64_t pages, uint64_t *bitmap)
{
	const uint64_t looked = bitmap_count(bitmap, 0, pages);
	const uint64_t zeros = zero_scan(memory, pages, bitmap);

	look->looked += looked;
	look->zeros += zeros;
	look->window_looked += looked;
	look->window_zeros += zeros;
	return zeros;
}

/* Is one of the sampled pages zero? Or is there none among them that could be? Then it costs little to look at all. */
static bool sample(struct zero_look *look, const void *memory, uint64_t pages, const uint64_t *bitmap)
{
	uint64_t looked = 0;
	bool zero = false;

	for (uint64_t page = look->phase; page < pages && !zero; page += ZERO_LOOK_SAMPLE) {
		if (!bitmap_test(bitmap, page))
			continue;
		looked++;
		zero = zero_page(page_at(memory, page));
	}
	/* an odd step comes to each place in turn */
	look->phase = (look->phase + 27) % ZERO_LOOK_SAMPLE;
	look->looked += looked;
	return zero || looked == 0;
}

uint64_t zero_look_chunk(struct zero_look *look, const void *memory, uint64_t pages, uint64_t *bitmap)
{
	uint64_t zeros;

	if (look->mode == DECANT_ZERO_SCAN_OFF)
		return 0;
	if (!look->sampling) {
		zeros = look_at_all(look, memory, pages, bitmap);
		judge(look);
		return zeros;
	}
	if (!sample(look, memory, pages, bitmap))
		return 0;
	zeros = look_at_all(look, memory, pages, bitmap);
	look->sampling = zeros < pages / ZERO_LOOK_SHARE;
	look->window_looked = look->window_zeros = 0;
	return zeros;
}

bool zero_look_finds_data(const struct zero_look *look, const void *memory, uint64_t pages)
{
	if (look->mode == DECANT_ZERO_SCAN_OFF)
		return true;
	for (uint64_t page = 0; page < pages; page++)
		if (!zero_page(page_at(memory, page)))
			return true;
	return false;
}
