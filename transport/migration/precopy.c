/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * precopy.c -- the passes
 *
 * Theory of operation
 * -------------------
 * The invariant: a page's tracking is re-armed before the page is read. A write that comes later marks it dirty again, so
 * that it comes again; a write that came earlier is in what was read. Therefore pages are pushed by reference and never
 * copied, and nobody cares how often one changes on its way.
 *
 * Pass 1 sends what has data: first_pass.c. What is first written after it in a granule that was a hole is announced at the
 * head of the next pass.
 */
#include "migration/source.h"

#include "migration/gaps.h"
#include "util/bitmap.h"
#include "util/clock.h"
#include "util/log.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* What is dirty ahead is looked for again after so long, and so many times what that takes. */
#define FETCH_AHEAD_NS_MIN (5 * NSEC_PER_MSEC)
#define FETCH_AHEAD_PART 20u

/* Stopping the vCPUs, a signal each, and the threads that are woken on the way to the start at either end. */
#define PAUSE_GUESS_NS (300 * NSEC_PER_USEC)

/* Nothing that a peer has measured is taken to be longer. */
#define PEER_NS_MAX (3600 * NSEC_PER_SEC)

/* Round trips of the hand-over: barrier and its acknowledgement, HANDOVER and READY, GO and the start. */
#define HANDOVER_ROUND_TRIPS 3u

static uint64_t sent_bytes(struct decant_migration *m)
{
	struct mover_stats stats;

	mover_get_stats(m->mover, &stats);
	return stats.bytes + stats.inline_pages * DECANT_PAGE_SIZE;
}

static uint32_t failovers(struct decant_migration *m)
{
	struct mover_stats stats;

	mover_get_stats(m->mover, &stats);
	return stats.failovers;
}

void precopy_advance(struct decant_migration *m, uint32_t permille)
{
	if (permille > m->now.progress_permille)
		m->now.progress_permille = permille;
	migration_publish(m, false);
}

int precopy_push_runs(struct decant_migration *m, uint32_t region, uint64_t offset, const uint64_t *bitmap,
		      uint64_t pages, struct decant_error *err)
{
	uint64_t first = 0, run;
	int rc = 0;

	while (rc == 0 && (run = bitmap_next_run(bitmap, &first, pages)) > 0) {
		rc = decant_mover_push(m->mover, region, offset + first * DECANT_PAGE_SIZE, run * DECANT_PAGE_SIZE,
				       err);
		first += run;
	}
	return rc;
}

/* ---- later passes ---- */

int precopy_harvest(struct decant_migration *m, uint64_t *bytes, struct decant_error *err)
{
	int rc = 0;

	*bytes = 0;
	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(m->memory); i++) {
		const uint64_t pages = decant_memory_region(m->memory, i)->length / DECANT_PAGE_SIZE;

		rc = m->ops.dirty_fetch(m->vmm, i, m->dirty[i], pages, err);
		*bytes += bitmap_count(m->dirty[i], 0, pages) * DECANT_PAGE_SIZE;
	}
	m->now.remaining_bytes = *bytes;
	return rc;
}

/* Announces the granules of dirty pages that were holes until now. */
static int announce_dirty(struct decant_migration *m, uint32_t index, struct decant_error *err)
{
	const uint64_t pages = decant_memory_region(m->memory, index)->length / DECANT_PAGE_SIZE;
	uint64_t first = 0, run;
	int rc = 0;

	while (rc == 0 && (run = bitmap_next_run(m->dirty[index], &first, pages)) > 0) {
		rc = mover_announce(m->mover, index, first * DECANT_PAGE_SIZE, run * DECANT_PAGE_SIZE, err);
		first += run;
	}
	return rc;
}

static int send_inline(struct decant_migration *m, uint32_t index, uint64_t offset, const uint64_t *bitmap,
		       uint64_t pages, struct decant_error *err)
{
	uint64_t first = 0, run;
	int rc = 0;

	while (rc == 0 && (run = bitmap_next_run(bitmap, &first, pages)) > 0) {
		rc = mover_push_inline(m->mover, index, offset + first * DECANT_PAGE_SIZE, run * DECANT_PAGE_SIZE,
				       err);
		first += run;
	}
	return rc;
}

