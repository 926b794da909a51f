/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.c -- the control connection
 *
 * Theory of operation
 * -------------------
 * The reader thread must never wait for a sender, or two ends that both send could wait for each other for ever: each with
 * a full socket, each reader busy sending. So the reader's own messages (PING, PONG) are sent only if nobody holds the
 * send lock and the socket has room for all of them; else they are left out. Nothing depends on a single one: any byte
 * received shows that the peer lives, and the clocks are matched from the best of many rounds.
 *
 * Clock matching: a PONG gives four stamps, t1 (ping sent), t2 (received there), t3 (sent there), t4 (received here). The
 * peer's clock is ahead by ((t2 - t1) + (t3 - t4)) / 2, and that is wrong by at most half of what the round took on the way.
 * A sample gets worse as it ages, since no two clocks run alike: CLOCK_DRIFT_PPM is added to its error.
 */
#include "migration/peer.h"

#include "migration/payload.h"
#include "util/address.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include "util/thread.h"
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CLOCK_DRIFT_PPM 100u
#define QUEUE_MESSAGES 64u
#define PING_FAST_ROUNDS 8u

struct peer {
	/* set at creation, read-only after */
	int fd;
	int wake_fd; /* set to end the reader and every blocked send */
	uint64_t timeout_ns;
	const struct peer_events *events;
	void *opaque;
	struct decant_log log;
	pthread_t reader;
	struct payloads payloads; /* has its own lock, a leaf */

	/* protected by send_lock */
	pthread_mutex_t send_lock;
	uint32_t sent;

	/* reader thread only */
	uint32_t received;
	uint64_t heard_ns;
	uint64_t ping_due_ns;
	uint32_t pings;

	/* protected by lock; taken after send_lock where both are held */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct peer_message queue[QUEUE_MESSAGES];
	uint32_t queue_first, queue_count;
	bool woken;
	bool closing;
	struct decant_error lost; /* code 0: alive */
	bool clock_known;
	int64_t clock_offset_ns;
	uint64_t clock_error_ns;
	uint64_t clock_at_ns;
	uint64_t round_trip_ns; /* the shortest there was, once clock_known */
	uint64_t cpu_ns;
};

static void peer_set_lost(struct peer *peer, const struct decant_error *why)
{
	bool first;

	{
		DECANT_AUTO_UNLOCK(&peer->lock);
		first = peer->lost.code == 0;
		if (first)
			peer->lost = *why;
		pthread_cond_broadcast(&peer->changed);
	}
	if (first)
		shutdown(peer->fd, SHUT_RDWR);
}

int peer_check(struct peer *peer, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&peer->lock);
	if (peer->lost.code != 0 && err != NULL)
		*err = peer->lost;
	return peer->lost.code;
}

int peer_error_decode(const uint8_t *payload, uint32_t length, struct decant_error *err)
{
	struct wire_error message;
	int rc = wire_error_decode(&message, payload, length, err);

	if (rc < 0)
		return rc;
	return decant_error_set(err, message.code == 0 ? -EPROTO : -(int)message.code, "the peer says: %s",
				message.text);
}

/* ---- sending ---- */

static int send_locked(struct peer *peer, uint16_t type, const void *head, size_t head_length, const void *data,
		       size_t data_length, uint64_t deadline_ns)
{
	uint8_t bytes[WIRE_HEADER_SIZE];
	const struct wire_header header = {
		.type = type,
		.length = (uint32_t)(head_length + data_length),
		.sequence = peer->sent,
	};
	struct iovec iov[3] = {
		{ .iov_base = bytes, .iov_len = sizeof(bytes) },
		{ .iov_base = (void *)head, .iov_len = head_length },
		{ .iov_base = (void *)data, .iov_len = data_length },
	};

	wire_header_encode(&header, bytes, sizeof(bytes));
	peer->sent++;
	return io_send_full(peer->fd, iov, 3, deadline_ns, peer->wake_fd);
}

