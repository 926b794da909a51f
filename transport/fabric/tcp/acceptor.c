/* SPDX-License-Identifier: BSD-2-Clause */
/* acceptor.c -- the thread that answers hellos of a TCP sink */
#include "fabric/tcp/acceptor.h"

#include "fabric/tcp/tcp.h"
#include "fabric/token.h"
#include "util/address.h"
#include "util/io.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* the pause after accept(2) has failed for lack of descriptors or memory */
#define ACCEPTOR_RETRY_MS 100
#define ACCEPTOR_BACKLOG 64

static void acceptor_forget(struct acceptor *acceptor, uint32_t index)
{
	acceptor->strangers--;
	memmove(&acceptor->stranger[index], &acceptor->stranger[index + 1],
		(acceptor->strangers - index) * sizeof(acceptor->stranger[0]));
}

/* Once in a while per address and @cause: who it is can come as often as he likes. */
static void acceptor_show_out(struct acceptor *acceptor, uint32_t index, int cause, const char *why)
{
	const int fd = acceptor->stranger[index].fd;
	struct address peer = { .port = 0 };
	uint64_t silent;

	address_peer(fd, &peer);
	if (seldom_now(&acceptor->seldom, peer.host, cause, clock_now_ns(), &silent))
		log_notice(&acceptor->log,
			   "tcp sink: port %u: a connection is closed: %s (%" PRIu64 " like it were not logged)",
			   acceptor->port, why, silent);
	close(fd);
	acceptor_forget(acceptor, index);
}

/* an answer never waits: the socket's buffer is empty, and whoever has it full is no peer of ours */
static int acceptor_answer(int fd, uint16_t type, uint64_t value, const uint8_t *answer)
{
	const struct frame_head head = { .type = type, .value = value };
	uint8_t bytes[FRAME_HEAD_SIZE + FRAME_ANSWER_SIZE];
	size_t length = FRAME_HEAD_SIZE;

	frame_head_encode(&head, bytes);
	if (answer != NULL) {
		memcpy(bytes + length, answer, FRAME_ANSWER_SIZE);
		length += FRAME_ANSWER_SIZE;
	}
	return send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length ? 0 : -EPIPE;
}

/* 0: let it in; else enum frame_refusal */
static int acceptor_judge(const struct acceptor *acceptor, const struct frame_hello *hello)
{
	if (hello->version != FRAME_VERSION)
		return FRAME_REFUSED_VERSION;
	if (hello->epoch != acceptor->epoch)
		return FRAME_REFUSED_EPOCH;
	if (hello->channel >= acceptor->channels)
		return FRAME_REFUSED_CHANNEL;
	if (!token_equal(hello->token, acceptor->tokens[hello->channel]))
		return FRAME_REFUSED_TOKEN;
	if (clock_now_ns() >= acceptor->tokens_until_ns)
		return FRAME_REFUSED_EXPIRED;
	return acceptor->taken[hello->channel] ? FRAME_REFUSED_CHANNEL : 0;
}

static void acceptor_let_in(struct acceptor *acceptor, uint32_t index, uint32_t channel)
{
	const int fd = acceptor->stranger[index].fd;
	struct decant_error err = DECANT_ERROR_INIT;

	if (acceptor_answer(fd, FRAME_OK, channel == 0 ? TCP_CREDITS : 0, acceptor->answers[channel]) < 0) {
		acceptor_show_out(acceptor, index, -EPIPE, "it is gone before it was answered");
	} else if (acceptor->admit(acceptor->opaque, channel, fd, &err) < 0) {
		acceptor_show_out(acceptor, index, err.code, err.msg);
	} else {
		acceptor_forget(acceptor, index);
		acceptor->taken[channel] = true;
		acceptor->admitted++;
	}
}

/* a whole hello is there, or at least its head */
static void acceptor_examine(struct acceptor *acceptor, uint32_t index)
{
	struct acceptor_stranger *stranger = &acceptor->stranger[index];
	struct decant_error err = DECANT_ERROR_INIT;
	struct frame_head head;
	struct frame_hello hello;
	int refusal;

	if (frame_head_decode(&head, stranger->bytes, &err) < 0 || head.type != FRAME_HELLO) {
		acceptor_show_out(acceptor, index, -EPROTO,
				  err.code != 0 ? err.msg : "its first frame is no HELLO");
		return;
	}
	if (stranger->have < sizeof(stranger->bytes))
		return;
	if (frame_hello_decode(&hello, stranger->bytes + FRAME_HEAD_SIZE, &err) < 0) {
		acceptor_show_out(acceptor, index, -EPROTO, err.msg);
		return;
	}
	refusal = acceptor_judge(acceptor, &hello);
	if (refusal == 0) {
		acceptor_let_in(acceptor, index, hello.channel);
	} else {
		acceptor_answer(stranger->fd, FRAME_REFUSED, (uint64_t)refusal, NULL);
		acceptor_show_out(acceptor, index, refusal, frame_strrefusal((uint64_t)refusal));
	}
}

