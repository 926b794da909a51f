/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c -- streams of bytes between two sidecars, over the messages of a mover
 *
 * Theory of operation
 * -------------------
 * Whoever delivers a message (the reader of the control connection at the source, a thread of the fabric at the destination) also
 * brings what the sender of this end waits for. So it must never wait: it puts the bytes into the stream's ring, where there is room
 * for all that the other end has credit for, and wakes the user's thread. That one alone sends, and the lock is free while it does.
 * With the other end doing the same, both can be full in both directions without either waiting for the other.
 */
#include "qemu/link_private.h"

#include "util/cleanup.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* So much is consumed before it is given back: a message for each read would be many. */
#define CREDIT_MIN (LINK_WINDOW / 4)

/* ---- with lock held ---- */

struct link_stream *link_find(struct link *link, uint32_t id)
{
	for (uint32_t i = 0; id != 0 && i < LINK_STREAMS_MAX; i++)
		if (link->stream[i].id == id)
			return &link->stream[i];
	return NULL;
}

void link_wake(struct link *link)
{
	const uint64_t one = 1;

	if (!link->woken && write(link->event_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		link->woken = true;
}

static int failure(struct link *link, struct decant_error *err)
{
	if (link->failed.code != 0 && err != NULL)
		*err = link->failed;
	return link->failed.code;
}

static int broken(const struct link_stream *stream, struct decant_error *err)
{
	return decant_error_set(err, -(int)stream->broken, "the other sidecar: %s", strerror((int)stream->broken));
}

static void forget(struct link_stream *stream)
{
	free(stream->ring);
	*stream = (struct link_stream){ 0 };
}

/* ---- sending, without it ---- */

void link_head_encode(const struct link_head *head, uint8_t bytes[LINK_HEAD])
{
	bytes[0] = (uint8_t)head->type;
	bytes[1] = (uint8_t)(head->type >> 8);
	bytes[2] = (uint8_t)head->what;
	bytes[3] = (uint8_t)(head->what >> 8);
	for (unsigned int i = 0; i < 4; i++)
		bytes[4 + i] = (uint8_t)(head->stream >> (8 * i));
}

static int send_bytes(struct link *link, const void *bytes, size_t length, struct decant_error *caller_err)
{
	struct decant_error err = DECANT_ERROR_INIT;
	const int rc = link->opts.send(link->opts.opaque, bytes, length, &err);

	if (rc == 0)
		return 0;
	if (err.code == 0)
		decant_error_set(&err, rc, "link: %s", strerror(-rc));
	link_fail(link, &err);
	return link_check(link, caller_err);
}

int link_send_number(struct link *link, enum link_type type, uint32_t id, uint32_t number,
		     struct decant_error *err)
{
	const struct link_head head = { .type = (uint16_t)type, .stream = id };
	uint8_t bytes[LINK_HEAD + LINK_NUMBER_SIZE];

	link_head_encode(&head, bytes);
	for (unsigned int i = 0; i < LINK_NUMBER_SIZE; i++)
		bytes[LINK_HEAD + i] = (uint8_t)(number >> (8 * i));
	return send_bytes(link, bytes, sizeof(bytes), err);
}

/* ---- life ---- */

int link_new(const struct link_opts *opts, struct link **out, struct decant_error *err)
{
	struct link *link = calloc(1, sizeof(*link));
	int rc;

	if (link == NULL)
		return decant_error_set(err, -ENOMEM, "link: out of memory");
	link->opts = *opts;
	link->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->event_fd < 0) {
		rc = decant_error_set(err, -errno, "link: eventfd: %s", strerror(errno));
		free(link);
		return rc;
	}
	pthread_mutex_init(&link->lock, NULL);
	*out = link;
	return 0;
}

void link_free(struct link *link)
{
	if (link == NULL)
		return;
	for (uint32_t i = 0; i < LINK_STREAMS_MAX; i++)
		forget(&link->stream[i]);
	for (; link->control_count > 0; link->control_count--) {
		free(link->control[link->control_first].text);
		link->control_first = (link->control_first + 1) % LINK_CONTROLS_MAX;
	}
	pthread_mutex_destroy(&link->lock);
	close(link->event_fd);
	free(link);
}

void link_fail(struct link *link, const struct decant_error *why)
{
	DECANT_AUTO_UNLOCK(&link->lock);
	if (link->failed.code == 0) {
		link->failed = *why;
		if (why->code == 0)
			decant_error_set(&link->failed, -ECONNRESET, "the session with the other sidecar is over");
	}
	link_wake(link);
}

int link_check(struct link *link, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&link->lock);
	return failure(link, err);
}

