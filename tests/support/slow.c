/* SPDX-License-Identifier: BSD-2-Clause */
/* slow.c -- whether everything takes longer here than on a processor of its own */
#include "support/slow.h"

#include <stdio.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW_SANITIZED true
#endif
#endif
#ifndef SLOW_SANITIZED
#define SLOW_SANITIZED false
#endif

/* QEMU's TCG says in its model name what it is. */
static bool is_emulated(void)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];
	bool found = false;

	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
		found = strstr(line, "QEMU TCG") != NULL;
	if (file != NULL)
		fclose(file);
	return found;
}

bool slow_here(void)
{
	static int slow = -1;

	if (slow < 0)
		slow = SLOW_SANITIZED || is_emulated();
	return slow;
}
