/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c -- a TCP connection to a peer outside, which sends back what it is sent: numbers, each by one larger than the one before
 *
 * The peer checks the numbers too. Few are under way at a time, so neither end ever waits for the other to read. At the end the last number
 * sent must have come back, and then the end of the stream.
 */
#include "checker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 256 /* numbers sent at once */
#define BATCH_BYTES (BATCH * sizeof(uint64_t))
#define UNDER_WAY_MAX (8 * BATCH_BYTES)
#define NAP_MS 50
#define CONNECT_TRIES 600

struct stream {
	struct checker *checker;
	int fd;
	uint64_t sent, returned; /* bytes */
};

static bool failed(struct stream *stream, const char *what)
{
	checker_bad(stream->checker, CHECKER_STREAM, "%s: %s", what, strerror(errno));
	return false;
}

static bool reach_peer(struct stream *stream)
{
	struct checker *checker = stream->checker;
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(checker->peer_port) };

	inet_pton(AF_INET, checker->peer_address, &peer.sin_addr);
	for (int i = 0; i < CONNECT_TRIES && !checker->judging; i++) {
		stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (stream->fd < 0)
			return failed(stream, "socket");
		if (connect(stream->fd, (struct sockaddr *)&peer, sizeof(peer)) == 0)
			return true;
		close(stream->fd);
		checker_nap(NAP_MS);
	}
	return failed(stream, "connect");
}

static bool send_batch(struct stream *stream)
{
	uint64_t numbers[BATCH];

	for (size_t i = 0; i < BATCH; i++)
		numbers[i] = stream->sent / sizeof(*numbers) + i;
	if (send(stream->fd, numbers, sizeof(numbers), MSG_NOSIGNAL) != (ssize_t)sizeof(numbers))
		return failed(stream, "send");
	stream->sent += sizeof(numbers);
	return true;
}

static bool check_returned(struct stream *stream, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++, stream->returned++) {
		uint64_t number = stream->returned / sizeof(number);
		uint8_t byte = ((const uint8_t *)&number)[stream->returned % sizeof(number)];

		if (stream->returned >= stream->sent || bytes[i] != byte) {
			checker_bad(stream->checker, CHECKER_STREAM,
				    "byte %llu came back as %#x, not %#x; %llu were sent",
				    (unsigned long long)stream->returned, bytes[i], byte,
				    (unsigned long long)stream->sent);
			return false;
		}
	}
	return true;
}

/* One read, which may wait. @end: whether this was the end of the stream. */
static bool receive(struct stream *stream, bool *end)
{
	uint8_t bytes[BATCH_BYTES];
	ssize_t length = recv(stream->fd, bytes, sizeof(bytes), 0);

	if (length < 0)
		return failed(stream, "recv");
	*end = length == 0;
	return check_returned(stream, bytes, (size_t)length);
}

static bool one_round(struct stream *stream)
{
	struct pollfd readable = { .fd = stream->fd, .events = POLLIN };
	bool end = false;

	if (stream->sent - stream->returned < UNDER_WAY_MAX && !send_batch(stream))
		return false;
	checker_nap(NAP_MS);
	while (!end && poll(&readable, 1, 0) > 0) {
		uint64_t before = stream->returned;

		if (!receive(stream, &end))
			return false;
		stream->checker->rounds[CHECKER_STREAM] += stream->returned / BATCH_BYTES - before / BATCH_BYTES;
	}
	if (end)
		checker_bad(stream->checker, CHECKER_STREAM, "the peer has ended it after %llu bytes",
			    (unsigned long long)stream->returned);
	return !end;
}

static void judge(struct stream *stream)
{
	bool end = false;

	shutdown(stream->fd, SHUT_WR);
	while (!end) {
		if (!receive(stream, &end))
			return;
	}
	if (stream->returned != stream->sent)
		checker_bad(stream->checker, CHECKER_STREAM, "%llu bytes were sent, and %llu came back",
			    (unsigned long long)stream->sent, (unsigned long long)stream->returned);
	else
		checker_say("stream %llu", (unsigned long long)stream->sent);
}

void *checker_stream(void *opaque)
{
	struct stream stream = { .checker = opaque };

	if (!reach_peer(&stream))
		return NULL;
	while (!stream.checker->judging) {
		if (!one_round(&stream))
			return NULL;
	}
	judge(&stream);
	return NULL;
}
