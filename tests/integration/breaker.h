/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * breaker.h -- the fabric "rdma" of the scenarios: one with rails, that fails where a scenario says
 *
 * It wraps a fabric at the boundary of struct fabric_ops and brings its own fabric_find(), which a test program that links it
 * gets instead of the library's. What it wraps is the program's choice: breaker_tcp.c, TCP with rails that are made up, for any
 * machine; breaker_rdma.c, RDMA itself. One migration at a time.
 */
#ifndef INTEGRATION_BREAKER_H
#define INTEGRATION_BREAKER_H

#include "fabric/fabric.h"

enum breaker_fault {
	BREAKER_RAILS,   /* a host has none */
	BREAKER_PAIR,    /* none reaches another */
	BREAKER_OPEN,    /* the destination cannot listen */
	BREAKER_CONNECT, /* the source cannot connect */
	BREAKER_MAP,     /* the source cannot register a granule */
	BREAKER_EXPOSE,  /* the destination cannot */
	BREAKER_WRITE,   /* the source's channels break; counts bytes */
	BREAKER_FAULTS,
};

struct breaker_counts {
	uint32_t sources, sinks;         /* that are open now */
	uint64_t maps, exposes;          /* granules registered so far, at both ends */
	uint64_t maps_paused;            /* of all those, begun between breaker_paused(true) and (false) */
	uint64_t paired;                 /* calls of pair() that succeeded */
	char rails[64];                  /* what the last pair() was asked for; "" any */
	int near_node;                   /* the same */
	uint32_t losses[BREAKER_FAULTS]; /* times that it failed */
};

/* breaker_reset() -- nothing is to fail, nothing is counted; what is open stays counted */
void breaker_reset(void);

/* breaker_arm() -- let so many pass, then fail: that one and, where a channel broke, all that follow on it */
void breaker_arm(enum breaker_fault fault, uint64_t after);

/* breaker_code() -- fail with this errno, not with that fault's own, until breaker_reset() */
void breaker_code(enum breaker_fault fault, int code);

/* breaker_hardware() -- of TCP with rails: say that they are hardware */
void breaker_hardware(bool hardware);

/* breaker_slow_map() -- registering at the source takes so much longer */
void breaker_slow_map(unsigned ms);

void breaker_paused(bool paused);
void breaker_counts(struct breaker_counts *counts);

/* breaker_base() -- what is wrapped; one of breaker_*.c */
const struct fabric_ops *breaker_base(void);

/* for breaker_tcp.c */
bool breaker_is_hardware(void);

#endif
