/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qmp.c -- QEMU's monitor, over its UNIX socket
 *
 * QEMU sends lines, one JSON object each: a greeting, then events at any time, and one answer to each command. Commands carry a number
 * (its "id"), which QEMU repeats: so the answer to a command that was given up is known for what it is, and dropped.
 */
#include "qemu/qmp.h"
#include "qemu/json.h"

#include "util/clock.h"
#include "util/io.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define QMP_ROOM_MIN (64u << 10)
#define QMP_WORDS_MAX 320 /* of QEMU's, in a message of ours */
#define QMP_VERSION_MAX 128

struct qmp {
	int fd;
	int wake_fd;
	pid_t pid;
	uint32_t version;
	char version_text[QMP_VERSION_MAX];
	uint64_t id;       /* of the last command */
	uint32_t given_up; /* commands whose answer may still come */

	char *input;
	size_t room;
	size_t start;   /* of what is not yet taken */
	size_t scanned; /* up to there is no end of a line */
	size_t length;  /* received */

	struct json_object *event[QMP_EVENTS_MAX]; /* a ring */
	uint32_t first;
	uint32_t count;
};

/* @words of QEMU's as part of one line of ours. */
static const char *qmp_words(const char *words, char text[QMP_WORDS_MAX])
{
	size_t length = strnlen(words, QMP_WORDS_MAX - 1);

	for (size_t i = 0; i < length; i++)
		text[i] = (char)(iscntrl((unsigned char)words[i]) ? ' ' : words[i]);
	text[length] = '\0';
	return text;
}

static int qmp_gone(struct decant_error *err)
{
	return decant_error_set(err, -ECONNRESET,
				"QEMU's monitor: closed the connection; QEMU has ended, or its "
				"monitor was closed");
}

static int qmp_nonsense(const char *what, struct decant_error *err)
{
	return decant_error_set(err, -EPROTO, "QEMU's monitor: %s; is that socket a QMP monitor (-qmp)?", what);
}

static int qmp_grow(struct qmp *qmp, struct decant_error *err)
{
	size_t room = qmp->room == 0 ? QMP_ROOM_MIN : qmp->room * 2;
	char *grown;

	if (qmp->start > 0) {
		memmove(qmp->input, qmp->input + qmp->start, qmp->length - qmp->start);
		qmp->length -= qmp->start;
		qmp->scanned -= qmp->start;
		qmp->start = 0;
	}
	if (qmp->length < qmp->room)
		return 0;
	if (qmp->length >= QMP_LINE_MAX)
		return qmp_nonsense("a line is longer than 4 MiB", err);
	grown = realloc(qmp->input, room);
	if (grown == NULL)
		return decant_error_set(err, -ENOMEM, "QEMU's monitor: no memory for its answer");
	qmp->input = grown;
	qmp->room = room;
	return 0;
}

/* Receive something, waiting for it until @deadline_ns. */
static int qmp_fill(struct qmp *qmp, uint64_t deadline_ns, struct decant_error *err)
{
	int ret = qmp_grow(qmp, err);
	ssize_t got;

	if (ret < 0)
		return ret;
	if (io_wake_test(qmp->wake_fd))
		return decant_error_set(err, -ECANCELED, "QEMU's monitor: cancelled");
	got = recv(qmp->fd, qmp->input + qmp->length, qmp->room - qmp->length, MSG_DONTWAIT);
	if (got > 0) {
		qmp->length += (size_t)got;
		return 0;
	}
	if (got == 0 || (errno != EAGAIN && errno != EINTR))
		return qmp_gone(err);
	ret = io_wait(qmp->fd, POLLIN, deadline_ns, qmp->wake_fd);
	return ret < 0 ? decant_error_set(err, ret, "QEMU's monitor: %s", strerror(-ret)) : 0;
}

/* A line that is there already: 1 with *@line, 0, or -EPROTO. */
static int qmp_take(struct qmp *qmp, struct json_object **line, struct decant_error *err)
{
	char *newline = qmp->length > qmp->scanned
				? memchr(qmp->input + qmp->scanned, '\n', qmp->length - qmp->scanned)
				: NULL;

	if (newline == NULL) {
		qmp->scanned = qmp->length;
		return 0;
	}
	*line = json_parse_object(qmp->input + qmp->start, (size_t)(newline - qmp->input) - qmp->start);
	qmp->start = qmp->scanned = (size_t)(newline - qmp->input) + 1;
	return *line != NULL ? 1 : qmp_nonsense("sent what is no JSON object", err);
}

static int qmp_line(struct qmp *qmp, uint64_t deadline_ns, struct json_object **line, struct decant_error *err)
{
	for (;;) {
		int ret = qmp_take(qmp, line, err);

		if (ret != 0)
			return ret < 0 ? ret : 0;
		ret = qmp_fill(qmp, deadline_ns, err);
		if (ret < 0)
			return ret;
	}
}

