/* SPDX-License-Identifier: BSD-2-Clause */
/* cpus.h -- a set of CPUs: as text, as sets go, and as where a thread may run */
#ifndef UTIL_CPUS_H
#define UTIL_CPUS_H

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>

#define CPUS_MAX 8192u /* the most that Linux can be built for on x86 */
#define CPUS_WORDS (CPUS_MAX / 64u)
#define CPUS_TEXT_MAX 256 /* with terminator; a longer list ends with ",..." */

struct cpus {
	uint64_t word[CPUS_WORDS];
};

/*
 * cpus_parse() -- "0-3,8": what taskset(1), cpuset(7) and /sys use
 *
 * Returns 0, or -EINVAL, saying what is wrong with @text; then *@cpus is as it was. An empty @text is none.
 */
int cpus_parse(const char *text, struct cpus *cpus, struct decant_error *err);

/* cpus_format() -- the inverse, "none" for no CPU; returns @text */
const char *cpus_format(const struct cpus *cpus, char text[CPUS_TEXT_MAX]);

void cpus_add(struct cpus *cpus, uint32_t cpu);
bool cpus_has(const struct cpus *cpus, uint32_t cpu);
uint32_t cpus_count(const struct cpus *cpus);
bool cpus_equal(const struct cpus *a, const struct cpus *b);

/* cpus_and(), cpus_without() -- those of @a that are in @b, that are not; may be one of the two */
void cpus_and(struct cpus *result, const struct cpus *a, const struct cpus *b);
void cpus_without(struct cpus *result, const struct cpus *a, const struct cpus *b);

/* cpus_of_thread(), cpus_bind_thread() -- where the calling thread may run; 0 or -errno. -EINVAL: none of them is in its cpuset */
int cpus_of_thread(struct cpus *cpus);
int cpus_bind_thread(const struct cpus *cpus);

#endif
