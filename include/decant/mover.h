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
 *   decant_mover_close()                       ops->closed(); decant_landing_free()
 */
#ifndef DECANT_MOVER_H
#define DECANT_MOVER_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/state.h>
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
};

#define DECANT_MOVER_OPTS_INIT                                                                              \
	{                                                                                                   \
		.size = sizeof(struct decant_mover_opts), .fabric = "auto", .peer_timeout_ns = 5000000000u, \
	}

/* The longest message that decant_mover_message() takes, bytes. */
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
	/* as decant_vmm_ops.create; @shape may be empty */
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

/* decant_landing_stop() -- make run return -ECANCELED; async-signal-safe */
void decant_landing_stop(struct decant_landing *landing);

void decant_landing_free(struct decant_landing *landing);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