static int rearm_chunk(struct decant_migration *m, uint32_t index, uint64_t first, uint64_t pages,
		       const uint64_t *bitmap, struct decant_error *err)
{
	const uint64_t begun = clock_now_ns();
	const int rc = m->ops.dirty_clear(m->vmm, index, first, pages, bitmap, err);

	m->pass_armed_ns += clock_now_ns() - begun;
	m->pass_armed_bytes += bitmap_count(bitmap, 0, pages) * DECANT_PAGE_SIZE;
	return rc;
}

/* Sends the dirty pages of the chunk that starts at page @first, and forgets them. */
static int send_chunk(struct decant_migration *m, uint32_t index, uint64_t first, uint64_t pages, bool paused,
		      struct decant_error *err)
{
	const uint64_t offset = first * DECANT_PAGE_SIZE;
	uint64_t bitmap[CHUNK_PAGES / 64] = { 0 };
	int rc = 0;

	memcpy(bitmap, m->dirty[index] + first / 64, bitmap_words(pages) * sizeof(*bitmap));
	bitmap_clear_range(m->dirty[index], first, pages);
	if (paused && !mover_is_announced(m->mover, index, offset))
		return send_inline(m, index, offset, bitmap, pages, err);
	if (!paused) {
		rc = rearm_chunk(m, index, first, pages, bitmap, err);
		/* in the pause it would be pages of the stop list, which is on its way */
		m->pass_gap_bytes += gaps_fill(bitmap, mover_sent(m->mover, index) + first / 64, pages,
					       m->gap_pages) *
				     DECANT_PAGE_SIZE;
	}
	m->sent_in[index][first / CHUNK_PAGES] = m->pass_number;
	return rc < 0 ? rc : precopy_push_runs(m, index, offset, bitmap, pages, err);
}

/*
 * In a long pass the guest writes to pages that are still ahead. What is found of them now is sent once, in its turn; else it would be
 * dirty again in the next pass. The rule holds: the fetch has re-armed the page, or the clear before its turn will.
 */
static int fetch_ahead(struct decant_migration *m, uint32_t index, struct decant_error *err)
{
	const uint64_t pages = decant_memory_region(m->memory, index)->length / DECANT_PAGE_SIZE;
	const uint64_t now = clock_now_ns();
	int rc;

	if (now - m->harvest_at_ns < FETCH_AHEAD_NS_MIN + FETCH_AHEAD_PART * m->harvest_ns)
		return 0;
	rc = m->ops.dirty_fetch(m->vmm, index, m->dirty[index], pages, err);
	m->harvest_at_ns = clock_now_ns();
	if (m->harvest_at_ns - now > m->harvest_ns)
		m->harvest_ns = m->harvest_at_ns - now;
	return rc;
}

/* Was it dirty in the last pass, too? Then it will be again: so it is sent last, when the next harvest is near. */
static bool is_hot(const struct decant_migration *m, uint32_t index, uint64_t first)
{
	return m->sent_in[index][first / CHUNK_PAGES] == m->pass_number - 1;
}

static void note_chunk_sent(struct decant_migration *m, uint64_t bytes)
{
	const uint64_t total = m->now.data_bytes;

	m->now.remaining_bytes -= bytes < m->now.remaining_bytes ? bytes : m->now.remaining_bytes;
	precopy_advance(m,
			(uint32_t)(990 - 90 * (m->now.remaining_bytes < total ? m->now.remaining_bytes : total) /
						 (total + 1)));
}

/* The dirty chunks of a region: with the guest paused all, else those that are @hot or those that are not. */
static int send_region(struct decant_migration *m, uint32_t index, bool paused, bool hot, struct decant_error *err)
{
	const uint64_t pages = decant_memory_region(m->memory, index)->length / DECANT_PAGE_SIZE;
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && bitmap_next_run(m->dirty[index], &at, pages) > 0) {
		const uint64_t first = at / CHUNK_PAGES * CHUNK_PAGES;
		const uint64_t count = pages - first < CHUNK_PAGES ? pages - first : CHUNK_PAGES;
		const uint64_t bytes = bitmap_count(m->dirty[index], first, count) * DECANT_PAGE_SIZE;

		at = first + count;
		if (!paused && is_hot(m, index, first) != hot)
			continue;
		rc = send_chunk(m, index, first, count, paused, err);
		if (rc < 0 || paused)
			continue;
		note_chunk_sent(m, bytes);
		rc = fetch_ahead(m, index, err);
	}
	return rc;
}

