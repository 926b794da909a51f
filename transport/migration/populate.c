/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * populate.c -- a pool of threads that touch memory ahead of the data
 *
 * Theory of operation
 * -------------------
 * A job is a range. The job at the head of the queue is cut up: whichever thread is free takes its next granule, and who
 * takes the last one removes the job. So all threads work on the oldest job, and the queue holds nothing per granule.
 *
 * MADV_POPULATE_WRITE allocates and maps the pages as a write would, but reports what would have been SIGBUS. It writes
 * nothing, so it may run on memory that others already use. Memory that a VMM has allocated beforehand is only looked at.
 */
#include "migration/populate.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migration/limit.h"
#include "migration/resident.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/placement.h"
#include "util/thread.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE_BYTES 4096u
#define NODE_ANY (-1)

struct job {
	struct job *next;
	char *address;
	uint64_t length;
	uint64_t granule;
	uint64_t taken; /* bytes handed out to threads */
	int node;
	populate_done_fn *done;
	populate_work_fn *work; /* instead of touching and done; NULL: those */
	void *opaque;
};

/* One granule of a job, for one thread. */
struct piece {
	char *address;
	uint64_t offset;
	uint64_t length;
	int node;
	populate_done_fn *done;
	populate_work_fn *work; /* instead of touching and done; NULL: those */
	void *opaque;
};

struct populate {
	/* set at creation, read-only after */
	unsigned threads;
	int resident_fd;

	pthread_mutex_t lock;
	pthread_cond_t work;

	/* protected by lock */
	struct job *head;
	struct job **tail;
	uint64_t cpu_ns;
	bool stop;

	pthread_t thread[];
};

/* The next granule of @job; true if it was the last. */
static bool cut_piece(struct job *job, struct piece *piece)
{
	uint64_t left = job->length - job->taken;

	piece->offset = job->taken;
	piece->length = left < job->granule ? left : job->granule;
	piece->address = job->address + job->taken;
	piece->node = job->node;
	piece->done = job->done;
	piece->work = job->work;
	piece->opaque = job->opaque;
	job->taken += piece->length;
	return job->taken == job->length;
}

int populate_touch(const struct populate *populate, void *address, uint64_t length)
{
	if (resident_all(populate->resident_fd, address, length))
		return 0;
	while (madvise(address, length, MADV_POPULATE_WRITE) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	return 0;
}

static void run_piece(const struct populate *populate, const struct piece *piece)
{
	if (piece->work != NULL)
		piece->work(piece->opaque, piece->address, piece->length);
	else
		piece->done(piece->opaque, piece->offset, piece->length,
			    populate_touch(populate, piece->address, piece->length));
}

static void drop_head(struct populate *populate)
{
	struct job *job = populate->head;

	populate->head = job->next;
	if (populate->head == NULL)
		populate->tail = &populate->head;
	free(job);
}

/* Blocks for work; false: the pool ends. */
static bool take_piece(struct populate *populate, struct piece *piece, uint64_t cpu_ns)
{
	DECANT_AUTO_UNLOCK(&populate->lock);
	populate->cpu_ns += cpu_ns;
	while (populate->head == NULL && !populate->stop)
		pthread_cond_wait(&populate->work, &populate->lock);
	if (populate->stop)
		return false;
	if (cut_piece(populate->head, piece))
		drop_head(populate);
	return true;
}

static void *populate_thread(void *opaque)
{
	struct populate *populate = opaque;
	struct piece piece;
	struct placement_scope scope;
	int node = NODE_ANY;
	uint64_t counted = 0;
	uint64_t cpu_ns = 0;

	placement_here(&scope);
	while (take_piece(populate, &piece, cpu_ns - counted)) {
		counted = cpu_ns;
		if (piece.node != node)
			placement_near(&scope, piece.node);
		node = piece.node;
		run_piece(populate, &piece);
		cpu_ns = clock_thread_cpu_ns();
	}
	return NULL;
}

static int start_thread(struct populate *populate)
{
	int rc = thread_start(&populate->thread[populate->threads], "decant-populate", populate_thread, populate);

	if (rc == 0)
		populate->threads++;
	return rc;
}

int populate_new(unsigned threads, struct populate **populate, struct decant_error *err)
{
	struct populate *made = calloc(1, sizeof(*made) + threads * sizeof(made->thread[0]));
	int ret;

	if (made == NULL)
		return decant_error_set(err, -ENOMEM, "populate: no memory for %u threads", threads);
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->work, NULL);
	made->tail = &made->head;
	made->resident_fd = resident_open();
	while (made->threads < threads) {
		ret = start_thread(made);
		if (ret < 0) {
			decant_error_set(err, ret, "populate: thread %u of %u: %s; see RLIMIT_NPROC and pids.max",
					 made->threads + 1, threads, strerror(-ret));
			populate_free(made);
			return ret;
		}
	}
	*populate = made;
	return 0;
}

