/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matrix_cell.c -- one migration and one fault, and whether what came of it is what may
 *
 * Theory of operation
 * -------------------
 * The relay meets the row's message and does, or has done, what the column says. What lasts is ended by the thread of the cell: after a
 * moment, or when the end that is to notice has noticed. Then the network is whole again, doubt is settled as an operator would,
 * and the oracle looks at both guests.
 *
 * That not exactly one guest runs, or not with its memory, is wrong at once. An end that is safe but is not the one in the table can
 * come of a busy machine where a column has short timers: such a cell is tried again with longer ones. So is one whose message was
 * never said, because a short timer ended before.
 */
#include "integration/matrix.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/loop/loop.h"
#include "integration/matrix_fake.h"
#include "integration/pair.h"
#include "support/lib_calls.h"
#include "support/slow.h"
#include "wire/wire.h"

#define ATTEMPTS 4u
#define SLOWER 3u
#define SHORT_MS 40u
#define TIMER_MS (slow_here() ? 800u : 250u)
/* a lease is also how long the source asks before it says that it is in doubt */
#define LEASE_MS (slow_here() ? 1500u : 500u)
#define LONG_MS (2 * LEASE_MS)
#define LEASE_PATIENCE_MS 25000u

struct cell {
	const struct matrix_row *row;
	const struct matrix_column *column;
	struct pair pair;
	struct pair_holdings before;
	unsigned slower; /* timers by so much */
	atomic_bool met;
	char outcome[8]; /* as in the table */
	char *text;
	size_t size;
};

static int wrong(struct cell *cell, const char *what)
{
	snprintf(cell->text, cell->size, "%s; the migration: %d %s", what, cell->pair.ret, cell->pair.err.msg);
	return -1;
}

/* ---- what the row needs ---- */

static void *cancel_main(void *opaque)
{
	decant_migration_cancel(opaque);
	return NULL;
}

static void cancel_from_outside(struct cell *cell)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, cancel_main, cell->pair.migration) == 0)
		pthread_join(thread, NULL);
}

static enum loop_action kill_first_epoch(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	const struct cell *cell = opaque;

	(void)write;
	return epoch == 1 && synthetic_count(cell->pair.source, SYNTHETIC_FETCH) > 0 ? LOOP_KILL : LOOP_DELIVER;
}

static void break_data(struct cell *cell)
{
	if (strcmp(cell->pair.fabric, "rdma") == 0)
		matrix_fake_break();
	else
		relay_break_data(cell->pair.relay);
}

static void linger(const struct cell *cell)
{
	for (unsigned ms = 0; ms < PAIR_PATIENCE_MS && !atomic_load(&cell->met); ms++)
		usleep(1000);
}

/* What happens at the source between two passes, and in the pause. */
static void at_source(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	struct cell *cell = opaque;
	const unsigned needs = cell->row->needs;

	if (event == SYNTHETIC_FETCH && nth == 1 && (needs & MATRIX_BREAK)) {
		synthetic_fill(vmm, 0, 0, 4);
		break_data(cell);
	}
	if (event == SYNTHETIC_FETCH && nth == 1 && (needs & MATRIX_TIME))
		linger(cell);
	if (event == SYNTHETIC_FETCH && nth == 1 && (needs & MATRIX_CANCEL))
		cancel_from_outside(cell);
	if (event == SYNTHETIC_SAVE && nth == 1 && (needs & MATRIX_INLINE))
		synthetic_fill(vmm, 0, DECANT_GRANULE_SIZE / DECANT_PAGE_SIZE, 2);
	if (event == SYNTHETIC_SAVE && nth == 1 && (needs & MATRIX_LOAD_FAILS))
		synthetic_set_fault(cell->pair.destination, SYNTHETIC_LOAD, -EIO);
}

/* ---- what the column does ---- */

static void hold(struct cell *cell, bool held)
{
	struct relay *relay = cell->pair.relay;

	if (cell->column->fault == MATRIX_HOLD_DATA)
		relay_hold_data(relay, held);
	if (cell->column->fault != MATRIX_HOLD)
		return;
	for (int way = 0; way < RELAY_WAYS; way++)
		if (cell->column->ways & 1u << way)
			relay_hold(relay, (enum relay_way)way, held);
	if (cell->column->ways == MATRIX_BOTH)
		matrix_fake_cut(held);
}

static enum relay_act strike(void *opaque)
{
	struct cell *cell = opaque;
	enum relay_act act = RELAY_PASS;

