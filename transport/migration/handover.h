/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover.h -- the states of a migration at each end, and the only ways from one to the next
 *
 * The same as in docs/protocol.md, section 7, and in docs/model/handover.pml; a test holds the three to each other. Both ends
 * change their state by handover_next() alone, with a lock held that makes what happens and what follows from it one.
 */
#ifndef MIGRATION_HANDOVER_H
#define MIGRATION_HANDOVER_H

#include "wire/wire.h"
#include <decant/error.h>
#include <decant/stats.h>
#include <stdbool.h>

/* At the source, whose states are enum decant_migration_state. */
enum handover_source_event {
	SOURCE_CONNECT,
	SOURCE_PREPARED, /* the destination has an empty VM */
	SOURCE_PAUSE,
	SOURCE_READY,   /* it was said, and GO is given to the socket next */
	SOURCE_RUNNING, /* it runs there: by message, or by QUERY */
	SOURCE_NEVER,   /* it never ran there and never will: by QUERY */
	SOURCE_SILENCE, /* neither can be had */
	SOURCE_FORCE,   /* the operator's word */
	SOURCE_FAIL,
	SOURCE_CANCEL,
};

enum handover_destination {
	DESTINATION_FILLING,
	DESTINATION_READY, /* the lease runs */
	DESTINATION_STARTING,
	DESTINATION_RUNNING,
	DESTINATION_NEVER, /* a tombstone */
};

enum handover_destination_event {
	DESTINATION_LOADED,
	DESTINATION_GO, /* in time */
	DESTINATION_ENTER,
	DESTINATION_FAIL,
	DESTINATION_ABORT,
	DESTINATION_LOST,
	DESTINATION_EXPIRE,
};

struct handover_transition {
	unsigned int from, event, to;
};

struct handover_end {
	const struct handover_transition *transition;
	unsigned int transitions;
	const char *const *state;
	unsigned int states;
	const char *const *event;
	unsigned int events;
};

extern const struct handover_end handover_source;
extern const struct handover_end handover_destination;

/* handover_next() -- the state that follows; -EINVAL: @event has no place in @state, and changes nothing */
int handover_next(const struct handover_end *end, unsigned int state, unsigned int event,
		  struct decant_error *err);

/* handover_source_runs() -- does the guest run at the source, or may it be resumed? */
bool handover_source_runs(enum decant_migration_state state);

/* handover_fate() -- what QUERY is told */
enum wire_fate handover_fate(enum handover_destination state);

#endif
