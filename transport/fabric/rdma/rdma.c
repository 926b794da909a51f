/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma.c -- the RDMA fabric: its table of operations, and the address that its sink gives
 *
 * Theory of operation
 * -------------------
 * A channel is a reliable connection between a rail of the source and one of the destination. The source's thread posts WRITEs
 * straight from guest memory and polls for their completions (rdma_source.c, channel.c); it has no thread of its own. At the
 * sink the device writes into guest memory and no CPU takes part, but for one thread that lets channels in and receives
 * barriers and messages (rdma_sink.c). Memory is registered by granule, at both ends by whoever calls, in parallel; its
 * address as the peer sees it is the offset in its region, so that no address of a process crosses the wire.
 *
 * One channel a rail by default: a NIC does what one queue pair gives it at line rate, and in software each costs a core.
 */
#include "fabric/rdma/rdma.h"

#include "fabric/rdma/rail.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PORTS_VERSION 1

const struct fabric_ops fabric_rdma_ops = {
	.name = "rdma",
	.default_channels = 1,
	.write_max = RDMA_WRITE_MAX,
	.relaxed = true,
	.write_cost_ns = 400,
	.rails = rail_list,
	.pair = rail_pair,
	.sink_open = rdma_sink_open,
	.sink_address = rdma_sink_address,
	.sink_expose = rdma_sink_expose,
	.sink_fence = rdma_sink_fence,
	.sink_cpu_ns = rdma_sink_cpu_ns,
	.sink_close = rdma_sink_close,
	.source_connect = rdma_source_connect,
	.source_map = rdma_source_map,
	.source_write = rdma_source_write,
	.source_flush = rdma_source_flush,
	.source_barrier = rdma_source_barrier,
	.source_message = rdma_source_message,
	.source_wait = rdma_source_wait,
	.source_pending = rdma_source_pending,
	.source_last_error = rdma_source_last_error,
	.source_stats = rdma_source_stats,
	.source_stop = rdma_source_stop,
	.source_close = rdma_source_close,
};

/* version, count, then each port in little-endian */
void rdma_ports_encode(const struct rdma_ports *ports, struct fabric_address *address)
{
	memset(address, 0, sizeof(*address));
	address->bytes[0] = PORTS_VERSION;
	address->bytes[1] = (uint8_t)ports->count;
	address->length = 2 + 2 * ports->count;
	for (uint32_t i = 0; i < ports->count; i++) {
		address->bytes[2 + 2 * i] = (uint8_t)ports->port[i];
		address->bytes[3 + 2 * i] = (uint8_t)(ports->port[i] >> 8);
	}
}

int rdma_ports_decode(const struct fabric_address *address, struct rdma_ports *ports, struct decant_error *err)
{
	const uint8_t *bytes = address->bytes;

	memset(ports, 0, sizeof(*ports));
	if (address->length < 2 || bytes[0] != PORTS_VERSION || bytes[1] < 1 || bytes[1] > FABRIC_PAIRS_MAX ||
	    address->length != 2u + 2u * bytes[1])
		return decant_error_set(err, -EPROTO,
					"rdma: the peer's address (%" PRIu32 " bytes) is none of ours",
					address->length);
	ports->count = bytes[1];
	for (uint32_t i = 0; i < ports->count; i++) {
		ports->port[i] = (uint16_t)(bytes[2 + 2 * i] | bytes[3 + 2 * i] << 8);
		if (ports->port[i] == 0)
			return decant_error_set(err, -EPROTO, "rdma: the peer's address has no port for rail %u",
						i);
	}
	return 0;
}
