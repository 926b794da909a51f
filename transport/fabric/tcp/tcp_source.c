/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcp_source.c -- the source's end of the TCP fabric: K senders, and a reader for what comes back
 *
 * The first failure is the one that is told: it is kept under error_lock, and @failed is set after it with release, so
 * that whoever sees the code also finds the message.
 *
 * Lock order: stop_lock, then a sender's lock, then error_lock.
 */
#include "fabric/tcp/frame.h"
#include "fabric/tcp/sender.h"
#include "fabric/tcp/tcp.h"
#include "fabric/token.h"
#include "util/address.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <decant/memory.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* how long a goodbye may take before the connection is cut: it waits for nothing but a turn of the sender's thread */
#define SOURCE_GOODBYE_NS (500 * NSEC_PER_MSEC)

struct fabric_source {
	/* set at connect, read-only after */
	uint32_t channels;
	uint32_t credits; /* granted at the start */
	enum decant_zero_copy zero_copy;
	uint64_t under_way_ns;
	struct decant_log log;
	uint8_t *messages; /* TCP_CREDITS slots of FABRIC_MESSAGE_MAX */
	int wake_fd;
	pthread_t reader;
	struct sender sender[FABRIC_CHANNELS_MAX];

	pthread_mutex_t error_lock;
	struct decant_error error; /* protected by error_lock */
	_Atomic int failed;        /* 0 or its code; release, with the error in place; acquire */
	_Atomic bool stopping;     /* release; acquire */

	pthread_mutex_t stop_lock;
	bool stopped; /* protected by stop_lock: the threads are gone */

	/* the using thread's */
	uint32_t messages_sent;
	bool blocked; /* something got -EAGAIN: */
	enum sender_kind blocked_kind;
	uint32_t blocked_channel;

	/* relaxed: statistics */
	_Atomic uint64_t writes, bytes;
	_Atomic uint64_t reader_cpu_ns;
};

static void source_fail(struct fabric_source *source, const struct decant_error *why)
{
	bool first;

	if (atomic_load_explicit(&source->stopping, memory_order_acquire))
		return;
	pthread_mutex_lock(&source->error_lock);
	first = source->error.code == 0;
	if (first) {
		source->error = *why;
		atomic_store_explicit(&source->failed, why->code, memory_order_release);
	}
	pthread_mutex_unlock(&source->error_lock);
	if (!first)
		return;
	for (uint32_t i = 0; i < source->channels; i++)
		sender_wake(&source->sender[i]);
}

static void source_channel_lost(void *opaque, uint32_t channel, int code)
{
	struct decant_error err;

	decant_error_set(&err, code, "tcp source: channel %" PRIu32 ": send: %s", channel, strerror(-code));
	source_fail(opaque, &err);
}

static int source_check(const struct fabric_source *source)
{
	if (atomic_load_explicit(&source->stopping, memory_order_acquire))
		return -ECANCELED;
	return atomic_load_explicit(&source->failed, memory_order_acquire);
}

/* ---- the way back ---- */

static int source_credit(struct fabric_source *source, const uint8_t *bytes, struct decant_error *err)
{
	struct sender *sender = &source->sender[0];
	struct frame_head head;
	bool right;
	int rc = frame_head_decode(&head, bytes, err);

	if (rc < 0)
		return rc;
	if (head.type != FRAME_CREDIT)
		return decant_error_set(err, -EPROTO, "a %s frame on the way back", frame_strtype(head.type));
	pthread_mutex_lock(&sender->lock);
	right = head.value <= source->credits - sender->credits;
	if (right)
		sender->credits += (uint32_t)head.value;
	pthread_cond_broadcast(&sender->room);
	pthread_mutex_unlock(&sender->lock);
	if (!right)
		return decant_error_set(err, -EPROTO, "%" PRIu64 " credits for messages that were not sent",
					head.value);
	return 0;
}

