/* SPDX-License-Identifier: BSD-2-Clause */
/* cm.c -- the connection manager, step by step and each with a deadline */
#include "fabric/rdma/cm.h"

#include "fabric/rdma/hello.h"
#include "fabric/rdma/rail.h"
#include "util/clock.h"
#include "util/io.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

/*
 * How long a NIC waits for an acknowledgement: 4.096 us x 2^exponent, and so often again. The manager's own choice for RoCE
 * is 2 s, which makes 17 s for a dead peer. In software the acknowledgement waits for a CPU, which can take long.
 */
#define ACK_EXPONENT_HARDWARE 14 /* 67 ms, 0.5 s in all */
#define ACK_EXPONENT_SOFTWARE 17 /* 0.54 s, 3.8 s in all; the control connection's heartbeat is quicker */
#define RETRIES 6                /* rxe takes 7 for ever */
#define RNR_RETRIES 3            /* the credits see to it that there is none; 7 would be for ever */

int cm_take(struct rdma_event_channel *channel, struct cm_event *event)
{
	struct rdma_cm_event *from;
	const int rc = verbs_event(channel, &from);

	if (rc < 0)
		return rc;
	*event = (struct cm_event){
		.type = from->event,
		.status = from->status,
		.id = from->id,
		.listener = from->listen_id,
	};
	if (from->param.conn.private_data != NULL) {
		event->length = from->param.conn.private_data_len;
		if (event->length > CM_PRIVATE_MAX)
			event->length = CM_PRIVATE_MAX;
		memcpy(event->data, from->param.conn.private_data, event->length);
	}
	rdma_ack_cm_event(from);
	return 0;
}

bool cm_ends(enum rdma_cm_event_type type)
{
	switch (type) {
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		return true;
	default:
		return false;
	}
}

uint16_t cm_port(struct rdma_cm_id *id)
{
	return ntohs(rdma_get_src_port(id));
}

/* The event channel is shared with ids that stand already: the end of one of those ends this, too. */
static int next_event(struct rdma_cm_id *id, struct cm_event *event, uint64_t deadline_ns, int wake_fd)
{
	int rc;

	do {
		rc = cm_take(id->channel, event);
		if (rc == 0 && event->id != id)
			rc = cm_ends(event->type) ? -ECONNRESET : -EAGAIN;
		else if (rc == -EAGAIN)
			rc = io_wait(id->channel->fd, POLLIN, deadline_ns, wake_fd) ?: -EAGAIN;
	} while (rc == -EAGAIN);
	return rc;
}

/* The peer's end could not be made: what there is to be done there. */
static const char *advise_peer(uint32_t code)
{
	switch (code) {
	case ENOMEM:
		return "raise RLIMIT_MEMLOCK there (`ulimit -l`), or its rdma cgroup's rdma.max, or use fewer --channels";
	case EAGAIN:
		return "raise its rdma cgroup's rdma.max, or use fewer --channels";
	case EACCES:
	case EPERM:
		return "it may not use its device: `decant probe` there says what is missing";
	default:
		return "`decant probe` there says what its rails can do";
	}
}

static int refuse_rejection(const struct cm_event *event, const char *step, struct decant_error *err)
{
	struct refused refused;

	if (refusal_decode(&refused, event->data, event->length) == REFUSAL_NONE)
		return decant_error_set(
			err, -ECONNREFUSED,
			"%s: refused: nobody listens there: has the destination ended? else a firewall, or "
			"another host with that address",
			step);
	if (refused.why != REFUSAL_FAILED)
		return decant_error_set(err, -EACCES, "%s: refused: %s", step, refusal_str(refused.why));
	return decant_error_set(err, -EACCES, "%s: refused: %s: %s; %s", step, refusal_str(refused.why),
				refused.text[0] != '\0' ? refused.text : "it does not say why",
				advise_peer(refused.code));
}

/* How an event that is not the one that was due reads. */
static int refuse_event(const struct cm_event *event, const char *step, struct decant_error *err)
{
	const int code = event->status < 0 ? event->status : -ENETUNREACH;

	if (event->type == RDMA_CM_EVENT_REJECTED)
		return refuse_rejection(event, step, err);
	return decant_error_set(err, code, "%s: %s: %s", step, rdma_event_str(event->type), strerror(-code));
}

static int await(struct rdma_cm_id *id, enum rdma_cm_event_type due, const char *step, struct cm_event *event,
		 uint64_t deadline_ns, int wake_fd, struct decant_error *err)
{
	const int rc = next_event(id, event, deadline_ns, wake_fd);

	if (rc == -ECONNRESET)
		return decant_error_set(err, rc, "%s: meanwhile a channel that stood has ended: %s", step,
					rdma_event_str(event->type));
	if (rc < 0)
		return decant_error_set(err, rc, "%s: %s", step,
					rc == -ETIMEDOUT ? "the peer's rail does not answer" : strerror(-rc));
	return event->type == due ? 0 : refuse_event(event, step, err);
}

static int step_ms(uint64_t deadline_ns)
{
	const int ms = clock_poll_ms(deadline_ns);

	return ms > 0 ? ms : 1;
}

int cm_resolve(struct rdma_cm_id *id, const struct fabric_pair *pair, uint16_t port, uint64_t deadline_ns,
	       int wake_fd, struct decant_error *err)
{
	const bool software = pair->local.software || pair->remote.software;
	struct sockaddr_storage local, remote;
	struct cm_event event;
	int rc;

	rail_sockaddr(&pair->local, 0, &local);
	rail_remote_sockaddr(pair, port, &remote);
	rc = verbs_resolve_address(id, (struct sockaddr *)&local, (struct sockaddr *)&remote,
				   step_ms(deadline_ns));
	if (rc < 0)
		return decant_error_set(err, rc, "resolve the address: %s", strerror(-rc));
	rc = await(id, RDMA_CM_EVENT_ADDR_RESOLVED, "resolve the address", &event, deadline_ns, wake_fd, err);
	if (rc < 0)
		return rc;
	/* older kernels do not have the option: then a dead peer is noticed later, by the control connection first */
	(void)verbs_ack_timeout(id, software ? ACK_EXPONENT_SOFTWARE : ACK_EXPONENT_HARDWARE);
	rc = verbs_resolve_route(id, step_ms(deadline_ns));
	if (rc < 0)
		return decant_error_set(err, rc, "resolve the route: %s", strerror(-rc));
	return await(id, RDMA_CM_EVENT_ROUTE_RESOLVED, "resolve the route", &event, deadline_ns, wake_fd, err);
}

struct rdma_conn_param cm_param(const void *data, uint8_t length)
{
	return (struct rdma_conn_param){
		.private_data = data,
		.private_data_len = length,
		.retry_count = RETRIES,
		.rnr_retry_count = RNR_RETRIES,
	};
}

int cm_connect(struct rdma_cm_id *id, const uint8_t *hello, struct welcome *welcome, uint64_t deadline_ns,
	       int wake_fd, struct decant_error *err)
{
	struct rdma_conn_param param = cm_param(hello, HELLO_SIZE);
	struct cm_event event;
	int rc = verbs_connect(id, &param);

	if (rc < 0)
		return decant_error_set(err, rc, "connect: %s", strerror(-rc));
	rc = await(id, RDMA_CM_EVENT_ESTABLISHED, "connect", &event, deadline_ns, wake_fd, err);
	if (rc < 0)
		return rc;
	if (welcome_decode(welcome, event.data, event.length) < 0)
		return decant_error_set(err, -EPROTO, "connect: the peer's acceptance is none of ours");
	return 0;
}
