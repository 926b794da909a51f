/* SPDX-License-Identifier: BSD-2-Clause */
/* bus.h -- which device answers at which I/O port or memory-mapped address */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>

#define BUS_DEVICES_MAX 16

enum bus_space {
	BUS_PIO,
	BUS_MMIO,
};

/* One access: @offset from the device's start, @length 1, 2, 4 or 8 bytes. Called from any vCPU's thread. */
struct bus_device {
	enum bus_space space;
	uint64_t address;
	uint64_t length;
	void (*read)(void *opaque, uint64_t offset, void *data, uint32_t length);
	void (*write)(void *opaque, uint64_t offset, const void *data, uint32_t length);
	void *opaque;
};

/* Devices are added before the first vCPU runs; read-only from then on. */
struct bus {
	struct bus_device device[BUS_DEVICES_MAX];
	uint32_t count;
};

/* bus_add() -- 0, -EEXIST (overlaps another), -ENOSPC */
int bus_add(struct bus *bus, const struct bus_device *device, struct decant_error *err);

/* bus_access() -- hand one access to its device; where nobody answers, reads give all ones and writes are lost */
void bus_access(const struct bus *bus, enum bus_space space, uint64_t address, void *data, uint32_t length,
		bool write);

#endif
