/* SPDX-License-Identifier: BSD-2-Clause */
/* session_slot.c -- the one place for a source at a destination */
#include "migration/session_slot.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/thread.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static void *watcher_main(void *argument)
{
	struct session_slot *slot = argument;

	/* end_fd wakes the wait as cancelled; stop_fd makes it return */
	if (io_wait(slot->stop_fd, POLLIN, CLOCK_NEVER, slot->end_fd) != 0)
		return NULL;
	DECANT_AUTO_UNLOCK(&slot->lock);
	slot->stopped = true;
	if (slot->incoming != NULL)
		incoming_cancel(slot->incoming);
	pthread_cond_broadcast(&slot->changed);
	return NULL;
}

int session_slot_init(struct session_slot *slot, struct decant_error *err)
{
	int rc;

	memset(slot, 0, sizeof(*slot));
	pthread_mutex_init(&slot->lock, NULL);
	pthread_cond_init(&slot->changed, NULL);
	slot->stop_fd = io_wake_new();
	slot->end_fd = io_wake_new();
	rc = slot->stop_fd < 0 ? slot->stop_fd : slot->end_fd;
	if (rc >= 0)
		rc = thread_start(&slot->watcher, "decant-watch", watcher_main, slot);
	if (rc == 0)
		return 0;
	if (slot->stop_fd >= 0)
		close(slot->stop_fd);
	if (slot->end_fd >= 0)
		close(slot->end_fd);
	return decant_error_set(err, rc, "receiver: %s", strerror(-rc));
}

int session_slot_offer(struct session_slot *slot, const struct handshake *handshake,
		       const struct wire_hello *hello, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&slot->lock);
	if (slot->stopped)
		return decant_error_set(err, -EBUSY, "the receiver is being stopped");
	if (slot->state == SESSION_SLOT_CLOSED)
		return decant_error_set(err, -EBUSY, "the receiver has taken its VM already; start another one");
	if (slot->state != SESSION_SLOT_FREE)
		return decant_error_set(err, -EBUSY,
					"the receiver is busy taking \"%s\" from another source; "
					"try again later or start another receiver",
					slot->hello.name);
	slot->state = SESSION_SLOT_OFFERED;
	slot->handshake = *handshake;
	slot->hello = *hello;
	pthread_cond_broadcast(&slot->changed);
	return 0;
}

int session_slot_take(struct session_slot *slot, struct handshake *handshake, struct wire_hello *hello,
		      struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&slot->lock);
	while (!slot->stopped && slot->state != SESSION_SLOT_OFFERED)
		pthread_cond_wait(&slot->changed, &slot->lock);
	if (slot->stopped)
		return decant_error_set(err, -ECANCELED, "stopped");
	slot->state = SESSION_SLOT_SERVED;
	*hello = slot->hello;
	*handshake = slot->handshake;
	auth_wipe(&slot->handshake.auth);
	return 0;
}

void session_slot_watch(struct session_slot *slot, struct incoming *incoming)
{
	DECANT_AUTO_UNLOCK(&slot->lock);
	slot->incoming = incoming;
	if (slot->stopped && incoming != NULL)
		incoming_cancel(incoming);
}

void session_slot_release(struct session_slot *slot, bool closed)
{
	DECANT_AUTO_UNLOCK(&slot->lock);
	slot->incoming = NULL;
	slot->state = closed ? SESSION_SLOT_CLOSED : SESSION_SLOT_FREE;
}

void session_slot_stop(struct session_slot *slot)
{
	io_wake_set(slot->stop_fd);
}

void session_slot_destroy(struct session_slot *slot)
{
	io_wake_set(slot->end_fd);
	pthread_join(slot->watcher, NULL);
	if (slot->state == SESSION_SLOT_OFFERED)
		close(slot->handshake.fd);
	auth_wipe(&slot->handshake.auth);
	close(slot->stop_fd);
	close(slot->end_fd);
	pthread_cond_destroy(&slot->changed);
	pthread_mutex_destroy(&slot->lock);
}