static void acceptor_listen_to(struct acceptor *acceptor, uint32_t index)
{
	struct acceptor_stranger *stranger = &acceptor->stranger[index];
	const ssize_t n = recv(stranger->fd, stranger->bytes + stranger->have,
			       sizeof(stranger->bytes) - stranger->have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		acceptor_show_out(acceptor, index, -ECONNRESET, "it ended before its HELLO did");
		return;
	}
	stranger->have += (size_t)n;
	if (stranger->have >= FRAME_HEAD_SIZE)
		acceptor_examine(acceptor, index);
}

/* false: accept(2) cannot, for now */
static bool acceptor_accept(struct acceptor *acceptor)
{
	const int fd = accept4(acceptor->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
	if (acceptor->strangers == ACCEPTOR_STRANGERS_MAX)
		acceptor_show_out(acceptor, 0, -EAGAIN, "too many wait to say hello, and it is the oldest");
	acceptor->stranger[acceptor->strangers++] = (struct acceptor_stranger){
		.fd = fd,
		.deadline_ns = clock_deadline_ns(ACCEPTOR_HELLO_NS),
	};
	return true;
}

/* the order of the strangers is the order of their deadlines */
static void acceptor_expire(struct acceptor *acceptor)
{
	const uint64_t now_ns = clock_now_ns();

	while (acceptor->strangers > 0 && acceptor->stranger[0].deadline_ns <= now_ns)
		acceptor_show_out(acceptor, 0, -ETIMEDOUT, "it did not say HELLO in time");
}

/* one round of waiting; false: woken to stop */
static bool acceptor_serve(struct acceptor *acceptor)
{
	struct pollfd set[ACCEPTOR_STRANGERS_MAX + 2];
	const uint32_t strangers = acceptor->strangers;
	const uint64_t deadline_ns = strangers > 0 ? acceptor->stranger[0].deadline_ns : CLOCK_NEVER;

	set[0] = (struct pollfd){ .fd = acceptor->wake_fd, .events = POLLIN };
	set[1] = (struct pollfd){ .fd = acceptor->listener, .events = POLLIN };
	for (uint32_t i = 0; i < strangers; i++)
		set[2 + i] = (struct pollfd){ .fd = acceptor->stranger[i].fd, .events = POLLIN };
	if (poll(set, 2 + strangers, clock_poll_ms(deadline_ns)) < 0)
		return errno == EINTR;
	if (set[0].revents != 0)
		return false;
	/* from the last to the first, since those that go are taken out */
	for (uint32_t i = strangers; i > 0; i--) {
		if (set[1 + i].revents != 0)
			acceptor_listen_to(acceptor, i - 1);
	}
	acceptor_expire(acceptor);
	if (set[1].revents != 0 && !acceptor_accept(acceptor))
		poll(set, 1, ACCEPTOR_RETRY_MS);
	return true;
}

static void *acceptor_main(void *arg)
{
	struct acceptor *acceptor = arg;

	while (acceptor->admitted < acceptor->channels && acceptor_serve(acceptor))
		;
	while (acceptor->strangers > 0)
		acceptor_show_out(acceptor, 0, -ECANCELED, "all channels stand, or are given up");
	close(acceptor->listener);
	atomic_store_explicit(&acceptor->cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
	return NULL;
}

int acceptor_start(struct acceptor *acceptor, const char *host, struct decant_error *err)
{
	struct address address = { .port = 0 };
	int rc;

	snprintf(address.host, sizeof(address.host), "%s", host);
	seldom_init(&acceptor->seldom);
	acceptor->wake_fd = io_wake_new();
	if (acceptor->wake_fd < 0) {
		seldom_destroy(&acceptor->seldom);
		return decant_error_set(err, acceptor->wake_fd, "eventfd: %s", strerror(-acceptor->wake_fd));
	}
	rc = address_listen(&address, ACCEPTOR_BACKLOG, err);
	if (rc < 0)
		goto err_wake;
	acceptor->listener = rc;
	rc = address_local(acceptor->listener, &address);
	if (rc < 0) {
		decant_error_set(err, rc, "getsockname: %s", strerror(-rc));
		goto err_listener;
	}
	acceptor->port = address.port;
	rc = tcp_thread_start(&acceptor->thread, "tcp-accept", acceptor_main, acceptor, err);
	if (rc < 0)
		goto err_listener;
	return 0;

err_listener:
	close(acceptor->listener);
err_wake:
	close(acceptor->wake_fd);
	seldom_destroy(&acceptor->seldom);
	return rc;
}

void acceptor_stop(struct acceptor *acceptor)
{
	io_wake_set(acceptor->wake_fd);
	pthread_join(acceptor->thread, NULL);
	close(acceptor->wake_fd);
	seldom_destroy(&acceptor->seldom);
}