	switch (cell->column->fault) {
	case MATRIX_ACT:
		act = cell->column->act;
		break;
	case MATRIX_HOLD:
	case MATRIX_HOLD_DATA:
		hold(cell, true);
		break;
	case MATRIX_FREEZE:
		lib_freeze((enum lib_end)cell->column->end, true);
		break;
	case MATRIX_CANCEL_IT:
		decant_migration_cancel(cell->pair.migration);
		break;
	case MATRIX_STOP_RECEIVER:
		decant_receiver_stop(cell->pair.receiver);
		break;
	default:
		break;
	}
	atomic_store(&cell->met, true);
	return act;
}

static void set_rule(struct cell *cell)
{
	const struct relay_rule rule = {
		.type = cell->row->type,
		.way = cell->row->way,
		.skip = cell->row->skip,
		.act = strike,
		.opaque = cell,
	};

	relay_set_rule(cell->pair.relay, &rule);
}

/* RUNNING is lost, and what the row is about comes after it. */
static enum relay_act lose_running(void *opaque)
{
	struct cell *cell = opaque;
	const struct relay_rule rule = {
		.type = cell->row->type,
		.way = cell->row->way,
		.act = strike,
		.opaque = cell,
	};

	relay_set_rule(cell->pair.relay, &rule);
	return RELAY_CUT;
}

static void set_first_rule(struct cell *cell)
{
	const struct relay_rule rule = {
		.type = WIRE_RUNNING,
		.way = RELAY_BACK,
		.act = lose_running,
		.opaque = cell,
	};

	if (cell->row->needs & MATRIX_LOSE_RUNNING)
		relay_set_rule(cell->pair.relay, &rule);
	else
		set_rule(cell);
}

/* ---- making it ---- */

static void set_timers(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	const uint64_t timer = TIMER_MS * cell->slower * PAIR_MS;
	const uint64_t lease = LEASE_MS * cell->slower * PAIR_MS;

	switch (cell->column->timers) {
	case MATRIX_IMPATIENT:
		pair->opts.peer_timeout_ns = pair->receiver_opts.peer_timeout_ns = timer;
		pair->receiver_opts.lease_ns = lease;
		break;
	case MATRIX_SHORT_SWITCHOVER:
		pair->opts.switchover_timeout_ns = timer;
		break;
	case MATRIX_SHORT_LEASE:
		pair->receiver_opts.lease_ns = timer;
		break;
	default:
		break;
	}
}

static int set_up(struct cell *cell, const char *fabric)
{
	const struct loop_plan plan = { .decide = kill_first_epoch, .opaque = cell };
	struct pair *pair = &cell->pair;

	pair_init(pair, fabric);
	set_timers(cell);
	if (cell->row->needs & MATRIX_KEY)
		pair_set_key(pair);
	pair->opts.verify = cell->row->needs & MATRIX_VERIFY;
	pair->opts.ask_verdict = cell->row->needs & MATRIX_VERDICT;
	matrix_fake_begin(cell->row->needs & MATRIX_NO_RAILS);
	if (cell->row->needs & MATRIX_NO_RAILS)
		pair->opts.fabric = "auto";
	if (pair_start(pair) < 0)
		return wrong(cell, pair->receive_err.msg);
	synthetic_set_hook(pair->source, at_source, cell);
	loop_plan_set(cell->row->needs & MATRIX_BREAK ? &plan : NULL);
	set_first_rule(cell);
	if (pair_migrate(pair) < 0)
		return wrong(cell, "the migration could not be made");
	return 0;
}

/* ---- letting it go on ---- */

/* Within @ms, while the source is not at its end. */
static bool await_message(struct cell *cell, unsigned ms, bool source_too)
{
	for (; ms > 0 && !atomic_load(&cell->met); ms--) {
		if (source_too ? pair_await_source(&cell->pair, 1) : usleep(1000) != 0)
			break;
	}
	return atomic_load(&cell->met);
}

/* What the source says last is still on its way when it has come to its end. */
static bool await_met(struct cell *cell)
{
	const bool parting = cell->row->phase == MATRIX_FAILING;

	if (await_message(cell, PAIR_PATIENCE_MS, !parting))
		return true;
	return !relay_drop_rule(cell->pair.relay) && await_message(cell, PAIR_PATIENCE_MS, false);
}

static int await_source(struct cell *cell)
{
	if (!pair_await_source(&cell->pair, PAIR_PATIENCE_MS))
		return wrong(cell, "the source does not come to an end");
	return 0;
}

/* Over loop the two ends share locks, so that who stands still with one may keep the other from coming to its end. */
static bool lasts_a_while(const struct cell *cell)
{
	if (cell->column->fault == MATRIX_FREEZE && strcmp(cell->pair.fabric, "loop") == 0)
		return true;
	/* the destination has nothing to give up any more */
	return cell->column->until == MATRIX_REFUSED && cell->column->timers != MATRIX_SHORT_LEASE &&
	       cell->row->phase >= MATRIX_GO && cell->row->phase <= MATRIX_ASKING;
}

