/* SPDX-License-Identifier: BSD-2-Clause */
/* resolve.h -- getaddrinfo(3) with a deadline and a wake */
#ifndef UTIL_RESOLVE_H
#define UTIL_RESOLVE_H

#include "util/address.h"

#include <netdb.h>

/*
 * resolve() -- the TCP addresses of @address, in the resolver's order
 *
 * *@list is the caller's, freed with freeaddrinfo(). Numeric hosts take no thread and no time.
 * Returns 0, -ENOENT (no such host), -EAGAIN (the name server fails), -ETIMEDOUT, -ECANCELED, -ENOMEM.
 */
int resolve(const struct address *address, uint64_t deadline_ns, int wake_fd, struct addrinfo **list,
	    struct decant_error *err);

#endif
