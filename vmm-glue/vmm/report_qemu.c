/* SPDX-License-Identifier: BSD-2-Clause */
/* report_qemu.c -- what the migration of a QEMU's guest came to, as JSON */
#include "vmm/report_qemu.h"
#include "vmm/report.h"

#include "qemu/json.h"

#include <string.h>

static const char *report_qemu_outcome(enum decant_migration_state outcome)
{
	switch (outcome) {
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

/* what is 0 was not said, and is left out */
static void report_add_said(struct json_object *json, const char *key, uint64_t number)
{
	if (number > 0)
		json_add_number(json, key, number);
}

static void report_add_said_ms(struct json_object *json, const char *key, uint64_t ns)
{
	if (ns > 0)
		json_add_ms(json, key, ns);
}

static struct json_object *report_of_qemu(const struct move_figures *qemu)
{
	struct json_object *json = json_object_new_object();

	report_add_said_ms(json, "setup_ms", qemu->setup_ns);
	report_add_said_ms(json, "total_ms", qemu->total_ns);
	report_add_said_ms(json, "downtime_ms", qemu->downtime_ns);
	report_add_said_ms(json, "expected_downtime_ms", qemu->expected_downtime_ns);
	report_add_said(json, "transferred_bytes", qemu->transferred_bytes);
	report_add_said(json, "passes", qemu->syncs);
	report_add_said(json, "normal_pages", qemu->normal_pages);
	report_add_said(json, "zero_pages", qemu->zero_pages);
	if (qemu->error[0] != '\0')
		json_add_text(json, "error", qemu->error);
	return json;
}

static struct json_object *report_of_stream(const struct proxy_stats *sidecar)
{
	struct json_object *json = json_object_new_object();

	json_add_number(json, "connections", sidecar->connections);
	json_add_number(json, "bytes", sidecar->stream_bytes);
	json_add_number(json, "forwarded_bytes", sidecar->forwarded_bytes);
	json_add_number(json, "return_bytes", sidecar->return_bytes);
	json_add_number(json, "dirty_pages", sidecar->dirty_pages);
	json_add_number(json, "shared_bytes", sidecar->region_bytes);
	json_add_number(json, "passed_block_bytes", sidecar->passed_block_bytes);
	report_add_said_ms(json, "ram_ms", sidecar->ram_ns);
	report_add_said_ms(json, "drain_ms", sidecar->drain_ns);
	return json;
}

static void report_add_where(struct json_object *json, const struct qemu_move_result *result)
{
	if (result->outcome == DECANT_STATE_COMPLETED)
		json_add_text(json, "guest_there", result->paused ? "paused" : "running");
	else if (result->guest[0] != '\0')
		json_add_text(json, "guest_here", result->guest);
}

struct json_object *report_qemu_json(const struct report_qemu *report)
{
	struct json_object *json = json_object_new_object();
	const struct qemu_move_result *result = report->result;
	const struct decant_stats *stats = &result->stats;

	json_add_number(json, "decant", REPORT_VERSION);
	json_add_text(json, "vm", result->name[0] != '\0' ? result->name : NULL);
	json_add_text(json, "qmp", report->monitor);
	json_add_text(json, "peer", report->peer);
	json_add_text(json, "outcome", report_qemu_outcome(result->outcome));
	json_add_text(json, "error", report->error);
	report_add_where(json, result);
	json_add_text(json, "mode", "precopy");
	json_add_bool(json, "passed_through", result->sidecar.fallback);
	json_add_text(json, "fabric", stats->fabric[0] != '\0' ? stats->fabric : NULL);
	json_add_text(json, "fabric_reason", stats->fabric_reason[0] != '\0' ? stats->fabric_reason : NULL);
	json_add_number(json, "channels", stats->channels);
	json_add_number(json, "failovers", stats->failovers);
	json_add_number(json, "ram_bytes", stats->ram_bytes);
	json_add_number(json, "sent_bytes", stats->sent_bytes);
	json_add_number(json, "pages_sent", stats->pages_sent);
	json_add_number(json, "pages_skipped", stats->pages_skipped);
	json_add_ms(json, "setup_ms", stats->setup_ns);
	json_add_ms(json, "total_ms", stats->total_ns);
	report_add_said_ms(json, "downtime_bound_ms", stats->downtime_bound_ns);
	json_add_ms(json, "max_downtime_ms", report->max_downtime_ns);
	json_add_ms(json, "source_cpu_ms", stats->source_cpu_ns);
	json_object_object_add(json, "stamps_ns", report_stamps_json(stats));
	json_object_object_add(json, "stream", report_of_stream(&result->sidecar));
	json_object_object_add(json, "qemu", report_of_qemu(&result->qemu));
	return json;
}
