/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.h -- the control connection, either end: framed messages, heartbeat, clock matching
 *
 * A reader thread takes every message off the socket. PING and PONG are its own. The rest is offered to @intercept, in
 * the reader thread; what that does not consume is queued for peer_receive(). A connection that fails, or a peer that has
 * been silent for peer_timeout_ns, makes the peer *lost*: every call returns the same error from then on, and
 * peer_events.lost is called once, from the reader thread.
 *
 * Threads: peer_send() from any thread; peer_receive() from one thread at a time.
 */
#ifndef MIGRATION_PEER_H
#define MIGRATION_PEER_H

#include "wire/wire.h"
#include <decant/error.h>
#include <decant/log.h>
#include <stdbool.h>
#include <stdint.h>

struct payloads;
struct peer;

/* One message taken from the queue; freed with peer_message_free(), and before its peer is closed. */
struct peer_message {
	uint16_t type;
	uint32_t length;
	uint8_t *payload;
	struct payloads *home; /* of the payload */
};

struct peer_events {
	/*
	 * A message, in the reader thread; must not wait for other messages. 1: consumed, 0: queue it, negative (with @err):
	 * the peer broke the protocol, which ends the connection.
	 */
	int (*intercept)(void *opaque, const struct peer_message *message, struct decant_error *err);
	void (*lost)(void *opaque, const struct decant_error *why);
};

struct peer_opts {
	int fd;            /* connected; owned by the peer from peer_new()'s success on */
	uint32_t received; /* messages already received and sent on it */
	uint32_t sent;
	uint64_t timeout_ns; /* silence that means gone; the longest a send may block */
	const struct peer_events *events;
	void *opaque;
	struct decant_log log;
};

int peer_new(const struct peer_opts *opts, struct peer **peer, struct decant_error *err);

/* peer_reserve() -- a message of up to @length bytes that comes later will need no memory; 0 or -ENOMEM */
int peer_reserve(struct peer *peer, size_t length, struct decant_error *err);

/*
 * peer_send() -- one message: @head_length encoded bytes, then @data_length bytes from where they lie
 *
 * Returns 0, or why the connection is lost.
 */
int peer_send(struct peer *peer, uint16_t type, const void *head, size_t head_length, const void *data,
	      size_t data_length, struct decant_error *err);

/* peer_send_until() -- the same, by @deadline_ns: half a message cannot be taken back, so later the connection is lost */
int peer_send_until(struct peer *peer, uint64_t deadline_ns, uint16_t type, const void *head, size_t head_length,
		    const void *data, size_t data_length, struct decant_error *err);

/* peer_send_error() -- ERROR or ABORT with errno @code and a text; best effort */
void peer_send_error(struct peer *peer, uint16_t type, int code, const char *text);

/*
 * peer_receive() -- the next queued message; blocks until @deadline_ns
 *
 * An ERROR of the peer comes out as its code and text. Returns 0, -ETIMEDOUT, the peer's error, -ECANCELED after
 * peer_wake(), or why the connection is lost (only when the queue is empty).
 */
int peer_receive(struct peer *peer, uint64_t deadline_ns, struct peer_message *message, struct decant_error *err);
void peer_message_free(struct peer_message *message);

/* peer_wake() -- make the receive that blocks, or the next one that would, return -ECANCELED once; any thread */
void peer_wake(struct peer *peer);

/* peer_check() -- 0, or why the connection is lost */
int peer_check(struct peer *peer, struct decant_error *err);

/* peer_clock() -- the best match of the clocks so far: add *@offset_ns to this end's stamps to get the peer's; false: none yet */
bool peer_clock(struct peer *peer, int64_t *offset_ns, uint64_t *error_ns);

/* peer_round_trip_ns() -- the shortest of all heartbeats so far: what the way costs when neither end is busy; 0: none yet */
uint64_t peer_round_trip_ns(struct peer *peer);

/* peer_cpu_ns() -- of the reader thread; final after peer_close() */
uint64_t peer_cpu_ns(struct peer *peer);

/* peer_abort() -- reset the socket: nothing that still lies in its buffers is sent */
void peer_abort(struct peer *peer);

/* peer_hang_up() -- this end says nothing more, and answers nothing: what it has said arrives, then the peer knows */
void peer_hang_up(struct peer *peer);

/* peer_stop() -- end the reader and make every send fail; idempotent */
void peer_stop(struct peer *peer);

/* peer_close() -- stop, close and free; NULL is fine */
void peer_close(struct peer *peer);

/* peer_error_encode() -- the payload of an ERROR or ABORT; what cannot be printed is sent as '?'. Its length. */
#define PEER_ERROR_MAX (WIRE_TEXT_MAX + 64)
size_t peer_error_encode(int code, const char *text, uint8_t bytes[PEER_ERROR_MAX]);

/* peer_error_decode() -- an ERROR or ABORT payload into @err: "the peer says: ..."; returns its negative code */
int peer_error_decode(const uint8_t *payload, uint32_t length, struct decant_error *err);

#endif
