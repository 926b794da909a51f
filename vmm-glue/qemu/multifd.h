/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * multifd.h -- one of multifd's channels, read like the main stream (stream.h): what it carries goes to the destination without multifd
 *
 * Pages of blocks with a region become MULTIFD_PAGES. Those of other blocks are kept as strays until the main stream has a place
 * for them. Nothing of a channel is forwarded.
 *
 * QEMU connects the channels to the same socket as the main stream, and each has been connected, and has sent its SYNC, before the main stream
 * shows its first STREAM_SYNC. So whoever accepts until there is nothing more to accept then has them all. Connections are told
 * apart by their first four bytes.
 *
 *     main:     STREAM_SYNC: wait until each channel has come to MULTIFD_SYNC once more;
 *               stream_put_in(stream, multifd_strays(channel)) for each; let them go on
 *     channel:  MULTIFD_SYNC: wait to be let go on; until then stream_put_in() may use its strays, from another thread
 *
 * A channel is made after STREAM_BLOCKS: before, nothing may be read of it but its first four bytes, by a look (MSG_PEEK).
 */
#ifndef QEMU_MULTIFD_H
#define QEMU_MULTIFD_H

#include "qemu/ram_blocks.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MULTIFD_BUFFER (256u << 10)

struct multifd;
struct strays;

/* What a connection is, by the first four bytes of it. */
enum multifd_kind {
	MULTIFD_MAIN,    /* the main stream */
	MULTIFD_CHANNEL, /* one of multifd's channels */
	MULTIFD_TLS,     /* encrypted: tls-creds must be off */
	MULTIFD_STRANGE, /* nothing that QEMU sends */
};

enum multifd_kind multifd_kind(const void *first_four);

enum multifd_what {
	MULTIFD_PAGES = 1, /* block, offset, bytes, zero_pages: QEMU says that these are dirty */
	MULTIFD_SYNC,      /* do not read on before the main stream says so */
};

struct multifd_event {
	uint32_t block;
	uint64_t offset;
	uint64_t bytes;
	uint64_t zero_pages;
};

struct multifd_stats {
	uint64_t bytes;
	uint64_t packets;
	uint64_t pages; /* of blocks with a region */
	uint64_t zero_pages;
	uint64_t passed_pages; /* of others */
	uint64_t syncs;
};

/* multifd_new() -- @blocks stays the stream's. @buffer: its size in bytes, 0: MULTIFD_BUFFER. 0, -EINVAL, -ENOMEM */
int multifd_new(const struct ram_blocks *blocks, size_t buffer, struct multifd **multifd,
		struct decant_error *err);

/* multifd_room(), multifd_filled(), multifd_next() -- as stream_room(), stream_filled(), stream_next() with an enum multifd_what */
void *multifd_room(struct multifd *multifd, size_t *length);
void multifd_filled(struct multifd *multifd, size_t length);
int multifd_next(struct multifd *multifd, struct multifd_event *event, struct decant_error *err);

/* multifd_finish() -- QEMU has closed it: 0 between two packets, else -ECONNRESET */
int multifd_finish(const struct multifd *multifd, struct decant_error *err);

/* multifd_strays() -- what stream_put_in() is to be given */
struct strays *multifd_strays(struct multifd *multifd);

/* multifd_id() -- its number, from 0; -1 before it is known */
int multifd_id(const struct multifd *multifd);

void multifd_get_stats(const struct multifd *multifd, struct multifd_stats *stats);

void multifd_free(struct multifd *multifd);

#endif
