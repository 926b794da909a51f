/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * incoming.h -- the destination's end of one mover: prepares memory, exposes it, and says when it can be trusted
 *
 * Owns the control connection, the guest memory until it is taken, and one fabric sink at a time. The reader thread takes
 * REGISTER (populated and exposed in the background by the pool) and what the floor above intercepts; everything else is
 * handled in the thread that calls incoming_next().
 *
 * Locks: sink_lock, then lock. The fabric's events take lock only.
 */
#ifndef MIGRATION_INCOMING_H
#define MIGRATION_INCOMING_H

#include "migration/handshake.h"
#include "migration/peer.h"
#include "wire/wire.h"
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/state.h>
#include <stdbool.h>
#include <stdint.h>

struct incoming;
struct placement;

/* What the floor above adds. All but create may be NULL. */
struct incoming_ops {
	int (*create)(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		      uint32_t count, struct decant_memory *memory, struct decant_error *err);
	/* once after create: fill in what saving and loading cost */
	int (*rehearse)(void *opaque, struct wire_prepared *prepared, struct decant_error *err);
	/* an ordered message, from a thread of the fabric */
	int (*message)(void *opaque, const void *data, size_t length, struct decant_error *err);
	/* in the reader thread: true: consumed */
	bool (*intercept)(void *opaque, const struct peer_message *message);
	/* in the reader thread: the connection is gone */
	void (*lost)(void *opaque);
};

struct incoming_opts {
	struct handshake handshake; /* after HELLO; its socket is the incoming's from success on */
	const char *host;           /* where to listen for data channels, numeric */
	struct wire_welcome welcome;
	uint64_t max_memory;
	uint64_t peer_timeout_ns;
	uint32_t populate_threads;
	bool zero_memory;                  /* as decant_landing_opts.zero_memory */
	const struct placement *placement; /* of the threads; outlives the incoming; NULL: that of the caller */
	const struct incoming_ops *ops;
	void *opaque;
	struct decant_log log;
};

/* incoming_new() -- say WELCOME, prove the key, and start the control connection */
int incoming_new(const struct incoming_opts *opts, struct incoming **incoming, struct decant_error *err);

/* incoming_prepare() -- REGIONS and SHAPE to PREPARED: the floor above creates the VM */
int incoming_prepare(struct incoming *incoming, struct decant_error *err);

/*
 * incoming_next() -- the next message that is not the mover's own (OPEN, FENCE, PAGES are handled here)
 *
 * After incoming_take_memory() no message is the mover's any more, and all are the caller's to refuse.
 * Returns 0 with *@message (peer_message_free()), -ETIMEDOUT at @deadline_ns, -ECANCELED after incoming_cancel(), or why the
 * session is over. Errors of this end have been told to the peer already.
 */
int incoming_next(struct incoming *incoming, uint64_t deadline_ns, struct peer_message *message,
		  struct decant_error *err);

/* A byte string that comes in parts. All zeros before the first; @data is the caller's to free. */
struct incoming_bytes {
	uint8_t *data; /* of capacity bytes */
	uint32_t capacity;
	uint32_t have, total;
	bool begun; /* total is known */
};

/* incoming_reserve_bytes() -- room for @capacity, touched, so that what comes needs none made; 0 or -ENOMEM */
int incoming_reserve_bytes(struct incoming_bytes *bytes, uint32_t capacity, struct decant_error *err);

/* incoming_append_chunk() -- put one SHAPE or STATE message behind what has come, @limit bytes in all at most */
int incoming_append_chunk(const struct peer_message *message, struct incoming_bytes *bytes, uint32_t limit,
			  struct decant_error *err);

/* incoming_fence() -- after the return nothing more lands in the memory; idempotent */
void incoming_fence(struct incoming *incoming);

/* incoming_await_zeros() -- until all memory that was to be made zero is; 0, or why the session is over */
int incoming_await_zeros(struct incoming *incoming, struct decant_error *err);

/* incoming_refuse() -- tell the peer that it is over, and why */
void incoming_refuse(struct incoming *incoming, const struct decant_error *why);

/* incoming_cancel() -- end a blocked incoming_next() and populating; any thread */
void incoming_cancel(struct incoming *incoming);

struct peer *incoming_peer(struct incoming *incoming);
const struct decant_memory *incoming_memory(const struct incoming *incoming);

/* incoming_take_memory() -- the caller's from now on; only after incoming_fence() */
struct decant_memory *incoming_take_memory(struct incoming *incoming);

/* incoming_cpu_ns() -- of all its threads; the session's own thread is not in it */
uint64_t incoming_cpu_ns(struct incoming *incoming);

/*
 * incoming_stop() -- fence, and end every thread but the caller's; idempotent
 *
 * Then nothing of the incoming's touches the guest's memory any more, and whoever owns it may give it back.
 */
void incoming_stop(struct incoming *incoming);

/* incoming_close() -- stop, close, free the memory if it was not taken; NULL is fine */
void incoming_close(struct incoming *incoming);

#endif
