/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/migration.h -- the controller: moves a VM whose dirty tracking, pause and state it drives through callbacks */
#ifndef DECANT_MIGRATION_H
#define DECANT_MIGRATION_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/mover.h>
#include <decant/state.h>
#include <decant/stats.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* How the clocks of the two hosts relate, handed to the destination's start. Stamps are CLOCK_MONOTONIC in ns. */
struct decant_handover {
	size_t size;
	int64_t clock_offset_ns; /* add to a stamp of the source to get this host's time */
	uint64_t clock_error_ns; /* the offset is right to +- this */
};

/*
 * What a VMM does for a migration. Fields are only ever appended; @size tells which are there.
 *
 * All are called from the thread in decant_migration_run() or decant_receiver_run() unless said otherwise, never two at
 * once for one VM. Each returns 0 or a negative errno with @err filled. None may call back into the library's object.
 *
 * Source:
 * @shape_save:  what the destination needs to build an equal, empty VM (vCPUs, CPUID, devices), as records. Guest runs.
 * @dirty_start: start dirty tracking, the devices' own marks first. Every write after the return is tracked; what was
 *               written before counts as dirty only if the VMM cannot tell (initially-all-set).
 * @dirty_fetch: OR the dirty pages of @region into @bitmap (bit i = page i of 4 KiB, little-endian words, (pages+63)/64
 *               of them). A VMM that re-arms separately may report a page again until dirty_clear() has taken it.
 * @dirty_clear: re-arm tracking of the pages set in @bitmap (bit 0 = page @first, a multiple of 64) before they are
 *               read. Every write after the return is reported by a later fetch. A VMM whose fetch re-arms does nothing.
 * @dirty_stop:  end tracking. Also after errors; cannot fail.
 * @pause:       stop all vCPUs, drain devices. *@left_ns: when the first vCPU left KVM_RUN for good. On error the guest runs.
 * @resume:      undo pause; the guest goes on as if nothing had been.
 * @state_save:  all state of the paused VM. May dirty memory; the last harvest comes after it.
 *
 * Destination:
 * @create:      build a VM of that shape, its memory added to @memory with as many regions as @regions, in that order, of
 *               the same names, lengths and page sizes, all zeros. An error refuses the migration and leaves nothing behind.
 *               So does a record of @shape that it has not read.
 * @state_load:  load everything and check it; must not start anything, and must be repeatable on the same VM. Right after
 *               create, state_save and state_load are called once on the fresh VM, to learn what they cost.
 * @start:       let the vCPUs run; clocks advance by the pause. Nothing may fail that state_load could have found.
 *               *@entered_ns: just before the first vCPU entered KVM_RUN. An error means that no vCPU ever ran.
 * @discard:     throw away what create made (it never ran, or start failed); cannot fail. NULL-safe against no VM.
 * @verdict:     ask the guest, which runs, for its verdict; may take seconds. Optional.
 *
 * Source, optional:
 * @gap_reset:   the guest shall measure its pause from now on.
 *
 * Source, both or none; DECANT_NOT_CONVERGING_THROTTLE needs them:
 * @vcpu_dirtied: how many pages vCPU @vcpu (0, 1, ...) has dirtied since dirty_start, into *@pages: what it has written again after a
 *               re-arm counts again. -ENOENT: there is no such vCPU, nor one after it. -EOPNOTSUPP: it is there, but nobody knows
 *               which vCPU has written (KVM's dirty log): then all are slowed alike.
 * @throttle:    from now on keep vCPU @vcpu from running for @share_permille thousandths of each short while (10 ms, or what it
 *               takes): 0 to DECANT_THROTTLE_MAX_PERMILLE, 0 undoes it. Returns at once. The guest loses time, no state. It holds
 *               while the VM is paused, but must not delay pause, and may be called then, too. Each vCPU that was slowed is given 0
 *               before decant_migration_run() returns, however it ends, and before resume. An error ends the migration, but for one in undoing.
 */
struct decant_vmm_ops {
	size_t size;
	int (*shape_save)(void *vmm, struct decant_state_writer *shape, struct decant_error *err);
	int (*dirty_start)(void *vmm, struct decant_error *err);
	int (*dirty_fetch)(void *vmm, uint32_t region, uint64_t *bitmap, uint64_t pages, struct decant_error *err);
	int (*dirty_clear)(void *vmm, uint32_t region, uint64_t first, uint64_t pages, const uint64_t *bitmap,
			   struct decant_error *err);
	void (*dirty_stop)(void *vmm);
	int (*pause)(void *vmm, uint64_t *left_ns, struct decant_error *err);
	int (*resume)(void *vmm, struct decant_error *err);
	int (*state_save)(void *vmm, struct decant_state_writer *state, struct decant_error *err);

	int (*create)(void *vmm, struct decant_state_reader *shape, const struct decant_region *regions,
		      uint32_t count, struct decant_memory *memory, struct decant_error *err);
	int (*state_load)(void *vmm, struct decant_state_reader *state, struct decant_error *err);
	int (*start)(void *vmm, const struct decant_handover *handover, uint64_t *entered_ns,
		     struct decant_error *err);
	void (*discard)(void *vmm);
	int (*verdict)(void *vmm, struct decant_verdict *verdict, struct decant_error *err);

