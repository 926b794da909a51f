/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_verbs_cm.c -- the fake's connection manager
 *
 * An active identifier meets a listening one by address and port. As in librdmacm the active end's queue pair becomes ready
 * when the program takes the event that says ESTABLISHED, and only then is the passive end told; the passive one becomes ready
 * in rdma_accept().
 */
#include "support/fake_verbs_cm.h"

#include "util/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_PORT 20000
#define REQUEST_DATA_MAX 56
#define REPLY_DATA_MAX 196
#define REJECT_DATA_MAX 148

static TAILQ_HEAD(fake_ids, fake_id) ids = TAILQ_HEAD_INITIALIZER(ids);
static uint16_t next_port = FIRST_PORT;

void fake_cm_reset(void)
{
	next_port = FIRST_PORT;
}

static int result(int error)
{
	fake_unlock();
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

/* ---- identifiers ---- */

static struct fake_id *new_id(struct rdma_event_channel *channel, void *context)
{
	struct fake_id *id = calloc(1, sizeof(*id));

	if (id == NULL)
		fake_refuse("out of memory");
	id->base.channel = channel;
	id->base.context = context;
	id->base.ps = RDMA_PS_TCP;
	id->ack_timeout = 19;
	((struct fake_cm_channel *)channel)->ids++;
	TAILQ_INSERT_TAIL(&ids, id, link);
	fake.counts.ids++;
	return id;
}

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
		   enum rdma_port_space space)
{
	int error = fake_enter(FAKE_CREATE_ID);

	if (error == 0 && (channel == NULL || space != RDMA_PS_TCP))
		error = EINVAL;
	if (error == 0)
		*id = &new_id(channel, context)->base;
	return result(error);
}

/* Frees one that never reached its program with a request of a listener's that goes. */
static void free_id(struct fake_id *id);

/* NULL: none waits */
static struct fake_id *next_request(const struct fake_id *listener)
{
	struct fake_cm_event *event;

	TAILQ_FOREACH(event, &fake_cm_channel_of(listener)->events, link)
	{
		if (event->base.listen_id == &listener->base)
			return (struct fake_id *)event->base.id;
	}
	return NULL;
}

static void refuse_requests(struct fake_id *listener)
{
	struct fake_id *id;

	/* anew each time: there may be more than one event for the same */
	while ((id = next_request(listener)) != NULL) {
		fake_cm_forget(id);
		free_id(id);
	}
}

static void part(struct fake_id *id)
{
	struct fake_id *peer = id->peer;

	if (peer == NULL)
		return;
	peer->peer = NULL;
	id->peer = NULL;
	if (fake.cut)
		return;
	if (id->state == FAKE_CONNECTED) {
		fake_cm_tell(peer, RDMA_CM_EVENT_DISCONNECTED, 0);
		fake_cm_tell(peer, RDMA_CM_EVENT_TIMEWAIT_EXIT, 0);
	} else if (id->state == FAKE_ASKED || id->state == FAKE_ACCEPTED || id->state == FAKE_ASKING) {
		if (peer->state != FAKE_ENDED)
			fake_cm_tell(peer, RDMA_CM_EVENT_REJECTED, FAKE_REJECT_BY_PROGRAM);
	}
	peer->state = FAKE_ENDED;
}

static void free_id(struct fake_id *id)
{
	part(id);
	fake_cm_channel_of(id)->ids--;
	TAILQ_REMOVE(&ids, id, link);
	fake.counts.ids--;
	free(id);
}

int rdma_destroy_id(struct rdma_cm_id *base)
{
	struct fake_id *id = (struct fake_id *)base;

	fake_lock();
	if (base->qp != NULL)
		fake_refuse("an identifier ends before its queue pair");
	if (id->state == FAKE_LISTENING) {
		id->state = FAKE_IDLE;
		refuse_requests(id);
	}
	part(id);
	fake_cm_forget(id);
	fake_await_zero(&id->outstanding, "an identifier's events not acknowledged");
	free_id(id);
	fake_unlock();
	return 0;
}

