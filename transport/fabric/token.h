/* SPDX-License-Identifier: BSD-2-Clause */
/* token.h -- a channel's tokens: how long they are good, and comparing them in a time that does not tell how much of one was right */
#ifndef FABRIC_TOKEN_H
#define FABRIC_TOKEN_H

#include "fabric/fabric.h"
#include "util/clock.h"

static inline bool token_equal(const uint8_t *a, const uint8_t *b)
{
	volatile uint8_t differs = 0;

	for (size_t i = 0; i < FABRIC_TOKEN_SIZE; i++)
		differs |= a[i] ^ b[i];
	return differs == 0;
}

static inline uint64_t token_deadline_ns(const struct fabric_sink_opts *opts)
{
	return opts->token_timeout_ns == 0 ? CLOCK_NEVER : clock_deadline_ns(opts->token_timeout_ns);
}

#endif
