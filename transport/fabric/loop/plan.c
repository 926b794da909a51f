/* SPDX-License-Identifier: BSD-2-Clause */
/* plan.c -- the plan of faults in force, and the count of what it did */
#include "fabric/loop/link.h"

static pthread_mutex_t plan_lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop_plan plan;    /* protected by plan_lock */
static _Atomic bool plan_active; /* relaxed: a hint that spares the lock where no plan was ever set */

struct plan_counters plan_counters;

void loop_plan_set(const struct loop_plan *new_plan)
{
	pthread_mutex_lock(&plan_lock);
	plan = new_plan != NULL ? *new_plan : (struct loop_plan){ 0 };
	atomic_store_explicit(&plan_active, new_plan != NULL, memory_order_relaxed);
	pthread_mutex_unlock(&plan_lock);
}

enum loop_action plan_decide(uint64_t epoch, const struct fabric_write *write)
{
	enum loop_action action = LOOP_DELIVER;

	if (!atomic_load_explicit(&plan_active, memory_order_relaxed))
		return action;
	pthread_mutex_lock(&plan_lock);
	if (plan.decide != NULL)
		action = plan.decide(plan.opaque, epoch, write);
	pthread_mutex_unlock(&plan_lock);
	return action;
}

uint64_t plan_seed(void)
{
	uint64_t seed;

	if (!atomic_load_explicit(&plan_active, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&plan_lock);
	seed = plan.seed;
	pthread_mutex_unlock(&plan_lock);
	return seed;
}

uint32_t plan_delay(void)
{
	uint32_t delay;

	pthread_mutex_lock(&plan_lock);
	delay = plan.delay;
	pthread_mutex_unlock(&plan_lock);
	return delay;
}

uint32_t loop_release(void)
{
	uint32_t released = 0;
	uint64_t handle = 0;
	struct loop_link *link;

	/* each link once: what the plan holds back anew stays so */
	while ((link = loop_link_find_held(handle)) != NULL) {
		handle = link->handle;
		pthread_mutex_lock(&link->lock);
		released += loop_link_release(link);
		pthread_mutex_unlock(&link->lock);
		loop_link_put(link);
	}
	return released;
}

void loop_counts(struct loop_counts *counts)
{
	counts->held = plan_counters.held;
	counts->landed_late = plan_counters.landed_late;
	counts->dropped_after_fence = plan_counters.dropped_after_fence;
	counts->dropped = plan_counters.dropped;
	counts->killed = plan_counters.killed;
}

void loop_counts_reset(void)
{
	plan_counters.held = 0;
	plan_counters.landed_late = 0;
	plan_counters.dropped_after_fence = 0;
	plan_counters.dropped = 0;
	plan_counters.killed = 0;
}
