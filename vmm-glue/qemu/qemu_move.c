/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qemu_move.c -- moves the guest of an unmodified QEMU: the order of things, and who may start what
 *
 *     prepare   monitor, preflight, memory; nothing is changed
 *     begin     settings, sidecar, `migrate`
 *     watch     until QEMU has come to an end (completed, failed, cancelled, or its monitor is lost) and the sidecar has, too
 *     conclude  what the two ends together mean
 *     tidy      settings put back
 *
 * The sidecar asks whether the guest may be started once the destination has loaded it. It is answered with yes only in move_over(),
 * which only QEMU's own `completed` leads to. Nothing here ever sends `cont` to the source.
 *
 * A guest that does not run when QEMU stops it for the switchover (an operator has paused it, its disk is full) arrives as it is: QEMU's
 * stream has its state. So what a STOP means is looked up when it comes: query-status tells an operator's from QEMU's own.
 */
#include "qemu/qemu_move.h"
#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/move_settings.h"
#include "qemu/move_sidecar.h"
#include "qemu/preflight.h"
#include "qemu/qmp.h"

#include "util/clock.h"
#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOVE_OPEN_NS (10 * NSEC_PER_SEC)
#define MOVE_LOOK_NS (250 * NSEC_PER_MSEC) /* between two looks at QEMU's figures */
#define MOVE_CANCEL_NS (10 * NSEC_PER_SEC) /* for QEMU to cancel; then its sockets are closed */
#define MOVE_FOLLOW_NS \
	(5 * NSEC_PER_SEC) /* for QEMU to see that its sockets are closed; then it is told to cancel */
#define MOVE_END_NS (60 * NSEC_PER_SEC)    /* for the one end after the other's */
#define MOVE_AT_ONCE_NS (2 * NSEC_PER_SEC) /* after a second wish */
#define MOVE_SETTLED_NS (5 * NSEC_PER_SEC) /* for QEMU to let its guest go on after a failure */
#define MOVE_LAST_LOOKS 20                 /* for QEMU's last figures, */
#define MOVE_LAST_MS 20                    /* with so much between */
#define MOVE_WISH_MAX 128                  /* bytes of a struct signalfd_siginfo */

struct qemu_move {
	const struct qemu_move_opts *opts;
	struct qemu_move_result *result;
	struct qmp *qmp;
	struct preflight *preflight;
	struct guest_ram *ram;
	struct move_settings settings;
	struct move_sidecar *sidecar;
	struct move_sidecar_view view;

	bool running;     /* the guest, before QEMU stopped it for the switchover */
	bool stopped;     /* QEMU has stopped it for that */
	uint64_t stop_ns; /* when we heard */
	uint64_t end_ns;  /* when the sidecar had come to its end: after STARTED, if all is well */
	bool lost;        /* the monitor does not answer any more */
	bool over;        /* QEMU has come to an end, or is lost */
	unsigned int wishes;
	bool timed_out; /* the first wish was the timeout's */
	enum decant_migration_state shown;
	uint64_t look_ns;        /* the next look at the figures */
	uint64_t expiry_ns;      /* of opts->timeout_ns */
	uint64_t patience_ns;    /* then the end that has not come to one is told to */
	uint64_t limit_ns;       /* then nothing more is waited for */
	struct decant_error why; /* the monitor's loss */
};

static void move_enter(struct qemu_move *move, enum decant_migration_state state)
{
	struct decant_stats *stats = &move->result->stats;

	if (stats->state == state)
		return;
	stats->state = state;
	if (stats->state_ns[state] == 0)
		stats->state_ns[state] = clock_now_ns();
}

/* ---- prepare ---- */

static int move_open(struct qemu_move *move, struct decant_error *err)
{
	struct json_object *answer = NULL;
	int ret = qmp_open(move->opts->monitor, clock_deadline_ns(MOVE_OPEN_NS), -1, &move->qmp, err);

	if (ret < 0)
		return ret;
	if (qmp_call(move->qmp, "query-name", NULL, &answer, NULL) == 0)
		snprintf(move->result->name, sizeof(move->result->name), "%s", json_get_text(answer, "name", ""));
	json_object_put(answer);
	return 0;
}

