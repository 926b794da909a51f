/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pair.h -- a source and a destination in one process, each its own threads, and a network between them that can be broken
 *
 * For the programs that try every fault: small, quick, and without assertions of a test framework, so that it can be used in a
 * child process. What must hold is checked by pair_judge(). Threads of the library belong to their end (support/lib_calls.h).
 */
#ifndef INTEGRATION_PAIR_H
#define INTEGRATION_PAIR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <decant/decant.h>

#include "support/relay.h"
#include "support/synthetic.h"

#define PAIR_MS 1000000ull
#define PAIR_PATIENCE_MS 60000u /* for what must happen, on any machine */

struct pair {
	/* set by pair_init(), changed by the test before pair_start() */
	struct synthetic_config config;
	struct decant_receiver_opts receiver_opts;
	struct decant_migration_opts opts;
	bool direct;          /* no relay */
	synthetic_hook *hook; /* of both VMs, or NULL */

	struct synthetic *source, *destination;
	struct relay *relay;
	struct decant_receiver *receiver;
	struct decant_memory *received;
	struct decant_migration *migration;
	char peer[64];
	char fabric[16];
	pthread_t receiver_thread, source_thread;
	bool receiver_is_started, source_is_started;
	int receive_ret;
	int ret;
	struct decant_error receive_err, err;

	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* protected by lock */
	unsigned source_ended, receiver_ended; /* 1: the thread is about to return */
	unsigned refusals;                     /* sessions and greetings that came to nothing at the destination */
};

/* pair_init() -- patient timers, a small guest with one writer */
void pair_init(struct pair *pair, const char *fabric);

/* pair_set_key() -- the same at both ends */
void pair_set_key(struct pair *pair);

/* pair_start() -- the guest runs, the receiver waits. 0, or -errno of a call of the library with pair->err or receive_err. */
int pair_start(struct pair *pair);

/* pair_migrate() -- begin to, in a thread; 0 or -errno of decant_migration_new() */
int pair_migrate(struct pair *pair);

/* pair_await_source(), pair_await_refusal() -- within @ms: the source's thread has returned; so many sessions have come to nothing */
bool pair_await_source(struct pair *pair, unsigned ms);
bool pair_await_refusals(struct pair *pair, unsigned count, unsigned ms);

/* pair_join() -- after pair_await_source() */
void pair_join(struct pair *pair);

/* pair_settle() -- decant_migration_settle(), as the source */
int pair_settle(struct pair *pair, bool force);

/* pair_resume() -- what a VMM does when a settled migration gives the guest back */
int pair_resume(struct pair *pair);

enum pair_place {
	PAIR_STAYED, /* it runs at the source, and nothing is left of it at the destination */
	PAIR_MOVED,
};

/*
 * pair_judge() -- exactly one guest runs, where it should, it gets on, and all its memory is what it must be
 *
 * 0, or -1 with what is wrong in @text.
 */
int pair_judge(struct pair *pair, enum pair_place place, char *text, size_t size);

/* pair_repeat() -- the network is whole: the receiver takes the same VM in at the next attempt. As pair_judge(). */
int pair_repeat(struct pair *pair, char *text, size_t size);

void pair_destroy(struct pair *pair);

/* What a process holds: it must be the same before and after. */
struct pair_holdings {
	unsigned descriptors;
	unsigned threads;
};

/* pair_holdings_begin() -- before anything: what a process has when it has had a thread */
void pair_holdings_begin(struct pair_holdings *holdings);

void pair_holdings(struct pair_holdings *holdings);

/* pair_await_holdings() -- 0 when they are again what they were, -1 with what is left in @text */
int pair_await_holdings(const struct pair_holdings *before, char *text, size_t size);

#endif
