/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * channel.h -- one queue pair with its completion queue, as both ends use it: work out, completions in, credits
 *
 * Theory of operation
 * -------------------
 * Work requests are gathered in a list and handed to the device together; only the last of a list is signalled. A queue
 * pair works in order, so its completion speaks for all that were posted before it. What has been handed over and not
 * completed is bounded in number (the queue's depth), in bytes (so that a small network is not given seconds of work) and, where that
 * is asked for, in time (window.h).
 *
 * SENDs carry their kind and a number in the immediate data. Each takes a receive of the peer's, which has to be there
 * when it comes: a receiver that is not ready costs an RDMA connection 0.66 s. So a SEND needs a credit. The sink gives
 * credits back, by a SEND of its own, when it has posted the receives again; the source has as many receives for those as
 * there are credits, and each gives back at least one, so this way needs no credits.
 *
 * Threads: none of its own, and one caller at a time.
 */
#ifndef FABRIC_RDMA_CHANNEL_H
#define FABRIC_RDMA_CHANNEL_H

#include "fabric/fabric.h"
#include "fabric/rdma/verbs.h"
#include "fabric/window.h"

/* work requests handed to the device at once, unless half of what may be under way is less */
#define CHANNEL_LIST_MAX 32u
#define CHANNEL_DEPTH 256u             /* work requests in the send queue; less where the device has less */
#define CHANNEL_BYTES_MAX (40u << 20)  /* two full lists: while the device is at one the other is gathered */
#define CHANNEL_BYTES_MIN (512u << 10) /* however slow the network is; a list is half of what may be under way */
#define CHANNEL_CREDITS 16u            /* SENDs under way, and receives posted */
#define CHANNEL_LISTS_MAX (CHANNEL_DEPTH + 32u)

enum channel_kind {
	CHANNEL_BARRIER = 1, /* source -> sink: the round, le64 */
	CHANNEL_MESSAGE = 2, /* source -> sink */
	CHANNEL_BYE = 3,     /* source -> sink: the end of an orderly channel */
	CHANNEL_CREDIT = 4,  /* sink -> source: so many receives have been posted again */
};

/* One handed-over list. */
struct channel_list {
	uint64_t last; /* running number of its last work request */
	uint64_t bytes;
	struct window_mark posted;
};

struct channel {
	struct rdma_cm_id *id; /* with its queue pair; the channel's own */
	struct ibv_comp_channel *notice;
	struct ibv_cq *cq;
	uint32_t index; /* the engine's number of the channel */
	bool receives;  /* see channel_opts */
	uint32_t depth, list_max, message_max;

	/* a ring of CHANNEL_CREDITS slots, registered for this end alone: the source sends from it, the sink receives into it */
	uint8_t *ring;
	uint32_t slot_size;
	struct ibv_mr *ring_mr;

	/* gathered, not yet handed over */
	uint32_t gathered;
	uint64_t gathered_bytes;
	uint32_t pieces; /* bytes of the present write that have been gathered */
	struct ibv_send_wr wr[CHANNEL_LIST_MAX];
	struct ibv_sge sge[CHANNEL_LIST_MAX];

	/* running numbers of work requests: handed over, known to be done */
	uint64_t posted, done;
	uint64_t bytes; /* handed over and not done */
	struct channel_list list[CHANNEL_LISTS_MAX];
	uint32_t list_head, list_count;
	struct window window;
	uint64_t full_at; /* @posted when the queue was last found to be full */

	bool open;      /* something was sent that no barrier follows: to end now would be a loss */
	uint64_t sends; /* SENDs so far: the next one's slot */
	uint32_t credits;
	uint64_t progress_ns; /* when something last completed, or work was given to an idle queue */

	uint64_t posts, completions;

	/* a completion that ends the channel, kept until what came before it has been returned */
	struct ibv_wc failed;
	bool has_failed;
};

struct channel_opts {
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	uint32_t index;
	uint32_t slot_size;
	uint64_t under_way_ns; /* 0: no bound in time */
	bool receives;         /* the sink: the ring is received into; else it is sent from */
};

/*
 * channel_open() -- make the queue pair of @opts->id, its queues and its ring, and post the receives
 *
 * On success the id belongs to the channel. On failure it is still the caller's, without a queue pair.
 */
int channel_open(struct channel *channel, const struct channel_opts *opts, struct decant_error *err);

/* channel_kill() -- no DMA and no completion after this; the id stays, for its events. Idempotent. */
void channel_kill(struct channel *channel);

/* channel_close() -- kills, and destroys the id too: all of its events must have been acknowledged. All zeros is fine. */
void channel_close(struct channel *channel);

/* channel_write() -- gather one RDMA WRITE. 0; -EAGAIN: full. Nothing else fails before it is handed over. */
int channel_write(struct channel *channel, const void *data, uint32_t length, uint32_t lkey, uint64_t remote,
		  uint32_t rkey);

/* channel_can_send() -- is there room and a credit for a SEND, beside @kept others? */
bool channel_can_send(const struct channel *channel, uint32_t kept);

/* channel_send() -- copy @data into the ring, SEND it and hand everything over; only after channel_can_send() */
int channel_send(struct channel *channel, enum channel_kind kind, const void *data, uint32_t length);

/* channel_give_credits() -- the sink's SEND without a payload */
int channel_give_credits(struct channel *channel, uint32_t count);

/* channel_flush() -- hand over what has been gathered */
int channel_flush(struct channel *channel);

/* channel_post_receives() -- give @count receives back, from ring slot @slot on */
int channel_post_receives(struct channel *channel, uint32_t slot, uint32_t count);

/* What channel_poll() found that is not the completion of this end's own work. */
struct channel_receipt {
	enum channel_kind kind;
	uint32_t value; /* of the immediate data */
	uint32_t slot;
	uint32_t length;
};

/*
 * channel_poll() -- take completions: own work is accounted for, receipts are returned
 *
 * Returns the number of receipts, at most @max; 0 with *@any false if there was nothing at all; or -errno with @err, which
 * says what the device said: the channel is lost. Whatever was received before that is returned first.
 */
int channel_poll(struct channel *channel, struct channel_receipt *receipts, int max, bool *any,
		 struct decant_error *err);

#endif
