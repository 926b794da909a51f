/* SPDX-License-Identifier: BSD-2-Clause */
/* window.c -- how much may be under way: what the network carries in a given time */
#include "fabric/window.h"

#include "util/clock.h"

uint64_t window_bytes(const struct window *window, uint64_t min, uint64_t max)
{
	double bytes;

	if (window->time_ns == 0)
		return max;
	bytes = (double)window->rate_Bps * ((double)window->time_ns / (double)NSEC_PER_SEC);
	if (bytes >= (double)max)
		return max;
	return bytes > (double)min ? (uint64_t)bytes : min;
}

struct window_mark window_begin(const struct window *window, uint64_t now_ns)
{
	return (struct window_mark){ .at_ns = now_ns, .done_bytes = window->done_bytes };
}

void window_end(struct window *window, const struct window_mark *mark, uint64_t bytes, bool full, uint64_t now_ns)
{
	const uint64_t ns = now_ns > mark->at_ns ? now_ns - mark->at_ns : 1;
	uint64_t rate;

	window->done_bytes += bytes;
	rate = (uint64_t)((double)(window->done_bytes - mark->done_bytes) * (double)NSEC_PER_SEC / (double)ns);
	if (rate >= window->rate_Bps)
		window->rate_Bps = rate;
	else if (full)
		window->rate_Bps -= (window->rate_Bps - rate) / 4;
}
