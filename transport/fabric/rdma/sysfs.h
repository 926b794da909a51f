/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sysfs.h -- what the kernel tells of RDMA ports in /sys: what verbs do not say, or say only to those who may open the device
 *
 * @root goes before "/sys": "" for this host; a test gives a folder.
 */
#ifndef FABRIC_RDMA_SYSFS_H
#define FABRIC_RDMA_SYSFS_H

#include "fabric/fabric.h"

#define SYSFS_STATE_MAX 24
#define SYSFS_NAME_MAX 16 /* IFNAMSIZ */

struct sysfs_port {
	char device[FABRIC_DEVICE_NAME_MAX];
	uint8_t port;
	bool active;
	bool ethernet;                  /* RoCE or iWARP; otherwise InfiniBand, whose addresses IPoIB has */
	bool software;                  /* there is no bus behind it */
	int16_t numa_node;              /* -1: not known */
	uint32_t speed_mbps;            /* 0: not known */
	char state[SYSFS_STATE_MAX];    /* "ACTIVE", "DOWN", ... */
	char interface[SYSFS_NAME_MAX]; /* the network interface; "" not known */
	char verbs[SYSFS_NAME_MAX];     /* "uverbs0" below /dev/infiniband; "" when ib_uverbs is not loaded */
};

/* sysfs_ports() -- all of them, by device and port; their number (at most @max), 0 also when the kernel has no RDMA */
uint32_t sysfs_ports(const char *root, struct sysfs_port *ports, uint32_t max);

/* sysfs_port() -- one; false: there is none such */
bool sysfs_port(const char *root, const char *device, uint8_t port, struct sysfs_port *found);

/* sysfs_line() -- the first line of the file that the format names, without its end; false, and "": there is none */
bool sysfs_line(char *text, size_t length, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
