/* SPDX-License-Identifier: BSD-2-Clause */
/* two_nodes.c -- a host of two NUMA nodes, as far as this program can tell */
#include "support/two_nodes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool two_nodes_make(struct two_nodes *nodes)
{
	uint32_t found = 0, number[2] = { 0 };
	struct cpus own;
	char text[64];

	memset(nodes, 0, sizeof(*nodes));
	if (cpus_of_thread(&own) < 0)
		return false;
	for (uint32_t cpu = 0; cpu < CPUS_MAX && found < 2; cpu++)
		if (cpus_has(&own, cpu))
			number[found++] = cpu;
	if (found < 2)
		return false;
	for (uint32_t i = 0; i < 2; i++) {
		cpus_add(&nodes->node[i], number[i]);
		cpus_add(&nodes->both, number[i]);
	}
	snprintf(text, sizeof(text), "pack:2 [numa] pu:1(indexes=%" PRIu32 ",%" PRIu32 ")", number[0], number[1]);
	setenv("HWLOC_SYNTHETIC", text, 1);
	return cpus_bind_thread(&nodes->both) == 0;
}
