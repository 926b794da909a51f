/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * point_begin.c -- how long a migration takes until the first byte of guest memory is given to the network
 *
 * All of the source's memory has data; the destination's is fresh, as it is when a VM moves to another host. Both ends are in this
 * process, over loopback TCP. As soon as there is a first byte the migration is called off: the rest is no part of the figure. It is a
 * matter of a few milliseconds, so the median of several is told.
 */
#include "idle.h"
#include "point.h"
#include "quiet.h"

#include "util/clock.h"
#include "util/thread.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMES 9u

struct begin {
	struct idle idle;
	struct decant_receiver *receiver;
	struct decant_migration *migration;
	pthread_t thread;
};

static void *take_in(void *arg)
{
	struct begin *begin = arg;
	struct decant_memory *memory;

	if (decant_receiver_run(begin->receiver, &memory, NULL) == 0)
		decant_memory_free(memory);
	return NULL;
}

static void call_off(void *opaque, const struct decant_stats *stats)
{
	const struct begin *begin = opaque;

	if (stats->setup_ns != 0)
		decant_migration_cancel(begin->migration);
}

static int migrate(const struct point_opts *opts, struct begin *begin, struct decant_memory *memory,
		   struct point_result *result, struct decant_error *err)
{
	struct decant_migration_opts migration_opts = DECANT_MIGRATION_OPTS_INIT;
	struct decant_stats stats = { .size = sizeof(stats) };
	char peer[32];
	int rc;

	snprintf(peer, sizeof(peer), "127.0.0.1:%u", decant_receiver_port(begin->receiver));
	migration_opts.peer = peer;
	migration_opts.name = "bench";
	migration_opts.fabric = opts->fabric;
	migration_opts.channels = opts->streams;
	migration_opts.peer_timeout_ns = 30 * NSEC_PER_SEC;
	migration_opts.log = opts->log;
	migration_opts.progress = call_off;
	migration_opts.opaque = begin;
	rc = decant_migration_new(&migration_opts, idle_ops(), &begin->idle, memory, &begin->migration, err);
	if (rc < 0)
		return rc;
	rc = decant_migration_run(begin->migration, err);
	decant_migration_get_stats(begin->migration, &stats);
	result->ns = result->setup_ns = stats.setup_ns;
	result->bytes = stats.sent_bytes;
	result->streams = stats.channels;
	snprintf(result->fabric, sizeof(result->fabric), "%s", stats.fabric);
	decant_migration_free(begin->migration);
	return rc == -ECANCELED && stats.setup_ns != 0 ? 0 : rc;
}

static int with_receiver(const struct point_opts *opts, struct decant_memory *memory, struct point_result *result,
			 struct decant_error *err)
{
	struct decant_receiver_opts receiver_opts = DECANT_RECEIVER_OPTS_INIT;
	struct begin begin = { .idle.fresh = true };
	int rc;

	receiver_opts.listen = "127.0.0.1:0";
	receiver_opts.log = opts->log;
	rc = decant_receiver_new(&receiver_opts, idle_ops(), &begin.idle, &begin.receiver, err);
	if (rc < 0)
		return rc;
	rc = thread_start(&begin.thread, "bench-receive", take_in, &begin);
	if (rc < 0) {
		decant_error_set(err, rc, "thread: %s", strerror(-rc));
	} else {
		rc = migrate(opts, &begin, memory, result, err);
		decant_receiver_stop(begin.receiver);
		pthread_join(begin.thread, NULL);
	}
	decant_receiver_free(begin.receiver);
	return rc;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int begin_often(const struct point_opts *opts, struct decant_memory *memory, struct point_result *result,
		       struct decant_error *err)
{
	uint64_t ns[TIMES];
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < TIMES; i++) {
		rc = with_receiver(opts, memory, result, err);
		ns[i] = result->setup_ns;
	}
	if (rc < 0)
		return rc;
	qsort(ns, TIMES, sizeof(ns[0]), by_number);
	result->ns = result->setup_ns = ns[TIMES / 2];
	return 0;
}

int point_begin(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	struct decant_memory *memory;
	int rc;

	if (opts->role != POINT_BOTH)
		return decant_error_set(err, -EINVAL, "begin: both ends are in one process");
	rc = quiet_new(opts->length, opts->page_size, &memory, err);
	if (rc < 0)
		return rc;
	quiet_mark(memory, 0, opts->length);
	rc = begin_often(opts, memory, result, err);
	decant_memory_free(memory);
	return rc;
}
