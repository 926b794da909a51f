/* SPDX-License-Identifier: BSD-2-Clause */
/* address.c -- "host:port" to sockets and back */
#include "util/address.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS_EXAMPLE "write HOST:PORT, such as 10.0.0.2:4444, node7:4444 or [fd00::2]:4444"

/* the part between the brackets of "[v6]" */
static bool address_is_v6(const char *host, size_t length)
{
	char text[INET6_ADDRSTRLEN];
	const char *scope = memchr(host, '%', length);
	const size_t number = scope != NULL ? (size_t)(scope - host) : length;
	struct in6_addr ignored;

	if (number >= sizeof(text))
		return false;
	memcpy(text, host, number);
	text[number] = '\0';
	return inet_pton(AF_INET6, text, &ignored) == 1;
}

/* finds the host in @text and where the ":port" begins; what is wrong, or NULL */
static const char *address_split(const char *text, const char **host, size_t *length, const char **port)
{
	const char *end;

	if (text[0] == '\0')
		return "it is empty";
	if (strstr(text, "://") != NULL)
		return "it has a scheme";
	*host = text;
	if (text[0] == '[') {
		*host = text + 1;
		end = strchr(text, ']');
		if (end == NULL)
			return "the closing bracket is missing";
		if (!address_is_v6(*host, (size_t)(end - *host)))
			return "what stands in the brackets is no IPv6 address";
		*port = end + 1;
	} else {
		end = strchr(text, ':');
		if (end != NULL && strchr(end + 1, ':') != NULL)
			return "it has several colons; an IPv6 address stands in brackets";
		*port = end;
	}
	if (*port == NULL || **port != ':')
		return "the port is missing";
	*length = (size_t)(end - *host);
	if (*length == 0)
		return "the host is missing; 0.0.0.0 or [::] stands for all addresses of this one";
	if (*length >= ADDRESS_HOST_MAX)
		return "the host is too long";
	if (strcspn(*host, " \t\r\n/@") < *length)
		return "the host has a character in it that no host name has";
	return NULL;
}

/* @text is ":1234" */
static const char *address_parse_port(const char *text, uint16_t *port)
{
	unsigned long value = 0;

	text++;
	if (*text == '\0')
		return "the port is missing";
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return "the port is not a number";
		value = value * 10 + (unsigned long)(*text - '0');
		if (value > UINT16_MAX)
			return "the port is beyond 65535";
	}
	*port = (uint16_t)value;
	return NULL;
}

int address_parse(const char *text, struct address *address, struct decant_error *err)
{
	const char *host, *port, *wrong;
	uint16_t number = 0;
	size_t length;

	wrong = address_split(text, &host, &length, &port);
	if (wrong == NULL)
		wrong = address_parse_port(port, &number);
	if (wrong != NULL)
		return decant_error_set(err, -EINVAL, "address \"%.80s\": %s; " ADDRESS_EXAMPLE, text, wrong);
	memset(address, 0, sizeof(*address));
	memcpy(address->host, host, length);
	address->port = number;
	return 0;
}

const char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX])
{
	const bool v6 = strchr(address->host, ':') != NULL;

	snprintf(text, ADDRESS_TEXT_MAX, "%s%s%s:%u", v6 ? "[" : "", address->host, v6 ? "]" : "", address->port);
	return text;
}

static int address_fail(int code, const char *verb, const struct address *address, struct decant_error *err)
{
	char text[ADDRESS_TEXT_MAX];
	const char *hint = "";

	switch (-code) {
	case ECONNREFUSED:
		hint = "; nothing listens there: start the receiver first, or check the port";
		break;
	case ETIMEDOUT:
		hint = "; no answer in time: check the address and the firewalls between";
		break;
	case EHOSTUNREACH:
	case ENETUNREACH:
		hint = "; no route leads there: check the address";
		break;
	case EADDRINUSE:
		hint = "; another process listens there: choose another port, or 0 for a free one";
		break;
	case EADDRNOTAVAIL:
		hint = "; this host has no such address: see `ip address`";
		break;
	case EACCES:
		hint = "; ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one";
		break;
	}
	return decant_error_set(err, code, "%s %s: %s%s", verb, address_format(address, text), strerror(-code),
				hint);
}

