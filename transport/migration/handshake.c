/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handshake.c -- the first messages of a control connection
 *
 * Each message goes into the transcript as it is on the wire. PROOF is the one that is not whole when its mac is made: header and
 * nonce first, then the mac over what is there, then the mac itself.
 */
#include "migration/handshake.h"

#include "migration/peer.h"
#include "util/io.h"
#include <errno.h>
#include <string.h>

/* ---- one message ---- */

/* The header of a payload of @length bytes, and of that the first @have. */
static void record(struct handshake *handshake, uint16_t type, uint32_t sequence, const void *payload,
		   size_t length, size_t have)
{
	const struct wire_header header = { .type = type, .length = (uint32_t)length, .sequence = sequence };
	uint8_t bytes[WIRE_HEADER_SIZE];

	wire_header_encode(&header, bytes, sizeof(bytes));
	auth_add(&handshake->auth, bytes, sizeof(bytes));
	auth_add(&handshake->auth, payload, have);
}

static int send_unrecorded(struct handshake *handshake, uint16_t type, const void *payload, size_t length,
			   struct decant_error *err)
{
	const struct wire_header header = {
		.type = type,
		.length = (uint32_t)length,
		.sequence = handshake->sent,
	};
	uint8_t bytes[WIRE_HEADER_SIZE];
	struct iovec iov[2] = {
		{ .iov_base = bytes, .iov_len = sizeof(bytes) },
		{ .iov_base = (void *)payload, .iov_len = length },
	};
	int rc;

	wire_header_encode(&header, bytes, sizeof(bytes));
	handshake->sent++;
	rc = io_send_full(handshake->fd, iov, 2, handshake->deadline_ns, handshake->wake_fd);
	return rc == 0 ? 0 : decant_error_set(err, rc, "sending %s: %s", wire_strtype(type), strerror(-rc));
}

int handshake_send(struct handshake *handshake, uint16_t type, const void *payload, size_t length,
		   struct decant_error *err)
{
	record(handshake, type, handshake->sent, payload, length, length);
	return send_unrecorded(handshake, type, payload, length, err);
}

static int receive_header(struct handshake *handshake, uint16_t type, struct wire_header *header,
			  struct decant_error *err)
{
	uint8_t bytes[WIRE_HEADER_SIZE];
	const int rc = io_recv_full(handshake->fd, bytes, sizeof(bytes), handshake->deadline_ns,
				    handshake->wake_fd);

	if (rc < 0)
		return decant_error_set(err, rc, "waiting for %s: %s", wire_strtype(type),
					rc == -ETIMEDOUT ? "no answer; is that port decant's?"
					: rc == -ECONNRESET
						? "the peer has closed the connection; is that port decant's?"
						: strerror(-rc));
	return wire_header_decode(header, bytes, err);
}

static int unexpected(const struct wire_header *header, uint16_t type, struct decant_error *err)
{
	if (type == WIRE_CHALLENGE && header->type == WIRE_WELCOME)
		return decant_error_set(err, -EACCES,
					"the destination has no key, this end has one; start it with --key-file");
	return decant_error_set(err, -EPROTO, "expected %s, got %s number %u of %u bytes", wire_strtype(type),
				wire_strtype(header->type), header->sequence, header->length);
}

int handshake_receive(struct handshake *handshake, uint16_t type, void *buffer, size_t capacity, uint32_t *length,
		      struct decant_error *err)
{
	struct wire_header header;
	int rc = receive_header(handshake, type, &header, err);

	if (rc < 0)
		return rc;
	if ((header.type != type && header.type != WIRE_ERROR) || header.sequence != handshake->received ||
	    header.length > capacity)
		return unexpected(&header, type, err);
	rc = io_recv_full(handshake->fd, buffer, header.length, handshake->deadline_ns, handshake->wake_fd);
	if (rc < 0)
		return decant_error_set(err, rc, "inside a %s: %s", wire_strtype(header.type), strerror(-rc));
	handshake->received++;
	if (header.type == WIRE_ERROR)
		return peer_error_decode(buffer, header.length, err);
	record(handshake, type, header.sequence, buffer, header.length, header.length);
	*length = header.length;
	return 0;
}

