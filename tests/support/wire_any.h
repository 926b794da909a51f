/* SPDX-License-Identifier: BSD-2-Clause */
/* wire_any.h -- any message of the control protocol behind one interface, and samples of each */
#ifndef SUPPORT_WIRE_ANY_H
#define SUPPORT_WIRE_ANY_H

#include "wire/wire.h"

union wire_any {
	struct wire_hello hello;
	struct wire_welcome welcome;
	struct wire_error error;
	struct wire_regions regions;
	struct wire_chunk chunk;
	struct wire_prepared prepared;
	struct wire_open open;
	struct wire_opened opened;
	struct wire_register reg;
	struct wire_grant grant;
	struct wire_barrier_ack barrier_ack;
	struct wire_fence fence;
	struct wire_lost lost;
	struct wire_message message;
	struct wire_challenge challenge;
	struct wire_proof proof;
	struct wire_proved proved;
	struct wire_pages pages;
	struct wire_hashes hashes;
	struct wire_verified verified;
	struct wire_handover handover;
	struct wire_ready ready;
	struct wire_running running;
	struct wire_status status;
	struct wire_ping ping;
	struct wire_pong pong;
	struct wire_verdict verdict;
};

/* the decoder of @type; a type that is none is -EPROTO */
int wire_any_decode(uint16_t type, union wire_any *message, const uint8_t *bytes, size_t length,
		    struct decant_error *err);

/* the encoder of @type: the head alone where data follows */
int wire_any_encode(uint16_t type, const union wire_any *message, uint8_t *bytes, size_t capacity);

/* the data that follows the head, 0 bytes if none does */
size_t wire_any_tail(uint16_t type, const union wire_any *message, const uint8_t **data);

enum wire_sample {
	WIRE_SAMPLE_LEAST, /* counts, lengths and numbers as small as allowed */
	WIRE_SAMPLE_USUAL,
	WIRE_SAMPLE_MOST, /* all at their limits */
	WIRE_SAMPLES,
};

/* a valid message of @type; data it points to is static */
void wire_any_sample(uint16_t type, enum wire_sample sample, union wire_any *message);

/* head and data as one payload, at most WIRE_PAYLOAD_MAX bytes; its length or what the encoder said */
int wire_any_payload(uint16_t type, const union wire_any *message, uint8_t *bytes, size_t capacity);

#endif