static int move_guest_status(struct qemu_move *move, char status[32], bool *running, struct decant_error *err)
{
	struct json_object *answer = NULL;
	int ret = qmp_call(move->qmp, "query-status", NULL, &answer, err);

	if (ret < 0)
		return ret;
	snprintf(status, 32, "%s", json_get_text(answer, "status", ""));
	*running = json_get_bool(answer, "running", false);
	json_object_put(answer);
	return 0;
}

static int move_check_guest(struct qemu_move *move, struct decant_error *err)
{
	char status[32];
	int ret = move_guest_status(move, status, &move->running, err);

	if (ret < 0)
		return ret;
	if (strcmp(status, "inmigrate") == 0)
		return decant_error_set(err, -EINVAL,
					"%s: this QEMU waits for a guest (-incoming), and has none to move",
					move->opts->monitor);
	if (strcmp(status, "postmigrate") == 0 || strcmp(status, "finish-migrate") == 0)
		return decant_error_set(err, -EINVAL,
					"%s: this QEMU has given its guest away (%s); docs/qemu.md, \"Settling by "
					"hand\", if you are not sure to whom",
					move->opts->monitor, status);
	return 0;
}

static int move_look(struct qemu_move *move, struct decant_error *err)
{
	const struct preflight_opts look = {
		.end = PREFLIGHT_SOURCE,
		.mend = true,
		.pinned = strcmp(move->opts->fabric, "tcp") != 0,
	};
	int ret = preflight_look(move->qmp, &look, &move->preflight, err);

	if (ret < 0 || preflight_count(move->preflight) == 0 || move->opts->fallback)
		return ret;
	return decant_error_set(err, -ENOTSUP, "%s", preflight_unfit(move->preflight));
}

/* With fallback the sidecar looks again, and passes all unchanged if it finds no more. */
static int move_find_memory(struct qemu_move *move, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;
	int ret;

	if (preflight_count(move->preflight) > 0)
		return 0;
	ret = guest_ram_find(qmp_pid(move->qmp), move->qmp, NULL, &move->ram, &why);
	if (ret < 0 && !move->opts->fallback)
		return decant_error_set(err, ret, "%s", why.msg);
	return 0;
}

static int move_prepare(struct qemu_move *move, struct decant_error *err)
{
	int ret = move_open(move, err);

	if (ret == 0)
		ret = move_check_guest(move, err);
	if (ret == 0)
		ret = move_look(move, err);
	if (ret == 0)
		ret = move_find_memory(move, err);
	return ret;
}

/* ---- begin ---- */

static int move_set(struct qemu_move *move, struct decant_error *err)
{
	const struct qemu_move_opts *opts = move->opts;
	const struct move_wanted wanted = {
		.bandwidth_Bps = opts->bandwidth_Bps,
		.max_downtime_ns = opts->max_downtime_ns,
		.multifd = opts->multifd,
		.throttle = opts->throttle,
	};
	int ret = preflight_change(move->preflight, move->qmp, err);

	return ret < 0 ? ret : move_settings_apply(&move->settings, move->qmp, &wanted, err);
}

static int move_start_sidecar(struct qemu_move *move, struct decant_error *err)
{
	const struct qemu_move_opts *opts = move->opts;
	const struct proxy_source_opts source = {
		.peer = opts->peer,
		.socket = opts->socket,
		.fabric = opts->fabric,
		.rails = opts->rails,
		.cpus = opts->cpus,
		.channels = opts->channels,
		.key = opts->key,
		.key_length = opts->key_length,
		.ram = move->ram,
		.preflight = move->preflight,
		.fallback = opts->fallback,
		.log = opts->log,
	};

	json_add_bool(preflight_facts(move->preflight), "start", true);
	return move_sidecar_new(&source, &move->sidecar, err);
}

static void move_drop_events(struct qemu_move *move)
{
	struct json_object *event;

	while (qmp_event(move->qmp, 0, &event, NULL) == 1)
		json_object_put(event);
}

/* A "setup" that QEMU says before it answers comes after whatever an earlier migration may have left to say. */
static int move_tell(struct qemu_move *move, struct decant_error *err)
{
	struct json_object *arguments = json_object_new_object();
	char uri[256];
	int ret;

	snprintf(uri, sizeof(uri), "unix:%s", move->opts->socket);
	json_add_text(arguments, "uri", uri);
	move_drop_events(move);
	ret = qmp_call(move->qmp, "migrate", arguments, NULL, err);
	move->result->qemu.status = MOVE_STATUS_SETUP;
	return ret;
}

