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
#define REFUSAL_SIZE 8u  /* of 148 */

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

void refusal_encode(enum refusal why, uint8_t bytes[REFUSAL_SIZE]);
enum refusal refusal_decode(const void *bytes, size_t length); /* REFUSAL_NONE: not one of ours */
const char *refusal_str(enum refusal why);

#endif
