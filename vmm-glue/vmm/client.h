/* SPDX-License-Identifier: BSD-2-Clause */
/* client.h -- talk to a running VM over its control socket */
#ifndef VMM_CLIENT_H
#define VMM_CLIENT_H

#include <decant/error.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct client;

/*
 * client_open() -- connect to VM @name
 *
 * -ENOENT: there is no such VM; the message lists those there are.
 */
int client_open(const char *name, struct client **client, struct decant_error *err);

/* client_fd() -- to poll; lines already received do not show on it, so call client_next() until it has none */
int client_fd(const struct client *client);

/* client_send() -- one request; takes it over */
int client_send(struct client *client, struct json_object *request, struct decant_error *err);

/*
 * client_next() -- the next line, waiting until @deadline_ns
 *
 * Returns 1 with *@line (the caller's), 0 at the deadline, -ECONNRESET when the VM's process has gone, -EPROTO.
 */
int client_next(struct client *client, uint64_t deadline_ns, struct json_object **line, struct decant_error *err);

/* client_call() -- send and wait for the reply; an answer with "ok": false is -EREMOTEIO with its error */
int client_call(struct client *client, struct json_object *request, struct json_object **reply,
		struct decant_error *err);

/* client_send_fd(), client_call_fd() -- the same, with a descriptor along, which stays the caller's; -1: none */
int client_send_fd(struct client *client, struct json_object *request, int fd, struct decant_error *err);
int client_call_fd(struct client *client, struct json_object *request, int fd, struct json_object **reply,
		   struct decant_error *err);

/* client_call_name() -- client_open(), client_call(), client_close() */
int client_call_name(const char *name, struct json_object *request, struct json_object **reply,
		     struct decant_error *err);

/* client_names() -- the VMs that answer on this host, sorted; *@names and its strings by client_names_free(). A count or -errno */
int client_names(char ***names, struct decant_error *err);
void client_names_free(char **names, int count);

void client_close(struct client *client);

#endif
