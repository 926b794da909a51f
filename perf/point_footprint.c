/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * point_footprint.c -- what decant's memory grows to beside a large guest that is nearly all holes
 *
 * Of the guest a few pieces have data, far from each other. Guest memory is shared memory, which the kernel counts apart from a process's
 * other memory, so the rest is what decant needs: its tables, buffers and stacks, and the program itself. It is read when state is saved and
 * loaded, in a migration at its most. Each end has a process of its own, and tells of itself.
 */
#include "idle.h"
#include "point.h"
#include "quiet.h"

#include "util/clock.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PIECE ((uint64_t)1 << 20)
#define PIECES 64u

/* "RssAnon" or "RssFile" of this process, bytes; 0: the kernel does not tell */
static uint64_t resident(const char *what)
{
	FILE *status = fopen("/proc/self/status", "re");
	const size_t length = strlen(what);
	uint64_t kib = 0;
	char line[128];

	while (status != NULL && kib == 0 && fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, what, length) == 0)
			sscanf(line + length, ": %" SCNu64, &kib);
	if (status != NULL)
		fclose(status);
	return kib << 10;
}

static void note(void *opaque)
{
	uint64_t *most = opaque;
	const uint64_t now = resident("RssAnon") + resident("RssFile");

	if (now > *most)
		*most = now;
}

static int sparse_new(uint64_t length, struct decant_memory **memory, struct decant_error *err)
{
	struct decant_region region = DECANT_REGION_INIT;
	int rc = decant_memory_new(memory, err);

	if (rc < 0)
		return rc;
	snprintf(region.name, sizeof(region.name), "ram0");
	region.length = length;
	rc = decant_memory_allocate(*memory, &region, err);
	if (rc < 0) {
		decant_memory_free(*memory);
		return rc;
	}
	for (uint64_t i = 0; i < PIECES; i++)
		quiet_mark(*memory, length / PIECES * i, PIECE);
	return 0;
}

static int sparse_check(const struct decant_memory *memory, struct decant_error *err)
{
	const uint64_t length = decant_memory_bytes(memory);
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < PIECES; i++)
		rc = quiet_check_marks(memory, length / PIECES * i, PIECE, err);
	return rc;
}

static int send_sparse(const struct point_opts *opts, struct idle *idle, struct decant_memory *memory,
		       struct point_result *result, struct decant_error *err)
{
	struct decant_migration_opts migration_opts = DECANT_MIGRATION_OPTS_INIT;
	struct decant_stats stats = { .size = sizeof(stats) };
	struct decant_migration *migration;
	int rc;

	migration_opts.peer = opts->address;
	migration_opts.name = "bench";
	migration_opts.fabric = opts->fabric;
	migration_opts.channels = opts->streams;
	migration_opts.peer_timeout_ns = 30 * NSEC_PER_SEC;
	migration_opts.log = opts->log;
	rc = decant_migration_new(&migration_opts, idle_ops(), idle, memory, &migration, err);
	if (rc < 0)
		return rc;
	rc = decant_migration_run(migration, err);
	decant_migration_get_stats(migration, &stats);
	result->bytes = stats.pass[0].bytes;
	result->ns = stats.pass[0].ns;
	result->streams = stats.channels;
	snprintf(result->fabric, sizeof(result->fabric), "%s", stats.fabric);
	decant_migration_free(migration);
	return rc;
}

static int receive_sparse(const struct point_opts *opts, struct idle *idle, struct decant_error *err)
{
	struct decant_receiver_opts receiver_opts = DECANT_RECEIVER_OPTS_INIT;
	struct decant_receiver *receiver;
	struct decant_memory *memory;
	int rc;

	receiver_opts.listen = opts->address;
	receiver_opts.max_memory = opts->length; /* holes need none */
	receiver_opts.log = opts->log;
	rc = decant_receiver_new(&receiver_opts, idle_ops(), idle, &receiver, err);
	if (rc < 0)
		return rc;
	point_listening(decant_receiver_port(receiver));
	rc = decant_receiver_run(receiver, &memory, err);
	if (rc == 0) {
		rc = sparse_check(memory, err);
		decant_memory_free(memory);
	}
	decant_receiver_free(receiver);
	return rc;
}

int point_footprint(const struct point_opts *opts, struct point_result *result, struct decant_error *err)
{
	struct idle idle = { .fresh = true, .note = note, .opaque = &result->footprint };
	struct decant_memory *memory;
	int rc;

	if (opts->role == POINT_BOTH || opts->page_size != DECANT_PAGE_SIZE || opts->length < 2 * PIECES * PIECE)
		return decant_error_set(err, -EINVAL,
					"footprint: an end in a process of its own, 4K pages, 128M or more");
	if (opts->role == POINT_RECEIVE)
		return receive_sparse(opts, &idle, err);
	rc = sparse_new(opts->length, &memory, err);
	if (rc < 0)
		return rc;
	rc = send_sparse(opts, &idle, memory, result, err);
	decant_memory_free(memory);
	return rc;
}
