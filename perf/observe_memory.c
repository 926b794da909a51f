/* SPDX-License-Identifier: BSD-2-Clause */
/* observe_memory.c -- finds the memory of a guest that another process runs, and reads its counters there */
#include "observe.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Is descriptor @fd of @folder the memfd @name? */
static bool is_memfd(int folder, const char *fd, const char *name)
{
	static const char prefix[] = "/memfd:";
	char link[PATH_MAX];
	const ssize_t length = readlinkat(folder, fd, link, sizeof(link) - 1);
	const size_t want = strlen(name);

	if (length < 0)
		return false;
	link[length] = '\0';
	if (strncmp(link, prefix, sizeof(prefix) - 1) != 0)
		return false;
	return strncmp(link + sizeof(prefix) - 1, name, want) == 0 && strchr(" ", link[sizeof(prefix) - 1 + want]);
}

/* A descriptor of the memfd, -ENOENT or -errno. */
static int open_memfd(const char *pid, size_t length, const char *name)
{
	char path[64];
	struct dirent *entry;
	int fd = -ENOENT;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%.*s/fd", (int)length, pid);
	folder = opendir(path);
	if (folder == NULL)
		return -errno;
	while (fd == -ENOENT && (entry = readdir(folder)) != NULL) {
		if (!is_memfd(dirfd(folder), entry->d_name, name))
			continue;
		fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	closedir(folder);
	return fd;
}

static int open_memory(const char *where)
{
	const size_t digits = strspn(where, "0123456789");
	int fd;

	if (digits > 0 && where[digits] == ':')
		return open_memfd(where, digits, where + digits + 1);
	fd = open(where, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Huge pages can be mapped only as a whole; their size is the file's block size. */
static int map_status(struct observe_memory *memory, int fd, const char *where, struct decant_error *err)
{
	struct stat file;
	size_t length, unit;

	if (fstat(fd, &file) < 0)
		return decant_error_set(err, -errno, "%s: %s", where, strerror(errno));
	unit = file.st_blksize > 4096 ? (size_t)file.st_blksize : 4096;
	length = (STRESS_STATUS_ADDRESS + sizeof(struct stress_status) + unit - 1) / unit * unit;
	if ((uint64_t)file.st_size < STRESS_STATUS_ADDRESS + sizeof(struct stress_status))
		return decant_error_set(err, file.st_size == 0 ? -ENOENT : -EINVAL,
					"%s: too small for the memory of a stress guest", where);
	memory->address = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	if (memory->address == MAP_FAILED)
		return decant_error_set(err, -errno, "%s: mmap: %s", where, strerror(errno));
	memory->length = length;
	memory->status = (const volatile void *)((const char *)memory->address + STRESS_STATUS_ADDRESS);
	return 0;
}

int observe_memory_find(struct observe_memory *memory, const char *where, struct decant_error *err)
{
	DECANT_AUTO_CLOSE const int fd = open_memory(where);

	if (fd < 0)
		return decant_error_set(err, fd, "%s: %s", where, strerror(-fd));
	return map_status(memory, fd, where, err);
}

void observe_memory_drop(struct observe_memory *memory)
{
	if (memory->status != NULL)
		munmap(memory->address, memory->length);
	memory->status = NULL;
}

struct observe_look observe_memory_look(const struct observe_memory *memory)
{
	struct observe_look look = { .at_ns = clock_now_ns() };

	for (unsigned int i = 0; memory->status != NULL && i < STRESS_VCPUS_MAX; i++) {
		look.heartbeat += memory->status->vcpu[i].heartbeat;
		look.work += memory->status->vcpu[i].work;
	}
	return look;
}

int observe_series_add(struct observe_series *series, const struct observe_look *look)
{
	if (series->count == series->room) {
		const size_t room = series->room == 0 ? 1024 : 2 * series->room;
		struct observe_look *grown = realloc(series->look, room * sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		series->look = grown;
		series->room = room;
	}
	series->look[series->count++] = *look;
	return 0;
}

void observe_series_free(struct observe_series *series)
{
	free(series->look);
}