int rdma_migrate_id(struct rdma_cm_id *base, struct rdma_event_channel *channel)
{
	struct fake_id *id = (struct fake_id *)base;
	struct fake_cm_channel *from = fake_cm_channel_of(id);
	struct fake_cm_event *event, *next;

	fake_lock();
	fake_await_zero(&id->outstanding, "an identifier's events not acknowledged");
	for (event = TAILQ_FIRST(&from->events); event != NULL; event = next) {
		next = TAILQ_NEXT(event, link);
		if (event->base.id != base)
			continue;
		TAILQ_REMOVE(&from->events, event, link);
		fake_bell_undo(from->base.fd);
		TAILQ_INSERT_TAIL(&((struct fake_cm_channel *)channel)->events, event, link);
		fake_bell_ring(channel->fd);
	}
	from->ids--;
	((struct fake_cm_channel *)channel)->ids++;
	base->channel = channel;
	fake_unlock();
	return 0;
}

int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t length)
{
	int error = fake_enter(FAKE_SET_OPTION);

	if (error == 0 && level != RDMA_OPTION_ID)
		error = ENOSYS;
	if (error == 0 && name == RDMA_OPTION_ID_ACK_TIMEOUT) {
		if (length != 1 || ((struct fake_id *)id)->state >= FAKE_ROUTE_FOUND)
			error = EINVAL;
		else
			memcpy(&((struct fake_id *)id)->ack_timeout, value, 1);
	}
	return result(error);
}

/* ---- addresses ---- */

static struct fake_device *device_at(const struct sockaddr *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;

	for (unsigned i = 0; address->sa_family == AF_INET && i < fake.config.devices; i++) {
		if (in->sin_addr.s_addr == fake_address(i, 0).sin_addr.s_addr)
			return &fake.device[i];
	}
	return NULL;
}

/* the device whose subnet it is in */
static struct fake_device *device_towards(const struct sockaddr *address)
{
	const uint32_t net = htonl(0xffffff00u);
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;

	for (unsigned i = 0; address->sa_family == AF_INET && i < fake.config.devices; i++) {
		if ((in->sin_addr.s_addr & net) == (fake_address(i, 0).sin_addr.s_addr & net))
			return &fake.device[i];
	}
	return NULL;
}

static bool is_any(const struct sockaddr *address)
{
	return address->sa_family == AF_INET &&
	       ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* a local address without a device behind it */
static bool is_bare(const struct sockaddr *address)
{
	const uint32_t host = ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);

	return host >> 24 == 127 || (host & 0xffff00ffu) == 0x0a4e0001u;
}

static struct fake_id *port_owner(const struct fake_device *device, uint16_t port)
{
	struct fake_id *id;

	TAILQ_FOREACH(id, &ids, link)
	{
		if (id->port == port && (id->device == NULL || device == NULL || id->device == device))
			return id;
	}
	return NULL;
}

static void take_device(struct fake_id *id, struct fake_device *device)
{
	id->device = device;
	id->base.verbs = device == NULL ? NULL : &device->manager->verbs.context;
	id->base.port_num = device == NULL ? 0 : 1;
}

static int bind_id(struct fake_id *id, const struct sockaddr *address)
{
	struct fake_device *device = device_at(address);
	uint16_t port;

	if (id->state != FAKE_IDLE || address->sa_family != AF_INET)
		return EINVAL;
	if (device == NULL && !is_any(address))
		return is_bare(address) ? ENODEV : EADDRNOTAVAIL;
	if (device != NULL && device->removed)
		return ENODEV;
	port = ntohs(((const struct sockaddr_in *)address)->sin_port);
	if (port != 0 && port_owner(device, port) != NULL)
		return EADDRINUSE;
	while (port == 0 || port_owner(device, port) != NULL)
		port = next_port++;
	id->port = port;
	memcpy(&id->base.route.addr.src_sin, address, sizeof(struct sockaddr_in));
	id->base.route.addr.src_sin.sin_port = htons(port);
	take_device(id, device);
	id->state = FAKE_BOUND;
	return 0;
}

