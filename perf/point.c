/* SPDX-License-Identifier: BSD-2-Clause */
/* point.c -- what all measurements share */
#include "point.h"

#include "util/clock.h"
#include <stdio.h>
#include <sys/resource.h>

void point_listening(uint16_t port)
{
	printf("listening %u\n", port);
	fflush(stdout);
}

static uint64_t timeval_ns(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * NSEC_PER_SEC + (uint64_t)time->tv_usec * NSEC_PER_USEC;
}

uint64_t point_cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return timeval_ns(&usage.ru_utime) + timeval_ns(&usage.ru_stime);
}
