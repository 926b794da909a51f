/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c -- the control socket's server
 *
 * One epoll descriptor holds the listener, the clients and an eventfd by which other threads say that they have published
 * something; so the owner's loop polls one descriptor. Nothing here waits for a client: what it does not read is kept, up
 * to a limit, and then the client is cut off.
 */
#include "vmm/control.h"
#include "qemu/json.h"

#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct control_client {
	struct control *control;
	int fd;        /* -1: the place is free */
	int passed_fd; /* came with what is in @input; -1: none */
	bool watching;
	bool closing; /* as soon as its output is written */
	bool eof;
	char *output;
	size_t output_length;
	size_t input_length;
	char input[CONTROL_LINE_MAX];
};

struct control_event {
	struct control_event *next;
	bool last;
	struct json_object *json;
};

struct control {
	/* set at creation, read-only after */
	int epoll_fd;
	int wake_fd;
	control_request_fn *request;
	void *opaque;

	/* the owner's thread only */
	struct control_claim claim;
	struct control_client client[CONTROL_CLIENTS_MAX];

	pthread_mutex_t lock; /* protects the list of what is published */
	struct control_event *first;
	struct control_event **tail;
};

static void control_client_drop_fd(struct control_client *client)
{
	if (client->passed_fd >= 0)
		close(client->passed_fd);
	client->passed_fd = -1;
}

static void control_client_close(struct control_client *client)
{
	control_client_drop_fd(client);
	close(client->fd);
	free(client->output);
	client->fd = -1;
	client->output = NULL;
	client->output_length = 0;
	client->input_length = 0;
	client->watching = false;
	client->closing = false;
	client->eof = false;
}

static void control_client_watch_fd(struct control_client *client)
{
	struct epoll_event event = { .data.ptr = client };

	event.events = (client->closing || client->eof ? 0 : EPOLLIN) | (client->output_length > 0 ? EPOLLOUT : 0);
	epoll_ctl(client->control->epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

static void control_client_flush(struct control_client *client)
{
	size_t done = 0;

	while (done < client->output_length) {
		ssize_t sent = send(client->fd, client->output + done, client->output_length - done,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN) {
			control_client_close(client);
			return;
		}
		if (sent < 0)
			break;
		done += (size_t)sent;
	}
	if (done > 0)
		memmove(client->output, client->output + done, client->output_length - done);
	client->output_length -= done;
	if (client->output_length == 0 && (client->closing || (client->eof && !client->watching)))
		control_client_close(client);
	else
		control_client_watch_fd(client);
}

static void control_client_send(struct control_client *client, struct json_object *json)
{
	const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
	size_t length = strlen(text);
	char *output;

	if (client->fd < 0)
		return;
	output = client->output_length + length + 1 <= CONTROL_OUTPUT_MAX
			 ? realloc(client->output, client->output_length + length + 1)
			 : NULL;
	if (output == NULL) {
		control_client_close(client);
		return;
	}
	memcpy(output + client->output_length, text, length);
	output[client->output_length + length] = '\n';
	client->output = output;
	client->output_length += length + 1;
}

void control_reply(struct control_client *client, struct json_object *reply)
{
	control_client_send(client, reply);
	json_object_put(reply);
}

void control_refuse(struct control_client *client, const char *fmt, ...)
{
	struct json_object *reply = json_object_new_object();
	char text[DECANT_ERROR_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_add_bool(reply, "ok", false);
	json_add_text(reply, "error", text);
	control_reply(client, reply);
}

int control_take_fd(struct control_client *client)
{
	const int fd = client->passed_fd;

	client->passed_fd = -1;
	return fd;
}

void control_watch(struct control_client *client)
{
	client->watching = true;
}

static void control_client_line(struct control_client *client, const char *line, size_t length)
{
	struct control *control = client->control;
	struct json_object *request = json_parse_object(line, length);

	if (request == NULL) {
		control_refuse(client, "a request is a JSON object on a line");
		client->closing = true;
		return;
	}
	control->request(control->opaque, client, request);
	json_object_put(request);
	control_client_drop_fd(client);
}

static void control_client_lines(struct control_client *client)
{
	char *start = client->input;
	char *end = client->input + client->input_length;
	char *newline;

	while (client->fd >= 0 && !client->closing &&
	       (newline = memchr(start, '\n', (size_t)(end - start))) != NULL) {
		control_client_line(client, start, (size_t)(newline - start));
		start = newline + 1;
	}
	if (client->fd < 0)
		return;
	client->input_length = (size_t)(end - start);
	memmove(client->input, start, client->input_length);
	if (client->input_length == CONTROL_LINE_MAX && !client->closing) {
		control_refuse(client, "a request is at most %u bytes long", CONTROL_LINE_MAX);
		client->closing = true;
	}
}

/* As recv(2), and keeps a descriptor that came along, the last one. There is room for no more than one at a time. */
static ssize_t control_client_receive(struct control_client *client, void *bytes, size_t room)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} passed;
	struct iovec iov = { .iov_base = bytes, .iov_len = room };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &passed,
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	const ssize_t got = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int))) {
		control_client_drop_fd(client);
		memcpy(&client->passed_fd, CMSG_DATA(header), sizeof(int));
	}
	return got;
}