/* what has come on @channel: credits into @bytes, or its end */
static int source_read(struct fabric_source *source, uint32_t channel, uint8_t *bytes, size_t *have,
		       struct decant_error *err)
{
	const ssize_t n = recv(source->sender[channel].fd, bytes + *have, FRAME_HEAD_SIZE - *have, MSG_DONTWAIT);
	int rc = 0;

	if (n == 0)
		return decant_error_set(err, -ECONNRESET, "the destination has closed it");
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return decant_error_set(err, -errno, "recv: %s", strerror(errno));
	if (channel != 0)
		return decant_error_set(err, -EPROTO, "%zd bytes on the way back, where none belong", n);
	*have += (size_t)n;
	if (*have == FRAME_HEAD_SIZE) {
		rc = source_credit(source, bytes, err);
		*have = 0;
	}
	return rc;
}

/* waits for something on any channel; false: woken to stop */
static bool source_poll(const struct fabric_source *source, struct pollfd *set)
{
	for (uint32_t i = 0; i < source->channels; i++)
		set[i] = (struct pollfd){ .fd = source->sender[i].fd, .events = POLLIN };
	set[source->channels] = (struct pollfd){ .fd = source->wake_fd, .events = POLLIN };
	while (poll(set, source->channels + 1, -1) < 0 && errno == EINTR)
		;
	return set[source->channels].revents == 0;
}

