/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * calls_trial.c -- a migration in which one call fails, and what must hold then
 *
 * It moves, or it fails and says why and the guest runs on at the source, or it is in doubt, which is then settled. Whatever it is, the
 * two ends can do it the next time, and nothing is left. A call that was only interrupted, or did less than it was asked for,
 * changes nothing at all.
 */
#include "integration/calls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "integration/pair.h"
#include "support/slow.h"

#define TIMER_MS (slow_here() ? 4000u : 1500u)

static struct pair pair; /* one trial in a process */
static bool struck;      /* the call was made, and failed */

static int wrong(const char *what, char *text, size_t size)
{
	snprintf(text, size, "%s; the migration: %d %s; the receiver: %s", what, pair.ret, pair.err.msg,
		 pair.receive_err.msg);
	return -1;
}

static void make(const char *fabric, bool soon)
{
	pair_init(&pair, fabric);
	/* what shows by silence alone is to show soon */
	if (soon) {
		pair.opts.peer_timeout_ns = pair.receiver_opts.peer_timeout_ns = TIMER_MS * PAIR_MS;
		pair.receiver_opts.lease_ns = TIMER_MS * PAIR_MS;
	}
	pair.opts.verify = pair.opts.ask_verdict = true;
	pair.direct = true;
	pair_set_key(&pair);
}

static bool is_told(const struct decant_error *err, int ret)
{
	return ret < 0 && err->code == ret && err->msg[0] != '\0' && strchr(err->msg, '\n') == NULL;
}

static int settle(void)
{
	int rc = -EINPROGRESS;

	for (unsigned i = 0; i < 300 && rc == -EINPROGRESS; i++)
		rc = pair_settle(&pair, false);
	if (rc == -ECANCELED && pair_resume(&pair) < 0)
		return -EIO;
	return rc;
}

static int judge(char *text, size_t size)
{
	char what[160];
	const bool doubt = pair.ret == -EINPROGRESS;

	if (pair.ret != 0 && !is_told(&pair.err, pair.ret))
		return wrong("it failed, and does not say why", text, size);
	snprintf(text, size, "%s%s: %s", doubt ? "doubt-" : "", pair.ret == 0 ? "moved" : "stayed", pair.err.msg);
	if (doubt) {
		pair.ret = settle();
		snprintf(text, size, "doubt-%s", pair.ret == 0 ? "moved" : "stayed");
	}
	if (pair.ret == -EINPROGRESS)
		return wrong("in doubt for good", text, size);
	struck = lib_plan_struck();
	lib_plan_drop();
	if (pair_judge(&pair, pair.ret == 0 ? PAIR_MOVED : PAIR_STAYED, what, sizeof(what)) < 0)
		return wrong(what, text, size);
	if (pair.ret != 0 && pair_repeat(&pair, what, sizeof(what)) < 0)
		return wrong(what, text, size);
	return 0;
}

static int run(char *text, size_t size)
{
	int rc = pair_start(&pair);

	if (rc < 0) {
		snprintf(text, size, "refused: %s", pair.receive_err.msg);
		return is_told(&pair.receive_err, rc) ? 0 : wrong("no receiver, and nobody says why", text, size);
	}
	rc = pair_migrate(&pair);
	if (rc < 0) {
		snprintf(text, size, "refused: %s", pair.err.msg);
		return is_told(&pair.err, rc) ? 0 : wrong("no migration, and nobody says why", text, size);
	}
	if (!pair_await_source(&pair, PAIR_PATIENCE_MS))
		return wrong("the source does not come to an end", text, size);
	pair_join(&pair);
	return judge(text, size);
}

static int run_whole(const char *fabric, bool soon, char *text, size_t size)
{
	struct pair_holdings before;
	char what[160];
	int rc;

	pair_holdings_begin(&before);
	make(fabric, soon);
	rc = run(text, size);
	if (rc < 0)
		return rc;
	pair_destroy(&pair);
	if (pair_await_holdings(&before, what, sizeof(what)) < 0)
		return wrong(what, text, size);
	return 0;
}

int calls_trial(const char *fabric, const struct calls_trial *trial, char *text, size_t size)
{
	int rc;

	calls_verbs_begin(trial->verb, trial->nth);
	lib_plan_set(&trial->plan);
	rc = run_whole(fabric, trial->nth > 0 || trial->plan.fault == LIB_FAIL, text, size);
	struck = struck || lib_plan_struck();
	/* a migration is not the same twice */
	if (rc == 0 && trial->nth == 0 && !struck)
		snprintf(text, size, "unused");
	if (rc == 0 && struck && trial->plan.fault != LIB_FAIL && strcmp(text, "moved: ") != 0) {
		snprintf(text + strlen(text), size - strlen(text), "; it should have changed nothing");
		return -1;
	}
	return rc;
}

int calls_count(const char *fabric, struct calls_counts *counts, char *text, size_t size)
{
	int rc;

	calls_verbs_begin(0, 0);
	lib_plan_set(NULL);
	rc = run_whole(fabric, false, text, size);
	for (int end = 0; end < LIB_ENDS; end++)
		for (int call = 0; call < LIB_CALL_COUNT; call++)
			counts->libc[end][call] = lib_count((enum lib_end)end, (enum lib_call)call);
	for (unsigned verb = 0; verb < calls_verbs(); verb++)
		counts->verbs[verb] = calls_verb_count(verb);
	return rc;
}
