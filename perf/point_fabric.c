/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * point_fabric.c -- one fabric, through the public API: a migration of a guest that never runs
 *
 * The whole engine takes part: hello, extents, zero scan, registration by granule, barrier, hand-over. What is reported is
 * pass 1, by the library's own stamps: from the first look for data until the destination has acknowledged the barrier.
 */
#include "idle.h"
#include "point.h"
#include "quiet.h"

#include "util/clock.h"
#include "util/thread.h"
#include <decant/migration.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the two ends ---- */

static int receiver_open(const struct point_opts *opts, const char *listen_on, struct decant_receiver **receiver,
			 struct decant_error *err)
{
	struct decant_receiver_opts receiver_opts = DECANT_RECEIVER_OPTS_INIT;

	receiver_opts.listen = listen_on;
	receiver_opts.log = opts->log;
	return decant_receiver_new(&receiver_opts, idle_ops(), NULL, receiver, err);
}

static int receiver_serve(struct decant_receiver *receiver, struct decant_error *err)
{
	struct decant_memory *memory;
	int rc = decant_receiver_run(receiver, &memory, err);

	if (rc < 0)
		return rc;
	rc = quiet_check(memory, err);
	decant_memory_free(memory);
	return rc;
}

static void take_stats(struct decant_migration *migration, struct point_result *result)
{
	struct decant_stats stats = { .size = sizeof(stats) };

	decant_migration_get_stats(migration, &stats);
	result->bytes = stats.pass[0].bytes;
	result->ns = stats.pass[0].ns;
	result->setup_ns = stats.setup_ns;
	result->streams = stats.channels;
	snprintf(result->fabric, sizeof(result->fabric), "%s", stats.fabric);
}

static int migrate(const struct point_opts *opts, const char *peer, struct decant_memory *memory,
		   struct point_result *result, struct decant_error *err)
{
	struct decant_migration_opts migration_opts = DECANT_MIGRATION_OPTS_INIT;
	struct decant_migration *migration;
	uint64_t cpu_ns;
	int rc;

	migration_opts.peer = peer;
	migration_opts.name = "bench";
	migration_opts.fabric = opts->fabric;
	migration_opts.channels = opts->streams;
	migration_opts.zero_copy = opts->zero_copy;
	migration_opts.zero_scan = opts->zero_scan;
	migration_opts.peer_timeout_ns = 30 * NSEC_PER_SEC;
	migration_opts.log = opts->log;
	rc = decant_migration_new(&migration_opts, idle_ops(), NULL, memory, &migration, err);
	if (rc < 0)
		return rc;
	cpu_ns = point_cpu_ns();
	rc = decant_migration_run(migration, err);
	result->cpu_ns = point_cpu_ns() - cpu_ns;
	take_stats(migration, result);
	decant_migration_free(migration);
	return rc;
}

static int send_guest(const struct point_opts *opts, const char *peer, struct point_result *result,
		      struct decant_error *err)
{
	struct decant_memory *memory;
	int rc = quiet_new(opts->length, opts->page_size, &memory, err);

	if (rc < 0)
		return rc;
	quiet_fill(memory);
	rc = migrate(opts, peer, memory, result, err);
	decant_memory_free(memory);
	return rc;
}

static int receive_guest(const struct point_opts *opts, struct decant_error *err)
{
	struct decant_receiver *receiver;
	int rc = receiver_open(opts, opts->address, &receiver, err);

	if (rc < 0)
		return rc;
	point_listening(decant_receiver_port(receiver));
	rc = receiver_serve(receiver, err);
	decant_receiver_free(receiver);
	return rc;
}

/* ---- both ends in one process ---- */

struct other_end {
	struct decant_receiver *receiver;
	struct decant_error err;
	int rc;
};

static void *other_end_main(void *arg)
{
	struct other_end *end = arg;

	end->rc = receiver_serve(end->receiver, &end->err);
	return NULL;
}

static int send_to_self(const struct point_opts *opts, struct other_end *end, struct point_result *result,
			struct decant_error *err)
{
	pthread_t thread;
	char peer[32];
	int rc = thread_start(&thread, "bench-receive", other_end_main, end);

	if (rc < 0)
		return decant_error_set(err, rc, "thread: %s", strerror(-rc));
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", decant_receiver_port(end->receiver));
	rc = send_guest(opts, peer, result, err);
	if (rc < 0)
		decant_receiver_stop(end->receiver);
	pthread_join(thread, NULL);
	if (rc == 0 && end->rc < 0) {
		rc = end->rc;
		if (err != NULL)
			*err = end->err;
	}
	return rc;
}

static int both_ends(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	struct other_end end = { .err = DECANT_ERROR_INIT };
	int rc = receiver_open(opts, "127.0.0.1:0", &end.receiver, err);

	if (rc < 0)
		return rc;
	rc = send_to_self(opts, &end, result, err);
	decant_receiver_free(end.receiver);
	return rc;
}

int point_fabric(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	switch (opts->role) {
	case POINT_SEND:
		return send_guest(opts, opts->address, result, err);
	case POINT_RECEIVE:
		return receive_guest(opts, err);
	case POINT_BOTH:
		return both_ends(opts, result, err);
	}
	return -EINVAL;
}