	void (*gap_reset)(void *vmm);

	int (*vcpu_dirtied)(void *vmm, uint32_t vcpu, uint64_t *pages, struct decant_error *err);
	int (*throttle)(void *vmm, uint32_t vcpu, uint32_t share_permille, struct decant_error *err);
};

/* A vCPU is never kept from running for more than this. */
#define DECANT_THROTTLE_MAX_PERMILLE 990u

/* What to do when the guest dirties its memory faster than the fabric carries it. */
enum decant_not_converging {
	DECANT_NOT_CONVERGING_ABORT, /* end the migration, the guest untouched */
	/*
	 * Slow the vCPUs that dirty, those that dirty most first, stepwise and no more than it takes. Ends the migration, too, if that
	 * does not help: where devices write, or the limit of the pause is less than what a pause takes without any data.
	 */
	DECANT_NOT_CONVERGING_THROTTLE,
};

/* When pages of zeros are looked for in the first pass, where they need not be sent. */
enum decant_zero_scan {
	DECANT_ZERO_SCAN_AUTO, /* as long as some are found; then by samples */
	DECANT_ZERO_SCAN_ON,   /* every page is looked at */
	DECANT_ZERO_SCAN_OFF,  /* none is: they are sent like any other, and the destination gets pages for them */
};

/* A key has so many bytes. */
#define DECANT_KEY_MIN 16u
#define DECANT_KEY_MAX 4096u

struct decant_migration_opts {
	size_t size;
	const char *peer;   /* "host:port" or "[v6]:port" of the receiver */
	const char *name;   /* the VM's, for messages and the receiver; up to 63 bytes */
	const char *fabric; /* "auto": RDMA where hardware reaches the peer, else TCP; "rdma", "tcp", "loop" */
	uint32_t channels;  /* 0: the fabric's default */
	uint64_t max_downtime_ns;
	uint64_t timeout_ns;            /* for the whole up to GO; 0: none */
	uint64_t switchover_timeout_ns; /* pause to GO; 0: max(4 x max_downtime, 500 ms) */
	uint64_t bandwidth_Bps;         /* 0: all there is */
	uint64_t peer_timeout_ns;       /* a peer silent for so long is gone */
	enum decant_not_converging if_not_converging;
	bool verify;      /* hash every page at both ends before READY */
	bool ask_verdict; /* fetch the guest's verdict after RUNNING */
	struct decant_log log;
	/*
	 * Called from the migrating thread: at each change of state, after a pass, and else at most 20 times a second. Not while the guest
	 * is paused, nor after that unless it goes on here: what became of it decant_migration_run() returns. May be NULL.
	 */
	void (*progress)(void *opaque, const struct decant_stats *stats);
	void *opaque; /* of progress */
	/* RDMA: "LOCAL[=REMOTE][,...]", each a device or an address: these rails and no others; NULL: those that reach each other */
	const char *rails;
	/*
	 * A secret of 16 to 4096 random bytes that the destination must have, too: each end proves to the other that it has it, or
	 * nothing is done. NULL: none. Copied by decant_migration_new(), so the caller may wipe its own then; the copies are
	 * wiped by decant_migration_free().
	 */
	const void *key;
	size_t key_length;
	enum decant_zero_scan zero_scan;
	/*
	 * "0-3,8": the CPUs that the library's own threads may use, and the calling thread while it runs the migration; NULL: those
	 * of the calling thread that are not isolated (docs/placement.md). Copied.
	 */
	const char *cpus;
	enum decant_zero_copy zero_copy;
};

#define DECANT_MIGRATION_OPTS_INIT                                                                             \
	{                                                                                                      \
		.size = sizeof(struct decant_migration_opts), .fabric = "auto", .max_downtime_ns = 300000000u, \
		.peer_timeout_ns = 5000000000u,                                                                \
	}

/* One outgoing migration. Made, run once, freed. */
struct decant_migration;

/*
 * decant_migration_new() -- prepare to migrate the VM behind @ops and @vmm with its @memory
 *
 * Options and ops are copied, strings and key too; @vmm and @memory must outlive the migration. Touches neither VM nor network.
 * Returns 0, -EINVAL (which option, and what it takes), -ENOMEM.
 */
int decant_migration_new(const struct decant_migration_opts *opts, const struct decant_vmm_ops *ops, void *vmm,
			 struct decant_memory *memory, struct decant_migration **migration,
			 struct decant_error *err);

/*
 * decant_migration_run() -- do it; blocks
 *
 * Starts threads of its own (docs/threading.md) and has joined them when it returns. The calling thread runs on opts.cpus meanwhile.
 * Returns 0: COMPLETED: the destination runs the guest; free the VM, never resume it.
 * -EINPROGRESS: IN_DOUBT: GO was sent and nobody can tell what became of it. The VM must stay paused; only
 *   decant_migration_settle() may release it.
 * -ECANCELED: CANCELLED, any other value: FAILED; the guest goes on at the source as if nothing had been.
 */
