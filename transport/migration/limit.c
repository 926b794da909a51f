/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limit.c -- how much memory this process may still allocate, and which limit says so
 *
 * A process that goes over its cgroup's limit is killed by the kernel, not told. So whoever is about to touch much memory
 * asks here first, and whoever was refused finds here what to say about it.
 */
#include "migration/limit.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "util/cleanup.h"

#define CGROUP_PATH_MAX 512

/* The two generations of the memory controller: where it is mounted and what its files are called. */
struct cgroup_layout {
	const char *root;
	const char *limit;
	const char *usage;
	const char *inactive;
	const char *active;
};

static const struct cgroup_layout cgroup_v1 = {
	.root = "/sys/fs/cgroup/memory",
	.limit = "memory.limit_in_bytes",
	.usage = "memory.usage_in_bytes",
	.inactive = "total_inactive_file ",
	.active = "total_active_file ",
};

static const struct cgroup_layout cgroup_v2 = {
	.root = "/sys/fs/cgroup",
	.limit = "memory.max",
	.usage = "memory.current",
	.inactive = "inactive_file ",
	.active = "active_file ",
};

/* A file with one number; "max", or no such file, is no limit. */
static bool read_number(const char *path, uint64_t *value)
{
	FILE *file = fopen(path, "re");
	int fields;

	if (file == NULL)
		return false;
	fields = fscanf(file, "%" SCNu64, value);
	fclose(file);
	return fields == 1;
}

/* The number behind @key, which starts a line. */
static uint64_t read_field(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[256];
	uint64_t value = 0;

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0) {
			value = strtoull(line + strlen(key), NULL, 10);
			break;
		}
	}
	fclose(file);
	return value;
}

static void narrow(struct limit *limit, uint64_t available, uint64_t value, const char *name)
{
	if (available >= limit->available)
		return;
	limit->available = available;
	limit->value = value;
	snprintf(limit->name, sizeof(limit->name), "%.*s", LIMIT_NAME_MAX - 1, name);
}

static void narrow_by_cgroup(struct limit *limit, const struct cgroup_layout *layout, const char *path)
{
	char name[CGROUP_PATH_MAX + 64];
	uint64_t max, used, available, cache;

	snprintf(name, sizeof(name), "%s%s/%s", layout->root, path, layout->usage);
	if (!read_number(name, &used))
		return;
	snprintf(name, sizeof(name), "%s%s/memory.stat", layout->root, path);
	cache = read_field(name, layout->inactive) + read_field(name, layout->active);
	snprintf(name, sizeof(name), "%s%s/%s", layout->root, path, layout->limit);
	if (!read_number(name, &max))
		return;
	used -= cache < used ? cache : used;
	available = used < max ? max - used : 0;
	narrow(limit, available, max, name);
}

/* Up to the root, which in a container is the container's own group. */
static void narrow_by_cgroups(struct limit *limit, const struct cgroup_layout *layout, char *path)
{
	char *slash;

	for (;;) {
		narrow_by_cgroup(limit, layout, path);
		slash = strrchr(path, '/');
		if (slash == NULL)
			return;
		*slash = '\0';
	}
}

void limit_available(struct limit *limit)
{
	char line[CGROUP_PATH_MAX];
	FILE *file;

	limit->available = read_field("/proc/meminfo", "MemAvailable:") << 10;
	limit->value = read_field("/proc/meminfo", "MemTotal:") << 10;
	snprintf(limit->name, sizeof(limit->name), "MemAvailable of /proc/meminfo");

	file = fopen("/proc/self/cgroup", "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		char *memory = strstr(line, ":memory:");

		line[strcspn(line, "\n")] = '\0';
		if (memory != NULL)
			narrow_by_cgroups(limit, &cgroup_v1, memory + strlen(":memory:"));
		else if (strncmp(line, "0::", 3) == 0)
			narrow_by_cgroups(limit, &cgroup_v2, line + 3);
	}
	fclose(file);
}

static uint64_t huge_number(uint64_t page_size, const char *name)
{
	char path[128];
	uint64_t value = 0;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_size >> 10, name);
	return read_number(path, &value) ? value : 0;
}

void limit_huge_available(uint64_t page_size, struct limit *limit)
{
	uint64_t left = huge_number(page_size, "free_hugepages");
	uint64_t reserved = huge_number(page_size, "resv_hugepages");

	limit->value = huge_number(page_size, "nr_hugepages") * page_size;
	limit->available = (left > reserved ? left - reserved : 0) * page_size;
	snprintf(limit->name, sizeof(limit->name), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
		 page_size >> 10);
}

static int explain_huge(struct decant_error *err, int code, const char *what, uint64_t need, uint64_t page_size)
{
	uint64_t pages = (need + page_size - 1) / page_size;
	struct limit limit;
	uint64_t available, total;

	limit_huge_available(page_size, &limit);
	available = limit.available / page_size;
	total = limit.value / page_size;
	if (available >= pages)
		return decant_error_set(err, code,
					"%s: %" PRIu64 " huge pages of %" PRIu64
					" MiB were refused though %" PRIu64
					" are free: %s; look at the hugetlb cgroup and RLIMIT_AS",
					what, pages, page_size >> 20, available, strerror(-code));
	return decant_error_set(err, code,
				"%s: needs %" PRIu64 " huge pages of %" PRIu64 " MiB, but nr_hugepages is %" PRIu64
				" and %" PRIu64 " of them are free; raise it: echo %" PRIu64 " > %s",
				what, pages, page_size >> 20, total, available, total + pages - available,
				limit.name);
}

int limit_explain(struct decant_error *err, int code, const char *what, uint64_t need, uint64_t page_size)
{
	struct rlimit space;
	struct limit limit;

	if (page_size > 4096)
		return explain_huge(err, code, what, need, page_size);
	if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
		return decant_error_set(err, code,
					"%s: %" PRIu64
					" MiB of memory: %s; the address space is limited to %" PRIu64
					" MiB (RLIMIT_AS); raise it by at least %" PRIu64
					" MiB: ulimit -v unlimited",
					what, need >> 20, strerror(-code), (uint64_t)space.rlim_cur >> 20,
					need >> 20);
	limit_available(&limit);
	return decant_error_set(err, code,
				"%s: %" PRIu64 " MiB of memory: %s; %" PRIu64 " MiB are left of %" PRIu64
				" MiB by %s; free memory or raise that limit",
				what, need >> 20, strerror(-code), limit.available >> 20, limit.value >> 20,
				limit.name);
}
