/* SPDX-License-Identifier: BSD-2-Clause */
/* thread.h -- threads of the library's own: named, and deaf to the process's signals, but for SIGBUS */
#ifndef UTIL_THREAD_H
#define UTIL_THREAD_H

#include <pthread.h>

/*
 * thread_start() -- start @main(@arg) with every signal blocked but SIGBUS; @name has up to 15 bytes
 *
 * Returns 0 or -errno.
 */
int thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg);

/* thread_start_detached() -- the same for a thread that nobody joins */
int thread_start_detached(void *(*main)(void *), void *arg);

#endif
