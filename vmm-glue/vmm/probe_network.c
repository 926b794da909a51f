/* SPDX-License-Identifier: BSD-2-Clause */
/* probe_network.c -- what this host has to send memory over, and how much of it may be pinned for that */
#include "qemu/json.h"
#include "vmm/probe_internal.h"

#include <decant/rdma.h>
#include <string.h>

struct probe_rdma {
	struct json_object *devices, *advice;
	bool hardware; /* a usable port is a NIC's */
};

void probe_memlock(struct json_object *memory, struct json_object *advice)
{
	struct decant_rdma_limits limits = DECANT_RDMA_LIMITS_INIT;

	decant_rdma_get_limits(&limits);
	if (limits.memlock_bytes == UINT64_MAX)
		json_add_text(memory, "memlock_bytes", "unlimited");
	else
		json_add_number(memory, "memlock_bytes", limits.memlock_bytes);
	json_add_bool(memory, "memlock_lifted", limits.lifted);
	json_add_number(memory, "pinned_bytes", limits.pinned_bytes);
	if (limits.memlock_bytes != UINT64_MAX && !limits.lifted)
		probe_advise(
			advice,
			"RLIMIT_MEMLOCK: %llu KiB, and RDMA pins the guest's memory once per rail: set memlock in "
			"/etc/security/limits.conf, LimitMEMLOCK= of a unit, or give CAP_IPC_LOCK",
			(unsigned long long)limits.memlock_bytes / 1024);
}

static struct json_object *probe_addresses(const struct decant_rdma_port *port)
{
	struct json_object *addresses = json_object_new_array();

	for (uint32_t i = 0; i < port->address_count; i++)
		json_object_array_add(addresses, json_object_new_string(port->addresses[i]));
	return addresses;
}

static void probe_port(void *opaque, const struct decant_rdma_port *port)
{
	struct probe_rdma *rdma = opaque;
	struct json_object *device = json_object_new_object();

	json_add_text(device, "name", port->device);
	json_add_number(device, "port", port->port);
	json_add_text(device, "interface", port->interface);
	json_add_text(device, "port_state", port->state);
	json_add_bool(device, "software", port->software);
	json_add_number(device, "speed_mbps", port->speed_mbps);
	json_object_object_add(device, "numa_node", json_object_new_int(port->numa_node));
	json_object_object_add(device, "addresses", probe_addresses(port));
	json_add_bool(device, "usable", port->usable);
	json_add_text(device, "error", port->usable ? NULL : port->trouble->msg);
	json_object_array_add(rdma->devices, device);
	rdma->hardware |= port->usable && !port->software;
	if (!port->usable)
		probe_advise(rdma->advice, "RDMA: %s", port->trouble->msg);
}

/* was that said of a port already? */
static bool probe_told(struct json_object *devices, const char *trouble)
{
	for (size_t i = 0; i < json_object_array_length(devices); i++)
		if (strcmp(json_get_text(json_object_array_get_idx(devices, i), "error", ""), trouble) == 0)
			return true;
	return false;
}

void probe_network(struct json_object *probe, struct json_object *advice)
{
	struct json_object *network = json_object_new_object();
	struct decant_error err = DECANT_ERROR_INIT;
	struct probe_rdma rdma = { .devices = json_object_new_array(), .advice = advice };
	const int usable = decant_rdma_ports(probe_port, &rdma, &err);

	json_object_object_add(network, "rdma_devices", rdma.devices);
	json_add_bool(network, "rdma_usable", usable > 0);
	json_add_text(network, "rdma_error", usable < 0 ? err.msg : NULL);
	json_add_text(network, "fabric", rdma.hardware ? "rdma" : "tcp");
	json_object_object_add(probe, "network", network);
	if (usable < 0 && !probe_told(rdma.devices, err.msg))
		probe_advise(advice, "RDMA: %s", err.msg);
	if (usable > 0 && !rdma.hardware)
		probe_advise(advice,
			     "RDMA: what there is, is software, slower than TCP; only --fabric rdma takes it");
}
