/* SPDX-License-Identifier: BSD-2-Clause */
/* receiver.h -- one channel of a TCP sink: the thread that reads a socket straight into guest memory */
#ifndef TCP_RECEIVER_H
#define TCP_RECEIVER_H

#include "fabric/exposure.h"
#include "fabric/tcp/frame.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

struct receiver {
	/* set at start, read-only after */
	int fd;
	uint32_t channel;
	const struct exposure *exposure;
	const struct fabric_sink_events *events;
	void *opaque;
	const _Atomic bool *fenced; /* acquire; from then on no event starts */
	uint8_t *message;           /* FABRIC_MESSAGE_MAX bytes, channel 0 only */
	pthread_t thread;

	_Atomic uint64_t cpu_ns; /* relaxed: statistics */

	/* receiver thread only */
	uint8_t head_bytes[FRAME_HEAD_SIZE];
	uint8_t run_bytes[FRAME_RUNS_MAX * FRAME_RUN_SIZE];
	struct frame_run runs[FRAME_RUNS_MAX];
	struct iovec iov[FRAME_RUNS_MAX + 1];
};

/*
 * receiver_start() -- read from @receiver->fd, connected and prepared, until goodbye, error or shutdown(2)
 *
 * The fd stays the caller's to shut down, and to close after receiver_join().
 */
int receiver_start(struct receiver *receiver, struct decant_error *err);
void receiver_join(struct receiver *receiver);

#endif
