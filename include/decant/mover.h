/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * decant/mover.h -- the mover: pushes pages of regions to a peer's memory, with barriers and fences
 *
 * The floor below the controller, for feeders that own passes, pause and hand-over themselves (a QEMU sidecar), or whose
 * destination is no memory (a disk). It promises one thing: when decant_mover_barrier() has returned 0, the peer's memory
 * holds, of every page pushed before, what the page held at the push or later; and nothing else of it changes.
 *
 * SOURCE                                     DESTINATION
 *   decant_mover_connect(memory)               decant_landing_new(), _accept(): create() makes the memory
 *   decant_mover_push() ...                    (memory is written under it)
 *   decant_mover_barrier()
 *   decant_mover_message() ...                 ops->message(), in order
 *   opts->message(), in order                  decant_landing_message() ...
 *   decant_mover_close()                       decant_landing_run() returns; decant_landing_free()
 */
#ifndef DECANT_MOVER_H
#define DECANT_MOVER_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/state.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Whether the kernel sends from guest memory without a copy of its own (MSG_ZEROCOPY); of the fabric tcp. */
enum decant_zero_copy {
	DECANT_ZERO_COPY_AUTO, /* where a NIC does the sending; given up where the kernel is seen to copy after all */
	DECANT_ZERO_COPY_ON, /* wherever the kernel takes it */
	DECANT_ZERO_COPY_OFF,
};

struct decant_mover_opts {
	size_t size;
	const char *peer;
	const char *name;
	const char *fabric;
	uint32_t channels;
	uint64_t bandwidth_Bps;
	uint64_t peer_timeout_ns;
	struct decant_log log;
	const char *rails; /* as decant_migration_opts.rails */
	const void *key;   /* as decant_migration_opts.key; copied by _connect(), wiped by _close() */
	size_t key_length;
	const char *cpus; /* as decant_migration_opts.cpus; the feeder's thread keeps its own */
	enum decant_zero_copy zero_copy;
	/*
	 * What may be under way, as time: decant_mover_push() blocks while it is more than the network has lately carried in so
	 * much time, by each channel, 512 KiB at least; what the kernel's sockets hold comes on top (tcp). For a feeder whose pushes are timed by somebody
	 * who concludes from them when to pause a guest. 0: no such bound, but what keeps the network busy; over loop there is never any.
	 */
	uint64_t under_way_ns;
	/*
	 * One message of decant_landing_message(), in order; NULL: the peer is to send none. From the thread that reads the control
	 * connection, one at a time, from before decant_mover_connect() returns until decant_mover_close() has returned. It must not
	 * wait for anything of the peer's, or call the mover but to cancel it: nothing else is heard meanwhile. An error ends the session.
	 */
	int (*message)(void *opaque, const void *data, size_t length, struct decant_error *err);
	/*
	 * The session is over, and why, if not by decant_mover_close(): the connection is gone, or the peer has said so. Once, from the same thread, after the last message; for a
	 * feeder that waits for something else. decant_mover_check() says the same. May be NULL.
	 */
	void (*lost)(void *opaque, const struct decant_error *why);
	void *opaque; /* of both */
};

#define DECANT_MOVER_OPTS_INIT                                                                              \
	{                                                                                                   \
		.size = sizeof(struct decant_mover_opts), .fabric = "auto", .peer_timeout_ns = 5000000000u, \
	}

/* The longest message that decant_mover_message() and decant_landing_message() take, bytes. */
#define DECANT_MESSAGE_MAX (64u << 10)

struct decant_mover;

/*
 * decant_mover_connect() -- connect, agree on version and regions, open the channels; blocks
 *
 * @shape goes to the destination's create(), may be NULL. @memory must outlive the mover and stay as it is.
 * Returns 0 or a negative errno: -ECONNREFUSED, -EPROTO (not a decant, or a version in common is missing), -EBUSY (it is
 * taking another VM), -EACCES (one end has no key, or another one), -ENOSPC (it has too little memory), -ETIMEDOUT, ...
 */