static void run_job(const struct populate *populate, struct job *job)
{
	struct piece piece;
	bool last;

	do {
		last = cut_piece(job, &piece);
		run_piece(populate, &piece);
	} while (!last);
}

static void enqueue(struct populate *populate, struct job *job)
{
	DECANT_AUTO_UNLOCK(&populate->lock);
	*populate->tail = job;
	populate->tail = &job->next;
	pthread_cond_broadcast(&populate->work);
}

static int submit(struct populate *populate, struct job *job)
{
	struct job *queued;

	if (job->length == 0 || job->granule == 0 || job->granule % PAGE_BYTES != 0 ||
	    job->length % PAGE_BYTES != 0 || (uintptr_t)job->address % PAGE_BYTES != 0)
		return -EINVAL;
	if (populate->threads == 0) {
		run_job(populate, job);
		return 0;
	}
	queued = malloc(sizeof(*queued));
	if (queued == NULL)
		return -ENOMEM;
	*queued = *job;
	enqueue(populate, queued);
	return 0;
}

int populate_submit(struct populate *populate, void *address, uint64_t length, uint64_t granule, int node,
		    populate_done_fn *done, void *opaque)
{
	struct job job = {
		.address = address,
		.length = length,
		.granule = granule,
		.node = node,
		.done = done,
		.opaque = opaque,
	};

	return submit(populate, &job);
}

int populate_submit_work(struct populate *populate, void *address, uint64_t length, uint64_t granule, int node,
			 populate_work_fn *work, void *opaque)
{
	struct job job = {
		.address = address,
		.length = length,
		.granule = granule,
		.node = node,
		.work = work,
		.opaque = opaque,
	};

	return submit(populate, &job);
}

int populate_explain(struct decant_error *err, int code, const char *what, uint64_t length, uint64_t page_size)
{
	switch (code) {
	case 0:
		return 0;
	case -ENOMEM:
	case -EFAULT: /* what would have been SIGBUS: no huge page left, or over the limit of the hugetlb cgroup */
		return limit_explain(err, code, what, length, page_size);
	case -EHWPOISON:
		return decant_error_set(err, code,
					"%s: the host's memory has failed there; see the kernel's log for the page",
					what);
	default:
		return decant_error_set(err, code, "%s: madvise(MADV_POPULATE_WRITE) of %" PRIu64 " bytes: %s",
					what, length, strerror(-code));
	}
}

uint64_t populate_cpu_ns(struct populate *populate)
{
	DECANT_AUTO_UNLOCK(&populate->lock);
	return populate->cpu_ns;
}

static void stop_threads(struct populate *populate)
{
	DECANT_AUTO_UNLOCK(&populate->lock);
	populate->stop = true;
	pthread_cond_broadcast(&populate->work);
}

void populate_free(struct populate *populate)
{
	if (populate == NULL)
		return;
	stop_threads(populate);
	for (unsigned i = 0; i < populate->threads; i++)
		pthread_join(populate->thread[i], NULL);
	while (populate->head != NULL)
		drop_head(populate);
	if (populate->resident_fd >= 0)
		close(populate->resident_fd);
	pthread_cond_destroy(&populate->work);
	pthread_mutex_destroy(&populate->lock);
	free(populate);
}
