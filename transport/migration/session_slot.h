/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session_slot.h -- the one place for a source at a destination: who is being served, who is refused, and stopping
 *
 * FREE -> OFFERED (a greeter's thread has put a connection in) -> SERVED (the session's thread has taken it) -> FREE, or
 * CLOSED when nobody else shall be taken. A thread of the slot's own turns session_slot_stop(), which may come from a
 * signal handler, into calls that may not.
 */
#ifndef MIGRATION_SESSION_SLOT_H
#define MIGRATION_SESSION_SLOT_H

#include "migration/handshake.h"
#include "migration/incoming.h"
#include "wire/wire.h"
#include <decant/error.h>
#include <pthread.h>
#include <stdbool.h>

enum session_slot_state {
	SESSION_SLOT_FREE,
	SESSION_SLOT_OFFERED,
	SESSION_SLOT_SERVED,
	SESSION_SLOT_CLOSED,
};

struct session_slot {
	/* set by init, read-only after */
	int stop_fd, end_fd;
	pthread_t watcher;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum session_slot_state state;
	bool stopped;
	struct handshake handshake; /* while OFFERED */
	struct wire_hello hello;
	struct incoming *incoming; /* cancelled when stopped */
};

int session_slot_init(struct session_slot *slot, struct decant_error *err);

/* session_slot_offer() -- 0: the connection is the slot's; -EBUSY: a source is being, or has been, served */
int session_slot_offer(struct session_slot *slot, const struct handshake *handshake,
		       const struct wire_hello *hello, struct decant_error *err);

/* session_slot_take() -- wait for an offer, whose socket is the caller's then: 0, or -ECANCELED */
int session_slot_take(struct session_slot *slot, struct handshake *handshake, struct wire_hello *hello,
		      struct decant_error *err);

/* session_slot_watch() -- cancel @incoming when stopped; NULL: no more */
void session_slot_watch(struct session_slot *slot, struct incoming *incoming);

/* session_slot_release() -- the session is over; @closed: nobody else is taken */
void session_slot_release(struct session_slot *slot, bool closed);

/* session_slot_stop() -- no source is taken any more, the one being served is cancelled; async-signal-safe */
void session_slot_stop(struct session_slot *slot);

void session_slot_destroy(struct session_slot *slot);

#endif
