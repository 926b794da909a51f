/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zero_look.h -- when it is worth looking for pages of zeros
 *
 * Theory of operation
 * -------------------
 * To look at a page with data costs a line of memory and a translation: little, but a twentieth of what it takes to copy it. Where there are
 * hardly any zero pages that is lost. So with DECANT_ZERO_SCAN_AUTO the looking stops when of ZERO_LOOK_WINDOW pages fewer than one in
 * ZERO_LOOK_SHARE was zero. From then on a few pages of each chunk are sampled, at other places in each; one that is zero has
 * the chunk looked at, and when that was worth it, all that follow. Zeros come in long runs, so hardly any run is missed.
 *
 * A page that nobody has looked at counts as data, and that is always right.
 */
#ifndef MIGRATION_ZERO_LOOK_H
#define MIGRATION_ZERO_LOOK_H

#include <decant/migration.h>
#include <stdbool.h>
#include <stdint.h>

#define ZERO_LOOK_WINDOW 8192u
#define ZERO_LOOK_SHARE 32u
#define ZERO_LOOK_SAMPLE 64u /* one page of so many is sampled */

/* { .mode } and zeros is one that has seen nothing yet. One thread. */
struct zero_look {
	enum decant_zero_scan mode;
	uint64_t looked, zeros;               /* pages, in all */
	uint64_t window_looked, window_zeros; /* since it was last judged */
	bool sampling;
	uint32_t phase; /* of the next chunk's sample */
};

/*
 * zero_look_chunk() -- look at those of the @pages pages at @memory whose bit in @bitmap is set (bit i = page i), if that is worth it
 *
 * Clears the bits of pages that are all zeros. Returns how many were cleared.
 */
uint64_t zero_look_chunk(struct zero_look *look, const void *memory, uint64_t pages, uint64_t *bitmap);

/*
 * zero_look_finds_data() -- is there anything but zeros in the @pages pages at @memory? True where nobody looks.
 *
 * Looks no further than the first page with data, and counts nothing.
 */
bool zero_look_finds_data(const struct zero_look *look, const void *memory, uint64_t pages);

#endif
