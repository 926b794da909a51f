/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.h -- faults for the loop fabric: delay, hold back, drop, kill, and mix the order of channels
 *
 * For tests. A plan holds for the whole process, for every write that has not been executed yet, until another is set.
 * With a plan that only looks at the write it is given, or counts, a run of one thread is the same every time.
 *
 *   HOLD   the write has left the source (its data is taken now) and is stuck in the network until loop_release();
 *          everything behind it on its channel waits, barriers too. It outlives the source: released before the sink's fence
 *          it lands, late and perhaps over newer data; after it, never.
 *   DELAY  the same, but it goes on by itself after loop_plan.delay flushes (waits count), or when only it keeps a barrier
 *   DROP   the write is lost and nobody is told
 *   KILL   the channel breaks instead: the sink gets lost(), the source an error
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "fabric/fabric.h"

enum loop_action {
	LOOP_DELIVER,
	LOOP_HOLD,
	LOOP_DELAY,
	LOOP_DROP,
	LOOP_KILL,
};

struct loop_plan {
	/* asked once for each write when its turn has come; must not call into a fabric; NULL: deliver */
	enum loop_action (*decide)(void *opaque, uint64_t epoch, const struct fabric_write *write);
	void *opaque;
	uint32_t delay; /* flushes that LOOP_DELAY costs */
	uint64_t seed;  /* not 0: channels take their turns in a random order of this seed; 0: the lowest first */
};

/* What the plans have done, in all of the process, since loop_counts_reset(). */
struct loop_counts {
	uint64_t held;                /* HOLD and DELAY */
	uint64_t landed_late;         /* of them, those that reached memory */
	uint64_t dropped_after_fence; /* of them, those that came when the sink had fenced */
	uint64_t dropped;
	uint64_t killed;
};

/* loop_plan_set() -- copies *@plan, NULL: none. When it has returned, the old plan's decide() is not running and will not be. */
void loop_plan_set(const struct loop_plan *plan);

/*
 * loop_release() -- let everything that is held go on, and what waited behind it
 *
 * Events of the sinks may come from the calling thread; not to be called from one. Returns how many writes were let go.
 */
uint32_t loop_release(void);

void loop_counts(struct loop_counts *counts);
void loop_counts_reset(void);

#endif