int peer_send_until(struct peer *peer, uint64_t deadline_ns, uint16_t type, const void *head, size_t head_length,
		    const void *data, size_t data_length, struct decant_error *err)
{
	const uint64_t silence = clock_deadline_ns(peer->timeout_ns);
	struct decant_error why;
	int rc;

	assert(head_length + data_length <= WIRE_PAYLOAD_MAX);
	rc = peer_check(peer, err);
	if (rc < 0)
		return rc;
	{
		DECANT_AUTO_UNLOCK(&peer->send_lock);
		rc = send_locked(peer, type, head, head_length, data, data_length,
				 deadline_ns < silence ? deadline_ns : silence);
	}
	if (rc == 0)
		return 0;
	decant_error_set(&why, rc, "control connection: sending %s: %s", wire_strtype(type), strerror(-rc));
	peer_set_lost(peer, &why);
	return peer_check(peer, err);
}

int peer_send(struct peer *peer, uint16_t type, const void *head, size_t head_length, const void *data,
	      size_t data_length, struct decant_error *err)
{
	return peer_send_until(peer, CLOCK_NEVER, type, head, head_length, data, data_length, err);
}

size_t peer_error_encode(int code, const char *text, uint8_t bytes[PEER_ERROR_MAX])
{
	struct wire_error message = { .code = (uint32_t)(code < 0 ? -code : code) };

	/* the wire takes printable ASCII only; a message quotes names and bytes that may hold anything */
	for (size_t i = 0; text[i] != '\0' && i + 1 < sizeof(message.text); i++)
		message.text[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	return (size_t)wire_error_encode(&message, bytes, PEER_ERROR_MAX);
}

void peer_send_error(struct peer *peer, uint16_t type, int code, const char *text)
{
	uint8_t bytes[PEER_ERROR_MAX];

	peer_send(peer, type, bytes, peer_error_encode(code, text, bytes), NULL, 0, NULL);
}

/* Sends one of the reader's own messages, if that takes no waiting. */
static void send_if_free(struct peer *peer, uint16_t type, const void *head, size_t length)
{
	struct pollfd room = { .fd = peer->fd, .events = POLLOUT };
	struct decant_error why;
	int rc = 0;

	if (pthread_mutex_trylock(&peer->send_lock) != 0)
		return;
	/* POLLOUT on a TCP socket means that at least a third of its buffer is free: some thousand times our size */
	if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT))
		rc = send_locked(peer, type, head, length, NULL, 0, clock_deadline_ns(peer->timeout_ns));
	pthread_mutex_unlock(&peer->send_lock);
	/* a number that the peer will miss; but one that has gone may have said why, and that is still to be read */
	if (rc == 0 || rc == -ECONNRESET)
		return;
	decant_error_set(&why, rc, "control connection: sending %s: %s", wire_strtype(type), strerror(-rc));
	peer_set_lost(peer, &why);
}

/* ---- heartbeat and clocks ---- */

static void ping(struct peer *peer, uint64_t now)
{
	const struct wire_ping message = { .sent_ns = now };
	uint8_t head[64];
	int length = wire_ping_encode(&message, head, sizeof(head));

	send_if_free(peer, WIRE_PING, head, (size_t)length);
	peer->pings++;
	/* a few quick rounds first: the clocks must be matched before the shortest migration ends */
	peer->ping_due_ns = now + (peer->pings < PING_FAST_ROUNDS ? 2 * NSEC_PER_MSEC : peer->timeout_ns / 8);
}

