/* SPDX-License-Identifier: BSD-2-Clause */
/* handover.c -- the tables of the hand-over */
#include "migration/handover.h"

#include <assert.h>
#include <errno.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct handover_transition source_transitions[] = {
	{ DECANT_STATE_NEW, SOURCE_CONNECT, DECANT_STATE_CONNECTING },
	{ DECANT_STATE_CONNECTING, SOURCE_PREPARED, DECANT_STATE_PRECOPY },
	{ DECANT_STATE_PRECOPY, SOURCE_PAUSE, DECANT_STATE_SWITCHOVER },
	{ DECANT_STATE_SWITCHOVER, SOURCE_READY, DECANT_STATE_GO },

	{ DECANT_STATE_NEW, SOURCE_FAIL, DECANT_STATE_FAILED },
	{ DECANT_STATE_CONNECTING, SOURCE_FAIL, DECANT_STATE_FAILED },
	{ DECANT_STATE_PRECOPY, SOURCE_FAIL, DECANT_STATE_FAILED },
	{ DECANT_STATE_SWITCHOVER, SOURCE_FAIL, DECANT_STATE_FAILED },
	{ DECANT_STATE_NEW, SOURCE_CANCEL, DECANT_STATE_CANCELLED },
	{ DECANT_STATE_CONNECTING, SOURCE_CANCEL, DECANT_STATE_CANCELLED },
	{ DECANT_STATE_PRECOPY, SOURCE_CANCEL, DECANT_STATE_CANCELLED },
	{ DECANT_STATE_SWITCHOVER, SOURCE_CANCEL, DECANT_STATE_CANCELLED },

	/* after the point of no return only these: there is no failing, and nothing to cancel */
	{ DECANT_STATE_GO, SOURCE_RUNNING, DECANT_STATE_COMPLETED },
	{ DECANT_STATE_GO, SOURCE_NEVER, DECANT_STATE_FAILED },
	{ DECANT_STATE_GO, SOURCE_SILENCE, DECANT_STATE_IN_DOUBT },
	{ DECANT_STATE_IN_DOUBT, SOURCE_RUNNING, DECANT_STATE_COMPLETED },
	{ DECANT_STATE_IN_DOUBT, SOURCE_NEVER, DECANT_STATE_FAILED },
	{ DECANT_STATE_IN_DOUBT, SOURCE_FORCE, DECANT_STATE_FAILED },
};

static const char *const source_states[] = {
	[DECANT_STATE_NEW] = "NEW",
	[DECANT_STATE_CONNECTING] = "CONNECTING",
	[DECANT_STATE_PRECOPY] = "PRECOPY",
	[DECANT_STATE_SWITCHOVER] = "SWITCHOVER",
	[DECANT_STATE_GO] = "GO",
	[DECANT_STATE_COMPLETED] = "COMPLETED",
	[DECANT_STATE_FAILED] = "FAILED",
	[DECANT_STATE_CANCELLED] = "CANCELLED",
	[DECANT_STATE_IN_DOUBT] = "IN_DOUBT",
};

static const char *const source_events[] = {
	[SOURCE_CONNECT] = "CONNECT", [SOURCE_PREPARED] = "PREPARED", [SOURCE_PAUSE] = "PAUSE",
	[SOURCE_READY] = "READY",     [SOURCE_RUNNING] = "RUNNING",   [SOURCE_NEVER] = "NEVER",
	[SOURCE_SILENCE] = "SILENCE", [SOURCE_FORCE] = "FORCE",       [SOURCE_FAIL] = "FAIL",
	[SOURCE_CANCEL] = "CANCEL",
};

static const struct handover_transition destination_transitions[] = {
	{ DESTINATION_FILLING, DESTINATION_LOADED, DESTINATION_READY },
	{ DESTINATION_READY, DESTINATION_GO, DESTINATION_STARTING },
	{ DESTINATION_STARTING, DESTINATION_ENTER, DESTINATION_RUNNING },

	{ DESTINATION_FILLING, DESTINATION_FAIL, DESTINATION_NEVER },
	{ DESTINATION_READY, DESTINATION_FAIL, DESTINATION_NEVER },
	{ DESTINATION_READY, DESTINATION_ABORT, DESTINATION_NEVER },
	{ DESTINATION_READY, DESTINATION_LOST, DESTINATION_NEVER },
	{ DESTINATION_READY, DESTINATION_EXPIRE, DESTINATION_NEVER },
	/* no vCPU has entered the guest */
	{ DESTINATION_STARTING, DESTINATION_FAIL, DESTINATION_NEVER },
};

static const char *const destination_states[] = {
	[DESTINATION_FILLING] = "FILLING", [DESTINATION_READY] = "READY", [DESTINATION_STARTING] = "STARTING",
	[DESTINATION_RUNNING] = "RUNNING", [DESTINATION_NEVER] = "NEVER",
};

static const char *const destination_events[] = {
	[DESTINATION_LOADED] = "LOADED", [DESTINATION_GO] = "GO",       [DESTINATION_ENTER] = "ENTER",
	[DESTINATION_FAIL] = "FAIL",     [DESTINATION_ABORT] = "ABORT", [DESTINATION_LOST] = "LOST",
	[DESTINATION_EXPIRE] = "EXPIRE",
};

static_assert(COUNT(source_states) == DECANT_STATE_IN_DOUBT + 1, "a name for each state");
static_assert(COUNT(source_events) == SOURCE_CANCEL + 1, "a name for each event");
static_assert(COUNT(destination_states) == DESTINATION_NEVER + 1, "a name for each state");
static_assert(COUNT(destination_events) == DESTINATION_EXPIRE + 1, "a name for each event");

const struct handover_end handover_source = {
	.transition = source_transitions,
	.transitions = COUNT(source_transitions),
	.state = source_states,
	.states = COUNT(source_states),
	.event = source_events,
	.events = COUNT(source_events),
};

const struct handover_end handover_destination = {
	.transition = destination_transitions,
	.transitions = COUNT(destination_transitions),
	.state = destination_states,
	.states = COUNT(destination_states),
	.event = destination_events,
	.events = COUNT(destination_events),
};

int handover_next(const struct handover_end *end, unsigned int state, unsigned int event, struct decant_error *err)
{
	for (unsigned int i = 0; i < end->transitions; i++)
		if (end->transition[i].from == state && end->transition[i].event == event)
			return (int)end->transition[i].to;
	return decant_error_set(err, -EINVAL, "hand-over: %s has no place in state %s", end->event[event],
				end->state[state]);
}

bool handover_source_runs(enum decant_migration_state state)
{
	switch (state) {
	case DECANT_STATE_SWITCHOVER:
	case DECANT_STATE_GO:
	case DECANT_STATE_IN_DOUBT:
	case DECANT_STATE_COMPLETED:
		return false;
	default:
		return true;
	}
}

enum wire_fate handover_fate(enum handover_destination state)
{
	switch (state) {
	case DESTINATION_RUNNING:
		return WIRE_FATE_RUNNING;
	case DESTINATION_NEVER:
		return WIRE_FATE_NEVER;
	default:
		return WIRE_FATE_PENDING;
	}
}
