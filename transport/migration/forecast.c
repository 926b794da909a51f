/* SPDX-License-Identifier: BSD-2-Clause */
/* forecast.c -- when to switch over */
#include "migration/forecast.h"

#include "util/clock.h"
#include <string.h>

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

/* So many passes ahead are played; what has not come to an end by then has none in sight. */
#define LOOK_PASSES 64u

/* No time is longer than this: as many as are played ahead can be added up. */
#define TIME_NS_MAX (UINT64_MAX / 4 / LOOK_PASSES)

static uint64_t time_ns(uint64_t bytes, uint64_t rate_Bps)
{
	const double ns = (double)bytes / (double)rate_Bps * (double)NSEC_PER_SEC;

	return ns < (double)TIME_NS_MAX ? (uint64_t)ns : TIME_NS_MAX;
}

/* What travels for @bytes that are dirty: gaps are filled as they were in the last pass. */
static uint64_t with_gaps(const struct forecast *forecast, uint64_t bytes)
{
	if (forecast->filled_bytes == 0)
		return bytes;
	return bytes + (uint64_t)((double)bytes * (double)forecast->gap_bytes / (double)forecast->filled_bytes);
}

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
	if (ns != 0 && bytes < MEASURE_BYTES_MIN && forecast->rate_Bps[0] != 0) {
		const uint64_t sending_ns = time_ns(bytes, forecast->rate_Bps[0]);

		forecast->pass_fixed_ns = ns > sending_ns ? ns - sending_ns : 0;
		return;
	}
	if (ns == 0 || bytes == 0)
		return;
	for (unsigned int i = FORECAST_RATES - 1; i > 0; i--)
		forecast->rate_Bps[i] = forecast->rate_Bps[i - 1];
	forecast->rate_Bps[0] = (uint64_t)((double)bytes * (double)NSEC_PER_SEC / (double)ns);
}

void forecast_forget(struct forecast *forecast)
{
	memset(forecast->rate_Bps, 0, sizeof(forecast->rate_Bps));
}

void forecast_filled(struct forecast *forecast, uint64_t bytes, uint64_t gap_bytes)
{
	if (bytes == 0)
		return;
	forecast->filled_bytes = bytes;
	forecast->gap_bytes = gap_bytes;
}

void forecast_armed(struct forecast *forecast, uint64_t bytes, uint64_t ns)
{
	if (bytes == 0)
		return;
	forecast->armed_bytes = bytes;
	forecast->armed_ns = ns;
}

/* From the look to the pause, if it is to be with @bytes. */
static uint64_t before_pause_ns(const struct forecast *forecast, uint64_t bytes)
{
	if (forecast->armed_bytes == 0)
		return forecast->between_ns;
	return forecast->between_ns +
	       (uint64_t)((double)bytes * (double)forecast->armed_ns / (double)forecast->armed_bytes);
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
	return forecast->fixed_ns + time_ns(with_gaps(forecast, bytes), rate);
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

/* ---- what is to come ---- */

void forecast_dirtied(struct forecast *forecast, uint64_t bytes, uint64_t ns)
{
	forecast->dirtied_full = forecast->dirtied_ns > ns && bytes >= forecast->dirtied_most / 10 * 9;
	forecast->dirtied_ns = ns;
	forecast->dirtied_bytes = bytes;
	if (bytes > forecast->dirtied_most)
		forecast->dirtied_most = bytes;
}

/* What the guest will have dirtied after @ns of writing. */
static uint64_t expect_dirty(const struct forecast *forecast, uint64_t ns)
{
	double bytes;

	if (forecast->dirtied_full || forecast->dirtied_ns == 0)
		return forecast->dirtied_bytes;
	bytes = (double)forecast->dirtied_bytes * (double)ns / (double)forecast->dirtied_ns;
	return bytes < (double)forecast->dirtied_most ? (uint64_t)bytes : forecast->dirtied_most;
}

struct forecast_outlook forecast_look(const struct forecast *forecast, uint64_t bytes, uint64_t now_ns)
{
	struct forecast_outlook outlook = { .downtime_ns = forecast_downtime_ns(forecast, bytes) };
	struct forecast played = *forecast;
	uint64_t passed_ns = 0, pass_ns;

	if (forecast->rate_Bps[0] == 0)
		return outlook;
	for (unsigned int pass = 0; pass < LOOK_PASSES; pass++) {
		switch (forecast_decide(&played, bytes, now_ns + passed_ns)) {
		case FORECAST_SWITCH:
			outlook.downtime_ns = forecast_downtime_ns(&played, bytes);
			outlook.left_ns = passed_ns + before_pause_ns(forecast, bytes) + outlook.downtime_ns;
			return outlook;
		case FORECAST_NEVER:
			return outlook;
		case FORECAST_PASS:
			pass_ns = forecast->pass_fixed_ns +
				  time_ns(with_gaps(forecast, bytes), forecast->rate_Bps[0]);
			passed_ns += forecast->between_ns + pass_ns + forecast->harvest_ns;
			bytes = expect_dirty(forecast, pass_ns);
		}
	}
	return outlook;
}

uint32_t forecast_error_permille(uint64_t expected, uint64_t came)
{
	const double error = (double)(expected > came ? expected - came : came - expected);

	if (expected == came)
		return 0;
	return error * 1000 >= (double)came * UINT32_MAX ? UINT32_MAX : (uint32_t)(error * 1000 / (double)came);
}
