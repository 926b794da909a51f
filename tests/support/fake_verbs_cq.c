/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_verbs_cq.c -- the fake's completion queues and channels, and its asynchronous events */
#include "support/fake_verbs_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- completion channels ---- */

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
	struct fake_comp_channel *channel = calloc(1, sizeof(*channel));
	int error = fake_enter(FAKE_CREATE_COMP_CHANNEL);

	if (error == 0 && channel == NULL)
		error = ENOMEM;
	if (error == 0) {
		channel->base.context = context;
		channel->base.fd = fake_bell_new();
		TAILQ_INIT(&channel->events);
		fake.counts.comp_channels++;
	}
	fake_unlock();
	if (error == 0)
		return &channel->base;
	free(channel);
	errno = error;
	return NULL;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *base)
{
	fake_lock();
	if (base->refcnt > 0) {
		fake_unlock();
		return EBUSY;
	}
	fake.counts.comp_channels--;
	fake_unlock();
	close(base->fd);
	free((struct fake_comp_channel *)base);
	return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *base, struct ibv_cq **cq, void **context)
{
	struct fake_comp_channel *channel = (struct fake_comp_channel *)base;
	struct fake_cq_event *event = NULL;

	while (event == NULL) {
		if (fake_bell_take(base->fd) < 0)
			return -1;
		fake_lock();
		event = TAILQ_FIRST(&channel->events);
		if (event != NULL) {
			TAILQ_REMOVE(&channel->events, event, link);
			event->cq->outstanding++;
			fake.counts.unacknowledged++;
		}
		fake_unlock();
	}
	*cq = &event->cq->base;
	*context = event->cq->base.cq_context;
	free(event);
	return 0;
}

void ibv_ack_cq_events(struct ibv_cq *base, unsigned count)
{
	struct fake_cq *cq = (struct fake_cq *)base;

	fake_lock();
	if (count > cq->outstanding)
		fake_refuse("%u completion events acknowledged, %u were taken", count, cq->outstanding);
	cq->outstanding -= count;
	fake.counts.unacknowledged -= count;
	pthread_cond_broadcast(&fake.changed);
	fake_unlock();
}

static void notify(struct fake_cq *cq)
{
	struct fake_comp_channel *channel = (struct fake_comp_channel *)cq->base.channel;
	struct fake_cq_event *event = calloc(1, sizeof(*event));

	if (event == NULL)
		fake_refuse("out of memory");
	event->cq = cq;
	TAILQ_INSERT_TAIL(&channel->events, event, link);
	fake.counts.notices++;
	fake_bell_ring(channel->base.fd);
}

static void forget_events(struct fake_cq *cq)
{
	struct fake_comp_channel *channel = (struct fake_comp_channel *)cq->base.channel;
	struct fake_cq_event *event = channel == NULL ? NULL : TAILQ_FIRST(&channel->events);

	while (event != NULL) {
		struct fake_cq_event *next = TAILQ_NEXT(event, link);

		if (event->cq == cq) {
			TAILQ_REMOVE(&channel->events, event, link);
			fake_bell_undo(channel->base.fd);
			free(event);
		}
		event = next;
	}
}

/* ---- completion queues ---- */

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int size, void *cq_context,
			     struct ibv_comp_channel *channel, int vector)
{
	struct fake_cq *cq = calloc(1, sizeof(*cq));
	int error = fake_enter(FAKE_CREATE_CQ);

	if (error == 0 && fake_device_of(context)->removed)
		error = EIO;
	if (error == 0 && (size < 1 || size > fake.config.limits.max_cqe || vector != 0))
		error = EINVAL;
	if (error == 0 && cq != NULL)
		cq->ring = calloc((unsigned)size, sizeof(*cq->ring));
	if (error == 0 && (cq == NULL || cq->ring == NULL))
		error = ENOMEM;
	if (error == 0) {
		cq->base.context = context;
		cq->base.channel = channel;
		cq->base.cq_context = cq_context;
		cq->base.cqe = size;
		cq->size = (unsigned)size;
		if (channel != NULL)
			channel->refcnt++;
		fake.counts.cqs++;
	}
	fake_unlock();
	if (error == 0)
		return &cq->base;
	free(cq);
	errno = error;
	return NULL;
}

int ibv_destroy_cq(struct ibv_cq *base)
{
	struct fake_cq *cq = (struct fake_cq *)base;

	fake_lock();
	if (cq->users > 0) {
		fake_unlock();
		return EBUSY;
	}
	forget_events(cq);
	fake_await_zero(&cq->outstanding, "a completion queue's events not acknowledged");
	fake_async_forget(fake_device_of(base->context), cq);
	if (base->channel != NULL)
		base->channel->refcnt--;
	fake.counts.cqs--;
	fake_unlock();
	free(cq->ring);
	free(cq);
	return 0;
}

static bool is_lost(const struct fake_cqe *entry)
{
	if (entry->wc.status != IBV_WC_SUCCESS || entry->covers == 0)
		return false;
	fake.plan_completions++;
	return fake.plan.lose_completion != 0 &&
	       (fake.plan_completions == fake.plan.lose_completion ||
		(fake.plan.lose_rest && fake.plan_completions > fake.plan.lose_completion));
}

