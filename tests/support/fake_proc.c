/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_proc.c -- a folder that stands for /proc, with one process in it */
#include "support/fake_proc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fake_proc: %s: %s\n", what, strerror(errno));
	abort();
}

static void path_of(const struct fake_proc *proc, const char *name, char *path, size_t room)
{
	need(snprintf(path, room, "%s/%d/%s", proc->root.path, proc->pid, name) < (int)room, name);
}

static void write_file(const struct fake_proc *proc, const char *name, const char *bytes, size_t length)
{
	char path[1024];
	FILE *file;

	path_of(proc, name, path, sizeof(path));
	file = fopen(path, "w");
	need(file != NULL && fwrite(bytes, 1, length, file) == length && fclose(file) == 0, path);
}

void fake_proc_new(struct fake_proc *proc, pid_t pid)
{
	char path[1024];

	memset(proc, 0, sizeof(*proc));
	proc->pid = pid;
	false_root_new(&proc->root);
	path_of(proc, "", path, sizeof(path));
	need(mkdir(path, 0700) == 0, path);
	path_of(proc, "fd", path, sizeof(path));
	need(mkdir(path, 0700) == 0, path);
	path_of(proc, "root", path, sizeof(path));
	need(symlink("/", path) == 0, path);
	path_of(proc, "cwd", path, sizeof(path));
	need(symlink("/", path) == 0, path);
	fake_proc_maps(proc, "55d000000000-55d000001000 r--p 00000000 08:01 131 /usr/bin/qemu-system-x86_64");
	fake_proc_command(proc, "qemu-system-x86_64");
}

void fake_proc_command(struct fake_proc *proc, const char *words)
{
	char bytes[4096];
	size_t length = strlen(words);

	need(length < sizeof(bytes), words);
	for (size_t i = 0; i <= length; i++)
		bytes[i] = (char)(words[i] == ' ' ? '\0' : words[i]);
	write_file(proc, "cmdline", bytes, length + 1);
}

void fake_proc_maps(struct fake_proc *proc, const char *line)
{
	size_t used = strlen(proc->maps);

	need(snprintf(proc->maps + used, sizeof(proc->maps) - used, "%s\n", line) <
		     (int)(sizeof(proc->maps) - used),
	     line);
	write_file(proc, "maps", proc->maps, strlen(proc->maps));
}

static void link_descriptor(struct fake_proc *proc, int fd, int number)
{
	char name[32], path[1024], target[64];

	snprintf(name, sizeof(name), "fd/%d", number);
	path_of(proc, name, path, sizeof(path));
	snprintf(target, sizeof(target), "/proc/%d/fd/%d", getpid(), fd);
	need(symlink(target, path) == 0 || errno == EEXIST, path);
}

void fake_proc_map(struct fake_proc *proc, uint64_t address, uint64_t length, bool shared, int fd, uint64_t offset,
		   const char *path, int number)
{
	struct stat file;
	char line[1024];

	need(fstat(fd, &file) == 0, path);
	snprintf(line, sizeof(line), "%" PRIx64 "-%" PRIx64 " rw-%c %08" PRIx64 " %02x:%02x %" PRIu64 "    %s",
		 address, address + length, shared ? 's' : 'p', offset, major(file.st_dev), minor(file.st_dev),
		 (uint64_t)file.st_ino, path);
	fake_proc_maps(proc, line);
	if (number >= 0)
		link_descriptor(proc, fd, number);
}

void fake_proc_free(struct fake_proc *proc)
{
	false_root_free(&proc->root);
}
