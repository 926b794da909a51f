/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.c -- what proc(5) tells of a running QEMU: its options, and the files that it has mapped
 *
 * To open a file that a process has mapped, also one without a name (a memfd, an unlinked file), its own descriptor is opened anew
 * through /proc/PID/fd: QEMU keeps those of its memory. What has none (shared anonymous memory) is in /proc/PID/map_files, for root only.
 */
#include "qemu/process.h"

#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PROCESS_FILE_MAX (16u << 20)
#define PROCESS_MAPPINGS_MAX 4096u
#define PROCESS_PATH_MAX 4096

struct process {
	pid_t pid;
	int directory; /* /proc/PID */
	char *cmdline;
	struct process_option *options;
	uint32_t option_count;
	char *maps;
	struct process_mapping *mappings;
	uint32_t mapping_count;
};

/* Options of QEMU that are not followed by a value, of all versions from 7.2 on. All others are. */
static const char *const process_flags[] = {
	"S",
	"async-teardown",
	"audio-help",
	"daemonize",
	"enable-kvm",
	"enable-sync-profile",
	"full-screen",
	"h",
	"help",
	"jitdump",
	"mem-prealloc",
	"no-acpi",
	"no-fd-bootchk",
	"no-hpet",
	"no-reboot",
	"no-shutdown",
	"no-user-config",
	"nodefaults",
	"nographic",
	"old-param",
	"only-migratable",
	"perfmap",
	"portrait",
	"preconfig",
	"s",
	"semihosting",
	"singlestep",
	"snapshot",
	"usb",
	"version",
	"win2k-hack",
	"xen-attach",
	"xen-domid-restrict",
};

static bool process_is_flag(const char *name)
{
	for (size_t i = 0; i < sizeof(process_flags) / sizeof(process_flags[0]); i++) {
		if (strcmp(process_flags[i], name) == 0)
			return true;
	}
	return false;
}

static int process_error(const struct process *process, const char *what, int code, struct decant_error *err)
{
	if (code == ENOENT || code == ESRCH)
		return decant_error_set(err, -ESRCH, "process %d: %s: there is none", process->pid, what);
	if (code == EACCES || code == EPERM)
		return decant_error_set(err, -EACCES,
					"process %d: %s: %s; run the sidecar as root, or as QEMU's user with "
					"CAP_SYS_PTRACE",
					process->pid, what, strerror(code));
	return decant_error_set(err, -code, "process %d: %s: %s", process->pid, what, strerror(code));
}

/* The whole of a file that does not tell its size, with a terminator behind it. */
static int process_read(const struct process *process, const char *name, char **text, size_t *length,
			struct decant_error *err)
{
	DECANT_AUTO_CLOSE int fd = openat(process->directory, name, O_RDONLY | O_CLOEXEC);
	DECANT_AUTO_FREE char *bytes = NULL;
	size_t used = 0, room = 0;
	ssize_t got;

	if (fd < 0)
		return process_error(process, name, errno, err);
	do {
		if (room - used < 2) {
			char *grown = realloc(bytes, room == 0 ? 65536 : room * 2);

			if (grown == NULL)
				return decant_error_set(err, -ENOMEM, "process %d: no memory", process->pid);
			bytes = grown;
			room = room == 0 ? 65536 : room * 2;
		}
		got = read(fd, bytes + used, room - used - 1);
		if (got < 0 && errno != EINTR)
			return process_error(process, name, errno, err);
		used += got > 0 ? (size_t)got : 0;
	} while (got != 0 && used < PROCESS_FILE_MAX);
	if (got != 0)
		return decant_error_set(err, -EPROTO, "process %d: %s: too long for a QEMU", process->pid, name);
	bytes[used] = '\0';
	*text = bytes;
	*length = used;
	bytes = NULL;
	return 0;
}

