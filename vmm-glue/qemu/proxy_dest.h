/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_dest.h -- the sidecar beside the QEMU that a VM comes to: listens, takes one migration, ends
 *
 * QEMU listens on a UNIX socket (-incoming unix:PATH), or is told to over its monitor when the source has come (-incoming defer).
 * The VM is started (`cont`) if the source asks for it, which it does only after its own QEMU has given the VM up.
 */
#ifndef QEMU_PROXY_DEST_H
#define QEMU_PROXY_DEST_H

#include "qemu/proxy_stats.h"

#include <decant/error.h>
#include <decant/log.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From the thread in proxy_dest_run(); may be NULL. */
struct proxy_dest_ops {
	/* the stage has changed, or half a second has passed */
	void (*progress)(void *opaque, const struct proxy_stats *stats);
};

struct proxy_dest_opts {
	const char *listen; /* HOST:PORT, for the other sidecar; port 0: any */
	const char *socket; /* path on which QEMU listens */
	const char *disks;  /* path on which QEMU's NBD server listens; NULL: none */
	const char *cpus;   /* NULL: the library's choice */
	const void *key;    /* copied by _new(), wiped by _free() */
	size_t key_length;
	const char *qmp; /* path of its monitor, which is connected to only as long as it is needed; NULL: none */
	struct decant_log log;
	const struct proxy_dest_ops *ops;
	void *opaque;
};

struct proxy_dest;

/* proxy_dest_new() -- bind and listen */
int proxy_dest_new(const struct proxy_dest_opts *opts, struct proxy_dest **dest, struct decant_error *err);

/* proxy_dest_port() -- on which it listens */
uint16_t proxy_dest_port(const struct proxy_dest *dest);

/*
 * proxy_dest_run() -- take one migration, to its end; blocks
 *
 * Returns 0: QEMU has loaded the VM, and runs it if the source asked for that (*@started). Whatever goes wrong, QEMU's connections are
 * closed, so that what it was loading fails.
 */
int proxy_dest_run(struct proxy_dest *dest, struct proxy_stats *stats, bool *started, struct decant_error *err);

/* proxy_dest_stop() -- make run return -ECANCELED; any thread, async-signal-safe */
void proxy_dest_stop(struct proxy_dest *dest);

void proxy_dest_free(struct proxy_dest *dest);

#endif