/* ---- the source ---- */

static int say_hello(struct handshake *handshake, struct wire_hello *hello, struct decant_error *err)
{
	uint8_t payload[512];
	int rc;

	if (handshake->auth.key != NULL)
		hello->features |= WIRE_FEATURE_AUTH;
	rc = wire_hello_encode(hello, payload, sizeof(payload));
	if (rc < 0)
		return decant_error_set(err, rc, "HELLO: the name \"%s\" cannot be sent", hello->name);
	return handshake_send(handshake, WIRE_HELLO, payload, (size_t)rc, err);
}

/* Takes CHALLENGE and answers with PROOF. */
static int prove(struct handshake *handshake, struct decant_error *err)
{
	struct wire_challenge challenge;
	struct wire_proof proof;
	uint8_t payload[WIRE_TEXT_MAX + 64];
	uint32_t length;
	int rc = handshake_receive(handshake, WIRE_CHALLENGE, payload, sizeof(payload), &length, err);

	if (rc == 0)
		rc = wire_challenge_decode(&challenge, payload, length, err);
	if (rc == 0)
		rc = auth_nonce(proof.nonce, err);
	if (rc < 0)
		return rc;
	record(handshake, WIRE_PROOF, handshake->sent, proof.nonce, sizeof(proof.nonce) + sizeof(proof.mac),
	       sizeof(proof.nonce));
	rc = auth_prove(&handshake->auth, AUTH_SOURCE, proof.mac, err);
	if (rc < 0)
		return rc;
	auth_add(&handshake->auth, proof.mac, sizeof(proof.mac));
	rc = wire_proof_encode(&proof, payload, sizeof(payload));
	return send_unrecorded(handshake, WIRE_PROOF, payload, (size_t)rc, err);
}

static int take_welcome(struct handshake *handshake, struct wire_welcome *welcome, struct decant_error *err)
{
	uint8_t payload[WIRE_WELCOME_MAX];
	uint32_t length;
	int rc = handshake_receive(handshake, WIRE_WELCOME, payload, sizeof(payload), &length, err);

	if (rc == 0)
		rc = wire_welcome_decode(welcome, payload, length, err);
	if (rc < 0)
		return rc;
	if (((welcome->features & WIRE_FEATURE_AUTH) != 0) != (handshake->auth.key != NULL))
		return decant_error_set(err, -EPROTO, "WELCOME: the feature of a key is not as it was agreed on");
	return 0;
}

static int take_status(struct handshake *handshake, struct wire_status *status, struct decant_error *err)
{
	uint8_t payload[WIRE_TEXT_MAX + 64];
	uint32_t length;
	int rc = handshake_receive(handshake, WIRE_STATUS, payload, sizeof(payload), &length, err);

	return rc == 0 ? wire_status_decode(status, payload, length, err) : rc;
}

static int take_proved(struct handshake *handshake, struct decant_error *err)
{
	struct wire_proved proved;
	uint8_t payload[WIRE_TEXT_MAX + 64];
	uint32_t length;
	int rc = handshake_receive(handshake, WIRE_PROVED, payload, sizeof(payload), &length, err);

	if (rc == 0)
		rc = wire_proved_decode(&proved, payload, length, err);
	if (rc < 0)
		return rc;
	auth_drop(&handshake->auth, WIRE_HEADER_SIZE + length);
	rc = auth_verify(&handshake->auth, AUTH_DESTINATION, proved.mac, err);
	return rc == 0 ? auth_finish(&handshake->auth, err) : rc;
}

int handshake_ask(struct handshake *handshake, struct wire_hello *hello, struct wire_welcome *welcome,
		  struct wire_status *status, struct decant_error *err)
{
	int rc = say_hello(handshake, hello, err);

