/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_proc.h -- a folder that stands for /proc, with one process in it: what proc(5) would show of a QEMU */
#ifndef SUPPORT_FAKE_PROC_H
#define SUPPORT_FAKE_PROC_H

#include "support/false_root.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fake_proc {
	struct false_root root;
	pid_t pid;
	char maps[16384];
};

/* All end the test program where they fail. */

/* fake_proc_new() -- process @pid; its path is proc->root.path. It has no memory yet */
void fake_proc_new(struct fake_proc *proc, pid_t pid);

/* fake_proc_command() -- its command line: words separated by blanks */
void fake_proc_command(struct fake_proc *proc, const char *words);

/* fake_proc_map() -- it has @length bytes at @offset of our descriptor @fd mapped at @address, as @path; of its own that is @number, -1: none */
void fake_proc_map(struct fake_proc *proc, uint64_t address, uint64_t length, bool shared, int fd, uint64_t offset,
		   const char *path, int number);

/* fake_proc_maps() -- a line of maps as it is */
void fake_proc_maps(struct fake_proc *proc, const char *line);

void fake_proc_free(struct fake_proc *proc);

#endif
