/* SPDX-License-Identifier: BSD-2-Clause */
/* migration.c -- the controller at the source: decant_migration_*, its stages and what undoes them */
#include "migration/source.h"

#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_NS (50 * NSEC_PER_MSEC)

/* The state of some dozens of vCPUs finds its room made; more takes it in the pause. */
#define STATE_ROOM (1u << 20)
#define STATE_RECORDS 4096u

/* The guest looks at all its memory before it answers: this, and so much per byte. */
#define VERDICT_NS_BASE (60 * NSEC_PER_SEC)
#define VERDICT_NS_PER_MIB (100 * NSEC_PER_MSEC)

const char *decant_strstate(enum decant_migration_state state)
{
	static const char *const names[] = {
		[DECANT_STATE_NEW] = "new",
		[DECANT_STATE_CONNECTING] = "connecting",
		[DECANT_STATE_PRECOPY] = "precopy",
		[DECANT_STATE_SWITCHOVER] = "switchover",
		[DECANT_STATE_GO] = "go",
		[DECANT_STATE_COMPLETED] = "completed",
		[DECANT_STATE_FAILED] = "failed",
		[DECANT_STATE_CANCELLED] = "cancelled",
		[DECANT_STATE_IN_DOUBT] = "in-doubt",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == DECANT_STATE_IN_DOUBT + 1, "a name for each state");
	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* ---- state and statistics ---- */

int migration_step(struct decant_migration *m, enum handover_source_event event, struct decant_error *err)
{
	const bool too_late = event == SOURCE_PAUSE || event == SOURCE_READY;
	int next;

	{
		DECANT_AUTO_UNLOCK(&m->lock);
		if (too_late && m->cancelled)
			return decant_error_set(err, -ECANCELED, "cancelled");
		next = handover_next(&handover_source, m->stats.state, event, err);
		if (next < 0)
			return next;
		m->now.state = m->stats.state = (enum decant_migration_state)next;
	}
	m->now.state_ns[next] = clock_now_ns();
	io_wake_set(m->event_fd);
	migration_publish(m, true);
	return 0;
}

/* The rate of the pass that is under way, and what that says of the time left; a pass that has ended knows better. */
static void collect_rate(struct decant_migration *m)
{
	const uint64_t ns = clock_now_ns() - m->pass_start_ns;
	const uint64_t sent = m->now.sent_bytes - m->pass_start_bytes;
	const uint64_t bytes = sent - (m->pass_gap_bytes < sent ? m->pass_gap_bytes : sent);

	if (m->now.state != DECANT_STATE_PRECOPY || m->pass_start_ns == 0 || ns < PROGRESS_NS / 2 || bytes == 0)
		return;
	m->now.rate_Bps = (uint64_t)((double)bytes * (double)NSEC_PER_SEC / (double)ns);
	if (m->now.passes == 1)
		m->now.forecast_total_ns = (uint64_t)((double)m->now.remaining_bytes / (double)bytes * (double)ns);
}

/* It may have changed: RDMA that is lost goes over to TCP. */
static void collect_fabric(struct decant_migration *m)
{
	snprintf(m->now.fabric, sizeof(m->now.fabric), "%s", mover_fabric(m->mover));
	snprintf(m->now.fabric_reason, sizeof(m->now.fabric_reason), "%s", mover_fabric_reason(m->mover));
	m->now.channels = mover_channels(m->mover);
}

static void collect(struct decant_migration *m)
{
	struct mover_stats stats;

	if (m->mover == NULL)
		return;
	collect_fabric(m);
	mover_get_stats(m->mover, &stats);
	m->now.sent_bytes = stats.bytes + stats.inline_pages * DECANT_PAGE_SIZE;
	m->now.pages_sent = m->now.sent_bytes / DECANT_PAGE_SIZE;
	collect_rate(m);
	m->now.inline_pages = stats.inline_pages;
	m->now.writes = stats.writes;
	m->now.zero_copy_bytes = stats.zero_copy_bytes;
	m->now.failovers = stats.failovers;
	m->now.source_cpu_ns = stats.cpu_ns + clock_thread_cpu_ns() - m->cpu_start_ns;
	if (stats.first_byte_ns != 0)
		m->now.setup_ns = stats.first_byte_ns - m->start_ns;
}

void migration_publish(struct decant_migration *m, bool force)
{
	const uint64_t now = clock_now_ns();

	if (!force && now - m->progress_ns < PROGRESS_NS)
		return;
	/* with the guest paused nobody is told anything: it would cost the guest time */
	if (m->paused && !force)
		return;
	m->progress_ns = now;
	collect(m);
	{
		DECANT_AUTO_UNLOCK(&m->lock);
		m->stats = m->now;
	}
	if (m->opts.progress != NULL && !m->paused)
		m->opts.progress(m->opts.opaque, &m->now);
}

void decant_migration_get_stats(struct decant_migration *m, struct decant_stats *stats)
{
	struct decant_stats now;

	{
		DECANT_AUTO_UNLOCK(&m->lock);
		now = m->stats;
	}
	now.size = stats->size < sizeof(now) ? stats->size : sizeof(now);
	memcpy(stats, &now, now.size);
}

int decant_migration_get_fd(const struct decant_migration *m)
{
	return m->event_fd;
}

void decant_migration_cancel(struct decant_migration *m)
{
	DECANT_AUTO_UNLOCK(&m->lock);
	if (handover_next(&handover_source, m->stats.state, SOURCE_CANCEL, NULL) < 0)
		return;
	m->cancelled = true;
	if (m->mover != NULL)
		decant_mover_cancel(m->mover);
}

void decant_migration_punched(struct decant_migration *m, uint32_t region, uint64_t offset, uint64_t length)
{
	DECANT_AUTO_UNLOCK(&m->lock);
	if (m->mover != NULL)
		decant_mover_punched(m->mover, region, offset, length);
}

/* ---- life ---- */

static int check_policy(enum decant_not_converging policy, const struct decant_vmm_ops *ops,
			struct decant_error *err)
{
	switch (policy) {
	case DECANT_NOT_CONVERGING_ABORT:
		return 0;
	case DECANT_NOT_CONVERGING_THROTTLE:
		if (ops->vcpu_dirtied != NULL && ops->throttle != NULL)
			return 0;
		return decant_error_set(
			err, -EINVAL,
			"if-not-converging: this VMM cannot slow its vCPUs (vcpu_dirtied, throttle); "
			"use abort");
	default:
		return decant_error_set(err, -EINVAL, "if-not-converging: %d is neither abort nor throttle",
					(int)policy);
	}
}

static int check_opts(const struct decant_migration_opts *opts, const struct decant_vmm_ops *ops,
		      struct decant_error *err)
{
	if (opts->peer == NULL)
		return decant_error_set(err, -EINVAL, "no destination: give HOST:PORT");
	if (opts->max_downtime_ns == 0)
		return decant_error_set(err, -EINVAL, "max-downtime must be longer than 0");
	if (opts->peer_timeout_ns < 100 * NSEC_PER_MSEC)
		return decant_error_set(err, -EINVAL, "peer timeout: 100 ms or more");
	if ((unsigned)opts->zero_scan > DECANT_ZERO_SCAN_OFF)
		return decant_error_set(err, -EINVAL, "zero_scan: %d is none; see enum decant_zero_scan",
					opts->zero_scan);
	if (ops->shape_save == NULL || ops->dirty_start == NULL || ops->dirty_fetch == NULL ||
	    ops->dirty_clear == NULL || ops->dirty_stop == NULL || ops->pause == NULL || ops->resume == NULL ||
	    ops->state_save == NULL)
		return decant_error_set(err, -EINVAL,
					"a source needs shape_save, dirty_*, pause, resume and state_save");
	return check_policy(opts->if_not_converging, ops, err);
}

static int copy_strings(struct decant_migration *m, const struct decant_migration_opts *opts)
{
	m->peer = strdup(opts->peer);
	m->name = strdup(opts->name != NULL ? opts->name : "");
	m->fabric = strdup(opts->fabric != NULL ? opts->fabric : "auto");
	m->opts.peer = m->peer;
	m->opts.name = m->name;
	m->opts.fabric = m->fabric;
	if (opts->rails != NULL) {
		m->rails = strdup(opts->rails);
		if (m->rails == NULL)
			return -ENOMEM;
	}
	m->opts.rails = m->rails;
	return m->peer != NULL && m->name != NULL && m->fabric != NULL ? 0 : -ENOMEM;
}

static int allocate_bitmaps(struct decant_migration *m)
{
	for (uint32_t i = 0; i < decant_memory_count(m->memory); i++) {
		const uint64_t pages = decant_memory_region(m->memory, i)->length / DECANT_PAGE_SIZE;

		m->dirty[i] = bitmap_new(pages);
		m->sent_in[i] = calloc(pages / CHUNK_PAGES + 1, sizeof(*m->sent_in[i]));
		if (m->dirty[i] == NULL || m->sent_in[i] == NULL)
			return -ENOMEM;
	}
	return 0;
}

int decant_migration_new(const struct decant_migration_opts *opts, const struct decant_vmm_ops *ops, void *vmm,
			 struct decant_memory *memory, struct decant_migration **out, struct decant_error *err)
{
	struct decant_migration_opts known = DECANT_MIGRATION_OPTS_INIT;
	struct decant_vmm_ops known_ops = { 0 };
	struct decant_migration *m;
	int rc;

	memcpy(&known, opts, opts->size < sizeof(known) ? opts->size : sizeof(known));
	memcpy(&known_ops, ops, ops->size < sizeof(known_ops) ? ops->size : sizeof(known_ops));
	rc = check_opts(&known, &known_ops, err);
	if (rc < 0)
		return rc;
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return decant_error_set(err, -ENOMEM, "migration: out of memory");
	pthread_mutex_init(&m->lock, NULL);
	m->opts = known;
	m->ops = known_ops;
	m->vmm = vmm;
	m->memory = memory;
	m->event_fd = io_wake_new();
	rc = m->event_fd < 0 ? m->event_fd : copy_strings(m, &known);
	if (rc == 0)
		rc = allocate_bitmaps(m);
	if (rc == 0 && getrandom(m->id, sizeof(m->id), 0) != sizeof(m->id))
		rc = -errno;
	if (rc == 0)
		rc = decant_state_writer_new(&m->state, err);
	if (rc == 0)
		rc = decant_state_writer_reserve(m->state, STATE_ROOM, STATE_RECORDS, err);
	if (rc < 0) {
		decant_migration_free(m);
		return decant_error_set(err, rc, "migration: %s", strerror(-rc));
	}
	rc = known.key != NULL ? auth_key_new(known.key, known.key_length, &m->key, err) : 0;
	if (rc == 0)
		rc = placement_new(known.cpus, &m->placement, err);
	/* they are the caller's */
	m->opts.key = NULL;
	m->opts.cpus = NULL;
	if (rc < 0) {
		decant_migration_free(m);
		return rc;
	}
	m->learnt = SOURCE_SILENCE;
	m->now.size = sizeof(m->now);
	m->now.ram_bytes = decant_memory_bytes(memory);
	m->stats = m->now;
	*out = m;
	return 0;
}

void decant_migration_free(struct decant_migration *m)
{
	if (m == NULL)
		return;
	for (uint32_t i = 0; i < DECANT_REGIONS_MAX; i++) {
		free(m->dirty[i]);
		free(m->sent_in[i]);
	}
	decant_state_writer_free(m->state);
	stop_list_free(&m->stop_list);
	throttle_destroy(&m->throttle);
	if (m->event_fd >= 0)
		close(m->event_fd);
	pthread_mutex_destroy(&m->lock);
	free(m->peer);
	free(m->name);
	free(m->fabric);
	free(m->rails);
	auth_key_free(m->key);
	free(m);
}

/* ---- stages ---- */

static int make_mover(struct decant_migration *m, struct decant_error *err)
{
	struct mover_setup setup = {
		.opts = DECANT_MOVER_OPTS_INIT,
		.purpose = WIRE_PURPOSE_MIGRATE,
		.connect_timeout_ns = m->opts.peer_timeout_ns,
		.placement = &m->placement,
	};
	struct decant_mover *mover;
	int rc;

	setup.opts.peer = m->peer;
	setup.opts.name = m->name;
	setup.opts.fabric = m->fabric;
	setup.opts.rails = m->rails;
	setup.opts.channels = m->opts.channels;
	setup.opts.bandwidth_Bps = m->opts.bandwidth_Bps;
	setup.opts.zero_copy = m->opts.zero_copy;
	setup.opts.peer_timeout_ns = m->opts.peer_timeout_ns;
	setup.opts.log = m->opts.log;
	setup.key = m->key;
	memcpy(setup.id, m->id, sizeof(setup.id));
	rc = mover_new(&setup, m->memory, &mover, err);
	if (rc < 0)
		return rc;
	mover_set_deadline(mover, m->deadline_ns, "the migration did not end within --timeout");
	DECANT_AUTO_UNLOCK(&m->lock);
	m->mover = mover;
	/* cancelled before there was anything to cancel */
	if (m->cancelled)
		decant_mover_cancel(mover);
	return 0;
}

static int stage_connect(struct decant_migration *m, struct decant_error *err)
{
	struct decant_state_writer *shape;
	const void *bytes;
	size_t length;
	int rc = make_mover(m, err);

	if (rc < 0)
		return rc;
	rc = migration_step(m, SOURCE_CONNECT, err);
	if (rc == 0)
		rc = decant_state_writer_new(&shape, err);
	if (rc < 0)
		return rc;
	rc = m->ops.shape_save(m->vmm, shape, err);
	bytes = decant_state_writer_bytes(shape, &length);
	if (rc == 0)
		rc = mover_open(m->mover, bytes, length, err);
	decant_state_writer_free(shape);
	if (rc < 0)
		return rc;
	m->lease_ms = mover_lease_ms(m->mover);
	placement_near(&m->scope, mover_node(m->mover));
	return 0;
}

/* The clocks are matched by the heartbeat, whose first rounds take some milliseconds. */
static int await_clock(struct decant_migration *m, struct decant_error *err)
{
	const struct timespec wait = { .tv_nsec = (long)NSEC_PER_MSEC };
	int64_t offset_ns;
	uint64_t error_ns;
	int rc = 0;

	while (rc == 0 && !peer_clock(mover_peer(m->mover), &offset_ns, &error_ns)) {
		nanosleep(&wait, NULL);
		rc = mover_check(m->mover, err);
	}
	return rc;
}

static int stage_precopy(struct decant_migration *m, struct decant_error *err)
{
	int rc;

	if (m->ops.gap_reset != NULL)
		m->ops.gap_reset(m->vmm);
	m->tracking = true;
	rc = m->ops.dirty_start(m->vmm, err);
	if (rc < 0)
		return rc;
	rc = migration_step(m, SOURCE_PREPARED, err);
	if (rc == 0)
		rc = await_clock(m, err);
	if (rc < 0)
		return rc;
	forecast_init(&m->forecast, m->opts.max_downtime_ns, decant_memory_allocated(m->memory));
	return precopy_run(m, err);
}

static int take_verdict(struct decant_migration *m, struct decant_error *err)
{
	struct peer_message message;
	struct wire_verdict verdict;
	int rc = mover_send(m->mover, WIRE_VERDICT_ASK, NULL, 0, NULL, 0, err);

	if (rc == 0)
		rc = mover_receive(m->mover, WIRE_VERDICT, &message, err);
	if (rc < 0)
		return rc;
	rc = wire_verdict_decode(&verdict, message.payload, message.length, err);
	peer_message_free(&message);
	if (rc < 0)
		return rc;
	m->now.verdict.status = (enum decant_verdict_status)verdict.status;
	m->now.verdict.pause_ns = verdict.pause_ns;
	m->now.verdict.work_rate = verdict.work_rate;
	memcpy(m->now.verdict.text, verdict.text, sizeof(m->now.verdict.text));
	return 0;
}

/*
 * The first pass alone does not tell how the guest writes, so the forecast after it does not count. The end that was foretold is the guest
 * running there, not this end hearing of it.
 */
static void judge_forecasts(struct decant_stats *now, uint64_t left_ns)
{
	const uint64_t end_ns = left_ns + now->downtime_ns;
	const uint32_t passes = now->passes < DECANT_PASSES_MAX ? now->passes : DECANT_PASSES_MAX;

	for (uint32_t i = 1; i < passes; i++) {
		const struct decant_forecast *forecast = &now->forecast[i];
		uint32_t left, downtime;

		if (forecast->made_ns == 0)
			continue;
		left = forecast_error_permille(forecast->left_ns, end_ns - forecast->made_ns);
		downtime = forecast_error_permille(forecast->downtime_ns, now->downtime_ns);
		now->forecasts_judged++;
		if (left > now->forecast_left_error_permille)
			now->forecast_left_error_permille = left;
		if (downtime > now->forecast_downtime_error_permille)
			now->forecast_downtime_error_permille = downtime;
	}
}

/* The guest is gone for good; nothing from here on can make that a failure. */
static void stage_farewell(struct decant_migration *m)
{
	struct decant_error err = DECANT_ERROR_INIT;

	m->now.total_ns = clock_now_ns() - m->start_ns;
	m->now.progress_permille = 1000;
	m->now.forecast_total_ns = 0;
	judge_forecasts(&m->now, m->left_ns - m->start_ns);
	m->now.source_allocated = decant_memory_allocated(m->memory);
	mover_stop_data(m->mover);
	migration_step(m, SOURCE_RUNNING, &err);
	if (!m->opts.ask_verdict)
		return;
	mover_set_deadline(m->mover,
			   clock_deadline_ns(VERDICT_NS_BASE + (m->now.ram_bytes >> 20) * VERDICT_NS_PER_MIB),
			   "the guest has not answered with its verdict");
	if (take_verdict(m, &err) < 0) {
		log_warning(&m->opts.log, "the guest's verdict could not be had: %s", err.msg);
		m->now.verdict.status = DECANT_VERDICT_NONE;
	}
	migration_publish(m, true);
}

/*
 * In this order, for version 1 of the protocol. What a stage has done is undone by undo() alone: tracking and pause are
 * flags, set before the VMM is asked, so that a stage that fails half-way is undone too.
 */
static const struct {
	const char *name;
	int (*run)(struct decant_migration *migration, struct decant_error *err);
} stages[] = {
	{ "connecting", stage_connect },
	{ "pre-copy", stage_precopy },
	{ "switch-over", switchover_run },
};

/* Back to a guest that runs here as if nothing had been. */
static void undo(struct decant_migration *m, const struct decant_error *why)
{
	struct decant_error err;

	/* first: no GO was sent, or it is proved to have come to nothing, and telling the peer may take a while */
	if (m->paused && m->ops.resume(m->vmm, &err) < 0)
		log_err(&m->opts.log, "resuming the guest after a failed migration: %s", err.msg);
	m->paused = false;
	if (m->mover != NULL && mover_peer(m->mover) != NULL && m->now.state != DECANT_STATE_GO)
		peer_send_error(mover_peer(m->mover), WIRE_ABORT, why->code, why->msg);
	if (m->tracking)
		m->ops.dirty_stop(m->vmm);
	m->tracking = false;
}

static void disconnect(struct decant_migration *m)
{
	struct decant_mover *mover;

	collect(m);
	{
		DECANT_AUTO_UNLOCK(&m->lock);
		mover = m->mover;
		m->mover = NULL;
	}
	if (m->now.state == DECANT_STATE_COMPLETED)
		decant_mover_close(mover);
	else
		mover_disconnect(mover);
}

static int begin(struct decant_migration *m, struct decant_error *err)
{
	{
		DECANT_AUTO_UNLOCK(&m->lock);
		if (m->running)
			return decant_error_set(err, -EINVAL, "a migration is run once");
		m->running = true;
	}
	m->start_ns = clock_now_ns();
	m->cpu_start_ns = clock_thread_cpu_ns();
	m->deadline_ns = m->opts.timeout_ns == 0 ? CLOCK_NEVER : clock_deadline_ns(m->opts.timeout_ns);
	return 0;
}

/* How it ends that did not succeed. After GO only what was learnt counts, not what this end has seen. */
static enum handover_source_event bad_end(const struct decant_migration *m, int code)
{
	if (m->now.state == DECANT_STATE_GO)
		return m->learnt;
	return code == -ECANCELED ? SOURCE_CANCEL : SOURCE_FAIL;
}

static int end_badly(struct decant_migration *m, struct decant_error *why)
{
	const enum handover_source_event event = bad_end(m, why->code);
	const int next = handover_next(&handover_source, m->now.state, event, NULL);

	/* a peer or a VMM may fail with any errno: before GO there is no doubt */
	if (why->code == -EINPROGRESS && next != DECANT_STATE_IN_DOUBT)
		why->code = -EIO;
	if (next >= 0 && handover_source_runs((enum decant_migration_state)next))
		undo(m, why);
	else
		mover_stop_data(m->mover);
	m->now.total_ns = clock_now_ns() - m->start_ns;
	if (m->mover != NULL)
		disconnect(m);
	migration_step(m, event, NULL);
	return why->code;
}

static int run_stages(struct decant_migration *m, struct decant_error *err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(stages) / sizeof(stages[0]); i++) {
		rc = stages[i].run(m, &local);
		if (rc < 0)
			log_info(&m->opts.log, "%s: %s", stages[i].name, local.msg);
	}
	/* first, so that the guest never goes on slowed; off the pause, or with the pause over */
	throttle_end(m);
	if (rc == 0) {
		stage_farewell(m);
		disconnect(m);
		return 0;
	}
	local.code = rc;
	rc = end_badly(m, &local);
	if (err != NULL)
		*err = local;
	return rc;
}

