/* SPDX-License-Identifier: BSD-2-Clause */
/* forecast.c -- when to switch over */
#include "migration/forecast.h"

#include "util/clock.h"

/* A pass below this says more about the barrier's round trip than about the fabric's rate. */
#define MEASURE_BYTES_MIN (4u << 20)

/* Less than this is not worth another pass. */
#define SMALL_NS (2 * NSEC_PER_MSEC)

/* Another pass is worth it if the last one left less than three quarters of what the one before it did. */
#define SHRINK_NUMERATOR 3u
#define SHRINK_DENOMINATOR 4u

/* It never fits: so many decisions, and so long, without getting a tenth nearer. */
#define STAGNANT_MAX 5u
#define STAGNANT_NS (3 * NSEC_PER_SEC)

void forecast_init(struct forecast *forecast, uint64_t max_downtime_ns, uint64_t data_bytes)
{
	*forecast = (struct forecast){
		.max_downtime_ns = max_downtime_ns,
		.last_bytes = data_bytes,
		.best_bytes = UINT64_MAX,
	};
}

void forecast_measured(struct forecast *forecast, uint64_t bytes, uint64_t ns)
{
	/* the first pass counts however short: a rate from it is better than none */
	if (ns == 0 || bytes == 0 || (bytes < MEASURE_BYTES_MIN && forecast->rate_Bps[0] != 0))
		return;
	for (unsigned int i = FORECAST_RATES - 1; i > 0; i--)
		forecast->rate_Bps[i] = forecast->rate_Bps[i - 1];
	forecast->rate_Bps[0] = (uint64_t)((double)bytes * (double)NSEC_PER_SEC / (double)ns);
}

uint64_t forecast_rate_Bps(const struct forecast *forecast)
{
	uint64_t best = 0;

	for (unsigned int i = 0; i < FORECAST_RATES; i++)
		if (forecast->rate_Bps[i] > best)
			best = forecast->rate_Bps[i];
	return best;
}

uint64_t forecast_downtime_ns(const struct forecast *forecast, uint64_t bytes)
{
	const uint64_t rate = forecast_rate_Bps(forecast);

	if (bytes == 0)
		return forecast->fixed_ns;
	if (rate == 0)
		return UINT64_MAX;
	return forecast->fixed_ns + (uint64_t)((double)bytes / (double)rate * (double)NSEC_PER_SEC);
}

/* It fits. Would another pass make it much shorter? */
static enum forecast_decision decide_fitting(const struct forecast *forecast, uint64_t bytes, uint64_t last)
{
	if (forecast_downtime_ns(forecast, bytes) - forecast->fixed_ns <= SMALL_NS)
		return FORECAST_SWITCH;
	return bytes < last / SHRINK_DENOMINATOR * SHRINK_NUMERATOR ? FORECAST_PASS : FORECAST_SWITCH;
}

enum forecast_decision forecast_decide(struct forecast *forecast, uint64_t bytes, uint64_t now_ns)
{
	const uint64_t last = forecast->last_bytes;

	forecast->last_bytes = bytes;
	if (forecast_downtime_ns(forecast, bytes) <= forecast->max_downtime_ns)
		return decide_fitting(forecast, bytes, last);
	if (forecast->best_bytes == UINT64_MAX || bytes < forecast->best_bytes / 10 * 9) {
		forecast->best_bytes = bytes;
		forecast->stagnant = 0;
		forecast->stagnant_since_ns = now_ns;
		return FORECAST_PASS;
	}
	forecast->stagnant++;
	if (forecast->stagnant >= STAGNANT_MAX && now_ns - forecast->stagnant_since_ns >= STAGNANT_NS)
		return FORECAST_NEVER;
	return FORECAST_PASS;
}
