/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.c -- the loop fabric: source and sink in one process, deterministic, with faults on demand (loop.h)
 *
 * A real fabric, only that its network is a queue: writes stay references until they are executed, like work requests in a
 * NIC, and go straight from the source's page to the sink's. They are executed by whoever drives the source (write when the
 * queue is full, flush, barrier, message, wait, stop) and by loop_release(), so the sink's events come from those threads. They
 * are called with no lock of the fabric held; the driver should hold none of its own that they need.
 *
 * Two channels by default, so that whatever depends on the order between channels shows.
 */
#include "fabric/loop/link.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* the sixteen bytes that the kernel writes as a UUID */
static bool loop_boot_id(uint8_t boot_id[16])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	int found = 0, c;

	if (file == NULL)
		return false;
	memset(boot_id, 0, 16);
	while (found < 32 && (c = fgetc(file)) != EOF) {
		const char *digits = "0123456789abcdef";
		const char *digit = c != '\0' ? strchr(digits, c) : NULL;

		if (digit == NULL)
			continue;
		boot_id[found / 2] = (uint8_t)(boot_id[found / 2] << 4 | (digit - digits));
		found++;
	}
	fclose(file);
	return found == 32;
}

static bool loop_reaches(const uint8_t boot_id[16], uint32_t pid)
{
	uint8_t own[16];

	return pid == (uint32_t)getpid() && loop_boot_id(own) && memcmp(own, boot_id, sizeof(own)) == 0;
}

const struct fabric_ops fabric_loop_ops = {
	.name = "loop",
	.default_channels = 2,
	.write_max = LINK_WRITE_MAX,
	.write_cost_ns = 100,
	.reaches = loop_reaches,
	.sink_open = loop_sink_open,
	.sink_address = loop_sink_address,
	.sink_expose = loop_sink_expose,
	.sink_fence = loop_sink_fence,
	.sink_cpu_ns = loop_sink_cpu_ns,
	.sink_close = loop_sink_close,
	.source_connect = loop_source_connect,
	.source_map = loop_source_map,
	.source_write = loop_source_write,
	.source_flush = loop_source_flush,
	.source_barrier = loop_source_barrier,
	.source_message = loop_source_message,
	.source_wait = loop_source_wait,
	.source_pending = loop_source_pending,
	.source_last_error = loop_source_last_error,
	.source_stats = loop_source_stats,
	.source_stop = loop_source_stop,
	.source_close = loop_source_close,
};
