/* SPDX-License-Identifier: BSD-2-Clause */
/* clock.h -- time: CLOCK_MONOTONIC and thread CPU time in nanoseconds, and deadlines */
#ifndef UTIL_CLOCK_H
#define UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)

/* A deadline that never comes. */
#define CLOCK_NEVER UINT64_MAX

/* clock_now_ns() -- CLOCK_MONOTONIC */
uint64_t clock_now_ns(void);

/* clock_thread_cpu_ns() -- CPU time of the calling thread */
uint64_t clock_thread_cpu_ns(void);

/* clock_process_cpu_ns() -- CPU time of all threads of this process, those that have ended included */
uint64_t clock_process_cpu_ns(void);

/* clock_deadline_ns() -- now + @timeout_ns without overflow; CLOCK_NEVER stays never */
uint64_t clock_deadline_ns(uint64_t timeout_ns);

/* clock_poll_ms() -- what poll(2) needs to wake at @deadline: 0 if it has passed, rounded up, -1 for never */
int clock_poll_ms(uint64_t deadline_ns);

/* clock_timespec() -- for pthread_cond_clockwait() with CLOCK_MONOTONIC */
struct timespec clock_timespec(uint64_t deadline_ns);

#endif
