/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move_stage.h -- a stage for qemu_move: a QEMU of which there is only the monitor, and a sidecar, preflight and memory that are a script
 *
 * The monitor is a thread that answers over a UNIX socket, as QEMU does. What happens to the migration is the test's to say, in a thread of
 * its own (the scene), which waits for what qemu_move does and says what QEMU, and the sidecar, do then.
 */
#ifndef TESTS_MOVE_STAGE_H
#define TESTS_MOVE_STAGE_H

#include "qemu/proxy_stats.h"
#include "qemu/qemu_move.h"

#include <json-c/json.h>
#include <stdbool.h>

/* What has happened. */
enum stage_sign {
	STAGE_TOLD,              /* `migrate` came */
	STAGE_CANCELLED,         /* `migrate_cancel` came */
	STAGE_CONTINUED,         /* `migrate-continue` came */
	STAGE_CONT,              /* `cont` came: never */
	STAGE_SIDECAR_RUNS,      /* proxy_source_run() was called */
	STAGE_SIDECAR_CANCELLED, /* proxy_source_cancel() was */
	STAGE_ASKED,             /* the sidecar has asked whether the guest may be started */
	STAGE_ANSWERED,
	STAGE_LOOKED, /* `query-status` came after the last stage_stop() */
	STAGE_SIGNS,
};

struct stage;

/* stage_play() -- qemu_move_run() with @opts (monitor, socket, wish_fd and peer are the stage's) while @scene goes on beside it; its return value */
int stage_play(struct stage *stage, void (*scene)(struct stage *stage), struct qemu_move_opts *opts,
	       struct qemu_move_result *result, struct decant_error *err);

/* stage_new() -- a guest that runs, QEMU's settings as they are at its start */
struct stage *stage_new(void);
void stage_free(struct stage *stage);

/* ---- before, or in a scene ---- */

/* stage_runstate() -- what query-status says from now on */
void stage_runstate(struct stage *stage, const char *status);

/* stage_refuse() -- QEMU says no to this command */
void stage_refuse(struct stage *stage, const char *command);

/* stage_unfit() -- preflight says no */
void stage_unfit(struct stage *stage, const char *why);

/* stage_stale() -- just before it takes `migrate`, QEMU says that an earlier migration has come to this */
void stage_stale(struct stage *stage, const char *status);

/* ---- in a scene ---- */

/* stage_await() -- false after a minute: the test has failed */
bool stage_await(struct stage *stage, enum stage_sign sign);
bool stage_saw(struct stage *stage, enum stage_sign sign);

/* stage_wish() -- somebody wants it to end */
void stage_wish(struct stage *stage);

/* stage_event() -- QEMU says @name, with @data or NULL */
void stage_event(struct stage *stage, const char *name, struct json_object *data);

/* stage_status() -- where QEMU's migration is, from now on, with its event */
void stage_status(struct stage *stage, const char *status);

/* stage_stop(), stage_go_on() -- the guest; @status: what query-status says then */
void stage_stop(struct stage *stage, const char *status);
void stage_go_on(struct stage *stage);

/* stage_await_look() -- until somebody has asked for the guest's status after the last stage_stop() */
bool stage_await_look(struct stage *stage);

/* stage_hang_up() -- QEMU ends */
void stage_hang_up(struct stage *stage);

/* stage_sidecar_reach() -- the sidecar is at that stage */
void stage_sidecar_reach(struct stage *stage, enum proxy_stage at);

/* stage_sidecar_ask() -- it has loaded, and asks whether to start */
void stage_sidecar_ask(struct stage *stage);

/* stage_sidecar_end() -- it ends so */
void stage_sidecar_end(struct stage *stage, int ret, enum proxy_outcome outcome, const char *why);

/* ---- after ---- */

/* stage_answer() -- what the sidecar was told */
int stage_answer(struct stage *stage);

/* stage_setting() -- a parameter, or whether a capability is on, as it is now */
uint64_t stage_setting(struct stage *stage, const char *name);

/* stage_await_setting() -- until it is @value; false: it never was */
bool stage_await_setting(struct stage *stage, const char *name, uint64_t value);

/* stage_sidecar_may_fall_back() -- was it given leave to pass all through, and what preflight found? */
bool stage_sidecar_may_fall_back(struct stage *stage);

#endif
