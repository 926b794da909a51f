/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy.c -- stands between source and destination on the control connection */
#include "support/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "wire/wire.h"

#define WIRES_MAX 256

/* One direction of one connection. */
struct wire {
	struct proxy *proxy;
	pthread_t thread;
	int from, to;
	bool owner; /* closes both */
};

struct proxy {
	/* set at creation, read-only after */
	uint16_t port;
	int listener;
	pthread_t acceptor;

	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* protected by lock */
	uint16_t target;
	struct proxy_rule rule;
	bool acted;
	bool held; /* a message is */
	bool refuse;
	bool quit;
	struct wire wire[WIRES_MAX];
	unsigned wires;
};

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	return address;
}

static bool send_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

/* To receive nothing would wait for something. */
static bool receive_all(int fd, void *bytes, size_t length)
{
	return length == 0 || recv(fd, bytes, length, MSG_WAITALL) == (ssize_t)length;
}

/* What to do with a message of this type; waits here while it is held. */
static enum proxy_action decide(struct proxy *proxy, uint16_t type)
{
	enum proxy_action action;

	DECANT_AUTO_UNLOCK(&proxy->lock);
	if (proxy->rule.type != type || proxy->rule.action == PROXY_FORWARD)
		return PROXY_FORWARD;
	if (proxy->rule.skip > 0) {
		proxy->rule.skip--;
		return PROXY_FORWARD;
	}
	action = proxy->rule.action;
	proxy->rule.action = PROXY_FORWARD;
	proxy->refuse = proxy->rule.refuse;
	proxy->acted = true;
	proxy->held = action == PROXY_HOLD;
	pthread_cond_broadcast(&proxy->changed);
	while (action == PROXY_HOLD && proxy->held && !proxy->quit)
		pthread_cond_wait(&proxy->changed, &proxy->lock);
	return action == PROXY_HOLD ? PROXY_FORWARD : action;
}

/* One message; false: the connection is over. */
static bool pump(struct wire *wire, uint8_t *bytes)
{
	struct wire_header header;
	enum proxy_action action;

	if (!receive_all(wire->from, bytes, WIRE_HEADER_SIZE) || wire_header_decode(&header, bytes, NULL) < 0 ||
	    header.length > WIRE_PAYLOAD_MAX || !receive_all(wire->from, bytes + WIRE_HEADER_SIZE, header.length))
		return false;
	action = decide(wire->proxy, header.type);
	if (action == PROXY_CUT || !send_all(wire->to, bytes, WIRE_HEADER_SIZE + header.length))
		return false;
	return action != PROXY_CUT_AFTER;
}

static void *wire_thread(void *opaque)
{
	struct wire *wire = opaque;
	uint8_t *bytes = malloc(WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX);

	while (bytes != NULL && pump(wire, bytes))
		;
	free(bytes);
	shutdown(wire->from, SHUT_RDWR);
	shutdown(wire->to, SHUT_RDWR);
	return NULL;
}

static int connect_target(const struct proxy *proxy)
{
	struct sockaddr_in address = loopback(proxy->target);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void start_wire(struct proxy *proxy, int from, int to, bool owner)
{
	struct wire *wire = &proxy->wire[proxy->wires++];

	*wire = (struct wire){ .proxy = proxy, .from = from, .to = to, .owner = owner };
	if (pthread_create(&wire->thread, NULL, wire_thread, wire) != 0)
		abort();
}

static void serve(struct proxy *proxy, int client)
{
	const int on = 1;
	int target = -1;

	DECANT_AUTO_UNLOCK(&proxy->lock);
	if (!proxy->refuse && !proxy->quit && proxy->wires + 2 <= WIRES_MAX)
		target = connect_target(proxy);
	if (target < 0) {
		close(client);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(target, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	start_wire(proxy, client, target, true);
	start_wire(proxy, target, client, false);
}

static void *acceptor_thread(void *opaque)
{
	struct proxy *proxy = opaque;
	int client;

	while ((client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve(proxy, client);
	return NULL;
}

static int listen_loopback(uint16_t *port)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*port = ntohs(address.sin_port);
	return fd;
}

struct proxy *proxy_new(uint16_t port)
{
	struct proxy *proxy = calloc(1, sizeof(*proxy));

	if (proxy == NULL)
		return NULL;
	proxy->target = port;
	pthread_mutex_init(&proxy->lock, NULL);
	pthread_cond_init(&proxy->changed, NULL);
	proxy->listener = listen_loopback(&proxy->port);
	if (proxy->listener >= 0 && pthread_create(&proxy->acceptor, NULL, acceptor_thread, proxy) == 0)
		return proxy;
	free(proxy);
	return NULL;
}

uint16_t proxy_port(const struct proxy *proxy)
{
	return proxy->port;
}

void proxy_set_rule(struct proxy *proxy, const struct proxy_rule *rule)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	proxy->rule = *rule;
	proxy->acted = false;
}

bool proxy_has_acted(struct proxy *proxy)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	return proxy->acted;
}

bool proxy_wait_acted(struct proxy *proxy, unsigned ms)
{
	struct timespec deadline = clock_timespec(clock_deadline_ns(ms * NSEC_PER_MSEC));

	DECANT_AUTO_UNLOCK(&proxy->lock);
	while (!proxy->acted)
		if (pthread_cond_clockwait(&proxy->changed, &proxy->lock, CLOCK_MONOTONIC, &deadline) != 0)
			break;
	return proxy->acted;
}

void proxy_release(struct proxy *proxy)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	proxy->held = false;
	pthread_cond_broadcast(&proxy->changed);
}

void proxy_set_target(struct proxy *proxy, uint16_t port)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	proxy->target = port;
}

void proxy_set_refuse(struct proxy *proxy, bool refuse)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	proxy->refuse = refuse;
}

void proxy_cut_all(struct proxy *proxy)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	for (unsigned i = 0; i < proxy->wires; i++)
		shutdown(proxy->wire[i].from, SHUT_RDWR);
}

static void tell_to_quit(struct proxy *proxy)
{
	DECANT_AUTO_UNLOCK(&proxy->lock);
	proxy->quit = true;
	pthread_cond_broadcast(&proxy->changed);
}

void proxy_free(struct proxy *proxy)
{
	if (proxy == NULL)
		return;
	tell_to_quit(proxy);
	shutdown(proxy->listener, SHUT_RDWR);
	pthread_join(proxy->acceptor, NULL);
	close(proxy->listener);
	proxy_cut_all(proxy);
	for (unsigned i = 0; i < proxy->wires; i++)
		pthread_join(proxy->wire[i].thread, NULL);
	for (unsigned i = 0; i < proxy->wires; i++) {
		if (!proxy->wire[i].owner)
			continue;
		close(proxy->wire[i].from);
		close(proxy->wire[i].to);
	}
	pthread_cond_destroy(&proxy->changed);
	pthread_mutex_destroy(&proxy->lock);
	free(proxy);
}
