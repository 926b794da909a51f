/* SPDX-License-Identifier: BSD-2-Clause */
/* backends.h -- the memory backends of a QEMU, as its monitor or its command line lists them */
#ifndef QEMU_BACKENDS_H
#define QEMU_BACKENDS_H

#include "qemu/guest_ram.h"

#include <decant/error.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct process;
struct qmp;

#define BACKENDS_TYPE_MAX 64

/* What to change where memory is private; for messages. */
#define BACKENDS_ADVICE                                                                          \
	"start QEMU with -object memory-backend-memfd,id=mem,size=SIZE,share=on "                \
	"-machine memory-backend=mem (libvirt: <memoryBacking> with <source type='memfd'/> and " \
	"<access mode='shared'/>)"

struct backend {
	char id[GUEST_RAM_NAME_MAX];
	char type[BACKENDS_TYPE_MAX]; /* "memory-backend-memfd"; "" if it is not known */
	char path[PATH_MAX];          /* mem-path of a file backend, else "" */
	uint64_t size;
	bool shared;
	int order;      /* which of the command line's it is, so in which order they were made; -1: not known */
	uint64_t there; /* where QEMU has mapped it, 0: not known */
};

struct backends {
	uint32_t count;
	struct backend backend[DECANT_REGIONS_MAX];
};

/*
 * backends_of_process() -- those of the command line
 *
 * Returns 0, -ENOTSUP: the machine's memory is in none of them; -ENOSPC: too many; -EPROTO, -EINVAL: one makes no sense.
 */
int backends_of_process(const struct process *process, struct backends *backends, struct decant_error *err);

/* backends_of_qmp() -- those of the monitor; @process adds their order. Returns 0, -ENOSPC, -EPROTO or as qmp_call() */
int backends_of_qmp(struct qmp *qmp, const struct process *process, struct backends *backends,
		    struct decant_error *err);

#endif
