/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_verbs_cm.h -- what the two halves of the fake's connection manager share: _cm.c (identifiers), _event.c (channels, events) */
#ifndef SUPPORT_FAKE_VERBS_CM_H
#define SUPPORT_FAKE_VERBS_CM_H

#include "support/fake_verbs_private.h"

#define FAKE_REJECT_NO_LISTENER 8 /* reasons of a rejection */
#define FAKE_REJECT_BY_PROGRAM 28

enum fake_id_state {
	FAKE_IDLE,
	FAKE_BOUND,
	FAKE_LISTENING,
	FAKE_ADDRESS_FOUND, /* resolved */
	FAKE_ROUTE_FOUND,
	FAKE_ASKING,   /* rdma_connect() */
	FAKE_ASKED,    /* a new one of a listener */
	FAKE_ACCEPTED, /* rdma_accept() */
	FAKE_CONNECTED,
	FAKE_ENDED,
};

struct fake_cm_event {
	struct rdma_cm_event base;
	uint8_t data[256];
	uint64_t due_ns; /* 0: at once */
	TAILQ_ENTRY(fake_cm_event) link;
};
TAILQ_HEAD(fake_cm_events, fake_cm_event);

struct fake_cm_channel {
	struct rdma_event_channel base;
	struct fake_cm_events events;
	unsigned ids;
};

struct fake_id {
	struct rdma_cm_id base;
	enum fake_id_state state;
	struct fake_device *device;
	struct fake_id *peer;     /* the other end, while it is there */
	struct fake_id *listener; /* of one that is FAKE_ASKED */
	uint16_t port;            /* bound; host order */
	unsigned outstanding;     /* events taken and not acknowledged */
	uint8_t ack_timeout;
	uint8_t retry, rnr_retry; /* of its own sends; rnr_retry from what the peer said */
	TAILQ_ENTRY(fake_id) link;
};

/* fake_cm_push() -- an event for @id; of @length bytes of private data the receiver sees @carried; 0 for @due_ns: at once */
struct fake_cm_event *fake_cm_push(struct fake_id *id, enum rdma_cm_event_type type, int status, const void *data,
				   size_t length, size_t carried, uint64_t due_ns);
/* fake_cm_tell() -- one without data */
void fake_cm_tell(struct fake_id *id, enum rdma_cm_event_type type, int status);
/* fake_cm_forget() -- those that have not been taken */
void fake_cm_forget(struct fake_id *id);

static inline struct fake_cm_channel *fake_cm_channel_of(const struct fake_id *id)
{
	return (struct fake_cm_channel *)id->base.channel;
}

#endif