int decant_mover_connect(const struct decant_mover_opts *opts, const struct decant_memory *memory,
			 const struct decant_state_writer *shape, struct decant_mover **mover,
			 struct decant_error *err);

/*
 * decant_mover_push() -- send pages of region @index: [@offset, @offset + @length), multiples of 4 KiB
 *
 * Any order, any number of times; over RDMA a page that has been pushed since the last barrier costs one. Blocks while the fabric is full (back-pressure). The pages are read by reference at
 * any time until the next barrier returns: a page that changes meanwhile must be pushed again by the caller.
 * One thread at a time. Returns 0, -ECANCELED, or why the peer is gone.
 */
int decant_mover_push(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length,
		      struct decant_error *err);

/*
 * decant_mover_push_zeros() -- as decant_mover_push(), of pages that the caller has seen to hold nothing but zeros
 *
 * Seen after whatever tells it of changes was reset for them, so that a page that changes since is pushed again. If the peer's memory
 * held zeros at the start (decant_landing_opts.zero_memory), pages of which nothing was ever sent are left out: nothing is read, sent or
 * registered for them. Others are sent as by decant_mover_push().
 */
int decant_mover_push_zeros(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length,
			    struct decant_error *err);

/* decant_mover_barrier() -- wait until all pushed pages can be seen in the peer's memory, failing over if a channel dies */
int decant_mover_barrier(struct decant_mover *mover, struct decant_error *err);

/*
 * decant_mover_message() -- an ordered message to the peer's ops->message(); copied; blocks without credit
 *
 * Messages arrive once each and in order, and before the end of any barrier called after them. A message whose
 * connection dies under it is sent again over the next.
 */
int decant_mover_message(struct decant_mover *mover, const void *data, size_t length, struct decant_error *err);

/*
 * decant_mover_punched() -- pages of region @index have been given back to the kernel: [@offset, @offset + @length)
 *
 * After MADV_REMOVE or FALLOC_FL_PUNCH_HOLE on memory of a mover that is connected, and before the pages are pushed again: a
 * fabric that has registered the memory would go on reading the pages that were there. Any thread; does not block.
 */
void decant_mover_punched(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length);

/* decant_mover_check() -- 0, or why the session is over; any thread; does not block */
int decant_mover_check(struct decant_mover *mover, struct decant_error *err);

/* What a mover has done so far. */
struct decant_mover_stats {
	size_t size;             /* sizeof(struct decant_mover_stats), set by the caller */
	char fabric[16];         /* the one that is in use now */
	char fabric_reason[192]; /* as decant_stats.fabric_reason */
	uint32_t channels;
	uint32_t failovers;  /* times the data went on over other channels */
	uint64_t ram_bytes;  /* of all regions */
	uint64_t sent_bytes; /* of them sent, repetitions included */
	uint64_t pages_sent; /* the same, of 4 KiB */
	uint64_t pages_zero; /* pushed as zeros and left out; one that is pushed twice counts twice */
	uint64_t pushes;     /* calls of decant_mover_push() and _push_zeros() */
	uint64_t writes;     /* given to the fabric */
	uint64_t barriers;
	uint64_t messages;
	uint64_t message_bytes;
	uint64_t messages_back;   /* of the peer's */
	uint64_t zero_copy_bytes; /* of sent_bytes, those that the kernel sent without a copy (MSG_ZEROCOPY) */
	uint64_t first_byte_ns;   /* CLOCK_MONOTONIC of the first page given to the fabric, 0: none yet */
	uint64_t cpu_ns;          /* of the mover's own threads; the feeder's is not in it */
};

#define DECANT_MOVER_STATS_INIT                            \
	{                                                  \
		.size = sizeof(struct decant_mover_stats), \
	}

