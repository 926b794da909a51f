/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_report.h -- what a pair of sidecars has done: as JSON, and in words */
#ifndef VMM_PROXY_REPORT_H
#define VMM_PROXY_REPORT_H

#include "qemu/proxy_stats.h"

#include <json-c/json.h>
#include <stdbool.h>

/* proxy_report_stage() -- the stage's name, static */
const char *proxy_report_stage(enum proxy_stage stage);

/* proxy_report_json() -- the figures as members, documented in decant(1); the caller's. @source: of that end, which knows more */
struct json_object *proxy_report_json(const struct proxy_stats *stats, bool source);

/* proxy_report_words() -- in one line for people */
void proxy_report_words(const struct proxy_stats *stats, bool source, char *text, size_t room);

#endif
