/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.h -- what a sink and a source of the loop fabric share: the queues between them, and who may touch them when
 *
 * Theory of operation
 * -------------------
 * A link is made by the sink, found by the source through its handle, and lives until both ends are closed and nothing of
 * it is held back by a plan. There is no thread: loop_link_settle() executes what is queued in the thread of whoever calls it (the
 * source's in write, flush, wait and barrier; the one in loop_release()), one at a time: a second caller leaves the work to the
 * first and returns.
 *
 * Memory is copied under the lock. So whoever has taken the lock, set fenced or stopped, and let it go, knows that no
 * guest memory is touched any more. Events are called without the lock, under the in_event flag, for which a fence waits.
 */
#ifndef LOOP_LINK_H
#define LOOP_LINK_H

#include "fabric/exposure.h"
#include "fabric/loop/loop.h"

#include <pthread.h>
#include <stdatomic.h>

#define LINK_RING 256u            /* entries per channel; a power of two */
#define LINK_BYTES_MAX (8u << 20) /* queued on a channel before it counts as full */
#define LINK_CREDITS 16u          /* messages on their way */
#define LINK_WRITE_MAX (1u << 20)

enum link_kind {
	LINK_WRITE,
	LINK_BARRIER,
	LINK_MESSAGE,
};

struct link_entry {
	enum link_kind kind;
	struct fabric_write write; /* LINK_WRITE; by reference */
	uint64_t value;            /* LINK_BARRIER: round; LINK_MESSAGE: length */
	const void *message;
};

/* A write that a plan has stuck in the network, with the data it had then. */
struct link_packet {
	struct fabric_write write;
	uint8_t *data;
	uint32_t delay; /* flushes left; UINT32_MAX: until released */
};

struct link_channel {
	struct link_entry *ring;
	uint32_t head, tail; /* free-running */
	uint32_t barriers;   /* in the ring */
	uint64_t bytes;      /* of the writes in the ring */
	struct link_packet *packet;
	bool unfinished; /* something was queued since the last barrier */
	bool lost;       /* its end has been told to the sink */
};

struct loop_link {
	/* protected by the registry's lock, in link.c */
	struct loop_link *next;
	uint32_t references;

	/* set at creation, read-only after */
	uint64_t handle;
	uint32_t channels;
	uint64_t epoch;
	uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	uint64_t tokens_until_ns;
	const struct fabric_sink_events *events;
	void *opaque;

	struct exposure exposure; /* any thread */

	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* protected by lock */
	bool attached; /* there is or was a source */
	bool fenced;   /* the sink is: nothing lands and no event starts */
	bool stopped;  /* the source is: no guest memory is read */
	bool settling; /* somebody is in loop_link_settle() */
	bool in_event;
	struct decant_error error; /* why the source cannot go on */
	struct link_channel channel[FABRIC_CHANNELS_MAX];
	uint8_t *messages; /* LINK_CREDITS slots of FABRIC_MESSAGE_MAX */
	uint32_t credits;
	uint64_t turn; /* of the random order */
	struct fabric_source_stats stats;

	_Atomic uint32_t packets; /* held back now; changed under lock */
};

/* loop_link_new() -- one reference, in the registry; 0 or -EINVAL, -ENOMEM */
int loop_link_new(const struct fabric_sink_opts *opts, struct loop_link **link, struct decant_error *err);

/* loop_link_find() -- a reference to the link with @handle, or NULL */
struct loop_link *loop_link_find(uint64_t handle);

/* loop_link_find_held() -- a reference to the link with the lowest handle above @after that holds a packet back, or NULL */
struct loop_link *loop_link_find_held(uint64_t after);

void loop_link_put(struct loop_link *link);

/* All below: lock held. loop_link_settle() and loop_link_release() let it go while an event runs. */

/* loop_link_settle() -- execute what can be, and tell the sink of channels that have ended */
void loop_link_settle(struct loop_link *link);

/* loop_link_tick() -- one flush more for what is delayed; true: something is still to be ticked */
bool loop_link_tick(struct loop_link *link);

/* loop_link_release() -- let the packets go and settle; waits for who settles already, so not from an event. Returns their number. */
uint32_t loop_link_release(struct loop_link *link);

/* loop_link_fail() -- the source cannot go on: the first reason stays */
void loop_link_fail(struct loop_link *link, int code, const char *why);

/* plan.c: what the plan in force says */
enum loop_action plan_decide(uint64_t epoch, const struct fabric_write *write);
uint64_t plan_seed(void);
uint32_t plan_delay(void);
/* counters of struct loop_counts */
extern struct plan_counters {
	_Atomic uint64_t held, landed_late, dropped_after_fence, dropped, killed;
} plan_counters;

/* loop_sink.c and loop_source.c: the table in loop.c */
int loop_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **sink, struct decant_error *err);
void loop_sink_address(const struct fabric_sink *sink, struct fabric_address *address);
int loop_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		     uint64_t *rkey, struct decant_error *err);
void loop_sink_fence(struct fabric_sink *sink);
uint64_t loop_sink_cpu_ns(const struct fabric_sink *sink);
void loop_sink_close(struct fabric_sink *sink);

int loop_source_connect(const struct fabric_source_opts *opts, struct fabric_source **source,
			struct decant_error *err);
int loop_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
		    struct decant_error *err);
int loop_source_write(struct fabric_source *source, const struct fabric_write *write);
int loop_source_flush(struct fabric_source *source);
int loop_source_barrier(struct fabric_source *source, uint64_t round);
int loop_source_message(struct fabric_source *source, const void *data, size_t length);
int loop_source_wait(struct fabric_source *source, uint64_t timeout_ns);
uint64_t loop_source_pending(const struct fabric_source *source);
void loop_source_last_error(const struct fabric_source *source, struct decant_error *err);
void loop_source_stats(const struct fabric_source *source, struct fabric_source_stats *stats);
void loop_source_stop(struct fabric_source *source);
void loop_source_close(struct fabric_source *source);

#endif