static bool move_wish(struct qemu_move *move)
{
	char bytes[MOVE_WISH_MAX];

	return move->opts->wish_fd >= 0 && read(move->opts->wish_fd, bytes, sizeof(bytes)) > 0;
}

static int move_begin(struct qemu_move *move, struct decant_error *err)
{
	int ret = move_set(move, err);

	if (ret == 0)
		ret = move_start_sidecar(move, err);
	if (ret == 0 && move_wish(move))
		ret = decant_error_set(err, -ECANCELED, "cancelled");
	if (ret == 0)
		ret = move_tell(move, err);
	return ret;
}

/* ---- watch ---- */

static void move_lose(struct qemu_move *move, const struct decant_error *why)
{
	move->lost = true;
	move->why = *why;
}

/* What QEMU does not want is nothing to us here; a monitor that is gone is. */
static int move_call(struct qemu_move *move, const char *command, struct json_object *arguments,
		     struct json_object **answer)
{
	struct decant_error err = DECANT_ERROR_INIT;
	int ret;

	if (move->lost) {
		json_object_put(arguments);
		return -ECONNRESET;
	}
	ret = qmp_call(move->qmp, command, arguments, answer, &err);
	if (ret < 0 && ret != -EREMOTEIO && ret != -ETIMEDOUT)
		move_lose(move, &err);
	else if (ret < 0)
		log_info(&move->opts->log, "%s", err.msg);
	return ret;
}

/* The states in which QEMU itself is the master. */
static void move_follow(struct qemu_move *move)
{
	const enum move_status status = move->result->qemu.status;

	if (move->over)
		return;
	if (move->stopped || status == MOVE_STATUS_PRE_SWITCHOVER || status == MOVE_STATUS_DEVICE)
		move_enter(move, DECANT_STATE_SWITCHOVER);
	else if (status == MOVE_STATUS_ACTIVE)
		move_enter(move, DECANT_STATE_PRECOPY);
}

static void move_take_figures(struct qemu_move *move)
{
	struct json_object *answer = NULL;

	if (move_call(move, "query-migrate", NULL, &answer) == 0)
		move_figures_take(&move->result->qemu, answer);
	json_object_put(answer);
	move_follow(move);
}

/* An operator's STOP, or QEMU's own for the switchover? */
static void move_look_at_stop(struct qemu_move *move)
{
	struct json_object *answer = NULL;
	const uint64_t now = clock_now_ns();
	const char *status;

	if (move_call(move, "query-status", NULL, &answer) == 0) {
		status = json_get_text(answer, "status", "");
		if (strcmp(status, "finish-migrate") == 0 || strcmp(status, "postmigrate") == 0) {
			move->stopped = true;
			move->stop_ns = now;
		} else {
			move->running = json_get_bool(answer, "running", false);
		}
	}
	json_object_put(answer);
}

static void move_continue(struct qemu_move *move)
{
	struct json_object *arguments = json_object_new_object();

	json_add_text(arguments, "state", "pre-switchover");
	move_call(move, "migrate-continue", arguments, NULL);
}

static void move_take_pass(struct qemu_move *move, uint64_t pass)
{
	struct json_object *grown = NULL;

	if (pass > 1 && !move->stopped)
		grown = move_settings_grown(move->opts->max_downtime_ns, pass);
	if (grown != NULL)
		move_call(move, "migrate-set-parameters", grown, NULL);
}

static void move_take_event(struct qemu_move *move, struct json_object *event)
{
	const char *name = json_get_text(event, "event", "");
	struct json_object *data = NULL;

	if (strcmp(name, "STOP") == 0 && !move->stopped)
		move_look_at_stop(move);
	else if (strcmp(name, "RESUME") == 0 && !move->stopped)
		move->running = true;
	if (strcmp(name, "MIGRATION_PASS") == 0 && json_object_object_get_ex(event, "data", &data)) {
		move_take_pass(move, json_get_number(data, "pass", 0));
		return;
	}
	if (strcmp(name, "MIGRATION") == 0 && json_object_object_get_ex(event, "data", &data))
		move->result->qemu.status = move_status(json_get_text(data, "status", ""));
	move_follow(move);
	if (data == NULL)
		return;
	if (move->result->qemu.status == MOVE_STATUS_PRE_SWITCHOVER && move->wishes == 0)
		move_continue(move);
}

