/* SPDX-License-Identifier: BSD-2-Clause */
/* bitmap.c -- ranges and runs of bits, a word at a time */
#include "util/bitmap.h"

#include <stdatomic.h>
#include <stdlib.h>

/* the bits of word @word that lie in [first, end) */
static uint64_t bitmap_mask(uint64_t word, uint64_t first, uint64_t end)
{
	const uint64_t base = word * 64;
	uint64_t mask = UINT64_MAX;

	if (first > base)
		mask <<= first - base;
	if (end - base < 64)
		mask &= ~(UINT64_MAX << (end - base));
	return mask;
}

uint64_t *bitmap_new(uint64_t bits)
{
	const size_t words = bitmap_words(bits);

	return calloc(words > 0 ? words : 1, sizeof(uint64_t));
}

void bitmap_set_range(uint64_t *map, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;

	for (uint64_t w = first / 64; w * 64 < end; w++)
		map[w] |= bitmap_mask(w, first, end);
}

void bitmap_clear_range(uint64_t *map, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;

	for (uint64_t w = first / 64; w * 64 < end; w++)
		map[w] &= ~bitmap_mask(w, first, end);
}

/* the first word of [w, words) that is not @flip, or one of the last few: a line of the cache at a time */
static uint64_t bitmap_skip(const uint64_t *map, uint64_t flip, uint64_t w, uint64_t words)
{
	while (w + 8 <= words) {
		uint64_t other = 0;

		for (unsigned int i = 0; i < 8; i++)
			other |= map[w + i] ^ flip;
		if (other != 0)
			break;
		w += 8;
	}
	return w;
}

uint64_t bitmap_count(const uint64_t *map, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;
	uint64_t set = 0;

	for (uint64_t w = first / 64; w * 64 < end; w++) {
		w = bitmap_skip(map, 0, w, end / 64);
		if (w * 64 < end && map[w] != 0)
			set += (uint64_t)__builtin_popcountll(map[w] & bitmap_mask(w, first, end));
	}
	return set;
}

/* the first bit of [bit, end) that is set in map ^ flip, or end */
static uint64_t bitmap_find(const uint64_t *map, uint64_t flip, uint64_t bit, uint64_t end)
{
	uint64_t w, word;

	if (bit >= end)
		return end;
	w = bit / 64;
	word = (map[w] ^ flip) & (UINT64_MAX << (bit % 64));
	if (word == 0)
		w = bitmap_skip(map, flip, w + 1, bitmap_words(end)) - 1;
	while (word == 0) {
		w++;
		if (w * 64 >= end)
			return end;
		word = map[w] ^ flip;
	}
	bit = w * 64 + (uint64_t)__builtin_ctzll(word);
	return bit < end ? bit : end;
}

uint64_t bitmap_next_run(const uint64_t *map, uint64_t *first, uint64_t end)
{
	const uint64_t start = bitmap_find(map, 0, *first, end);

	if (start == end)
		return 0;
	*first = start;
	return bitmap_find(map, UINT64_MAX, start, end) - start;
}

void bitmap_or(uint64_t *into, const uint64_t *from, uint64_t bits)
{
	const size_t words = bitmap_words(bits);

	for (size_t w = bitmap_skip(from, 0, 0, words); w < words; w = bitmap_skip(from, 0, w + 1, words))
		into[w] |= from[w];
}

void bitmap_or_atomic_take(uint64_t *into, _Atomic uint64_t *from, uint64_t bits)
{
	const size_t words = bitmap_words(bits);

	for (size_t w = 0; w < words; w++) {
		/* A plain look first keeps clean cache lines shared; a mark set after it is seen by the next call. */
		if (atomic_load_explicit(&from[w], memory_order_relaxed) == 0)
			continue;
		into[w] |= atomic_exchange_explicit(&from[w], 0, memory_order_acquire);
	}
}
