/* SPDX-License-Identifier: BSD-2-Clause */
/* cpus.c -- a set of CPUs: as text, as sets go, and as where a thread may run */
#include "util/cpus.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cpus_add(struct cpus *cpus, uint32_t cpu)
{
	if (cpu < CPUS_MAX)
		cpus->word[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

bool cpus_has(const struct cpus *cpus, uint32_t cpu)
{
	return cpu < CPUS_MAX && (cpus->word[cpu / 64] >> cpu % 64 & 1) != 0;
}

uint32_t cpus_count(const struct cpus *cpus)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < CPUS_WORDS; i++)
		count += (uint32_t)__builtin_popcountll(cpus->word[i]);
	return count;
}

bool cpus_equal(const struct cpus *a, const struct cpus *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void cpus_and(struct cpus *result, const struct cpus *a, const struct cpus *b)
{
	for (uint32_t i = 0; i < CPUS_WORDS; i++)
		result->word[i] = a->word[i] & b->word[i];
}

void cpus_without(struct cpus *result, const struct cpus *a, const struct cpus *b)
{
	for (uint32_t i = 0; i < CPUS_WORDS; i++)
		result->word[i] = a->word[i] & ~b->word[i];
}

/* false: there is no number, or one that no CPU has */
static bool parse_number(const char **at, uint32_t *number)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)**at))
		return false;
	errno = 0;
	value = strtoul(*at, &end, 10);
	if (errno != 0 || value >= CPUS_MAX)
		return false;
	*at = end;
	*number = (uint32_t)value;
	return true;
}

/* "3" or "0-3" */
static bool parse_range(const char **at, struct cpus *cpus)
{
	uint32_t first, last;

	if (!parse_number(at, &first))
		return false;
	last = first;
	if (**at == '-') {
		(*at)++;
		if (!parse_number(at, &last) || last < first)
			return false;
	}
	for (uint32_t cpu = first; cpu <= last; cpu++)
		cpus_add(cpus, cpu);
	return true;
}

int cpus_parse(const char *text, struct cpus *cpus, struct decant_error *err)
{
	struct cpus found = { 0 };
	const char *at = text;

	while (parse_range(&at, &found)) {
		if (*at == '\0') {
			*cpus = found;
			return 0;
		}
		if (*at++ != ',')
			break;
	}
	return decant_error_set(err, -EINVAL,
				"\"%s\": no list of CPUs; write numbers below %u and ranges, as 0-3,8", text,
				CPUS_MAX);
}

static uint32_t next_cpu(const struct cpus *cpus, uint32_t from, bool there)
{
	while (from < CPUS_MAX && cpus_has(cpus, from) != there)
		from++;
	return from;
}

const char *cpus_format(const struct cpus *cpus, char text[CPUS_TEXT_MAX])
{
	static const char more[] = ",...";
	const size_t room = CPUS_TEXT_MAX - sizeof(more);
	uint32_t first = next_cpu(cpus, 0, true);
	size_t used = 0;

	snprintf(text, CPUS_TEXT_MAX, "none");
	while (first < CPUS_MAX) {
		const uint32_t end = next_cpu(cpus, first, false);
		char range[32];
		int length = snprintf(range, sizeof(range), "%s%" PRIu32, used > 0 ? "," : "", first);

		if (end > first + 1)
			length += snprintf(range + length, sizeof(range) - (size_t)length, "-%" PRIu32, end - 1);
		if (used + (size_t)length >= room) {
			memcpy(text + used, more, sizeof(more));
			break;
		}
		memcpy(text + used, range, (size_t)length + 1);
		used += (size_t)length;
		first = next_cpu(cpus, end, true);
	}
	return text;
}

int cpus_of_thread(struct cpus *cpus)
{
	cpu_set_t set[sizeof(*cpus) / sizeof(cpu_set_t)];

	static_assert(sizeof(set) == sizeof(*cpus), "the kernel's set is as large");
	memset(set, 0, sizeof(set));
	if (sched_getaffinity(0, sizeof(set), set) < 0)
		return -errno;
	memcpy(cpus, set, sizeof(*cpus));
	return 0;
}

int cpus_bind_thread(const struct cpus *cpus)
{
	cpu_set_t set[sizeof(*cpus) / sizeof(cpu_set_t)];

	memcpy(set, cpus, sizeof(*cpus));
	return sched_setaffinity(0, sizeof(set), set) < 0 ? -errno : 0;
}