int decant_migration_run(struct decant_migration *m, struct decant_error *err)
{
	int rc = begin(m, err);

	if (rc < 0)
		return rc;
	placement_enter(&m->placement, &m->scope);
	rc = run_stages(m, err);
	placement_leave(&m->scope);
	return rc;
}

/* ---- in doubt ---- */

/*
 * After this a destination that has not seen GO never will. The lease runs since before GO; but if the destination's host stood
 * still in between, only GO that had left this host by then can come late (docs/model/handover.pml).
 */
static uint64_t lease_end_ns(const struct decant_migration *m)
{
	return m->aborted_ns + 2 * (uint64_t)m->lease_ms * NSEC_PER_MSEC;
}

/* What the doubt has come to, with the error that says so. */
static int settled(struct decant_migration *m, enum handover_source_event event, int answer,
		   struct decant_error *err)
{
	switch (event) {
	case SOURCE_RUNNING:
		return 0;
	case SOURCE_NEVER:
		return decant_error_set(err, -ECANCELED,
					"the guest never ran at %s and never will: it may go on here", m->peer);
	case SOURCE_FORCE:
		return decant_error_set(err, -ECANCELED, "%s does not answer: by your word the guest goes on here",
					m->peer);
	default:
		return decant_error_set(err, -EINPROGRESS, "still in doubt: the destination at %s: %s", m->peer,
					settle_explain(answer));
	}
}

