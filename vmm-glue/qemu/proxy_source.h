/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_source.h -- the sidecar beside the QEMU that a VM leaves: one migration, from its listening sockets to its outcome
 *
 *   proxy_source_new()     the UNIX sockets are there: QEMU may be told to migrate to them from now on
 *   proxy_source_run()     blocks: connects to the other sidecar, takes QEMU's connections, until both QEMUs have closed
 *   proxy_source_free()    the sockets are gone
 *
 * It speaks to no monitor: what a monitor tells (the memory, what preflight found) is the caller's to find, and to give here. All of
 * it belongs to the thread that is in _run(), but for _cancel().
 */
#ifndef QEMU_PROXY_SOURCE_H
#define QEMU_PROXY_SOURCE_H

#include "qemu/proxy_stats.h"

#include <decant/error.h>
#include <decant/log.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_ram;
struct preflight;

/* All from the thread in proxy_source_run(); none may block for long but loaded(), all may be NULL. */
struct proxy_source_ops {
	/* the stage has changed, or half a second has passed */
	void (*progress)(void *opaque, const struct proxy_stats *stats);
	/*
	 * The destination's QEMU has loaded the VM, both have closed, everything has been delivered. Is the destination's to be started
	 * (`cont` by its sidecar)? 1 yes, 0 no: that is somebody else's; negative: the migration has failed. Blocks as long as it
	 * needs to be sure that the source's QEMU has given the VM up: that is what keeps the VM from running twice.
	 */
	int (*loaded)(void *opaque, const struct proxy_stats *stats, struct decant_error *err);
};

struct proxy_source_opts {
	const char *
		peer; /* HOST:PORT of the other sidecar; this and all texts stay the caller's, for as long as the source is there */
	const char *socket; /* path: made here; QEMU's main connection and multifd's come to it */
	const char *disks;  /* path: made here; connections to it go to the other sidecar's disks; NULL: none */
	const char *fabric; /* as decant_mover_opts.fabric; NULL: auto */
	const char *rails;  /* "": all */
	const char *cpus;   /* NULL: the library's choice */
	uint32_t channels;  /* of decant's; 0: the library's choice */
	uint64_t bandwidth_Bps;
	const void *key; /* copied by _new(), wiped by _free() */
	size_t key_length;
	/* Found over the monitor; stay the caller's. NULL: looked for in the process that connects */
	struct guest_ram *ram;
	struct preflight *preflight; /* its refusals end the migration, or make it a fallback */
	bool fallback; /* where it cannot be done with shared memory, pass the stream unchanged, instead of failing */
	struct decant_log log;
	const struct proxy_source_ops *ops;
	void *opaque;
};

struct proxy_source;

/*
 * proxy_source_new() -- make the sockets, mode 0600, in place of stale ones
 *
 * Returns 0, -EADDRINUSE (somebody listens there, or it is no socket), or what bind(2) says.
 */
int proxy_source_new(const struct proxy_source_opts *opts, struct proxy_source **source, struct decant_error *err);

/*
 * proxy_source_run() -- one migration, to its end; blocks
 *
 * Returns 0: *@stats has the whole story and the VM is at the destination. Negative: *@outcome says whether it may be there all the
 * same. Whatever goes wrong, QEMU's connections are closed first, which makes its migration fail and its VM run on.
 */
int proxy_source_run(struct proxy_source *source, struct proxy_stats *stats, enum proxy_outcome *outcome,
		     struct decant_error *err);

/* proxy_source_cancel() -- make run return -ECANCELED, as long as nothing has been started; any thread, async-signal-safe */
void proxy_source_cancel(struct proxy_source *source);

void proxy_source_free(struct proxy_source *source);

#endif
