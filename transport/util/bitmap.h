/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bitmap.h -- bitmaps in KVM's layout: bit i is bit (i % 64) of word i / 64
 *
 * No object: an array of uint64_t with bitmap_words(bits) words. Bits beyond the last are kept 0.
 */
#ifndef UTIL_BITMAP_H
#define UTIL_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t bitmap_words(uint64_t bits)
{
	return (size_t)((bits + 63) / 64);
}

static inline bool bitmap_test(const uint64_t *map, uint64_t bit)
{
	return (map[bit / 64] >> (bit % 64)) & 1;
}

static inline void bitmap_set(uint64_t *map, uint64_t bit)
{
	map[bit / 64] |= 1ull << (bit % 64);
}

static inline void bitmap_clear(uint64_t *map, uint64_t bit)
{
	map[bit / 64] &= ~(1ull << (bit % 64));
}

/* bitmap_new() -- all 0, NULL without memory; freed with free() */
uint64_t *bitmap_new(uint64_t bits);

void bitmap_set_range(uint64_t *map, uint64_t first, uint64_t count);
void bitmap_clear_range(uint64_t *map, uint64_t first, uint64_t count);

/* bitmap_count() -- bits set in [first, first + count) */
uint64_t bitmap_count(const uint64_t *map, uint64_t first, uint64_t count);

/*
 * bitmap_next_run() -- the next run of set bits in [*first, end)
 *
 * Returns its length and sets *first to its start, or returns 0. Empty stretches cost one read per word.
 */
uint64_t bitmap_next_run(const uint64_t *map, uint64_t *first, uint64_t end);

/* bitmap_or() -- into |= from, @bits bits */
void bitmap_or(uint64_t *into, const uint64_t *from, uint64_t bits);

/* bitmap_or_atomic_take() -- into |= exchange(from, 0), word by word, with acquire: collects marks that others set with release */
void bitmap_or_atomic_take(uint64_t *into, _Atomic uint64_t *from, uint64_t bits);

#endif
