/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcp.c -- the TCP fabric: its table of operations, and what both of its ends need
 *
 * Theory of operation
 * -------------------
 * A channel is one TCP connection. The source has a thread per channel (sender.c), which gathers queued writes into a
 * frame and sends it straight from guest memory; the sink has one too (receiver.c), which reads the data of a frame straight
 * into guest memory. One more thread at each end: the source's reader (tcp_source.c) takes credits off the way back and notices a
 * peer that goes, the sink's acceptor (acceptor.c) lets in those who know a token.
 *
 * Two channels by default: at either end the copy between socket and memory is what costs, one core does one stream.
 */
#include "fabric/tcp/tcp.h"

#include "util/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define TCP_ADDRESS_VERSION 1
#define TCP_ADDRESS_SIZE 4 /* version, 0, port in little-endian */

const struct fabric_ops fabric_tcp_ops = {
	.name = "tcp",
	.default_channels = 2,
	.write_max = TCP_WRITE_MAX,
	.write_cost_ns = 150,
	.reaches = NULL,
	.sink_open = tcp_sink_open,
	.sink_address = tcp_sink_address,
	.sink_expose = tcp_sink_expose,
	.sink_fence = tcp_sink_fence,
	.sink_cpu_ns = tcp_sink_cpu_ns,
	.sink_close = tcp_sink_close,
	.source_connect = tcp_source_connect,
	.source_map = tcp_source_map,
	.source_write = tcp_source_write,
	.source_flush = tcp_source_flush,
	.source_barrier = tcp_source_barrier,
	.source_message = tcp_source_message,
	.source_wait = tcp_source_wait,
	.source_pending = tcp_source_pending,
	.source_last_error = tcp_source_last_error,
	.source_stats = tcp_source_stats,
	.source_stop = tcp_source_stop,
	.source_close = tcp_source_close,
};

void tcp_address_encode(struct fabric_address *address, uint16_t port)
{
	memset(address, 0, sizeof(*address));
	address->length = TCP_ADDRESS_SIZE;
	address->bytes[0] = TCP_ADDRESS_VERSION;
	address->bytes[2] = (uint8_t)port;
	address->bytes[3] = (uint8_t)(port >> 8);
}

int tcp_address_decode(const struct fabric_address *address, uint16_t *port, struct decant_error *err)
{
	const uint8_t *bytes = address->bytes;

	if (address->length != TCP_ADDRESS_SIZE || bytes[0] != TCP_ADDRESS_VERSION || bytes[1] != 0 ||
	    (bytes[2] == 0 && bytes[3] == 0))
		return decant_error_set(err, -EPROTO,
					"tcp: the peer's address (%" PRIu32 " bytes) is none of ours",
					address->length);
	*port = (uint16_t)(bytes[2] | bytes[3] << 8);
	return 0;
}

static int tcp_socket_option(int fd, int level, int option, int value, const char *name, struct decant_error *err)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		return decant_error_set(err, -errno, "tcp: setsockopt %s %d: %s", name, value, strerror(errno));
	return 0;
}

int tcp_socket_prepare(int fd, uint32_t channel, struct decant_error *err)
{
	const int flags = fcntl(fd, F_GETFL);
	int rc = 0;

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return decant_error_set(err, -errno, "tcp: make the socket blocking: %s", strerror(errno));
	rc = rc ? rc : tcp_socket_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE", err);
	rc = rc ? rc : tcp_socket_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 2, "TCP_KEEPIDLE", err);
	rc = rc ? rc : tcp_socket_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1, "TCP_KEEPINTVL", err);
	rc = rc ? rc : tcp_socket_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3, "TCP_KEEPCNT", err);
	/*
	 * The kernel applies this timeout to a closed window as well, and on channel 0 the consumer of messages may
	 * keep the window closed for as long as it likes. There the control connection's heartbeat has to do.
	 */
	if (rc == 0 && channel > 0)
		rc = tcp_socket_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_DEAD_PEER_MS, "TCP_USER_TIMEOUT",
				       err);
	return rc;
}

int tcp_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg,
		     struct decant_error *err)
{
	const int rc = thread_start(thread, name, main, arg);

	return rc < 0 ? decant_error_set(err, rc, "tcp: start thread %s: %s", name, strerror(-rc)) : 0;
}
