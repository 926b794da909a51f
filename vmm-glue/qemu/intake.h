/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * intake.h -- the buffer that a reader of a stream parses in: what was read and is not used up yet lies in one piece
 *
 *     buffer        start            at                    end            buffer + size
 *       |  used up    |   looked at   |  not looked at yet   |   room       |
 *
 * Bytes from start to at are passed over but may be wanted still: they are what a stream forwards. intake_room() moves what is from
 * start on to the buffer's beginning; that is less than one head, if all that could be looked at was.
 */
#ifndef QEMU_INTAKE_H
#define QEMU_INTAKE_H

#include <stddef.h>
#include <stdint.h>

struct intake {
	uint8_t *buffer;
	size_t size;
	size_t start, at, end;
	uint64_t fed; /* bytes, altogether: those at @end are the next */
};

/* intake_init() -- 0 or -ENOMEM */
int intake_init(struct intake *intake, size_t size);

void *intake_room(struct intake *intake, size_t *length);
void intake_filled(struct intake *intake, size_t length);

static inline const uint8_t *intake_at(const struct intake *intake)
{
	return intake->buffer + intake->at;
}

/* intake_left() -- bytes that were not looked at yet */
static inline size_t intake_left(const struct intake *intake)
{
	return intake->end - intake->at;
}

/* intake_place() -- which byte of the stream is the next to be looked at, from 0 */
static inline uint64_t intake_place(const struct intake *intake)
{
	return intake->fed - intake_left(intake);
}

/* intake_step() -- the next @length bytes are looked at */
static inline void intake_step(struct intake *intake, size_t length)
{
	intake->at += length;
}

/* intake_drop() -- what is looked at is used up */
static inline void intake_drop(struct intake *intake)
{
	intake->start = intake->at;
}

void intake_free(struct intake *intake);

#endif
