/* SPDX-License-Identifier: BSD-2-Clause */
/* words.c -- sizes, rates and times for people to read */
#include "vmm/words.h"

#include <stdio.h>

static void words_scale(char text[WORDS_MAX], double value, const char *suffix)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	size_t unit = 0;

	while (value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1024;
		unit++;
	}
	if (value >= 100 || value == (double)(int)value)
		snprintf(text, WORDS_MAX, "%.0f %s%s", value, units[unit], suffix);
	else
		snprintf(text, WORDS_MAX, "%.1f %s%s", value, units[unit], suffix);
}

const char *words_bytes(char text[WORDS_MAX], uint64_t bytes)
{
	words_scale(text, (double)bytes, "");
	return text;
}

const char *words_rate(char text[WORDS_MAX], uint64_t bytes_per_second)
{
	words_scale(text, (double)bytes_per_second, "/s");
	return text;
}

const char *words_time(char text[WORDS_MAX], uint64_t ns)
{
	double ms = (double)ns / 1e6;

	if (ms < 10)
		snprintf(text, WORDS_MAX, "%.2f ms", ms);
	else if (ms < 1000)
		snprintf(text, WORDS_MAX, "%.1f ms", ms);
	else
		snprintf(text, WORDS_MAX, "%.2f s", ms / 1000);
	return text;
}
