/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rail.h -- this host's RDMA ports by their IP addresses, and which of them reach the peer's
 *
 * Theory of operation
 * -------------------
 * The connection manager knows a port by the IP addresses of the network interface behind it. So a rail is found by binding an
 * identifier to each address that the host has, loopback aside: where that succeeds the identifier tells device and port. (An
 * InfiniBand port has such addresses on its IPoIB interface.)
 *
 * Which rails reach each other cannot be told from their addresses alone, so each likely pair is tried: the manager resolves the
 * remote address and a route to it from the local one. The candidates are ordered before (hardware first, then the same
 * subnet, speed, a NUMA node with memory of this process near) and the first that answer are taken, each device at most once at
 * either end.
 */
#ifndef FABRIC_RDMA_RAIL_H
#define FABRIC_RDMA_RAIL_H

#include "fabric/fabric.h"

#include <sys/socket.h>

#define RAIL_TEXT_MAX 128 /* with terminator */

/* rail_list() -- fabric_rdma_ops.rails */
int rail_list(struct fabric_rail *rails, uint32_t max, struct decant_error *err);

/* rail_pair() -- fabric_rdma_ops.pair. -EINVAL: opts->rails is not understood, or names what neither end has */
int rail_pair(const struct fabric_pair_opts *opts, struct fabric_pair *pairs, struct decant_error *err);

/* rail_node() -- the NUMA node that all of them are near; -1: there is no such node, or it is not known */
int rail_node(const struct fabric_rail *rails, uint32_t count);

/* rail_sockaddr() -- what to bind to or to resolve; @port in host order; its length. A rail of neither family: 0 */
socklen_t rail_sockaddr(const struct fabric_rail *rail, uint16_t port, struct sockaddr_storage *address);

/* rail_remote_sockaddr() -- the pair's other end as seen from here: a link-local address takes the local rail's scope */
socklen_t rail_remote_sockaddr(const struct fabric_pair *pair, uint16_t port, struct sockaddr_storage *address);

/* rail_address_text() -- "10.9.0.1"; rail_text() -- "mlx5_0 (10.9.0.1)". Both return @text */
const char *rail_address_text(const struct fabric_rail *rail, char text[RAIL_TEXT_MAX]);
const char *rail_text(const struct fabric_rail *rail, char text[RAIL_TEXT_MAX]);

#endif
