/* SPDX-License-Identifier: BSD-2-Clause */
/* probe_internal.h -- what the files of probe.h share */
#ifndef VMM_PROBE_INTERNAL_H
#define VMM_PROBE_INTERNAL_H

#include "vmm/probe.h"

/* probe_advise() -- one more text: what is missing, and how to mend it */
void probe_advise(struct json_object *advice, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* probe_memlock() -- into section "memory": how much may be pinned */
void probe_memlock(struct json_object *memory, struct json_object *advice);

/* probe_placement() -- section "placement": the CPUs that decant's threads get, the NUMA nodes, and what is near each */
void probe_placement(struct json_object *probe, struct json_object *advice);

/* probe_network() -- section "network" */
void probe_network(struct json_object *probe, struct json_object *advice);

#endif
