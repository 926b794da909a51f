/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay.h -- one connection of QEMU's, joined with one stream of the link: bytes both ways, each direction with its end
 *
 *   QEMU --read--> in --link_write--> the other sidecar
 *   QEMU <--send-- out <--link_peek-- the other sidecar
 *
 * Nothing blocks but link_write(). Bytes are read from QEMU only where the link has room, so QEMU waits for the other QEMU. When a
 * direction has ended, so does the other side of it (half a close), and when both have, the relay has.
 */
#ifndef QEMU_RELAY_H
#define QEMU_RELAY_H

#include "qemu/return_path.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link;

struct relay {
	int fd; /* the relay's; -1: none */
	uint32_t id;
	bool in_ended;  /* QEMU sends no more, and the link knows */
	bool out_ended; /* the link brings no more, and QEMU knows */
	bool fed;       /* "in" is somebody else's: relay_in_wants() and relay_pump() leave it alone */
	uint32_t skip;  /* bytes to come from the link that QEMU has had already */
	uint64_t in_bytes;
	uint64_t out_bytes;
	struct return_path *in_path;  /* sees what goes in; NULL: nobody */
	struct return_path *out_path; /* sees what goes out; NULL: nobody */
};

#define RELAY_INIT       \
	{                \
		.fd = -1 \
	}

/* relay_begin() -- @fd, non-blocking, is the relay's from now on */
void relay_begin(struct relay *relay, int fd, uint32_t id);

/* relay_events() -- for poll(2),: what there is to wait for now, or 0: nothing, but for the link */
short relay_events(const struct relay *relay, struct link *link);

/*
 * relay_pump() -- move what can be moved now, both ways
 *
 * Returns 1 when both directions have ended, 0 before; -ECONNRESET or what the kernel says: QEMU is gone; what link_peek() and
 * link_write() say.
 */
int relay_pump(struct relay *relay, struct link *link, struct decant_error *err);

/* relay_end_in() -- of one that is fed: nothing more goes in */
int relay_end_in(struct relay *relay, struct link *link, struct decant_error *err);

/* relay_close() -- close the connection; @code as of link_close(). Fine on one that was not begun. @link NULL: it is no more */
void relay_close(struct relay *relay, struct link *link, int code);

#endif
