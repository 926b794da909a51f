/* SPDX-License-Identifier: BSD-2-Clause */
/* ram_blocks.h -- the blocks of guest memory that a migration stream lists, and which of them the sidecars move themselves */
#ifndef QEMU_RAM_BLOCKS_H
#define QEMU_RAM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAM_BLOCK_NAME_MAX 256 /* with terminator: the stream has one byte for the length */
#define RAM_BLOCKS_MAX 1024u

struct ram_block {
	char name[RAM_BLOCK_NAME_MAX]; /* "pc.ram", "0000:00:02.0/vga.vram" */
	uint64_t length;               /* bytes in use, at the source */
	int region; /* for the caller to set: its index in the memory; -1: its pages pass in the stream */
};

/* Written by the stream until STREAM_BLOCKS, by its caller during it, read-only afterwards: any thread. */
struct ram_blocks {
	struct ram_block *list;
	uint32_t count;
	uint32_t page_size; /* of the target, bytes: what one record is about, huge pages or not */
};

/* ram_blocks_add() -- one more; @name of less than RAM_BLOCK_NAME_MAX bytes without a NUL. Its index, -ENOSPC, -ENOMEM */
int ram_blocks_add(struct ram_blocks *blocks, const char *name, size_t name_length, uint64_t length);

/* ram_blocks_find() -- the index of a name of @length bytes; -1 if there is none */
int ram_blocks_find(const struct ram_blocks *blocks, const char *name, size_t length);

/* ram_blocks_has() -- is the page at @offset in block @index */
static inline bool ram_blocks_has(const struct ram_blocks *blocks, uint32_t index, uint64_t offset)
{
	return offset < blocks->list[index].length;
}

/* ram_blocks_passing() -- the sum of the lengths of those that pass in the stream */
uint64_t ram_blocks_passing(const struct ram_blocks *blocks);

void ram_blocks_clear(struct ram_blocks *blocks);

#endif
