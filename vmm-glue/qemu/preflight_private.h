/* SPDX-License-Identifier: BSD-2-Clause */
/* preflight_private.h -- what the files of preflight share */
#ifndef QEMU_PREFLIGHT_PRIVATE_H
#define QEMU_PREFLIGHT_PRIVATE_H

#include "qemu/preflight.h"

#include <stddef.h>

struct process;

#define PREFLIGHT_REFUSALS_MAX 32u
#define PREFLIGHT_CHANGES_MAX 4u
#define PREFLIGHT_NAME_MAX 64
#define PREFLIGHT_TEXT_MAX 640

/* "migrate-set-capabilities", as somebody would type it. */
#define PREFLIGHT_CAPABILITY(state)                                                                                \
	"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": [{\"capability\": \"%s\", " \
	"\"state\": " state "}]}}"

/* One thing that was set, and what it was before. */
struct preflight_change {
	const char *name;
	bool capability; /* else a parameter, and a number */
	uint64_t before;
	uint64_t now;
};

struct preflight {
	struct preflight_opts opts;
	uint32_t count;
	struct preflight_refusal refusal[PREFLIGHT_REFUSALS_MAX];
	char name[PREFLIGHT_REFUSALS_MAX][PREFLIGHT_NAME_MAX];
	char text[PREFLIGHT_REFUSALS_MAX][PREFLIGHT_TEXT_MAX];
	char unfit[PREFLIGHT_REFUSALS_MAX * (PREFLIGHT_TEXT_MAX + 2)];
	struct json_object *facts;
	struct preflight_change change[PREFLIGHT_CHANGES_MAX];
	uint32_t changes;
};

/* preflight_refuse() -- one more reason; of too many the rest is not told */
void preflight_refuse(struct preflight *preflight, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* preflight_new() -- nothing seen yet; NULL without memory */
struct preflight *preflight_new(const struct preflight_opts *opts);

/* preflight_judge_capabilities() -- @list: the answer to query-migrate-capabilities. -EPROTO: it is none */
int preflight_judge_capabilities(struct preflight *preflight, struct json_object *list, struct decant_error *err);

/* preflight_judge_parameters() -- @parameters: the answer to query-migrate-parameters; after the capabilities */
void preflight_judge_parameters(struct preflight *preflight, struct json_object *parameters);

/* preflight_judge_machine() -- @type: "pc-i440fx-7.2-machine" */
void preflight_judge_machine(struct preflight *preflight, const char *type);

/* preflight_judge_driver() -- @driver of a device: does it punch holes into memory? */
void preflight_judge_driver(struct preflight *preflight, const char *driver, const char *id);

/* preflight_judge_process() -- what only the command line tells */
void preflight_judge_process(struct preflight *preflight, const struct process *process);

/* preflight_has() -- does the list of query-migrate-capabilities have @name on? */
bool preflight_has(struct json_object *list, const char *name);

#endif
