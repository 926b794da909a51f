/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * topology.h -- the NUMA nodes of this host: the CPUs of each, and which network is near which
 *
 * hwloc tells the nodes; to ask it takes about a millisecond, more on a large host, so it is asked once in a process, before there is
 * anything that could be held up. Where a host has one node, or none is known, everything is equally near, and nothing else is looked at.
 *
 * @root goes before "/sys": "" for this host; a test gives a folder.
 */
#ifndef UTIL_TOPOLOGY_H
#define UTIL_TOPOLOGY_H

#include "util/cpus.h"

#include <stdbool.h>
#include <stdint.h>

#define TOPOLOGY_NODES_MAX 64u
#define TOPOLOGY_NODE_UNKNOWN (-1)

struct topology_node {
	int node;         /* the kernel's number; there may be gaps */
	struct cpus cpus; /* none: a node of memory alone */
};

struct topology {
	uint32_t count; /* nodes; 0: not known */
	struct topology_node node[TOPOLOGY_NODES_MAX];
};

/* topology_load() -- ask hwloc now; hwloc's own variables (HWLOC_XMLFILE, HWLOC_SYNTHETIC) are honoured */
void topology_load(struct topology *topology);

/* topology_get() -- that, once in this process; any thread */
const struct topology *topology_get(void);

/* topology_cpus() -- of @node; NULL: there is no such node, or all CPUs are as near */
const struct cpus *topology_cpus(const struct topology *topology, int node);

/* topology_device_node() -- of a device of @class ("net", "infiniband"); through what it lies on: a bond, a VLAN */
int topology_device_node(const struct topology *topology, const char *root, const char *class, const char *name);

/* topology_socket_node() -- of the interface that has a connection's local address */
int topology_socket_node(const struct topology *topology, int fd);

#endif
