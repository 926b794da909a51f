/* SPDX-License-Identifier: BSD-2-Clause */
/* greeter.c -- the destination's door */
#include "migration/greeter.h"

#include "migration/peer.h"
#include "util/address.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include "util/thread.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETINGS_MAX 32u
#define BACKLOG 64

struct greeter {
	/* set at creation, read-only after */
	struct greeter_opts opts;
	struct address address;
	int listener;
	int wake_fd;
	pthread_t thread;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t greetings;
};

struct greeting {
	struct greeter *greeter;
	int fd;
	struct address peer;
};

static int send_welcome(struct greeting *greeting, const struct wire_welcome *welcome, uint64_t deadline,
			struct decant_error *err)
{
	uint8_t head[WIRE_WELCOME_MAX];
	const int length = wire_welcome_encode(welcome, head, sizeof(head));

	if (length < 0)
		return decant_error_set(err, length, "WELCOME cannot be encoded");
	return peer_handshake_send(greeting->fd, 0, WIRE_WELCOME, head, (size_t)length, deadline,
				   greeting->greeter->wake_fd, err);
}

static int answer_query(struct greeting *greeting, const struct wire_hello *hello, uint64_t deadline,
			struct decant_error *err)
{
	struct greeter *greeter = greeting->greeter;
	struct wire_welcome welcome = { .version = WIRE_VERSION_MAX };
	struct wire_status status;
	uint8_t head[64];
	int rc;

	greeter->opts.welcome(greeter->opts.opaque, &welcome);
	welcome.features &= hello->features;
	rc = send_welcome(greeting, &welcome, deadline, err);
	if (rc < 0)
		return rc;
	status.fate = greeter->opts.fate(greeter->opts.opaque, hello->id);
	rc = wire_status_encode(&status, head, sizeof(head));
	return peer_handshake_send(greeting->fd, 1, WIRE_STATUS, head, (size_t)rc, deadline, greeter->wake_fd,
				   err);
}

static void refuse(struct greeting *greeting, const struct decant_error *why, uint64_t deadline)
{
	uint8_t bytes[PEER_ERROR_MAX];

	peer_handshake_send(greeting->fd, 0, WIRE_ERROR, bytes, peer_error_encode(why->code, why->msg, bytes),
			    deadline, greeting->greeter->wake_fd, NULL);
}

/* Reads HELLO and acts on it. 0: done with the socket; 1: it has a new owner. */
static int greet(struct greeting *greeting, struct decant_error *err)
{
	struct greeter *greeter = greeting->greeter;
	const uint64_t deadline = clock_deadline_ns(greeter->opts.hello_timeout_ns);
	struct wire_hello hello;
	uint8_t payload[512];
	uint32_t length;
	int rc;

	rc = peer_handshake_receive(greeting->fd, 0, WIRE_HELLO, payload, sizeof(payload), &length, deadline,
				    greeter->wake_fd, err);
	if (rc == 0)
		rc = wire_hello_decode(&hello, payload, length, err);
	if (rc == 0 && hello.purpose == WIRE_PURPOSE_QUERY)
		return answer_query(greeting, &hello, deadline, err);
	if (rc == 0)
		rc = greeter->opts.offer(greeter->opts.opaque, greeting->fd, &hello, err);
	if (rc == 0)
		return 1;
	refuse(greeting, err, deadline);
	return rc;
}

static bool reserve_greeting(struct greeter *greeter)
{
	DECANT_AUTO_UNLOCK(&greeter->lock);
	if (greeter->greetings == GREETINGS_MAX)
		return false;
	greeter->greetings++;
	return true;
}

static void release_greeting(struct greeter *greeter)
{
	DECANT_AUTO_UNLOCK(&greeter->lock);
	greeter->greetings--;
	pthread_cond_broadcast(&greeter->changed);
}

