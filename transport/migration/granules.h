/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * granules.h -- the source's table of one region's granules: which the destination has been asked for and has granted
 *
 * NONE -> ASKED -> GRANTED, and back to NONE when an epoch ends. Beside it a bitmap of the pages sent since the last
 * acknowledged barrier, which are to be sent again after a failover. The owner's lock protects all of it.
 */
#ifndef MIGRATION_GRANULES_H
#define MIGRATION_GRANULES_H

#include <decant/error.h>
#include <decant/memory.h>
#include <stdbool.h>
#include <stdint.h>

enum granule_state {
	GRANULE_NONE,
	GRANULE_ASKED,
	GRANULE_GRANTED,
};

struct granules {
	uint64_t size; /* bytes of a granule, a power of two */
	uint64_t count;
	uint64_t pages; /* of 4 KiB in the region */
	uint8_t *state; /* enum granule_state */
	uint64_t *rkey; /* valid when GRANTED */
	uint64_t *lkey; /* valid when mapped */
	bool *mapped;   /* the fabric knows it at this end */
	bool *mapping;  /* a thread is about to tell it */
	bool *stale; /* what the fabric knows, or is being told, may be pages that are there no more: to be mapped anew */
	uint64_t *unacked; /* bitmap of pages */
	uint64_t *sent;    /* bitmap of pages: in this epoch; the feeder's alone */
	uint64_t *written; /* bitmap of pages: in any; the feeder's alone; NULL: nobody asks */
};

/* granule_size() -- of a region: the larger of DECANT_GRANULE_SIZE and its page size; the same at both ends */
uint64_t granule_size(uint64_t page_size);

int granules_init(struct granules *granules, const struct decant_region *region, struct decant_error *err);

/* granules_keep_written() -- from now on @written is kept */
int granules_keep_written(struct granules *granules, struct decant_error *err);

/* granules_forget() -- a new epoch: nothing is asked for; the unacknowledged pages stay */
void granules_forget(struct granules *granules);

/* granules_writable() -- may granule @g be written to, with its keys? */
bool granules_writable(const struct granules *granules, uint64_t g);

/* granules_busy() -- is there one that was asked for and cannot be written to yet? */
bool granules_busy(const struct granules *granules);

void granules_destroy(struct granules *granules);

#endif
