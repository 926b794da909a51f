/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owner.h -- the process that owns a VM: `decant run`, `decant receive`
 *
 *   waiting    no VM yet: a receiver waits for one
 *   starting   the guest runs, and has not begun its work
 *   running
 *   paused     by its user
 *   migrating  on its way out; runs, or is paused for the switchover
 *   in-doubt   paused: the destination may run it, and nobody can tell
 *
 * One thread, in owner_loop(), does everything but what blocks: the migration out and the receiver have threads of their
 * own (departure.h, arrival.h), which wake the loop when they have finished.
 */
#ifndef VMM_OWNER_H
#define VMM_OWNER_H

#include "vmm/arrival.h"
#include "vmm/control.h"
#include "vmm/machine.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>

struct owner_opts {
	const char *verb; /* "run", "receive": for messages */
	bool json;        /* events as JSON lines, instead of words */
	int serial_input; /* descriptor whose bytes are typed at the serial port, -1: none; stays the caller's */
	int serial_sink;  /* where its output goes, -1: nowhere; stays the caller's */
	int numa_node;    /* that guests' memory should lie on, -1: anywhere */
	const char *
		cpus; /* for the threads of a migration that names no others; NULL: the library's choice; stays the caller's */
	struct decant_log log;
};

struct owner;

/* owner_new() -- blocks SIGINT and SIGTERM in this thread and its descendants: they end the loop instead */
int owner_new(const struct owner_opts *opts, struct owner **owner, struct decant_error *err);

/* owner_claim() -- take the name and answer on its socket. -EADDRINUSE: it is taken */
int owner_claim(struct owner *owner, const char *name, struct decant_error *err);

/* owner_host() -- what a machine of this process is given */
struct machine_host owner_host(struct owner *owner);

/* owner_adopt() -- @machine, RUNNING or HELD, belongs to the owner from now on */
void owner_adopt(struct owner *owner, struct machine *machine);

/* owner_receive() -- wait for a VM from outside; listen, name and max_memory of @opts count, the rest is the owner's */
int owner_receive(struct owner *owner, const struct arrival_opts *opts, uint16_t *port, struct decant_error *err);

/* owner_say() -- an event to whoever started the process: in words on a line, or as JSON with those members */
void owner_say(struct owner *owner, const char *event, struct json_object *members, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* owner_loop() -- until the VM has stopped or gone; the process's exit status */
int owner_loop(struct owner *owner);

void owner_free(struct owner *owner);

#endif
