/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * throttle.h -- slows the vCPUs that dirty memory, until pre-copy converges
 *
 * Theory of operation
 * -------------------
 * Pre-copy converges if a pass leaves clearly less to send than it has sent: half of it here. Where it does not, and has not for some
 * passes, the vCPUs are to dirty less by that ratio, and after the next pass it is looked at again. So the share of time for which a
 * vCPU is kept from running rises in steps, the larger the further the dirty rate is from what converges, and stays when it
 * does. Steps it takes because a pass sees a page once, however often it was written: how fast a guest writes that
 * dirties its whole working set in a pass shows only when it has become slow enough not to.
 *
 * Who is slowed: what the vCPUs may dirty together is given out like water among vessels. There is one level; a vCPU that
 * dirties less keeps all its time, the others are brought down to it. A slowed vCPU that hardly dirties any more gets time back.
 */
#ifndef MIGRATION_THROTTLE_H
#define MIGRATION_THROTTLE_H

#include "migration/forecast.h"
#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct decant_migration;

struct throttle_vcpu {
	uint64_t dirtied; /* pages in all, when it was last looked at */
	uint64_t pages;   /* of them, those since the time before; where nobody knows, 1 */
	uint32_t share;   /* permille of its time that it is kept from running */
	uint32_t share_max;
};

/* The running thread's. All zero: nothing begun. */
struct throttle {
	struct throttle_vcpu *vcpu; /* @count of them */
	uint32_t count;
	bool alike;        /* nobody knows who dirties */
	bool begun;        /* something was slowed at some time */
	uint32_t in_vain;  /* decisions in a row that it will never fit, with nothing left to slow */
	uint64_t since_ns; /* something is slowed since; 0: nothing is */
};

/*
 * throttle_keep() -- how much of what it dirties the guest may keep, in permille
 *
 * @dirty_Bps is what it dirties, @rate_Bps what the fabric carries. 1000: it converges. Never less than a quarter: a step.
 */
uint32_t throttle_keep(uint64_t dirty_Bps, uint64_t rate_Bps);

/* throttle_plan() -- new shares, so that together they dirty @keep permille of their @pages. Has any risen? */
bool throttle_plan(struct throttle_vcpu *vcpu, uint32_t count, uint32_t keep);

/*
 * throttle_step() -- after a pass, with the policy throttle: slow the vCPUs if it does not converge
 *
 * Turns *@decision from FORECAST_NEVER to FORECAST_PASS as long as there is something left to slow. Returns 0 or why the VMM could not.
 */
int throttle_step(struct decant_migration *migration, enum forecast_decision *decision, struct decant_error *err);

/* throttle_end() -- give every vCPU its time back; idempotent */
void throttle_end(struct decant_migration *migration);

/* throttle_words() -- for the message that it does not converge: what was slowed, or what could be; "" or begins with ", " */
const char *throttle_words(const struct decant_migration *migration, char *text, size_t length);

void throttle_destroy(struct throttle *throttle);

#endif
