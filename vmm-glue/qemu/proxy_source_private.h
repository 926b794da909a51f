/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_source_private.h -- the source's sidecar from inside: its loop, the other sidecar, QEMU's connections */
#ifndef QEMU_PROXY_SOURCE_PRIVATE_H
#define QEMU_PROXY_SOURCE_PRIVATE_H

#include "qemu/cancel_watch.h"
#include "qemu/link.h"
#include "qemu/proxy_session.h"
#include "qemu/proxy_source.h"
#include "qemu/relay.h"
#include "qemu/unix_socket.h"

#include <decant/migration.h>
#include <sys/types.h>

#define RELAYS_MAX LINK_STREAMS_MAX
#define STRANGERS_MAX 300u /* connections that have not said what they are: multifd's come all at once */

struct feeder;
struct ram_blocks;

struct proxy_source {
	/* set at creation, read-only after */
	struct proxy_source_opts opts;
	uint8_t key[DECANT_KEY_MAX];
	int cancel_fd;

	struct unix_listener listener, disk_listener;
	struct guest_ram *own_ram; /* found by us */
	const struct guest_ram *ram;
	struct preflight *own_preflight;
	struct preflight *preflight;
	bool pass;                  /* all passes unchanged */
	char why[DECANT_ERROR_MAX]; /* if so */

	struct cancel_watch watch; /* while it runs */
	struct proxy_session session;
	struct feeder *feeder;
	struct relay main;
	struct relay relay[RELAYS_MAX]; /* disks; and multifd's where all passes unchanged */
	enum link_service service[RELAYS_MAX];
	uint64_t channel_bytes; /* of multifd's relays */
	uint32_t relays;
	struct source_stranger {
		int fd;
		bool channel; /* one of multifd's, that comes before its time */
		bool halting; /* some of its first bytes are there: poll(2) has no more to say of it */
	} stranger[STRANGERS_MAX];
	uint32_t strangers;
	struct return_path path;
	bool blocks_known; /* so multifd's connections can be read */
	bool main_ended;   /* both ways */
	bool start_sent;   /* from then on the VM may run at the destination */
	bool started;
	uint64_t start_deadline_ns;

	struct proxy_stats stats;
	uint64_t begin_ns, told_ns, cpu_ns;
};

/* proxy_source.c: the stage is come to, and told */
void proxy_source_stage(struct proxy_source *source, enum proxy_stage stage);

/* ---- proxy_source_peer.c: what there is to move, and the other sidecar ---- */

/*
 * What is in @err speaks against moving the memory. 0, and @err is clear: all is passed unchanged.
 *
 * Not once the other sidecar has been met over the memory: it makes it zero, and would do so behind a QEMU that loads it by itself.
 */
int proxy_source_fall_back(struct proxy_source *source, struct decant_error *err);

/* Which memory does process @pid have, and may it be moved? Once. */
int proxy_source_look(struct proxy_source *source, pid_t pid, struct decant_error *err);

/*
 * Connects, and if that is refused, once more to pass all unchanged. Some errors say that nobody is there, which that would not mend.
 * @list NULL: with all the memory there is.
 */
int proxy_source_connect(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
			 struct decant_error *err);

/* feeder_opts.blocks and .ram_end */
int proxy_source_blocks(void *opaque, struct ram_blocks *blocks, bool return_path, struct decant_error *err);
void proxy_source_ram_end(void *opaque);

/* ---- proxy_source_connections.c: QEMU's connections ---- */

/* are multifd's connections of use yet? */
bool proxy_source_takes_channels(const struct proxy_source *source);

/* whoever has connected, until nobody waits */
int proxy_source_accept(struct proxy_source *source, struct decant_error *err);
int proxy_source_accept_disks(struct proxy_source *source, struct decant_error *err);

/* those that have shown what they are go where they belong */
int proxy_source_meet_all(struct proxy_source *source, struct decant_error *err);

#endif
