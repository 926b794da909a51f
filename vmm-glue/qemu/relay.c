/* SPDX-License-Identifier: BSD-2-Clause */
/* relay.c -- one connection of QEMU's, joined with one stream of the link */
#include "qemu/relay.h"

#include "qemu/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE (64u << 10)
#define TURN 16u /* pieces one way before it is another's turn */

void relay_begin(struct relay *relay, int fd, uint32_t id)
{
	relay->fd = fd;
	relay->id = id;
}

static bool relay_has_out(const struct relay *relay, struct link *link)
{
	const void *data;
	size_t length = 0;

	return !relay->out_ended && link_peek(link, relay->id, &data, &length, NULL) == 0 && length > 0;
}

short relay_events(const struct relay *relay, struct link *link)
{
	short events = 0;

	if (relay->fd < 0)
		return 0;
	if (!relay->fed && !relay->in_ended && link_room(link, relay->id) > 0)
		events |= POLLIN;
	if (relay_has_out(relay, link))
		events |= POLLOUT;
	return events;
}

static int relay_gone(int code, struct decant_error *err)
{
	return decant_error_set(err, code == EPIPE ? -ECONNRESET : -code, "QEMU's connection: %s",
				code == EPIPE || code == ECONNRESET ? "QEMU has closed it" : strerror(code));
}

/* 1: more may be there; 0: nothing now */
static int relay_read(struct relay *relay, struct link *link, struct decant_error *err)
{
	uint8_t piece[PIECE];
	const size_t room = link_room(link, relay->id);
	ssize_t got;
	int ret;

	if (room == 0)
		return link_check(link, err);
	got = recv(relay->fd, piece, room < sizeof(piece) ? room : sizeof(piece), 0);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : relay_gone(errno, err);
	if (got == 0)
		return relay_end_in(relay, link, err);
	if (relay->in_path != NULL)
		return_path_saw(relay->in_path, piece, (size_t)got);
	relay->in_bytes += (uint64_t)got;
	ret = link_write(link, relay->id, piece, (size_t)got, err);
	return ret < 0 ? ret : 1;
}

static int relay_skip(struct relay *relay, struct link *link, size_t length, struct decant_error *err)
{
	const uint32_t skipped = length < relay->skip ? (uint32_t)length : relay->skip;
	const int ret = link_consume(link, relay->id, skipped, err);

	relay->skip -= skipped;
	relay->out_bytes += skipped;
	return ret < 0 ? ret : 1;
}

/* 1: more may be there; 0: nothing now */
static int relay_send(struct relay *relay, struct link *link, struct decant_error *err)
{
	const void *data;
	size_t length;
	ssize_t sent;
	int ret = link_peek(link, relay->id, &data, &length, err);

	if (ret == 1) {
		relay->out_ended = true;
		shutdown(relay->fd, SHUT_WR);
		return 0;
	}
	if (ret < 0 || length == 0)
		return ret;
	if (relay->skip > 0)
		return relay_skip(relay, link, length, err);
	sent = send(relay->fd, data, length, MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : relay_gone(errno, err);
	if (relay->out_path != NULL)
		return_path_saw(relay->out_path, data, (size_t)sent);
	relay->out_bytes += (uint64_t)sent;
	ret = link_consume(link, relay->id, (size_t)sent, err);
	return ret < 0 ? ret : 1;
}

int relay_pump(struct relay *relay, struct link *link, struct decant_error *err)
{
	int ret = 1;

	for (unsigned int i = 0; ret == 1 && i < TURN && !relay->out_ended; i++)
		ret = relay_send(relay, link, err);
	if (ret >= 0)
		ret = 1;
	for (unsigned int i = 0; ret == 1 && i < TURN && !relay->fed && !relay->in_ended; i++)
		ret = relay_read(relay, link, err);
	if (ret < 0)
		return ret;
	return relay->in_ended && relay->out_ended ? 1 : 0;
}

int relay_end_in(struct relay *relay, struct link *link, struct decant_error *err)
{
	if (relay->in_ended)
		return 0;
	relay->in_ended = true;
	return link_end(link, relay->id, err);
}

void relay_close(struct relay *relay, struct link *link, int code)
{
	if (relay->fd < 0)
		return;
	if (link != NULL)
		link_close(link, relay->id, code);
	close(relay->fd);
	relay->fd = -1;
}