/* decant_mover_get_stats() -- a snapshot, of as much as @stats->size says; any thread */
void decant_mover_get_stats(struct decant_mover *mover, struct decant_mover_stats *stats);

/* decant_mover_cancel() -- make the blocking calls return -ECANCELED; any thread */
void decant_mover_cancel(struct decant_mover *mover);

/*
 * decant_mover_close() -- say goodbye, close and free; NULL is fine
 *
 * The goodbye is said only if a barrier has covered everything that was pushed and sent, and nothing has failed: it is what makes
 * decant_landing_run() succeed.
 */
void decant_mover_close(struct decant_mover *mover);

struct decant_landing_ops {
	size_t size;
	/*
	 * as decant_vmm_ops.create; @shape may be empty. The memory may be somebody else's, mapped by the caller (decant_memory_add()): neither
	 * mapping nor descriptor are the library's then, however the session ends. Nothing is written to it before the return.
	 */
	int (*create)(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		      uint32_t count, struct decant_memory *memory, struct decant_error *err);
	/* one ordered message; from a thread of the fabric; may block, which is the flow control; an error ends the session */
	int (*message)(void *opaque, const void *data, size_t length, struct decant_error *err);
};

struct decant_landing_opts {
	size_t size;
	const char *listen;
	uint64_t max_memory;
	uint64_t peer_timeout_ns;
	uint32_t populate_threads;
	struct decant_log log;
	const void *key; /* as decant_receiver_opts.key; copied by _new(), wiped by _free() */
	size_t key_length;
	const char *cpus; /* as decant_receiver_opts.cpus */
	/*
	 * Make all of the memory zero that create() has made or lent: for memory that may hold something, if every page of it will be pushed.
	 * In the background, each granule before it is written to, all before the first barrier ends. Looks only at what has pages behind it,
	 * writes only where there is something else than zeros, and frees nothing. The source can leave out pages of zeros then
	 * (decant_mover_push_zeros()).
	 */
	bool zero_memory;
};

#define DECANT_LANDING_OPTS_INIT                                                            \
	{                                                                                   \
		.size = sizeof(struct decant_landing_opts), .peer_timeout_ns = 5000000000u, \
	}

/* The destination's end of a mover. */
struct decant_landing;

/* decant_landing_new() -- bind and listen; as decant_receiver_new() */
int decant_landing_new(const struct decant_landing_opts *opts, const struct decant_landing_ops *ops, void *opaque,
		       struct decant_landing **landing, struct decant_error *err);

/* decant_landing_port() -- the port it listens on */
uint16_t decant_landing_port(const struct decant_landing *landing);

/*
 * decant_landing_run() -- serve one source to its end; blocks
 *
 * Returns 0 after the source's goodbye: all channels are fenced, *@memory is the caller's. Otherwise a negative errno, the
 * memory freed.
 */
int decant_landing_run(struct decant_landing *landing, struct decant_memory **memory, struct decant_error *err);

/*
 * decant_landing_message() -- an ordered message to the source's decant_mover_opts.message; copied
 *
 * From the call of create() to the end of decant_landing_run(): what was sent before that has been given to the source's message() when
 * its decant_mover_close() returns. Any thread, also from ops->message(). Blocks while the connection is full, as long as the peer timeout at most.
 * Returns 0; -EMSGSIZE (empty, or longer than DECANT_MESSAGE_MAX); -EOPNOTSUPP (the source takes no messages); -ENOTCONN (there is no session);
 * or why it is lost.
 */
int decant_landing_message(struct decant_landing *landing, const void *data, size_t length,
			   struct decant_error *err);

/* decant_landing_cpu_ns() -- CPU time of the library's threads in the session that runs, or else in the last one; any thread */
uint64_t decant_landing_cpu_ns(struct decant_landing *landing);

/* decant_landing_stop() -- make run return -ECANCELED; async-signal-safe */
void decant_landing_stop(struct decant_landing *landing);

void decant_landing_free(struct decant_landing *landing);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
