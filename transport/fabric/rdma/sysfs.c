/* SPDX-License-Identifier: BSD-2-Clause */
/* sysfs.c -- what the kernel tells of RDMA ports in /sys */
#include "fabric/rdma/sysfs.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES "/sys/class/infiniband"
#define VERBS "/sys/class/infiniband_verbs"
#define PORTS_MAX 255

bool sysfs_line(char *text, size_t length, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;
	FILE *file;
	bool read;

	va_start(args, fmt);
	vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	text[0] = '\0';
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	read = fgets(text, (int)length, file) != NULL;
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return read;
}

static int sysfs_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* sysfs_entries() -- the names in a folder, sorted; their number, 0 where there is none; sysfs_entries_free() */
static int sysfs_entries(struct dirent ***entries, const char *root, const char *folder)
{
	char path[PATH_MAX];
	int count;

	snprintf(path, sizeof(path), "%s%s", root, folder);
	*entries = NULL;
	count = scandir(path, entries, sysfs_visible, versionsort);
	return count > 0 ? count : 0;
}

static void sysfs_entries_free(struct dirent **entries, int count)
{
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
}

static bool sysfs_name_copy(char *to, size_t length, const char *name)
{
	const size_t used = strlen(name);

	if (used >= length)
		return false;
	memcpy(to, name, used + 1);
	return true;
}

/* "100 Gb/sec (4X EDR)" */
static uint32_t sysfs_speed(const char *rate)
{
	const double gigabits = strtod(rate, NULL);

	return gigabits > 0 && gigabits < 4e6 ? (uint32_t)(gigabits * 1000) : 0;
}

/* A software device is registered below /sys/devices/virtual, and has no "device" that it would sit on. */
static bool sysfs_software(const char *root, const char *device)
{
	char path[PATH_MAX], target[PATH_MAX];

	snprintf(path, sizeof(path), "%s" DEVICES "/%s", root, device);
	return realpath(path, target) != NULL && strstr(target, "/devices/virtual/") != NULL;
}

static void sysfs_interface(const char *root, struct sysfs_port *port)
{
	struct dirent **entries;
	char folder[PATH_MAX], name[64];
	int count;

	if (sysfs_line(name, sizeof(name), "%s" DEVICES "/%s/ports/%u/gid_attrs/ndevs/0", root, port->device,
		       port->port) &&
	    sysfs_name_copy(port->interface, sizeof(port->interface), name))
		return;
	if (sysfs_line(name, sizeof(name), "%s" DEVICES "/%s/parent", root, port->device) &&
	    sysfs_name_copy(port->interface, sizeof(port->interface), name))
		return;
	snprintf(folder, sizeof(folder), DEVICES "/%s/device/net", port->device);
	count = sysfs_entries(&entries, root, folder);
	/* with several, the file of the port's number would be a guess */
	if (count == 1)
		sysfs_name_copy(port->interface, sizeof(port->interface), entries[0]->d_name);
	sysfs_entries_free(entries, count);
}

static void sysfs_verbs(const char *root, struct sysfs_port *port)
{
	struct dirent **entries;
	char device[64];
	const int count = sysfs_entries(&entries, root, VERBS);

	for (int i = 0; i < count; i++)
		if (sysfs_line(device, sizeof(device), "%s" VERBS "/%s/ibdev", root, entries[i]->d_name) &&
		    strcmp(device, port->device) == 0)
			sysfs_name_copy(port->verbs, sizeof(port->verbs), entries[i]->d_name);
	sysfs_entries_free(entries, count);
}

bool sysfs_port(const char *root, const char *device, uint8_t port, struct sysfs_port *found)
{
	char text[64];

	*found = (struct sysfs_port){ .port = port, .numa_node = -1 };
	if (!sysfs_name_copy(found->device, sizeof(found->device), device) ||
	    !sysfs_line(text, sizeof(text), "%s" DEVICES "/%s/ports/%u/state", root, device, port))
		return false;
	/* "4: ACTIVE" */
	found->active = strtoul(text, NULL, 10) == 4;
	snprintf(found->state, sizeof(found->state), "%.*s", SYSFS_STATE_MAX - 1,
		 text + strspn(text, "0123456789: "));
	if (sysfs_line(text, sizeof(text), "%s" DEVICES "/%s/ports/%u/rate", root, device, port))
		found->speed_mbps = sysfs_speed(text);
	if (sysfs_line(text, sizeof(text), "%s" DEVICES "/%s/ports/%u/link_layer", root, device, port))
		found->ethernet = strcmp(text, "Ethernet") == 0;
	if (sysfs_line(text, sizeof(text), "%s" DEVICES "/%s/device/numa_node", root, device))
		found->numa_node = (int16_t)strtol(text, NULL, 10);
	found->software = sysfs_software(root, device);
	sysfs_interface(root, found);
	sysfs_verbs(root, found);
	return true;
}

static uint32_t sysfs_device_ports(const char *root, const char *device, struct sysfs_port *ports, uint32_t max)
{
	struct dirent **entries;
	char folder[PATH_MAX];
	uint32_t found = 0;
	int count;

	snprintf(folder, sizeof(folder), DEVICES "/%s/ports", device);
	count = sysfs_entries(&entries, root, folder);
	for (int i = 0; i < count && found < max; i++) {
		const unsigned long number = strtoul(entries[i]->d_name, NULL, 10);

		if (number >= 1 && number <= PORTS_MAX && sysfs_port(root, device, (uint8_t)number, &ports[found]))
			found++;
	}
	sysfs_entries_free(entries, count);
	return found;
}

uint32_t sysfs_ports(const char *root, struct sysfs_port *ports, uint32_t max)
{
	struct dirent **entries;
	const int count = sysfs_entries(&entries, root, DEVICES);
	uint32_t found = 0;

	for (int i = 0; i < count; i++)
		found += sysfs_device_ports(root, entries[i]->d_name, ports + found, max - found);
	sysfs_entries_free(entries, count);
	return found;
}
