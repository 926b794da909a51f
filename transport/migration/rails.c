/* SPDX-License-Identifier: BSD-2-Clause */
/* rails.c -- rails of fabric "rdma" on their way through WELCOME */
#include "migration/rails.h"

#include "migration/host.h"
#include "util/log.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static_assert(WIRE_RAILS_MAX == FABRIC_RAILS_MAX, "all rails fit");
static_assert(WIRE_PAIRS_MAX == FABRIC_PAIRS_MAX, "all pairs fit");
static_assert(WIRE_DEVICE_MAX == FABRIC_DEVICE_NAME_MAX, "names fit");

static void to_wire(const struct fabric_rail *rail, struct wire_rail *wire)
{
	*wire = (struct wire_rail){
		.family = rail->family == AF_INET6 ? 6 : 4,
		.port = rail->port,
		.flags = rail->software ? WIRE_RAIL_SOFTWARE : 0,
		.numa_node = rail->numa_node < 0 ? WIRE_NUMA_UNKNOWN : (uint16_t)rail->numa_node,
		.speed_mbps = rail->speed_mbps,
	};
	memcpy(wire->device, rail->device, sizeof(wire->device));
	memcpy(wire->address, rail->address, wire->family == 6 ? 16 : 4);
}

static void from_wire(const struct wire_rail *wire, struct fabric_rail *rail)
{
	*rail = (struct fabric_rail){
		.port = (uint8_t)wire->port,
		.software = wire->flags & WIRE_RAIL_SOFTWARE,
		.numa_node = wire->numa_node > INT16_MAX ? -1 : (int16_t)wire->numa_node,
		.family = wire->family == 6 ? AF_INET6 : AF_INET,
		.speed_mbps = wire->speed_mbps,
	};
	memcpy(rail->device, wire->device, sizeof(rail->device));
	memcpy(rail->address, wire->address, sizeof(rail->address));
}

uint32_t rails_welcome(struct wire_welcome *welcome, struct fabric_rail rails[FABRIC_RAILS_MAX],
		       const struct decant_log *log)
{
	const struct fabric_ops *rdma = fabric_find("rdma");
	struct decant_error err = DECANT_ERROR_INIT;
	int found;

	welcome->rails = 0;
	if (!(welcome->features & HOST_FEATURE_RDMA) || rdma == NULL)
		return 0;
	found = rdma->rails(rails, FABRIC_RAILS_MAX, &err);
	if (found <= 0) {
		snprintf(welcome->why, sizeof(welcome->why), "%.*s", (int)sizeof(welcome->why) - 1, err.msg);
		log_info(log, "RDMA is not offered: %s", err.msg);
		return 0;
	}
	for (int i = 0; i < found; i++)
		to_wire(&rails[i], &welcome->rail[i]);
	welcome->rails = (uint32_t)found;
	return welcome->rails;
}

void rails_prepare(void)
{
	const struct fabric_ops *rdma = fabric_find("rdma");
	struct fabric_rail rails[FABRIC_RAILS_MAX];
	struct decant_error err = DECANT_ERROR_INIT;

	if (rdma != NULL)
		rdma->rails(rails, FABRIC_RAILS_MAX, &err);
}

uint32_t rails_of_peer(const struct wire_welcome *welcome, struct fabric_rail rails[FABRIC_RAILS_MAX])
{
	for (uint32_t i = 0; i < welcome->rails; i++)
		from_wire(&welcome->rail[i], &rails[i]);
	return welcome->rails;
}
