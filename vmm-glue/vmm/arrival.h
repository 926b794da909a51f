/* SPDX-License-Identifier: BSD-2-Clause */
/* arrival.h -- a VM on its way into this process: the receiver and its thread */
#ifndef VMM_ARRIVAL_H
#define VMM_ARRIVAL_H

#include "vmm/control.h"
#include "vmm/key_file.h"
#include "vmm/machine.h"

#include <decant/error.h>
#include <decant/log.h>
#include <stdbool.h>
#include <stdint.h>

struct arrival_opts {
	const char *listen;    /* "host:port" */
	const char *name;      /* of the VM here; NULL: the source's, claimed on this host when it comes */
	uint64_t max_memory;   /* 0: @prealloc if there is any, else what the host has */
	uint64_t prealloc;     /* bytes of memory that are got and populated before it listens; 0: none */
	uint64_t page_size;    /* of those */
	const char *cpus;      /* for the library's threads; NULL: its choice; read by arrival_start() alone */
	const struct key *key; /* NULL: none; read by arrival_start() alone */
	struct machine_host host;
	struct decant_log log;
	int wake_fd; /* an io_wake, set when arrival_finished() turns true */
};

struct arrival;

/* arrival_start() -- bind, listen and wait in a thread of its own */
int arrival_start(const struct arrival_opts *opts, struct arrival **arrival, struct decant_error *err);

/* arrival_port() -- the port it listens on */
uint16_t arrival_port(const struct arrival *arrival);

/* arrival_finished() -- a VM is there, or it was stopped */
bool arrival_finished(struct arrival *arrival);

/*
 * arrival_take() -- after it has finished: the machine that came, which owns its memory, or NULL
 *
 * *@claim gets the claim of its name where that was made here. Goes on answering the source until arrival_free().
 */
struct machine *arrival_take(struct arrival *arrival, struct control_claim *claim, struct decant_error *err);

/* arrival_stats() -- of the migration that has brought it */
void arrival_stats(struct arrival *arrival, struct decant_stats *stats);

/* arrival_stop() -- make it finish, if no VM is running yet */
void arrival_stop(struct arrival *arrival);

/* arrival_free() -- before the machine that came is freed; waits for a verdict being asked; NULL is fine */
void arrival_free(struct arrival *arrival);

#endif