static int send_regions(struct decant_migration *m, bool paused, bool hot, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(m->memory); i++)
		rc = send_region(m, i, paused, hot, err);
	return rc;
}

int precopy_send(struct decant_migration *m, bool paused, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && !paused && i < decant_memory_count(m->memory); i++)
		rc = announce_dirty(m, i, err);
	if (rc == 0)
		rc = send_regions(m, paused, false, err);
	if (rc == 0 && !paused)
		rc = send_regions(m, paused, true, err);
	return rc;
}

/* ---- statistics of a pass ---- */

void precopy_pass_begin(struct decant_migration *m, uint64_t dirty_pages)
{
	struct decant_pass *pass;

	if (m->now.passes < DECANT_PASSES_MAX)
		m->now.passes++;
	m->pass_number++;
	pass = &m->now.pass[m->now.passes - 1];
	pass->dirty_pages += dirty_pages;
	m->pass_start_ns = clock_now_ns();
	m->pass_start_bytes = sent_bytes(m);
	m->pass_gap_bytes = m->pass_armed_ns = m->pass_armed_bytes = 0;
	if (m->look_ns != 0)
		m->forecast.between_ns = m->pass_start_ns - m->look_ns;
}

void precopy_pass_more(struct decant_migration *m, uint64_t dirty_pages)
{
	m->now.pass[m->now.passes - 1].dirty_pages += dirty_pages;
}

/* It may be another fabric since the last pass was measured. Of a pass with both the forecast makes do until the next. */
static void forget_lost_fabric(struct decant_migration *m)
{
	const uint32_t now = failovers(m);

	if (now != m->measured_failovers)
		forecast_forget(&m->forecast);
	m->measured_failovers = now;
}

void precopy_pass_end(struct decant_migration *m)
{
	struct decant_pass *pass = &m->now.pass[m->now.passes - 1];
	const uint64_t bytes = sent_bytes(m) - m->pass_start_bytes;
	const uint64_t needed = bytes - (m->pass_gap_bytes < bytes ? m->pass_gap_bytes : bytes);
	const uint64_t ns = clock_now_ns() - m->pass_start_ns;

	pass->bytes += bytes;
	pass->ns += ns;
	m->pass_ns = ns;
	m->now.rate_Bps = ns == 0 ? 0 : (uint64_t)((double)needed * (double)NSEC_PER_SEC / (double)ns);
	if (m->now.passes == 1)
		m->now.throughput_Bps = m->now.rate_Bps;
	m->pass_start_ns = 0;
	forget_lost_fabric(m);
	forecast_measured(&m->forecast, bytes, ns);
	forecast_filled(&m->forecast, needed, m->pass_gap_bytes);
	forecast_armed(&m->forecast, m->pass_armed_bytes, m->pass_armed_ns);
}

/* ---- the loop ---- */

/* What a peer says, but no sum of it shall wrap. */
static uint64_t plausible(uint64_t ns)
{
	return ns < PEER_NS_MAX ? ns : PEER_NS_MAX;
}

/* What the pause costs even if nothing is left; the best round trip, and so this, is only known better with time. */
static uint64_t fixed_costs_ns(struct decant_migration *m)
{
	const struct wire_prepared *prepared = mover_prepared(m->mover);
	/* a page of the stop list that was written again comes behind a barrier there */
	const uint64_t round_trips = HANDOVER_ROUND_TRIPS + (mover_is_relaxed(m->mover) ? 1 : 0);

	return PAUSE_GUESS_NS + m->harvest_ns + plausible(prepared->save_ns) + plausible(prepared->load_ns) +
	       round_trips * peer_round_trip_ns(mover_peer(m->mover));
}

/* What is to be expected is told after each pass, and kept, to be judged when it has come. */
static void note_outlook(struct decant_migration *m, uint64_t bytes, uint64_t now)
{
	const struct forecast_outlook outlook = forecast_look(&m->forecast, bytes, now);

	m->now.forecast_downtime_ns = outlook.downtime_ns;
	m->now.forecast_total_ns = outlook.left_ns;
	m->now.forecast[m->now.passes - 1] = (struct decant_forecast){
		.made_ns = now - m->start_ns,
		.left_ns = outlook.left_ns,
		.downtime_ns = outlook.downtime_ns,
	};
}

