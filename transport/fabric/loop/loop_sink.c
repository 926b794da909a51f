/* SPDX-License-Identifier: BSD-2-Clause */
/* loop_sink.c -- the sink's end of the loop fabric */
#include "fabric/loop/link.h"

#include <errno.h>
#include <string.h>

/* The link is all there is; a sink is a name for it. */
static struct loop_link *sink_link(const struct fabric_sink *sink)
{
	return (struct loop_link *)sink;
}

int loop_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **sink, struct decant_error *err)
{
	struct loop_link *link;
	const int rc = loop_link_new(opts, &link, err);

	if (rc == 0)
		*sink = (struct fabric_sink *)link;
	return rc;
}

void loop_sink_address(const struct fabric_sink *sink, struct fabric_address *address)
{
	const uint64_t handle = sink_link(sink)->handle;

	memset(address, 0, sizeof(*address));
	address->length = sizeof(handle);
	memcpy(address->bytes, &handle, sizeof(handle));
}

int loop_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		     uint64_t *rkey, struct decant_error *err)
{
	*rkey = 0;
	return exposure_add(&sink_link(sink)->exposure, region, offset, length, memory, err);
}

void loop_sink_fence(struct fabric_sink *sink)
{
	struct loop_link *link = sink_link(sink);

	pthread_mutex_lock(&link->lock);
	if (!link->fenced) {
		link->fenced = true;
		loop_link_fail(link, -ECONNRESET, "the sink has closed the channels");
	}
	while (link->in_event)
		pthread_cond_wait(&link->changed, &link->lock);
	pthread_mutex_unlock(&link->lock);
}

uint64_t loop_sink_cpu_ns(const struct fabric_sink *sink)
{
	(void)sink;
	return 0;
}

void loop_sink_close(struct fabric_sink *sink)
{
	if (sink == NULL)
		return;
	loop_sink_fence(sink);
	loop_link_put(sink_link(sink));
}