/* Words end in 0 bytes; the first is the program. */
static int process_parse_options(struct process *process, size_t length, struct decant_error *err)
{
	const char *end = process->cmdline + length;
	const char *word = process->cmdline + strlen(process->cmdline) + 1;
	size_t words = 1;

	for (const char *at = process->cmdline; at < end; at++)
		words += *at == '\0';
	process->options = calloc(words, sizeof(*process->options));
	if (process->options == NULL)
		return decant_error_set(err, -ENOMEM, "process %d: no memory", process->pid);
	while (word < end) {
		const char *next = word + strlen(word) + 1;
		struct process_option *option = &process->options[process->option_count];

		if (word[0] == '-' && word[1] != '\0') {
			option->name = word + (word[1] == '-' ? 2 : 1);
			process->option_count++;
			if (next < end && !process_is_flag(option->name)) {
				option->value = next;
				next += strlen(next) + 1;
			}
		}
		word = next;
	}
	return 0;
}

/* "START-END PERMS OFFSET MAJOR:MINOR INODE      PATH"; false: nothing that is wanted */
static bool process_parse_mapping(char *line, struct process_mapping *mapping)
{
	uint64_t start, end, offset, inode;
	unsigned int major, minor;
	char perms[5];
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &start, &end, perms,
		   &offset, &major, &minor, &inode, &path) != 7 ||
	    path == 0 || inode == 0 || end <= start || strncmp(perms, "rw", 2) != 0)
		return false;
	*mapping = (struct process_mapping){
		.start = start,
		.length = end - start,
		.offset = offset,
		.device = makedev(major, minor),
		.inode = inode,
		.path = line + path,
		.shared = perms[3] == 's',
		.descriptor = -1,
	};
	return true;
}

static bool process_adjoins(const struct process_mapping *last, const struct process_mapping *next)
{
	return last->start + last->length == next->start && last->offset + last->length == next->offset &&
	       last->device == next->device && last->inode == next->inode && last->shared == next->shared;
}

static int process_parse_mappings(struct process *process, struct decant_error *err)
{
	struct process_mapping mapping;
	char *rest = process->maps;
	char *line;

	process->mappings = calloc(PROCESS_MAPPINGS_MAX, sizeof(*process->mappings));
	if (process->mappings == NULL)
		return decant_error_set(err, -ENOMEM, "process %d: no memory", process->pid);
	while ((line = strsep(&rest, "\n")) != NULL) {
		struct process_mapping *last = process->mappings + process->mapping_count - 1;

		if (!process_parse_mapping(line, &mapping))
			continue;
		if (process->mapping_count > 0 && process_adjoins(last, &mapping)) {
			last->length += mapping.length;
			continue;
		}
		if (process->mapping_count == PROCESS_MAPPINGS_MAX)
			return decant_error_set(err, -EPROTO, "process %d: has too many mappings for a QEMU",
						process->pid);
		process->mappings[process->mapping_count++] = mapping;
	}
	return 0;
}

/* Descriptor @number is of the file behind @mapping? On some file systems maps has another device than stat(2): there the path decides. */
static bool process_descriptor_fits(int directory, const char *number, const struct stat *file,
				    const struct process_mapping *mapping)
{
	char link[PROCESS_PATH_MAX];
	ssize_t length;

	if (file->st_ino != mapping->inode)
		return false;
	if (file->st_dev == mapping->device)
		return true;
	length = readlinkat(directory, number, link, sizeof(link) - 1);
	if (length < 0)
		return false;
	link[length] = '\0';
	return strcmp(link, mapping->path) == 0;
}

static void process_find_descriptor(struct process *process, int directory, const char *number)
{
	struct stat file;
	int descriptor = atoi(number);

	if (number[0] < '0' || number[0] > '9' || fstatat(directory, number, &file, 0) < 0)
		return;
	for (uint32_t i = 0; i < process->mapping_count; i++) {
		struct process_mapping *mapping = &process->mappings[i];

		if (process_descriptor_fits(directory, number, &file, mapping) &&
		    (mapping->descriptor < 0 || descriptor < mapping->descriptor)) {
			mapping->descriptor = descriptor;
			mapping->descriptor_device = file.st_dev;
		}
	}
}

