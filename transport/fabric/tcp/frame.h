/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frame.h -- what a TCP data channel carries: pure encode and decode
 *
 * docs/protocol.md, "TCP data channels", is normative. All is little-endian. Every frame opens with a head of
 * FRAME_HEAD_SIZE bytes; what follows depends on its type:
 *
 *   HELLO    count 0, value FRAME_HELLO_SIZE       struct frame_hello                   source, first
 *   OK       count 0, value initial credits        nothing                              sink, first
 *   REFUSED  count 0, value enum frame_refusal     nothing                              sink, first and last
 *   WRITES   count runs, value sum of lengths      count run descriptors, then data     source
 *   BARRIER  count 0, value round                  nothing                              source
 *   MESSAGE  count 0, value length                 the message                          source, channel 0
 *   CREDIT   count 0, value credits given back     nothing                              sink, channel 0
 *   BYE      count 0, value 0                      nothing, then end of stream          source, after a barrier
 *
 * Decoders read exactly the bytes named, and return 0, or -EPROTO with what is wrong.
 */
#ifndef TCP_FRAME_H
#define TCP_FRAME_H

#include "fabric/fabric.h"

#define FRAME_MAGIC 0x31464344u /* "DCF1" */
#define FRAME_VERSION 1
#define FRAME_HEAD_SIZE 16
#define FRAME_RUN_SIZE 16
#define FRAME_HELLO_SIZE 32                 /* after its head */
#define FRAME_ANSWER_SIZE FABRIC_TOKEN_SIZE /* after the head of OK */
#define FRAME_RUNS_MAX 256u
#define FRAME_BYTES_MAX (2u << 20) /* of data in WRITES */
#define FRAME_CREDITS_MAX 1024u

enum frame_type {
	FRAME_HELLO = 1,
	FRAME_OK = 2,
	FRAME_REFUSED = 3,
	FRAME_WRITES = 4,
	FRAME_BARRIER = 5,
	FRAME_MESSAGE = 6,
	FRAME_CREDIT = 7,
	FRAME_BYE = 8,
	FRAME_TYPE_MAX = FRAME_BYE,
};

enum frame_refusal {
	FRAME_REFUSED_VERSION = 1,
	FRAME_REFUSED_EPOCH = 2,
	FRAME_REFUSED_CHANNEL = 3, /* no such channel, or it is connected already */
	FRAME_REFUSED_TOKEN = 4,
	FRAME_REFUSED_EXPIRED = 5,
	FRAME_REFUSED_MAX = FRAME_REFUSED_EXPIRED,
};

struct frame_head {
	uint16_t type;  /* enum frame_type */
	uint16_t count; /* runs in WRITES, else 0 */
	uint64_t value; /* see above */
};

struct frame_run {
	uint32_t region;
	uint32_t length; /* bytes */
	uint64_t offset; /* in the region */
};

struct frame_hello {
	uint16_t version;
	uint16_t channel;
	uint64_t epoch;
	uint8_t token[FABRIC_TOKEN_SIZE];
};

/* frame_strtype() -- "WRITES"; "?" for what is none */
const char *frame_strtype(uint16_t type);

/* frame_strrefusal() -- "the token is wrong" */
const char *frame_strrefusal(uint64_t refusal);

void frame_head_encode(const struct frame_head *head, uint8_t bytes[FRAME_HEAD_SIZE]);
/* checks all that can be said of a head alone: magic, type, and that count and value are within the type's limits */
int frame_head_decode(struct frame_head *head, const uint8_t bytes[FRAME_HEAD_SIZE], struct decant_error *err);

void frame_run_encode(const struct frame_run *run, uint8_t bytes[FRAME_RUN_SIZE]);
/* @head->count descriptors: whole pages each, and together exactly @head->value bytes */
int frame_runs_decode(const struct frame_head *head, struct frame_run *runs, const uint8_t *bytes,
		      struct decant_error *err);

void frame_hello_encode(const struct frame_hello *hello, uint8_t bytes[FRAME_HELLO_SIZE]);
/* any version; reserved bytes must be 0 */
int frame_hello_decode(struct frame_hello *hello, const uint8_t bytes[FRAME_HELLO_SIZE], struct decant_error *err);

#endif
