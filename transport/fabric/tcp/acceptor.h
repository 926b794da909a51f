/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acceptor.h -- the door of a TCP sink: lets in, once per channel, who says hello with the channel's token
 *
 * A connection that has not said a right hello is a *stranger*. It has ACCEPTOR_HELLO_NS to do so; of more than
 * ACCEPTOR_STRANGERS_MAX the oldest is shown out. Nothing that a stranger sends disturbs the channels that stand. When all do, the
 * door is closed for good.
 */
#ifndef TCP_ACCEPTOR_H
#define TCP_ACCEPTOR_H

#include "fabric/tcp/frame.h"
#include "util/clock.h"
#include "util/seldom.h"

#include <pthread.h>
#include <stdatomic.h>

#define ACCEPTOR_HELLO_NS (5 * NSEC_PER_SEC)
#define ACCEPTOR_STRANGERS_MAX 32u

struct acceptor_stranger {
	int fd;
	uint64_t deadline_ns;
	size_t have;
	uint8_t bytes[FRAME_HEAD_SIZE + FRAME_HELLO_SIZE];
};

struct acceptor {
	/* set at start, read-only after */
	uint16_t port;
	uint32_t channels;
	uint64_t epoch;
	uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	uint64_t tokens_until_ns; /* CLOCK_NEVER: until all stand */
	/* takes a right connection over if it returns 0; in the acceptor's thread */
	int (*admit)(void *opaque, uint32_t channel, int fd, struct decant_error *err);
	void *opaque;
	struct decant_log log;
	int wake_fd;
	pthread_t thread;

	_Atomic uint64_t cpu_ns; /* relaxed: statistics */

	/* acceptor thread only */
	struct seldom seldom;
	int listener;
	uint32_t admitted;
	bool taken[FABRIC_CHANNELS_MAX];
	uint32_t strangers; /* oldest first */
	struct acceptor_stranger stranger[ACCEPTOR_STRANGERS_MAX];
};

/* acceptor_start() -- listen on an ephemeral port of @host; what is read-only above is set, but for port, wake_fd and thread */
int acceptor_start(struct acceptor *acceptor, const char *host, struct decant_error *err);

/* acceptor_stop() -- let nobody in any more; returns when no admit() is under way */
void acceptor_stop(struct acceptor *acceptor);

#endif
