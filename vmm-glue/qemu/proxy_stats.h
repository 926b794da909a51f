/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_stats.h -- what a pair of sidecars has done and is doing; each end fills in what it knows, 0 is what it does not */
#ifndef QEMU_PROXY_STATS_H
#define QEMU_PROXY_STATS_H

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>

/* In the order of time; a migration that is passed through unchanged (fallback) goes from OPENED to DEVICES. */
enum proxy_stage {
	PROXY_WAITING,   /* for QEMU (source), for the other sidecar (destination) */
	PROXY_CONNECTED, /* the sidecars have agreed on the memory */
	PROXY_OPENED,    /* QEMU's migration stream has begun */
	PROXY_RAM,       /* its block list is known: pages are moving */
	PROXY_DEVICES,   /* the end of RAM: every byte of it is there; the rest passes unlooked at */
	PROXY_LOADED,    /* the destination's QEMU has said that it has loaded the VM */
	PROXY_CLOSED,    /* both QEMUs have closed */
};

enum proxy_outcome {
	PROXY_FAILED,   /* the VM runs on at the source, as far as the sidecars can tell */
	PROXY_DONE,     /* loaded at the destination */
	PROXY_IN_DOUBT, /* START was sent and nothing came back: the destination's may run */
};

struct proxy_stats {
	enum proxy_stage stage;
	bool fallback;
	char fabric[16];
	char fabric_reason[DECANT_ERROR_MAX]; /* with fallback: why that */
	uint32_t channels;
	uint32_t failovers;
	uint32_t connections;        /* from QEMU, so far: 1 and multifd's; disks' apart */
	uint32_t disk_connections;   /* so far */
	uint32_t regions;            /* of memory that the sidecars move */
	uint64_t region_bytes;       /* their length together */
	uint64_t passed_block_bytes; /* length of the blocks that are not shared, whose pages pass in the stream */
	uint64_t stream_bytes; /* of the migration, all connections, to the destination: from QEMU at the source */
	uint64_t forwarded_bytes; /* of them, those that went on in the stream */
	uint64_t return_bytes;    /* of the return path */
	uint64_t disk_bytes;      /* of disks, both ways */
	uint64_t dirty_pages;     /* told by QEMU, of 4 KiB, each as often as it was told */
	uint64_t pages_sent;      /* of 4 KiB */
	uint64_t zero_pages;      /* of those told, found to be zero and not sent */
	uint64_t sent_bytes;      /* guest memory */
	uint64_t total_ns;        /* from QEMU's connection to both QEMUs having closed; so far */
	uint64_t ram_ns;          /* from there to the end of RAM */
	uint64_t drain_ns; /* of it, from the last page to the destination having seen all: in QEMU's downtime */
	uint64_t cpu_ns;   /* of this process's */
};

#endif