int link_fd(const struct link *link)
{
	return link->event_fd;
}

void link_clear(struct link *link)
{
	uint64_t count;

	DECANT_AUTO_UNLOCK(&link->lock);
	if (link->woken && read(link->event_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		link->woken = false;
}

void link_get_stats(struct link *link, struct link_stats *stats)
{
	DECANT_AUTO_UNLOCK(&link->lock);
	*stats = link->stats;
}

/* ---- streams ---- */

static int take_slot(struct link *link, enum link_service service, uint32_t *id, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&link->lock);
	if (link->failed.code != 0)
		return failure(link, err);
	if (!link->opts.source || link->last_id == UINT32_MAX)
		return decant_error_set(err, -EINVAL, "link: only the source opens streams");
	for (uint32_t i = 0; i < LINK_STREAMS_MAX; i++) {
		if (link->stream[i].id != 0)
			continue;
		*id = ++link->last_id;
		link->stream[i] = (struct link_stream){ .id = *id, .service = service, .room = LINK_WINDOW };
		link->stats.streams++;
		return 0;
	}
	return decant_error_set(err, -EMFILE, "link: %u streams are open, the most", LINK_STREAMS_MAX);
}

int link_open(struct link *link, enum link_service service, uint32_t *id, struct decant_error *err)
{
	struct link_head head = { .type = LINK_TYPE_OPEN, .what = (uint16_t)service };
	uint8_t bytes[LINK_HEAD];
	int rc = take_slot(link, service, &head.stream, err);

	if (rc < 0)
		return rc;
	*id = head.stream;
	link_head_encode(&head, bytes);
	return send_bytes(link, bytes, sizeof(bytes), err);
}

int link_accept(struct link *link, uint32_t *id, enum link_service *service)
{
	DECANT_AUTO_UNLOCK(&link->lock);
	while (!link->opts.source && link->accepted_id < link->last_id) {
		const struct link_stream *stream = link_find(link, ++link->accepted_id);

		/* one that there was no room for */
		if (stream == NULL)
			continue;
		*id = stream->id;
		*service = stream->service;
		return 1;
	}
	return 0;
}

static size_t room(const struct link *link, const struct link_stream *stream)
{
	return stream == NULL || stream->ended || stream->broken != 0 || link->failed.code != 0 ? 0 : stream->room;
}

size_t link_room(struct link *link, uint32_t id)
{
	DECANT_AUTO_UNLOCK(&link->lock);
	return room(link, link_find(link, id));
}

/* Takes up to @length bytes of credit; how many, or why there is none to be had. */
static int take_room(struct link *link, uint32_t id, size_t length, struct decant_error *err)
{
	struct link_stream *stream;
	size_t most;

	DECANT_AUTO_UNLOCK(&link->lock);
	if (link->failed.code != 0)
		return failure(link, err);
	stream = link_find(link, id);
	if (stream == NULL)
		return decant_error_set(err, -EBADF, "link: there is no stream %u", id);
	if (stream->broken != 0)
		return broken(stream, err);
	if (stream->ended)
		return decant_error_set(err, -EPIPE, "link: stream %u has been ended", id);
	most = room(link, stream);
	if (length > most)
		length = most;
	if (length > LINK_DATA_MAX)
		length = LINK_DATA_MAX;
	stream->room -= (uint32_t)length;
	link->stats.sent_bytes += length;
	return (int)length;
}

int link_write(struct link *link, uint32_t id, const void *data, size_t length, struct decant_error *err)
{
	const struct link_head head = { .type = LINK_TYPE_DATA, .stream = id };
	size_t taken = 0;
	int rc;

	if (length > LINK_WINDOW)
		length = LINK_WINDOW;
	while ((rc = take_room(link, id, length - taken, err)) > 0) {
		const size_t part = (size_t)rc;

		link_head_encode(&head, link->out);
		memcpy(link->out + LINK_HEAD, (const uint8_t *)data + taken, part);
		rc = send_bytes(link, link->out, LINK_HEAD + part, err);
		if (rc < 0)
			break;
		taken += part;
	}
	return rc < 0 ? rc : (int)taken;
}

int link_end(struct link *link, uint32_t id, struct decant_error *err)
{
	struct link_stream *stream;

	{
		DECANT_AUTO_UNLOCK(&link->lock);
		if (link->failed.code != 0)
			return failure(link, err);
		stream = link_find(link, id);
		if (stream == NULL || stream->ended || stream->broken != 0)
			return 0;
		stream->ended = true;
	}
	return link_send_number(link, LINK_TYPE_END, id, 0, err);
}

int link_peek(struct link *link, uint32_t id, const void **data, size_t *length, struct decant_error *err)
{
	const struct link_stream *stream;

	DECANT_AUTO_UNLOCK(&link->lock);
	*length = 0;
	stream = link_find(link, id);
	if (stream == NULL)
		return decant_error_set(err, -EBADF, "link: there is no stream %u", id);
	if (stream->broken != 0)
		return broken(stream, err);
	if (stream->count > 0) {
		*data = stream->ring + stream->first;
		*length = stream->count < LINK_WINDOW - stream->first ? stream->count
								      : LINK_WINDOW - stream->first;
		return 0;
	}
	if (stream->end_heard)
		return 1;
	return failure(link, err);
}

/* How much credit is to be given back now. */
static uint32_t consumed(struct link *link, uint32_t id, size_t length)
{
	struct link_stream *stream;
	uint32_t credit = 0;

	DECANT_AUTO_UNLOCK(&link->lock);
	stream = link_find(link, id);
	if (stream == NULL)
		return 0;
	if (length > stream->count)
		length = stream->count;
	stream->first = (stream->first + (uint32_t)length) % LINK_WINDOW;
	stream->count -= (uint32_t)length;
	stream->owed += (uint32_t)length;
	/* who has ended needs none; who is gone can take none */
	if (stream->owed >= CREDIT_MIN && !stream->end_heard && link->failed.code == 0) {
		credit = stream->owed;
		stream->owed = 0;
	}
	return credit;
}

int link_consume(struct link *link, uint32_t id, size_t length, struct decant_error *err)
{
	const uint32_t credit = consumed(link, id, length);

	return credit > 0 ? link_send_number(link, LINK_TYPE_CREDIT, id, credit, err) : 0;
}

void link_close(struct link *link, uint32_t id, int code)
{
	struct link_stream *stream;
	uint32_t say = code > 0 && code <= (int)LINK_ERRNO_MAX ? (uint32_t)code : 0;

	{
		DECANT_AUTO_UNLOCK(&link->lock);
		stream = link_find(link, id);
		if (stream == NULL)
			return;
		if (say == 0 && !(stream->ended && stream->end_heard && stream->count == 0))
			say = ECONNRESET;
		if (stream->broken != 0 || link->failed.code != 0)
			say = 0;
		forget(stream);
	}
	if (say != 0)
		link_send_number(link, LINK_TYPE_END, id, say, NULL);
}

/* ---- control messages ---- */

int link_send_control(struct link *link, enum link_control kind, const char *text, struct decant_error *err)
{
	const struct link_head head = { .type = LINK_TYPE_CONTROL, .what = (uint16_t)kind };
	const size_t length = strnlen(text, LINK_CONTROL_MAX + 1);
	int rc = link_check(link, err);

	if (rc < 0)
		return rc;
	if (length > LINK_CONTROL_MAX)
		return decant_error_set(err, -EMSGSIZE, "link: a control message of more than %u bytes",
					LINK_CONTROL_MAX);
	link_head_encode(&head, link->out);
	for (size_t i = 0; i < length; i++)
		link->out[LINK_HEAD + i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?'
											   : (uint8_t)text[i];
	return send_bytes(link, link->out, LINK_HEAD + length, err);
}

int link_next_control(struct link *link, enum link_control *kind, char text[LINK_CONTROL_MAX + 1])
{
	DECANT_AUTO_UNLOCK(&link->lock);
	if (link->control_count == 0)
		return 0;
	*kind = link->control[link->control_first].kind;
	/* its length was bounded when it came */
	snprintf(text, LINK_CONTROL_MAX + 1, "%s", link->control[link->control_first].text);
	free(link->control[link->control_first].text);
	link->control_first = (link->control_first + 1) % LINK_CONTROLS_MAX;
	link->control_count--;
	return 1;
}
