/* SPDX-License-Identifier: BSD-2-Clause */
/* link_private.h -- struct link, shared by link.c (what this end says) and link_deliver.c (what the other end has said) */
#ifndef QEMU_LINK_PRIVATE_H
#define QEMU_LINK_PRIVATE_H

#include "qemu/link.h"

#include <pthread.h>

#define LINK_ERRNO_MAX 4095u
#define LINK_NUMBER_SIZE 4u /* what follows the head of CREDIT and END */

enum link_type {
	LINK_TYPE_OPEN = 1,
	LINK_TYPE_DATA = 2,
	LINK_TYPE_CREDIT = 3,
	LINK_TYPE_END = 4,
	LINK_TYPE_CONTROL = 5,
};

/* The head of every message; @what is the service of OPEN, the kind of CONTROL, else 0. */
struct link_head {
	uint16_t type;
	uint16_t what;
	uint32_t stream;
};

struct link_stream {
	uint32_t id; /* 0: the slot is free */
	enum link_service service;
	bool ended;      /* this end has said so */
	uint32_t room;   /* bytes that the other end has room for */
	bool end_heard;  /* the other end has */
	uint32_t broken; /* errno that the other end has broken it with, 0: it has not */
	uint8_t *ring;   /* of LINK_WINDOW bytes, once there are any */
	uint32_t first, count;
	uint32_t owed; /* bytes that were consumed and not given back */
};

struct link {
	/* set at creation, read-only after */
	struct link_opts opts;
	int event_fd;

	/* the user's thread only */
	uint8_t out[DECANT_MESSAGE_MAX];

	/* protected by lock, a leaf: nothing is sent under it, since whoever delivers must not wait for a sender */
	pthread_mutex_t lock;
	struct link_stream stream[LINK_STREAMS_MAX];
	uint32_t last_id;     /* that was opened */
	uint32_t accepted_id; /* that was accepted */
	struct {
		enum link_control kind;
		char *text;
	} control[LINK_CONTROLS_MAX];
	uint32_t control_first, control_count;
	bool woken;                 /* event_fd is readable */
	struct decant_error failed; /* code 0: it goes on */
	struct link_stats stats;
};

void link_head_encode(const struct link_head *head, uint8_t bytes[LINK_HEAD]);

/* link_send_number() -- a message with a u32 behind its head: CREDIT, END; any thread */
int link_send_number(struct link *link, enum link_type type, uint32_t id, uint32_t number,
		     struct decant_error *err);

/* both with lock held */
struct link_stream *link_find(struct link *link, uint32_t id);
void link_wake(struct link *link);

#endif
