/* SPDX-License-Identifier: BSD-2-Clause */
/* thread.c -- threads of the library's own */
#include "util/thread.h"

#include <signal.h>
#include <stddef.h>

static int start(pthread_t *thread, const pthread_attr_t *attr, const char *name, void *(*main)(void *), void *arg)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	/* a thread that touches memory that is not there would end the process if it blocked this one: util/fault.h */
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, attr, main, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	/* a detached thread may be gone already, and its handle with it */
	if (rc == 0 && attr == NULL)
		pthread_setname_np(*thread, name);
	return -rc;
}

int thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg)
{
	return start(thread, NULL, name, main, arg);
}

int thread_start_detached(void *(*main)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return -rc;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = start(&thread, &attr, NULL, main, arg);
	pthread_attr_destroy(&attr);
	return rc;
}
