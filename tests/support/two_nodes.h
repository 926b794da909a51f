/* SPDX-License-Identifier: BSD-2-Clause */
/* two_nodes.h -- a host of two NUMA nodes, as far as this program can tell */
#ifndef SUPPORT_TWO_NODES_H
#define SUPPORT_TWO_NODES_H

#include "util/cpus.h"

#include <stdbool.h>

struct two_nodes {
	struct cpus node[2]; /* one CPU each, both this process's */
	struct cpus both;
};

/*
 * two_nodes_make() -- put two of the CPUs that this process has on a node each; before anything looks at the topology
 *
 * Binds the process to the two. false: it has only one CPU.
 */
bool two_nodes_make(struct two_nodes *nodes);

#endif
