/* SPDX-License-Identifier: BSD-2-Clause */
/* patience.c -- how long to look at completion queues before sleeping on them */
#include "fabric/rdma/patience.h"

#include "util/clock.h"

/* What a sleep costs by itself. */
#define SLEEP_NS (50 * NSEC_PER_USEC)

/* A wait that slept and took no longer than this would have been over before it slept. */
#define SHORT_NS (2 * SLEEP_NS)

uint64_t patience_look_ns(const struct patience *patience)
{
	return patience->never || patience->usual_ns > SHORT_NS ? 0 : SLEEP_NS;
}

void patience_waited(struct patience *patience, uint64_t ns)
{
	/* one that took very long says no more than that it was long, or it would count for a hundred others */
	const uint64_t counted_ns = ns < 8 * SHORT_NS ? ns : 8 * SHORT_NS;

	patience->usual_ns = (3 * patience->usual_ns + counted_ns) / 4;
}
