/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handshake.h -- the first messages of a control connection, on a bare socket, before there is a peer
 *
 * From HELLO to WELCOME, or STATUS for QUERY, with the proof of the key where this end has one. What has been sent and received is
 * counted, for the peer that goes on with the socket, and kept in the transcript. Not a thread's own; copied by assignment.
 */
#ifndef MIGRATION_HANDSHAKE_H
#define MIGRATION_HANDSHAKE_H

#include "migration/auth.h"
#include "wire/wire.h"
#include <decant/error.h>
#include <stdint.h>

struct handshake {
	int fd;      /* connected; stays the caller's */
	int wake_fd; /* as in util/io.h; -1: none */
	uint64_t deadline_ns;
	uint32_t sent, received; /* messages */
	struct auth auth;        /* auth.key is set by whoever makes the handshake */
};

/*
 * handshake_ask() -- the source: HELLO, and the answer
 *
 * Sets the feature bit of a key in @hello. @status NULL: none is awaited. Returns 0 with @welcome, and @status, filled and, with a
 * key, proved to be from an end that has it; -EACCES: one end has no key, or another one; what the peer's ERROR says; -EPROTO...
 */
int handshake_ask(struct handshake *handshake, struct wire_hello *hello, struct wire_welcome *welcome,
		  struct wire_status *status, struct decant_error *err);

/* handshake_hear() -- the destination: HELLO, of a source that has proved its key if this end has one; -EACCES: it has not */
int handshake_hear(struct handshake *handshake, struct wire_hello *hello, struct decant_error *err);

/* handshake_answer() -- the destination: WELCOME with the features in common, STATUS unless NULL, and the proof of the key */
int handshake_answer(struct handshake *handshake, struct wire_welcome *welcome, const struct wire_status *status,
		     struct decant_error *err);

/* handshake_refuse() -- ERROR; best effort */
void handshake_refuse(struct handshake *handshake, const struct decant_error *why);

/* handshake_send(), handshake_receive() -- one message; receive takes @type only, an ERROR comes out as its code and text */
int handshake_send(struct handshake *handshake, uint16_t type, const void *payload, size_t length,
		   struct decant_error *err);
int handshake_receive(struct handshake *handshake, uint16_t type, void *buffer, size_t capacity, uint32_t *length,
		      struct decant_error *err);

#endif
