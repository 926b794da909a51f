/* SPDX-License-Identifier: BSD-2-Clause */
/* link_deliver.c -- what the other sidecar says: checked, and put where the user's thread will find it */
#include "qemu/link_private.h"

#include "util/cleanup.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t le32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* The stream that a message is for; NULL: one that is no more here. What was never opened is -EPROTO. */
static int find_stream(struct link *link, uint32_t id, const char *what, struct link_stream **stream,
		       struct decant_error *err)
{
	if (id == 0 || id > link->last_id)
		return decant_error_set(err, -EPROTO, "link: %s of stream %u, which was not opened", what, id);
	*stream = link_find(link, id);
	if (*stream != NULL && (*stream)->broken != 0)
		return decant_error_set(err, -EPROTO, "link: %s of stream %u, which it has broken", what, id);
	return 0;
}

static int find_slot(struct link *link)
{
	for (uint32_t i = 0; i < LINK_STREAMS_MAX; i++)
		if (link->stream[i].id == 0)
			return (int)i;
	return -EMFILE;
}

/* 1: there is no room for it, and the other end is to be told */
static int take_open(struct link *link, const struct link_head *head, size_t length, struct decant_error *err)
{
	int slot;

	if (link->opts.source || length != 0)
		return decant_error_set(err, -EPROTO, "link: OPEN of stream %u, %s", head->stream,
					link->opts.source ? "by the destination" : "with data");
	if (head->what != LINK_MIGRATION && head->what != LINK_DISK)
		return decant_error_set(err, -EPROTO, "link: OPEN for service %u, which is none", head->what);
	if (link->last_id == UINT32_MAX || head->stream != link->last_id + 1)
		return decant_error_set(err, -EPROTO, "link: OPEN of stream %u after %u", head->stream,
					link->last_id);
	link->last_id = head->stream;
	slot = find_slot(link);
	if (slot < 0)
		return 1;
	link->stats.streams++;
	link->stream[slot] = (struct link_stream){
		.id = head->stream,
		.service = (enum link_service)head->what,
		.room = LINK_WINDOW,
	};
	return 0;
}

static void ring_put(struct link_stream *stream, const uint8_t *data, uint32_t length)
{
	const uint32_t at = (stream->first + stream->count) % LINK_WINDOW;
	const uint32_t straight = length < LINK_WINDOW - at ? length : LINK_WINDOW - at;

	memcpy(stream->ring + at, data, straight);
	memcpy(stream->ring, data + straight, length - straight);
	stream->count += length;
}

static int take_data(struct link *link, uint32_t id, const uint8_t *data, size_t length, struct decant_error *err)
{
	struct link_stream *stream;
	int rc = find_stream(link, id, "DATA", &stream, err);

	if (rc < 0)
		return rc;
	if (length == 0)
		return decant_error_set(err, -EPROTO, "link: DATA of stream %u without any", id);
	if (stream == NULL)
		return 0;
	if (stream->end_heard)
		return decant_error_set(err, -EPROTO, "link: DATA of stream %u behind its end", id);
	if (length > LINK_WINDOW - stream->count - stream->owed)
		return decant_error_set(err, -EPROTO, "link: DATA of stream %u: more than it has credit for", id);
	if (stream->ring == NULL) {
		stream->ring = malloc(LINK_WINDOW);
		if (stream->ring == NULL)
			return decant_error_set(err, -ENOMEM, "link: no memory for stream %u", id);
	}
	ring_put(stream, data, (uint32_t)length);
	link->stats.received_bytes += length;
	return 0;
}

static int take_credit(struct link *link, uint32_t id, uint32_t credit, struct decant_error *err)
{
	struct link_stream *stream;
	int rc = find_stream(link, id, "CREDIT", &stream, err);

	if (rc < 0 || stream == NULL)
		return rc;
	if (credit == 0 || credit > LINK_WINDOW - stream->room)
		return decant_error_set(err, -EPROTO, "link: CREDIT of %u for stream %u, which has %u of %u",
					credit, id, stream->room, LINK_WINDOW);
	stream->room += credit;
	return 0;
}