int rdma_bind_addr(struct rdma_cm_id *id, struct sockaddr *address)
{
	int error = fake_enter(FAKE_BIND_ADDR);

	return result(error != 0 ? error : bind_id((struct fake_id *)id, address));
}

uint16_t rdma_get_src_port(struct rdma_cm_id *id)
{
	return id->route.addr.src_sin.sin_port;
}

int rdma_listen(struct rdma_cm_id *base, int backlog)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_LISTEN);

	(void)backlog;
	if (error == 0 && id->state != FAKE_BOUND)
		error = EINVAL;
	if (error == 0)
		id->state = FAKE_LISTENING;
	return result(error);
}

static int resolve_from(struct fake_id *id, const struct sockaddr *source, const struct sockaddr *destination)
{
	struct fake_device *device;
	struct sockaddr_in any = { .sin_family = AF_INET };

	if (id->state == FAKE_IDLE && source != NULL) {
		const int error = bind_id(id, source);

		if (error != 0)
			return error;
	}
	if (id->state == FAKE_IDLE) {
		device = device_towards(destination);
		if (device != NULL)
			any = fake_address(device->index, 0);
		return bind_id(id, (const struct sockaddr *)&any);
	}
	return id->state == FAKE_BOUND ? 0 : EINVAL;
}

static bool is_reachable(const struct fake_id *id, const struct sockaddr *destination)
{
	const struct fake_device *device = device_at(destination);

	return id->device != NULL && id->device->up && device != NULL && device->up &&
	       device_towards(destination) == id->device && !fake.cut && !fake.plan.no_address;
}

int rdma_resolve_addr(struct rdma_cm_id *base, struct sockaddr *source, struct sockaddr *destination,
		      int timeout_ms)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_RESOLVE_ADDR);

	if (error == 0)
		error = destination->sa_family != AF_INET ? EINVAL : resolve_from(id, source, destination);
	if (error != 0)
		return result(error);
	memcpy(&base->route.addr.dst_sin, destination, sizeof(struct sockaddr_in));
	if (is_reachable(id, destination)) {
		id->state = FAKE_ADDRESS_FOUND;
		fake_cm_tell(id, RDMA_CM_EVENT_ADDR_RESOLVED, 0);
	} else if (id->device == NULL || device_towards(destination) != id->device) {
		fake_cm_tell(id, RDMA_CM_EVENT_ADDR_ERROR, -ENETUNREACH);
	} else {
		fake_cm_push(id, RDMA_CM_EVENT_ADDR_ERROR, -ETIMEDOUT, NULL, 0, 0,
			     fake_later((uint64_t)timeout_ms));
	}
	return result(0);
}

int rdma_resolve_route(struct rdma_cm_id *base, int timeout_ms)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_RESOLVE_ROUTE);

	(void)timeout_ms;
	if (error == 0 && id->state != FAKE_ADDRESS_FOUND)
		error = EINVAL;
	if (error == 0 && fake.plan.no_route) {
		fake_cm_tell(id, RDMA_CM_EVENT_ROUTE_ERROR, -ENETUNREACH);
	} else if (error == 0) {
		id->state = FAKE_ROUTE_FOUND;
		fake_cm_tell(id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
	}
	return result(error);
}

/* ---- queue pairs of identifiers ---- */

int rdma_create_qp(struct rdma_cm_id *base, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_CREATE_QP);
	struct fake_qp *qp = NULL;

	if (error == 0 && (id->device == NULL || base->qp != NULL || pd == NULL || pd->context != base->verbs))
		error = EINVAL;
	if (error == 0 && id->device->removed)
		error = EIO;
	if (error == 0)
		error = fake_qp_new(id->device, pd, attr, &qp);
	if (error == 0) {
		base->qp = &qp->base;
		base->pd = pd;
		base->qp_type = attr->qp_type;
		base->send_cq = attr->send_cq;
		base->recv_cq = attr->recv_cq;
	}
	return result(error);
}

