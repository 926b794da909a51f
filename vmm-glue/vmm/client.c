/* SPDX-License-Identifier: BSD-2-Clause */
/* client.c -- talk to a running VM over its control socket */
#include "vmm/client.h"
#include "qemu/json.h"
#include "vmm/control.h"
#include "vmm/machine.h"

#include "util/clock.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENT_LINE_MAX CONTROL_OUTPUT_MAX
#define CLIENT_CALL_TIMEOUT_NS (10 * NSEC_PER_SEC)

struct client {
	int fd;
	char *input;
	size_t length;
	size_t room;
};

static int client_connect(const char *name, struct decant_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int ret = control_path(name, address.sun_path, err);
	int fd, code;

	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return decant_error_set(err, -errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	code = errno;
	close(fd);
	return decant_error_set(err, -code, "%s: %s", address.sun_path, strerror(code));
}

static int client_name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool client_name_answers(const char *name)
{
	int fd = machine_name_check(name, NULL) == 0 ? client_connect(name, NULL) : -1;

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int client_names_add(char ***names, int count, const char *file)
{
	const char *suffix = strstr(file, ".sock");
	char **grown;
	char *name;

	if (suffix == NULL || suffix[5] != '\0')
		return count;
	name = strndup(file, (size_t)(suffix - file));
	grown = name != NULL && client_name_answers(name) ? realloc(*names, ((size_t)count + 1) * sizeof(**names))
							  : NULL;
	if (grown == NULL) {
		free(name);
		return count;
	}
	*names = grown;
	grown[count] = name;
	return count + 1;
}

int client_names(char ***names, struct decant_error *err)
{
	char path[CONTROL_PATH_MAX];
	struct dirent *entry;
	int count = 0;
	DIR *directory;
	int ret = control_directory(path, err);

	*names = NULL;
	if (ret < 0)
		return ret;
	directory = opendir(path);
	if (directory == NULL && errno == ENOENT)
		return 0;
	if (directory == NULL)
		return decant_error_set(err, -errno, "%s: %s", path, strerror(errno));
	while ((entry = readdir(directory)) != NULL)
		count = client_names_add(names, count, entry->d_name);
	closedir(directory);
	if (count > 0)
		qsort(*names, (size_t)count, sizeof(**names), client_name_order);
	return count;
}

void client_names_free(char **names, int count)
{
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static int client_no_such(const char *name, struct decant_error *err)
{
	char there[256] = "";
	size_t used = 0;
	char **names;
	int count = client_names(&names, NULL);

	for (int i = 0; i < count && used < sizeof(there); i++)
		used += (size_t)snprintf(there + used, sizeof(there) - used, "%s%s", i > 0 ? ", " : "", names[i]);
	client_names_free(names, count > 0 ? count : 0);
	return decant_error_set(err, -ENOENT, "no VM named \"%s\" runs on this host; %s%s", name,
				count > 0 ? "there is: " : "none does", there);
}

int client_open(const char *name, struct client **client_ptr, struct decant_error *err)
{
	struct client *client;
	int fd, ret = machine_name_check(name, err);

	if (ret < 0)
		return ret;
	fd = client_connect(name, err);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return client_no_such(name, err);
	if (fd < 0)
		return fd;
	client = calloc(1, sizeof(*client));
	if (client == NULL) {
		close(fd);
		return decant_error_set(err, -ENOMEM, "no memory");
	}
	client->fd = fd;
	*client_ptr = client;
	return 0;
}

int client_fd(const struct client *client)
{
	return client->fd;
}

static int client_gone(struct decant_error *err)
{
	return decant_error_set(err, -ECONNRESET, "the VM's process has gone");
}

/* As send(2), with descriptor @fd unless it is -1. */
static ssize_t client_send_part(struct client *client, const char *bytes, size_t length, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} passed = { 0 };
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		passed.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&passed.header), &fd, sizeof(fd));
		message.msg_control = &passed;
		message.msg_controllen = sizeof(passed);
	}
	return sendmsg(client->fd, &message, MSG_NOSIGNAL);
}