static int answer_ping(struct peer *peer, const struct peer_message *message, uint64_t received_ns,
		       struct decant_error *err)
{
	struct wire_ping in;
	struct wire_pong out;
	uint8_t head[64];
	int rc = wire_ping_decode(&in, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	out.ping_sent_ns = in.sent_ns;
	out.received_ns = received_ns;
	out.sent_ns = clock_now_ns();
	rc = wire_pong_encode(&out, head, sizeof(head));
	send_if_free(peer, WIRE_PONG, head, (size_t)rc);
	return 0;
}

static uint64_t aged_error(const struct peer *peer, uint64_t now)
{
	return peer->clock_error_ns + (now - peer->clock_at_ns) * CLOCK_DRIFT_PPM / 1000000u;
}

static int take_pong(struct peer *peer, const struct peer_message *message, uint64_t t4, struct decant_error *err)
{
	struct wire_pong pong;
	uint64_t t1, trip, error;
	int rc = wire_pong_decode(&pong, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	t1 = pong.ping_sent_ns;
	trip = t4 - t1 - (pong.sent_ns - pong.received_ns);
	if (t1 > t4 || pong.sent_ns < pong.received_ns || trip > t4 - t1)
		return decant_error_set(err, -EPROTO, "PONG: stamps that run backwards");
	error = trip / 2 + 1;

	DECANT_AUTO_UNLOCK(&peer->lock);
	if (!peer->clock_known || trip < peer->round_trip_ns)
		peer->round_trip_ns = trip;
	if (!peer->clock_known || error <= aged_error(peer, t4)) {
		/* wraps rightly for any two 64-bit clocks */
		peer->clock_offset_ns = (int64_t)(pong.received_ns - t1) / 2 + (int64_t)(pong.sent_ns - t4) / 2;
		peer->clock_error_ns = error;
		peer->clock_at_ns = t4;
		peer->clock_known = true;
	}
	return 0;
}

bool peer_clock(struct peer *peer, int64_t *offset_ns, uint64_t *error_ns)
{
	DECANT_AUTO_UNLOCK(&peer->lock);
	*offset_ns = peer->clock_offset_ns;
	*error_ns = peer->clock_known ? aged_error(peer, clock_now_ns()) : 0;
	return peer->clock_known;
}

uint64_t peer_round_trip_ns(struct peer *peer)
{
	DECANT_AUTO_UNLOCK(&peer->lock);
	return peer->round_trip_ns;
}

/* ---- the reader thread ---- */

static int enqueue(struct peer *peer, struct peer_message *message)
{
	DECANT_AUTO_UNLOCK(&peer->lock);
	while (peer->queue_count == QUEUE_MESSAGES && !peer->closing && peer->lost.code == 0)
		pthread_cond_wait(&peer->changed, &peer->lock);
	if (peer->closing || peer->lost.code != 0) {
		peer_message_free(message);
		return -ECANCELED;
	}
	peer->queue[(peer->queue_first + peer->queue_count) % QUEUE_MESSAGES] = *message;
	peer->queue_count++;
	pthread_cond_broadcast(&peer->changed);
	return 0;
}

static int dispatch(struct peer *peer, struct peer_message *message, struct decant_error *err)
{
	const uint64_t now = clock_now_ns();
	int rc;

	if (message->type == WIRE_PING)
		rc = answer_ping(peer, message, now, err);
	else if (message->type == WIRE_PONG)
		rc = take_pong(peer, message, now, err);
	else {
		rc = peer->events->intercept(peer->opaque, message, err);
		if (rc == 0)
			return enqueue(peer, message);
		rc = rc > 0 ? 0 : rc;
	}
	peer_message_free(message);
	return rc;
}

static int read_message(struct peer *peer, struct peer_message *message, struct decant_error *err)
{
	const uint64_t deadline = clock_deadline_ns(peer->timeout_ns);
	uint8_t bytes[WIRE_HEADER_SIZE];
	struct wire_header header;
	int rc;

	rc = io_recv_full(peer->fd, bytes, sizeof(bytes), deadline, peer->wake_fd);
	if (rc == 0)
		rc = wire_header_decode(&header, bytes, err);
	else
		return decant_error_set(err, rc, "control connection: %s",
					rc == -ECONNRESET ? "closed by the peer" : strerror(-rc));
	if (rc < 0)
		return rc;
	if (header.sequence != peer->received)
		return decant_error_set(err, -EPROTO, "control connection: message %u came as number %u",
					peer->received, header.sequence);
	peer->received++;
	message->type = header.type;
	message->length = header.length;
	message->home = &peer->payloads;
	message->payload = payloads_take(&peer->payloads, header.length);
	if (message->payload == NULL)
		return decant_error_set(err, -ENOMEM, "control connection: no memory for a %s of %u bytes",
					wire_strtype(header.type), header.length);
	rc = io_recv_full(peer->fd, message->payload, header.length, deadline, peer->wake_fd);
	if (rc < 0) {
		peer_message_free(message);
		return decant_error_set(err, rc, "control connection: inside a %s: %s", wire_strtype(header.type),
					strerror(-rc));
	}
	peer->heard_ns = clock_now_ns();
	return 0;
}

/* Waits for the next message, pinging meanwhile; 0 when there is something to read. */
static int await_message(struct peer *peer, struct decant_error *err)
{
	for (;;) {
		const uint64_t now = clock_now_ns();
		const uint64_t gone = peer->heard_ns + peer->timeout_ns;
		int rc;

		if (now >= peer->ping_due_ns)
			ping(peer, now);
		/* looked at before the time is: this thread may have been the one that was away */
		rc = io_wait(peer->fd, POLLIN, peer->ping_due_ns < gone ? peer->ping_due_ns : gone, peer->wake_fd);
		if (rc != -ETIMEDOUT)
			return rc == 0 ? 0 : decant_error_set(err, rc, "control connection: %s", strerror(-rc));
		if (now >= gone)
			return decant_error_set(err, rc, "control connection: no sign of the peer for %llu ms",
						(unsigned long long)(peer->timeout_ns / NSEC_PER_MSEC));
	}
}

/* An end that lives and was not heard in time would else see a connection that closes for no reason. */
static void say_silence(struct peer *peer, const struct decant_error *why)
{
	uint8_t bytes[PEER_ERROR_MAX];

	send_if_free(peer, WIRE_ERROR, bytes, peer_error_encode(why->code, why->msg, bytes));
}

static void *reader_main(void *argument)
{
	struct peer *peer = argument;
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	int rc;

	do {
		rc = await_message(peer, &err);
		if (rc == 0)
			rc = read_message(peer, &message, &err);
		if (rc == 0)
			rc = dispatch(peer, &message, &err);
	} while (rc == 0);

	if (err.code == 0)
		decant_error_set(&err, rc, "control connection: %s", strerror(-rc));
	if (err.code == -ETIMEDOUT)
		say_silence(peer, &err);
	peer_set_lost(peer, &err);
	peer_check(peer, &err);
	if (peer->events->lost != NULL)
		peer->events->lost(peer->opaque, &err);
	DECANT_AUTO_UNLOCK(&peer->lock);
	peer->cpu_ns = clock_thread_cpu_ns();
	return NULL;
}

/* ---- receiving ---- */

int peer_receive(struct peer *peer, uint64_t deadline_ns, struct peer_message *message, struct decant_error *err)
{
	const struct timespec until = clock_timespec(deadline_ns);
	int rc = 0;

	{
		DECANT_AUTO_UNLOCK(&peer->lock);
		while (peer->queue_count == 0 && peer->lost.code == 0 && !peer->woken && rc == 0)
			rc = pthread_cond_clockwait(&peer->changed, &peer->lock, CLOCK_MONOTONIC, &until);
		if (peer->woken) {
			peer->woken = false;
			return decant_error_set(err, -ECANCELED, "cancelled");
		}
		if (peer->queue_count == 0) {
			if (peer->lost.code == 0)
				return decant_error_set(err, -ETIMEDOUT, "no answer from the peer in time");
			if (err != NULL)
				*err = peer->lost;
			return peer->lost.code;
		}
		*message = peer->queue[peer->queue_first];
		peer->queue_first = (peer->queue_first + 1) % QUEUE_MESSAGES;
		peer->queue_count--;
		pthread_cond_broadcast(&peer->changed);
	}
	if (message->type != WIRE_ERROR)
		return 0;
	rc = peer_error_decode(message->payload, message->length, err);
	peer_message_free(message);
	return rc;
}

void peer_message_free(struct peer_message *message)
{
	payloads_give(message->home, message->payload);
	message->payload = NULL;
}

void peer_wake(struct peer *peer)
{
	DECANT_AUTO_UNLOCK(&peer->lock);
	peer->woken = true;
	pthread_cond_broadcast(&peer->changed);
}

/* ---- life ---- */

int peer_new(const struct peer_opts *opts, struct peer **out, struct decant_error *err)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int rc;

	if (peer == NULL)
		return decant_error_set(err, -ENOMEM, "control connection: out of memory");
	peer->fd = opts->fd;
	peer->received = opts->received;
	peer->sent = opts->sent;
	peer->timeout_ns = opts->timeout_ns;
	peer->events = opts->events;
	peer->opaque = opts->opaque;
	peer->log = opts->log;
	peer->heard_ns = clock_now_ns();
	pthread_mutex_init(&peer->send_lock, NULL);
	pthread_mutex_init(&peer->lock, NULL);
	pthread_cond_init(&peer->changed, NULL);
	rc = payloads_init(&peer->payloads);
	if (rc < 0)
		goto err_free;
	peer->wake_fd = io_wake_new();
	rc = peer->wake_fd;
	if (rc < 0)
		goto err_destroy_payloads;
	/* before there is a reader: what it finds in the socket may make its owner use the peer at once */
	*out = peer;
	rc = thread_start(&peer->reader, "decant-control", reader_main, peer);
	if (rc < 0)
		goto err_close_wake;
	return 0;

err_close_wake:
	*out = NULL;
	close(peer->wake_fd);
err_destroy_payloads:
	payloads_destroy(&peer->payloads);
err_free:
	free(peer);
	return decant_error_set(err, rc, "control connection: starting its thread: %s", strerror(-rc));
}

int peer_reserve(struct peer *peer, size_t length, struct decant_error *err)
{
	const int rc = payloads_reserve(&peer->payloads, length);

	return rc == -ENOMEM ? decant_error_set(err, rc, "control connection: no memory for messages to come") : 0;
}

uint64_t peer_cpu_ns(struct peer *peer)
{
	struct timespec spent;
	clockid_t clock;

	DECANT_AUTO_UNLOCK(&peer->lock);
	if (peer->cpu_ns != 0 || pthread_getcpuclockid(peer->reader, &clock) != 0 ||
	    clock_gettime(clock, &spent) != 0)
		return peer->cpu_ns;
	return (uint64_t)spent.tv_sec * NSEC_PER_SEC + (uint64_t)spent.tv_nsec;
}

void peer_abort(struct peer *peer)
{
	const struct linger discard = { .l_onoff = 1, .l_linger = 0 };
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct decant_error why;

	decant_error_set(&why, -ECONNABORTED, "control connection: aborted at this end");
	/* with the send lock, so that no message is cut in two by us and completed by nobody */
	DECANT_AUTO_UNLOCK(&peer->send_lock);
	{
		DECANT_AUTO_UNLOCK(&peer->lock);
		if (peer->lost.code == 0)
			peer->lost = why;
	}
	/* a close would wait for the reader; this makes TCP drop what it holds and say RST at once */
	setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &discard, sizeof(discard));
	if (connect(peer->fd, &nowhere, sizeof(nowhere)) < 0)
		log_debug(&peer->log, "control connection: reset at close only: %s", strerror(errno));
	io_wake_set(peer->wake_fd);
}

