/* SPDX-License-Identifier: BSD-2-Clause */
/* synthetic_private.h -- what the two halves of the synthetic VMM share: synthetic.c (operations), synthetic_guest.c (the guest) */
#ifndef SUPPORT_SYNTHETIC_PRIVATE_H
#define SUPPORT_SYNTHETIC_PRIVATE_H

#include <pthread.h>

#include "support/synthetic.h"

/* Guest memory is not the host's: that it is written while it is read is what a migration is about. */
#define GUEST_ACCESS __attribute__((no_sanitize("thread")))

struct writer {
	struct synthetic *vmm;
	pthread_t thread;

	/* set before the thread starts, read-only after */
	uint64_t first; /* page */
	uint64_t pages;
	uint64_t rate; /* pages per second, 0: no limit */

	/* the thread's own while it runs; anybody's with the lock while it stands */
	uint64_t sweep;   /* complete sweeps */
	uint64_t step;    /* of the current one */
	uint64_t last_ns; /* of the last page */
	uint64_t gap_ns;  /* the largest distance of two pages */
	uint64_t pace_ns; /* when the next page is due */

	_Atomic uint64_t work;
	_Atomic bool gap_reset;
	_Atomic uint32_t share; /* permille of its time that it may not run */
};

/* A vCPU that does not write. */
struct thinker {
	struct synthetic *vmm;
	pthread_t thread;
	_Atomic uint64_t work;
	_Atomic uint32_t share;
};

/* What the test had written to pages outside the working set. The last entry that covers a page counts. */
struct ledger_entry {
	uint32_t region;
	uint32_t version;
	uint64_t first;
	uint64_t pages;
};

struct synthetic {
	/* set by new or create, read-only while anything runs */
	struct synthetic_config config;
	struct decant_memory *memory;
	bool owns_memory;
	_Atomic uint64_t *dirty[SYNTHETIC_REGIONS_MAX];
	synthetic_hook *hook;
	void *hook_opaque;

	_Atomic int fault[SYNTHETIC_EVENTS];
	_Atomic unsigned delay_ms[SYNTHETIC_EVENTS];
	_Atomic unsigned count[SYNTHETIC_EVENTS];
	_Atomic bool wrong_memory;
	_Atomic bool exists;

	pthread_mutex_t judging; /* one at a time: it stops the guest and lets it go on */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic bool interrupt; /* set under the lock, looked at without it: leave your loop */

	/* protected by lock */
	bool paused;
	bool quit;
	uint32_t started; /* writer threads */
	uint32_t standing;
	uint64_t left_ns; /* when the first of them stood */
	uint64_t run_ns;  /* when they last began */
	uint64_t run_work;
	struct ledger_entry *ledger;
	size_t ledger_length;
	uint32_t ledger_version;
	char bad[128]; /* the first thing that was wrong, "" if none */

	uint32_t thinking; /* threads of thinkers */

	struct writer writer[SYNTHETIC_WRITERS_MAX];
	struct thinker thinker[SYNTHETIC_THINKERS_MAX];
};

/* guest_init() -- after memory and config are there: bitmaps, and who writes what */
int guest_init(struct synthetic *vmm);
void guest_destroy(struct synthetic *vmm);

/* guest_start_threads() -- they stand until guest_go() */
int guest_start_threads(struct synthetic *vmm);
void guest_stop_threads(struct synthetic *vmm);

/* guest_halt() -- returns when all stand: when the first did; guest_go() undoes it */
uint64_t guest_halt(struct synthetic *vmm);
void guest_go(struct synthetic *vmm);

uint64_t guest_gap_ns(const struct synthetic *vmm);

/* guest_check() -- all memory, the writers standing; what is wrong goes to vmm->bad */
void guest_check(struct synthetic *vmm);

#endif
