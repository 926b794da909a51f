/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sender.h -- one channel of a TCP source: a bounded queue, and the thread that empties it into a socket
 *
 * One thread queues; sender_close() and sender_join() may come from another. Nothing is allocated after sender_start().
 */
#ifndef TCP_SENDER_H
#define TCP_SENDER_H

#include "fabric/tcp/frame.h"
#include "fabric/tcp/zerocopy.h"
#include "fabric/window.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define SENDER_RING 1024u             /* entries; a power of two */
#define SENDER_BYTES_MAX (8u << 20)   /* queued or being sent, before the queue counts as full */
#define SENDER_BYTES_MIN (512u << 10) /* that, however slow the network is */
#define SENDER_BATCH_BYTES (1u << 20) /* worth waking the thread for without a flush */

enum sender_kind {
	SENDER_WRITE,
	SENDER_BARRIER,
	SENDER_MESSAGE,
};

struct sender_entry {
	enum sender_kind kind;
	uint32_t region; /* SENDER_WRITE */
	uint32_t length; /* SENDER_WRITE, SENDER_MESSAGE */
	uint64_t value;  /* SENDER_WRITE: offset; SENDER_BARRIER: round */
	const void *data;
};

struct sender {
	/* set at start, read-only after */
	int fd;
	uint32_t channel;
	enum decant_zero_copy zero_copy;
	void (*lost)(void *opaque, uint32_t channel,
		     int code); /* sending failed; from the sender's thread, no lock held */
	void *opaque;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t work; /* for the thread */
	pthread_cond_t room; /* for who waits for room, for credits (channel 0), or for the thread's end */

	/* protected by lock */
	struct sender_entry *ring;
	uint32_t head, tail; /* free-running */
	uint32_t flushed;    /* everything before this entry may go */
	uint64_t ring_bytes; /* of the writes in the ring */
	uint32_t credits;    /* messages that may be queued; channel 0 */
	uint32_t unsent; /* messages that the kernel does not have yet: whatever the sink's credits say, their data stays */
	bool unfinished; /* something was queued since the last barrier */
	bool sending;
	bool closed;
	bool exited;
	struct zerocopy zerocopy;
	struct window window; /* its time is set at start */

	/* written under lock or by the thread; read by anyone, relaxed: statistics */
	_Atomic uint64_t pending; /* bytes not yet handed to the kernel */
	_Atomic uint64_t posts;
	_Atomic uint64_t cpu_ns;

	/* sender thread only */
	uint64_t batch_bytes;
	uint32_t batch_messages;
	size_t batch_iovs;
	uint8_t head_bytes[FRAME_HEAD_SIZE + FRAME_RUNS_MAX * FRAME_RUN_SIZE];
	struct iovec iov[FRAME_RUNS_MAX + 1];
};

/*
 * sender_start() -- take over @fd, of a connected, prepared socket, once it has returned 0
 *
 * @sender is all zeros but for channel, zero_copy, window.time_ns, lost and opaque.
 */
int sender_start(struct sender *sender, int fd, struct decant_error *err);

/* sender_reap() -- take the completions of what was sent by reference: when the socket has an error to tell; any thread */
void sender_reap(struct sender *sender);

/* sender_pending() -- bytes queued that may still be read from guest memory; any thread */
uint64_t sender_pending(const struct sender *sender);

/* sender_push() -- queue a write or, when no write has to be gathered first, anything else; -EAGAIN: full */
int sender_push(struct sender *sender, const struct sender_entry *entry);

/* sender_has_room() -- would sender_push() take an entry of @kind? lock held */
bool sender_has_room(const struct sender *sender, enum sender_kind kind);

/* sender_flush() -- everything queued goes now */
void sender_flush(struct sender *sender);

/* sender_wake() -- have waiters look again at what they wait for */
void sender_wake(struct sender *sender);

/*
 * sender_close() -- send nothing more; says goodbye if all is sent and under a barrier
 * sender_join() -- after it: wait for the thread, cutting the connection at @deadline_ns; then no guest memory is read
 */
void sender_close(struct sender *sender);
void sender_join(struct sender *sender, uint64_t deadline_ns);

/* sender_destroy() -- after sender_join() */
void sender_destroy(struct sender *sender);

#endif
