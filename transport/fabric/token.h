/* SPDX-License-Identifier: BSD-2-Clause */
/* token.h -- comparing a channel's token in a time that does not tell how much of it was right */
#ifndef FABRIC_TOKEN_H
#define FABRIC_TOKEN_H

#include "fabric/fabric.h"

static inline bool token_equal(const uint8_t *a, const uint8_t *b)
{
	volatile uint8_t differs = 0;

	for (size_t i = 0; i < FABRIC_TOKEN_SIZE; i++)
		differs |= a[i] ^ b[i];
	return differs == 0;
}

#endif
