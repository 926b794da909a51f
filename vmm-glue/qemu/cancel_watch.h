/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cancel_watch.h -- a cancel that is heard inside the mover's calls, too
 *
 * Who polls a descriptor hears what wakes it, but not in a call that blocks. So a thread watches it as well: if the watch is not stopped
 * soon after the wake, it cancels the mover. Who is not in such a call has the time to tell the other end why it is over.
 */
#ifndef QEMU_CANCEL_WATCH_H
#define QEMU_CANCEL_WATCH_H

#include <decant/error.h>
#include <decant/mover.h>
#include <pthread.h>

struct cancel_watch {
	/* set by cancel_watch_start(), read-only after */
	pthread_t thread;
	int wake_fd;
	int stop_fd;

	pthread_mutex_t lock;
	/* protected by lock */
	struct decant_mover *mover; /* to be cancelled; NULL: none */
};

/* cancel_watch_start() -- watch @wake_fd, an io_wake; 0 or -errno */
int cancel_watch_start(struct cancel_watch *watch, int wake_fd, struct decant_error *err);

/* cancel_watch_mover() -- what a cancel is to end from now on; NULL: nothing, and the one before may be closed; any thread */
void cancel_watch_mover(struct cancel_watch *watch, struct decant_mover *mover);

/* cancel_watch_stop() -- nothing is cancelled any more */
void cancel_watch_stop(struct cancel_watch *watch);

#endif
