/* SPDX-License-Identifier: BSD-2-Clause */
/* link.c -- the queues between a source and a sink of the loop fabric, and the execution of what is in them */
#include "fabric/loop/link.h"

#include "fabric/loop/copy.h"
#include "fabric/token.h"
#include "util/fault.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static_assert((LINK_RING & (LINK_RING - 1)) == 0, "indices run freely");

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop_link *registry; /* protected by registry_lock */
static uint64_t registry_handles;  /* given out so far; protected by registry_lock */

/* ---- life ---- */

static void link_free(struct loop_link *link)
{
	for (uint32_t i = 0; i < link->channels; i++)
		free(link->channel[i].ring);
	exposure_destroy(&link->exposure);
	pthread_cond_destroy(&link->changed);
	pthread_mutex_destroy(&link->lock);
	free(link->messages);
	free(link);
}

static int link_allocate(struct loop_link *link)
{
	bool failed;

	link->messages = malloc((size_t)LINK_CREDITS * FABRIC_MESSAGE_MAX);
	failed = link->messages == NULL;
	for (uint32_t i = 0; i < link->channels; i++) {
		link->channel[i].ring = calloc(LINK_RING, sizeof(struct link_entry));
		failed = failed || link->channel[i].ring == NULL;
	}
	return failed ? -ENOMEM : 0;
}

static void link_register(struct loop_link *link)
{
	pthread_mutex_lock(&registry_lock);
	link->references = 1;
	link->handle = ++registry_handles;
	link->next = registry;
	registry = link;
	pthread_mutex_unlock(&registry_lock);
}

int loop_link_new(const struct fabric_sink_opts *opts, struct loop_link **out, struct decant_error *err)
{
	struct loop_link *link;
	int rc;

	if (opts->channels < 1 || opts->channels > FABRIC_CHANNELS_MAX)
		return decant_error_set(err, -EINVAL, "loop sink: %" PRIu32 " channels", opts->channels);
	link = calloc(1, sizeof(*link));
	if (link == NULL)
		return decant_error_set(err, -ENOMEM, "loop sink: out of memory");
	link->channels = opts->channels;
	link->epoch = opts->epoch;
	memcpy(link->tokens, opts->tokens, sizeof(link->tokens));
	memcpy(link->answers, opts->answers, sizeof(link->answers));
	link->tokens_until_ns = token_deadline_ns(opts);
	link->events = opts->events;
	link->opaque = opts->opaque;
	link->credits = LINK_CREDITS;
	pthread_mutex_init(&link->lock, NULL);
	pthread_cond_init(&link->changed, NULL);
	rc = exposure_init(&link->exposure, opts, err);
	if (rc == 0 && link_allocate(link) < 0)
		rc = decant_error_set(err, -ENOMEM, "loop sink: out of memory");
	if (rc < 0) {
		link_free(link);
		return rc;
	}
	link_register(link);
	*out = link;
	return 0;
}

struct loop_link *loop_link_find(uint64_t handle)
{
	struct loop_link *link;

	pthread_mutex_lock(&registry_lock);
	for (link = registry; link != NULL && link->handle != handle; link = link->next)
		;
	if (link != NULL)
		link->references++;
	pthread_mutex_unlock(&registry_lock);
	return link;
}

struct loop_link *loop_link_find_held(uint64_t after)
{
	struct loop_link *found = NULL;

	pthread_mutex_lock(&registry_lock);
	for (struct loop_link *link = registry; link != NULL; link = link->next) {
		if (link->packets > 0 && link->handle > after && (found == NULL || link->handle < found->handle))
			found = link;
	}
	if (found != NULL)
		found->references++;
	pthread_mutex_unlock(&registry_lock);
	return found;
}

static void link_get(struct loop_link *link)
{
	pthread_mutex_lock(&registry_lock);
	link->references++;
	pthread_mutex_unlock(&registry_lock);
}

void loop_link_put(struct loop_link *link)
{
	struct loop_link **at;
	bool last;

	pthread_mutex_lock(&registry_lock);
	last = --link->references == 0;
	if (last) {
		for (at = &registry; *at != link; at = &(*at)->next)
			;
		*at = link->next;
	}
	pthread_mutex_unlock(&registry_lock);
	if (last)
		link_free(link);
}

/* ---- failure ---- */

void loop_link_fail(struct loop_link *link, int code, const char *why)
{
	if (link->error.code == 0 && !link->stopped)
		decant_error_set(&link->error, code, "loop source: %s", why);
	pthread_cond_broadcast(&link->changed);
}

