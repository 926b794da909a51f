/* SPDX-License-Identifier: BSD-2-Clause */
/* bus.c -- dispatch of port and memory-mapped accesses to devices */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

static bool bus_device_holds(const struct bus_device *device, uint64_t address, uint64_t length)
{
	return address >= device->address && length <= device->length &&
	       address - device->address <= device->length - length;
}

static bool bus_devices_overlap(const struct bus_device *a, const struct bus_device *b)
{
	return a->space == b->space && a->address < b->address + b->length && b->address < a->address + a->length;
}

int bus_add(struct bus *bus, const struct bus_device *device, struct decant_error *err)
{
	if (bus->count == BUS_DEVICES_MAX)
		return decant_error_set(err, -ENOSPC, "bus: more than %d devices", BUS_DEVICES_MAX);
	for (uint32_t i = 0; i < bus->count; i++)
		if (bus_devices_overlap(&bus->device[i], device))
			return decant_error_set(err, -EEXIST, "bus: address 0x%llx is taken",
						(unsigned long long)device->address);
	bus->device[bus->count++] = *device;
	return 0;
}

void bus_access(const struct bus *bus, enum bus_space space, uint64_t address, void *data, uint32_t length,
		bool write)
{
	for (uint32_t i = 0; i < bus->count; i++) {
		const struct bus_device *device = &bus->device[i];

		if (device->space != space || !bus_device_holds(device, address, length))
			continue;
		if (write)
			device->write(device->opaque, address - device->address, data, length);
		else
			device->read(device->opaque, address - device->address, data, length);
		return;
	}
	if (!write)
		memset(data, 0xff, length);
}