int client_send(struct client *client, struct json_object *request, struct decant_error *err)
{
	return client_send_fd(client, request, -1, err);
}

int client_send_fd(struct client *client, struct json_object *request, int fd, struct decant_error *err)
{
	const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	size_t length = strlen(text);
	size_t done = 0;

	while (done <= length) {
		bool newline = done == length;
		ssize_t sent = client_send_part(client, newline ? "\n" : text + done, newline ? 1 : length - done,
						done == 0 ? fd : -1);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break;
		done += (size_t)sent;
	}
	json_object_put(request);
	return done == length + 1 ? 0 : client_gone(err);
}

/* a whole line that is there already: 1, 0 or -EPROTO */
static int client_take(struct client *client, struct json_object **line, struct decant_error *err)
{
	char *newline = client->length > 0 ? memchr(client->input, '\n', client->length) : NULL;
	size_t length;

	if (newline == NULL)
		return 0;
	length = (size_t)(newline - client->input);
	*line = json_parse_object(client->input, length);
	client->length -= length + 1;
	memmove(client->input, newline + 1, client->length);
	if (*line == NULL)
		return decant_error_set(err, -EPROTO, "the VM's process sent what is no JSON object");
	return 1;
}

static int client_grow(struct client *client, struct decant_error *err)
{
	size_t room = client->room + 65536;
	char *grown;

	if (client->room - client->length >= 4096)
		return 0;
	if (room > CLIENT_LINE_MAX + 65536)
		return decant_error_set(err, -EPROTO, "the VM's process sent too long a line");
	grown = realloc(client->input, room);
	if (grown == NULL)
		return decant_error_set(err, -ENOMEM, "no memory");
	client->input = grown;
	client->room = room;
	return 0;
}

static int client_fill(struct client *client, struct decant_error *err)
{
	int ret = client_grow(client, err);
	ssize_t got;

	if (ret < 0)
		return ret;
	got = recv(client->fd, client->input + client->length, client->room - client->length, 0);
	if (got > 0)
		client->length += (size_t)got;
	return got > 0 || (got < 0 && errno == EINTR) ? 0 : client_gone(err);
}

int client_next(struct client *client, uint64_t deadline_ns, struct json_object **line, struct decant_error *err)
{
	for (;;) {
		struct pollfd ready = { .fd = client->fd, .events = POLLIN };
		int ret = client_take(client, line, err);
		int count;

		if (ret != 0)
			return ret;
		count = poll(&ready, 1, clock_poll_ms(deadline_ns));
		if (count == 0)
			return 0;
		if (count > 0)
			ret = client_fill(client, err);
		if (ret < 0)
			return ret;
	}
}

int client_call(struct client *client, struct json_object *request, struct json_object **reply,
		struct decant_error *err)
{
	return client_call_fd(client, request, -1, reply, err);
}

int client_call_fd(struct client *client, struct json_object *request, int fd, struct json_object **reply,
		   struct decant_error *err)
{
	struct json_object *line = NULL;
	int ret = client_send_fd(client, request, fd, err);

	if (ret < 0)
		return ret;
	ret = client_next(client, clock_deadline_ns(CLIENT_CALL_TIMEOUT_NS), &line, err);
	if (ret == 0)
		return decant_error_set(err, -ETIMEDOUT, "the VM's process does not answer");
	if (ret < 0)
		return ret;
	if (!json_get_bool(line, "ok", false)) {
		ret = decant_error_set(err, -EREMOTEIO, "%s",
				       json_get_text(line, "error", "refused without a reason"));
		json_object_put(line);
		return ret;
	}
	if (reply != NULL)
		*reply = line;
	else
		json_object_put(line);
	return 0;
}

int client_call_name(const char *name, struct json_object *request, struct json_object **reply,
		     struct decant_error *err)
{
	struct client *client;
	int ret = client_open(name, &client, err);

	if (ret < 0) {
		json_object_put(request);
		return ret;
	}
	ret = client_call(client, request, reply, err);
	client_close(client);
	return ret;
}

void client_close(struct client *client)
{
	if (client == NULL)
		return;
	close(client->fd);
	free(client->input);
	free(client);
}
