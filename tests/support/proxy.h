/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy.h -- stands between source and destination on the control connection: holds a message back, or cuts the wire at it
 *
 * Forwards whole messages of the control protocol in both directions, for any number of connections one after the other or
 * at once. Threads of its own; all calls from any thread.
 */
#ifndef SUPPORT_PROXY_H
#define SUPPORT_PROXY_H

#include <stdbool.h>
#include <stdint.h>

enum proxy_action {
	PROXY_FORWARD,
	PROXY_HOLD,      /* keep it, and what comes behind it, until proxy_release() */
	PROXY_CUT,       /* close both connections instead of forwarding it */
	PROXY_CUT_AFTER, /* forward it, then close both */
};

struct proxy_rule {
	uint16_t type; /* enum wire_type; says the direction too, where only one end sends it */
	enum proxy_action action;
	unsigned skip; /* let so many pass first */
	bool refuse;   /* from then on close each new connection at once */
};

struct proxy;

/* proxy_new() -- listens on 127.0.0.1 and connects to 127.0.0.1:@port; NULL on failure */
struct proxy *proxy_new(uint16_t port);

uint16_t proxy_port(const struct proxy *proxy);

/* proxy_set_rule() -- one at a time; it acts once */
void proxy_set_rule(struct proxy *proxy, const struct proxy_rule *rule);

/* proxy_has_acted() -- has the last rule set found its message? */
bool proxy_has_acted(struct proxy *proxy);

/* proxy_wait_acted() -- the same, waiting up to @ms */
bool proxy_wait_acted(struct proxy *proxy, unsigned ms);

/* proxy_release() -- forward what is held */
void proxy_release(struct proxy *proxy);

/* proxy_set_target() -- new connections go to 127.0.0.1:@port from now on */
void proxy_set_target(struct proxy *proxy, uint16_t port);

/* proxy_set_refuse() -- refuse new connections, or take them again */
void proxy_set_refuse(struct proxy *proxy, bool refuse);

/* proxy_cut_all() -- close all connections */
void proxy_cut_all(struct proxy *proxy);

void proxy_free(struct proxy *proxy);

#endif