static void *greeting_main(void *argument)
{
	struct greeting *greeting = argument;
	struct greeter *greeter = greeting->greeter;
	struct decant_error err = DECANT_ERROR_INIT;
	char text[ADDRESS_TEXT_MAX];
	const int rc = greet(greeting, &err);

	if (rc < 0 && rc != -ECANCELED)
		log_warning(&greeter->opts.log, "refused %s: %s", address_format(&greeting->peer, text), err.msg);
	if (rc != 1)
		close(greeting->fd);
	free(greeting);
	release_greeting(greeter);
	return NULL;
}

static int start_greeting(struct greeter *greeter, int fd)
{
	struct greeting *greeting = NULL;
	int rc = -ENOMEM;

	if (!reserve_greeting(greeter))
		return -EAGAIN;
	greeting = calloc(1, sizeof(*greeting));
	if (greeting == NULL)
		goto err_release;
	greeting->greeter = greeter;
	greeting->fd = fd;
	address_peer(fd, &greeting->peer);
	rc = thread_start_detached(greeting_main, greeting);
	if (rc < 0)
		goto err_release;
	return 0;

err_release:
	free(greeting);
	release_greeting(greeter);
	return rc;
}

static void *accept_main(void *argument)
{
	struct greeter *greeter = argument;
	struct decant_error err;
	int fd, rc;

	for (;;) {
		fd = address_accept(greeter->listener, CLOCK_NEVER, greeter->wake_fd, &err);
		if (fd == -ECANCELED)
			return NULL;
		if (fd < 0) {
			/* out of descriptors, most likely: waiting is all that helps */
			log_warning(&greeter->opts.log, "%s", err.msg);
			if (io_wait(-1, 0, clock_deadline_ns(100 * NSEC_PER_MSEC), greeter->wake_fd) == -ECANCELED)
				return NULL;
			continue;
		}
		rc = start_greeting(greeter, fd);
		if (rc < 0) {
			log_warning(&greeter->opts.log, "a connection is turned away: %s",
				    rc == -EAGAIN ? "too many at once" : strerror(-rc));
			close(fd);
		}
	}
}

int greeter_new(const struct greeter_opts *opts, struct greeter **out, struct decant_error *err)
{
	struct greeter *greeter;
	struct address address;
	int rc = address_parse(opts->listen, &address, err);

	if (rc < 0)
		return rc;
	greeter = calloc(1, sizeof(*greeter));
	if (greeter == NULL)
		return decant_error_set(err, -ENOMEM, "receiver: out of memory");
	greeter->opts = *opts;
	pthread_mutex_init(&greeter->lock, NULL);
	pthread_cond_init(&greeter->changed, NULL);
	greeter->listener = address_listen(&address, BACKLOG, err);
	rc = greeter->listener;
	if (rc < 0)
		goto err_free;
	rc = address_local(greeter->listener, &greeter->address);
	if (rc == 0)
		rc = greeter->wake_fd = io_wake_new();
	if (rc < 0) {
		decant_error_set(err, rc, "receiver: %s", strerror(-rc));
		goto err_close_listener;
	}
	rc = thread_start(&greeter->thread, "decant-greeter", accept_main, greeter);
	if (rc < 0) {
		decant_error_set(err, rc, "receiver: starting its thread: %s", strerror(-rc));
		goto err_close_wake;
	}
	*out = greeter;
	return 0;

err_close_wake:
	close(greeter->wake_fd);
err_close_listener:
	close(greeter->listener);
err_free:
	free(greeter);
	return rc;
}

const char *greeter_host(const struct greeter *greeter)
{
	return greeter->address.host;
}

uint16_t greeter_port(const struct greeter *greeter)
{
	return greeter->address.port;
}

void greeter_free(struct greeter *greeter)
{
	if (greeter == NULL)
		return;
	io_wake_set(greeter->wake_fd);
	pthread_join(greeter->thread, NULL);
	pthread_mutex_lock(&greeter->lock);
	while (greeter->greetings > 0)
		pthread_cond_wait(&greeter->changed, &greeter->lock);
	pthread_mutex_unlock(&greeter->lock);
	close(greeter->listener);
	close(greeter->wake_fd);
	pthread_cond_destroy(&greeter->changed);
	pthread_mutex_destroy(&greeter->lock);
	free(greeter);
}
