/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_report.c -- what a pair of sidecars has done: as JSON, and in words */
#include "vmm/proxy_report.h"

#include "qemu/json.h"

#include "util/clock.h"

#include <stdio.h>

#define MIB (1024.0 * 1024.0)

const char *proxy_report_stage(enum proxy_stage stage)
{
	static const char *const names[] = {
		[PROXY_WAITING] = "waiting", [PROXY_CONNECTED] = "connected", [PROXY_OPENED] = "opened",
		[PROXY_RAM] = "ram",         [PROXY_DEVICES] = "devices",     [PROXY_LOADED] = "loaded",
		[PROXY_CLOSED] = "closed",
	};

	return names[stage];
}

static void report_source(struct json_object *json, const struct proxy_stats *stats)
{
	json_add_text(json, "fabric", stats->fabric);
	json_add_text(json, "fabric_reason", stats->fabric_reason);
	json_add_number(json, "channels", stats->channels);
	json_add_number(json, "failovers", stats->failovers);
	json_add_number(json, "passed_block_bytes", stats->passed_block_bytes);
	json_add_number(json, "dirty_pages", stats->dirty_pages);
	json_add_number(json, "pages_sent", stats->pages_sent);
	json_add_number(json, "zero_pages", stats->zero_pages);
	json_add_number(json, "sent_bytes", stats->sent_bytes);
	json_add_ms(json, "ram_ms", stats->ram_ns);
	json_add_ms(json, "drain_ms", stats->drain_ns);
}

struct json_object *proxy_report_json(const struct proxy_stats *stats, bool source)
{
	struct json_object *json = json_object_new_object();

	json_add_text(json, "stage", proxy_report_stage(stats->stage));
	json_add_bool(json, "fallback", stats->fallback);
	json_add_number(json, "connections", stats->connections);
	json_add_number(json, "disk_connections", stats->disk_connections);
	json_add_number(json, "regions", stats->regions);
	json_add_number(json, "region_bytes", stats->region_bytes);
	json_add_number(json, "stream_bytes", stats->stream_bytes);
	json_add_number(json, "forwarded_bytes", stats->forwarded_bytes);
	json_add_number(json, "return_bytes", stats->return_bytes);
	json_add_number(json, "disk_bytes", stats->disk_bytes);
	if (source)
		report_source(json, stats);
	json_add_ms(json, "total_ms", stats->total_ns);
	json_add_ms(json, "cpu_ms", stats->cpu_ns);
	return json;
}

void proxy_report_words(const struct proxy_stats *stats, bool source, char *text, size_t room)
{
	const double seconds = (double)stats->total_ns / (double)NSEC_PER_SEC;

	if (stats->fallback)
		snprintf(text, room, "QEMU's migration was passed unchanged, %.1f MiB in %.3f s",
			 (double)stats->stream_bytes / MIB, seconds);
	else if (source)
		snprintf(text, room,
			 "%.1f MiB of memory moved over %s in %.3f s, %.1f MiB of QEMU's stream passed on; "
			 "%.1f ms to wait for the last of the memory",
			 (double)stats->sent_bytes / MIB, stats->fabric, seconds,
			 (double)stats->forwarded_bytes / MIB, (double)stats->drain_ns / (double)NSEC_PER_MSEC);
	else
		snprintf(text, room, "%.1f MiB of memory taken in %.3f s, %.1f MiB of QEMU's stream passed on",
			 (double)stats->region_bytes / MIB, seconds, (double)stats->forwarded_bytes / MIB);
}