static int await_refusal(struct cell *cell)
{
	/* a lease that is over ends it, long before any other timer would */
	const bool lease = cell->column->timers == MATRIX_SHORT_LEASE;

	if (!pair_await_refusals(&cell->pair, 1, lease ? LEASE_PATIENCE_MS : PAIR_PATIENCE_MS))
		return wrong(cell, "the destination does not give up");
	return 0;
}

static int last(struct cell *cell)
{
	if (cell->column->until != MATRIX_SHORT && lasts_a_while(cell)) {
		usleep(LONG_MS * cell->slower * 1000);
		return 0;
	}
	switch (cell->column->until) {
	case MATRIX_GIVEN_UP:
	case MATRIX_FORCED:
		return await_source(cell);
	case MATRIX_REFUSED:
		return await_refusal(cell);
	default:
		usleep(SHORT_MS * 1000);
		return 0;
	}
}

/* ERROR, or a connection that was closed over what nobody has read; or the question who that is. */
static bool is_refusal(const struct cell *cell, uint16_t answer)
{
	return answer == 0 || answer == WIRE_ERROR ||
	       (answer == WIRE_CHALLENGE && cell->column->fault == MATRIX_REPEAT_HELLO);
}

static int repeat(struct cell *cell)
{
	const bool all = cell->column->fault == MATRIX_REPEAT;
	const bool first = cell->row->type == WIRE_HELLO && cell->row->phase == MATRIX_BEFORE;
	uint16_t answer;

	for (unsigned ms = 0; ms < PAIR_PATIENCE_MS && !relay_has_acted(cell->pair.relay); ms++)
		usleep(1000);
	answer = relay_repeat(cell->pair.relay, all);
	if (is_refusal(cell, answer) || first)
		return 0;
	return wrong(cell, "who has only repeated what another said is let in");
}

static void end_fault(struct cell *cell)
{
	if (cell->column->fault == MATRIX_FREEZE)
		lib_freeze((enum lib_end)cell->column->end, false);
	else
		hold(cell, false);
}

static int go_on(struct cell *cell)
{
	const enum matrix_fault fault = cell->column->fault;
	int rc = 0;

	if (fault == MATRIX_REPEAT || fault == MATRIX_REPEAT_HELLO)
		rc = repeat(cell);
	else if (fault == MATRIX_HOLD || fault == MATRIX_HOLD_DATA || fault == MATRIX_FREEZE)
		rc = last(cell);
	if (rc == 0 && cell->column->until != MATRIX_FORCED)
		end_fault(cell);
	if (rc == 0)
		rc = await_source(cell);
	return rc;
}

/* ---- what came of it ---- */

static void note(struct cell *cell, const char *outcome)
{
	strncat(cell->outcome, outcome, sizeof(cell->outcome) - strlen(cell->outcome) - 1);
}

static int check_doubt(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	struct decant_stats stats = { .size = sizeof(stats) };

	decant_migration_get_stats(pair->migration, &stats);
	note(cell, "D");
	/* where nothing passes GO may lie behind a heartbeat */
	if (cell->column->fault != MATRIX_HOLD && relay_count(pair->relay, WIRE_GO, RELAY_FORTH) == 0)
		return wrong(cell, "in doubt, and GO was never sent");
	if (stats.state != DECANT_STATE_IN_DOUBT || strstr(pair->err.msg, "resume --force") == NULL)
		return wrong(cell, "in doubt, and does not say so");
	if (synthetic_is_running(pair->source) || synthetic_count(pair->source, SYNTHETIC_RESUME) > 0)
		return wrong(cell, "in doubt, and the guest runs at the source");
	return 0;
}

/* An operator who has looked: force only where it does not run, with the network still broken. */
static int settle_by_hand(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	int rc = pair_settle(pair, false);

	if (rc != -EINPROGRESS)
		return wrong(cell, "settled with nobody to ask");
	if (synthetic_is_running(pair->destination))
		return 0;
	rc = pair_settle(pair, true);
	if (rc != -ECANCELED)
		return wrong(cell, "force has not settled it");
	return 1;
}

static int settle(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	int rc = check_doubt(cell);

	if (rc == 0 && cell->column->until == MATRIX_FORCED)
		rc = settle_by_hand(cell);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		end_fault(cell);
		rc = -EINPROGRESS;
		for (unsigned i = 0; i < 1000 && rc == -EINPROGRESS; i++)
			rc = pair_settle(pair, false);
	} else {
		rc = -ECANCELED;
	}
	if (rc == -EINPROGRESS)
		return wrong(cell, "the network is whole, and it is still in doubt");
	pair->ret = rc;
	if (rc == -ECANCELED && pair_resume(pair) < 0)
		return wrong(cell, "the guest cannot be resumed");
	return 0;
}

