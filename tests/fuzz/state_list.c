/* SPDX-License-Identifier: BSD-2-Clause */
/* state_list.c -- lists of state records whose checksums a mutation has made wrong */
#include "fuzz/state_list.h"

#include <string.h>
#include <xxhash.h>

#define FRAME 56u

void state_list_mend(uint8_t *bytes, size_t length)
{
	size_t at = 0;

	while (length - at >= FRAME) {
		uint64_t checksum;
		uint32_t data;
		size_t padded;

		memcpy(&data, bytes + at + 12, sizeof(data));
		padded = ((size_t)data + 7) & ~(size_t)7;
		if (padded > length - at - FRAME)
			return;
		checksum = XXH3_64bits(bytes + at + 8, FRAME - 8 + padded);
		memcpy(bytes + at, &checksum, sizeof(checksum));
		at += FRAME + padded;
	}
}
