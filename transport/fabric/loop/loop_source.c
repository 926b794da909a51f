/* SPDX-License-Identifier: BSD-2-Clause */
/* loop_source.c -- the source's end of the loop fabric */
#include "fabric/loop/link.h"
#include "fabric/token.h"
#include "util/clock.h"

#include <decant/memory.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct fabric_source {
	struct loop_link *link; /* set at connect, read-only after */

	/* the using thread's */
	uint32_t messages_sent;
	bool blocked; /* something got -EAGAIN: */
	enum link_kind blocked_kind;
	uint32_t blocked_channel;
};

static int source_check(const struct loop_link *link)
{
	return link->stopped ? -ECANCELED : link->error.code;
}

static int source_judge(const struct loop_link *link, const struct fabric_source_opts *opts,
			struct decant_error *err)
{
	bool right = opts->epoch == link->epoch && opts->channels == link->channels;

	for (uint32_t i = 0; i < link->channels; i++)
		right = token_equal(opts->tokens[i], link->tokens[i]) && right;
	if (!right)
		return decant_error_set(err, -EACCES,
					"loop source: the sink refuses: epoch, channels or a token is wrong");
	for (uint32_t i = 0; i < link->channels; i++)
		right = token_equal(link->answers[i], opts->answers[i]) && right;
	if (!right)
		return decant_error_set(err, -EACCES, "loop source: the sink's token is wrong");
	if (clock_now_ns() >= link->tokens_until_ns)
		return decant_error_set(err, -EACCES, "loop source: the sink refuses: the tokens have expired");
	if (link->fenced)
		return decant_error_set(err, -ECONNREFUSED, "loop source: the sink has fenced");
	if (link->attached)
		return decant_error_set(err, -EACCES, "loop source: the sink refuses: it has a source already");
	return 0;
}

int loop_source_connect(const struct fabric_source_opts *opts, struct fabric_source **out,
			struct decant_error *err)
{
	struct fabric_source *source;
	struct loop_link *link;
	uint64_t handle;
	int rc;

	if (opts->address.length != sizeof(handle))
		return decant_error_set(err, -EPROTO,
					"loop source: the peer's address (%" PRIu32 " bytes) is none of ours",
					opts->address.length);
	source = calloc(1, sizeof(*source));
	if (source == NULL)
		return decant_error_set(err, -ENOMEM, "loop source: out of memory");
	memcpy(&handle, opts->address.bytes, sizeof(handle));
	link = loop_link_find(handle);
	if (link == NULL) {
		free(source);
		return decant_error_set(err, -ECONNREFUSED, "loop source: there is no sink %" PRIu64, handle);
	}
	pthread_mutex_lock(&link->lock);
	rc = source_judge(link, opts, err);
	if (rc == 0)
		link->attached = true;
	pthread_mutex_unlock(&link->lock);
	if (rc < 0) {
		loop_link_put(link);
		free(source);
		return rc;
	}
	source->link = link;
	*out = source;
	return 0;
}

int loop_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
		    struct decant_error *err)
{
	(void)source;
	(void)memory;
	(void)length;
	(void)err;
	*lkey = 0;
	return 0;
}

static bool source_has_room(const struct loop_link *link, enum link_kind kind, uint32_t index)
{
	const struct link_channel *channel = &link->channel[index];

	if (channel->tail - channel->head >= LINK_RING)
		return false;
	if (kind == LINK_WRITE)
		return channel->bytes < LINK_BYTES_MAX;
	return kind == LINK_BARRIER || link->credits > 0;
}

/* makes room by executing what is queued, if that is what it takes; lock held */
static int source_make_room(struct fabric_source *source, enum link_kind kind, uint32_t index)
{
	struct loop_link *link = source->link;
	int rc = source_check(link);

	if (rc == 0 && !source_has_room(link, kind, index)) {
		loop_link_settle(link);
		rc = source_check(link);
		if (rc == 0 && !source_has_room(link, kind, index))
			rc = -EAGAIN;
	}
	source->blocked = rc == -EAGAIN;
	source->blocked_kind = kind;
	source->blocked_channel = index;
	return rc;
}

/* lock held, and there is room */
static void source_append(struct loop_link *link, uint32_t index, const struct link_entry *entry)
{
	struct link_channel *channel = &link->channel[index];

	channel->ring[channel->tail++ & (LINK_RING - 1)] = *entry;
	channel->unfinished = entry->kind != LINK_BARRIER;
}

int loop_source_write(struct fabric_source *source, const struct fabric_write *write)
{
	const struct link_entry entry = { .kind = LINK_WRITE, .write = *write };
	struct loop_link *link = source->link;
	int rc;

	if (write->channel >= link->channels || write->length == 0 || write->length > LINK_WRITE_MAX ||
	    write->length % DECANT_PAGE_SIZE != 0 || write->offset % DECANT_PAGE_SIZE != 0)
		return -EINVAL;
	pthread_mutex_lock(&link->lock);
	rc = source_make_room(source, LINK_WRITE, write->channel);
	if (rc == 0) {
		source_append(link, write->channel, &entry);
		link->channel[write->channel].bytes += write->length;
		link->stats.writes++;
		link->stats.bytes += write->length;
	}
	pthread_mutex_unlock(&link->lock);
	return rc;
}