void rdma_destroy_qp(struct rdma_cm_id *id)
{
	fake_lock();
	fake_qp_free((struct fake_qp *)id->qp);
	id->qp = NULL;
	fake_unlock();
}

/* ---- connecting ---- */

static bool data_fits(const struct rdma_conn_param *param, size_t most)
{
	return param == NULL || param->private_data_len <= most;
}

static void ask(struct fake_id *id, struct fake_id *listener, const struct rdma_conn_param *param)
{
	struct fake_id *child = new_id(listener->base.channel, listener->base.context);
	struct fake_cm_event *event;

	take_device(child, listener->device != NULL ? listener->device
						    : device_at((struct sockaddr *)&id->base.route.addr.dst_addr));
	child->state = FAKE_ASKED;
	child->listener = listener;
	child->peer = id;
	id->peer = child;
	child->base.route.addr.src_sin = id->base.route.addr.dst_sin;
	child->base.route.addr.dst_sin = id->base.route.addr.src_sin;
	child->retry = param->retry_count;
	child->rnr_retry = param->rnr_retry_count; /* of the sends to the one who asks */
	child->ack_timeout = id->ack_timeout;
	event = fake_cm_push(child, RDMA_CM_EVENT_CONNECT_REQUEST, 0, param->private_data, param->private_data_len,
			     REQUEST_DATA_MAX, 0);
	event->base.listen_id = &listener->base;
	event->base.param.conn.responder_resources = param->initiator_depth;
	event->base.param.conn.initiator_depth = param->responder_resources;
	event->base.param.conn.retry_count = param->retry_count;
	event->base.param.conn.rnr_retry_count = param->rnr_retry_count;
}

static struct fake_id *listener_for(const struct fake_id *id)
{
	struct fake_id *listener = port_owner(device_at((const struct sockaddr *)&id->base.route.addr.dst_addr),
					      ntohs(id->base.route.addr.dst_sin.sin_port));

	return listener != NULL && listener->state == FAKE_LISTENING ? listener : NULL;
}

int rdma_connect(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_CONNECT);
	struct fake_id *listener;

	if (error == 0 && (id->state != FAKE_ROUTE_FOUND || base->qp == NULL || param == NULL))
		error = EINVAL;
	if (error == 0 && !data_fits(param, REQUEST_DATA_MAX))
		error = EINVAL;
	if (error != 0)
		return result(error);
	id->state = FAKE_ASKING;
	id->retry = param->retry_count;
	listener = listener_for(id);
	if (fake.plan.silent || fake.cut || !id->device->up)
		return result(0);
	if (listener == NULL) {
		id->state = FAKE_ENDED;
		fake_cm_tell(id, RDMA_CM_EVENT_REJECTED, FAKE_REJECT_NO_LISTENER);
	} else {
		ask(id, listener, param);
	}
	return result(0);
}

int rdma_accept(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_ACCEPT);
	struct fake_qp *qp = (struct fake_qp *)base->qp;

	if (error == 0 && (id->state != FAKE_ASKED || qp == NULL || !data_fits(param, REPLY_DATA_MAX)))
		error = EINVAL;
	if (error == 0 && (id->peer == NULL || id->peer->base.qp == NULL))
		error = ENOTCONN; /* the other end has gone */
	if (error != 0)
		return result(error);
	qp->base.state = IBV_QPS_RTS;
	qp->retry = id->retry;
	qp->rnr_retry = id->rnr_retry;
	qp->ack_timeout = id->ack_timeout;
	id->peer->rnr_retry = param != NULL ? param->rnr_retry_count : 0;
	fake_qp_join((struct fake_qp *)id->peer->base.qp, qp);
	id->state = FAKE_ACCEPTED;
	fake_cm_push(id->peer, RDMA_CM_EVENT_CONNECT_RESPONSE, 0, param != NULL ? param->private_data : NULL,
		     param != NULL ? param->private_data_len : 0, REPLY_DATA_MAX, 0);
	return result(0);
}

