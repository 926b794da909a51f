/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move_settings.h -- what a migration's options change in QEMU's capabilities and parameters, and how it was before
 *
 * Beside what preflight_change() does, after it; so put back before that is.
 */
#ifndef QEMU_MOVE_SETTINGS_H
#define QEMU_MOVE_SETTINGS_H

#include <decant/error.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct qmp;

struct move_wanted {
	uint64_t bandwidth_Bps;   /* 0: as it is */
	uint64_t max_downtime_ns; /* of all passes; at first QEMU is told what is for pass 1; 0: as it is */
	uint32_t multifd;         /* channels, 0: off; UINT32_MAX: as it is */
	bool throttle;            /* auto-converge; false: as it is */
};

struct move_settings {
	struct json_object *capabilities; /* as they were, those that were changed; NULL: none */
	struct json_object *parameters;
};

/* move_settings_apply() -- 0; -EREMOTEIO: QEMU refuses one, and all is as it was; or as qmp_call() */
int move_settings_apply(struct move_settings *settings, struct qmp *qmp, const struct move_wanted *wanted,
			struct decant_error *err);

/* move_settings_grown() -- what migrate-set-parameters is to be told when @pass begins, from 2 on; the caller's; NULL: nothing */
struct json_object *move_settings_grown(uint64_t max_ns, uint64_t pass);

/* move_settings_restore() -- put back; QEMU refuses that while a migration goes on. Once is enough, a second call does nothing. */
int move_settings_restore(struct move_settings *settings, struct qmp *qmp, struct decant_error *err);

#endif
