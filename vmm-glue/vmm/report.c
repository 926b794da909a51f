/* SPDX-License-Identifier: BSD-2-Clause */
/* report.c -- what a migration came to, as JSON */
#include "vmm/report.h"
#include "qemu/json.h"

#include <string.h>

static const char *report_outcome(const struct decant_stats *stats)
{
	switch (stats->state) {
	case DECANT_STATE_COMPLETED:
		return "completed";
	case DECANT_STATE_CANCELLED:
		return "cancelled";
	case DECANT_STATE_IN_DOUBT:
		return "in-doubt";
	default:
		return "failed";
	}
}

static const char *report_verdict(const struct decant_verdict *verdict)
{
	switch (verdict->status) {
	case DECANT_VERDICT_OK:
		return "ok";
	case DECANT_VERDICT_BAD:
		return "bad";
	default:
		return NULL;
	}
}

static struct json_object *report_passes(const struct decant_stats *stats)
{
	struct json_object *passes = json_object_new_array();
	uint32_t count = stats->passes < DECANT_PASSES_MAX ? stats->passes : DECANT_PASSES_MAX;

	for (uint32_t i = 0; i < count; i++) {
		struct json_object *pass = json_object_new_object();

		json_add_ms(pass, "ms", stats->pass[i].ns);
		json_add_number(pass, "bytes", stats->pass[i].bytes);
		json_add_number(pass, "dirty_pages", stats->pass[i].dirty_pages);
		if (stats->forecast[i].made_ns != 0) {
			json_add_ms(pass, "forecast_total_ms", stats->forecast[i].left_ns);
			json_add_ms(pass, "forecast_downtime_ms", stats->forecast[i].downtime_ns);
		}
		json_object_array_add(passes, pass);
	}
	return passes;
}

static void report_add_memory(struct json_object *json, const struct decant_stats *stats)
{
	json_add_number(json, "ram_bytes", stats->ram_bytes);
	json_add_number(json, "data_bytes", stats->data_bytes);
	json_add_number(json, "sent_bytes", stats->sent_bytes);
	json_add_number(json, "pages_sent", stats->pages_sent);
	json_add_number(json, "pages_skipped", stats->pages_skipped);
	json_add_number(json, "pages_looked", stats->pages_looked);
	json_add_number(json, "zero_copy_bytes", stats->zero_copy_bytes);
	json_add_number(json, "inline_pages", stats->inline_pages);
	json_add_number(json, "writes", stats->writes);
	json_add_number(json, "source_allocated", stats->source_allocated);
	json_add_number(json, "dest_allocated", stats->dest_allocated);
	json_object_object_add(json, "passes", report_passes(stats));
}

static void report_add_times(struct json_object *json, const struct decant_stats *stats)
{
	json_add_ms(json, "setup_ms", stats->setup_ns);
	json_add_ms(json, "total_ms", stats->total_ns);
	json_add_ms(json, "downtime_ms", stats->downtime_ns);
	json_add_ms(json, "downtime_bound_ms", stats->downtime_bound_ns);
	json_add_ms(json, "verify_ms", stats->verify_ns);
	json_add_ms(json, "clock_error_ms", stats->clock_error_ns);
	json_add_number(json, "throughput_Bps", stats->throughput_Bps);
	json_add_number(json, "dirty_rate_Bps", stats->dirty_rate_Bps);
	json_add_ms(json, "source_cpu_ms", stats->source_cpu_ns);
	json_add_ms(json, "dest_cpu_ms", stats->dest_cpu_ns);
}

static void report_add_forecast_error(struct json_object *json, const struct decant_stats *stats)
{
	struct json_object *error = NULL;

	if (stats->forecasts_judged > 0) {
		error = json_object_new_object();
		json_add_permille(error, "total", stats->forecast_left_error_permille);
		json_add_permille(error, "downtime", stats->forecast_downtime_error_permille);
	}
	json_object_object_add(json, "forecast_error", error);
}

/* Absent where nothing was slowed. */
static void report_add_throttle(struct json_object *json, const struct decant_stats *stats)
{
	struct json_object *throttle, *vcpus;

	if (stats->throttle_max_permille == 0)
		return;
	throttle = json_object_new_object();
	vcpus = json_object_new_array();
	for (uint32_t i = 0; i < stats->throttle_vcpus && i < DECANT_VCPUS_KEPT; i++)
		json_object_array_add(vcpus, json_object_new_int(stats->throttle_vcpu_max_permille[i]));
	json_add_number(throttle, "max_permille", stats->throttle_max_permille);
	json_add_ms(throttle, "ms", stats->throttle_ns);
	json_object_object_add(throttle, "vcpu_max_permille", vcpus);
	json_add_bool(throttle, "alike", stats->throttle_alike == 1);
	json_object_object_add(json, "throttle", throttle);
}

