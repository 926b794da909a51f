/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcp_sink.c -- the sink's end of the TCP fabric: an acceptor, and a receiver per channel
 *
 * The fence goes from the outside in: first the acceptor, so that no receiver is started any more, then the sockets are
 * shut down, which ends every read, then the receivers are joined. A receiver that is in the middle of copying ends its copy first;
 * one that is in an event ends the event.
 */
#include "fabric/exposure.h"
#include "fabric/tcp/acceptor.h"
#include "fabric/tcp/receiver.h"
#include "fabric/tcp/tcp.h"
#include "fabric/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fabric_sink {
	/* set at open, read-only after */
	uint32_t channels;
	const struct fabric_sink_events *events;
	void *opaque;
	uint8_t *message; /* channel 0's buffer */

	struct exposure exposure; /* any thread */
	struct acceptor acceptor;

	pthread_mutex_t fence_lock;
	bool closed;         /* protected by fence_lock: the threads are gone */
	_Atomic bool fenced; /* release; acquire */

	/* the acceptor's thread until it is gone, then who fences */
	struct receiver
		*receiver[FABRIC_CHANNELS_MAX]; /* entries appear with release: statistics read them at any time */
};

static struct receiver *sink_receiver(const struct fabric_sink *sink, uint32_t channel)
{
	return __atomic_load_n(&sink->receiver[channel], __ATOMIC_ACQUIRE);
}

static int sink_admit(void *opaque, uint32_t channel, int fd, struct decant_error *err)
{
	struct fabric_sink *sink = opaque;
	struct receiver *receiver = calloc(1, sizeof(*receiver));
	int rc;

	if (receiver == NULL)
		return decant_error_set(err, -ENOMEM, "channel %" PRIu32 ": out of memory", channel);
	receiver->fd = fd;
	receiver->channel = channel;
	receiver->exposure = &sink->exposure;
	receiver->events = sink->events;
	receiver->opaque = sink->opaque;
	receiver->fenced = &sink->fenced;
	receiver->message = channel == 0 ? sink->message : NULL;
	rc = tcp_socket_prepare(fd, channel, err);
	rc = rc ? rc : receiver_start(receiver, err);
	if (rc < 0) {
		free(receiver);
		return rc;
	}
	__atomic_store_n(&sink->receiver[channel], receiver, __ATOMIC_RELEASE);
	return 0;
}

static int sink_check_opts(const struct fabric_sink_opts *opts, struct decant_error *err)
{
	if (opts->channels < 1 || opts->channels > FABRIC_CHANNELS_MAX)
		return decant_error_set(err, -EINVAL, "tcp sink: %" PRIu32 " channels", opts->channels);
	return 0;
}

static int sink_listen(struct fabric_sink *sink, const struct fabric_sink_opts *opts, struct decant_error *err)
{
	struct acceptor *acceptor = &sink->acceptor;
	int rc;

	acceptor->channels = opts->channels;
	acceptor->epoch = opts->epoch;
	memcpy(acceptor->tokens, opts->tokens, sizeof(acceptor->tokens));
	memcpy(acceptor->answers, opts->answers, sizeof(acceptor->answers));
	acceptor->tokens_until_ns = token_deadline_ns(opts);
	acceptor->admit = sink_admit;
	acceptor->opaque = sink;
	acceptor->log = opts->log;
	rc = acceptor_start(acceptor, opts->host, err);
	if (rc < 0)
		decant_error_prefix(err, "tcp sink: listen on %s", opts->host);
	return rc;
}

int tcp_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **out, struct decant_error *err)
{
	struct fabric_sink *sink;
	int rc = sink_check_opts(opts, err);

	if (rc < 0)
		return rc;
	sink = calloc(1, sizeof(*sink));
	if (sink == NULL)
		return decant_error_set(err, -ENOMEM, "tcp sink: out of memory");
	sink->channels = opts->channels;
	sink->events = opts->events;
	sink->opaque = opts->opaque;
	sink->message = malloc(FABRIC_MESSAGE_MAX);
	pthread_mutex_init(&sink->fence_lock, NULL);
	rc = sink->message == NULL ? decant_error_set(err, -ENOMEM, "tcp sink: out of memory") : 0;
	rc = rc ? rc : exposure_init(&sink->exposure, opts, err);
	rc = rc ? rc : sink_listen(sink, opts, err);
	if (rc < 0) {
		exposure_destroy(&sink->exposure);
		pthread_mutex_destroy(&sink->fence_lock);
		free(sink->message);
		free(sink);
		return rc;
	}
	*out = sink;
	return 0;
}

void tcp_sink_address(const struct fabric_sink *sink, struct fabric_address *address)
{
	tcp_address_encode(address, sink->acceptor.port);
}

int tcp_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		    uint64_t *rkey, struct decant_error *err)
{
	*rkey = 0;
	return exposure_add(&sink->exposure, region, offset, length, memory, err);
}

void tcp_sink_fence(struct fabric_sink *sink)
{
	pthread_mutex_lock(&sink->fence_lock);
	if (!sink->closed) {
		atomic_store_explicit(&sink->fenced, true, memory_order_release);
		acceptor_stop(&sink->acceptor);
		for (uint32_t i = 0; i < sink->channels; i++) {
			if (sink->receiver[i] != NULL)
				shutdown(sink->receiver[i]->fd, SHUT_RDWR);
		}
		for (uint32_t i = 0; i < sink->channels; i++) {
			if (sink->receiver[i] != NULL)
				receiver_join(sink->receiver[i]);
		}
		sink->closed = true;
	}
	pthread_mutex_unlock(&sink->fence_lock);
}

uint64_t tcp_sink_cpu_ns(const struct fabric_sink *sink)
{
	uint64_t sum = atomic_load_explicit(&sink->acceptor.cpu_ns, memory_order_relaxed);

	for (uint32_t i = 0; i < sink->channels; i++) {
		const struct receiver *receiver = sink_receiver(sink, i);

		if (receiver != NULL)
			sum += atomic_load_explicit(&receiver->cpu_ns, memory_order_relaxed);
	}
	return sum;
}

void tcp_sink_close(struct fabric_sink *sink)
{
	if (sink == NULL)
		return;
	tcp_sink_fence(sink);
	for (uint32_t i = 0; i < sink->channels; i++) {
		if (sink->receiver[i] != NULL)
			close(sink->receiver[i]->fd);
		free(sink->receiver[i]);
	}
	exposure_destroy(&sink->exposure);
	pthread_mutex_destroy(&sink->fence_lock);
	free(sink->message);
	free(sink);
}
