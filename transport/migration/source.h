/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * source.h -- struct decant_migration: the controller at the source, shared by migration.c (life, stages), precopy.c
 * and first_pass.c (passes), switchover.c (hand-over) and settle.c (when in doubt)
 */
#ifndef MIGRATION_SOURCE_H
#define MIGRATION_SOURCE_H

#include "migration/auth.h"
#include "migration/forecast.h"
#include "migration/handover.h"
#include "migration/mover.h"
#include "migration/stop_list.h"
#include "migration/throttle.h"
#include "util/placement.h"
#include <decant/migration.h>
#include <pthread.h>
#include <stdbool.h>

/* Pages looked at, cleared and pushed in one go: one stripe. */
#define CHUNK_PAGES (DECANT_GRANULE_SIZE / DECANT_PAGE_SIZE)

struct decant_migration {
	/* set at creation, read-only after */
	struct decant_migration_opts opts;
	char *peer, *name, *fabric, *rails;
	struct auth_key *key; /* NULL: none; for settling, after the mover and its copy are gone */
	struct decant_vmm_ops ops;
	void *vmm;
	struct decant_memory *memory;
	uint8_t id[16];
	int event_fd;
	struct placement placement;

	/* running thread only */
	uint64_t *dirty[DECANT_REGIONS_MAX];   /* pages to send, harvested and not yet sent */
	uint32_t *sent_in[DECANT_REGIONS_MAX]; /* the pass in which each chunk was last sent for being dirty */
	uint32_t pass_number;                  /* from 1 */
	uint64_t gap_pages;                    /* gaps of up to so many pages are filled */
	struct stop_list stop_list;
	struct decant_state_writer *state;
	struct forecast forecast;
	struct throttle throttle;
	struct decant_stats now; /* published with migration_publish() */
	uint64_t start_ns, deadline_ns, progress_ns, cpu_start_ns;
	uint64_t pass_start_ns, pass_start_bytes; /* 0 ns: no pass is under way */
	uint64_t pass_gap_bytes;                  /* of clean pages that fill gaps */
	uint64_t pass_armed_ns, pass_armed_bytes; /* to re-arm what is dirty, and how much that was */
	uint32_t measured_failovers;              /* of the mover, when the last pass was measured */
	uint64_t pass_ns;                         /* of the last pass that has ended */
	uint64_t harvest_ns;                      /* of the last one, */
	uint64_t harvest_at_ns;                   /* which ended then */
	uint64_t look_ns;                         /* the last look between passes was then; 0: there was none */
	uint64_t left_ns;                         /* the pause began */
	uint32_t lease_ms;
	enum handover_source_event learnt; /* what became of GO: RUNNING, NEVER, or SILENCE */
	uint64_t aborted_ns;               /* since then nothing of the control connection is on its way */
	bool tracking, paused;
	struct placement_scope scope; /* of the thread, while it runs the migration */

	/* protected by lock */
	pthread_mutex_t lock;
	struct decant_mover *mover; /* set and cleared by the running thread */
	bool cancelled;
	bool running;
	struct decant_stats stats;
};

/* migration_publish() -- what @now says becomes visible; progress is told at most 20 times a second unless @force */
void migration_publish(struct decant_migration *migration, bool force);

/*
 * migration_step() -- the only writer of the state
 *
 * -ECANCELED: it was cancelled, and neither pause nor GO may follow. -EINVAL: @event has no place in this state.
 */
int migration_step(struct decant_migration *migration, enum handover_source_event event, struct decant_error *err);

/* precopy_run() -- passes, until it is time to switch over */
int precopy_run(struct decant_migration *migration, struct decant_error *err);

/* first_pass_send() -- pass 1, up to its acknowledged barrier: everything that has data, but for holes and zero pages */
int first_pass_send(struct decant_migration *migration, struct decant_error *err);

/* precopy_push_runs() -- push the pages set in @bitmap, whose bit 0 is the page at @offset of @region */
int precopy_push_runs(struct decant_migration *migration, uint32_t region, uint64_t offset, const uint64_t *bitmap,
		      uint64_t pages, struct decant_error *err);

/* precopy_advance() -- the progress is @permille at least; published */
void precopy_advance(struct decant_migration *migration, uint32_t permille);

/* precopy_harvest() -- fetch what is dirty into migration->dirty; the bytes that are in it now */
int precopy_harvest(struct decant_migration *migration, uint64_t *bytes, struct decant_error *err);

/* precopy_send() -- push what migration->dirty says; with the guest paused nothing is re-armed and nothing registered */
int precopy_send(struct decant_migration *migration, bool paused, struct decant_error *err);

/* precopy_pass_begin(), precopy_pass_end() -- one entry of the statistics; end takes the bytes sent since begin */
void precopy_pass_begin(struct decant_migration *migration, uint64_t dirty_pages);
void precopy_pass_more(struct decant_migration *migration, uint64_t dirty_pages);
void precopy_pass_end(struct decant_migration *migration);

/* switchover_run() -- pause to RUNNING; before GO any error leaves migration->paused set for the caller to undo */
int switchover_run(struct decant_migration *migration, struct decant_error *err);

/* switchover_account_settled() -- it runs there, but nobody has said since when: the pause is up to now at most */
void switchover_account_settled(struct decant_migration *migration);

/* settle_query() -- ask the destination's receiver once: an enum wire_fate, or a negative errno */
int settle_query(struct decant_migration *migration, uint64_t deadline_ns, struct decant_error *err);

/*
 * settle_doubt() -- ask until it is settled or @deadline_ns: SOURCE_RUNNING, SOURCE_NEVER, or SOURCE_SILENCE
 *
 * @answer: the last one, as of settle_query(), with @err if there was none.
 */
enum handover_source_event settle_doubt(struct decant_migration *migration, uint64_t deadline_ns, int *answer,
					struct decant_error *err);

/* settle_explain() -- an answer that settles nothing, in words: what it means and what to do */
const char *settle_explain(int answer);

#endif
