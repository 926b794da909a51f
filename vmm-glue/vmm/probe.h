/* SPDX-License-Identifier: BSD-2-Clause */
/* probe.h -- what this host has that decant can use */
#ifndef VMM_PROBE_H
#define VMM_PROBE_H

#include <json-c/json.h>
#include <stdio.h>

/*
 * probe_json() -- look; the caller's
 *
 * Sections "kvm", "memory", "placement", "network", "process", each an object, and "advice", an array of texts: what is missing and how to mend it.
 */
struct json_object *probe_json(void);

/* probe_print() -- the same for people */
void probe_print(FILE *out, struct json_object *probe);

#endif
