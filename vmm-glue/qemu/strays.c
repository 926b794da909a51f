/* SPDX-License-Identifier: BSD-2-Clause */
/* strays.c -- pages that came over a channel of multifd and must go into the main stream */
#include "qemu/strays.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static_assert(offsetof(struct stray, content) == offsetof(struct stray, head) + STRAY_HEAD_MAX,
	      "a head ends where the content begins");

void strays_init(struct strays *strays, uint64_t max)
{
	*strays = (struct strays){ .max = max };
	strays->last = &strays->first;
}

struct stray *strays_add(struct strays *strays, uint32_t block, uint64_t offset, uint32_t size, bool zero)
{
	const size_t bytes = sizeof(struct stray) + (zero ? 0 : size);
	struct stray *stray;

	if (strays->bytes + bytes > strays->max) {
		errno = ENOSPC;
		return NULL;
	}
	stray = malloc(bytes);
	if (stray == NULL)
		return NULL;
	stray->next = NULL;
	stray->block = block;
	stray->offset = offset;
	stray->zero = zero;
	*strays->last = stray;
	strays->last = &stray->next;
	strays->bytes += bytes;
	return stray;
}

void strays_move(struct strays *to, struct strays *from)
{
	if (from->first == NULL)
		return;
	*to->last = from->first;
	to->last = from->last;
	strays_init(from, from->max);
}

void strays_drop(struct strays *strays)
{
	struct stray *stray = strays->first;

	strays->first = stray->next;
	if (strays->first == NULL)
		strays->last = &strays->first;
	free(stray);
}

void strays_clear(struct strays *strays)
{
	while (strays->first != NULL)
		strays_drop(strays);
	strays->bytes = 0;
}