/* Takes @event over; of too many the oldest goes. */
static void qmp_keep(struct qmp *qmp, struct json_object *event)
{
	if (qmp->count == QMP_EVENTS_MAX) {
		json_object_put(qmp->event[qmp->first]);
		qmp->first = (qmp->first + 1) % QMP_EVENTS_MAX;
		qmp->count--;
	}
	qmp->event[(qmp->first + qmp->count++) % QMP_EVENTS_MAX] = event;
}

static bool qmp_is_event(struct json_object *line)
{
	return json_get_text(line, "event", NULL) != NULL;
}

/* @line, no event and not the answer that is awaited, is the late one to a command that was given up? Takes it over. */
static int qmp_late(struct qmp *qmp, struct json_object *line, struct decant_error *err)
{
	uint64_t id = json_get_number(line, "id", 0);

	json_object_put(line);
	if (id == 0 || id > qmp->id || qmp->given_up == 0)
		return qmp_nonsense("sent what is neither an event nor an answer to a command", err);
	qmp->given_up--;
	return 0;
}

/* The answer to the last command; events are kept. A flood of them does not keep it beyond its deadline. */
static int qmp_await(struct qmp *qmp, uint64_t deadline_ns, struct json_object **answer, struct decant_error *err)
{
	do {
		struct json_object *line;
		int ret = qmp_line(qmp, deadline_ns, &line, err);

		if (ret == 0 && qmp_is_event(line)) {
			qmp_keep(qmp, line);
		} else if (ret == 0 && json_get_number(line, "id", 0) == qmp->id) {
			*answer = line;
			return 0;
		} else if (ret == 0) {
			ret = qmp_late(qmp, line, err);
		}
		if (ret < 0)
			return ret;
	} while (clock_now_ns() < deadline_ns);
	return decant_error_set(err, -ETIMEDOUT, "QEMU's monitor: %s", strerror(ETIMEDOUT));
}

/* What @answer says; takes it over. */
static int qmp_judge(const char *command, struct json_object *answer, struct json_object **result,
		     struct decant_error *err)
{
	struct json_object *value;
	char words[QMP_WORDS_MAX];
	int ret = 0;

	if (json_object_object_get_ex(answer, "error", &value)) {
		ret = decant_error_set(err, -EREMOTEIO, "QEMU: %s: %s", command,
				       qmp_words(json_get_text(value, "desc", "refused without a reason"), words));
	} else if (!json_object_object_get_ex(answer, "return", &value)) {
		ret = qmp_nonsense("answered with neither a result nor an error", err);
	} else if (result != NULL) {
		*result = json_object_get(value);
	}
	json_object_put(answer);
	return ret;
}

static int qmp_send(struct qmp *qmp, const char *command, struct json_object *arguments, uint64_t deadline_ns,
		    struct decant_error *err)
{
	struct json_object *request = json_object_new_object();
	struct iovec iov[2] = { { 0 }, { .iov_base = (void *)"\n", .iov_len = 1 } };
	int ret;

	if (request == NULL) {
		json_object_put(arguments);
		return decant_error_set(err, -ENOMEM, "QEMU: %s: no memory", command);
	}
	json_add_text(request, "execute", command);
	if (arguments != NULL)
		json_object_object_add(request, "arguments", arguments);
	json_add_number(request, "id", ++qmp->id);
	iov[0].iov_base = (void *)json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	iov[0].iov_len = strlen(iov[0].iov_base);
	ret = io_send_full(qmp->fd, iov, 2, deadline_ns, qmp->wake_fd);
	json_object_put(request);
	if (ret < 0)
		shutdown(qmp->fd, SHUT_RDWR); /* half a command may have gone: nothing can follow it */
	if (ret == -ECONNRESET)
		return qmp_gone(err);
	return ret < 0 ? decant_error_set(err, ret, "QEMU's monitor: %s", strerror(-ret)) : 0;
}

int qmp_call_until(struct qmp *qmp, const char *command, struct json_object *arguments, uint64_t deadline_ns,
		   struct json_object **result, struct decant_error *err)
{
	struct json_object *answer = NULL;
	int ret = qmp_send(qmp, command, arguments, deadline_ns, err);

	if (ret == 0) {
		ret = qmp_await(qmp, deadline_ns, &answer, err);
		qmp->given_up += ret == -ETIMEDOUT || ret == -ECANCELED;
	}
	if (ret < 0) {
		decant_error_prefix(err, "%s", command);
		return ret;
	}
	return qmp_judge(command, answer, result, err);
}

int qmp_call(struct qmp *qmp, const char *command, struct json_object *arguments, struct json_object **result,
	     struct decant_error *err)
{
	return qmp_call_until(qmp, command, arguments, clock_deadline_ns(QMP_TIMEOUT_NS), result, err);
}

static struct json_object *qmp_event_pop(struct qmp *qmp)
{
	struct json_object *event = qmp->event[qmp->first];

	qmp->first = (qmp->first + 1) % QMP_EVENTS_MAX;
	qmp->count--;
	return event;
}

