/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mover.h -- the mover's inside: what the controller needs beyond <decant/mover.h>
 *
 * One thread feeds a mover (the feeder); decant_mover_cancel() and the statistics may come from any.
 */
#ifndef MIGRATION_MOVER_H
#define MIGRATION_MOVER_H

#include "migration/auth.h"
#include "migration/peer.h"
#include "util/placement.h"
#include "wire/wire.h"
#include <decant/memory.h>
#include <decant/mover.h>
#include <decant/state.h>
#include <stdbool.h>
#include <stdint.h>

struct mover_setup {
	struct decant_mover_opts opts;
	uint16_t purpose; /* enum wire_purpose */
	uint8_t id[16];   /* of the migration */
	uint64_t connect_timeout_ns;
	/* outlive the mover; NULL: what opts say */
	const struct auth_key *key;
	const struct placement *placement;
};

struct mover_stats {
	uint64_t bytes; /* guest memory pushed, repetitions after a failover included */
	uint64_t writes;
	uint64_t zero_copy_bytes; /* of bytes, those that the kernel sent without a copy */
	uint64_t inline_pages;
	uint64_t first_byte_ns; /* CLOCK_MONOTONIC of the first push, 0: none yet */
	uint32_t failovers;
	uint64_t cpu_ns; /* of the mover's own threads; the feeder's is not in it */
};

/*
 * mover_new() -- an unconnected mover, so that it can be cancelled while it connects
 *
 * Keeps a reference to @memory only.
 */
int mover_new(const struct mover_setup *setup, const struct decant_memory *memory, struct decant_mover **mover,
	      struct decant_error *err);

/* mover_open() -- connect, handshake, regions, shape, channels */
int mover_open(struct decant_mover *mover, const void *shape, size_t shape_length, struct decant_error *err);

/* mover_set_deadline() -- every wait of the feeder ends at @deadline_ns with -ETIMEDOUT and a text that names @what */
void mover_set_deadline(struct decant_mover *mover, uint64_t deadline_ns, const char *what);

/* mover_announce() -- ask the destination for the granules under [@offset, + @length); returns at once */
int mover_announce(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		   struct decant_error *err);

/* mover_is_announced() -- has the granule at @offset been asked for in this epoch? */
bool mover_is_announced(struct decant_mover *mover, uint32_t region, uint64_t offset);

/*
 * mover_settle_granules() -- wait until all that was asked for can be written, failing over if need be
 *
 * Before the pause, so that nothing is registered inside it at either end.
 */
int mover_settle_granules(struct decant_mover *mover, struct decant_error *err);

/* mover_push_inline() -- pages over the control connection, into granules never announced */
int mover_push_inline(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		      struct decant_error *err);

/* mover_sent() -- bitmap of the pages of @region that were sent in this epoch; the feeder's, until the next push */
const uint64_t *mover_sent(const struct decant_mover *mover, uint32_t region);

/* mover_write_cost_ns() -- what one more write costs the fabric in use, besides its bytes */
uint64_t mover_write_cost_ns(const struct decant_mover *mover);

/* mover_is_relaxed() -- do two writes of one page need a barrier between them? */
bool mover_is_relaxed(const struct decant_mover *mover);

/* mover_flush() -- give everything queued to the wire */
int mover_flush(struct decant_mover *mover, struct decant_error *err);

/* mover_barrier_post(), mover_barrier_wait() -- the two halves of decant_mover_barrier() */
int mover_barrier_post(struct decant_mover *mover, struct decant_error *err);
int mover_barrier_wait(struct decant_mover *mover, struct decant_error *err);

/* mover_send(), mover_receive() -- control messages of the floor above; receive takes only @type */
int mover_send(struct decant_mover *mover, uint16_t type, const void *head, size_t head_length, const void *data,
	       size_t data_length, struct decant_error *err);
int mover_receive(struct decant_mover *mover, uint16_t type, struct peer_message *message,
		  struct decant_error *err);

/* mover_expect_nothing() -- the peer has not said what it had not been asked for; @when is for the message */
int mover_expect_nothing(struct decant_mover *mover, const char *when, struct decant_error *err);

/* mover_send_chunks() -- a byte string as SHAPE or STATE messages */
int mover_send_chunks(struct decant_mover *mover, uint16_t type, const void *bytes, size_t length,
		      struct decant_error *err);

/* mover_check() -- may the feeder go on? cancelled, past its deadline, peer lost */
int mover_check(struct decant_mover *mover, struct decant_error *err);

/* mover_release() -- let go of what a lost epoch still has registered; takes a while, so not while the guest is paused */
void mover_release(struct decant_mover *mover);

/* mover_stop_data() -- nothing reads guest memory any more; the control connection stays */
void mover_stop_data(struct decant_mover *mover);

struct peer *mover_peer(struct decant_mover *mover);
const struct wire_prepared *mover_prepared(const struct decant_mover *mover);
const char *mover_fabric(const struct decant_mover *mover);
const char *mover_fabric_reason(const struct decant_mover *mover);
int mover_node(const struct decant_mover *mover); /* that the data leaves this host from, -1: not known */
uint32_t mover_channels(const struct decant_mover *mover);
uint32_t mover_lease_ms(const struct decant_mover *mover);
void mover_get_stats(struct decant_mover *mover, struct mover_stats *stats);

/* mover_disconnect() -- as decant_mover_close(), without the goodbye */
void mover_disconnect(struct decant_mover *mover);

#endif
