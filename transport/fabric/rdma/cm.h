/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cm.h -- the connection manager, step by step and each with a deadline
 *
 * Its own patience with a peer that does not answer is a minute, so every step is waited for here, and given up here.
 */
#ifndef FABRIC_RDMA_CM_H
#define FABRIC_RDMA_CM_H

#include "fabric/fabric.h"
#include "fabric/rdma/hello.h"
#include "fabric/rdma/verbs.h"

#define CM_PRIVATE_MAX 196u

/* An event, copied: the original is acknowledged at once, so that an id can be destroyed at any time. */
struct cm_event {
	enum rdma_cm_event_type type;
	int status;
	struct rdma_cm_id *id;
	struct rdma_cm_id *listener; /* of a connection request */
	uint8_t data[CM_PRIVATE_MAX];
	uint32_t length;
};

/* cm_take() -- the next event. 0; -EAGAIN: none; or -errno */
int cm_take(struct rdma_event_channel *channel, struct cm_event *event);

/* cm_ends() -- is this event the end of a connection? */
bool cm_ends(enum rdma_cm_event_type type);

/* cm_port() -- of a bound or listening id */
uint16_t cm_port(struct rdma_cm_id *id);

/*
 * cm_resolve() -- from @local to @remote: address, then route
 *
 * @wake_fd: readable means give up, -1 for none. Returns 0, -ECANCELED, -ETIMEDOUT, -ENETUNREACH, or another reason.
 */
int cm_resolve(struct rdma_cm_id *id, const struct fabric_pair *pair, uint16_t port, uint64_t deadline_ns,
	       int wake_fd, struct decant_error *err);

/* cm_connect() -- with @hello of HELLO_SIZE bytes; on success @welcome is the peer's. The id has its queue pair. */
int cm_connect(struct rdma_cm_id *id, const uint8_t *hello, struct welcome *welcome, uint64_t deadline_ns,
	       int wake_fd, struct decant_error *err);

/* cm_param() -- what both ends ask of a reliable connection: no READs, few retries of a receiver that is not ready */
struct rdma_conn_param cm_param(const void *data, uint8_t length);

#endif
