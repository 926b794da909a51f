/* SPDX-License-Identifier: BSD-2-Clause */
/* intake.c -- the buffer that a reader of a stream parses in */
#include "qemu/intake.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int intake_init(struct intake *intake, size_t size)
{
	*intake = (struct intake){ .size = size };
	intake->buffer = malloc(size);
	return intake->buffer == NULL ? -ENOMEM : 0;
}

void *intake_room(struct intake *intake, size_t *length)
{
	if (intake->start > 0) {
		memmove(intake->buffer, intake->buffer + intake->start, intake->end - intake->start);
		intake->at -= intake->start;
		intake->end -= intake->start;
		intake->start = 0;
	}
	*length = intake->size - intake->end;
	return intake->buffer + intake->end;
}

void intake_filled(struct intake *intake, size_t length)
{
	assert(length <= intake->size - intake->end);
	intake->end += length;
	intake->fed += length;
}

void intake_free(struct intake *intake)
{
	free(intake->buffer);
	intake->buffer = NULL;
}
