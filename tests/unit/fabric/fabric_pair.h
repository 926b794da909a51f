/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fabric_pair.h -- a source and a sink of any fabric, joined, with memory at both ends and a record of the sink's events
 *
 * Region 0 ends in a shorter granule. Of region 1 the last granule is not exposed.
 */
#ifndef TESTS_FABRIC_PAIR_H
#define TESTS_FABRIC_PAIR_H

#include "fabric/fabric.h"

#include <pthread.h>
#include <stdatomic.h>

#define PAIR_PAGE 4096u
#define PAIR_GRANULE (2u << 20)
#define PAIR_REGIONS 2u
#define PAIR_EVENTS_MAX 4096u
#define PAIR_GRANULES_MAX 128u
#define PAIR_SHARES_MAX 4u
/* far beyond what any machine needs: ends a test that hangs */
#define PAIR_LATE_NS 60000000000u

struct pair_event {
	enum {
		PAIR_BARRIER,
		PAIR_MESSAGE,
		PAIR_LOST
	} kind;
	uint32_t channel;
	uint64_t value; /* round; the message's first eight bytes; minus the code */
};

struct pair_share {
	const uint8_t *memory;
	uint64_t length, lkey;
};

struct joined {
	const struct fabric_ops *ops;
	uint32_t channels;
	struct fabric_sink_opts sink_opts;
	struct fabric_source_opts source_opts;
	struct fabric_sink *sink;
	struct fabric_source *source;
	uint64_t length[PAIR_REGIONS];
	uint8_t *from[PAIR_REGIONS], *to[PAIR_REGIONS];
	uint64_t rkey[PAIR_REGIONS][PAIR_GRANULES_MAX];
	struct pair_share share[PAIR_SHARES_MAX]; /* what the source may send from */
	uint32_t shares;

	/* what a test may hook into the events; called without the lock */
	void (*on_barrier)(struct joined *pair, uint32_t channel, uint64_t round);
	int (*on_message)(struct joined *pair, const void *data, size_t length);
	void *opaque;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct pair_event event[PAIR_EVENTS_MAX];
	uint32_t events;
	uint64_t round[FABRIC_CHANNELS_MAX]; /* the last of each channel's barriers */
	int lost[FABRIC_CHANNELS_MAX];       /* code, 0: it is not */
};

/* pair_open() -- memory and sink; pair_connect() -- the source, which must succeed; pair_new() -- both */
struct joined *pair_open(const struct fabric_ops *ops, uint32_t channels);
void pair_connect(struct joined *pair);
struct joined *pair_new(const struct fabric_ops *ops, uint32_t channels);
void pair_free(struct joined *pair);

/* of the pairs that are made from now on */
extern enum decant_zero_copy pair_zero_copy;

/* pair_has_rails() -- false, and the reason printed, if the fabric needs a device and this host has none */
bool pair_has_rails(const struct fabric_ops *ops);

/* pair_share() -- let the source send from here; pair_connect() does it for both regions */
void pair_share(struct joined *pair, uint8_t *memory, uint64_t length);

/* pair_expose() -- one granule of the sink's memory */
void pair_expose(struct joined *pair, uint32_t region, uint64_t granule);

/* pair_fill() -- the source's memory with what only @seed gives */
void pair_fill(struct joined *pair, uint64_t seed);

/* pair_post() -- a write from @data, waiting while the fabric is full: 0 or why it is lost */
int pair_post(struct joined *pair, uint32_t channel, uint32_t region, uint64_t offset, uint32_t length,
	      const void *data);
/* pair_write() -- the same from the source's memory at the same offset; must succeed */
void pair_write(struct joined *pair, uint32_t channel, uint32_t region, uint64_t offset, uint32_t length);
int pair_message(struct joined *pair, const void *data, size_t length);
int pair_post_barrier(struct joined *pair, uint64_t round);

/* pair_await_round(), pair_await_lost() -- until all channels, or @channel, have reported; fail the test if they never do */
void pair_await_round(struct joined *pair, uint64_t round);
int pair_await_lost(struct joined *pair, uint32_t channel);
/* pair_barrier() -- post one and wait for it; must succeed */
void pair_barrier(struct joined *pair, uint64_t round);
/* pair_await_failure() -- writes on @channel until the source fails, and returns the code */
int pair_await_failure(struct joined *pair, uint32_t channel);
uint32_t pair_events(struct joined *pair);

/* pair_random() -- the next of a sequence */
uint64_t pair_random(uint64_t *state);

#endif
