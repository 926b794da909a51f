/* SPDX-License-Identifier: BSD-2-Clause */
/* clock.c -- time in nanoseconds, and deadlines */
#include "util/clock.h"

#include <assert.h>
#include <limits.h>

static uint64_t clock_read(clockid_t id)
{
	struct timespec ts;
	const int rc = clock_gettime(id, &ts);

	assert(rc == 0);
	(void)rc;
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now_ns(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

uint64_t clock_thread_cpu_ns(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_process_cpu_ns(void)
{
	return clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_deadline_ns(uint64_t timeout_ns)
{
	const uint64_t now = clock_now_ns();

	return timeout_ns >= CLOCK_NEVER - now ? CLOCK_NEVER : now + timeout_ns;
}

int clock_poll_ms(uint64_t deadline_ns)
{
	uint64_t now, ms;

	if (deadline_ns == CLOCK_NEVER)
		return -1;
	now = clock_now_ns();
	if (deadline_ns <= now)
		return 0;
	ms = (deadline_ns - now - 1) / NSEC_PER_MSEC + 1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

struct timespec clock_timespec(uint64_t deadline_ns)
{
	/* never: as far away as a signed 64-bit count of nanoseconds goes, which every libc can still subtract from */
	const uint64_t ns = deadline_ns > INT64_MAX ? INT64_MAX : deadline_ns;

	return (struct timespec){
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};
}
