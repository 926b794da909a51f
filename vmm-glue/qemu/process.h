/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.h -- what proc(5) tells of a running QEMU: its options, and the files that it has mapped
 *
 * As they were at process_open(). All of it is another program's: read with bounds, and believed only as far as it fits together.
 */
#ifndef QEMU_PROCESS_H
#define QEMU_PROCESS_H

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process;

/* An option of the command line: "-m 64M" is "m" with "64M". QEMU takes one dash or two. */
struct process_option {
	const char *name;
	const char *value; /* NULL: takes none, or it is missing */
};

/* A file that is mapped for reading and writing; what adjoins is one. */
struct process_mapping {
	uint64_t start;
	uint64_t length;
	uint64_t offset; /* in the file */
	dev_t device;
	ino_t inode;
	const char *path; /* "/memfd:NAME (deleted)" for a memfd */
	bool shared;
	int descriptor;          /* the process's own of that file, -1: it has none */
	dev_t descriptor_device; /* what stat(2) says of it: not on all file systems what maps says */
};

/*
 * process_open() -- look at process @pid; @proc: where proc(5) is, NULL: "/proc"
 *
 * Returns 0, -ESRCH (no such process, or not in this PID namespace), -EACCES (what to run this as), -EPROTO (absurd), -ENOMEM.
 */
int process_open(pid_t pid, const char *proc, struct process **process, struct decant_error *err);

const struct process_option *process_options(const struct process *process, uint32_t *count);

/* process_has_option() -- is option @name given? */
bool process_has_option(const struct process *process, const char *name);

const struct process_mapping *process_mappings(const struct process *process, uint32_t *count);

/* process_maps_file() -- is @mapping of the file that the process knows as @path? */
bool process_maps_file(const struct process *process, const struct process_mapping *mapping, const char *path);

/* process_open_memory() -- the file behind @mapping, for reading and writing; a descriptor, or -errno */
int process_open_memory(const struct process *process, const struct process_mapping *mapping,
			struct decant_error *err);

void process_free(struct process *process);

#endif