static void move_take_events(struct qemu_move *move)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct json_object *event;
	int ret = 1;

	while (ret == 1 && !move->lost) {
		ret = qmp_event(move->qmp, 0, &event, &err);
		if (ret != 1)
			break;
		move_take_event(move, event);
		json_object_put(event);
	}
	if (ret < 0)
		move_lose(move, &err);
}

static void move_show(struct qemu_move *move)
{
	const struct proxy_stats *sidecar = &move->view.stats;
	struct decant_stats *stats = &move->result->stats;

	move_figures_show(&move->result->qemu, stats);
	memcpy(stats->fabric, sidecar->fabric, sizeof(stats->fabric));
	memcpy(stats->fabric_reason, sidecar->fabric_reason, sizeof(stats->fabric_reason));
	stats->channels = sidecar->channels;
	stats->failovers = sidecar->failovers;
	stats->sent_bytes = sidecar->sent_bytes;
	stats->pages_sent = sidecar->pages_sent;
	stats->pages_skipped = sidecar->zero_pages;
	stats->source_cpu_ns = sidecar->cpu_ns;
	move->shown = stats->state;
	if (move->opts->progress != NULL)
		move->opts->progress(move->opts->opaque, stats);
}

/* QEMU has come to an end: the only place from which the destination is started. */
static void move_over(struct qemu_move *move)
{
	struct decant_error why = DECANT_ERROR_INIT;
	const enum move_status status = move->result->qemu.status;

	move->over = true;
	move->limit_ns = clock_deadline_ns(MOVE_END_NS);
	move->patience_ns = move->limit_ns;
	if (!move->lost && status == MOVE_STATUS_COMPLETED) {
		move_enter(move, DECANT_STATE_GO);
		move_sidecar_answer(move->sidecar, move->running ? 1 : 0, NULL);
		return;
	}
	decant_error_set(&why, -EIO, "%s",
			 move->lost ? move->why.msg : "QEMU at the source goes on with its guest");
	move_sidecar_answer(move->sidecar, why.code, &why);
	move_sidecar_cancel(move->sidecar);
}

/* The first wish is QEMU's to fulfil; a second one is not waited for. */
static void move_wished(struct qemu_move *move)
{
	if (move->over) {
		log_warning(&move->opts->log, "too late to cancel: QEMU at the source has come to an end");
		return;
	}
	if (move->wishes++ == 0) {
		move_call(move, "migrate_cancel", NULL, NULL);
		move->patience_ns = clock_deadline_ns(MOVE_CANCEL_NS);
		return;
	}
	move_sidecar_cancel(move->sidecar);
	move->limit_ns = clock_deadline_ns(MOVE_AT_ONCE_NS);
}

static void move_look_at_clock(struct qemu_move *move)
{
	const uint64_t now = clock_now_ns();

	if (now >= move->look_ns) {
		move->look_ns = now + MOVE_LOOK_NS;
		if (!move->over)
			move_take_figures(move);
		move_show(move);
	} else if (move->shown != move->result->stats.state) {
		move_show(move);
	}
	if (now >= move->expiry_ns && !move->over && move->wishes == 0) {
		move->expiry_ns = CLOCK_NEVER;
		move->timed_out = true;
		move_wished(move);
	}
	if (now >= move->patience_ns) {
		move->patience_ns = CLOCK_NEVER;
		if (move->view.ended)
			move_call(move, "migrate_cancel", NULL, NULL);
		else
			move_sidecar_cancel(move->sidecar);
		if (move->limit_ns == CLOCK_NEVER)
			move->limit_ns = clock_deadline_ns(MOVE_END_NS);
	}
}

static void move_wait(struct qemu_move *move)
{
	struct pollfd fds[] = {
		{ .fd = move_sidecar_fd(move->sidecar), .events = POLLIN },
		{ .fd = move->opts->wish_fd, .events = POLLIN },
		{ .fd = move->lost ? -1 : qmp_fd(move->qmp), .events = POLLIN },
	};

	poll(fds, 3, clock_poll_ms(move->look_ns));
}

