/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zerocopy.h -- MSG_ZEROCOPY on one socket: whether to use it, and which of its calls the kernel is done with
 *
 * Theory of operation
 * -------------------
 * The kernel sends straight from guest memory and keeps a reference to the pages until the peer's TCP has acknowledged them, so it may
 * read a page again for a retransmission, with what the guest has written since. Such a page is dirty and comes again, behind, on
 * the same connection; and bytes that the peer's TCP has taken it never takes again. So a barrier needs no completion: it is behind the data on
 * the connection, and when the sink has read it, it has read the data, whatever of it is still referenced here.
 *
 * Nor does a stop in good order wait for completions. What the kernel may still repeat the sink has, or it fences. A stop in
 * disorder makes the kernel forget the connection.
 *
 * The kernel numbers the calls and tells by the socket's error queue which are done. That says when the memory is not read any more
 * (bytes in flight), and whether the kernel copied after all, as it does wherever the packet ends in this host: then
 * the detour is not worth it, and DECANT_ZERO_COPY_AUTO gives it up. It does not begin with a peer that has this host's address.
 */
#ifndef TCP_ZEROCOPY_H
#define TCP_ZEROCOPY_H

#include <decant/error.h>
#include <decant/mover.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ZEROCOPY_CALLS 256u              /* in flight at most; a power of two */
#define ZEROCOPY_WORTH_BYTES (64u << 10) /* less is copied faster than its completion is taken */

/* Zeros are one that is off. Its owner's lock protects what is not atomic. */
struct zerocopy {
	int fd;
	bool on;
	bool optional;    /* off as soon as it is seen to be of no use */
	uint32_t first;   /* all calls before this one are done; numbers run freely, as the kernel's do */
	uint32_t next;    /* the number of the next call */
	uint32_t useless; /* completions in a row that said "copied" */
	uint32_t bytes[ZEROCOPY_CALLS]; /* of the calls in flight, by number */
	_Atomic uint64_t in_flight; /* bytes that the kernel may still read; relaxed: statistics, and for the end */
	_Atomic uint64_t referenced; /* bytes that went without a copy; relaxed: statistics */
};

/* zerocopy_open() -- for @fd, a connected socket; where the kernel has none of it, it stays off */
void zerocopy_open(struct zerocopy *zerocopy, int fd, enum decant_zero_copy mode);

/* zerocopy_begin() -- may a call with @bytes go by reference? Then zerocopy_end() must follow. */
bool zerocopy_begin(struct zerocopy *zerocopy, size_t bytes);

/* zerocopy_end() -- what sendmsg(2) has returned for it; -1: nothing was taken */
void zerocopy_end(struct zerocopy *zerocopy, size_t bytes, ssize_t sent);

/* zerocopy_reap() -- take what the error queue has; does not block */
void zerocopy_reap(struct zerocopy *zerocopy);

#endif
