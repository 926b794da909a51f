/* SPDX-License-Identifier: BSD-2-Clause */
/* gaps.c -- joins runs of dirty pages */
#include "migration/gaps.h"

#include "util/bitmap.h"
#include "util/clock.h"
#include <decant/memory.h>

uint64_t gaps_worth(uint64_t rate_Bps, uint64_t write_ns)
{
	const double bytes = (double)rate_Bps * (double)write_ns / (double)NSEC_PER_SEC;

	return bytes >= (double)GAP_PAGES_MAX * DECANT_PAGE_SIZE ? GAP_PAGES_MAX
								 : (uint64_t)bytes / DECANT_PAGE_SIZE;
}

uint64_t gaps_fill(uint64_t *bitmap, const uint64_t *sent, uint64_t pages, uint64_t most)
{
	uint64_t first = 0, end, run, filled = 0;

	run = most == 0 ? 0 : bitmap_next_run(bitmap, &first, pages);
	while (run > 0) {
		end = first = first + run;
		run = bitmap_next_run(bitmap, &first, pages);
		if (run == 0 || first - end > most || bitmap_count(sent, end, first - end) != first - end)
			continue;
		bitmap_set_range(bitmap, end, first - end);
		filled += first - end;
	}
	return filled;
}
