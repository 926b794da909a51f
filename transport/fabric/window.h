/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * window.h -- how much may be under way: what the network carries in a given time
 *
 * Theory of operation
 * -------------------
 * A deep queue keeps a fast network busy, and is seconds of work to a slow one: whoever judges by how fast pushes are taken whether a guest
 * can be stopped (QEMU does) judges wrongly by as much. So the queue is bounded in time, by the rate at which the network has
 * been seen to carry.
 *
 * A piece of work tells a rate by all that was done from its posting to its end. Two ends that are noticed together, late, would tell
 * twice the rate if each were timed by the one before. Work that came to a queue with room to spare tells only that the network
 * carries that much: it counts if it is more than what is known. Work that found the queue full tells what the network can do, unless ends
 * are noticed later than the window is long: then it tells no more than the window over that time, and the window comes down to its minimum.
 */
#ifndef FABRIC_WINDOW_H
#define FABRIC_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct window {
	uint64_t time_ns;    /* what may be under way, in time; 0: there is no bound */
	uint64_t rate_Bps;   /* 0: nothing is known yet */
	uint64_t done_bytes; /* since the beginning */
};

/* When a piece of work was posted, and what had been done by then. */
struct window_mark {
	uint64_t at_ns, done_bytes;
};

/* window_bytes() -- what may be under way now; between @min and @max, and @min as long as nothing is known */
uint64_t window_bytes(const struct window *window, uint64_t min, uint64_t max);

/* window_begin() -- work is posted @now_ns */
struct window_mark window_begin(const struct window *window, uint64_t now_ns);

/* window_end() -- it, of @bytes, is found to be done @now_ns; @full: something had to wait for room meanwhile */
void window_end(struct window *window, const struct window_mark *mark, uint64_t bytes, bool full, uint64_t now_ns);

#endif
