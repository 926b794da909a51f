/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qmp.h -- QEMU's monitor, over its UNIX socket
 *
 * One command at a time; what QEMU tells unasked meanwhile is kept, in order, until qmp_event() takes it. A command that was not answered in
 * time leaves the connection usable: its late answer is recognized and dropped. After -ECONNRESET and -EPROTO it is of no further use.
 *
 * QEMU serves one client per monitor socket, so a second one connects and is not greeted: that is -ETIMEDOUT, with advice.
 * A struct qmp belongs to one thread at a time. All of an answer is checked: nothing of it is believed because QEMU is meant to say it.
 */
#ifndef QEMU_QMP_H
#define QEMU_QMP_H

#include <decant/error.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The longest line that is taken, and the most events that are kept: of more the oldest are forgotten. */
#define QMP_LINE_MAX (4u << 20)
#define QMP_EVENTS_MAX 256u

/* How long a command may take, unless the caller says so. */
#define QMP_TIMEOUT_NS (UINT64_C(10) * 1000000000)

struct qmp;

/*
 * qmp_open() -- connect to the monitor at @path, take the greeting, negotiate
 *
 * Waits until @deadline_ns or until @wake_fd (io.h; -1: none), which also bounds every later call.
 * Returns 0; -ENOENT, -ECONNREFUSED, -EACCES, -EBUSY (connect); -ETIMEDOUT, -ECANCELED, -ECONNRESET, -EPROTO.
 */
int qmp_open(const char *path, uint64_t deadline_ns, int wake_fd, struct qmp **qmp, struct decant_error *err);

/* qmp_open_fd() -- the same over a connected socket, which it takes over in any case */
int qmp_open_fd(int fd, uint64_t deadline_ns, int wake_fd, struct qmp **qmp, struct decant_error *err);

/* qmp_fd() -- to poll; what has been received already does not show on it, so call qmp_event() until it has none */
int qmp_fd(const struct qmp *qmp);

/* qmp_version() -- 70200 is 7.2.0: 10000 * major + 100 * minor + micro; *@text (may be NULL) as QEMU writes it, for people */
uint32_t qmp_version(const struct qmp *qmp, const char **text);

/* qmp_pid() -- of the process that listens: QEMU, unless somebody else made the socket for it. 0: not in this PID namespace */
pid_t qmp_pid(const struct qmp *qmp);

/*
 * qmp_call() -- one command, and its answer
 *
 * Takes @arguments (an object; NULL: none) over in any case. *@result is the caller's; NULL: not wanted.
 * Returns 0; -EREMOTEIO: QEMU says no, and the message has its words; -ETIMEDOUT, -ECANCELED, -ECONNRESET, -EPROTO.
 */
int qmp_call(struct qmp *qmp, const char *command, struct json_object *arguments, struct json_object **result,
	     struct decant_error *err);

/* qmp_call_until() -- the same with a deadline of its own */
int qmp_call_until(struct qmp *qmp, const char *command, struct json_object *arguments, uint64_t deadline_ns,
		   struct json_object **result, struct decant_error *err);

/*
 * qmp_event() -- the next thing that QEMU told unasked: {"event": NAME, "data": {...}, ...}, the caller's
 *
 * Returns 1; 0 at the deadline (0: looks only); -ECANCELED, -ECONNRESET, -EPROTO.
 */
int qmp_event(struct qmp *qmp, uint64_t deadline_ns, struct json_object **event, struct decant_error *err);

/* qmp_get_property() -- qom-get; *@value is the caller's. -EREMOTEIO: there is no such object or property */
int qmp_get_property(struct qmp *qmp, const char *path, const char *property, struct json_object **value,
		     struct decant_error *err);

void qmp_close(struct qmp *qmp);

#endif
