/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zero.c -- which pages hold nothing but zeros
 *
 * Theory of operation
 * -------------------
 * A page with data nearly always shows it in its first cache line, so that is looked at first. A zero page must be read to its
 * end: in blocks of eight vectors that are ORed together and tested once, so that the loads do not wait for the tests.
 *
 * The widest unit the CPU has is picked at the first call. Picking twice at once finds the same answer.
 */
#include "migration/zero.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "util/bitmap.h"

#define PAGE_BYTES 4096u
#define LINE_BYTES 64u

/* The guest writes while this reads: a race by design, see zero.h. */
#define READS_RACY __attribute__((no_sanitize("thread")))

static bool always_supported(void)
{
	return true;
}

READS_RACY static bool portable_page(const void *page)
{
	const uint64_t *word = page;

	for (size_t i = 0; i < PAGE_BYTES / sizeof(*word); i += 8) {
		uint64_t any = word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] |
			       word[i + 6] | word[i + 7];

		if (any != 0)
			return false;
	}
	return true;
}

#if defined(__x86_64__)

static bool sse2_supported(void)
{
	return __builtin_cpu_supports("sse2");
}

static bool avx2_supported(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool avx512_supported(void)
{
	return __builtin_cpu_supports("avx512f");
}

READS_RACY __attribute__((target("sse2"))) static bool sse2_any(const __m128i *at, size_t count)
{
	__m128i any = _mm_load_si128(at);

	for (size_t i = 1; i < count; i++)
		any = _mm_or_si128(any, _mm_load_si128(at + i));
	return _mm_movemask_epi8(_mm_cmpeq_epi8(any, _mm_setzero_si128())) != 0xffff;
}

READS_RACY __attribute__((target("sse2"))) static bool sse2_page(const void *page)
{
	const __m128i *at = page;

	if (sse2_any(at, LINE_BYTES / sizeof(*at)))
		return false;
	for (size_t i = 0; i < PAGE_BYTES / sizeof(*at); i += 8)
		if (sse2_any(at + i, 8))
			return false;
	return true;
}

READS_RACY __attribute__((target("avx2"))) static bool avx2_any(const __m256i *at, size_t count)
{
	__m256i any = _mm256_load_si256(at);

	for (size_t i = 1; i < count; i++)
		any = _mm256_or_si256(any, _mm256_load_si256(at + i));
	return !_mm256_testz_si256(any, any);
}

READS_RACY __attribute__((target("avx2"))) static bool avx2_page(const void *page)
{
	const __m256i *at = page;

	if (avx2_any(at, LINE_BYTES / sizeof(*at)))
		return false;
	for (size_t i = 0; i < PAGE_BYTES / sizeof(*at); i += 8)
		if (avx2_any(at + i, 8))
			return false;
	return true;
}

READS_RACY __attribute__((target("avx512f"))) static bool avx512_any(const __m512i *at, size_t count)
{
	__m512i any = _mm512_load_si512(at);

	for (size_t i = 1; i < count; i++)
		any = _mm512_or_si512(any, _mm512_load_si512(at + i));
	return _mm512_test_epi64_mask(any, any) != 0;
}

READS_RACY __attribute__((target("avx512f"))) static bool avx512_page(const void *page)
{
	const __m512i *at = page;

	if (avx512_any(at, 1))
		return false;
	for (size_t i = 0; i < PAGE_BYTES / sizeof(*at); i += 8)
		if (avx512_any(at + i, 8))
			return false;
	return true;
}

#endif

static const struct zero_variant variants[] = {
#if defined(__x86_64__)
	{ "avx512", avx512_supported, avx512_page },
	{ "avx2", avx2_supported, avx2_page },
	{ "sse2", sse2_supported, sse2_page },
#endif
	{ "portable", always_supported, portable_page },
};

static const struct zero_variant *pick(void)
{
	static const struct zero_variant *_Atomic picked;
	const struct zero_variant *variant = atomic_load_explicit(&picked, memory_order_relaxed);

	if (variant != NULL)
		return variant;
	variant = variants;
	while (!variant->supported())
		variant++;
	atomic_store_explicit(&picked, variant, memory_order_relaxed);
	return variant;
}

const struct zero_variant *zero_variants(size_t *count)
{
	*count = sizeof(variants) / sizeof(variants[0]);
	return variants;
}

bool zero_page(const void *page)
{
	return pick()->page(page);
}

uint64_t zero_scan(const void *memory, uint64_t pages, uint64_t *bitmap)
{
	bool (*is_zero)(const void *page) = pick()->page;
	const char *base = memory;
	uint64_t cleared = 0;
	uint64_t first = 0;
	uint64_t run;

	while ((run = bitmap_next_run(bitmap, &first, pages)) > 0) {
		for (uint64_t end = first + run; first < end; first++) {
			if (!is_zero(base + first * PAGE_BYTES))
				continue;
			bitmap_clear(bitmap, first);
			cleared++;
		}
	}
	return cleared;
}
