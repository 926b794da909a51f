/* SPDX-License-Identifier: BSD-2-Clause */
/* greeter.c -- the destination's door */
#include "migration/greeter.h"

#include "util/address.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include "util/seldom.h"
#include "util/thread.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETINGS_MAX 32u

/* A crowd must not make one who is right wait for a second SYN: the kernel sends that after a second. */
#define BACKLOG 1024
#define CAUSE_LENGTH 24

/* How long the door waits for one who was shown out to be gone. */
#define SHOWN_OUT_NS NSEC_PER_SEC

struct greeting {
	/* set at creation, read-only after */
	struct greeter *greeter;
	struct handshake handshake;
	struct address peer;

	/* protected by greeter.lock */
	bool known;     /* has said HELLO, and proved the key if there is one: is not shown out */
	bool shown_out; /* its socket is shut */
};

struct greeter {
	/* set at creation, read-only after */
	struct greeter_opts opts;
	struct address address;
	int listener;
	int wake_fd;
	pthread_t thread;
	struct seldom seldom;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t greetings;
	struct greeting *greeting[GREETINGS_MAX]; /* oldest first */
};

/* What a text begins with tells more than its code does, and what it quotes of a stranger comes later. */
static int cause_of(int code, const char *text)
{
	unsigned int cause = (unsigned int)code;

	for (size_t i = 0; i < CAUSE_LENGTH && text[i] != '\0'; i++)
		cause = cause * 31 + (unsigned char)text[i];
	return (int)cause;
}

static void complain(struct greeter *greeter, const struct address *peer, int code, const char *text)
{
	char who[ADDRESS_TEXT_MAX];
	uint64_t silent;

	if (!seldom_now(&greeter->seldom, peer->host, cause_of(code, text), clock_now_ns(), &silent))
		return;
	if (silent > 0)
		log_warning(&greeter->opts.log, "refused %s: %s (%llu more like it were not logged)",
			    address_format(peer, who), text, (unsigned long long)silent);
	else
		log_warning(&greeter->opts.log, "refused %s: %s", address_format(peer, who), text);
}

/* ---- one greeting ---- */

/* From here on it is not shown out; false: it has been. */
static bool get_known(struct greeting *greeting)
{
	DECANT_AUTO_UNLOCK(&greeting->greeter->lock);
	greeting->known = !greeting->shown_out;
	return greeting->known;
}

static bool was_shown_out(struct greeting *greeting)
{
	DECANT_AUTO_UNLOCK(&greeting->greeter->lock);
	return greeting->shown_out;
}

static int answer_query(struct greeting *greeting, const struct wire_hello *hello, struct decant_error *err)
{
	struct greeter *greeter = greeting->greeter;
	struct wire_welcome welcome = { .version = WIRE_VERSION_MAX };
	struct wire_status status;

	greeter->opts.welcome(greeter->opts.opaque, &welcome);
	welcome.features &= hello->features;
	/* told before WELCOME is sent, but it is only getting surer */
	status.fate = greeter->opts.fate(greeter->opts.opaque, hello->id);
	return handshake_answer(&greeting->handshake, &welcome, &status, err);
}

/* Hears HELLO and acts on it. 0: done with the socket; 1: it has a new owner. */
static int greet(struct greeting *greeting, struct decant_error *err)
{
	struct greeter *greeter = greeting->greeter;
	struct handshake *handshake = &greeting->handshake;
	struct wire_hello hello;
	int rc;

	handshake->deadline_ns = clock_deadline_ns(greeter->opts.hello_timeout_ns);
	rc = handshake_hear(handshake, &hello, err);
	if (rc == 0 && !get_known(greeting))
		rc = decant_error_set(err, -ECONNABORTED, "too many at once");
	if (rc == 0 && hello.purpose == WIRE_PURPOSE_QUERY)
		return answer_query(greeting, &hello, err);
	if (rc == 0)
		rc = greeter->opts.offer(greeter->opts.opaque, handshake, &hello, err);
	if (rc == 0)
		return 1;
	handshake_refuse(handshake, err);
	return rc;
}

/* The socket is shut from outside only while the greeting is in the list. */
static void greeting_end(struct greeting *greeting, bool owns_socket)
{
	struct greeter *greeter = greeting->greeter;
	uint32_t i = 0;

	DECANT_AUTO_UNLOCK(&greeter->lock);
	while (greeter->greeting[i] != greeting)
		i++;
	greeter->greetings--;
	for (; i < greeter->greetings; i++)
		greeter->greeting[i] = greeter->greeting[i + 1];
	if (owns_socket)
		close(greeting->handshake.fd);
	auth_wipe(&greeting->handshake.auth);
	free(greeting);
	/* last: who frees the greeter waits for it */
	pthread_cond_broadcast(&greeter->changed);
}

