/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checker.h -- the only program of a Linux guest that migrates: three workers who go on all the time, and each checks what it did before
 *
 * Each worker is a thread and counts its rounds. What one finds wrong is told at once on the console as "BAD worker: what", and is
 * the verdict. Once all is to be judged, the workers end their round, and each looks through everything that it has.
 */
#ifndef CHECKER_H
#define CHECKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum checker_job {
	CHECKER_MEMORY,
	CHECKER_FILES,
	CHECKER_STREAM,
	CHECKER_JOBS,
};

struct checker {
	/* set at the beginning, read-only after */
	size_t memory_bytes;
	const char *peer_address;
	uint16_t peer_port;

	_Atomic uint64_t rounds[CHECKER_JOBS];
	atomic_bool judging;
	atomic_bool bad;
};

/* One console line, whole, whoever else prints. */
__attribute__((format(printf, 1, 2))) void checker_say(const char *format, ...);

/* Says "BAD job: what", and makes the verdict bad. */
__attribute__((format(printf, 3, 4))) void checker_bad(struct checker *checker, enum checker_job job,
						       const char *format, ...);

/* A number that only these two give, for all practical purposes. */
uint64_t checker_mix(uint64_t a, uint64_t b);

void checker_nap(unsigned int milliseconds);

/* Threads; each ends soon after @judging, having looked through all that it has. */
void *checker_memory(void *checker);
void *checker_files(void *checker);
void *checker_stream(void *checker);

#endif /* CHECKER_H */
