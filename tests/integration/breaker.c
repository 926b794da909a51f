/* SPDX-License-Identifier: BSD-2-Clause */
/* breaker.c -- a fabric with rails that fails where a scenario says */
#include "integration/breaker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

#define NEVER UINT64_MAX
#define USE_SECONDS 30

static struct {
	pthread_mutex_t lock;
	pthread_cond_t written;
	uint64_t left[BREAKER_FAULTS]; /* that pass before it fails; NEVER */
	bool later[BREAKER_FAULTS];    /* it was armed to let some pass */
	int code[BREAKER_FAULTS];      /* 0: breaker_codes */
	uint64_t writes;
	struct breaker_counts counts;
	bool hardware;
	bool paused;
	bool broken; /* the source's channels */
	unsigned slow_map_ms;
} breaker = { .lock = PTHREAD_MUTEX_INITIALIZER, .written = PTHREAD_COND_INITIALIZER };

static const char *const breaker_texts[BREAKER_FAULTS] = {
	[BREAKER_RAILS] = "no RDMA device: the breaker has taken it out",
	[BREAKER_PAIR] = "no rail reaches another: the breaker has cut them",
	[BREAKER_OPEN] = "the breaker lets nobody listen",
	[BREAKER_CONNECT] = "the breaker lets nobody connect",
	[BREAKER_MAP] = "the breaker registers no more memory at the source",
	[BREAKER_EXPOSE] = "the breaker registers no more memory at the destination",
	[BREAKER_WRITE] = "the breaker has broken the channels",
};

static const int breaker_codes[BREAKER_FAULTS] = {
	[BREAKER_RAILS] = -ENODEV,       [BREAKER_PAIR] = -ENETUNREACH,
	[BREAKER_OPEN] = -EADDRNOTAVAIL, [BREAKER_CONNECT] = -ECONNREFUSED,
	[BREAKER_MAP] = -ENOMEM,         [BREAKER_EXPOSE] = -ENOMEM,
	[BREAKER_WRITE] = -EIO,
};

void breaker_reset(void)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	for (int i = 0; i < BREAKER_FAULTS; i++)
		breaker.left[i] = NEVER;
	memset(breaker.code, 0, sizeof(breaker.code));
	breaker.counts = (struct breaker_counts){ .sources = breaker.counts.sources,
						  .sinks = breaker.counts.sinks };
	breaker.hardware = breaker.paused = false;
	breaker.slow_map_ms = 0;
	breaker.writes = 0;
}

void breaker_arm(enum breaker_fault fault, uint64_t after)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.left[fault] = after;
	breaker.later[fault] = after > 0;
}

void breaker_code(enum breaker_fault fault, int code)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.code[fault] = code;
}

void breaker_hardware(bool hardware)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.hardware = hardware;
}

bool breaker_is_hardware(void)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	return breaker.hardware;
}

void breaker_slow_map(unsigned ms)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.slow_map_ms = ms;
}

void breaker_paused(bool paused)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.paused = paused;
}

void breaker_counts(struct breaker_counts *counts)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	*counts = breaker.counts;
}

/* 0, or the fault that is due */
static int strike(enum breaker_fault fault, uint64_t amount, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	if (breaker.left[fault] == NEVER || breaker.left[fault] >= amount) {
		if (breaker.left[fault] != NEVER)
			breaker.left[fault] -= amount;
		return 0;
	}
	breaker.counts.losses[fault]++;
	return decant_error_set(err, breaker.code[fault] != 0 ? breaker.code[fault] : breaker_codes[fault], "%s",
				breaker_texts[fault]);
}

/* A registration that is to fail after others holds still until those have been of use: whatever the machine is busy with. */
static void await_use(enum breaker_fault fault)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += USE_SECONDS;
	DECANT_AUTO_UNLOCK(&breaker.lock);
	if (breaker.left[fault] == 0 && breaker.later[fault])
		while (breaker.writes == 0 && pthread_cond_timedwait(&breaker.written, &breaker.lock, &until) == 0)
			;
}

/* ---- rails ---- */

static int breaker_rails(struct fabric_rail *rails, uint32_t max, struct decant_error *err)
{
	const int rc = strike(BREAKER_RAILS, 1, err);

	return rc < 0 ? rc : breaker_base()->rails(rails, max, err);
}

static int breaker_pair(const struct fabric_pair_opts *opts, struct fabric_pair *pairs, struct decant_error *err)
{
	int rc = strike(BREAKER_PAIR, 1, err);

	if (rc == 0)
		rc = breaker_base()->pair(opts, pairs, err);
	DECANT_AUTO_UNLOCK(&breaker.lock);
	snprintf(breaker.counts.rails, sizeof(breaker.counts.rails), "%s", opts->rails != NULL ? opts->rails : "");
	breaker.counts.near_node = opts->near_node;
	breaker.counts.paired += rc > 0;
	return rc;
}

/* ---- the sink ---- */

static int breaker_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **sink,
			     struct decant_error *err)
{
	int rc = strike(BREAKER_OPEN, 1, err);