void fake_cq_push(struct fake_cq *cq, const struct fake_cqe *entry)
{
	if (is_lost(entry))
		return;
	if (cq->count == cq->size) {
		fake.counts.overruns++;
		fake_async_push(fake_device_of(cq->base.context), IBV_EVENT_CQ_ERR, NULL, cq);
		return;
	}
	cq->ring[(cq->head + cq->count++) % cq->size] = *entry;
	fake.counts.completions++;
	fake.counts.send_completions += entry->covers != 0;
	if (cq->armed && cq->base.channel != NULL) {
		cq->armed = false;
		notify(cq);
	}
}

void fake_cq_forget(struct fake_cq *cq, const struct fake_qp *qp)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cq->count; i++) {
		const struct fake_cqe *entry = &cq->ring[(cq->head + i) % cq->size];

		if (entry->qp != qp)
			cq->ring[(cq->head + kept++) % cq->size] = *entry;
	}
	cq->count = kept;
}

/* A slot of the queue pair is free again when the program knows that its work is done. */
static void take(const struct fake_cqe *entry)
{
	struct fake_qp *qp = entry->qp;

	if (entry->covers == 0) {
		qp->receive_free++;
		qp->seen = entry->before;
	} else if (entry->covers > qp->send_free) {
		qp->send_free = entry->covers;
	}
}

int fake_cq_poll(struct ibv_cq *base, int max, struct ibv_wc *wc)
{
	struct fake_cq *cq = (struct fake_cq *)base;
	const int error = fake_enter(FAKE_POLL_CQ);
	int n = 0;

	for (; error == 0 && n < max && cq->count > 0; n++) {
		const struct fake_cqe *entry = &cq->ring[cq->head];

		wc[n] = entry->wc;
		take(entry);
		cq->head = (cq->head + 1) % cq->size;
		cq->count--;
	}
	fake_unlock();
	return error == 0 ? n : -error;
}

int fake_cq_arm(struct ibv_cq *base, int solicited_only)
{
	const int error = fake_enter(FAKE_REQ_NOTIFY);

	(void)solicited_only;
	if (error == 0)
		((struct fake_cq *)base)->armed = true;
	fake_unlock();
	return error;
}

/* ---- asynchronous events ---- */

/* to the context that all identifiers of the device share */
void fake_async_push(struct fake_device *device, enum ibv_event_type type, struct fake_qp *qp, struct fake_cq *cq)
{
	struct fake_async *event = calloc(1, sizeof(*event));

	if (event == NULL)
		fake_refuse("out of memory");
	event->event.event_type = type;
	if (qp != NULL)
		event->event.element.qp = &qp->base;
	else if (cq != NULL)
		event->event.element.cq = &cq->base;
	else
		event->event.element.port_num = 1;
	TAILQ_INSERT_TAIL(&device->manager->events, event, link);
	fake_bell_ring(device->manager->verbs.context.async_fd);
}

void fake_async_forget(struct fake_device *device, const void *element)
{
	struct fake_async *event = TAILQ_FIRST(&device->manager->events);

	while (event != NULL) {
		struct fake_async *next = TAILQ_NEXT(event, link);

		if (event->event.element.qp == element) {
			TAILQ_REMOVE(&device->manager->events, event, link);
			fake_bell_undo(device->manager->verbs.context.async_fd);
			free(event);
		}
		event = next;
	}
}

int ibv_get_async_event(struct ibv_context *base, struct ibv_async_event *taken)
{
	struct fake_context *context = fake_context_of(base);
	struct fake_async *event = NULL;

	while (event == NULL) {
		if (fake_bell_take(base->async_fd) < 0)
			return -1;
		fake_lock();
		event = TAILQ_FIRST(&context->events);
		if (event != NULL) {
			TAILQ_REMOVE(&context->events, event, link);
			fake.counts.unacknowledged++;
		}
		fake_unlock();
	}
	*taken = event->event;
	free(event);
	return 0;
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
	(void)event;
	fake_lock();
	fake.counts.unacknowledged--;
	fake_unlock();
}

const char *ibv_event_type_str(enum ibv_event_type type)
{
	switch (type) {
	case IBV_EVENT_CQ_ERR:
		return "completion queue overrun";
	case IBV_EVENT_QP_ACCESS_ERR:
		return "access refused";
	case IBV_EVENT_QP_REQ_ERR:
		return "invalid request";
	case IBV_EVENT_DEVICE_FATAL:
		return "device lost";
	default:
		return "event";
	}
}

const char *ibv_wc_status_str(enum ibv_wc_status status)
{
	static const char *const names[] = {
		[IBV_WC_SUCCESS] = "success",
		[IBV_WC_LOC_LEN_ERR] = "local length error",
		[IBV_WC_LOC_PROT_ERR] = "local protection error",
		[IBV_WC_WR_FLUSH_ERR] = "flushed",
		[IBV_WC_REM_INV_REQ_ERR] = "remote invalid request",
		[IBV_WC_REM_ACCESS_ERR] = "remote access error",
		[IBV_WC_REM_OP_ERR] = "remote operation error",
		[IBV_WC_RETRY_EXC_ERR] = "transport retries exceeded",
		[IBV_WC_RNR_RETRY_EXC_ERR] = "receiver-not-ready retries exceeded",
	};

	if ((size_t)status >= sizeof(names) / sizeof(names[0]) || names[status] == NULL)
		return "error";
	return names[status];
}
