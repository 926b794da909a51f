/* SPDX-License-Identifier: BSD-2-Clause */
/* probe_placement.c -- where decant's threads would run, and which network is near which memory */
#include "qemu/json.h"
#include "vmm/probe_internal.h"

#include "util/placement.h"
#include "util/topology.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static void placement_add_cpus(struct json_object *object, const char *key, const struct cpus *cpus)
{
	char text[CPUS_TEXT_MAX];

	json_add_text(object, key, cpus_format(cpus, text));
}

static int placement_is_device(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The devices of a class that are near @node. */
static void placement_add_class(struct json_object *devices, const struct topology *topology, const char *class,
				const char *folder, int node)
{
	struct dirent **entries = NULL;
	const int count = scandir(folder, &entries, placement_is_device, versionsort);

	for (int i = 0; i < count; i++) {
		if (topology_device_node(topology, "", class, entries[i]->d_name) == node)
			json_object_array_add(devices, json_object_new_string(entries[i]->d_name));
		free(entries[i]);
	}
	free(entries);
}

static struct json_object *placement_node(const struct topology *topology, const struct topology_node *node,
					  const struct placement *placement)
{
	struct json_object *object = json_object_new_object();
	struct json_object *devices = json_object_new_array();
	struct cpus used;

	cpus_and(&used, &node->cpus, &placement->cpus);
	json_add_number(object, "node", (uint64_t)node->node);
	placement_add_cpus(object, "cpus", &node->cpus);
	placement_add_cpus(object, "used", &used);
	placement_add_class(devices, topology, "infiniband", "/sys/class/infiniband", node->node);
	placement_add_class(devices, topology, "net", "/sys/class/net", node->node);
	json_object_object_add(object, "devices", devices);
	return object;
}

void probe_placement(struct json_object *probe, struct json_object *advice)
{
	const struct topology *topology = topology_get();
	struct json_object *section = json_object_new_object();
	struct json_object *nodes = json_object_new_array();
	struct placement placement;
	struct placement_host host;
	struct cpus wrong;

	placement_look("", &host);
	placement_choose(&host, NULL, &placement, NULL);
	placement_add_cpus(section, "cpus", &placement.cpus);
	json_add_text(section, "why", placement.why);
	placement_add_cpus(section, "affinity", &host.affinity);
	placement_add_cpus(section, "cpuset", &host.cpuset);
	placement_add_cpus(section, "isolated", &host.isolated);
	for (uint32_t i = 0; i < topology->count; i++)
		json_object_array_add(nodes, placement_node(topology, &topology->node[i], &placement));
	json_object_object_add(section, "nodes", nodes);
	json_object_object_add(probe, "placement", section);
	cpus_and(&wrong, &placement.cpus, &host.isolated);
	if (cpus_count(&wrong) > 0)
		probe_advise(advice,
			     "CPUs: decant's threads would run on isolated ones, since this process has no others: "
			     "give its cpuset some that are not");
}
