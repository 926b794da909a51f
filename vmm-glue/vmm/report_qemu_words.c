/* SPDX-License-Identifier: BSD-2-Clause */
/* report_qemu_words.c -- the report of a QEMU's guest in words */
#include "vmm/report_qemu.h"
#include "vmm/words.h"

#include "qemu/json.h"

#include <string.h>

static uint64_t words_ns(struct json_object *object, const char *key)
{
	double ms = json_get_real(object, key, 0);

	return ms > 0 && ms < 1e12 ? (uint64_t)(ms * 1e6) : 0;
}

static struct json_object *words_member(struct json_object *report, const char *key)
{
	struct json_object *member = NULL;

	json_object_object_get_ex(report, key, &member);
	return member;
}

static void words_outcome(FILE *out, struct json_object *report)
{
	const char *outcome = json_get_text(report, "outcome", "failed");
	const char *vm = json_get_text(report, "vm", json_get_text(report, "qmp", "?"));
	const char *peer = json_get_text(report, "peer", "?");
	const char *here = json_get_text(report, "guest_here", NULL);

	if (strcmp(outcome, "completed") == 0)
		fprintf(out, "%s: migrated to %s%s; QEMU here has given it up, and can be ended\n", vm, peer,
			strcmp(json_get_text(report, "guest_there", ""), "paused") == 0 ? ", paused as it was"
											: "");
	else if (strcmp(outcome, "in-doubt") == 0)
		fprintf(out,
			"%s: the outcome is in doubt: nothing here starts it again; docs/qemu.md, \"Settling by hand\", "
			"says how: look at %s first\n",
			vm, peer);
	else if (here == NULL || strcmp(here, "running") == 0)
		fprintf(out, "%s: migration %s; the guest is here, as it was\n", vm, outcome);
	else if (strcmp(here, "unknown") == 0)
		fprintf(out,
			"%s: migration %s; QEMU's monitor does not answer, so look whether the guest still runs here\n",
			vm, outcome);
	else
		fprintf(out, "%s: migration %s; the guest is here, and QEMU says that it is %s\n", vm, outcome,
			here);
}

static void words_data(FILE *out, struct json_object *report)
{
	struct json_object *stream = words_member(report, "stream"), *qemu = words_member(report, "qemu");
	char a[WORDS_MAX], b[WORDS_MAX], c[WORDS_MAX];
	const uint64_t channels = json_get_number(report, "channels", 0);
	const uint64_t passes = json_get_number(qemu, "passes", 0);
	const char *reason = json_get_text(report, "fabric_reason", "as asked for");

	fprintf(out, "  memory    %s, %s of it shared with the sidecars; %s sent in %llu pass%s\n",
		words_bytes(a, json_get_number(report, "ram_bytes", 0)),
		words_bytes(b, json_get_number(stream, "shared_bytes", 0)),
		words_bytes(c, json_get_number(report, "sent_bytes", 0)), (unsigned long long)passes,
		passes == 1 ? "" : "es");
	fprintf(out, "  stream    %s from QEMU, %s of it went on\n",
		words_bytes(a, json_get_number(stream, "bytes", 0)),
		words_bytes(b, json_get_number(stream, "forwarded_bytes", 0)));
	if (json_get_bool(report, "passed_through", false))
		fprintf(out, "  fabric    none: passed through unchanged\n");
	else
		fprintf(out, "  fabric    %s, %llu channel%s\n", json_get_text(report, "fabric", "none"),
			(unsigned long long)channels, channels == 1 ? "" : "s");
	if (strcmp(reason, "as asked for") != 0)
		fprintf(out, "            %s\n", reason);
}

static void words_times(FILE *out, struct json_object *report)
{
	struct json_object *qemu = words_member(report, "qemu");
	const uint64_t bound = words_ns(report, "downtime_bound_ms");
	char a[WORDS_MAX], b[WORDS_MAX], c[WORDS_MAX];

	fprintf(out, "  time      %s in all, %s of it set-up\n", words_time(a, words_ns(report, "total_ms")),
		words_time(b, words_ns(report, "setup_ms")));
	if (bound > 0)
		fprintf(out,
			"  pause     %s at most, to the answer that it runs there (limit %s; QEMU's part of it, as it "
			"says, %s)\n",
			words_time(a, bound), words_time(b, words_ns(report, "max_downtime_ms")),
			words_time(c, words_ns(qemu, "downtime_ms")));
	fprintf(out, "  CPU       %s of this sidecar\n", words_time(a, words_ns(report, "source_cpu_ms")));
}

void report_qemu_print(FILE *out, struct json_object *report)
{
	words_outcome(out, report);
	if (strcmp(json_get_text(report, "outcome", "failed"), "completed") != 0)
		return;
	words_data(out, report);
	words_times(out, report);
}
