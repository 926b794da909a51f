/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress_stamp.h -- what the stress guest writes into a page, computed from page number, sweep and seed alone
 *
 * A page of the working set carries after sweep s: the first word, the last word, and one word inside at an offset that
 * changes with page and sweep. Inside words of earlier sweeps stay where they were, so the last few can be judged too:
 * odd sweeps use the upper half of the page, even ones the lower, and within a half an offset comes again after 256 sweeps.
 * A cold page carries a word in each eighth, the first and last words of the page among them.
 *
 * Page numbers and sweeps are multiplied by odd numbers, so that no two pages of a sweep and no two sweeps of a page
 * share a word (within 2^32). All words of a page are its first one plus constants, so their sum is known too: to compare
 * the sum is cheaper than to compare each, and only a page that fails it is looked at word by word.
 */
#ifndef GUEST_STRESS_STAMP_H
#define GUEST_STRESS_STAMP_H

#include <stdint.h>

#define STAMP_PAGE_SIZE 4096u
#define STAMP_LAST 4092u             /* byte offset of the last word */
#define STAMP_PAGE 0x9e3779b1u       /* odd */
#define STAMP_SWEEP 0x85ebca6bu      /* odd */
#define STAMP_INSIDE_ADD 0x27d4eb2fu /* the inside word, less the first */
#define STAMP_LAST_ADD 0x165667b1u   /* the last word, less the first */
#define STAMP_PLACE_STEP 37u         /* odd */
#define STAMP_HALF_EVEN 4u           /* byte offset of place 0 in the half that even sweeps use, */
#define STAMP_HALF_ODD 2048u         /* and odd ones */
#define STAMP_HISTORY 4u             /* inside words judged in the verdict: of the last sweep and those before */
#define STAMP_COLD 0xc2b2ae35u
#define STAMP_COLD_ADD 0x2c1b3c6du /* each cold word, less the one before */
#define STAMP_COLD_WORDS 8u
#define STAMP_EIGHTH 512u
#define STAMP_QUARTER 1024u

/* What the stamps of one sweep have in common. */
struct stamp_key {
	uint32_t word;  /* added to the page's part */
	uint32_t place; /* added to the page's part */
	uint32_t half;  /* byte offset of the half */
};

static inline struct stamp_key stamp_key(uint32_t sweep, uint32_t seed)
{
	return (struct stamp_key){
		.word = (sweep * STAMP_SWEEP) ^ seed,
		.place = sweep * STAMP_PLACE_STEP,
		.half = sweep & 1 ? STAMP_HALF_ODD : STAMP_HALF_EVEN,
	};
}

static inline uint32_t *stamp_at(uint32_t page, uint32_t offset)
{
	return (uint32_t *)(page * STAMP_PAGE_SIZE + offset);
}

static inline uint32_t stamp_first(uint32_t page, const struct stamp_key *key)
{
	return page * STAMP_PAGE + key->word;
}

/* Of 256 places, 8 bytes apart: a shape that the processor's address modes have. From 4 to 4088: never the first word or the last. */
static inline uint32_t stamp_inside_offset(uint32_t page, const struct stamp_key *key)
{
	return (uint8_t)(page + key->place) * 8u + key->half;
}

static inline uint32_t stamp_sum_of(uint32_t first)
{
	return 3 * first + STAMP_INSIDE_ADD + STAMP_LAST_ADD;
}

static inline uint32_t stamp_cold_first(uint32_t page, uint32_t seed)
{
	return (page * STAMP_PAGE ^ seed) + STAMP_COLD;
}

/* byte offset within an eighth of the cold words that are neither first nor last */
static inline uint32_t stamp_cold_within(uint32_t page)
{
	return (page * 4) & (STAMP_EIGHTH - 4);
}

static inline uint32_t stamp_cold_sum_of(uint32_t first)
{
	return STAMP_COLD_WORDS * first + STAMP_COLD_WORDS * (STAMP_COLD_WORDS - 1) / 2 * STAMP_COLD_ADD;
}

#endif
