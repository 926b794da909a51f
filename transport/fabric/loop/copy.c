/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * copy.c -- guest pages from one place of memory to another, past the caches
 *
 * The destination of a page is not read soon, and reading each of its lines into the cache before it is overwritten costs a
 * third of the memory's bandwidth. memcpy(3) avoids that only for copies far longer than a write. So these are streaming
 * stores, a line in each of four pages in turn, for which the memory has as many rows open.
 */
#include "fabric/loop/copy.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

#define COPY_PAGE 4096u
#define COPY_LINE 64u
#define COPY_PAGES 4u

static void copy_line(char *to, const char *from)
{
	const __m128i a = _mm_load_si128((const __m128i *)from);
	const __m128i b = _mm_load_si128((const __m128i *)(from + 16));
	const __m128i c = _mm_load_si128((const __m128i *)(from + 32));
	const __m128i d = _mm_load_si128((const __m128i *)(from + 48));

	_mm_stream_si128((__m128i *)to, a);
	_mm_stream_si128((__m128i *)(to + 16), b);
	_mm_stream_si128((__m128i *)(to + 32), c);
	_mm_stream_si128((__m128i *)(to + 48), d);
}

static void copy_four_pages(char *to, const char *from)
{
	for (size_t line = 0; line < COPY_PAGE; line += COPY_LINE) {
		for (size_t page = 0; page < COPY_PAGES * COPY_PAGE; page += COPY_PAGE)
			copy_line(to + page + line, from + page + line);
	}
}

/* returns how much of it was copied */
static size_t copy_streaming(char *to, const char *from, size_t length)
{
	size_t done = 0;

	if ((((uintptr_t)to | (uintptr_t)from) & 15) != 0)
		return 0;
	for (; length - done >= COPY_PAGES * COPY_PAGE; done += COPY_PAGES * COPY_PAGE)
		copy_four_pages(to + done, from + done);
	/* streaming stores are not ordered by a release alone */
	_mm_sfence();
	return done;
}
#else
static size_t copy_streaming(char *to, const char *from, size_t length)
{
	(void)to;
	(void)from;
	(void)length;
	return 0;
}
#endif

void copy_pages(void *to, const void *from, size_t length)
{
	const size_t done = copy_streaming(to, from, length);

	memcpy((char *)to + done, (const char *)from + done, length - done);
}
