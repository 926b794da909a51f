/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_verbs_event.c -- event channels of the fake's connection manager; events for later wait in a list that the NICs look through */
#include "support/fake_verbs_cm.h"

#include "util/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fake_cm_events delayed = TAILQ_HEAD_INITIALIZER(delayed);

/* ---- events ---- */

static void deliver(struct fake_cm_event *event)
{
	struct fake_cm_channel *channel = fake_cm_channel_of((struct fake_id *)event->base.id);

	TAILQ_INSERT_TAIL(&channel->events, event, link);
	fake_bell_ring(channel->base.fd);
}

struct fake_cm_event *fake_cm_push(struct fake_id *id, enum rdma_cm_event_type type, int status, const void *data,
				   size_t length, size_t carried, uint64_t due_ns)
{
	struct fake_cm_event *event = calloc(1, sizeof(*event));

	if (event == NULL)
		fake_refuse("out of memory");
	event->base.id = &id->base;
	event->base.event = type;
	event->base.status = status;
	event->due_ns = due_ns;
	if (length > 0)
		memcpy(event->data, data, length);
	/* the receiver sees the length of the message's field, not what was put into it */
	event->base.param.conn.private_data = carried > 0 ? event->data : NULL;
	event->base.param.conn.private_data_len = (uint8_t)carried;
	if (due_ns == 0) {
		deliver(event);
	} else {
		TAILQ_INSERT_TAIL(&delayed, event, link);
		pthread_cond_broadcast(&id->device->work);
	}
	return event;
}

void fake_cm_tell(struct fake_id *id, enum rdma_cm_event_type type, int status)
{
	fake_cm_push(id, type, status, NULL, 0, 0, 0);
}

void fake_cm_tick(uint64_t now_ns)
{
	struct fake_cm_event *event = TAILQ_FIRST(&delayed);

	while (event != NULL) {
		struct fake_cm_event *next = TAILQ_NEXT(event, link);

		if (event->due_ns <= now_ns) {
			TAILQ_REMOVE(&delayed, event, link);
			deliver(event);
		}
		event = next;
	}
}

uint64_t fake_cm_due_ns(void)
{
	uint64_t due_ns = CLOCK_NEVER;
	const struct fake_cm_event *event;

	TAILQ_FOREACH(event, &delayed, link)
	due_ns = event->due_ns < due_ns ? event->due_ns : due_ns;
	return due_ns;
}

void fake_cm_forget(struct fake_id *id)
{
	struct fake_cm_events *lists[] = { &fake_cm_channel_of(id)->events, &delayed };

	for (int i = 0; i < 2; i++) {
		struct fake_cm_event *event = TAILQ_FIRST(lists[i]);

		while (event != NULL) {
			struct fake_cm_event *next = TAILQ_NEXT(event, link);

			if (event->base.id == &id->base) {
				TAILQ_REMOVE(lists[i], event, link);
				if (i == 0)
					fake_bell_undo(id->base.channel->fd);
				free(event);
			}
			event = next;
		}
	}
}

/* ---- channels ---- */

struct rdma_event_channel *rdma_create_event_channel(void)
{
	struct fake_cm_channel *channel = calloc(1, sizeof(*channel));
	int error = fake_enter(FAKE_EVENT_CHANNEL);

	if (error == 0 && channel == NULL)
		error = ENOMEM;
	if (error == 0 && fake.config.devices == 0)
		error = ENODEV;
	if (error == 0) {
		channel->base.fd = fake_bell_new();
		TAILQ_INIT(&channel->events);
		fake.counts.event_channels++;
	}
	fake_unlock();
	if (error == 0)
		return &channel->base;
	free(channel);
	errno = error;
	return NULL;
}

void rdma_destroy_event_channel(struct rdma_event_channel *base)
{
	struct fake_cm_channel *channel = (struct fake_cm_channel *)base;

	fake_lock();
	if (channel->ids > 0)
		fake_refuse("an event channel ends with %u identifiers on it", channel->ids);
	fake.counts.event_channels--;
	fake_unlock();
	close(base->fd);
	free(channel);
}

/* The active end: what librdmacm does when it takes the reply, before the program sees it. */
static void take_reply(struct fake_id *id, struct fake_cm_event *event)
{
	struct fake_qp *qp = (struct fake_qp *)id->base.qp;
	struct fake_id *peer = id->peer;

	if (qp == NULL || qp->base.state != IBV_QPS_INIT || peer == NULL) {
		event->base.event = RDMA_CM_EVENT_CONNECT_ERROR;
		event->base.status = -EINVAL;
		if (peer != NULL) {
			fake_cm_tell(peer, RDMA_CM_EVENT_REJECTED, FAKE_REJECT_BY_PROGRAM);
			peer->state = FAKE_ENDED;
		}
		id->state = FAKE_ENDED;
		return;
	}
	event->base.event = RDMA_CM_EVENT_ESTABLISHED;
	qp->base.state = IBV_QPS_RTS;
	qp->rnr_retry = id->rnr_retry;
	qp->retry = id->retry;
	qp->ack_timeout = id->ack_timeout;
	id->state = FAKE_CONNECTED;
	peer->state = FAKE_CONNECTED;
	fake_cm_tell(peer, RDMA_CM_EVENT_ESTABLISHED, 0);
	pthread_cond_broadcast(&qp->device->work);
}

int rdma_get_cm_event(struct rdma_event_channel *base, struct rdma_cm_event **taken)
{
	struct fake_cm_channel *channel = (struct fake_cm_channel *)base;
	struct fake_cm_event *event = NULL;
	int error = fake_enter(FAKE_GET_CM_EVENT);

	fake_unlock();
	if (error != 0) {
		errno = error;
		return -1;
	}
	while (event == NULL) {
		if (fake_bell_take(base->fd) < 0)
			return -1;
		fake_lock();
		event = TAILQ_FIRST(&channel->events);
		if (event != NULL) {
			struct fake_id *id = (struct fake_id *)event->base.id;

			TAILQ_REMOVE(&channel->events, event, link);
			if (event->base.event == RDMA_CM_EVENT_CONNECT_RESPONSE)
				take_reply(id, event);
			/* a request counts for the listener, from which the new identifier comes */
			if (event->base.listen_id != NULL)
				id = (struct fake_id *)event->base.listen_id;
			id->outstanding++;
			fake.counts.unacknowledged++;
		}
		fake_unlock();
	}
	*taken = &event->base;
	return 0;
}

int rdma_ack_cm_event(struct rdma_cm_event *base)
{
	struct fake_id *id = (struct fake_id *)(base->listen_id != NULL ? base->listen_id : base->id);

	fake_lock();
	id->outstanding--;
	fake.counts.unacknowledged--;
	pthread_cond_broadcast(&fake.changed);
	fake_unlock();
	/* so that a look at it afterwards is found out */
	memset(base, 0xa5, sizeof(struct fake_cm_event));
	free((struct fake_cm_event *)base);
	return 0;
}