static int address_socket(const struct addrinfo *info)
{
	const int one = 1;
	const int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0) {
		const int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/*
 * A connect(2) to a free port of this very host may get that port as its own, and then TCP connects the socket to itself.
 */
static bool address_is_self(int fd)
{
	struct address local, peer;

	return address_local(fd, &local) == 0 && address_peer(fd, &peer) == 0 && local.port == peer.port &&
	       strcmp(local.host, peer.host) == 0;
}

static int address_wait_connected(int fd, uint64_t deadline_ns, int wake_fd)
{
	socklen_t length = sizeof(int);
	int error = 0;
	int rc;

	rc = io_wait(fd, POLLOUT, deadline_ns, wake_fd);
	if (rc < 0)
		return rc;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		return -errno;
	return -error;
}

static int address_connect_one(const struct addrinfo *info, uint64_t deadline_ns, int wake_fd)
{
	const int fd = address_socket(info);
	int rc = 0;

	if (fd < 0)
		return fd;
	if (connect(fd, info->ai_addr, info->ai_addrlen) < 0)
		rc = errno == EINPROGRESS || errno == EINTR ? address_wait_connected(fd, deadline_ns, wake_fd)
							    : -errno;
	if (rc == 0 && address_is_self(fd))
		rc = -ECONNREFUSED;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

/* an equal share of what is left for each address still to be tried, so that a dead first one leaves time for the next */
static uint64_t address_share(const struct addrinfo *info, uint64_t deadline_ns)
{
	const uint64_t now = clock_now_ns();
	uint64_t left = 1;

	if (deadline_ns == CLOCK_NEVER || deadline_ns <= now)
		return deadline_ns;
	while ((info = info->ai_next) != NULL)
		left++;
	return now + (deadline_ns - now) / left;
}

int address_connect(const struct address *address, uint64_t deadline_ns, int wake_fd, struct decant_error *err)
{
	struct addrinfo *list;
	int rc;

	if (address->port == 0)
		return decant_error_set(err, -EINVAL, "connect to %s: port 0 is nobody's; " ADDRESS_EXAMPLE,
					address->host);
	rc = resolve(address, deadline_ns, wake_fd, &list, err);
	if (rc < 0)
		return rc;
	for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
		rc = address_connect_one(info, address_share(info, deadline_ns), wake_fd);
		if (rc >= 0 || rc == -ECANCELED)
			break;
	}
	freeaddrinfo(list);
	return rc < 0 ? address_fail(rc, "connect to", address, err) : rc;
}

static int address_listen_one(const struct addrinfo *info, int backlog)
{
	const int one = 1;
	const int fd = address_socket(info);
	int rc;

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, backlog) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int address_listen(const struct address *address, int backlog, struct decant_error *err)
{
	struct addrinfo *list;
	int rc;

	rc = resolve(address, CLOCK_NEVER, -1, &list, err);
	if (rc < 0)
		return rc;
	for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
		rc = address_listen_one(info, backlog);
		if (rc >= 0)
			break;
	}
	freeaddrinfo(list);
	return rc < 0 ? address_fail(rc, "listen on", address, err) : rc;
}

/* errors that accept(2) reports about a connection that died in the queue, not about the listener */
static bool address_accept_again(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

int address_accept(int listener, uint64_t deadline_ns, int wake_fd, struct decant_error *err)
{
	const int one = 1;
	int fd, rc;

	for (;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			break;
		if (address_accept_again(errno))
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK) {
			rc = -errno;
			return decant_error_set(err, rc, "accept: %s", strerror(-rc));
		}
		rc = io_wait(listener, POLLIN, deadline_ns, wake_fd);
		if (rc < 0)
			return decant_error_set(err, rc, "accept: %s", strerror(-rc));
	}
	/* inherited from the listener on Linux; a socket that somebody else has made listen may lack it */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int address_from_sockaddr(const struct sockaddr_storage *from, socklen_t length, struct address *address)
{
	char port[8];
	int rc;

	memset(address, 0, sizeof(*address));
	rc = getnameinfo((const struct sockaddr *)from, length, address->host, sizeof(address->host), port,
			 sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	if (rc != 0)
		return rc == EAI_SYSTEM ? -errno : -EINVAL;
	address->port = (uint16_t)strtoul(port, NULL, 10);
	return 0;
}

int address_local(int fd, struct address *address)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	if (getsockname(fd, (struct sockaddr *)&name, &length) < 0)
		return -errno;
	return address_from_sockaddr(&name, length, address);
}

int address_peer(int fd, struct address *address)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	if (getpeername(fd, (struct sockaddr *)&name, &length) < 0)
		return -errno;
	return address_from_sockaddr(&name, length, address);
}
