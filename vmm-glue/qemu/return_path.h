/* SPDX-License-Identifier: BSD-2-Clause */
/* return_path.h -- what the destination's QEMU tells the source's, watched as it passes: has it loaded the VM? */
#ifndef QEMU_RETURN_PATH_H
#define QEMU_RETURN_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read by return_path_saw() alone; all zeros at the start. */
struct return_path {
	uint8_t head[8]; /* of the message that is coming in: type, length, and what SHUT carries */
	uint32_t have;   /* bytes of @head */
	uint32_t skip;   /* bytes of the message that are yet to come */
	bool shut;       /* SHUT has passed: the last word */
	uint32_t status; /* what it said; 0: loaded */
	bool begun;      /* something has passed */
	bool strange;    /* this is no return path: nothing more is looked at */
};

/* return_path_saw() -- these bytes have passed, in any split */
void return_path_saw(struct return_path *path, const void *data, size_t length);

/* return_path_loaded() -- has it said that all has been loaded? */
static inline bool return_path_loaded(const struct return_path *path)
{
	return path->shut && path->status == 0;
}

/* return_path_open() -- is there one, whose last word is yet to come? */
static inline bool return_path_open(const struct return_path *path)
{
	return path->begun && !path->shut && !path->strange;
}

#endif
