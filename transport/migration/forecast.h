/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forecast.h -- when to switch over: the pause that is to be expected, whether another pass would help, and when it will end
 *
 * Pure arithmetic. The pause, if the guest were stopped now, is what is left to send by the rate measured so far, and the fixed costs: stopping
 * the vCPUs, saving and loading the state (measured by the destination on its fresh VM), and the round trips of the hand-over.
 *
 * The rate is that of all that travels. What is dirty counts for more than it is: between its runs travel pages that fill gaps (gaps.h).
 *
 * What the end will be like is found by playing the passes to come with the same rule of when to switch over. A pass takes its bytes by
 * the last rate, and what any pass costs. In that time the guest writes at the rate that the last pass has shown, but never
 * more pages than it ever did: that is its working set. A pass that was shorter than the one before it and yet found as much
 * dirty says that the working set was full, so the next will be, too. Between passes the dirty log is fetched and the outlook told; before the
 * pause the last pages are re-armed and listed. Of a second these are nothing, of a millisecond the half.
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
	uint64_t pass_fixed_ns; /* of a pass, whatever it sends */
	uint64_t between_ns;    /* from a look to what follows it: the callers' progress is told */
	uint64_t harvest_ns;    /* from the end of a pass to the look */
	uint64_t armed_ns;      /* to re-arm, in the last pass, */
	uint64_t armed_bytes;   /* so much; 0: none yet */
	uint64_t filled_bytes;  /* a pass that sent so much that was dirty, the last one, 0: none yet, */
	uint64_t gap_bytes;     /* has filled gaps with so much that was not */
	uint64_t dirtied_ns;    /* in a pass that took so long, the last one, 0: none yet, */
	uint64_t dirtied_bytes; /* so much became dirty */
	uint64_t dirtied_most;  /* in any */
	bool dirtied_full;      /* as much as in a longer one */
};

/* What is to be expected. */
struct forecast_outlook {
	uint64_t left_ns;     /* to the guest running at the destination; 0: it cannot be told, or never */
	uint64_t downtime_ns; /* of that the pause; if it cannot be told: if it were now */
};

enum forecast_decision {
	FORECAST_PASS,   /* send what is dirty, and look again */
	FORECAST_SWITCH, /* it fits, and would not get much shorter */
	FORECAST_NEVER,  /* it does not fit, and does not get shorter */
};

void forecast_init(struct forecast *forecast, uint64_t max_downtime_ns, uint64_t data_bytes);

/* forecast_measured() -- a pass has sent @bytes in @ns, its barrier included. Passes too short to tell anything are ignored. */
void forecast_measured(struct forecast *forecast, uint64_t bytes, uint64_t ns);

/* forecast_forget() -- another fabric carries from now on: what was measured says nothing of it */
void forecast_forget(struct forecast *forecast);

/* forecast_filled() -- for @bytes that were dirty, a pass has filled gaps with @gap_bytes of clean pages */
void forecast_filled(struct forecast *forecast, uint64_t bytes, uint64_t gap_bytes);

/* forecast_armed() -- to re-arm @bytes has taken @ns, as it will before the pause */
void forecast_armed(struct forecast *forecast, uint64_t bytes, uint64_t ns);

/* forecast_rate_Bps() -- the best of the last passes: with the vCPUs stopped it will hardly be less. 0: unknown */
uint64_t forecast_rate_Bps(const struct forecast *forecast);

/* forecast_downtime_ns() -- if the guest were paused now with @bytes left; UINT64_MAX: unknown */
uint64_t forecast_downtime_ns(const struct forecast *forecast, uint64_t bytes);

/* forecast_dirtied() -- in the pass that took @ns the guest has dirtied @bytes */
void forecast_dirtied(struct forecast *forecast, uint64_t bytes, uint64_t ns);

/* forecast_look() -- what is to be expected at @now_ns with @bytes dirty; before forecast_decide() is asked */
struct forecast_outlook forecast_look(const struct forecast *forecast, uint64_t bytes, uint64_t now_ns);

/* forecast_error_permille() -- how far off @expected was, in thousandths of what @came; UINT32_MAX at most */
uint32_t forecast_error_permille(uint64_t expected, uint64_t came);

/* forecast_decide() -- after a pass, with @bytes dirty now */
enum forecast_decision forecast_decide(struct forecast *forecast, uint64_t bytes, uint64_t now_ns);

#endif