/* The sidecar's end closes QEMU's sockets, so QEMU's follows soon. */
static void move_look_at_sidecar(struct qemu_move *move)
{
	const bool ended = move->view.ended;

	move_sidecar_view(move->sidecar, &move->view);
	if (!move->view.ended || ended)
		return;
	move->end_ns = clock_now_ns();
	if (move->over)
		return;
	move->limit_ns = clock_deadline_ns(MOVE_END_NS);
	move->patience_ns = clock_deadline_ns(MOVE_FOLLOW_NS);
}

static void move_watch(struct qemu_move *move)
{
	while (!(move->over && move->view.ended) && clock_now_ns() < move->limit_ns) {
		move_wait(move);
		move_take_events(move);
		if (!move->over && (move->lost || move_status_is_end(move->result->qemu.status)))
			move_over(move);
		move_look_at_sidecar(move);
		if (move_wish(move))
			move_wished(move);
		move_look_at_clock(move);
	}
}

/* ---- conclude ---- */

/* After a failure QEMU lets its guest go on, a moment after it has said so. */
static void move_look_at_guest(struct qemu_move *move)
{
	const uint64_t deadline = clock_deadline_ns(MOVE_SETTLED_NS);
	bool running = false;

	do {
		if (move->lost || move_guest_status(move, move->result->guest, &running, NULL) < 0) {
			snprintf(move->result->guest, sizeof(move->result->guest), "unknown");
			return;
		}
		if (running || !move->running)
			return;
		poll(NULL, 0, 20);
	} while (clock_now_ns() < deadline);
}

static const char *move_cause(const struct qemu_move *move)
{
	if (move->view.ended && move->view.ret < 0 && move->view.ret != -ECANCELED)
		return move->view.err.msg;
	return move->lost ? move->why.msg : "the sidecar has not come to an end";
}

/* QEMU here has given the guest up, and it was not seen to start. */
static int move_conclude_doubt(struct qemu_move *move, struct decant_error *err)
{
	const char *peer = move->opts->peer;

	move_enter(move, DECANT_STATE_IN_DOUBT);
	if (!move->view.to_start)
		return decant_error_set(
			err, -EINPROGRESS,
			"in doubt: QEMU here has given the guest up, and it was not started at %s, so it "
			"runs at neither: %s",
			peer, move_cause(move));
	if (move->view.ended && move->view.ret == -EREMOTEIO)
		return decant_error_set(err, -EINPROGRESS,
					"in doubt: QEMU here has given the guest up, and %s could not start it: %s",
					peer, move_cause(move));
	return decant_error_set(
		err, -EINPROGRESS,
		"in doubt: the guest was to be started at %s, and no answer came, so it may run there; it is "
		"held here: %s",
		peer, move_cause(move));
}

/* Has the destination said that it has loaded it? Without, QEMU here cannot have given it up. */
static bool move_may_be_there(const struct qemu_move *move)
{
	return move->view.loaded || move->view.stats.stage >= PROXY_LOADED;
}

static int move_conclude_lost(struct qemu_move *move, struct decant_error *err)
{
	if (move_may_be_there(move)) {
		move_enter(move, DECANT_STATE_IN_DOUBT);
		return decant_error_set(
			err, -EINPROGRESS,
			"in doubt: %s has loaded the guest and has not started it, and whether QEMU here has "
			"given it up is not known: %s",
			move->opts->peer, move_cause(move));
	}
	move_enter(move, DECANT_STATE_FAILED);
	if (!move->lost)
		return decant_error_set(err, -EIO,
					"QEMU here does not end its migration (query-migrate tells more): %s",
					move_cause(move));
	return decant_error_set(err, -EIO, "QEMU's monitor is gone; if QEMU has ended, the guest has with it: %s",
				move_cause(move));
}

static int move_conclude_failure(struct qemu_move *move, struct decant_error *err)
{
	const struct move_figures *qemu = &move->result->qemu;
	const bool own = move->view.ret < 0 && move->view.ret != -ECANCELED;

	move_enter(move, DECANT_STATE_FAILED);
	if (move->timed_out)
		return decant_error_set(err, -ETIMEDOUT, "not done within the --timeout");
	if (qemu->status == MOVE_STATUS_CANCELLED)
		return decant_error_set(err, -EIO, "somebody has cancelled the migration in QEMU");
	if (own && qemu->error[0] != '\0')
		return decant_error_set(err, move->view.ret, "%s (QEMU: %s)", move->view.err.msg, qemu->error);
	if (own)
		return decant_error_set(err, move->view.ret, "%s", move->view.err.msg);
	return decant_error_set(err, -EREMOTEIO, "QEMU: %s",
				qemu->error[0] != '\0' ? qemu->error
						       : "the migration has failed, it does not say why");
}