static void control_client_read(struct control_client *client)
{
	ssize_t got = control_client_receive(client, client->input + client->input_length,
					     CONTROL_LINE_MAX - client->input_length);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0) {
		control_client_close(client);
		return;
	}
	if (got == 0) {
		client->eof = true;
		return;
	}
	client->input_length += (size_t)got;
	control_client_lines(client);
}

static void control_client_ready(struct control_client *client, uint32_t events)
{
	if (client->fd < 0)
		return;
	if (events & EPOLLIN)
		control_client_read(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		control_client_close(client);
	if (client->fd >= 0)
		control_client_flush(client);
}

static struct control_client *control_client_free_place(struct control *control)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->client[i].fd < 0)
			return &control->client[i];
	return NULL;
}

static void control_accept(struct control *control)
{
	int fd = accept4(control->claim.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct control_client *client = control_client_free_place(control);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };

	if (fd < 0)
		return;
	if (client == NULL) {
		static const char full[] = "{\"ok\":false,\"error\":\"too many clients\"}\n";

		send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		close(fd);
		return;
	}
	client->fd = fd;
}

static struct control_event *control_take_events(struct control *control)
{
	struct control_event *first;
	DECANT_AUTO_UNLOCK(&control->lock);

	first = control->first;
	control->first = NULL;
	control->tail = &control->first;
	return first;
}

static void control_distribute_one(struct control *control, const struct control_event *event)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &control->client[i];

		if (client->fd < 0 || !client->watching)
			continue;
		control_client_send(client, event->json);
		if (event->last)
			client->watching = false;
		if (client->fd >= 0)
			control_client_flush(client);
	}
}

static void control_distribute(struct control *control)
{
	struct control_event *event;
	uint64_t count;
	ssize_t got = read(control->wake_fd, &count, sizeof(count));

	(void)got; /* only resets it */
	event = control_take_events(control);
	while (event != NULL) {
		struct control_event *next = event->next;

		control_distribute_one(control, event);
		json_object_put(event->json);
		free(event);
		event = next;
	}
}

void control_publish(struct control *control, struct json_object *json, bool last)
{
	struct control_event *event = calloc(1, sizeof(*event));
	uint64_t one = 1;

	if (event == NULL) {
		json_object_put(json);
		return;
	}
	event->json = json;
	event->last = last;
	pthread_mutex_lock(&control->lock);
	*control->tail = event;
	control->tail = &event->next;
	pthread_mutex_unlock(&control->lock);
	while (write(control->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void control_process(struct control *control)
{
	struct epoll_event events[16];
	int count = epoll_wait(control->epoll_fd, events, 16, 0);

	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr == control)
			control_accept(control);
		else if (events[i].data.ptr == &control->wake_fd)
			control_distribute(control);
		else
			control_client_ready(events[i].data.ptr, events[i].events);
	}
}

static bool control_has_output(const struct control *control)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->client[i].fd >= 0 && control->client[i].output_length > 0)
			return true;
	return false;
}

void control_drain(struct control *control, uint64_t timeout_ns)
{
	uint64_t deadline = clock_deadline_ns(timeout_ns);

	control_distribute(control);
	while (control_has_output(control) && clock_now_ns() < deadline) {
		struct pollfd ready = { .fd = control->epoll_fd, .events = POLLIN };

		if (poll(&ready, 1, clock_poll_ms(deadline)) > 0)
			control_process(control);
	}
}

int control_fd(const struct control *control)
{
	return control->epoll_fd;
}

int control_serve(struct control *control, struct control_claim *claim, struct decant_error *err)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = control };
	int ret = control_listen(claim, err);

	if (ret < 0)
		return ret;
	if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, claim->listen_fd, &event) < 0)
		return decant_error_set(err, -errno, "epoll_ctl: %s", strerror(errno));
	control->claim = *claim;
	*claim = (struct control_claim)CONTROL_CLAIM_INIT;
	return 0;
}

int control_new(control_request_fn *request, void *opaque, struct control **control_ptr, struct decant_error *err)
{
	struct control *control = calloc(1, sizeof(*control));
	struct epoll_event event = { .events = EPOLLIN };

	if (control == NULL)
		return decant_error_set(err, -ENOMEM, "no memory for the control socket");
	control->request = request;
	control->opaque = opaque;
	control->claim = (struct control_claim)CONTROL_CLAIM_INIT;
	control->tail = &control->first;
	pthread_mutex_init(&control->lock, NULL);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		control->client[i].control = control;
		control->client[i].fd = -1;
		control->client[i].passed_fd = -1;
	}
	control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	event.data.ptr = &control->wake_fd;
	if (control->epoll_fd < 0 || control->wake_fd < 0 ||
	    epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, control->wake_fd, &event) < 0) {
		int ret = decant_error_set(err, -errno, "epoll: %s", strerror(errno));

		control_free(control);
		return ret;
	}
	*control_ptr = control;
	return 0;
}

void control_free(struct control *control)
{
	struct control_event *event;

	if (control == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->client[i].fd >= 0)
			control_client_close(&control->client[i]);
	event = control_take_events(control);
	while (event != NULL) {
		struct control_event *next = event->next;

		json_object_put(event->json);
		free(event);
		event = next;
	}
	control_unclaim(&control->claim);
	if (control->epoll_fd >= 0)
		close(control->epoll_fd);
	if (control->wake_fd >= 0)
		close(control->wake_fd);
	pthread_mutex_destroy(&control->lock);
	free(control);
}
