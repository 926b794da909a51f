/* SPDX-License-Identifier: BSD-2-Clause */
/* cancel_watch.c -- a cancel that is heard inside the mover's calls, too */
#include "qemu/cancel_watch.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/thread.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS NSEC_PER_SEC

static void *watch_main(void *opaque)
{
	struct cancel_watch *watch = opaque;

	if (io_wait(watch->wake_fd, POLLIN, CLOCK_NEVER, watch->stop_fd) < 0 ||
	    io_wait(watch->stop_fd, POLLIN, clock_deadline_ns(PATIENCE_NS), -1) == 0)
		return NULL;
	DECANT_AUTO_UNLOCK(&watch->lock);
	if (watch->mover != NULL)
		decant_mover_cancel(watch->mover);
	return NULL;
}

int cancel_watch_start(struct cancel_watch *watch, int wake_fd, struct decant_error *err)
{
	int ret;

	*watch = (struct cancel_watch){ .wake_fd = wake_fd, .stop_fd = io_wake_new() };
	if (watch->stop_fd < 0)
		return decant_error_set(err, watch->stop_fd, "eventfd: %s", strerror(-watch->stop_fd));
	pthread_mutex_init(&watch->lock, NULL);
	ret = thread_start(&watch->thread, "decant-cancel", watch_main, watch);
	if (ret == 0)
		return 0;
	close(watch->stop_fd);
	pthread_mutex_destroy(&watch->lock);
	return decant_error_set(err, ret, "a thread: %s", strerror(-ret));
}

void cancel_watch_mover(struct cancel_watch *watch, struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&watch->lock);

	watch->mover = mover;
}

void cancel_watch_stop(struct cancel_watch *watch)
{
	io_wake_set(watch->stop_fd);
	pthread_join(watch->thread, NULL);
	close(watch->stop_fd);
	pthread_mutex_destroy(&watch->lock);
}
