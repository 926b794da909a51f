/* SPDX-License-Identifier: BSD-2-Clause */
/* rdma.h -- the functions of the RDMA fabric's table, and what both ends share; fabric/fabric.h documents them */
#ifndef FABRIC_RDMA_RDMA_H
#define FABRIC_RDMA_RDMA_H

#include "fabric/fabric.h"

/* The engine's stripe: no run is longer. A device that takes less gets it in pieces. */
#define RDMA_WRITE_MAX (2u << 20)

/* Where a sink listens: a port per rail, in the order of the pairs. */
struct rdma_ports {
	uint32_t count;
	uint16_t port[FABRIC_PAIRS_MAX];
};

void rdma_ports_encode(const struct rdma_ports *ports, struct fabric_address *address);
int rdma_ports_decode(const struct fabric_address *address, struct rdma_ports *ports, struct decant_error *err);

int rdma_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **sink, struct decant_error *err);
void rdma_sink_address(const struct fabric_sink *sink, struct fabric_address *address);
int rdma_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		     uint64_t *rkey, struct decant_error *err);
void rdma_sink_fence(struct fabric_sink *sink);
uint64_t rdma_sink_cpu_ns(const struct fabric_sink *sink);
void rdma_sink_close(struct fabric_sink *sink);

int rdma_source_connect(const struct fabric_source_opts *opts, struct fabric_source **source,
			struct decant_error *err);
int rdma_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
		    struct decant_error *err);
int rdma_source_write(struct fabric_source *source, const struct fabric_write *write);
int rdma_source_flush(struct fabric_source *source);
int rdma_source_barrier(struct fabric_source *source, uint64_t round);
int rdma_source_message(struct fabric_source *source, const void *data, size_t length);
int rdma_source_wait(struct fabric_source *source, uint64_t timeout_ns);
uint64_t rdma_source_pending(const struct fabric_source *source);
void rdma_source_last_error(const struct fabric_source *source, struct decant_error *err);
void rdma_source_stats(const struct fabric_source *source, struct fabric_source_stats *stats);
void rdma_source_stop(struct fabric_source *source);
void rdma_source_close(struct fabric_source *source);

#endif
