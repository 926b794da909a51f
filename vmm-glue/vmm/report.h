/* SPDX-License-Identifier: BSD-2-Clause */
/* report.h -- what a migration came to: as JSON, and in words */
#ifndef VMM_REPORT_H
#define VMM_REPORT_H

#include <decant/stats.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

#define REPORT_VERSION 1

/* exit statuses of decant */
enum report_exit {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_IN_DOUBT = 3,
};

struct report {
	const char *vm;
	const char *peer;
	uint64_t max_downtime_ns;
	const struct decant_stats *stats;
	const char *error; /* NULL: none */
};

/* report_json() -- the report as documented in decant(1); the caller's */
struct json_object *report_json(const struct report *report);

/* report_stamps_json() -- when each state was come to: {"connecting": ns, ...} */
struct json_object *report_stamps_json(const struct decant_stats *stats);

/* report_exit() -- the exit status that a report calls for */
enum report_exit report_exit(struct json_object *report);

/* report_print() -- in words, for people (report_words.c) */
void report_print(FILE *out, struct json_object *report);

/* report_progress_json() -- the figures of a moment, as the event "progress" */
struct json_object *report_progress_json(const struct decant_stats *stats);

/* report_progress_stats() -- the inverse, as far as a progress line needs it */
void report_progress_stats(struct json_object *event, struct decant_stats *stats);

#endif
