/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * address.h -- "host:port": parse, resolve, connect, listen
 *
 * Every socket made here is TCP, close-on-exec, non-blocking and has TCP_NODELAY.
 *
 * A host that is a name, not a number, is looked up in a short-lived thread (all signals blocked), because getaddrinfo(3)
 * can neither be bounded nor woken. A look-up that is given up finishes behind the caller's back and frees itself.
 */
#ifndef UTIL_ADDRESS_H
#define UTIL_ADDRESS_H

#include <decant/error.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_HOST_MAX 256 /* with terminator */
#define ADDRESS_TEXT_MAX 272 /* "[host]:port" with terminator */

struct address {
	char host[ADDRESS_HOST_MAX]; /* name or numeric address, without brackets; "fe80::1%eth0" too */
	uint16_t port;               /* host order; 0: any, for listening */
};

/*
 * address_parse() -- "host:port", "1.2.3.4:port" or "[v6]:port"
 *
 * Returns 0 or -EINVAL; the message says what is wrong with @text and shows what a right one looks like.
 */
int address_parse(const char *text, struct address *address, struct decant_error *err);

/* address_format() -- the inverse; returns @text */
const char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX]);

/*
 * address_connect() -- resolve, and connect to the first of its addresses that answers
 *
 * Bounded by @deadline_ns and @wake_fd as in io.h, the look-up of the name included.
 * Returns a descriptor, -EINVAL (port 0), -ENOENT (no such host), -ETIMEDOUT, -ECANCELED, or what connect(2) said of the last.
 */
int address_connect(const struct address *address, uint64_t deadline_ns, int wake_fd, struct decant_error *err);

/* address_listen() -- bind (SO_REUSEADDR) and listen; a descriptor, -EADDRINUSE, -EADDRNOTAVAIL, -ENOENT, -EACCES... */
int address_listen(const struct address *address, int backlog, struct decant_error *err);

/* address_accept() -- the next connection of @listener; a descriptor, -ETIMEDOUT, -ECANCELED... */
int address_accept(int listener, uint64_t deadline_ns, int wake_fd, struct decant_error *err);

/* address_local(), address_peer() -- numeric host and port of a socket's end; 0 or -errno */
int address_local(int fd, struct address *address);
int address_peer(int fd, struct address *address);

#endif
