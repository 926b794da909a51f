/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_dest_private.h -- the destination's sidecar from inside: the session's thread, and the one that polls */
#ifndef QEMU_PROXY_DEST_PRIVATE_H
#define QEMU_PROXY_DEST_PRIVATE_H

#include "qemu/link.h"
#include "qemu/proxy_dest.h"
#include "qemu/relay.h"

#include "util/clock.h"

#include <decant/memory.h>
#include <decant/mover.h>
#include <decant/state.h>
#include <pthread.h>
#include <stdatomic.h>

#define RELAYS_MAX LINK_STREAMS_MAX
#define QEMU_LISTENS_NS (3 * NSEC_PER_SEC) /* for QEMU to listen; the source waits meanwhile */

struct guest_ram;
struct idle_channels;
struct preflight;
struct qmp;

#define PROXY_DEST_GREETING 4u /* bytes: the stream's magic */

struct proxy_dest {
	/* set at creation, read-only after */
	struct proxy_dest_opts opts;
	struct decant_landing *landing;
	struct link *link;
	int stop_fd;  /* an io_wake */
	int ended_fd; /* the session's thread is done */

	/* the session's thread's, until it is done or `met` */
	pthread_t thread;
	bool threaded;
	struct qmp *qmp; /* connected to only in create() */
	struct guest_ram *ram;
	struct preflight *preflight;
	struct decant_memory *memory;
	bool refused;    /* what was wrong is not the source's fault, */
	bool come_again; /* and it may come once more */
	int session_ret;
	struct decant_error session_err;
	int main_fd;  /* connected to QEMU */
	bool greeted; /* which has had the first bytes of any stream */
	bool pass;
	uint32_t regions;
	uint64_t region_bytes;
	atomic_bool
		ended; /* the session has: release, and then ended_fd is set; acquire before its outcome is read */
	atomic_bool met; /* the source speaks, so create() has succeeded: release; acquire before the five above are
			    read */

	/* proxy_dest_run()'s thread's */
	struct relay relay[RELAYS_MAX];
	enum link_service service[RELAYS_MAX];
	uint32_t relays;
	struct return_path path;
	struct idle_channels *idle; /* NULL: where all passes, the source's own channels do */
	uint64_t idle_ns;           /* their next turn */
	bool begun;                 /* the main connection is a relay */
	bool main_ended;            /* both ways */
	bool started;
	bool start_failed; /* QEMU was told, and did not say that it has */
	struct proxy_stats stats;
	uint64_t begin_ns, told_ns;
};

/* ---- proxy_dest_session.c ---- */

/* The thread: sessions, until one has met the source, or was refused for good. */
void *proxy_dest_session(void *opaque);

/* decant_landing_ops.create and .message: the source is met; a message of the link's */
int proxy_dest_create(void *opaque, struct decant_state_reader *reader, const struct decant_region *regions,
		      uint32_t count, struct decant_memory *memory, struct decant_error *err);
int proxy_dest_message(void *opaque, const void *data, size_t length, struct decant_error *err);

#endif