/* runs without the lock between begin and end; the caller of loop_link_settle() has the link's in_event to itself */
static void link_event_begin(struct loop_link *link)
{
	link->in_event = true;
	pthread_mutex_unlock(&link->lock);
}

static void link_event_end(struct loop_link *link)
{
	pthread_mutex_lock(&link->lock);
	link->in_event = false;
	pthread_cond_broadcast(&link->changed);
}

/* tells both ends that @index has broken; the sink hears of each channel once */
static void link_break(struct loop_link *link, uint32_t index, const struct decant_error *why)
{
	struct link_channel *channel = &link->channel[index];
	struct decant_error err = *why;

	loop_link_fail(link, -ECONNRESET, "the channel is broken, or refused by the sink");
	if (channel->lost || link->fenced)
		return;
	channel->lost = true;
	decant_error_prefix(&err, "loop sink: channel %" PRIu32, index);
	link_event_begin(link);
	link->events->lost(link->opaque, index, &err);
	link_event_end(link);
}

/* ---- execution ---- */

static struct link_entry *link_head(struct link_channel *channel)
{
	return &channel->ring[channel->head & (LINK_RING - 1)];
}

/* a packet of the network lands, unless the sink has fenced; the caller has a reference besides the packet's */
static void link_land(struct loop_link *link, struct link_channel *channel)
{
	struct link_packet *packet = channel->packet;
	const struct fabric_write write = packet->write;
	struct decant_error err = DECANT_ERROR_INIT;
	void *memory;
	int rc = 0;

	if (link->fenced)
		plan_counters.dropped_after_fence++;
	else
		rc = exposure_find(&link->exposure, write.region, write.offset, write.length, &memory, &err);
	if (rc == 0 && !link->fenced) {
		copy_pages(memory, packet->data, write.length);
		plan_counters.landed_late++;
	}
	channel->packet = NULL;
	link->packets--;
	free(packet->data);
	free(packet);
	if (rc < 0)
		link_break(link, write.channel, &err);
	loop_link_put(link);
}

/* puts a write into the network, where it stays; it keeps the link alive */
static int link_hold(struct loop_link *link, const struct fabric_write *write, uint32_t delay)
{
	struct link_packet *packet = calloc(1, sizeof(*packet));
	uint8_t *data = malloc(write->length);

	if (packet == NULL || data == NULL) {
		free(packet);
		free(data);
		return -ENOMEM;
	}
	copy_pages(data, write->data, write->length);
	packet->write = *write;
	packet->data = data;
	packet->delay = delay;
	link->channel[write->channel].packet = packet;
	link->packets++;
	link_get(link);
	plan_counters.held++;
	return 0;
}

struct link_copy {
	void *to;
	const void *from;
	uint64_t length;
};

static void link_copy_pages(void *opaque)
{
	const struct link_copy *copy = opaque;

	copy_pages(copy->to, copy->from, copy->length);
}

/* Either end's memory may not be there; the end it belongs to is told so. */
static int link_copy(struct loop_link *link, void *to, const struct fabric_write *write, struct decant_error *err)
{
	const struct fault_range ranges[] = { { write->data, write->length }, { to, write->length } };
	struct link_copy copy = { .to = to, .from = write->data, .length = write->length };
	struct fault fault;
	const int rc = fault_guard(ranges, 2, link_copy_pages, &copy, &fault);

	if (rc == 0)
		return 0;
	if (fault.address - (uintptr_t)write->data < write->length) {
		loop_link_fail(link, rc, "guest memory cannot be read");
		return decant_error_set(err, -ECONNRESET, "the source's memory cannot be read");
	}
	return decant_error_set(err, rc, "memory of region %" PRIu32 " + 0x%" PRIx64 " cannot be written: %s",
				write->region, write->offset + (fault.address - (uintptr_t)to), strerror(-rc));
}

static void link_execute_write(struct loop_link *link, const struct fabric_write *write)
{
	struct decant_error err = DECANT_ERROR_INIT;
	void *memory;
	int rc = 0;

	switch (plan_decide(link->epoch, write)) {
	case LOOP_DELIVER:
		rc = exposure_find(&link->exposure, write->region, write->offset, write->length, &memory, &err);
		if (rc == 0)
			rc = link_copy(link, memory, write, &err);
		break;
	case LOOP_HOLD:
		rc = link_hold(link, write, UINT32_MAX);
		break;
	case LOOP_DELAY:
		rc = link_hold(link, write, plan_delay());
		break;
	case LOOP_DROP:
		plan_counters.dropped++;
		break;
	case LOOP_KILL:
		plan_counters.killed++;
		rc = decant_error_set(&err, -ECONNRESET, "killed by the plan");
		break;
	}
	if (rc < 0) {
		if (err.code == 0)
			decant_error_set(&err, rc, "%s", strerror(-rc));
		link_break(link, write->channel, &err);
	}
}