int decant_migration_run(struct decant_migration *migration, struct decant_error *err);

/*
 * decant_migration_punched() -- pages of @region have been given back to the kernel: [@offset, @offset + @length), bytes
 *
 * A VMM that punches its memory (balloon, free-page reporting, MADV_REMOVE) calls it after that and before it marks the pages
 * dirty, as it must: with RDMA the NIC holds the pages that were there, and the granule has to be registered anew. Any thread, any
 * time, also from the VMM's callbacks; does not block.
 */
void decant_migration_punched(struct decant_migration *migration, uint32_t region, uint64_t offset,
			      uint64_t length);

/* decant_migration_cancel() -- end it if GO has not been sent; any thread, any time, returns at once. Too late is no error. */
void decant_migration_cancel(struct decant_migration *migration);

/*
 * decant_migration_settle() -- settle a migration that is IN_DOUBT
 *
 * Asks the destination again. With @force, and no answer, it waits until the lease must have run out since GO was given
 * to a socket that is aborted now, so that a destination that has not seen GO never will; the operator vouches that it has
 * not seen it. Blocks.
 * Returns 0: it runs at the destination (COMPLETED). -ECANCELED: it never ran there and never will, or @force: the VM
 * may be resumed (FAILED; the caller resumes). -EINPROGRESS: still in doubt. -EINVAL: it was not in doubt.
 */
int decant_migration_settle(struct decant_migration *migration, bool force, struct decant_error *err);

/* decant_migration_get_fd() -- an eventfd, readable after each change of state; owned by the migration; any thread */
int decant_migration_get_fd(const struct decant_migration *migration);

/* decant_migration_get_stats() -- a consistent copy; @stats->size says how much the caller knows; any thread */
void decant_migration_get_stats(struct decant_migration *migration, struct decant_stats *stats);

/* decant_migration_free() -- NULL is fine; not while it runs */
void decant_migration_free(struct decant_migration *migration);

struct decant_receiver_opts {
	size_t size;
	const char *listen;  /* "host:port"; port 0 takes a free one */
	const char *name;    /* take only a VM of this name; NULL: any */
	uint64_t max_memory; /* bytes of guest memory taken at most; 0: what the host has available */
	uint64_t lease_ns;   /* how long READY holds without GO; 100 ms to 10 minutes */
	uint64_t peer_timeout_ns;
	uint32_t populate_threads; /* that touch memory ahead of the data; 0: one per two CPUs */
	struct decant_log log;
	/*
	 * As decant_migration_opts.key. A source that does not prove that it has it is refused before anything is done for it, and
	 * cannot keep another one out. NULL: whoever reaches @listen can send a VM, and hear what became of one: let it be the
	 * loopback interface, or a network that is trusted. Copied by decant_receiver_new(), wiped by decant_receiver_free().
	 */
	const void *key;
	size_t key_length;
	const char *cpus; /* as decant_migration_opts.cpus; the thread in decant_receiver_run() keeps its own */
};

#define DECANT_RECEIVER_OPTS_INIT                                                     \
	{                                                                             \
		.size = sizeof(struct decant_receiver_opts), .lease_ns = 5000000000u, \
		.peer_timeout_ns = 5000000000u,                                       \
	}

/* Takes one VM in. */
struct decant_receiver;

/*
 * decant_receiver_new() -- bind and listen
 *
 * Returns 0, -EINVAL, -EADDRINUSE and whatever else bind(2) says, with the address in the message, -ENOMEM.
 */
int decant_receiver_new(const struct decant_receiver_opts *opts, const struct decant_vmm_ops *ops, void *vmm,
			struct decant_receiver **receiver, struct decant_error *err);

/* decant_receiver_port() -- the port it listens on */
uint16_t decant_receiver_port(const struct decant_receiver *receiver);

/*
 * decant_receiver_run() -- wait until a VM has been taken in and started; blocks
 *
 * An attempt that fails is logged, its VM discarded, and the next one awaited. While one source is being served any
 * other is refused as busy. After the return a thread of the receiver goes on answering QUERY, refusing new
 * VMs, and asking ops->verdict for the source, until decant_receiver_free().
 * Returns 0 with the guest running, its memory in *@memory (the caller's from then on: free it with
 * decant_memory_free() after the VM), -ECANCELED after decant_receiver_stop().
 */
int decant_receiver_run(struct decant_receiver *receiver, struct decant_memory **memory, struct decant_error *err);

/* decant_receiver_stop() -- make run return if no VM is running yet; async-signal-safe; any thread */
void decant_receiver_stop(struct decant_receiver *receiver);

/* decant_receiver_get_stats() -- what the destination knows (bytes, cpu, allocated); any thread */
void decant_receiver_get_stats(struct decant_receiver *receiver, struct decant_stats *stats);

/* decant_receiver_free() -- NULL is fine; waits for a verdict being asked; then nobody answers QUERY any more */
void decant_receiver_free(struct decant_receiver *receiver);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