void peer_hang_up(struct peer *peer)
{
	DECANT_AUTO_UNLOCK(&peer->send_lock);
	shutdown(peer->fd, SHUT_WR);
}

void peer_stop(struct peer *peer)
{
	struct decant_error why;
	bool joined;

	decant_error_set(&why, -ECONNABORTED, "control connection: closed at this end");
	{
		DECANT_AUTO_UNLOCK(&peer->lock);
		joined = peer->closing;
		peer->closing = true;
		if (peer->lost.code == 0)
			peer->lost = why;
		pthread_cond_broadcast(&peer->changed);
	}
	if (joined)
		return;
	io_wake_set(peer->wake_fd);
	pthread_join(peer->reader, NULL);
}

void peer_close(struct peer *peer)
{
	if (peer == NULL)
		return;
	peer_stop(peer);
	for (; peer->queue_count > 0; peer->queue_count--) {
		peer_message_free(&peer->queue[peer->queue_first]);
		peer->queue_first = (peer->queue_first + 1) % QUEUE_MESSAGES;
	}
	payloads_destroy(&peer->payloads);
	close(peer->fd);
	close(peer->wake_fd);
	pthread_cond_destroy(&peer->changed);
	pthread_mutex_destroy(&peer->lock);
	pthread_mutex_destroy(&peer->send_lock);
	free(peer);
}
