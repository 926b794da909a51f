/* SPDX-License-Identifier: BSD-2-Clause */
/* rail.c -- this host's RDMA ports by their IP addresses */
#include "fabric/rdma/rail.h"
#include "fabric/rdma/diagnose.h"
#include "fabric/rdma/sysfs.h"
#include "fabric/rdma/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define FOUND_MAX 64 /* addresses; a host with more has the first of each port among them in all but odd cases */
#define VENDOR_RXE 0xffffff
#define VENDOR_SIW 0x626d74

/* What a look at all addresses has brought. */
struct rail_search {
	struct rdma_event_channel *channel;
	uint32_t count;
	struct fabric_rail rails[FOUND_MAX];
	bool down; /* there was a rail, but its port is not active */
	struct fabric_rail down_rail;
	int code; /* of a failure other than "no RDMA here"; 0: none */
	const char *call;
	char device[FABRIC_DEVICE_NAME_MAX];
};

socklen_t rail_sockaddr(const struct fabric_rail *rail, uint16_t port, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (rail->family == AF_INET) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, rail->address, sizeof(v4->sin_addr));
		return sizeof(*v4);
	}
	if (rail->family != AF_INET6)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, rail->address, sizeof(v6->sin6_addr));
	v6->sin6_scope_id = rail->scope_id;
	return sizeof(*v6);
}

socklen_t rail_remote_sockaddr(const struct fabric_pair *pair, uint16_t port, struct sockaddr_storage *address)
{
	const socklen_t length = rail_sockaddr(&pair->remote, port, address);
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	if (pair->remote.family == AF_INET6)
		v6->sin6_scope_id = IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) ? pair->local.scope_id : 0;
	return length;
}

const char *rail_address_text(const struct fabric_rail *rail, char text[RAIL_TEXT_MAX])
{
	if ((rail->family != AF_INET && rail->family != AF_INET6) ||
	    inet_ntop(rail->family, rail->address, text, RAIL_TEXT_MAX) == NULL)
		snprintf(text, RAIL_TEXT_MAX, "no address");
	return text;
}

const char *rail_text(const struct fabric_rail *rail, char text[RAIL_TEXT_MAX])
{
	char address[RAIL_TEXT_MAX];

	snprintf(text, RAIL_TEXT_MAX, "%.*s (%.64s)", FABRIC_DEVICE_NAME_MAX, rail->device,
		 rail_address_text(rail, address));
	return text;
}

/* Both are enumerations of the InfiniBand specification: lanes, and the rate of one lane. */
static uint32_t rail_speed(const struct ibv_port_attr *attr)
{
	static const struct {
		uint8_t code;
		uint32_t value;
	} widths[] = { { 1, 1 }, { 2, 4 }, { 4, 8 }, { 8, 12 }, { 16, 2 } },
	  speeds[] = { { 1, 2500 },   { 2, 5000 },   { 4, 10000 },  { 8, 10000 },
		       { 16, 14000 }, { 32, 25000 }, { 64, 50000 }, { 128, 100000 } };
	uint32_t width = 0, speed = 0;

	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
		if (widths[i].code == attr->active_width)
			width = widths[i].value;
	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
		if (speeds[i].code == attr->active_speed)
			speed = speeds[i].value;
	return width * speed;
}

static void rail_address_set(struct fabric_rail *rail, const struct sockaddr *address)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	rail->family = address->sa_family;
	if (rail->family == AF_INET) {
		memcpy(rail->address, &((const struct sockaddr_in *)address)->sin_addr, 4);
		return;
	}
	memcpy(rail->address, &v6->sin6_addr, 16);
	rail->scope_id = v6->sin6_scope_id;
}

/* what the port says of itself, and /sys of what it sits on */
static int rail_describe(struct rail_search *search, struct ibv_context *context, struct fabric_rail *rail)
{
	struct ibv_device_attr device;
	struct ibv_port_attr port;
	struct sysfs_port known;
	int rc;

	search->call = "ibv_query_port";
	rc = verbs_query_port(context, rail->port, &port);
	if (rc < 0)
		return rc;
	search->call = "ibv_query_device";
	rc = verbs_query_device(context, &device);
	if (rc < 0)
		return rc;
	rail->numa_node = -1;
	rail->speed_mbps = rail_speed(&port);
	rail->software = device.vendor_id == VENDOR_RXE || device.vendor_id == VENDOR_SIW;
	if (sysfs_port("", rail->device, rail->port, &known)) {
		rail->numa_node = known.numa_node;
		rail->software = rail->software || known.software;
		if (known.speed_mbps > 0) /* rates too new for the enumeration */
			rail->speed_mbps = known.speed_mbps;
	}
	return port.state == IBV_PORT_ACTIVE ? 0 : -ENETDOWN;
}

/* The address of an interface without RDMA is refused with one of these. */
static bool rail_is_not_one(int code)
{
	return code == -ENODEV || code == -EADDRNOTAVAIL || code == -EINVAL || code == -EAFNOSUPPORT;
}