	if (rc == 0 && handshake->auth.key != NULL)
		rc = prove(handshake, err);
	if (rc == 0)
		rc = take_welcome(handshake, welcome, err);
	if (rc == 0 && status != NULL)
		rc = take_status(handshake, status, err);
	if (rc == 0 && handshake->auth.key != NULL)
		rc = take_proved(handshake, err);
	return rc;
}

/* ---- the destination ---- */

/* Sends CHALLENGE and checks the PROOF that answers it. */
static int challenge(struct handshake *handshake, struct decant_error *err)
{
	struct wire_challenge challenge;
	struct wire_proof proof;
	uint8_t payload[WIRE_TEXT_MAX + 64];
	uint32_t length;
	int rc = auth_nonce(challenge.nonce, err);

	if (rc < 0)
		return rc;
	rc = wire_challenge_encode(&challenge, payload, sizeof(payload));
	rc = handshake_send(handshake, WIRE_CHALLENGE, payload, (size_t)rc, err);
	if (rc == 0)
		rc = handshake_receive(handshake, WIRE_PROOF, payload, sizeof(payload), &length, err);
	if (rc == 0)
		rc = wire_proof_decode(&proof, payload, length, err);
	if (rc < 0)
		return rc;
	auth_drop(&handshake->auth, sizeof(proof.mac));
	rc = auth_verify(&handshake->auth, AUTH_SOURCE, proof.mac, err);
	auth_add(&handshake->auth, proof.mac, sizeof(proof.mac));
	return rc;
}

int handshake_hear(struct handshake *handshake, struct wire_hello *hello, struct decant_error *err)
{
	uint8_t payload[512];
	uint32_t length;
	int rc = handshake_receive(handshake, WIRE_HELLO, payload, sizeof(payload), &length, err);

	if (rc == 0)
		rc = wire_hello_decode(hello, payload, length, err);
	if (rc < 0)
		return rc;
	if (handshake->auth.key == NULL && (hello->features & WIRE_FEATURE_AUTH) != 0)
		return decant_error_set(err, -EACCES,
					"the source has a key, the destination has none; start it with --key-file");
	if (handshake->auth.key == NULL)
		return 0;
	if ((hello->features & WIRE_FEATURE_AUTH) == 0)
		return decant_error_set(err, -EACCES,
					"the destination has a key, the source has none; migrate with --key-file");
	return challenge(handshake, err);
}

static int say_proved(struct handshake *handshake, struct decant_error *err)
{
	struct wire_proved proved;
	uint8_t payload[sizeof(proved.mac)];
	int rc = auth_prove(&handshake->auth, AUTH_DESTINATION, proved.mac, err);

	if (rc == 0)
		rc = auth_finish(&handshake->auth, err);
	if (rc < 0)
		return rc;
	rc = wire_proved_encode(&proved, payload, sizeof(payload));
	return send_unrecorded(handshake, WIRE_PROVED, payload, (size_t)rc, err);
}

int handshake_answer(struct handshake *handshake, struct wire_welcome *welcome, const struct wire_status *status,
		     struct decant_error *err)
{
	uint8_t payload[WIRE_WELCOME_MAX];
	int rc;

	if (handshake->auth.key != NULL)
		welcome->features |= WIRE_FEATURE_AUTH;
	rc = wire_welcome_encode(welcome, payload, sizeof(payload));
	if (rc < 0)
		return decant_error_set(err, rc, "WELCOME cannot be encoded");
	rc = handshake_send(handshake, WIRE_WELCOME, payload, (size_t)rc, err);
	if (rc == 0 && status != NULL) {
		rc = wire_status_encode(status, payload, sizeof(payload));
		rc = handshake_send(handshake, WIRE_STATUS, payload, (size_t)rc, err);
	}
	if (rc == 0 && handshake->auth.key != NULL)
		rc = say_proved(handshake, err);
	return rc;
}

void handshake_refuse(struct handshake *handshake, const struct decant_error *why)
{
	uint8_t bytes[PEER_ERROR_MAX];

	handshake_send(handshake, WIRE_ERROR, bytes, peer_error_encode(why->code, why->msg, bytes), NULL);
}
