/* SPDX-License-Identifier: BSD-2-Clause */
/* ram_blocks.c -- the blocks of guest memory that a migration stream lists */
#include "qemu/ram_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The list grows by this many. */
#define RAM_BLOCKS_MORE 16u

int ram_blocks_find(const struct ram_blocks *blocks, const char *name, size_t length)
{
	uint32_t i;

	for (i = 0; i < blocks->count; i++)
		if (strncmp(blocks->list[i].name, name, length) == 0 && blocks->list[i].name[length] == '\0')
			return (int)i;
	return -1;
}

int ram_blocks_add(struct ram_blocks *blocks, const char *name, size_t name_length, uint64_t length)
{
	struct ram_block *list;

	if (blocks->count == RAM_BLOCKS_MAX)
		return -ENOSPC;
	if (blocks->count % RAM_BLOCKS_MORE == 0) {
		list = realloc(blocks->list, (blocks->count + RAM_BLOCKS_MORE) * sizeof(*list));
		if (list == NULL)
			return -ENOMEM;
		blocks->list = list;
	}
	list = &blocks->list[blocks->count];
	*list = (struct ram_block){ .length = length, .region = -1 };
	memcpy(list->name, name, name_length);
	return (int)blocks->count++;
}

uint64_t ram_blocks_passing(const struct ram_blocks *blocks)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < blocks->count; i++)
		if (blocks->list[i].region < 0)
			bytes += blocks->list[i].length;
	return bytes;
}

void ram_blocks_clear(struct ram_blocks *blocks)
{
	free(blocks->list);
	*blocks = (struct ram_blocks){ .page_size = blocks->page_size };
}
