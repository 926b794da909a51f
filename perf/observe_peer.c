/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * observe_peer.c -- the observers of two hosts: match their clocks, and bring the destination's looks to the source
 *
 * The source's observer sends a byte, the destination's answers with its clock, many times; the quickest round trip tells how
 * far the clocks are apart, to half of its time.
 */
#include "observe.h"

#include "util/address.h"
#include "util/clock.h"
#include "util/io.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 100
#define CONNECT_NS (60 * NSEC_PER_SEC)
#define ASK_CLOCK 'c'

int observe_peer_listen(const char *address, struct decant_error *err)
{
	struct address bound;
	int rc = address_parse(address, &bound, err);
	int listener, fd;

	if (rc < 0)
		return rc;
	listener = address_listen(&bound, 1, err);
	if (listener < 0)
		return listener;
	address_local(listener, &bound);
	printf("listening %u\n", bound.port);
	fflush(stdout);
	fd = address_accept(listener, clock_deadline_ns(CONNECT_NS), -1, err);
	close(listener);
	return fd;
}

static int send_frame(int fd, enum observe_kind kind, const struct observe_look *look)
{
	struct observe_frame frame = { .kind = kind, .look = *look };
	struct iovec iov = { .iov_base = &frame, .iov_len = sizeof(frame) };

	return io_send_full(fd, &iov, 1, clock_deadline_ns(CONNECT_NS), -1);
}

bool observe_peer_serve(int fd)
{
	for (;;) {
		struct observe_look now = { 0 };
		char asked;
		const ssize_t n = recv(fd, &asked, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n <= 0 || asked != ASK_CLOCK)
			return true;
		now.at_ns = clock_now_ns();
		if (send_frame(fd, OBSERVE_CLOCK, &now) < 0)
			return true;
	}
}

int observe_peer_send(int fd, const struct observe_look *look)
{
	return send_frame(fd, OBSERVE_LOOK, look);
}

/* Looks may stand before the answer; they are of no use yet. */
static int ask_clock(int fd, uint64_t *theirs)
{
	char ask = ASK_CLOCK;
	struct iovec iov = { .iov_base = &ask, .iov_len = 1 };
	struct observe_frame frame = { 0 };
	int rc = io_send_full(fd, &iov, 1, clock_deadline_ns(CONNECT_NS), -1);

	while (rc == 0 && frame.kind != OBSERVE_CLOCK)
		rc = io_recv_full(fd, &frame, sizeof(frame), clock_deadline_ns(CONNECT_NS), -1);
	*theirs = frame.look.at_ns;
	return rc;
}

static int match_clocks(struct observe_peer *peer)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < ROUNDS; i++) {
		const uint64_t before = clock_now_ns();
		uint64_t theirs, after;
		const int rc = ask_clock(peer->fd, &theirs);

		if (rc < 0)
			return rc;
		after = clock_now_ns();
		if (after - before >= best)
			continue;
		best = after - before;
		peer->ahead_ns = (int64_t)(theirs - (before + best / 2));
	}
	peer->error_ns = best / 2;
	return 0;
}

int observe_peer_connect(struct observe_peer *peer, const char *address, struct decant_error *err)
{
	struct address to;
	int rc = address_parse(address, &to, err);

	*peer = (struct observe_peer){ .fd = -1 };
	if (rc < 0)
		return rc;
	peer->fd = address_connect(&to, clock_deadline_ns(CONNECT_NS), -1, err);
	if (peer->fd < 0)
		return peer->fd;
	rc = match_clocks(peer);
	if (rc < 0)
		return decant_error_set(err, rc, "the observer at %s: %s", address, strerror(-rc));
	return 0;
}

int observe_peer_look(struct observe_peer *peer, struct observe_look *look)
{
	struct observe_frame frame;
	const ssize_t n = recv(peer->fd, peer->partial + peer->have, sizeof(frame) - peer->have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return n < 0 ? -errno : -ECONNRESET;
	peer->have += (size_t)n;
	if (peer->have < sizeof(frame))
		return 0;
	peer->have = 0;
	memcpy(&frame, peer->partial, sizeof(frame));
	*look = frame.look;
	look->at_ns -= (uint64_t)peer->ahead_ns;
	return frame.kind == OBSERVE_LOOK ? 1 : 0;
}

void observe_peer_close(struct observe_peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}
