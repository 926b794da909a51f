/* SPDX-License-Identifier: BSD-2-Clause */
/* receiver_private.h -- struct decant_receiver, shared by receiver.c (life) and takeover.c (one source's session) */
#ifndef MIGRATION_RECEIVER_PRIVATE_H
#define MIGRATION_RECEIVER_PRIVATE_H

#include "migration/fate.h"
#include "migration/greeter.h"
#include "migration/handover.h"
#include "migration/incoming.h"
#include "migration/session_slot.h"
#include "migration/verify.h"
#include "util/placement.h"
#include <decant/migration.h>
#include <pthread.h>
#include <stdbool.h>

struct decant_receiver {
	/* set at creation, read-only after */
	struct decant_receiver_opts opts;
	char *name;           /* the only VM that is taken; NULL: any */
	struct auth_key *key; /* NULL: none */
	struct placement placement;
	struct decant_vmm_ops ops;
	void *vmm;
	struct greeter *greeter;

	struct session_slot slot;
	struct fate fate;

	/* session's thread only */
	struct incoming *incoming;
	struct incoming_bytes state;
	struct decant_state_reader *reader; /* made at the rehearsal, and used again for the true state */
	struct verify *verify;
	struct wire_handover handover;
	uint8_t id[16];
	bool created;
	uint64_t cpu_start_ns;
	pthread_t aftercare; /* after the start: verdict, goodbye */
	bool aftercare_started;

	/*
	 * protected by lock
	 *
	 * READY becomes STARTING in the reader thread when GO comes in time; it becomes NEVER in either thread when the time is
	 * up, the source says ABORT, or the connection ends: GO travels on no other. The lock makes the two exclude each
	 * other: that is all that stands between one guest and two.
	 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum handover_destination phase;
	uint64_t lease_until_ns;
	struct decant_error never_why;
	struct decant_stats stats;
};

/*
 * takeover_run() -- serve the source of @handshake until its VM runs here; the socket is gone then
 *
 * 0: it runs. Otherwise the VM, if there was one, has been discarded, and has never run.
 */
int takeover_run(struct decant_receiver *receiver, const struct handshake *handshake,
		 const struct wire_hello *hello, struct decant_error *err);

/* takeover_aftercare() -- what a source may ask once its VM runs here; until it leaves */
void takeover_aftercare(struct decant_receiver *receiver);

#endif