static void report_add_verdict(struct json_object *json, const struct decant_verdict *verdict)
{
	const char *status = report_verdict(verdict);

	json_add_text(json, "guest_verdict", status);
	json_add_text(json, "guest_verdict_text", verdict->text[0] != '\0' ? verdict->text : NULL);
	if (status != NULL)
		json_add_ms(json, "guest_pause_ms", verdict->pause_ns);
	else
		json_add_text(json, "guest_pause_ms", NULL);
	json_add_number(json, "guest_work_rate", verdict->work_rate);
}

struct json_object *report_stamps_json(const struct decant_stats *stats)
{
	struct json_object *stamps = json_object_new_object();

	for (int state = DECANT_STATE_CONNECTING; state <= DECANT_STATE_IN_DOUBT; state++)
		if (stats->state_ns[state] != 0)
			json_add_number(stamps, decant_strstate((enum decant_migration_state)state),
					stats->state_ns[state]);
	return stamps;
}

struct json_object *report_json(const struct report *report)
{
	struct json_object *json = json_object_new_object();
	const struct decant_stats *stats = report->stats;

	json_add_number(json, "decant", REPORT_VERSION);
	json_add_text(json, "vm", report->vm);
	json_add_text(json, "peer", report->peer);
	json_add_text(json, "outcome", report_outcome(stats));
	json_add_text(json, "error", report->error);
	json_add_text(json, "mode", "precopy");
	json_add_bool(json, "verified", stats->verified == 1);
	json_add_text(json, "fabric", stats->fabric[0] != '\0' ? stats->fabric : NULL);
	json_add_text(json, "fabric_reason", stats->fabric_reason[0] != '\0' ? stats->fabric_reason : NULL);
	json_add_number(json, "channels", stats->channels);
	json_add_number(json, "failovers", stats->failovers);
	report_add_memory(json, stats);
	report_add_times(json, stats);
	report_add_forecast_error(json, stats);
	json_object_object_add(json, "stamps_ns", report_stamps_json(stats));
	json_object_object_add(json, "clock_offset_ns", json_object_new_int64(stats->clock_offset_ns));
	json_add_ms(json, "max_downtime_ms", report->max_downtime_ns);
	report_add_throttle(json, stats);
	report_add_verdict(json, &stats->verdict);
	return json;
}

enum report_exit report_exit(struct json_object *report)
{
	const char *outcome = json_get_text(report, "outcome", "failed");

	if (strcmp(outcome, "in-doubt") == 0)
		return EXIT_IN_DOUBT;
	if (strcmp(outcome, "completed") != 0)
		return EXIT_FAILED;
	return strcmp(json_get_text(report, "guest_verdict", "none"), "bad") == 0 ? EXIT_FAILED : EXIT_DONE;
}

struct json_object *report_progress_json(const struct decant_stats *stats)
{
	struct json_object *event = json_object_new_object();

	json_add_text(event, "event", "progress");
	json_add_text(event, "state", decant_strstate(stats->state));
	json_add_number(event, "pass", stats->passes);
	json_add_number(event, "permille", stats->progress_permille);
	json_add_number(event, "sent_bytes", stats->sent_bytes);
	json_add_number(event, "remaining_bytes", stats->remaining_bytes);
	json_add_number(event, "rate_Bps", stats->rate_Bps);
	json_add_number(event, "dirty_rate_Bps", stats->dirty_rate_Bps);
	json_add_ms(event, "forecast_downtime_ms", stats->forecast_downtime_ns);
	json_add_ms(event, "forecast_total_ms", stats->forecast_total_ns);
	json_add_number(event, "throttle_permille", stats->throttle_permille);
	return event;
}

static enum decant_migration_state report_state(const char *text)
{
	for (int state = DECANT_STATE_NEW; state <= DECANT_STATE_IN_DOUBT; state++)
		if (strcmp(text, decant_strstate((enum decant_migration_state)state)) == 0)
			return (enum decant_migration_state)state;
	return DECANT_STATE_NEW;
}

static uint64_t report_ns(struct json_object *event, const char *key)
{
	double ms = json_get_real(event, key, 0);

	return ms > 0 && ms < 1e12 ? (uint64_t)(ms * 1e6) : 0;
}

void report_progress_stats(struct json_object *event, struct decant_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->size = sizeof(*stats);
	stats->state = report_state(json_get_text(event, "state", ""));
	stats->passes = (uint32_t)json_get_number(event, "pass", 0);
	stats->progress_permille = (uint32_t)json_get_number(event, "permille", 0);
	stats->sent_bytes = json_get_number(event, "sent_bytes", 0);
	stats->remaining_bytes = json_get_number(event, "remaining_bytes", 0);
	stats->rate_Bps = json_get_number(event, "rate_Bps", 0);
	stats->dirty_rate_Bps = json_get_number(event, "dirty_rate_Bps", 0);
	stats->forecast_downtime_ns = report_ns(event, "forecast_downtime_ms");
	stats->forecast_total_ns = report_ns(event, "forecast_total_ms");
	stats->throttle_permille = (uint32_t)json_get_number(event, "throttle_permille", 0);
}