static int check_failure(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	struct decant_stats stats = { .size = sizeof(stats) };

	decant_migration_get_stats(pair->migration, &stats);
	if (pair->err.code == 0 || pair->err.msg[0] == '\0' || strchr(pair->err.msg, '\n') != NULL)
		return wrong(cell, "failed, and does not say why");
	if (stats.state != DECANT_STATE_FAILED && stats.state != DECANT_STATE_CANCELLED)
		return wrong(cell, "failed, and its state says otherwise");
	if (synthetic_count(pair->destination, SYNTHETIC_START) > 0)
		return wrong(cell, "failed, and the guest was started at the destination");
	return 0;
}

static int judge(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	char what[160];
	enum pair_place place;

	/* what was held back for good comes now, and must not change anything */
	end_fault(cell);
	place = pair->ret == 0 ? PAIR_MOVED : PAIR_STAYED;
	note(cell, place == PAIR_MOVED ? "M" : "S");
	if (pair_judge(pair, place, what, sizeof(what)) < 0)
		return wrong(cell, what);
	return place == PAIR_STAYED ? check_failure(cell) : 0;
}

/* After all that the same two ends can do it, or what was said can be said again in vain. */
static int aftermath(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	char what[160];
	uint16_t answer;

	synthetic_set_fault(pair->destination, SYNTHETIC_LOAD, 0);
	if (cell->column->fault == MATRIX_STOP_RECEIVER)
		return 0;
	if (pair->ret == 0) {
		answer = relay_repeat(pair->relay, true);
		if (!is_refusal(cell, answer) || synthetic_count(pair->destination, SYNTHETIC_START) != 1)
			return wrong(cell, "all was said again, and heard");
		return pair_judge(pair, PAIR_MOVED, what, sizeof(what)) < 0 ? wrong(cell, what) : 0;
	}
	if (pair_repeat(pair, what, sizeof(what)) < 0)
		return wrong(cell, what);
	return 0;
}

static int conclude(struct cell *cell)
{
	struct pair *pair = &cell->pair;
	char said[160];
	int rc = 0;

	pair_join(pair);
	snprintf(said, sizeof(said), "%.150s", pair->ret == 0 ? "" : pair->err.msg);
	if (pair->ret == -EINPROGRESS)
		rc = settle(cell);
	if (rc == 0)
		rc = judge(cell);
	if (rc == 0)
		rc = aftermath(cell);
	if (rc == 0)
		snprintf(cell->text, cell->size, "%s%s%s", cell->outcome, said[0] != '\0' ? ": " : "", said);
	return rc;
}

static bool is_expected(const struct cell *cell, const char *expected)
{
	const size_t length = strlen(cell->outcome);

	for (const char *at = expected; at != NULL; at = strchr(at, '|')) {
		at += *at == '|';
		if (strncmp(at, cell->outcome, length) == 0 && (at[length] == '\0' || at[length] == '|'))
			return true;
	}
	return false;
}

/* 1: it was something else than what was to be tried */
static int attempt(struct cell *cell, const char *fabric, const char *expected)
{
	int rc = set_up(cell, fabric);
	const bool met = rc == 0 && await_met(cell);

	if (rc == 0 && met)
		rc = go_on(cell);
	else if (rc == 0)
		rc = await_source(cell);
	if (rc == 0)
		rc = conclude(cell);
	if (rc < 0)
		return rc;
	pair_destroy(&cell->pair);
	loop_plan_set(NULL);
	if (pair_await_holdings(&cell->before, cell->text, cell->size) < 0)
		return -1;
	if (met && is_expected(cell, expected))
		return 0;
	snprintf(cell->text, cell->size, "%s: %s instead of %s: %d %s", met ? "safe" : "its message was not seen",
		 cell->outcome, expected, cell->pair.ret, cell->pair.err.msg);
	return 1;
}

int matrix_cell(const char *fabric, const struct matrix_row *row, const struct matrix_column *column, char *text,
		size_t size)
{
	static struct cell cell;
	unsigned slower = 1;
	int rc = 1;

	matrix_fake_prepare();
	pair_holdings_begin(&cell.before);
	for (unsigned i = 0; i < ATTEMPTS && rc > 0; i++) {
		const struct pair_holdings before = cell.before;

		memset(&cell, 0, sizeof(cell));
		cell = (struct cell){ .row = row, .column = column, .before = before, .slower = slower };
		cell.text = text;
		cell.size = size;
		rc = attempt(&cell, fabric, matrix_expected(fabric, row, column));
		slower *= SLOWER;
	}
	return rc == 0 ? 0 : -1;
}
