/* SPDX-License-Identifier: BSD-2-Clause */
/* observe.h -- looks at a stress guest from outside: in the file of its memory, whichever program runs it */
#ifndef PERF_OBSERVE_H
#define PERF_OBSERVE_H

#include "guest/stress.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- the memory ---- */

/* The status page of a guest, mapped read-only. */
struct observe_memory {
	const volatile struct stress_status *status; /* NULL: not found yet */
	void *address;
	size_t length;
};

/*
 * observe_memory_find() -- map the status page of the guest whose memory is @where
 *
 * @where: a path, as of QEMU's memory-backend-file, or PID:NAME, the memfd NAME of a process.
 * Returns 0, -ENOENT: not there yet, -EINVAL: cannot be such a memory, or what open(2) and mmap(2) say.
 */
int observe_memory_find(struct observe_memory *memory, const char *where, struct decant_error *err);
void observe_memory_drop(struct observe_memory *memory);

/* What the guest's counters were at one look. */
struct observe_look {
	uint64_t at_ns;     /* CLOCK_MONOTONIC of the host where the memory is */
	uint64_t heartbeat; /* turns of all vCPUs */
	uint64_t work;      /* pages stamped by all of them */
};

/* observe_memory_look() -- all zeros, less the time, as long as no memory is found */
struct observe_look observe_memory_look(const struct observe_memory *memory);

/* ---- what there was to see ---- */

/* A list of looks that grows. */
struct observe_series {
	struct observe_look *look;
	size_t count, room;
};

/* observe_series_add() -- 0 or -ENOMEM */
int observe_series_add(struct observe_series *series, const struct observe_look *look);
void observe_series_free(struct observe_series *series);

/* ---- CPU time ---- */

struct observe_cpu;

/* observe_cpu_new() -- of the threads of @pid from now on; 0 or -ENOMEM */
int observe_cpu_new(int pid, struct observe_cpu **cpu_ptr);

/* observe_cpu_sample() -- call it often: what a thread has used since the last call before it ended is not seen */
void observe_cpu_sample(struct observe_cpu *cpu);

/* observe_cpu_print() -- {"THREAD'S NAME": seconds, ...}; threads of one name together */
void observe_cpu_print(FILE *out, const struct observe_cpu *cpu);
void observe_cpu_free(struct observe_cpu *cpu);

/* The whole host's, in seconds since it was started. */
struct observe_host_cpu {
	double user, system, softirq;
};

struct observe_host_cpu observe_host_cpu(void);

/* ---- the other host ---- */

/* What the destination's observer sends. Little-endian, as all hosts are that this runs on. */
struct observe_frame {
	uint32_t kind;
	uint32_t reserved;
	struct observe_look look;
};

enum observe_kind {
	OBSERVE_CLOCK = 1, /* answers a byte of the source's; only at_ns counts */
	OBSERVE_LOOK = 2,
};

/* observe_peer_listen() -- say "listening PORT" on stdout, and await the source's observer; a descriptor or -errno */
int observe_peer_listen(const char *address, struct decant_error *err);

/* observe_peer_serve() -- answer what is asked; true: the source's observer wants no more */
bool observe_peer_serve(int fd);

/* observe_peer_send() -- one look; 0 or -errno */
int observe_peer_send(int fd, const struct observe_look *look);

/* The source's end. */
struct observe_peer {
	int fd;
	int64_t ahead_ns; /* of the destination's clock before ours */
	uint64_t error_ns;
	unsigned char partial[sizeof(struct observe_frame)];
	size_t have;
};

/* observe_peer_connect() -- connect, and match the clocks; 0 or -errno */
int observe_peer_connect(struct observe_peer *peer, const char *address, struct decant_error *err);

/* observe_peer_look() -- the next look that has come, in our clock: 1, or 0: none; -errno: the peer is gone */
int observe_peer_look(struct observe_peer *peer, struct observe_look *look);
void observe_peer_close(struct observe_peer *peer);

#endif