static int process_find_descriptors(struct process *process, struct decant_error *err)
{
	int fd = openat(process->directory, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (directory == NULL) {
		int code = errno;

		if (fd >= 0)
			close(fd);
		return process_error(process, "fd", code, err);
	}
	while ((entry = readdir(directory)) != NULL)
		process_find_descriptor(process, fd, entry->d_name);
	closedir(directory);
	return 0;
}

static int process_look(struct process *process, const char *proc, struct decant_error *err)
{
	char path[PROCESS_PATH_MAX];
	size_t length;
	int ret;

	if (snprintf(path, sizeof(path), "%s/%d", proc != NULL ? proc : "/proc", process->pid) >=
	    (int)sizeof(path))
		return decant_error_set(err, -ENAMETOOLONG, "%s: too long", proc);
	process->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (process->directory < 0)
		return process_error(process, path, errno, err);
	ret = process_read(process, "cmdline", &process->cmdline, &length, err);
	if (ret == 0)
		ret = process_parse_options(process, length, err);
	if (ret == 0)
		ret = process_read(process, "maps", &process->maps, &length, err);
	if (ret == 0)
		ret = process_parse_mappings(process, err);
	return ret == 0 ? process_find_descriptors(process, err) : ret;
}

int process_open(pid_t pid, const char *proc, struct process **process_ptr, struct decant_error *err)
{
	struct process *process;
	int ret;

	if (pid <= 0)
		return decant_error_set(err, -ESRCH,
					"QEMU is in no PID namespace that this process sees; run the "
					"sidecar in QEMU's, or in the host's");
	process = calloc(1, sizeof(*process));
	if (process == NULL)
		return decant_error_set(err, -ENOMEM, "process %d: no memory", pid);
	process->pid = pid;
	process->directory = -1;
	ret = process_look(process, proc, err);
	if (ret < 0) {
		process_free(process);
		return ret;
	}
	*process_ptr = process;
	return 0;
}

const struct process_option *process_options(const struct process *process, uint32_t *count)
{
	*count = process->option_count;
	return process->options;
}

bool process_has_option(const struct process *process, const char *name)
{
	for (uint32_t i = 0; i < process->option_count; i++) {
		if (strcmp(process->options[i].name, name) == 0)
			return true;
	}
	return false;
}

const struct process_mapping *process_mappings(const struct process *process, uint32_t *count)
{
	*count = process->mapping_count;
	return process->mappings;
}

bool process_maps_file(const struct process *process, const struct process_mapping *mapping, const char *path)
{
	char seen[PROCESS_PATH_MAX];
	struct stat file;

	if (strcmp(mapping->path, path) == 0)
		return true;
	if (snprintf(seen, sizeof(seen), "%s/%s", path[0] == '/' ? "root" : "cwd", path) >= (int)sizeof(seen))
		return false;
	return fstatat(process->directory, seen, &file, 0) == 0 && file.st_ino == mapping->inode &&
	       file.st_dev == mapping->device;
}

int process_open_memory(const struct process *process, const struct process_mapping *mapping,
			struct decant_error *err)
{
	const dev_t device = mapping->descriptor >= 0 ? mapping->descriptor_device : mapping->device;
	char name[64];
	struct stat file;
	int fd;

	if (mapping->descriptor >= 0)
		snprintf(name, sizeof(name), "fd/%d", mapping->descriptor);
	else
		snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, mapping->start,
			 mapping->start + mapping->length);
	fd = openat(process->directory, name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return process_error(process, name, errno, err);
	/* it may have been exchanged since, for one that the process itself may not write to */
	if (fstat(fd, &file) < 0 || file.st_ino != mapping->inode || file.st_dev != device) {
		close(fd);
		return decant_error_set(err, -EPROTO, "process %d: %s: another file than before", process->pid,
					name);
	}
	return fd;
}

void process_free(struct process *process)
{
	if (process == NULL)
		return;
	if (process->directory >= 0)
		close(process->directory);
	free(process->cmdline);
	free(process->options);
	free(process->maps);
	free(process->mappings);
	free(process);
}