	if (rc == 0 && (opts->rail_count == 0 || opts->rails[0].device[0] == '\0'))
		rc = decant_error_set(err, -EINVAL, "the sink was given no rails");
	if (rc == 0)
		rc = breaker_base()->sink_open(opts, sink, err);
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.counts.sinks += rc == 0;
	return rc;
}

static void count_registration(uint64_t *counter)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	++*counter;
	breaker.counts.maps_paused += breaker.paused;
}

static int breaker_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length,
			       void *memory, uint64_t *rkey, struct decant_error *err)
{
	int rc;

	await_use(BREAKER_EXPOSE);
	rc = strike(BREAKER_EXPOSE, 1, err);
	if (rc < 0)
		return rc;
	count_registration(&breaker.counts.exposes);
	return breaker_base()->sink_expose(sink, region, offset, length, memory, rkey, err);
}

static void breaker_sink_close(struct fabric_sink *sink)
{
	breaker_base()->sink_close(sink);
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.counts.sinks -= sink != NULL;
}

/* ---- the source ---- */

static bool is_broken(void)
{
	DECANT_AUTO_UNLOCK(&breaker.lock);
	return breaker.broken;
}

static int breaker_source_connect(const struct fabric_source_opts *opts, struct fabric_source **source,
				  struct decant_error *err)
{
	int rc = strike(BREAKER_CONNECT, 1, err);

	if (rc == 0 && opts->pair_count == 0)
		rc = decant_error_set(err, -EINVAL, "the source was given no rails");
	if (rc == 0)
		rc = breaker_base()->source_connect(opts, source, err);
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.broken = false;
	breaker.counts.sources += rc == 0;
	return rc;
}

static int breaker_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
			      struct decant_error *err)
{
	unsigned ms;
	int rc;

	await_use(BREAKER_MAP);
	rc = strike(BREAKER_MAP, 1, err);
	if (rc < 0)
		return rc;
	count_registration(&breaker.counts.maps);
	{
		DECANT_AUTO_UNLOCK(&breaker.lock);
		ms = breaker.slow_map_ms;
	}
	usleep(ms * 1000);
	return breaker_base()->source_map(source, memory, length, lkey, err);
}

static int breaker_source_write(struct fabric_source *source, const struct fabric_write *write)
{
	int rc = is_broken() ? -EIO : 0;

	if (rc == 0)
		rc = breaker_base()->source_write(source, write);
	if (rc == 0) {
		DECANT_AUTO_UNLOCK(&breaker.lock);
		breaker.writes++;
		pthread_cond_broadcast(&breaker.written);
	}
	/* what has been taken is on its way, whatever becomes of the channels */
	if (rc == 0 && strike(BREAKER_WRITE, write->length, NULL) < 0) {
		DECANT_AUTO_UNLOCK(&breaker.lock);
		breaker.broken = true;
	}
	return rc;
}

static int breaker_source_flush(struct fabric_source *source)
{
	return is_broken() ? -EIO : breaker_base()->source_flush(source);
}

static int breaker_source_barrier(struct fabric_source *source, uint64_t round)
{
	return is_broken() ? -EIO : breaker_base()->source_barrier(source, round);
}

static int breaker_source_message(struct fabric_source *source, const void *data, size_t length)
{
	return is_broken() ? -EIO : breaker_base()->source_message(source, data, length);
}

static int breaker_source_wait(struct fabric_source *source, uint64_t timeout_ns)
{
	return is_broken() ? -EIO : breaker_base()->source_wait(source, timeout_ns);
}

static void breaker_source_last_error(const struct fabric_source *source, struct decant_error *err)
{
	if (is_broken())
		decant_error_set(err, -EIO, "%s", breaker_texts[BREAKER_WRITE]);
	else
		breaker_base()->source_last_error(source, err);
}

static void breaker_source_close(struct fabric_source *source)
{
	breaker_base()->source_close(source);
	DECANT_AUTO_UNLOCK(&breaker.lock);
	breaker.counts.sources -= source != NULL;
}

/* ---- the table ---- */

static struct fabric_ops breaker_ops;

static void make_ops(void)
{
	breaker_ops = *breaker_base();
	breaker_ops.name = "rdma";
	breaker_ops.rails = breaker_rails;
	breaker_ops.pair = breaker_pair;
	breaker_ops.sink_open = breaker_sink_open;
	breaker_ops.sink_expose = breaker_sink_expose;
	breaker_ops.sink_close = breaker_sink_close;
	breaker_ops.source_connect = breaker_source_connect;
	breaker_ops.source_map = breaker_source_map;
	breaker_ops.source_write = breaker_source_write;
	breaker_ops.source_flush = breaker_source_flush;
	breaker_ops.source_barrier = breaker_source_barrier;
	breaker_ops.source_message = breaker_source_message;
	breaker_ops.source_wait = breaker_source_wait;
	breaker_ops.source_last_error = breaker_source_last_error;
	breaker_ops.source_close = breaker_source_close;
}

const struct fabric_ops *fabric_find(const char *name)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_ops);
	if (strcmp(name, "rdma") == 0)
		return &breaker_ops;
	if (strcmp(name, "tcp") == 0)
		return &fabric_tcp_ops;
	return strcmp(name, "loop") == 0 ? &fabric_loop_ops : NULL;
}