int decant_migration_settle(struct decant_migration *m, bool force, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;
	enum decant_migration_state state;
	enum handover_source_event event;
	int answer, rc;

	{
		DECANT_AUTO_UNLOCK(&m->lock);
		state = m->stats.state;
	}
	if (state != DECANT_STATE_IN_DOUBT)
		return decant_error_set(err, -EINVAL, "the migration is %s, not in doubt", decant_strstate(state));
	placement_enter(&m->placement, &m->scope);
	event = settle_doubt(m, force ? lease_end_ns(m) : clock_now_ns(), &answer, &why);
	placement_leave(&m->scope);
	/* force is for a destination that does not answer; one that may be starting the guest has answered */
	if (event == SOURCE_SILENCE && force && answer != WIRE_FATE_PENDING)
		event = SOURCE_FORCE;
	rc = settled(m, event, answer, err);
	if (rc == -EINPROGRESS)
		return rc;
	if (rc == -ECANCELED && m->tracking) {
		m->ops.dirty_stop(m->vmm);
		m->tracking = false;
	}
	if (rc == 0) {
		m->now.progress_permille = 1000;
		m->now.total_ns = clock_now_ns() - m->start_ns;
		switchover_account_settled(m);
	}
	migration_step(m, event, NULL);
	return rc;
}
