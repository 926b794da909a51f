/* SPDX-License-Identifier: BSD-2-Clause */
/* report_qemu.h -- what the migration of a QEMU's guest came to: report.h's, with what only QEMU knows, and without what it does not say */
#ifndef VMM_REPORT_QEMU_H
#define VMM_REPORT_QEMU_H

#include "qemu/qemu_move.h"

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

struct report_qemu {
	const char *monitor;
	const char *peer;
	uint64_t max_downtime_ns;
	const struct qemu_move_result *result;
	const char *error; /* NULL: none */
};

/* report_qemu_json() -- the report as documented in decant(1); the caller's. report_exit() takes it, too */
struct json_object *report_qemu_json(const struct report_qemu *report);

/* report_qemu_print() -- in words, for people (report_qemu_words.c) */
void report_qemu_print(FILE *out, struct json_object *report);

#endif
