/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.h -- the proof of a key, and what comes from it: docs/protocol.md, section 4
 *
 * An auth is one end's view of one connection: the transcript of its handshake, and after that the session key. It points to no
 * memory of its own, so it is copied by assignment, and wiped by auth_wipe() wherever a copy of it was.
 */
#ifndef MIGRATION_AUTH_H
#define MIGRATION_AUTH_H

#include "fabric/fabric.h"
#include "wire/wire.h"
#include <decant/error.h>
#include <decant/migration.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUTH_TRANSCRIPT_MAX 2048u /* of a handshake with the longest WELCOME, and then some */

struct auth_key;

/* auth_key_new() -- a copy of @bytes, which may be wiped then. 0, -EINVAL: too short or too long, -ENOMEM */
int auth_key_new(const void *bytes, size_t length, struct auth_key **key, struct decant_error *err);

/* auth_key_free() -- wipes it; NULL is fine */
void auth_key_free(struct auth_key *key);

enum auth_role {
	AUTH_SOURCE,
	AUTH_DESTINATION,
};

struct auth {
	const struct auth_key *key; /* NULL: this end has none; must outlive the handshake */
	bool proved;                /* to each other: the session key is there */
	bool full;                  /* there was more than the transcript has room for */
	size_t length;
	uint8_t transcript[AUTH_TRANSCRIPT_MAX];
	uint8_t session[32];
};

/* auth_add() -- bytes that were sent or received; more than there is room for makes every proof fail */
void auth_add(struct auth *auth, const void *bytes, size_t length);

/* auth_nonce() -- new random bytes; 0 or -errno */
int auth_nonce(uint8_t nonce[WIRE_NONCE_SIZE], struct decant_error *err);

/* auth_prove() -- what proves that @role, having seen the transcript up to here, has the key; 0 or -EIO */
int auth_prove(const struct auth *auth, enum auth_role role, uint8_t mac[WIRE_MAC_SIZE], struct decant_error *err);

/* auth_verify() -- 0; -EACCES: @mac is not what auth_prove() says; in a time that does not depend on it */
int auth_verify(const struct auth *auth, enum auth_role role, const uint8_t mac[WIRE_MAC_SIZE],
		struct decant_error *err);

/* auth_drop() -- forget the last @length bytes: a proof covers only what comes before it */
void auth_drop(struct auth *auth, size_t length);

/* auth_finish() -- both have proved it: make the session key from the transcript up to here; 0 or -EIO */
int auth_finish(struct auth *auth, struct decant_error *err);

/* auth_tokens() -- the tokens of @channels channels of @epoch, once proved: what the source shows, and what the destination answers */
int auth_tokens(const struct auth *auth, uint64_t epoch, uint32_t channels,
		uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE],
		uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE], struct decant_error *err);

void auth_wipe(struct auth *auth);

#endif
