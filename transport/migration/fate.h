/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fate.h -- what became of each migration that came here: the tombstones that QUERY reads
 *
 * The last FATES_KEPT are kept. A migration that is not among them is UNKNOWN, which proves nothing to its source.
 */
#ifndef MIGRATION_FATE_H
#define MIGRATION_FATE_H

#include "wire/wire.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FATES_KEPT 256u

struct fate {
	/* protected by lock */
	pthread_mutex_t lock;
	struct {
		uint8_t id[16];
		enum wire_fate fate;
	} kept[FATES_KEPT];
	uint32_t next; /* slot to be used next; the oldest */
};

void fate_init(struct fate *fate);

/* fate_claim() -- PENDING from now on; false: @id has a fate already, which stays */
bool fate_claim(struct fate *fate, const uint8_t id[16]);

/* fate_set() -- what @id, which was claimed, has come to; RUNNING and NEVER are never taken back */
void fate_set(struct fate *fate, const uint8_t id[16], enum wire_fate what);

/* fate_get() -- UNKNOWN: nothing is known of it */
enum wire_fate fate_get(struct fate *fate, const uint8_t id[16]);
void fate_destroy(struct fate *fate);

#endif
