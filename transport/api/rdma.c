/* SPDX-License-Identifier: BSD-2-Clause */
/* rdma.c -- the RDMA ports of this host, for those who only want to know */
#include "fabric/rdma/diagnose.h"
#include "fabric/rdma/limits.h"
#include "fabric/rdma/rail.h"
#include "fabric/rdma/sysfs.h"

#include <decant/rdma.h>
#include <stdio.h>
#include <string.h>

#define PORTS_MAX 64
#define RAILS_MAX 64

/* What the kernel shows, and what of it can be used: each may know a port that the other does not. */
struct api_rdma {
	struct sysfs_port ports[PORTS_MAX];
	uint32_t port_count;
	struct fabric_rail rails[RAILS_MAX];
	uint32_t rail_count;
};

static bool api_rdma_is_port(const struct fabric_rail *rail, const struct sysfs_port *port)
{
	return rail->port == port->port && strcmp(rail->device, port->device) == 0;
}

/* a port that can be used although sysfs does not show it, as where /sys is not mounted */
static void api_rdma_add(struct api_rdma *rdma, const struct fabric_rail *rail)
{
	struct sysfs_port *port = &rdma->ports[rdma->port_count];

	for (uint32_t i = 0; i < rdma->port_count; i++)
		if (api_rdma_is_port(rail, &rdma->ports[i]))
			return;
	if (rdma->port_count == PORTS_MAX)
		return;
	*port = (struct sysfs_port){ .port = rail->port, .active = true, .state = "ACTIVE" };
	memcpy(port->device, rail->device, sizeof(port->device));
	port->numa_node = rail->numa_node;
	port->speed_mbps = rail->speed_mbps;
	rdma->port_count++;
}

static void api_rdma_port(const struct api_rdma *rdma, const struct sysfs_port *from,
			  void (*each)(void *opaque, const struct decant_rdma_port *port), void *opaque)
{
	char texts[RAILS_MAX][RAIL_TEXT_MAX];
	const char *addresses[RAILS_MAX];
	struct decant_error trouble = DECANT_ERROR_INIT;
	struct decant_rdma_port port = {
		.size = sizeof(port),
		.device = from->device,
		.interface = from->interface,
		.state = from->state,
		.port = from->port,
		.numa_node = from->numa_node,
		.speed_mbps = from->speed_mbps,
		.software = from->software,
		.addresses = addresses,
	};

	for (uint32_t i = 0; i < rdma->rail_count; i++) {
		if (!api_rdma_is_port(&rdma->rails[i], from))
			continue;
		port.software = rdma->rails[i].software;
		port.speed_mbps = rdma->rails[i].speed_mbps;
		addresses[port.address_count] = rail_address_text(&rdma->rails[i], texts[port.address_count]);
		port.address_count++;
	}
	port.usable = port.address_count > 0;
	if (!port.usable) {
		diagnose_port("", from, &trouble);
		port.trouble = &trouble;
	}
	each(opaque, &port);
}

static uint32_t api_rdma_usable(const struct api_rdma *rdma)
{
	uint32_t usable = 0;

	for (uint32_t i = 0; i < rdma->port_count; i++) {
		bool found = false;

		for (uint32_t j = 0; j < rdma->rail_count && !found; j++)
			found = api_rdma_is_port(&rdma->rails[j], &rdma->ports[i]);
		usable += found;
	}
	return usable;
}

int decant_rdma_ports(void (*each)(void *opaque, const struct decant_rdma_port *port), void *opaque,
		      struct decant_error *err)
{
	struct api_rdma rdma = { 0 };
	const int rc = rail_list(rdma.rails, RAILS_MAX, err);

	rdma.rail_count = rc > 0 ? (uint32_t)rc : 0;
	rdma.port_count = sysfs_ports("", rdma.ports, PORTS_MAX);
	for (uint32_t i = 0; i < rdma.rail_count; i++)
		api_rdma_add(&rdma, &rdma.rails[i]);
	for (uint32_t i = 0; each != NULL && i < rdma.port_count; i++)
		api_rdma_port(&rdma, &rdma.ports[i], each, opaque);
	return rc < 0 ? rc : (int)api_rdma_usable(&rdma);
}

void decant_rdma_get_limits(struct decant_rdma_limits *limits)
{
	struct decant_rdma_limits all = { .size = limits->size };
	struct limits_memlock memlock;

	limits_memlock("", &memlock);
	all.memlock_bytes = memlock.soft;
	all.pinned_bytes = memlock.pinned;
	all.lifted = memlock.lifted;
	memcpy(limits, &all, limits->size < sizeof(all) ? limits->size : sizeof(all));
}
