/* SPDX-License-Identifier: BSD-2-Clause */
/* limits.c -- how much memory this process may pin, and what holds it back */
#include "fabric/rdma/limits.h"
#include "fabric/rdma/sysfs.h"

#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CGROUPS "/sys/fs/cgroup"

/* the value of "VmPin:" and its like; false: no such line */
static bool limits_status(const char *root, const char *key, int base, uint64_t *value)
{
	char path[PATH_MAX], line[256];
	const size_t length = strlen(key);
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/self/status", root);
	file = fopen(path, "re");
	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
		found = strncmp(line, key, length) == 0;
		if (found)
			*value = strtoull(line + length, NULL, base);
	}
	if (file != NULL)
		fclose(file);
	return found;
}

/* The initial user namespace maps every id to itself. */
static bool limits_initial_namespace(const char *root)
{
	unsigned long long inside, outside, count;
	char line[128];

	return !sysfs_line(line, sizeof(line), "%s/proc/self/uid_map", root) ||
	       (sscanf(line, "%llu %llu %llu", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 &&
		count == UINT32_MAX);
}

static uint64_t limits_bytes(rlim_t value)
{
	return value == RLIM_INFINITY ? LIMITS_NONE : value;
}

void limits_memlock(const char *root, struct limits_memlock *limits)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	uint64_t effective = 0, pinned_kib = 0;
	bool capable;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	limits_status(root, "CapEff:", 16, &effective);
	limits_status(root, "VmPin:", 10, &pinned_kib);
	capable = (effective >> CAP_IPC_LOCK & 1) != 0;
	*limits = (struct limits_memlock){
		.soft = limits_bytes(limit.rlim_cur),
		.hard = limits_bytes(limit.rlim_max),
		.pinned = pinned_kib * 1024,
		.lifted = capable && limits_initial_namespace(root),
		.namespaced = capable && !limits_initial_namespace(root),
	};
}

/* the process's own folder below /sys/fs/cgroup, of the unified hierarchy */
static bool limits_cgroup(const char *root, char *folder, size_t length)
{
	char line[PATH_MAX];

	if (!sysfs_line(line, sizeof(line), "%s/proc/self/cgroup", root) || strncmp(line, "0::/", 4) != 0)
		return false;
	return (size_t)snprintf(folder, length, "%s", line + strlen("0::")) < length;
}

/* one group up; false at the top */
static bool limits_parent(char *folder)
{
	char *slash = strrchr(folder, '/');

	if (slash == NULL || folder[1] == '\0')
		return false;
	slash[slash == folder ? 1 : 0] = '\0';
	return true;
}

uint64_t limits_memory_room(const char *root, char *folder, size_t length)
{
	char group[PATH_MAX], max[64], used[64];
	uint64_t least = LIMITS_NONE;

	if (!limits_cgroup(root, group, sizeof(group)))
		return LIMITS_NONE;
	do {
		uint64_t limit, current;

		if (!sysfs_line(max, sizeof(max), "%s" CGROUPS "%s/memory.max", root, group) ||
		    !sysfs_line(used, sizeof(used), "%s" CGROUPS "%s/memory.current", root, group) ||
		    strcmp(max, "max") == 0)
			continue;
		limit = strtoull(max, NULL, 10);
		current = strtoull(used, NULL, 10);
		if (limit - (current < limit ? current : limit) < least) {
			least = limit - (current < limit ? current : limit);
			snprintf(folder, length, CGROUPS "%s", group);
		}
	} while (limits_parent(group));
	return least;
}

static bool limits_rdma_line(const char *root, const char *group, const char *device, char *text, size_t length)
{
	char path[PATH_MAX + 64], line[256];
	const size_t name = strlen(device);
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s" CGROUPS "%s/rdma.max", root, group);
	file = fopen(path, "re");
	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, device, name) == 0 && line[name] == ' ' &&
			strcmp(line + name, " hca_handle=max hca_object=max") != 0;
		if (found)
			snprintf(text, length, "%s", line);
	}
	if (file != NULL)
		fclose(file);
	return found;
}

bool limits_rdma(const char *root, const char *device, char *text, size_t length)
{
	char group[PATH_MAX];
	bool found = false;

	if (!limits_cgroup(root, group, sizeof(group)))
		return false;
	do
		found = limits_rdma_line(root, group, device, text, length);
	while (!found && limits_parent(group));
	return found;
}