static void *source_reader(void *arg)
{
	struct fabric_source *source = arg;
	struct pollfd set[FABRIC_CHANNELS_MAX + 1];
	struct decant_error err = DECANT_ERROR_INIT;
	uint8_t bytes[FRAME_HEAD_SIZE];
	size_t have = 0;

	while (err.code == 0 && source_poll(source, set)) {
		for (uint32_t i = 0; i < source->channels && err.code == 0; i++) {
			if (set[i].revents & POLLERR)
				sender_reap(&source->sender[i]);
			if (set[i].revents != 0 && source_read(source, i, bytes, &have, &err) < 0)
				decant_error_prefix(&err, "tcp source: channel %" PRIu32, i);
		}
		atomic_store_explicit(&source->reader_cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
	}
	if (err.code != 0)
		source_fail(source, &err);
	return NULL;
}

/* ---- connecting ---- */

static int source_hello(const struct fabric_source_opts *opts, const struct address *address, uint32_t channel,
			uint64_t deadline_ns, struct decant_error *err)
{
	const struct frame_head head = { .type = FRAME_HELLO, .value = FRAME_HELLO_SIZE };
	struct frame_hello hello = {
		.version = FRAME_VERSION,
		.channel = (uint16_t)channel,
		.epoch = opts->epoch,
	};
	uint8_t bytes[FRAME_HEAD_SIZE + FRAME_HELLO_SIZE];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	const int fd = address_connect(address, deadline_ns, opts->wake_fd, err);
	int rc;

	if (fd < 0)
		return fd;
	memcpy(hello.token, opts->tokens[channel], sizeof(hello.token));
	frame_head_encode(&head, bytes);
	frame_hello_encode(&hello, bytes + FRAME_HEAD_SIZE);
	rc = io_send_full(fd, &iov, 1, deadline_ns, opts->wake_fd);
	if (rc < 0) {
		close(fd);
		return decant_error_set(err, rc, "send HELLO: %s", strerror(-rc));
	}
	return fd;
}

static int source_welcome(const struct fabric_source_opts *opts, uint32_t channel, int fd, uint32_t *credits,
			  uint64_t deadline_ns, struct decant_error *err)
{
	uint8_t bytes[FRAME_HEAD_SIZE], shown[FRAME_ANSWER_SIZE];
	struct frame_head head;
	int rc = io_recv_full(fd, bytes, sizeof(bytes), deadline_ns, opts->wake_fd);

	if (rc < 0)
		return decant_error_set(err, rc, "the destination does not answer the HELLO: %s", strerror(-rc));
	rc = frame_head_decode(&head, bytes, err);
	if (rc < 0)
		return rc;
	if (head.type == FRAME_REFUSED)
		return decant_error_set(err, -EACCES, "the destination refuses the channel: %s",
					frame_strrefusal(head.value));
	if (head.type != FRAME_OK)
		return decant_error_set(err, -EPROTO, "a %s frame in answer to a HELLO", frame_strtype(head.type));
	rc = io_recv_full(fd, shown, sizeof(shown), deadline_ns, opts->wake_fd);
	if (rc < 0)
		return decant_error_set(err, rc, "the destination shows no token: %s", strerror(-rc));
	if (!token_equal(shown, opts->answers[channel]))
		return decant_error_set(err, -EACCES,
					"the destination's token is wrong: it is not the one we spoke to");
	*credits = head.value < TCP_CREDITS ? (uint32_t)head.value : TCP_CREDITS;
	return 0;
}

static void source_stop_senders(struct fabric_source *source, uint32_t count)
{
	const bool failed = atomic_load_explicit(&source->failed, memory_order_acquire) != 0;
	const uint64_t deadline_ns = clock_deadline_ns(failed ? 0 : SOURCE_GOODBYE_NS);

	for (uint32_t i = 0; i < count; i++)
		sender_close(&source->sender[i]);
	for (uint32_t i = 0; i < count; i++)
		sender_join(&source->sender[i], deadline_ns);
}

/* threads for connected sockets; each fd that a sender owns is taken out of @fds */
static int source_start(struct fabric_source *source, int *fds, uint32_t credits, struct decant_error *err)
{
	uint32_t started = 0;
	int rc = 0;

	source->credits = credits;
	for (; started < source->channels && rc == 0; started += rc == 0) {
		struct sender *sender = &source->sender[started];

		*sender = (struct sender){
			.channel = started,
			.zero_copy = source->zero_copy,
			.window.time_ns = source->under_way_ns,
			.credits = started == 0 ? credits : 0,
			.lost = source_channel_lost,
			.opaque = source,
		};
		rc = tcp_socket_prepare(fds[started], started, err);
		rc = rc ? rc : sender_start(sender, fds[started], err);
		if (rc == 0)
			fds[started] = -1;
	}
	if (rc == 0)
		rc = tcp_thread_start(&source->reader, "tcp-source", source_reader, source, err);
	if (rc < 0) {
		atomic_store_explicit(&source->stopping, true, memory_order_release);
		source_stop_senders(source, started);
		while (started > 0)
			sender_destroy(&source->sender[--started]);
	}
	return rc;
}

static int source_open_channels(struct fabric_source *source, const struct fabric_source_opts *opts, uint16_t port,
				struct decant_error *err)
{
	const uint64_t deadline_ns = clock_deadline_ns(opts->connect_timeout_ns);
	struct address address = { .port = port };
	int fds[FABRIC_CHANNELS_MAX];
	uint32_t credits = 0, ignored, opened = 0;
	int rc = 0;

	snprintf(address.host, sizeof(address.host), "%s", opts->peer_host);
	for (; opened < opts->channels && rc >= 0; opened += rc >= 0) {
		rc = source_hello(opts, &address, opened, deadline_ns, err);
		fds[opened] = rc;
	}
	for (uint32_t i = 0; i < opened && rc >= 0; i++)
		rc = source_welcome(opts, i, fds[i], i == 0 ? &credits : &ignored, deadline_ns, err);
	if (rc >= 0 && credits == 0)
		rc = decant_error_set(err, -EPROTO, "the destination grants no credit for messages");
	if (rc >= 0)
		rc = source_start(source, fds, credits, err);
	for (uint32_t i = 0; i < opened; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	return rc < 0 ? rc : 0;
}

static void source_free(struct fabric_source *source)
{
	close(source->wake_fd);
	pthread_mutex_destroy(&source->stop_lock);
	pthread_mutex_destroy(&source->error_lock);
	free(source->messages);
	free(source);
}

static struct fabric_source *source_new(const struct fabric_source_opts *opts, struct decant_error *err)
{
	struct fabric_source *source = calloc(1, sizeof(*source));
	uint8_t *messages = malloc((size_t)TCP_CREDITS * FABRIC_MESSAGE_MAX);
	const int wake_fd = io_wake_new();

	if (source == NULL || messages == NULL || wake_fd < 0) {
		decant_error_set(err, wake_fd < 0 ? wake_fd : -ENOMEM, "tcp source: %s",
				 strerror(wake_fd < 0 ? -wake_fd : ENOMEM));
		if (wake_fd >= 0)
			close(wake_fd);
		free(messages);
		free(source);
		return NULL;
	}
	source->channels = opts->channels;
	source->zero_copy = opts->zero_copy;
	source->under_way_ns = opts->under_way_ns;
	source->log = opts->log;
	source->messages = messages;
	source->wake_fd = wake_fd;
	pthread_mutex_init(&source->error_lock, NULL);
	pthread_mutex_init(&source->stop_lock, NULL);
	return source;
}

int tcp_source_connect(const struct fabric_source_opts *opts, struct fabric_source **out, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;
	struct fabric_source *source;
	uint16_t port = 0;
	int rc;

	if (opts->channels < 1 || opts->channels > FABRIC_CHANNELS_MAX)
		return decant_error_set(err, -EINVAL, "tcp source: %" PRIu32 " channels", opts->channels);
	rc = tcp_address_decode(&opts->address, &port, err);
	if (rc < 0)
		return rc;
	source = source_new(opts, &why);
	rc = source == NULL ? why.code : source_open_channels(source, opts, port, &why);
	if (rc < 0) {
		if (source != NULL)
			source_free(source);
		return decant_error_set(err, rc, "tcp source: %s port %u: %s", opts->peer_host, port, why.msg);
	}
	log_debug(&source->log, "tcp source: %" PRIu32 " channels to %s port %u", source->channels,
		  opts->peer_host, port);
	*out = source;
	return 0;
}

int tcp_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
		   struct decant_error *err)
{
	(void)source;
	(void)memory;
	(void)length;
	(void)err;
	*lkey = 0;
	return 0;
}

/* ---- the data path ---- */

static int source_push(struct fabric_source *source, uint32_t channel, const struct sender_entry *entry)
{
	const int rc = sender_push(&source->sender[channel], entry);

	source->blocked = rc == -EAGAIN;
	source->blocked_kind = entry->kind;
	source->blocked_channel = channel;
	return rc;
}

int tcp_source_write(struct fabric_source *source, const struct fabric_write *write)
{
	const struct sender_entry entry = {
		.kind = SENDER_WRITE,
		.region = write->region,
		.length = write->length,
		.value = write->offset,
		.data = write->data,
	};
	int rc = source_check(source);

	if (rc < 0)
		return rc;
	if (write->channel >= source->channels || write->length == 0 || write->length > TCP_WRITE_MAX ||
	    write->length % DECANT_PAGE_SIZE != 0 || write->offset % DECANT_PAGE_SIZE != 0)
		return -EINVAL;
	rc = source_push(source, write->channel, &entry);
	if (rc == 0) {
		atomic_fetch_add_explicit(&source->writes, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&source->bytes, write->length, memory_order_relaxed);
	}
	return rc;
}

int tcp_source_flush(struct fabric_source *source)
{
	const int rc = source_check(source);

	for (uint32_t i = 0; i < source->channels && rc == 0; i++)
		sender_flush(&source->sender[i]);
	return rc;
}

/* 0 or -EAGAIN; only the using thread fills the queues, so room that is there stays there */
static int source_check_room(struct fabric_source *source, uint32_t channel, enum sender_kind kind)
{
	struct sender *sender = &source->sender[channel];

	pthread_mutex_lock(&sender->lock);
	source->blocked = !sender_has_room(sender, kind);
	pthread_mutex_unlock(&sender->lock);
	source->blocked_kind = kind;
	source->blocked_channel = channel;
	return source->blocked ? -EAGAIN : 0;
}

int tcp_source_barrier(struct fabric_source *source, uint64_t round)
{
	const struct sender_entry entry = { .kind = SENDER_BARRIER, .value = round };
	int rc = source_check(source);

	for (uint32_t i = 0; i < source->channels && rc == 0; i++)
		rc = source_check_room(source, i, SENDER_BARRIER);
	for (uint32_t i = 0; i < source->channels && rc == 0; i++)
		rc = source_push(source, i, &entry);
	return rc;
}

int tcp_source_message(struct fabric_source *source, const void *data, size_t length)
{
	/* there is room only when fewer than TCP_CREDITS are unsent, so the slot of the message that many before is free */
	uint8_t *slot = source->messages + (size_t)(source->messages_sent % TCP_CREDITS) * FABRIC_MESSAGE_MAX;
	const struct sender_entry entry = { .kind = SENDER_MESSAGE, .length = (uint32_t)length, .data = slot };
	int rc = source_check(source);

	if (rc < 0)
		return rc;
	if (length > FABRIC_MESSAGE_MAX)
		return -EMSGSIZE;
	rc = source_check_room(source, 0, SENDER_MESSAGE);
	if (rc < 0)
		return rc;
	if (length > 0)
		memcpy(slot, data, length);
	rc = source_push(source, 0, &entry);
	if (rc == 0)
		source->messages_sent++;
	return rc;
}

int tcp_source_wait(struct fabric_source *source, uint64_t timeout_ns)
{
	const struct timespec deadline = clock_timespec(clock_deadline_ns(timeout_ns));
	struct sender *sender = &source->sender[source->blocked_channel];
	int rc = 0, waited = 0;

	pthread_mutex_lock(&sender->lock);
	while (source->blocked && (rc = source_check(source)) == 0) {
		if (sender_has_room(sender, source->blocked_kind))
			source->blocked = false;
		else if (waited == ETIMEDOUT)
			break;
		else
			waited = pthread_cond_clockwait(&sender->room, &sender->lock, CLOCK_MONOTONIC, &deadline);
	}
	pthread_mutex_unlock(&sender->lock);
	if (rc < 0)
		return rc;
	return source->blocked ? -ETIMEDOUT : source_check(source);
}

uint64_t tcp_source_pending(const struct fabric_source *source)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < source->channels; i++)
		bytes += sender_pending(&source->sender[i]);
	return bytes;
}

