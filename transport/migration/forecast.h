/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forecast.h -- when to switch over: the pause that is to be expected, and whether another pass would help
 *
 * Pure arithmetic. The expected pause is what is left to send by the rate measured so far, and the fixed costs: stopping
 * the vCPUs, saving and loading the state (measured by the destination on its fresh VM), and the round trips of the hand-over.
 */
#ifndef MIGRATION_FORECAST_H
#define MIGRATION_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#define FORECAST_RATES 4u

struct forecast {
	/* given */
	uint64_t max_downtime_ns;
	uint64_t fixed_ns;

	/* learnt */
	uint64_t rate_Bps[FORECAST_RATES]; /* of the last passes, newest first; 0: none */
	uint64_t last_bytes;               /* what was left when the last decision was made */
	uint64_t best_bytes;               /* the least that ever was left while it did not fit */
	uint32_t stagnant;                 /* decisions in a row without a better best_bytes */
	uint64_t stagnant_since_ns;
};

enum forecast_decision {
	FORECAST_PASS,   /* send what is dirty, and look again */
	FORECAST_SWITCH, /* it fits, and would not get much shorter */
	FORECAST_NEVER,  /* it does not fit, and does not get shorter */
};

void forecast_init(struct forecast *forecast, uint64_t max_downtime_ns, uint64_t data_bytes);

/* forecast_measured() -- a pass has sent @bytes in @ns, its barrier included. Passes too short to tell anything are ignored. */
void forecast_measured(struct forecast *forecast, uint64_t bytes, uint64_t ns);

/* forecast_rate_Bps() -- the best of the last passes: with the vCPUs stopped it will hardly be less. 0: unknown */
uint64_t forecast_rate_Bps(const struct forecast *forecast);

/* forecast_downtime_ns() -- if the guest were paused now with @bytes left; UINT64_MAX: unknown */
uint64_t forecast_downtime_ns(const struct forecast *forecast, uint64_t bytes);

/* forecast_decide() -- after a pass, with @bytes dirty now */
enum forecast_decision forecast_decide(struct forecast *forecast, uint64_t bytes, uint64_t now_ns);

#endif