static int take_end(struct link *link, uint32_t id, uint32_t code, struct decant_error *err)
{
	struct link_stream *stream;
	int rc = find_stream(link, id, "END", &stream, err);

	if (rc == 0 && code > LINK_ERRNO_MAX)
		rc = decant_error_set(err, -EPROTO, "link: END of stream %u with %u, which is no errno", id, code);
	if (rc < 0 || stream == NULL)
		return rc;
	if (code == 0 && stream->end_heard)
		return decant_error_set(err, -EPROTO, "link: END of stream %u for the second time", id);
	stream->end_heard = true;
	stream->broken = code;
	return 0;
}

static int take_control(struct link *link, const struct link_head *head, const uint8_t *text, size_t length,
			struct decant_error *err)
{
	const uint32_t at = (link->control_first + link->control_count) % LINK_CONTROLS_MAX;
	char *copy;

	if (head->stream != 0 || head->what < LINK_FACTS || head->what > LINK_ERROR || length > LINK_CONTROL_MAX)
		return decant_error_set(err, -EPROTO, "link: CONTROL %u of %zu bytes: there is none such",
					head->what, length);
	for (size_t i = 0; i < length; i++)
		if (text[i] < ' ' || text[i] == 0x7f)
			return decant_error_set(err, -EPROTO, "link: CONTROL with what cannot be printed");
	if (link->control_count == LINK_CONTROLS_MAX)
		return decant_error_set(err, -EPROTO, "link: more than %u CONTROLs that nobody has taken",
					LINK_CONTROLS_MAX);
	/* strndup() would look one byte further */
	copy = malloc(length + 1);
	if (copy == NULL)
		return decant_error_set(err, -ENOMEM, "link: no memory for a message");
	memcpy(copy, text, length);
	copy[length] = '\0';
	link->control[at].kind = (enum link_control)head->what;
	link->control[at].text = copy;
	link->control_count++;
	return 0;
}

/* 1: a stream is to be refused */
static int take(struct link *link, const struct link_head *head, const uint8_t *data, size_t length,
		struct decant_error *err)
{
	const bool plain = head->type == LINK_TYPE_DATA || head->type == LINK_TYPE_CREDIT ||
			   head->type == LINK_TYPE_END;
	const bool number = head->type == LINK_TYPE_CREDIT || head->type == LINK_TYPE_END;

	if (plain && head->what != 0)
		return decant_error_set(err, -EPROTO, "link: a reserved field is %u", head->what);
	if (number && length != LINK_NUMBER_SIZE)
		return decant_error_set(err, -EPROTO, "link: CREDIT or END of %zu bytes", length);
	switch (head->type) {
	case LINK_TYPE_OPEN:
		return take_open(link, head, length, err);
	case LINK_TYPE_DATA:
		return take_data(link, head->stream, data, length, err);
	case LINK_TYPE_CREDIT:
		return take_credit(link, head->stream, le32(data), err);
	case LINK_TYPE_END:
		return take_end(link, head->stream, le32(data), err);
	case LINK_TYPE_CONTROL:
		return take_control(link, head, data, length, err);
	default:
		return decant_error_set(err, -EPROTO, "link: a message of type %u: there is none such",
					head->type);
	}
}

int link_deliver(struct link *link, const void *data, size_t length, struct decant_error *err)
{
	const uint8_t *bytes = data;
	struct link_head head;
	int rc;

	if (length < LINK_HEAD || length > DECANT_MESSAGE_MAX)
		return decant_error_set(err, -EPROTO, "link: a message of %zu bytes", length);
	head.type = (uint16_t)(bytes[0] | bytes[1] << 8);
	head.what = (uint16_t)(bytes[2] | bytes[3] << 8);
	head.stream = le32(bytes + 4);
	{
		DECANT_AUTO_UNLOCK(&link->lock);
		rc = take(link, &head, bytes + LINK_HEAD, length - LINK_HEAD, err);
		if (rc == 0)
			link_wake(link);
	}
	return rc > 0 ? link_send_number(link, LINK_TYPE_END, head.stream, EMFILE, err) : rc;
}
