/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resolve.c -- look up a host name in a thread, so that the caller can give up
 *
 * The look-up belongs to two: the caller, who waits on its eventfd, and the thread. Whoever leaves last frees it; what
 * the thread found for a caller who has left is freed with it.
 */
#include "util/resolve.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct resolve_lookup {
	/* set at creation, read-only after */
	struct address address;
	int done_fd;

	/* protected by lock */
	pthread_mutex_t lock;
	int owners;
	int rc;    /* of getaddrinfo() */
	int error; /* errno, if rc is EAI_SYSTEM */
	struct addrinfo *list;
};

static int resolve_now(const struct address *address, int flags, struct addrinfo **list)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | flags,
	};
	char port[8];

	snprintf(port, sizeof(port), "%u", address->port);
	return getaddrinfo(address->host, port, &hints, list);
}

static void resolve_put(struct resolve_lookup *lookup)
{
	int owners;

	pthread_mutex_lock(&lookup->lock);
	owners = --lookup->owners;
	pthread_mutex_unlock(&lookup->lock);
	if (owners > 0)
		return;
	if (lookup->list != NULL)
		freeaddrinfo(lookup->list);
	pthread_mutex_destroy(&lookup->lock);
	close(lookup->done_fd);
	free(lookup);
}

static void *resolve_thread(void *opaque)
{
	struct resolve_lookup *lookup = opaque;
	struct addrinfo *list = NULL;
	const int rc = resolve_now(&lookup->address, 0, &list);
	const int error = errno;

	pthread_mutex_lock(&lookup->lock);
	lookup->rc = rc;
	lookup->error = error;
	lookup->list = rc == 0 ? list : NULL;
	pthread_mutex_unlock(&lookup->lock);
	io_wake_set(lookup->done_fd);
	resolve_put(lookup);
	return NULL;
}

/* a detached thread without signals: they are for the threads of whoever uses the library */
static int resolve_start(const struct address *address, struct resolve_lookup **out)
{
	struct resolve_lookup *lookup = calloc(1, sizeof(*lookup));
	int rc;

	if (lookup == NULL)
		return -ENOMEM;
	lookup->address = *address;
	lookup->owners = 2;
	rc = lookup->done_fd = io_wake_new();
	if (rc < 0)
		goto err_free;
	rc = -pthread_mutex_init(&lookup->lock, NULL);
	if (rc < 0)
		goto err_close;
	rc = thread_start_detached(resolve_thread, lookup);
	if (rc < 0)
		goto err_mutex;
	*out = lookup;
	return 0;

err_mutex:
	pthread_mutex_destroy(&lookup->lock);
err_close:
	close(lookup->done_fd);
err_free:
	free(lookup);
	return rc;
}

static int resolve_fail(const struct address *address, int rc, int error, struct decant_error *err)
{
	switch (rc) {
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return decant_error_set(err, -ENOENT,
					"host \"%s\": no such host; check the name, or give its address",
					address->host);
	case EAI_AGAIN:
		return decant_error_set(err, -EAGAIN,
					"host \"%s\": the name server does not answer; give the address instead",
					address->host);
	case EAI_MEMORY:
		return decant_error_set(err, -ENOMEM, "host \"%s\": out of memory", address->host);
	case EAI_SYSTEM:
		return decant_error_set(err, error > 0 ? -error : -EIO, "host \"%s\": %s", address->host,
					strerror(error));
	default:
		return decant_error_set(err, -ENOENT, "host \"%s\": %s", address->host, gai_strerror(rc));
	}
}

int resolve(const struct address *address, uint64_t deadline_ns, int wake_fd, struct addrinfo **list,
	    struct decant_error *err)
{
	struct resolve_lookup *lookup = NULL;
	int found, error, rc;

	if (resolve_now(address, AI_NUMERICHOST, list) == 0)
		return 0;
	rc = resolve_start(address, &lookup);
	if (rc < 0)
		return decant_error_set(err, rc, "host \"%s\": look-up: %s", address->host, strerror(-rc));
	rc = io_wait(lookup->done_fd, POLLIN, deadline_ns, wake_fd);
	if (rc < 0) {
		resolve_put(lookup);
		return decant_error_set(err, rc, "host \"%s\": look-up: %s", address->host, strerror(-rc));
	}
	pthread_mutex_lock(&lookup->lock);
	found = lookup->rc;
	error = lookup->error;
	*list = lookup->list;
	lookup->list = NULL;
	pthread_mutex_unlock(&lookup->lock);
	resolve_put(lookup);
	return found == 0 ? 0 : resolve_fail(address, found, error, err);
}
