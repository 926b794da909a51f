/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * topology.c -- the NUMA nodes of this host, and which network is near which
 *
 * hwloc would find devices too, and much else; but it would read all of PCI for that, and it runs on each CPU in turn to ask it for its
 * features, guests' CPUs included. So it is told to leave out whatever is not a node, and to ask no CPU. Where a device
 * is, is read of the one device that matters, by hwloc's reader of the kernel's masks.
 */
#include "util/topology.h"

#include <dirent.h>
#include <hwloc.h>
#include <hwloc/linux.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* a VLAN on a bond on interfaces; anything deeper has no one place */
#define LOWER_DEPTH 3u

static struct topology topology_host;
static pthread_once_t topology_once = PTHREAD_ONCE_INIT;

static void copy_cpus(struct cpus *cpus, hwloc_const_bitmap_t bitmap)
{
	int cpu = hwloc_bitmap_first(bitmap);

	for (; cpu >= 0 && (uint32_t)cpu < CPUS_MAX; cpu = hwloc_bitmap_next(bitmap, cpu))
		cpus_add(cpus, (uint32_t)cpu);
}

static void copy_nodes(struct topology *topology, hwloc_topology_t from)
{
	hwloc_obj_t node = NULL;

	while (topology->count < TOPOLOGY_NODES_MAX &&
	       (node = hwloc_get_next_obj_by_type(from, HWLOC_OBJ_NUMANODE, node)) != NULL) {
		struct topology_node *to = &topology->node[topology->count++];

		to->node = (int)node->os_index;
		copy_cpus(&to->cpus, node->cpuset);
	}
}

void topology_load(struct topology *topology)
{
	hwloc_topology_t from;

	memset(topology, 0, sizeof(*topology));
	if (hwloc_topology_init(&from) < 0)
		return;
	hwloc_topology_set_all_types_filter(from, HWLOC_TYPE_FILTER_KEEP_NONE);
	/* a node takes its CPUs from what stands for them in the tree */
	hwloc_topology_set_type_filter(from, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(from, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
	/* what a cpuset hides may be opened later, and what CPUs a thread gets is the kernel's affair anyway */
	hwloc_topology_set_flags(from, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
	hwloc_topology_set_components(from, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
	if (hwloc_topology_load(from) == 0)
		copy_nodes(topology, from);
	hwloc_topology_destroy(from);
}

static void topology_load_host(void)
{
	topology_load(&topology_host);
}

const struct topology *topology_get(void)
{
	pthread_once(&topology_once, topology_load_host);
	return &topology_host;
}

const struct cpus *topology_cpus(const struct topology *topology, int node)
{
	for (uint32_t i = 0; topology->count > 1 && i < topology->count; i++)
		if (topology->node[i].node == node)
			return &topology->node[i].cpus;
	return NULL;
}

/* ---- devices ---- */

/* The node that has all of @near; a mask of all CPUs says that the firmware does not tell. */
static int node_of_cpus(const struct topology *topology, const struct cpus *near)
{
	for (uint32_t i = 0; i < topology->count; i++) {
		struct cpus far;

		cpus_without(&far, near, &topology->node[i].cpus);
		if (cpus_count(&far) == 0)
			return topology->node[i].node;
	}
	return TOPOLOGY_NODE_UNKNOWN;
}

static bool read_local_cpus(const char *path, struct cpus *cpus)
{
	hwloc_bitmap_t bitmap = hwloc_bitmap_alloc();
	bool there = bitmap != NULL && hwloc_linux_read_path_as_cpumask(path, bitmap) == 0;

	*cpus = (struct cpus){ 0 };
	if (there)
		copy_cpus(cpus, bitmap);
	hwloc_bitmap_free(bitmap);
	return there && cpus_count(cpus) > 0;
}

/* A virtio device is not on the bus itself, but its parent is. */
static int node_of_bus(const struct topology *topology, const char *folder)
{
	static const char *const where[] = { "device", "device/.." };
	char path[PATH_MAX];
	struct cpus near;

	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/local_cpus", folder, where[i]);
		if (read_local_cpus(path, &near))
			return node_of_cpus(topology, &near);
	}
	return TOPOLOGY_NODE_UNKNOWN;
}

static int node_of_folder(const struct topology *topology, const char *folder, unsigned depth);

static bool is_lower(const char *name)
{
	return strncmp(name, "lower_", strlen("lower_")) == 0;
}

/* What @folder lies on, where all of that is in one place. */
static int node_of_lower(const struct topology *topology, const char *folder, unsigned depth)
{
	DIR *directory = opendir(folder);
	const struct dirent *entry;
	int found = TOPOLOGY_NODE_UNKNOWN;
	bool first = true, same = true;

	while (directory != NULL && same && (entry = readdir(directory)) != NULL) {
		char lower[PATH_MAX];
		int node;

		if (!is_lower(entry->d_name) ||
		    snprintf(lower, sizeof(lower), "%s/%s", folder, entry->d_name) >= (int)sizeof(lower))
			continue;
		node = node_of_folder(topology, lower, depth - 1);
		same = first || node == found;
		found = node;
		first = false;
	}
	if (directory != NULL)
		closedir(directory);
	return same ? found : TOPOLOGY_NODE_UNKNOWN;
}

static int node_of_folder(const struct topology *topology, const char *folder, unsigned depth)
{
	const int node = node_of_bus(topology, folder);

	return node != TOPOLOGY_NODE_UNKNOWN || depth == 0 ? node : node_of_lower(topology, folder, depth);
}

int topology_device_node(const struct topology *topology, const char *root, const char *class, const char *name)
{
	char folder[PATH_MAX];

	if (topology->count == 0)
		return TOPOLOGY_NODE_UNKNOWN;
	snprintf(folder, sizeof(folder), "%s/sys/class/%s/%s", root, class, name);
	return node_of_folder(topology, folder, LOWER_DEPTH);
}

/* ---- connections ---- */

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (a == NULL || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	if (a->sa_family == AF_INET6)
		return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
			      &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
			      sizeof(struct in6_addr)) == 0;
	return false;
}

static int node_of_address(const struct topology *topology, const struct sockaddr_storage *address)
{
	struct ifaddrs *interfaces;
	int node = TOPOLOGY_NODE_UNKNOWN;

	if (getifaddrs(&interfaces) < 0)
		return node;
	for (const struct ifaddrs *one = interfaces; one != NULL; one = one->ifa_next) {
		if (!same_address(one->ifa_addr, address))
			continue;
		node = topology_device_node(topology, "", "net", one->ifa_name);
		break;
	}
	freeifaddrs(interfaces);
	return node;
}

/* An IPv4 address in IPv6's clothes is an interface's IPv4 address. */
static void unmap(struct sockaddr_storage *address)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
	struct sockaddr_in v4 = { .sin_family = AF_INET };

	if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return;
	memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	memcpy(address, &v4, sizeof(v4));
}

int topology_socket_node(const struct topology *topology, int fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);

	if (topology->count < 2 || getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return TOPOLOGY_NODE_UNKNOWN;
	unmap(&address);
	return node_of_address(topology, &address);
}