int loop_source_flush(struct fabric_source *source)
{
	struct loop_link *link = source->link;
	int rc;

	pthread_mutex_lock(&link->lock);
	loop_link_tick(link);
	loop_link_settle(link);
	rc = source_check(link);
	pthread_mutex_unlock(&link->lock);
	return rc;
}

int loop_source_barrier(struct fabric_source *source, uint64_t round)
{
	const struct link_entry entry = { .kind = LINK_BARRIER, .value = round };
	struct loop_link *link = source->link;
	int rc = 0;

	pthread_mutex_lock(&link->lock);
	for (uint32_t i = 0; i < link->channels && rc == 0; i++)
		rc = source_make_room(source, LINK_BARRIER, i);
	if (rc == 0) {
		for (uint32_t i = 0; i < link->channels; i++) {
			source_append(link, i, &entry);
			link->channel[i].barriers++;
		}
		loop_link_tick(link);
		loop_link_settle(link);
	}
	pthread_mutex_unlock(&link->lock);
	return rc;
}

int loop_source_message(struct fabric_source *source, const void *data, size_t length)
{
	struct loop_link *link = source->link;
	/* a credit is back only when the sink is done with the message, so the slot of the message 16 before is free */
	uint8_t *slot = link->messages + (size_t)(source->messages_sent % LINK_CREDITS) * FABRIC_MESSAGE_MAX;
	const struct link_entry entry = { .kind = LINK_MESSAGE, .value = length, .message = slot };
	int rc;

	if (length > FABRIC_MESSAGE_MAX)
		return -EMSGSIZE;
	pthread_mutex_lock(&link->lock);
	rc = source_make_room(source, LINK_MESSAGE, 0);
	if (rc == 0) {
		if (length > 0)
			memcpy(slot, data, length);
		source_append(link, 0, &entry);
		link->credits--;
		source->messages_sent++;
		loop_link_settle(link);
	}
	pthread_mutex_unlock(&link->lock);
	return rc;
}

/* nothing but a release, a fence or a stop can help; lock held */
static int source_sleep(struct loop_link *link, const struct timespec *deadline)
{
	return pthread_cond_clockwait(&link->changed, &link->lock, CLOCK_MONOTONIC, deadline);
}

int loop_source_wait(struct fabric_source *source, uint64_t timeout_ns)
{
	const struct timespec deadline = clock_timespec(clock_deadline_ns(timeout_ns));
	struct loop_link *link = source->link;
	int rc, waited = 0;

	pthread_mutex_lock(&link->lock);
	while (source_check(link) == 0) {
		const bool ticking = loop_link_tick(link);

		loop_link_settle(link);
		if (!source->blocked || source_has_room(link, source->blocked_kind, source->blocked_channel) ||
		    waited == ETIMEDOUT)
			break;
		if (!ticking)
			waited = source_sleep(link, &deadline);
	}
	source->blocked = source->blocked && !source_has_room(link, source->blocked_kind, source->blocked_channel);
	rc = source_check(link);
	pthread_mutex_unlock(&link->lock);
	if (rc < 0)
		return rc;
	return source->blocked ? -ETIMEDOUT : 0;
}

uint64_t loop_source_pending(const struct fabric_source *source)
{
	struct loop_link *link = source->link;
	uint64_t bytes = 0;

	pthread_mutex_lock(&link->lock);
	for (uint32_t i = 0; i < link->channels; i++)
		bytes += link->channel[i].bytes;
	pthread_mutex_unlock(&link->lock);
	return bytes;
}

void loop_source_last_error(const struct fabric_source *source, struct decant_error *err)
{
	struct loop_link *link = source->link;

	pthread_mutex_lock(&link->lock);
	*err = link->error;
	pthread_mutex_unlock(&link->lock);
}

void loop_source_stats(const struct fabric_source *source, struct fabric_source_stats *stats)
{
	struct loop_link *link = source->link;

	pthread_mutex_lock(&link->lock);
	*stats = link->stats;
	pthread_mutex_unlock(&link->lock);
}

void loop_source_stop(struct fabric_source *source)
{
	struct loop_link *link = source->link;

	pthread_mutex_lock(&link->lock);
	link->stopped = true;
	pthread_cond_broadcast(&link->changed);
	/* if somebody is settling already, an event is running: that one will find the rest to do */
	loop_link_settle(link);
	pthread_mutex_unlock(&link->lock);
}

void loop_source_close(struct fabric_source *source)
{
	if (source == NULL)
		return;
	loop_source_stop(source);
	loop_link_put(source->link);
	free(source);
}