int rdma_reject(struct rdma_cm_id *base, const void *data, uint8_t length)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_REJECT);

	if (error == 0 && (id->state != FAKE_ASKED || length > REJECT_DATA_MAX))
		error = EINVAL;
	if (error != 0)
		return result(error);
	if (id->peer != NULL) {
		fake_cm_push(id->peer, RDMA_CM_EVENT_REJECTED, FAKE_REJECT_BY_PROGRAM, data, length,
			     REJECT_DATA_MAX, 0);
		id->peer->state = FAKE_ENDED;
		id->peer->peer = NULL;
		id->peer = NULL;
	}
	id->state = FAKE_ENDED;
	return result(0);
}

/* ---- ending ---- */

static void end(struct fake_id *id)
{
	id->state = FAKE_ENDED;
	fake_cm_tell(id, RDMA_CM_EVENT_DISCONNECTED, 0);
	fake_cm_tell(id, RDMA_CM_EVENT_TIMEWAIT_EXIT, 0);
}

int rdma_disconnect(struct rdma_cm_id *base)
{
	struct fake_id *id = (struct fake_id *)base;
	int error = fake_enter(FAKE_DISCONNECT);

	if (error == 0 && id->state != FAKE_CONNECTED && id->state != FAKE_ACCEPTED && id->state != FAKE_ENDED)
		error = EINVAL;
	if (error != 0)
		return result(error);
	if (base->qp != NULL)
		fake_qp_fail((struct fake_qp *)base->qp);
	if (id->state != FAKE_ENDED) {
		if (id->peer != NULL && id->peer->state != FAKE_ENDED && !fake.cut)
			end(id->peer);
		end(id);
	}
	return result(0);
}

static struct fake_id *id_of(const struct fake_qp *qp)
{
	struct fake_id *id;

	TAILQ_FOREACH(id, &ids, link)
	{
		if (id->base.qp == &qp->base)
			return id;
	}
	return NULL;
}

void fake_cm_disconnected(const struct fake_qp *qp)
{
	struct fake_id *id = id_of(qp);

	if (id == NULL || id->state != FAKE_CONNECTED)
		return;
	if (id->peer != NULL)
		end(id->peer);
	end(id);
}

void fake_cm_device_gone(const struct fake_device *device)
{
	struct fake_id *id;

	TAILQ_FOREACH(id, &ids, link)
	{
		if (id->device == device)
			fake_cm_tell(id, RDMA_CM_EVENT_DEVICE_REMOVAL, 0);
	}
}

const char *rdma_event_str(enum rdma_cm_event_type event)
{
	static const char *const names[] = {
		[RDMA_CM_EVENT_ADDR_RESOLVED] = "address resolved",
		[RDMA_CM_EVENT_ADDR_ERROR] = "address not resolved",
		[RDMA_CM_EVENT_ROUTE_RESOLVED] = "route resolved",
		[RDMA_CM_EVENT_ROUTE_ERROR] = "route not resolved",
		[RDMA_CM_EVENT_CONNECT_REQUEST] = "connect request",
		[RDMA_CM_EVENT_CONNECT_RESPONSE] = "connect response",
		[RDMA_CM_EVENT_CONNECT_ERROR] = "connect error",
		[RDMA_CM_EVENT_UNREACHABLE] = "unreachable",
		[RDMA_CM_EVENT_REJECTED] = "rejected",
		[RDMA_CM_EVENT_ESTABLISHED] = "established",
		[RDMA_CM_EVENT_DISCONNECTED] = "disconnected",
		[RDMA_CM_EVENT_DEVICE_REMOVAL] = "device removed",
		[RDMA_CM_EVENT_TIMEWAIT_EXIT] = "timewait over",
	};

	if ((size_t)event >= sizeof(names) / sizeof(names[0]) || names[event] == NULL)
		return "event";
	return names[event];
}
