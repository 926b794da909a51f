/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.h -- which fabric a source takes, over which rails, and why
 *
 * "auto" takes RDMA where a hardware rail of this host reaches one of the destination's, else TCP. A fabric that is asked for by
 * name is taken or refused. RDMA that breaks later goes over to TCP, unless it was asked for and never began.
 */
#ifndef MIGRATION_ROUTE_H
#define MIGRATION_ROUTE_H

#include "fabric/fabric.h"
#include "wire/wire.h"
#include <decant/error.h>
#include <decant/log.h>
#include <stdbool.h>
#include <stdint.h>

struct route_opts {
	const char *fabric; /* "auto", or a fabric's name */
	const char *rails;  /* --rail, NULL: any */
	const char *peer;   /* for messages */
	int memory_node;    /* NUMA node of the guest's memory, -1: not known */
	const struct wire_welcome *welcome;
	uint64_t timeout_ns; /* for looking which rails reach each other */
	int wake_fd;         /* readable: give that up; -1: never */
	struct decant_log log;
};

#define ROUTE_REASON_MAX 192

struct route {
	const struct fabric_ops *ops;
	struct fabric_pair pair[FABRIC_PAIRS_MAX];
	uint32_t pairs; /* 0: a fabric without rails */
	bool named;     /* asked for by name */
	char reason[ROUTE_REASON_MAX];
};

/*
 * route_channels() -- how many where nobody has said: the fabric's own number, or one for each pair of rails, if that is more
 *
 * Stripes go over the channels in turn, so a rail that is less than half as fast as the first would hold it up, and is left out.
 */
uint32_t route_channels(const struct route *route);

/* route_features() -- what HELLO offers so that @fabric can be had; bits of HELLO */
uint64_t route_features(const char *fabric);

/* route_choose() -- -EINVAL, -EOPNOTSUPP, or why there is no way over a fabric that was asked for by name */
int route_choose(const struct route_opts *opts, struct route *route, struct decant_error *err);

/* route_node() -- the NUMA node of this host that all its rails are near, -1: none, or not known */
int route_node(const struct route *route);

/*
 * route_leave_rails() -- RDMA is lost because of @why: TCP from now on
 *
 * @begun: something has been sent over it. A route without rails stays as it is. Returns 0, or @why for RDMA that was asked
 * for and could not even begin.
 */
int route_leave_rails(struct route *route, bool begun, const struct decant_error *why, struct decant_error *err);

#endif