int qmp_event(struct qmp *qmp, uint64_t deadline_ns, struct json_object **event, struct decant_error *err)
{
	struct json_object *line;
	int ret;

	if (qmp->count > 0) {
		*event = qmp_event_pop(qmp);
		return 1;
	}
	do {
		ret = qmp_line(qmp, deadline_ns, &line, err);
		if (ret == 0 && qmp_is_event(line)) {
			*event = line;
			return 1;
		}
		if (ret == 0)
			ret = qmp_late(qmp, line, err);
	} while (ret == 0);
	return ret == -ETIMEDOUT ? 0 : ret;
}

int qmp_get_property(struct qmp *qmp, const char *path, const char *property, struct json_object **value,
		     struct decant_error *err)
{
	struct json_object *arguments = json_object_new_object();

	json_add_text(arguments, "path", path);
	json_add_text(arguments, "property", property);
	return qmp_call(qmp, "qom-get", arguments, value, err);
}

/* {"QMP": {"version": {"qemu": {"major", "minor", "micro"}, "package"}, ...}} */
static int qmp_greeted(struct qmp *qmp, struct json_object *line, struct decant_error *err)
{
	struct json_object *greeting = NULL, *version = NULL, *number = NULL;
	uint64_t major, minor, micro;
	char words[QMP_WORDS_MAX];

	json_object_object_get_ex(line, "QMP", &greeting);
	json_object_object_get_ex(greeting, "version", &version);
	json_object_object_get_ex(version, "qemu", &number);
	major = json_get_number(number, "major", 0);
	minor = json_get_number(number, "minor", 0);
	micro = json_get_number(number, "micro", 0);
	if (major == 0 || major > 1000 || minor > 99 || micro > 99)
		return qmp_nonsense("greeted without a version of QEMU", err);
	qmp->version = (uint32_t)(major * 10000 + minor * 100 + micro);
	snprintf(qmp->version_text, sizeof(qmp->version_text), "%u.%u.%u (%.100s)", (unsigned int)major,
		 (unsigned int)minor, (unsigned int)micro,
		 qmp_words(json_get_text(version, "package", ""), words));
	return 0;
}

static int qmp_negotiate(struct qmp *qmp, uint64_t deadline_ns, struct decant_error *err)
{
	struct json_object *line;
	int ret = qmp_line(qmp, deadline_ns, &line, err);

	if (ret == -ETIMEDOUT)
		return decant_error_set(err, ret,
					"QEMU's monitor: connected, but it does not greet; if another program "
					"uses this monitor, give QEMU one more (-qmp unix:PATH,server=on,"
					"wait=off)");
	if (ret < 0)
		return ret;
	ret = qmp_greeted(qmp, line, err);
	json_object_put(line);
	return ret < 0 ? ret : qmp_call_until(qmp, "qmp_capabilities", NULL, deadline_ns, NULL, err);
}

int qmp_open_fd(int fd, uint64_t deadline_ns, int wake_fd, struct qmp **qmp_ptr, struct decant_error *err)
{
	struct qmp *qmp = calloc(1, sizeof(*qmp));
	struct ucred peer = { 0 };
	socklen_t length = sizeof(peer);
	int ret;

	if (qmp == NULL) {
		close(fd);
		return decant_error_set(err, -ENOMEM, "QEMU's monitor: no memory");
	}
	qmp->fd = fd;
	qmp->wake_fd = wake_fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
		qmp->pid = peer.pid;
	ret = qmp_negotiate(qmp, deadline_ns, err);
	if (ret < 0) {
		qmp_close(qmp);
		return ret;
	}
	*qmp_ptr = qmp;
	return 0;
}

int qmp_open(const char *path, uint64_t deadline_ns, int wake_fd, struct qmp **qmp, struct decant_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return decant_error_set(err, -ENAMETOOLONG,
					"%s: longer than the %zu bytes that a UNIX socket may have", path,
					sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return decant_error_set(err, -errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = decant_error_set(err, errno == EAGAIN ? -EBUSY : -errno, "%s: %s", path,
				       errno == EAGAIN ? "other programs wait for this monitor already"
						       : strerror(errno));
		close(fd);
		return ret;
	}
	ret = qmp_open_fd(fd, deadline_ns, wake_fd, qmp, err);
	if (ret < 0)
		decant_error_prefix(err, "%s", path);
	return ret;
}

int qmp_fd(const struct qmp *qmp)
{
	return qmp->fd;
}

uint32_t qmp_version(const struct qmp *qmp, const char **text)
{
	if (text != NULL)
		*text = qmp->version_text;
	return qmp->version;
}

pid_t qmp_pid(const struct qmp *qmp)
{
	return qmp->pid;
}

void qmp_close(struct qmp *qmp)
{
	if (qmp == NULL)
		return;
	while (qmp->count > 0)
		json_object_put(qmp_event_pop(qmp));
	close(qmp->fd);
	free(qmp->input);
	free(qmp);
}
