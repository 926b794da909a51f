/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hello.h -- the private data of a connection request, of its acceptance and of its refusal, all little-endian
 *
 * The connection manager authenticates nobody and may pad private data, so each has a magic, a version and its own length.
 */
#ifndef FABRIC_RDMA_HELLO_H
#define FABRIC_RDMA_HELLO_H

#include "fabric/fabric.h"

#define HELLO_SIZE 36u   /* of 56 that a request may carry */
#define WELCOME_SIZE 28u /* of 196 */
#define REFUSAL_SIZE 148u
#define REFUSAL_TEXT_MAX 136u /* no terminator where all of it is used */

struct hello {
	uint16_t channel;
	uint64_t epoch;
	uint8_t token[FABRIC_TOKEN_SIZE];
};

enum refusal {
	REFUSAL_NONE,
	REFUSAL_HELLO,   /* not ours, or of another version */
	REFUSAL_TOKEN,   /* wrong token, epoch or channel: a stranger is not told which */
	REFUSAL_TWICE,   /* the channel stands already */
	REFUSAL_FAILED,  /* the sink could not make its end */
	REFUSAL_EXPIRED, /* the token was good once */
};

void hello_encode(const struct hello *hello, uint8_t bytes[HELLO_SIZE]);
/* hello_decode() -- @length may be larger than what was sent. 0 or -EPROTO. */
int hello_decode(struct hello *hello, const void *bytes, size_t length);

/* The acceptance: the credits, and the token that answers the source's. */
struct welcome {
	uint32_t credits;
	uint8_t answer[FABRIC_TOKEN_SIZE];
};

void welcome_encode(const struct welcome *welcome, uint8_t bytes[WELCOME_SIZE]);
int welcome_decode(struct welcome *welcome, const void *bytes, size_t length);

/* The refusal. What comes from a peer that is not known to be one is told to whoever migrates: printable, and no code that means more. */
struct refused {
	enum refusal why;
	uint32_t code;                   /* errno; 0 but for REFUSAL_FAILED */
	char text[REFUSAL_TEXT_MAX + 1]; /* what went wrong; "" but for REFUSAL_FAILED */
};

/* refusal_encode() -- a text that is too long is cut, what cannot be printed is sent as '?' */
void refusal_encode(const struct refused *refused, uint8_t bytes[REFUSAL_SIZE]);
enum refusal refusal_decode(struct refused *refused, const void *bytes,
			    size_t length); /* REFUSAL_NONE: not one of ours */
const char *refusal_str(enum refusal why);

#endif
