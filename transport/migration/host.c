/* SPDX-License-Identifier: BSD-2-Clause */
/* host.c -- what an end says of the host it runs on */
#include "migration/host.h"

#include "fabric/fabric.h"
#include "migration/limit.h"
#include "util/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POPULATE_THREADS_MAX 16u

/* The text that @path has in /proc, "" if there is none. */
static void read_text(const char *path, char *text, size_t size)
{
	ssize_t n;
	int fd;

	text[0] = '\0';
	do {
		fd = open(path, O_RDONLY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return;
	do {
		n = read(fd, text, size - 1);
	} while (n < 0 && errno == EINTR);
	text[n < 0 ? 0 : n] = '\0';
	close(fd);
}

void host_boot_id(uint8_t boot_id[16])
{
	char text[64];
	size_t n = 0;

	memset(boot_id, 0, 16);
	read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	for (const char *at = text; *at != '\0' && n < 16; at++) {
		unsigned int byte;

		if (*at == '-' || sscanf(at, "%2x", &byte) != 1)
			continue;
		boot_id[n++] = (uint8_t)byte;
		at++;
	}
}

static const struct {
	const char *fabric;
	uint64_t feature;
} host_fabrics[] = {
	{ "tcp", HOST_FEATURE_TCP },
	{ "loop", HOST_FEATURE_LOOP },
	{ "rdma", HOST_FEATURE_RDMA },
};

#define HOST_FABRICS (sizeof(host_fabrics) / sizeof(host_fabrics[0]))

uint64_t host_fabric_feature(const char *fabric)
{
	for (size_t i = 0; i < HOST_FABRICS; i++)
		if (strcmp(host_fabrics[i].fabric, fabric) == 0)
			return host_fabrics[i].feature;
	return 0;
}

uint64_t host_features(void)
{
	uint64_t features = 0;

	for (size_t i = 0; i < HOST_FABRICS; i++)
		if (fabric_find(host_fabrics[i].fabric) != NULL)
			features |= host_fabrics[i].feature;
	return features;
}

static uint64_t memory_available(void)
{
	static const uint64_t huge_sizes[] = { 2u << 20, 1u << 30 };
	struct limit limit;
	uint64_t sum;

	limit_available(&limit);
	sum = limit.available;
	for (size_t i = 0; i < sizeof(huge_sizes) / sizeof(huge_sizes[0]); i++) {
		limit_huge_available(huge_sizes[i], &limit);
		sum += limit.available;
	}
	return sum;
}

void host_welcome(struct wire_welcome *welcome, uint64_t max_memory, uint64_t lease_ns)
{
	*welcome = (struct wire_welcome){
		.version = WIRE_VERSION_MAX,
		.features = host_features(),
		.pid = (uint32_t)getpid(),
		.lease_ms = (uint32_t)(lease_ns / NSEC_PER_MSEC),
		.max_memory = max_memory != 0 ? max_memory : memory_available(),
	};
	host_boot_id(welcome->boot_id);
}

uint32_t host_populate_threads(uint32_t asked, uint32_t cpus)
{
	const uint32_t threads = asked != 0 ? asked : cpus / 2;

	if (threads < 1)
		return 1;
	return threads < POPULATE_THREADS_MAX ? threads : POPULATE_THREADS_MAX;
}
