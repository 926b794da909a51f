/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feeder.h -- what QEMU sends of a migration: read, and given to the mover (pages) and to the link (all else)
 *
 * One thread. The caller polls and says what is readable. Reading stops while the mover or the link is full, so QEMU waits, and measures what
 * it can send: that is what its own decisions are made on.
 *
 * Order: what is dirty is pushed when QEMU has said so, or later; before RAM's end is forwarded all has been pushed and a barrier
 * has been acknowledged. Nothing is forwarded before blocks() has returned.
 */
#ifndef QEMU_FEEDER_H
#define QEMU_FEEDER_H

#include "qemu/ram_blocks.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct decant_mover;
struct link;
struct relay;

#define FEEDER_CHANNELS_MAX 256u /* QEMU has 255 at most */

struct feeder_opts {
	bool pass; /* forward all of it unlooked at */
	/*
	 * The stream's block list is known. Connects (feeder_connect()) if that was not done, and sets the blocks' regions. Returns 1: none,
	 * pass all of it unchanged; 0, or a negative errno.
	 */
	int (*blocks)(void *opaque, struct ram_blocks *blocks, bool return_path, struct decant_error *err);
	/* the main stream has come to where multifd's channels must all have been added (feeder_add_channel()), those that wait to be accepted too */
	int (*channels)(void *opaque, struct decant_error *err);
	/* all of RAM is at the destination */
	void (*ram_end)(void *opaque);
	void *opaque;
};

struct feeder_stats {
	uint64_t stream_bytes; /* read from QEMU, all connections */
	uint64_t forwarded_bytes;
	uint64_t passing_bytes; /* length of blocks whose pages pass in the stream */
	uint64_t dirty_pages;   /* as often as QEMU has said so */
	uint64_t drain_ns;
	uint32_t channels;
};

struct feeder;

/* feeder_new() -- @main: the main connection, whose "in" is the feeder's */
int feeder_new(const struct feeder_opts *opts, struct relay *main, struct feeder **feeder,
	       struct decant_error *err);

/* feeder_connect() -- where pages and the rest go, from now on; main's stream is open */
void feeder_connect(struct feeder *feeder, struct decant_mover *mover, struct link *link);

/* feeder_add_channel() -- one of multifd's connections is the feeder's from now on, also if this fails */
int feeder_add_channel(struct feeder *feeder, int fd, struct decant_error *err);

/* feeder_wants_main() -- is there a point in polling the main connection to read? */
bool feeder_wants_main(const struct feeder *feeder);

/* feeder_channel() -- descriptor of channel @index to poll to read; -1: not now; -2: there is no such channel */
int feeder_channel(const struct feeder *feeder, uint32_t index);

/* feeder_turn() -- read and give on what is there now; returns 0 or why it is over */
int feeder_turn(struct feeder *feeder, struct decant_error *err);

/* feeder_settle() -- push what was held back to make runs longer; before poll(2) waits */
int feeder_settle(struct feeder *feeder, struct decant_error *err);

void feeder_get_stats(const struct feeder *feeder, struct feeder_stats *stats);

/* feeder_free() -- closes the channels; NULL is fine */
void feeder_free(struct feeder *feeder);

#endif