static int move_conclude(struct qemu_move *move, struct decant_error *err)
{
	const enum move_status status = move->result->qemu.status;

	move->result->sidecar = move->view.stats;
	if (!move->over || move->lost)
		return move_conclude_lost(move, err);
	if (status == MOVE_STATUS_COMPLETED) {
		if (!move->view.ended || move->view.ret < 0)
			return move_conclude_doubt(move, err);
		move->result->paused = !move->running;
		move_enter(move, DECANT_STATE_COMPLETED);
		return 0;
	}
	move_look_at_guest(move);
	if (move->wishes == 0 || move->timed_out)
		return move_conclude_failure(move, err);
	move_enter(move, DECANT_STATE_CANCELLED);
	return decant_error_set(err, -ECANCELED, "cancelled");
}

static void move_take_times(struct qemu_move *move, uint64_t start_ns)
{
	struct decant_stats *stats = &move->result->stats;

	stats->total_ns = (move->end_ns != 0 ? move->end_ns : clock_now_ns()) - start_ns;
	if (stats->state_ns[DECANT_STATE_PRECOPY] != 0)
		stats->setup_ns = stats->state_ns[DECANT_STATE_PRECOPY] - start_ns;
	if (stats->state == DECANT_STATE_COMPLETED && move->stopped && move->running)
		stats->downtime_bound_ns = move->end_ns - move->stop_ns;
}

/* ---- tidy ---- */

static void move_restore(struct qemu_move *move)
{
	struct decant_error err = DECANT_ERROR_INIT;

	if (move->qmp == NULL || move->lost)
		return;
	if (move_settings_restore(&move->settings, move->qmp, &err) < 0)
		log_warning(&move->opts->log, "QEMU's settings are not as they were: %s", err.msg);
	if (move->preflight != NULL && preflight_restore(move->preflight, move->qmp, &err) < 0)
		log_warning(&move->opts->log, "QEMU's parameters are not as they were: %s", err.msg);
}

static void move_tidy(struct qemu_move *move)
{
	move_sidecar_free(move->sidecar);
	move_restore(move);
	json_object_put(move->settings.capabilities);
	json_object_put(move->settings.parameters);
	guest_ram_free(move->ram);
	preflight_free(move->preflight);
	qmp_close(move->qmp);
}

/* QEMU reckons its times a moment after it has said that it is over. */
static void move_take_last_figures(struct qemu_move *move)
{
	const struct move_figures *qemu = &move->result->qemu;

	for (int i = 0; i < MOVE_LAST_LOOKS && !move->lost; i++) {
		move_take_figures(move);
		if (qemu->status != MOVE_STATUS_COMPLETED || qemu->downtime_ns > 0)
			return;
		poll(NULL, 0, MOVE_LAST_MS);
	}
}

static int move_carry(struct qemu_move *move, struct decant_error *err)
{
	const uint64_t start_ns = clock_now_ns();
	int ret;

	if (move->opts->timeout_ns > 0)
		move->expiry_ns = clock_deadline_ns(move->opts->timeout_ns);
	move_watch(move);
	move_take_last_figures(move);
	ret = move_conclude(move, err);
	move->over = true;
	move_show(move);
	move_take_times(move, start_ns);
	return ret;
}

int qemu_move_run(const struct qemu_move_opts *opts, struct qemu_move_result *result, struct decant_error *err)
{
	struct qemu_move move = {
		.opts = opts,
		.result = result,
		.expiry_ns = CLOCK_NEVER,
		.patience_ns = CLOCK_NEVER,
		.limit_ns = CLOCK_NEVER,
	};
	int ret;

	memset(result, 0, sizeof(*result));
	result->stats.size = sizeof(result->stats);
	move_enter(&move, DECANT_STATE_CONNECTING);
	ret = move_prepare(&move, err);
	if (ret == 0)
		ret = move_begin(&move, err);
	if (ret == 0)
		ret = move_carry(&move, err);
	else
		move_enter(&move, ret == -ECANCELED ? DECANT_STATE_CANCELLED : DECANT_STATE_FAILED);
	move_tidy(&move);
	result->outcome = result->stats.state;
	return ret;
}