void tcp_source_last_error(const struct fabric_source *source, struct decant_error *err)
{
	struct fabric_source *lockable = (struct fabric_source *)source;

	pthread_mutex_lock(&lockable->error_lock);
	*err = source->error;
	pthread_mutex_unlock(&lockable->error_lock);
}

void tcp_source_stats(const struct fabric_source *source, struct fabric_source_stats *stats)
{
	*stats = (struct fabric_source_stats){
		.writes = atomic_load_explicit(&source->writes, memory_order_relaxed),
		.bytes = atomic_load_explicit(&source->bytes, memory_order_relaxed),
		.cpu_ns = atomic_load_explicit(&source->reader_cpu_ns, memory_order_relaxed),
	};
	for (uint32_t i = 0; i < source->channels; i++) {
		stats->posts += atomic_load_explicit(&source->sender[i].posts, memory_order_relaxed);
		stats->cpu_ns += atomic_load_explicit(&source->sender[i].cpu_ns, memory_order_relaxed);
		stats->zero_copy_bytes += atomic_load_explicit(&source->sender[i].zerocopy.referenced,
							       memory_order_relaxed);
	}
}

void tcp_source_stop(struct fabric_source *source)
{
	pthread_mutex_lock(&source->stop_lock);
	if (!source->stopped) {
		atomic_store_explicit(&source->stopping, true, memory_order_release);
		source_stop_senders(source, source->channels);
		io_wake_set(source->wake_fd);
		pthread_join(source->reader, NULL);
		for (uint32_t i = 0; i < source->channels; i++)
			sender_reap(&source->sender[i]);
		source->stopped = true;
	}
	pthread_mutex_unlock(&source->stop_lock);
}

void tcp_source_close(struct fabric_source *source)
{
	if (source == NULL)
		return;
	tcp_source_stop(source);
	for (uint32_t i = 0; i < source->channels; i++)
		sender_destroy(&source->sender[i]);
	source_free(source);
}
