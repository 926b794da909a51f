/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * point.h -- one measurement: what is asked for, and what came of it
 *
 * A point moves the whole of a quiet guest's memory once. Both ends are populated before the clock starts, and the
 * destination is compared with what the source was filled with after it has stopped: a fast wrong copy is an error.
 */
#ifndef PERF_POINT_H
#define PERF_POINT_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/migration.h>
#include <decant/mover.h>
#include <stdint.h>

enum point_role {
	POINT_SEND,
	POINT_RECEIVE,
	POINT_BOTH, /* both ends in this process */
};

struct point_opts {
	const char *name; /* which point */
	enum point_role role;
	const char *address; /* POINT_SEND: the peer's; POINT_RECEIVE: to listen on */
	const char *fabric;
	uint64_t length;    /* of the guest's memory, bytes */
	uint64_t page_size; /* behind it */
	uint32_t streams;   /* connections or channels; 0: as many as the fabric takes by itself */
	enum decant_zero_copy zero_copy;
	enum decant_zero_scan zero_scan;
	struct decant_log log;
};

struct point_result {
	uint64_t bytes; /* of guest memory moved in @ns; 0 at the receiving end, which has no clock of its own */
	uint64_t ns;
	uint64_t cpu_ns;   /* of this process meanwhile, the kernel's work for it included */
	uint64_t setup_ns; /* fabric: from the start to the first byte */
	char fabric[16];   /* that was really used */
	uint32_t streams;
	uint64_t footprint; /* of this process beside guest memory, bytes; 0: not measured */
};

/* Each fills *@result and returns 0, or -errno. All block. point_fabric: through libdecant's public API. */
int point_fabric(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
int point_socket(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
int point_bitmap_scan(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
int point_bitmap_read(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
int point_begin(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
int point_footprint(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
int point_memcpy(const struct point_opts *opts, struct point_result *result, struct decant_error *err);

/* point_listening() -- tell whoever started this end, on stdout, that a peer may come to @port */
void point_listening(uint16_t port);

/* point_cpu_ns() -- CPU time of this process so far */
uint64_t point_cpu_ns(void);

#endif
