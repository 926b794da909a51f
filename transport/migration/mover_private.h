/* SPDX-License-Identifier: BSD-2-Clause */
/* mover_private.h -- struct decant_mover, shared by mover.c (pushing), mover_life.c, mover_epoch.c (connections) and mover_map.c */
#ifndef MIGRATION_MOVER_PRIVATE_H
#define MIGRATION_MOVER_PRIVATE_H

#include "fabric/fabric.h"
#include "migration/auth.h"
#include "migration/extents.h"
#include "migration/granules.h"
#include "migration/mover.h"
#include "migration/populate.h"
#include "migration/route.h"
#include "util/clock.h"
#include <pthread.h>
#include <stdatomic.h>

/* Messages kept for a failover. When so many are unacknowledged, a barrier of the mover's own frees them. */
#define MOVER_MESSAGES_KEPT 64u
#define MOVER_MESSAGE_HEAD 8u /* le64 sequence number, so that the destination can drop repetitions */

/* An epoch is lost: not an error yet, the feeder's thread fails over. Distinct from every errno and from success. */
#define MOVER_EPOCH_LOST 1

/* How long a wait for something that somebody else will tell may last before all is looked at again. */
#define MOVER_WAIT_NS (100 * NSEC_PER_MSEC)

struct mover_kept {
	uint32_t length;
	uint8_t bytes[MOVER_MESSAGE_HEAD + DECANT_MESSAGE_MAX];
};

/* What a thread that maps granules of one region is given. */
struct mover_map {
	struct decant_mover *mover;
	uint32_t region;
};

/* The epoch that is open, for a thread that is not the feeder's. */
struct mover_shown {
	const struct fabric_ops *ops; /* NULL: none was open yet */
	const struct fabric_source *source;
	struct populate *mappers;
	uint32_t channels;
	char reason[192];
};

struct decant_mover {
	/* set at creation, read-only after */
	struct mover_setup setup;
	char *peer_text, *name, *fabric_text, *rails_text; /* rails: NULL: any */
	const struct auth_key *key;                        /* NULL: none */
	struct auth_key *own_key;                          /* that, unless it is somebody else's */
	const struct placement *placement;
	struct placement own_placement; /* that, unless it is somebody else's */
	const struct decant_memory *memory;
	struct decant_log log;
	int wake_fd; /* set by cancel, for what waits for neither the peer nor @changed: connecting */

	/* feeder's thread only */
	struct route route;
	struct wire_welcome welcome;
	struct auth auth; /* where the tokens of the channels come from, with a key */
	char peer_host[256];
	int control_node; /* NUMA node of the interface that the control connection goes over, -1: not known */
	uint32_t lease_ms;
	struct wire_prepared prepared;
	struct fabric_source *source; /* NULL between epochs */
	/* One that is stopped and still holds its registrations: letting go of them takes time that grows with the memory. */
	const struct fabric_ops *retired_ops;
	struct fabric_source *retired;
	struct populate *mappers; /* NULL: granules are mapped when they are announced */
	struct mover_map map[DECANT_REGIONS_MAX];
	uint64_t epoch, round;
	uint32_t channels;
	struct extents ahead[DECANT_REGIONS_MAX]; /* where granules are announced ahead of a push */
	uint64_t entered[DECANT_REGIONS_MAX];     /* the granule that was last written to, and 1 */
	uint64_t pace_ns;                         /* the time up to which bandwidth has been spent */
	struct mover_kept *kept;                  /* MOVER_MESSAGES_KEPT of them, made at the first message */
	uint32_t kept_count;
	bool unsettled; /* something was pushed or sent that no acknowledged barrier covers */
	uint64_t message_sequence;
	uint64_t deadline_ns;
	const char *deadline_what;

	/* any thread */
	_Atomic bool cancelled;
	_Atomic bool closing; /* by the feeder: the connection's end is no news */
	_Atomic uint64_t bytes, writes, inline_pages, first_byte_ns, fabric_cpu_ns, zero_copy_bytes;
	_Atomic uint64_t pages_zero, pushes, barriers, messages, message_bytes, messages_back;
	_Atomic uint32_t failovers;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct peer *peer; /* set once by the feeder's thread */
	struct granules granules[DECANT_REGIONS_MAX];
	uint64_t acked_epoch, acked_round;
	uint64_t fenced_epoch;
	uint64_t asked_round;             /* the last barrier's: BARRIER_ACK says none later */
	uint64_t asked_fence;             /* the last epoch that FENCE was said of: FENCED says no other */
	bool opening;                     /* OPEN is sent and not answered: LOST may be the answer */
	bool granted, mapped, map_failed; /* in this epoch: a granule there; one here; one could not be here */
	struct decant_error lost;         /* why this epoch is, if its fabric does not know; code 0: it is not */
	struct decant_error failed;       /* the peer said ERROR */
	bool heard_all;                   /* the control connection's reader has ended: nothing comes any more */
	struct mover_shown shown;         /* what of the feeder's the statistics look at */
};

/* mover_hear.c: of the control connection */
extern const struct peer_events mover_events;

/* mover_epoch.c */
int mover_epoch_open(struct decant_mover *mover, struct decant_error *err);
int mover_failover(struct decant_mover *mover, struct decant_error *err);
/* waits for a change under the lock, at most @most_ns: callers loop */
void mover_wait_change(struct decant_mover *mover, uint64_t most_ns);

/* mover_life.c: the NUMA node that most of the memory with a node is said to lie on, -1: none has one */
int mover_memory_node(const struct decant_mover *mover);

/* mover_map.c: mapping granules at this end. open: for the epoch whose source is there; close: after that was stopped */
int mover_map_open(struct decant_mover *mover, struct decant_error *err);
int mover_map_granule(struct decant_mover *mover, uint32_t region, uint64_t g, struct decant_error *err);
/* maps a granule anew if it has become stale and nobody is at it */
int mover_map_renew(struct decant_mover *mover, uint32_t region, uint64_t g, struct decant_error *err);
void mover_map_close(struct decant_mover *mover);

/* mover.c: is the epoch alive? 0 or MOVER_EPOCH_LOST. Drives a fabric that makes progress only in its caller. */
int mover_epoch_alive(struct decant_mover *mover);

/* mover.c: sends again what no barrier has covered; 0, MOVER_EPOCH_LOST or an error */
int mover_repeat_unacked(struct decant_mover *mover, struct decant_error *err);
void mover_epoch_close(struct decant_mover *mover);

#endif
