/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * synthetic.h -- a VMM without KVM: threads that write memory, or only work, dirty tracking in user space, state, and an oracle
 *
 * Everything is in the instance, so source and destination can live in one process.
 *
 * What memory must hold is computed, never read back from memory: each page has a *version*, 0 for all zeros, and the contents
 * of version v follow from (seed, region, page, v), every word of them. Pages of the working set get their version from
 * how far their writer has come; all others from a ledger of what the test had written. Both travel in the device state.
 */
#ifndef SUPPORT_SYNTHETIC_H
#define SUPPORT_SYNTHETIC_H

#include <decant/memory.h>
#include <decant/migration.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SYNTHETIC_REGIONS_MAX 4
#define SYNTHETIC_WRITERS_MAX 4
#define SYNTHETIC_THINKERS_MAX 2

enum synthetic_dirty {
	SYNTHETIC_DIRTY_RING, /* a fetch re-arms, as KVM's dirty ring does */
	SYNTHETIC_DIRTY_LOG, /* a fetch only reports; dirty_clear() re-arms, as KVM's log with manual protect does */
};

enum synthetic_pattern {
	SYNTHETIC_SEQUENTIAL,
	SYNTHETIC_RANDOM, /* a different permutation in each sweep */
};

/* Where a hook is called and a fault can be set. */
enum synthetic_event {
	SYNTHETIC_SHAPE_SAVE,
	SYNTHETIC_DIRTY_START,
	SYNTHETIC_FETCH, /* once for all regions: when the first is fetched */
	SYNTHETIC_PAUSE, /* the writers stand */
	SYNTHETIC_RESUME,
	SYNTHETIC_SAVE,
	SYNTHETIC_CREATE,
	SYNTHETIC_LOAD,
	SYNTHETIC_START,
	SYNTHETIC_DISCARD,
	SYNTHETIC_VERDICT,
	SYNTHETIC_THROTTLE,
	SYNTHETIC_EVENTS,
};

struct synthetic;

struct synthetic_config {
	struct decant_region region[SYNTHETIC_REGIONS_MAX]; /* as for decant_memory_allocate() */
	uint32_t regions;
	enum synthetic_dirty dirty;
	bool all_set; /* dirty tracking starts with every page set */
	uint64_t seed;

	/* the working set, written for ever by @writers threads in equal parts */
	uint32_t writers;
	uint32_t wss_region;
	uint64_t wss_first; /* page */
	uint64_t wss_pages;
	uint64_t rate; /* pages per second by all writers, 0: as fast as they can */
	enum synthetic_pattern pattern;

	/* vCPUs that write nothing, after the writers; each does a unit of work every millisecond, at the source alone */
	uint32_t thinkers;
};

#define SYNTHETIC_CONFIG_INIT  \
	{                      \
		.seed = 0x5eed \
	}

/*
 * Called from the thread that is in the operation, before it does anything; @nth counts the event from 1. May set faults and delays,
 * also for this very operation.
 */
typedef void synthetic_hook(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth);

/* synthetic_new() -- a VM with memory, paused. NULL: why is printed. */
struct synthetic *synthetic_new(const struct synthetic_config *config);

/* synthetic_new_empty() -- for a destination: nothing until create() */
struct synthetic *synthetic_new_empty(void);

/* synthetic_ops() -- for decant_migration_new() and decant_receiver_new(), with the instance as @vmm */
const struct decant_vmm_ops *synthetic_ops(void);

/* synthetic_memory() -- NULL if there is none (now) */
struct decant_memory *synthetic_memory(const struct synthetic *vmm);

/* synthetic_run() -- let the writers go, for the first time */
void synthetic_run(struct synthetic *vmm);

/* synthetic_free() -- stops the writers; memory made by create() is not its own */
void synthetic_free(struct synthetic *vmm);

/* synthetic_set_hook() -- before the VMM is handed to the library */
void synthetic_set_hook(struct synthetic *vmm, synthetic_hook *hook, void *opaque);

/* synthetic_set_fault() -- fail that operation with @code from now on, 0: no longer; any thread */
void synthetic_set_fault(struct synthetic *vmm, enum synthetic_event event, int code);

/* synthetic_set_delay() -- make that operation take so much longer; any thread */
void synthetic_set_delay(struct synthetic *vmm, enum synthetic_event event, unsigned ms);

/* synthetic_set_wrong_memory() -- create() makes its first region a page too long */
void synthetic_set_wrong_memory(struct synthetic *vmm, bool wrong);

/* synthetic_count() -- how often the operation was called, failures included; any thread */
unsigned synthetic_count(const struct synthetic *vmm, enum synthetic_event event);

/*
 * What a device of this VM would do. Pages of the working set are the writers'. Marked dirty after the write.
 * synthetic_fill(): contents never seen before. synthetic_zero(): zeros. synthetic_punch(): zeros by giving the pages back.
 */
void synthetic_fill(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages);
void synthetic_zero(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages);
void synthetic_punch(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages);

/* synthetic_corrupt() -- change one byte behind everybody's back: not marked, not in the ledger */
void synthetic_corrupt(struct synthetic *vmm, uint32_t region, uint64_t page);

/* synthetic_exists() -- made and not discarded; any thread */
bool synthetic_exists(const struct synthetic *vmm);

/* synthetic_is_running() -- do the writers run (with none: would they)? */
bool synthetic_is_running(struct synthetic *vmm);

/* synthetic_work() -- pages stamped so far by all writers; any thread */
uint64_t synthetic_work(const struct synthetic *vmm);

/* synthetic_thought() -- units of work that thinker @index has done; any thread */
uint64_t synthetic_thought(const struct synthetic *vmm, uint32_t index);

/* synthetic_throttled() -- is any vCPU slowed now? any thread */
bool synthetic_throttled(const struct synthetic *vmm);

/*
 * synthetic_judge() -- stop the writers for a moment and compare every page of all memory with what it must hold
 *
 * BAD stays BAD: also what the writers found wrong before they wrote over it.
 */
void synthetic_judge(struct synthetic *vmm, struct decant_verdict *verdict);

#endif