/* Between two passes: what is dirty now, and what to do about it. */
static int look(struct decant_migration *m, enum forecast_decision *decision, struct decant_error *err)
{
	const uint64_t pass_ns = m->pass_ns;
	const uint64_t begun = clock_now_ns();
	uint64_t bytes, now;
	int rc = precopy_harvest(m, &bytes, err);

	if (rc < 0)
		return rc;
	now = clock_now_ns();
	m->harvest_ns = m->forecast.harvest_ns = now - begun;
	m->harvest_at_ns = m->look_ns = now;
	m->gap_pages = gaps_worth(forecast_rate_Bps(&m->forecast), mover_write_cost_ns(m->mover));
	m->now.dirty_rate_Bps = pass_ns == 0 ? 0
					     : (uint64_t)((double)bytes * (double)NSEC_PER_SEC / (double)pass_ns);
	m->forecast.fixed_ns = fixed_costs_ns(m);
	forecast_dirtied(&m->forecast, bytes, pass_ns);
	note_outlook(m, bytes, now);
	*decision = forecast_decide(&m->forecast, bytes, now);
	log_debug(&m->opts.log,
		  "pass %u: %" PRIu64 " KiB dirty, forecast of the pause %" PRIu64 " us, of the time left %" PRIu64
		  " us",
		  m->now.passes, bytes >> 10, m->now.forecast_downtime_ns / 1000, m->now.forecast_total_ns / 1000);
	/* a guest that does not get nearer may have thousands of short passes */
	migration_publish(m, m->now.passes < DECANT_PASSES_MAX);
	return 0;
}

static int give_up(struct decant_migration *m, struct decant_error *err)
{
	char throttled[96];

	return decant_error_set(err, -ETIME,
				"the guest dirties memory at %" PRIu64 " MB/s and the fabric carries %" PRIu64
				" MB/s%s: %" PRIu64 " MiB would be left for a pause of %" PRIu64
				" ms, the limit is %" PRIu64
				" ms; raise --max-downtime, %smigrate when the guest is less busy",
				m->now.dirty_rate_Bps / 1000000, forecast_rate_Bps(&m->forecast) / 1000000,
				throttle_words(m, throttled, sizeof(throttled)), m->now.remaining_bytes >> 20,
				m->now.forecast_downtime_ns / NSEC_PER_MSEC,
				m->opts.max_downtime_ns / NSEC_PER_MSEC,
				m->throttle.begun ? "or " : "slow it by --if-not-converging throttle, or ");
}

/*
 * What is sent in the pause is to be writable before it. An epoch that was opened after a failover knows nothing of granules that were
 * announced before it, and have been clean since: their pages would all have to travel on the control connection.
 */
static int settle_granules(struct decant_migration *m, struct decant_error *err)
{
	uint32_t before;
	int rc = 0;

	do {
		before = failovers(m);
		for (uint32_t i = 0; rc == 0 && before > 0 && i < decant_memory_count(m->memory); i++)
			rc = announce_dirty(m, i, err);
		if (rc == 0)
			rc = mover_settle_granules(m->mover, err);
	} while (rc == 0 && failovers(m) != before);
	return rc;
}

int precopy_run(struct decant_migration *m, struct decant_error *err)
{
	enum forecast_decision decision;
	int rc = first_pass_send(m, err);

	while (rc == 0) {
		mover_release(m->mover);
		rc = look(m, &decision, err);
		if (rc == 0)
			rc = throttle_step(m, &decision, err);
		if (rc == 0 && decision == FORECAST_SWITCH)
			return settle_granules(m, err);
		if (rc < 0)
			return rc;
		if (decision == FORECAST_NEVER)
			return give_up(m, err);
		precopy_pass_begin(m, m->now.remaining_bytes / DECANT_PAGE_SIZE);
		rc = precopy_send(m, false, err);
		if (rc == 0)
			rc = decant_mover_barrier(m->mover, err);
		precopy_pass_end(m);
	}
	return rc;
}
