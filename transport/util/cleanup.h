/* SPDX-License-Identifier: BSD-2-Clause */
/* cleanup.h -- scope-local clean-up; for things that never outlive the function */
#ifndef UTIL_CLEANUP_H
#define UTIL_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_unlock(pthread_mutex_t **mutex)
{
	if (*mutex != NULL)
		pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

#define DECANT_AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define DECANT_AUTO_CLOSE __attribute__((cleanup(cleanup_close)))

#define CLEANUP_PASTE2(a, b) a##b
#define CLEANUP_PASTE(a, b) CLEANUP_PASTE2(a, b)

/* locks @mutex until the end of the scope */
#define DECANT_AUTO_UNLOCK(mutex)                              \
	pthread_mutex_t *CLEANUP_PASTE(scoped_lock_, __LINE__) \
		__attribute__((cleanup(cleanup_unlock), unused)) = cleanup_lock(mutex)

#endif
