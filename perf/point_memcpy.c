/* SPDX-License-Identifier: BSD-2-Clause */
/* point_memcpy.c -- the limit of loop: one memcpy(3) of all memory, by one thread */
#include "point.h"
#include "quiet.h"

#include "util/clock.h"
#include <errno.h>
#include <string.h>

int point_memcpy(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	struct decant_memory *from = NULL, *to = NULL;
	uint64_t cpu_ns, started;
	int rc;

	if (opts->role != POINT_BOTH)
		return decant_error_set(err, -EINVAL, "memcpy: both ends are in one process");
	rc = quiet_new(opts->length, opts->page_size, &from, err);
	if (rc == 0)
		rc = quiet_new(opts->length, opts->page_size, &to, err);
	if (rc == 0) {
		quiet_fill(from);
		cpu_ns = point_cpu_ns();
		started = clock_now_ns();
		memcpy(decant_memory_region(to, 0)->address, decant_memory_region(from, 0)->address, opts->length);
		result->ns = clock_now_ns() - started;
		result->cpu_ns = point_cpu_ns() - cpu_ns;
		result->bytes = opts->length;
		result->streams = 1;
		rc = quiet_check(to, err);
	}
	decant_memory_free(to);
	decant_memory_free(from);
	return rc;
}
