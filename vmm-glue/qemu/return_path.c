/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * return_path.c -- what the destination's QEMU tells the source's
 *
 * Messages, big-endian: 16 bits of type, 16 of length, and so many bytes. SHUT, which carries a status of 32 bits, is the last.
 */
#include "qemu/return_path.h"

#include <string.h>

#define HEAD 4u
#define TYPE_SHUT 1u
#define TYPE_MAX 64u /* QEMU has seven; more than this is something else */
#define SHUT_LENGTH 4u

static uint32_t bytes_at(const struct return_path *path, unsigned int at, unsigned int count)
{
	uint32_t value = 0;

	for (unsigned int i = 0; i < count; i++)
		value = value << 8 | path->head[at + i];
	return value;
}

static void path_message(struct return_path *path)
{
	const uint32_t type = bytes_at(path, 0, 2), length = bytes_at(path, 2, 2);

	if (type == 0 || type > TYPE_MAX || path->shut || (type == TYPE_SHUT && length != SHUT_LENGTH)) {
		path->strange = true;
	} else if (type == TYPE_SHUT && path->have < sizeof(path->head)) {
		return; /* its status comes */
	} else if (type == TYPE_SHUT) {
		path->shut = true;
		path->status = bytes_at(path, HEAD, SHUT_LENGTH);
	} else {
		path->skip = length;
	}
	path->have = 0;
}

static uint32_t path_wanted(const struct return_path *path)
{
	return path->have < HEAD ? HEAD : (uint32_t)sizeof(path->head);
}

void return_path_saw(struct return_path *path, const void *data, size_t length)
{
	const uint8_t *at = data;

	path->begun = path->begun || length > 0;
	while (length > 0 && !path->strange) {
		size_t take = path->skip;

		if (path->skip == 0) {
			take = path_wanted(path) - path->have;
			take = take < length ? take : length;
			memcpy(path->head + path->have, at, take);
			path->have += (uint32_t)take;
			if (path->have == path_wanted(path) || path->have == HEAD)
				path_message(path);
		} else {
			take = take < length ? take : length;
			path->skip -= (uint32_t)take;
		}
		at += take;
		length -= take;
	}
}
