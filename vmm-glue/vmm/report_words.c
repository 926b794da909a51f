/* SPDX-License-Identifier: BSD-2-Clause */
/* report_words.c -- the report in words; made from its JSON, which is all that a client has */
#include "qemu/json.h"
#include "vmm/report.h"
#include "vmm/words.h"

#include <string.h>

static uint64_t words_ns(struct json_object *report, const char *key)
{
	double ms = json_get_real(report, key, 0);

	return ms > 0 && ms < 1e12 ? (uint64_t)(ms * 1e6) : 0;
}

static size_t words_passes(struct json_object *report)
{
	struct json_object *passes = NULL;

	json_object_object_get_ex(report, "passes", &passes);
	return json_object_is_type(passes, json_type_array) ? json_object_array_length(passes) : 0;
}

static void words_outcome(FILE *out, struct json_object *report)
{
	const char *outcome = json_get_text(report, "outcome", "failed");
	const char *vm = json_get_text(report, "vm", "?");
	const char *peer = json_get_text(report, "peer", "?");

	if (strcmp(outcome, "completed") == 0)
		fprintf(out, "%s: migrated to %s\n", vm, peer);
	else if (strcmp(outcome, "in-doubt") == 0)
		fprintf(out,
			"%s: the outcome is in doubt: it is held here; \"decant resume %s\" asks "
			"%s again\n",
			vm, vm, peer);
	else
		fprintf(out, "%s: migration %s; the guest is here, as it was\n", vm, outcome);
}

static void words_data(FILE *out, struct json_object *report)
{
	char ram[WORDS_MAX], data[WORDS_MAX], sent[WORDS_MAX], rate[WORDS_MAX];
	const char *reason = json_get_text(report, "fabric_reason", "as asked for");
	uint64_t channels = json_get_number(report, "channels", 0);
	size_t passes = words_passes(report);

	if (passes == 0)
		return;
	fprintf(out, "  memory    %s, %s of it data; %s sent in %zu pass%s\n",
		words_bytes(ram, json_get_number(report, "ram_bytes", 0)),
		words_bytes(data, json_get_number(report, "data_bytes", 0)),
		words_bytes(sent, json_get_number(report, "sent_bytes", 0)), passes, passes == 1 ? "" : "es");
	fprintf(out, "  fabric    %s, %llu channel%s, %s in pass 1\n", json_get_text(report, "fabric", "none"),
		(unsigned long long)channels, channels == 1 ? "" : "s",
		words_rate(rate, json_get_number(report, "throughput_Bps", 0)));
	if (strcmp(reason, "as asked for") != 0)
		fprintf(out, "            %s\n", reason);
}

static void words_times(FILE *out, struct json_object *report)
{
	char a[WORDS_MAX], b[WORDS_MAX], c[WORDS_MAX];

	fprintf(out, "  time      %s in all, %s of it set-up\n", words_time(a, words_ns(report, "total_ms")),
		words_time(b, words_ns(report, "setup_ms")));
	fprintf(out, "  pause     %s (limit %s; clocks of the two hosts agree to %s)\n",
		words_time(a, words_ns(report, "downtime_ms")), words_time(b, words_ns(report, "max_downtime_ms")),
		words_time(c, words_ns(report, "clock_error_ms")));
	fprintf(out, "  CPU       %s at the source, %s at the destination\n",
		words_time(a, words_ns(report, "source_cpu_ms")), words_time(b, words_ns(report, "dest_cpu_ms")));
	if (json_get_bool(report, "verified", false))
		fprintf(out, "  verified  every page is equal on both sides (took %s)\n",
			words_time(a, words_ns(report, "verify_ms")));
}

static void words_forecast(FILE *out, struct json_object *report)
{
	struct json_object *error = NULL;

	if (json_object_object_get_ex(report, "forecast_error", &error) && error != NULL)
		fprintf(out,
			"  forecast  from the second pass on wrong by %.0f %% at most in the time left, %.0f %% in the pause\n",
			100 * json_get_real(error, "total", 0), 100 * json_get_real(error, "downtime", 0));
}

static void words_throttle(FILE *out, struct json_object *report)
{
	struct json_object *throttle = NULL, *vcpus = NULL;
	char time[WORDS_MAX];
	size_t count, slowed = 0;
	uint64_t most;

	if (!json_object_object_get_ex(report, "throttle", &throttle))
		return;
	json_object_object_get_ex(throttle, "vcpu_max_permille", &vcpus);
	count = json_object_is_type(vcpus, json_type_array) ? json_object_array_length(vcpus) : 0;
	for (size_t i = 0; i < count; i++)
		slowed += json_object_get_int(json_object_array_get_idx(vcpus, i)) > 0;
	most = json_get_number(throttle, "max_permille", 0);
	fprintf(out, "  throttle  %zu of %zu vCPUs slowed by up to %llu.%llu%%, for %s%s\n", slowed, count,
		(unsigned long long)most / 10, (unsigned long long)most % 10,
		words_time(time, words_ns(throttle, "ms")),
		json_get_bool(throttle, "alike", false)
			? "; all alike, for the dirty log does not tell which write (run --dirty ring)"
			: "");
}

static void words_verdict(FILE *out, struct json_object *report)
{
	const char *verdict = json_get_text(report, "guest_verdict", NULL);
	char pause[WORDS_MAX];

	if (verdict == NULL)
		return;
	if (strcmp(verdict, "ok") == 0)
		fprintf(out, "  guest     ok: it has checked all its memory; its own longest pause was %s\n",
			words_time(pause, words_ns(report, "guest_pause_ms")));
	else
		fprintf(out, "  guest     BAD: THE GUEST HAS FOUND ITS MEMORY DAMAGED: %s\n",
			json_get_text(report, "guest_verdict_text", "it does not say where"));
}

void report_print(FILE *out, struct json_object *report)
{
	words_outcome(out, report);
	if (strcmp(json_get_text(report, "outcome", "failed"), "completed") != 0)
		return;
	words_data(out, report);
	words_times(out, report);
	words_forecast(out, report);
	words_throttle(out, report);
	words_verdict(out, report);
}
