/* SPDX-License-Identifier: BSD-2-Clause */
/* incoming_private.h -- struct incoming, shared by incoming.c (registration, events) and incoming_session.c (messages) */
#ifndef MIGRATION_INCOMING_PRIVATE_H
#define MIGRATION_INCOMING_PRIVATE_H

#include "fabric/fabric.h"
#include "migration/blank.h"
#include "migration/granules.h"
#include "migration/incoming.h"
#include "migration/mover_private.h"
#include "migration/populate.h"
#include "util/placement.h"
#include <pthread.h>
#include <stdatomic.h>

/* One range that the pool works on; kept until the end, since the pool may drop it unseen. */
struct populate_job {
	struct populate_job *next;
	struct incoming *incoming;
	uint64_t epoch;
	uint32_t region;
	uint64_t offset;
};

struct incoming {
	/* set at creation, read-only after */
	const struct incoming_ops *ops;
	void *opaque;
	struct decant_log log;
	char *host;
	const struct placement *placement;
	uint64_t max_memory;
	uint64_t features; /* of both ends */
	bool zero_memory;
	uint32_t blank_threads;
	struct fabric_rail rail[FABRIC_RAILS_MAX]; /* that WELCOME has offered */
	uint32_t rails;
	struct peer *peer;
	struct populate *pool; /* NULL once the memory has been taken */
	struct auth auth;      /* where the tokens of the channels come from, with a key */
	uint64_t token_ns;     /* how long they are valid */

	/* session's thread only */
	struct decant_memory *memory;

	/* set by the session's thread before prepared, read-only after */
	struct decant_region region[DECANT_REGIONS_MAX];
	bool populated[DECANT_REGIONS_MAX]; /* before it came here */
	uint64_t granule[DECANT_REGIONS_MAX];
	uint32_t regions;
	struct blank *blank;  /* makes the memory zero; NULL: it stays as it is */
	atomic_bool prepared; /* release, with acquire in the reader: the five above */

	/* protected by sink_lock */
	pthread_mutex_t sink_lock;
	const struct fabric_ops *fabric;
	struct fabric_sink *sink; /* NULL: no epoch is open */
	bool fencing;             /* it is being ended: nothing more is exposed to it */
	uint32_t exposing;        /* threads of the pool that are in sink_expose(), without the lock */
	pthread_cond_t exposed;   /* one of them is out */
	uint64_t epoch;
	/* One that is fenced and still holds its registrations: letting go of them takes time that grows with the memory. */
	const struct fabric_ops *retired_fabric;
	struct fabric_sink *retired;
	uint64_t gone_cpu_ns;                /* of the sinks and the pool that are gone */
	uint64_t *asked[DECANT_REGIONS_MAX]; /* granules registered in this epoch */
	struct populate_job *jobs;

	/* protected by lock */
	pthread_mutex_t lock;
	uint32_t channels;
	uint64_t barrier_epoch;
	uint64_t round[FABRIC_CHANNELS_MAX];
	uint64_t acked_round;
	bool blanking; /* not all of the memory is zero yet, where nothing was written: no barrier is acknowledged */
	bool held_back; /* one is waiting for that: acked_round */
	pthread_cond_t blanked;
	uint64_t next_message;
	bool rails_in_use;          /* the epoch's fabric has rails: its loss is told with LOST */
	uint64_t lost_epoch;        /* the last that LOST was said of */
	struct decant_error failed; /* found by another thread than the session's */

	atomic_bool cancelled;
};

extern const struct fabric_sink_events incoming_sink_events;

/* incoming_fail() -- from a thread that is not the session's: that one ends the session */
void incoming_fail(struct incoming *incoming, const struct decant_error *why);

/* incoming_begin_blank() -- all memory is made zero, from now on and in the background, before anything is written to it */
int incoming_begin_blank(struct incoming *incoming, struct decant_error *err);

/* incoming_failure() -- what another thread than the session's has found; 0: nothing */
int incoming_failure(struct incoming *incoming, struct decant_error *err);

/* incoming_say_lost() -- tell the source that @epoch is lost, once, if its fabric is one that is left so; false: it is not */
bool incoming_say_lost(struct incoming *incoming, uint64_t epoch, const struct decant_error *why);

/* incoming_release() -- let go of what a fenced sink still has registered; takes a while */
void incoming_release(struct incoming *incoming);

#endif
