/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.h -- the socket on which a running VM answers: JSON objects, one a line, both ways
 *
 * A request names a verb: {"verb":"status"}. Every request gets one line with "ok": true, or false with "error". A client
 * that watches also gets the lines that are published until the watch ends; each of those has an "event". One descriptor may
 * come with a request (SCM_RIGHTS, with the first byte of its line).
 *
 * The owner of the name holds a lock on N.lock beside the socket, so a name is taken exactly as long as its process lives,
 * and the socket of one that died is replaced without asking.
 *
 * All calls but control_publish() belong to one thread, which polls control_fd() and calls control_process().
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <decant/error.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_LINE_MAX 16384u /* longest request */
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_OUTPUT_MAX (1u << 20) /* unread by a client: more, and it is cut off */
#define CONTROL_PATH_MAX 108          /* what sockaddr_un holds */

struct control;
struct control_client;

/* Answers one request, by control_reply(), before it returns. */
typedef void control_request_fn(void *opaque, struct control_client *client, struct json_object *request);

/* control_directory() -- where the sockets are: $XDG_RUNTIME_DIR/decant or /run/decant. 0 or -ENAMETOOLONG */
int control_directory(char path[CONTROL_PATH_MAX], struct decant_error *err);

/* control_make_directory() -- that directory is there, and nobody else may enter it */
int control_make_directory(struct decant_error *err);

/* control_path() -- the socket of VM @name. 0 or -ENAMETOOLONG */
int control_path(const char *name, char path[CONTROL_PATH_MAX], struct decant_error *err);

/* A name that was claimed: its lock and its socket. */
struct control_claim {
	int lock_fd;
	int listen_fd;
	char path[CONTROL_PATH_MAX];
	char lock_path[CONTROL_PATH_MAX];
};

#define CONTROL_CLAIM_INIT                     \
	{                                      \
		.lock_fd = -1, .listen_fd = -1 \
	}

/*
 * control_claim() -- take @name on this host; any thread
 *
 * All that could fail for want of room in the directory is done here: a VM that comes in is refused, not left uncontrolled.
 * Returns 0, -EADDRINUSE (taken), -EACCES, -ENOSPC, ...
 */
int control_claim(const char *name, struct control_claim *claim, struct decant_error *err);

/* control_listen() -- let clients of a claim in, from now on */
int control_listen(struct control_claim *claim, struct decant_error *err);

/* control_unclaim() -- remove socket and lock; fine on an empty claim */
void control_unclaim(struct control_claim *claim);

int control_new(control_request_fn *request, void *opaque, struct control **control, struct decant_error *err);

/* control_serve() -- listen on the socket of @claim and answer from now on; the control takes the claim over */
int control_serve(struct control *control, struct control_claim *claim, struct decant_error *err);

/* control_fd() -- readable when control_process() has something to do */
int control_fd(const struct control *control);

/* control_process() -- do what can be done without waiting */
void control_process(struct control *control);

/* control_reply() -- one line to the client; takes @reply over */
void control_reply(struct control_client *client, struct json_object *reply);

/* control_refuse() -- the reply {"ok":false,"error":...} */
void control_refuse(struct control_client *client, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* control_take_fd() -- the descriptor that came with the request being answered, the caller's from then on; -1: none did */
int control_take_fd(struct control_client *client);

/* control_watch() -- @client gets what is published from now on */
void control_watch(struct control_client *client);

/* control_publish() -- one line to every watcher; @last: and their watch ends. Takes @event over. Any thread. */
void control_publish(struct control *control, struct json_object *event, bool last);

/* control_drain() -- write what clients have yet to read, for at most @timeout_ns */
void control_drain(struct control *control, uint64_t timeout_ns);

/* control_free() -- close all, remove the socket; NULL is fine */
void control_free(struct control *control);

#endif