/* 0 with @rail filled, -ENETDOWN too, -ENODEV when the address is no rail's, or a failure */
static int rail_try(struct rail_search *search, const struct sockaddr *address, struct fabric_rail *rail)
{
	struct sockaddr_storage storage;
	struct rdma_cm_id *id;
	int rc;

	*rail = (struct fabric_rail){ 0 };
	rail_address_set(rail, address);
	rail_sockaddr(rail, 0, &storage);
	search->call = "rdma_create_id";
	rc = verbs_id(search->channel, NULL, &id);
	if (rc < 0)
		return rc;
	search->call = "rdma_bind_addr";
	rc = verbs_bind(id, (struct sockaddr *)&storage);
	if (rc == 0 && id->verbs == NULL)
		rc = -ENODEV;
	if (rc == 0) {
		snprintf(rail->device, sizeof(rail->device), "%s", ibv_get_device_name(id->verbs->device));
		rail->port = id->port_num;
		rc = rail_describe(search, id->verbs, rail);
	} else if (rail_is_not_one(rc)) {
		rc = -ENODEV;
	}
	rdma_destroy_id(id);
	return rc;
}

static bool rail_same_port(const struct fabric_rail *a, const struct fabric_rail *b)
{
	return a->port == b->port && strcmp(a->device, b->device) == 0;
}

static bool rail_link_local(const struct fabric_rail *rail)
{
	return rail->family == AF_INET6 && rail->address[0] == 0xfe && (rail->address[1] & 0xc0) == 0x80;
}

/* how many rails of @rail's port stand before it: a peer has room for few, and each port is to be among them */
static uint32_t rail_spare(const struct rail_search *search, uint32_t count, const struct fabric_rail *rail)
{
	uint32_t spare = 0;

	for (uint32_t i = 0; i < count; i++)
		spare += rail_same_port(&search->rails[i], rail);
	return spare;
}

static bool rail_before(const struct fabric_rail *a, const struct fabric_rail *b)
{
	if (rail_link_local(a) != rail_link_local(b))
		return rail_link_local(b);
	if (a->software != b->software)
		return b->software;
	return a->speed_mbps > b->speed_mbps;
}

static void rail_insert(struct rail_search *search, const struct fabric_rail *rail)
{
	uint32_t at = search->count;

	if (search->count == FOUND_MAX)
		return;
	for (; at > 0 && rail_before(rail, &search->rails[at - 1]); at--)
		search->rails[at] = search->rails[at - 1];
	search->rails[at] = *rail;
	search->count++;
}

static void rail_consider(struct rail_search *search, const struct ifaddrs *entry)
{
	struct fabric_rail rail;
	int rc;

	if (entry->ifa_addr == NULL || (entry->ifa_flags & IFF_LOOPBACK) != 0 ||
	    (entry->ifa_addr->sa_family != AF_INET && entry->ifa_addr->sa_family != AF_INET6))
		return;
	rc = rail_try(search, entry->ifa_addr, &rail);
	if (rc == 0) {
		rail_insert(search, &rail);
	} else if (rc == -ENETDOWN) {
		search->down = true;
		search->down_rail = rail;
	} else if (rc != -ENODEV && search->code == 0) {
		search->code = rc;
		snprintf(search->device, sizeof(search->device), "%s", rail.device);
	}
}

/* the first address of each port, then the second of each, ... */
static uint32_t rail_take(const struct rail_search *search, struct fabric_rail *rails, uint32_t max)
{
	uint32_t taken = 0;

	for (uint32_t turn = 0; turn < search->count; turn++)
		for (uint32_t i = 0; i < search->count && taken < max; i++)
			if (rail_spare(search, i, &search->rails[i]) == turn)
				rails[taken++] = search->rails[i];
	return taken;
}

static int rail_none(const struct rail_search *search, struct decant_error *err)
{
	if (search->down)
		return diagnose_port_down(search->down_rail.device, search->down_rail.port, err);
	if (search->code != 0)
		return diagnose_device(search->code, search->call, search->device, err);
	return diagnose_no_rail(err);
}

static int rail_search(struct rail_search *search, struct decant_error *err)
{
	struct ifaddrs *addresses;
	/* asked first, because the manager complains aloud where there is no device */
	int rc = verbs_devices(NULL);

	if (rc <= 0)
		return diagnose_no_rail(err);
	rc = verbs_event_channel(&search->channel);
	if (rc < 0)
		return diagnose_manager(rc, err);
	if (getifaddrs(&addresses) < 0) {
		rc = decant_error_set(err, -errno, "getifaddrs: %s; this host's addresses cannot be listed",
				      strerror(errno));
	} else {
		for (const struct ifaddrs *entry = addresses; entry != NULL; entry = entry->ifa_next)
			rail_consider(search, entry);
		freeifaddrs(addresses);
		rc = search->count == 0 ? rail_none(search, err) : 0;
	}
	rdma_destroy_event_channel(search->channel);
	return rc;
}

int rail_node(const struct fabric_rail *rails, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
		if (rails[i].numa_node != rails[0].numa_node)
			return -1;
	return count > 0 ? rails[0].numa_node : -1;
}

int rail_list(struct fabric_rail *rails, uint32_t max, struct decant_error *err)
{
	struct rail_search search = { 0 };
	const int rc = rail_search(&search, err);

	return rc < 0 ? rc : (int)rail_take(&search, rails, max);
}