static void *greeting_main(void *argument)
{
	struct greeting *greeting = argument;
	struct decant_error err = DECANT_ERROR_INIT;
	const int rc = greet(greeting, &err);

	if (was_shown_out(greeting))
		decant_error_set(&err, -EAGAIN, "too many at once, and it is the oldest");
	if (err.code != 0 && rc != -ECANCELED)
		complain(greeting->greeter, &greeting->peer, err.code, err.msg);
	greeting_end(greeting, rc != 1);
	return NULL;
}

/* ---- the door ---- */

static uint32_t count_host(const struct greeter *greeter, const char *host)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < greeter->greetings; i++)
		count += strcmp(greeter->greeting[i]->peer.host, host) == 0;
	return count;
}

/* Of the address that has most of them the oldest; lock held. One that comes through in time is never in the way for long. */
static void show_one_out(struct greeter *greeter)
{
	struct greeting *worst = NULL;
	uint32_t most = 0;

	for (uint32_t i = 0; i < greeter->greetings; i++) {
		struct greeting *greeting = greeter->greeting[i];
		const uint32_t count = count_host(greeter, greeting->peer.host);

		if (greeting->shown_out)
			return; /* it is on its way */
		if (!greeting->known && count > most) {
			worst = greeting;
			most = count;
		}
	}
	if (worst == NULL)
		return;
	worst->shown_out = true;
	shutdown(worst->handshake.fd, SHUT_RDWR);
}

/* A place in the list, which is the greeting's from then on; -EAGAIN: there is none, even after a while. */
static int take_in(struct greeter *greeter, struct greeting *greeting)
{
	const struct timespec until = clock_timespec(clock_deadline_ns(SHOWN_OUT_NS));
	int rc = 0;

	DECANT_AUTO_UNLOCK(&greeter->lock);
	while (greeter->greetings == GREETINGS_MAX && rc == 0) {
		show_one_out(greeter);
		rc = pthread_cond_clockwait(&greeter->changed, &greeter->lock, CLOCK_MONOTONIC, &until);
	}
	if (greeter->greetings == GREETINGS_MAX)
		return -EAGAIN;
	greeter->greeting[greeter->greetings++] = greeting;
	return 0;
}

static int start_greeting(struct greeter *greeter, int fd)
{
	struct greeting *greeting = calloc(1, sizeof(*greeting));
	int rc = -ENOMEM;

	if (greeting != NULL) {
		greeting->greeter = greeter;
		greeting->handshake.fd = fd;
		greeting->handshake.wake_fd = greeter->wake_fd;
		greeting->handshake.auth.key = greeter->opts.key;
		address_peer(fd, &greeting->peer);
		rc = take_in(greeter, greeting);
	}
	if (rc < 0) {
		free(greeting);
		return rc;
	}
	rc = thread_start_detached(greeting_main, greeting);
	if (rc < 0)
		greeting_end(greeting, false);
	return rc;
}

static void turn_away(struct greeter *greeter, int fd, int code)
{
	struct address peer = { .port = 0 };

	address_peer(fd, &peer);
	complain(greeter, &peer, code, code == -EAGAIN ? "too many at once" : strerror(-code));
	close(fd);
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
		if (rc < 0)
			turn_away(greeter, fd, rc);
	}
}

static void greeter_destroy(struct greeter *greeter)
{
	pthread_cond_destroy(&greeter->changed);
	pthread_mutex_destroy(&greeter->lock);
	seldom_destroy(&greeter->seldom);
	free(greeter);
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
	seldom_init(&greeter->seldom);
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
	greeter_destroy(greeter);
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
	uint64_t silent;

	if (greeter == NULL)
		return;
	io_wake_set(greeter->wake_fd);
	pthread_join(greeter->thread, NULL);
	pthread_mutex_lock(&greeter->lock);
	while (greeter->greetings > 0)
		pthread_cond_wait(&greeter->changed, &greeter->lock);
	pthread_mutex_unlock(&greeter->lock);
	silent = seldom_rest(&greeter->seldom);
	if (silent > 0)
		log_warning(&greeter->opts.log, "%llu more were refused, and not logged",
			    (unsigned long long)silent);
	close(greeter->listener);
	close(greeter->wake_fd);
	greeter_destroy(greeter);
}
