/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * strays.h -- pages that came over a channel of multifd and must go into the main stream, kept until it has a place for them
 *
 * In the order in which they came. A page's record is written in front of its content, so it is forwarded in one piece.
 */
#ifndef QEMU_STRAYS_H
#define QEMU_STRAYS_H

#include <stdbool.h>
#include <stdint.h>

/* The most that one channel may have kept, bytes. */
#define STRAYS_MAX (UINT64_C(256) << 20)

/* The head of a record: flags and offset, name, fill byte. */
#define STRAY_HEAD_MAX (8u + 1u + 255u + 1u)

struct stray {
	struct stray *next;
	uint32_t block;
	uint64_t offset;
	bool zero;                    /* then there is no content */
	uint8_t head[STRAY_HEAD_MAX]; /* the record's, at its end: right before the content */
	uint8_t content[];
};

struct strays {
	struct stray *first;
	struct stray **last;
	uint64_t bytes; /* of memory that they take */
	uint64_t max;
};

/* strays_init() -- none yet; @max: of the bytes that strays_add() may take */
void strays_init(struct strays *strays, uint64_t max);

/*
 * strays_add() -- one more page, of @size bytes, which the caller fills in; @zero: without content
 *
 * Returns NULL, with errno ENOMEM or ENOSPC.
 */
struct stray *strays_add(struct strays *strays, uint32_t block, uint64_t offset, uint32_t size, bool zero);

/* strays_move() -- all of @from are the last of @to */
void strays_move(struct strays *to, struct strays *from);

/* strays_drop() -- the first one is forwarded */
void strays_drop(struct strays *strays);

void strays_clear(struct strays *strays);

#endif
