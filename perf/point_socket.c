/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * point_socket.c -- the limit of the TCP fabric: bare send(2) and recv(2) between two populated memfds
 *
 * As many connections as the fabric would have, a thread for each at each end, and the memory dealt out to them in the
 * same stripes. No frames, no checks, no queues: a thread knows beforehand what comes. The clock starts when all connections
 * stand, and stops when the receiver has said of each that its last byte is in memory.
 */
#include "point.h"
#include "quiet.h"

#include "util/address.h"
#include "util/clock.h"
#include "util/thread.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STRIPE ((uint64_t)2 << 20)
#define CHUNK ((size_t)1 << 20) /* of one call: what the fabric gives to one */
#define STREAMS_MAX 16u
#define STREAMS_DEFAULT 2u
#define CONNECT_NS (30 * NSEC_PER_SEC)

struct stream {
	int fd;
	uint32_t index, streams;
	const struct decant_region *region;
	int rc;
};

/* ---- whole sends and receives on a blocking socket ---- */

static int send_all(int fd, const void *bytes, size_t length)
{
	for (size_t done = 0; done < length;) {
		const ssize_t n = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int recv_all(int fd, void *bytes, size_t length)
{
	for (size_t done = 0; done < length;) {
		const ssize_t n = recv(fd, (char *)bytes + done, length - done, MSG_WAITALL);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* ---- one stream ---- */

/* calls @move for each chunk of memory that belongs to the stream, in order */
static int each_chunk(const struct stream *stream, int (*move)(int fd, char *bytes, size_t length))
{
	const uint64_t end = stream->region->length;
	char *memory = stream->region->address;
	int rc = 0;

	for (uint64_t at = stream->index * STRIPE; rc == 0 && at < end; at += stream->streams * STRIPE) {
		const uint64_t stripe_end = at + STRIPE < end ? at + STRIPE : end;

		for (uint64_t chunk = at; rc == 0 && chunk < stripe_end; chunk += CHUNK)
			rc = move(stream->fd, memory + chunk,
				  stripe_end - chunk < CHUNK ? (size_t)(stripe_end - chunk) : CHUNK);
	}
	return rc;
}

static int send_chunk(int fd, char *bytes, size_t length)
{
	return send_all(fd, bytes, length);
}

static int recv_chunk(int fd, char *bytes, size_t length)
{
	return recv_all(fd, bytes, length);
}

static void *send_main(void *arg)
{
	struct stream *stream = arg;
	char landed;

	stream->rc = each_chunk(stream, send_chunk);
	if (stream->rc == 0)
		stream->rc = recv_all(stream->fd, &landed, 1);
	return NULL;
}

static void *recv_main(void *arg)
{
	struct stream *stream = arg;

	stream->rc = each_chunk(stream, recv_chunk);
	if (stream->rc == 0)
		stream->rc = send_all(stream->fd, "", 1);
	return NULL;
}

/* ---- all streams ---- */

static int run_streams(struct stream *stream, uint32_t streams, void *(*main)(void *), struct decant_error *err)
{
	pthread_t thread[STREAMS_MAX];
	uint32_t started = 0;
	int rc = 0;

	assert(streams <= STREAMS_MAX);
	while (rc == 0 && started < streams) {
		rc = thread_start(&thread[started], "bench-stream", main, &stream[started]);
		started += rc == 0;
	}
	/* those that wait for what never comes */
	for (uint32_t i = 0; rc < 0 && i < started; i++)
		shutdown(stream[i].fd, SHUT_RDWR);
	for (uint32_t i = 0; i < started; i++) {
		pthread_join(thread[i], NULL);
		rc = rc < 0 ? rc : stream[i].rc;
	}
	return rc < 0 ? decant_error_set(err, rc, "socket: %s", strerror(-rc)) : 0;
}

static void close_streams(struct stream *stream, uint32_t streams)
{
	for (uint32_t i = 0; i < streams; i++) {
		if (stream[i].fd >= 0)
			close(stream[i].fd);
	}
}

static int make_blocking(int fd)
{
	const int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static void init_streams(struct stream *stream, uint32_t streams, const struct decant_memory *memory)
{
	for (uint32_t i = 0; i < streams; i++)
		stream[i] = (struct stream){
			.fd = -1,
			.index = i,
			.streams = streams,
			.region = decant_memory_region(memory, 0),
		};
}

/* ---- the two ends ---- */

static int connect_streams(const struct point_opts *opts, struct stream *stream, uint32_t streams,
			   struct decant_error *err)
{
	struct address address;
	int rc = address_parse(opts->address, &address, err);

	for (uint32_t i = 0; rc == 0 && i < streams; i++) {
		rc = address_connect(&address, clock_deadline_ns(CONNECT_NS), -1, err);
		if (rc < 0)
			return rc;
		stream[i].fd = rc;
		rc = make_blocking(stream[i].fd);
	}
	return rc;
}

/* The receiver says that it has taken all streams, so that no connection is made on the clock. */
static int await_ready(const struct stream *stream, uint32_t streams, struct decant_error *err)
{
	char ready;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < streams; i++)
		rc = recv_all(stream[i].fd, &ready, 1);
	return rc < 0 ? decant_error_set(err, rc, "socket: %s", strerror(-rc)) : 0;
}

static int send_memory(const struct point_opts *opts, const struct decant_memory *memory, uint32_t streams,
		       struct point_result *result, struct decant_error *err)
{
	struct stream stream[STREAMS_MAX];
	uint64_t cpu_ns, started;
	int rc;

	init_streams(stream, streams, memory);
	rc = connect_streams(opts, stream, streams, err);
	if (rc == 0)
		rc = await_ready(stream, streams, err);
	if (rc == 0) {
		cpu_ns = point_cpu_ns();
		started = clock_now_ns();
		rc = run_streams(stream, streams, send_main, err);
		result->ns = clock_now_ns() - started;
		result->cpu_ns = point_cpu_ns() - cpu_ns;
		result->bytes = opts->length;
		result->streams = streams;
	}
	close_streams(stream, streams);
	return rc;
}

static int accept_streams(int listener, struct stream *stream, uint32_t streams, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < streams; i++) {
		rc = address_accept(listener, clock_deadline_ns(CONNECT_NS), -1, err);
		if (rc < 0)
			return rc;
		stream[i].fd = rc;
		rc = make_blocking(stream[i].fd);
	}
	for (uint32_t i = 0; rc == 0 && i < streams; i++)
		rc = send_all(stream[i].fd, "", 1);
	return rc;
}

static int receive_memory(int listener, const struct decant_memory *memory, uint32_t streams,
			  struct decant_error *err)
{
	struct stream stream[STREAMS_MAX];
	int rc;

	init_streams(stream, streams, memory);
	rc = accept_streams(listener, stream, streams, err);
	if (rc == 0)
		rc = run_streams(stream, streams, recv_main, err);
	close_streams(stream, streams);
	return rc < 0 ? rc : quiet_check(memory, err);
}

static int listen_for_memory(const struct point_opts *opts, const struct decant_memory *memory, uint32_t streams,
			     struct decant_error *err)
{
	struct address address;
	int listener;
	int rc = address_parse(opts->address, &address, err);

	if (rc < 0)
		return rc;
	listener = address_listen(&address, STREAMS_MAX, err);
	if (listener < 0)
		return listener;
	rc = address_local(listener, &address);
	if (rc == 0) {
		point_listening(address.port);
		rc = receive_memory(listener, memory, streams, err);
	}
	close(listener);
	return rc;
}

int point_socket(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	const uint32_t streams = opts->streams != 0 ? opts->streams : STREAMS_DEFAULT;
	struct decant_memory *memory;
	int rc;

	if (streams > STREAMS_MAX || opts->role == POINT_BOTH)
		return decant_error_set(err, -EINVAL, "socket: two processes and at most %u streams", STREAMS_MAX);
	rc = quiet_new(opts->length, opts->page_size, &memory, err);
	if (rc < 0)
		return rc;
	if (opts->role == POINT_SEND) {
		quiet_fill(memory);
		rc = send_memory(opts, memory, streams, result, err);
	} else {
		rc = listen_for_memory(opts, memory, streams, err);
	}
	decant_memory_free(memory);
	return rc;
}