static void link_execute_message(struct loop_link *link, const struct link_entry *entry)
{
	struct decant_error err = DECANT_ERROR_INIT;
	int rc;

	link_event_begin(link);
	rc = link->events->message(link->opaque, entry->message, entry->value, &err);
	link_event_end(link);
	link->credits++;
	if (rc < 0) {
		if (err.code == 0)
			decant_error_set(&err, rc, "the message was not taken: %s", strerror(-rc));
		link_break(link, 0, &err);
	}
}

static void link_execute(struct loop_link *link, uint32_t index)
{
	struct link_channel *channel = &link->channel[index];
	const struct link_entry entry = *link_head(channel);

	channel->head++;
	link->stats.posts++;
	switch (entry.kind) {
	case LINK_WRITE:
		channel->bytes -= entry.write.length;
		link_execute_write(link, &entry.write);
		break;
	case LINK_BARRIER:
		channel->barriers--;
		link_event_begin(link);
		link->events->barrier(link->opaque, index, entry.value);
		link_event_end(link);
		break;
	case LINK_MESSAGE:
		link_execute_message(link, &entry);
		break;
	}
	pthread_cond_broadcast(&link->changed);
}

/* ---- whose turn it is ---- */

/* a number below @n; the same seed gives the same turns */
static uint32_t link_random(struct loop_link *link, uint64_t seed, uint32_t n)
{
	uint64_t z = seed + ++link->turn * 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

/* executes one entry of a channel that is free to go; false: there is none */
static bool link_step(struct loop_link *link)
{
	uint32_t ready[FABRIC_CHANNELS_MAX];
	const uint64_t seed = plan_seed();
	uint32_t n = 0;

	if (link->fenced || link->stopped || link->error.code != 0)
		return false;
	for (uint32_t i = 0; i < link->channels; i++) {
		if (link->channel[i].head != link->channel[i].tail && link->channel[i].packet == NULL)
			ready[n++] = i;
	}
	if (n > 0)
		link_execute(link, ready[seed != 0 ? link_random(link, seed, n) : 0]);
	return n > 0;
}

/* lets one packet go whose time has come, or that nothing but a barrier waits for; false: there is none */
static bool link_step_delayed(struct loop_link *link)
{
	for (uint32_t i = 0; i < link->channels; i++) {
		struct link_channel *channel = &link->channel[i];

		if (channel->packet == NULL || channel->packet->delay == UINT32_MAX)
			continue;
		if (channel->packet->delay == 0 || channel->barriers > 0 || link->stopped) {
			link_land(link, channel);
			return true;
		}
	}
	return false;
}

/* tells the sink of one channel that the source has left without a last barrier; false: there is none */
static bool link_step_lost(struct loop_link *link)
{
	struct decant_error err;

	if (!link->stopped || link->fenced)
		return false;
	for (uint32_t i = 0; i < link->channels; i++) {
		struct link_channel *channel = &link->channel[i];

		if (channel->lost || (channel->head == channel->tail && !channel->unfinished))
			continue;
		decant_error_set(&err, -ECONNRESET, "the source has closed it without a goodbye");
		link_break(link, i, &err);
		return true;
	}
	return false;
}

void loop_link_settle(struct loop_link *link)
{
	if (link->settling)
		return;
	link->settling = true;
	while (link_step(link) || link_step_delayed(link) || link_step_lost(link))
		;
	link->settling = false;
	pthread_cond_broadcast(&link->changed);
}

bool loop_link_tick(struct loop_link *link)
{
	bool more = false;

	for (uint32_t i = 0; i < link->channels; i++) {
		struct link_packet *packet = link->channel[i].packet;

		if (packet != NULL && packet->delay != UINT32_MAX && packet->delay > 0)
			more = --packet->delay > 0 || more;
	}
	return more;
}

uint32_t loop_link_release(struct loop_link *link)
{
	uint32_t released = 0;

	for (uint32_t i = 0; i < link->channels; i++) {
		if (link->channel[i].packet != NULL) {
			link->channel[i].packet->delay = 0;
			released++;
		}
	}
	loop_link_settle(link);
	while (link->settling)
		pthread_cond_wait(&link->changed, &link->lock);
	return released;
}
