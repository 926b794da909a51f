/* SPDX-License-Identifier: BSD-2-Clause */
/* diagnose.c -- why RDMA does not work here, and what to do about it */
#include "fabric/rdma/diagnose.h"
#include "fabric/rdma/limits.h"
#include "fabric/rdma/rail.h"
#include "fabric/rdma/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PORTS_MAX 64
#define MANAGER "rdma_cm"

static unsigned long long mib(uint64_t bytes)
{
	return bytes / (1024 * 1024) + (bytes % (1024 * 1024) != 0);
}

/* ---- devices, drivers, libraries, permissions ---- */

/* 0, or the errno of opening /dev/infiniband/@name */
static int diagnose_open(const char *root, const char *name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/dev/infiniband/%s", root, name);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int diagnose_no_file(const char *name, struct decant_error *err)
{
	if (strcmp(name, MANAGER) == 0)
		return decant_error_set(err, -ENOENT,
					"/dev/infiniband/" MANAGER
					" is not there, so nothing can be connected: load the "
					"connection manager with `modprobe rdma_ucm`; to a container give "
					"--device=/dev/infiniband");
	return decant_error_set(err, -ENOENT,
				"/dev/infiniband/%s is not there: it is udev that makes it; to a container give "
				"--device=/dev/infiniband",
				name);
}

static int diagnose_file(const char *root, const char *name, struct decant_error *err)
{
	const int rc = diagnose_open(root, name);

	if (rc == 0)
		return 0;
	if (rc == -ENOENT || rc == -ENXIO || rc == -ENODEV)
		return diagnose_no_file(name, err);
	if (rc == -EACCES)
		return decant_error_set(
			err, -EACCES,
			"no permission to read and write /dev/infiniband/%s: `chmod 666` it (rdma-core's udev "
			"rules do so), or join the group that `ls -l` shows, or run as root",
			name);
	if (rc == -EPERM)
		return decant_error_set(
			err, -EACCES,
			"opening /dev/infiniband/%s is forbidden by the container's or unit's device rules: "
			"give it --device=/dev/infiniband, or DeviceAllow=",
			name);
	return decant_error_set(err, rc, "/dev/infiniband/%s: %s", name, strerror(-rc));
}

int diagnose_access(const char *root, const struct sysfs_port *port, struct decant_error *err)
{
	int rc = 0;

	if (port != NULL && port->verbs[0] == '\0')
		return decant_error_set(
			err, -ENOENT,
			"programs cannot reach the RDMA device %s: the kernel module ib_uverbs is not loaded; "
			"`modprobe ib_uverbs rdma_ucm`",
			port->device);
	if (port != NULL)
		rc = diagnose_file(root, port->verbs, err);
	return rc < 0 ? rc : diagnose_file(root, MANAGER, err);
}

static int diagnose_no_device(struct decant_error *err)
{
	return decant_error_set(
		err, -ENODEV,
		"no RDMA device (/sys/class/infiniband is empty): load the driver of the NIC (mlx5_ib, irdma, "
		"bnxt_re, ...); to try RDMA without such a NIC: `modprobe rdma_rxe`, `rdma link add rxe0 type rxe "
		"netdev INTERFACE`");
}

static int diagnose_no_library(const char *device, struct decant_error *err)
{
	return decant_error_set(
		err, -ENOENT,
		"the kernel has the RDMA device %s, but libibverbs cannot drive it: the provider library of its "
		"driver is missing; install the package ibverbs-providers (Debian, Ubuntu) or libibverbs (Fedora, "
		"RHEL)",
		device);
}

/* ---- ports ---- */

static int diagnose_down(const struct sysfs_port *port, struct decant_error *err)
{
	const char *interface = port->interface[0] != '\0' ? port->interface : "INTERFACE";

	if (port->ethernet || port->interface[0] != '\0')
		return decant_error_set(
			err, -ENETDOWN,
			"port %u of the RDMA device %s is %s: `ip link set %s up`, and look at cable and switch "
			"(`ip link show %s`)",
			port->port, port->device, port->state, interface, interface);
	return decant_error_set(
		err, -ENETDOWN,
		"port %u of the RDMA device %s is %s: look at the cable, and whether a subnet manager runs "
		"(`ibstat %s`)",
		port->port, port->device, port->state, port->device);
}

int diagnose_port_down(const char *device, uint8_t port, struct decant_error *err)
{
	struct sysfs_port found;

	if (!sysfs_port("", device, port, &found) || found.active)
		return decant_error_set(
			err, -ENETDOWN,
			"port %u of the RDMA device %s is not active: set its network interface up, and look at "
			"cable and switch (`rdma link`)",
			port, device);
	return diagnose_down(&found, err);
}

/* the first address of the interface that could be a rail's; false: it has none */
static bool diagnose_interface_address(const char *interface, char text[INET6_ADDRSTRLEN])
{
	struct ifaddrs *addresses, *entry;
	bool found = false;

	if (getifaddrs(&addresses) < 0)
		return false;
	for (entry = addresses; entry != NULL && !found; entry = entry->ifa_next) {
		const int family = entry->ifa_addr != NULL ? entry->ifa_addr->sa_family : AF_UNSPEC;

		if (strcmp(entry->ifa_name, interface) != 0 || (family != AF_INET && family != AF_INET6))
			continue;
		found = inet_ntop(family,
				  family == AF_INET
					  ? (const void *)&((const struct sockaddr_in *)entry->ifa_addr)->sin_addr
					  : (const void *)&((const struct sockaddr_in6 *)entry->ifa_addr)
						    ->sin6_addr,
				  text, INET6_ADDRSTRLEN) != NULL;
	}
	freeifaddrs(addresses);
	return found;
}

static int diagnose_no_address(const struct sysfs_port *port, struct decant_error *err)
{
	char address[INET6_ADDRSTRLEN];

	if (port->interface[0] == '\0')
		return decant_error_set(
			err, -EADDRNOTAVAIL, "no address leads to port %u of the RDMA device %s: %s", port->port,
			port->device,
			port->ethernet ? "its network interface is not in this network namespace (`rdma system`)"
				       : "InfiniBand needs IPoIB: `modprobe ib_ipoib`, then give its interface an "
					 "address");
	if (diagnose_interface_address(port->interface, address))
		return decant_error_set(
			err, -EADDRNOTAVAIL,
			"the connection manager does not take %s, the address of %s, for port %u of the RDMA "
			"device %s: the port has no GID for it (/sys/class/infiniband/%s/ports/%u/gids); set the "
			"interface down and up again, or see whether another device serves it",
			address, port->interface, port->port, port->device, port->device, port->port);
	return decant_error_set(
		err, -EADDRNOTAVAIL,
		"port %u of the RDMA device %s has no IP address: `ip address add ADDRESS/BITS dev %s`",
		port->port, port->device, port->interface);
}

int diagnose_port(const char *root, const struct sysfs_port *port, struct decant_error *err)
{
	const int rc = diagnose_access(root, port, err);

	if (rc < 0)
		return rc;
	if (!port->active)
		return diagnose_down(port, err);
	if (verbs_devices(port->device) <= 0)
		return diagnose_no_library(port->device, err);
	return diagnose_no_address(port, err);
}

/* an active port is nearest to being of use, so it is the one to tell of */
int diagnose_no_rail_at(const char *root, struct decant_error *err)
{
	struct sysfs_port ports[PORTS_MAX];
	const uint32_t count = sysfs_ports(root, ports, PORTS_MAX);
	uint32_t best = 0;

	if (count == 0)
		return diagnose_no_device(err);
	for (uint32_t i = count; i > 0; i--)
		if (ports[i - 1].active)
			best = i - 1;
	return diagnose_port(root, &ports[best], err);
}

int diagnose_no_rail(struct decant_error *err)
{
	return diagnose_no_rail_at("", err);
}

int diagnose_manager(int code, struct decant_error *err)
{
	const int rc = diagnose_access("", NULL, err);

	if (rc < 0)
		return rc;
	return decant_error_set(err, code,
				"the RDMA connection manager cannot be opened: %s; is the module rdma_ucm loaded?",
				strerror(-code));
}

/* ---- limits ---- */

/* would @more bytes exceed RLIMIT_MEMLOCK? */
static bool diagnose_memlock_exceeded(const struct limits_memlock *limits, uint64_t more)
{
	return !limits->lifted && limits->soft != LIMITS_NONE &&
	       (limits->soft < more || limits->pinned > limits->soft - more);
}

/* @total: all that will be needed, 0 where only @more is known */
static int diagnose_memlock_raise(const struct limits_memlock *limits, const char *what, uint64_t more,
				  uint64_t total, struct decant_error *err)
{
	const bool known = total >= limits->pinned + more;
	char how[128];

	if (!known)
		total = limits->pinned + more;
	snprintf(how, sizeof(how), "`ulimit -l %llu`%s", mib(total) * 1024,
		 limits->hard >= total ? "" : " as root, for the hard limit is less");
	return decant_error_set(
		err, -ENOMEM,
		"%s: RLIMIT_MEMLOCK is %llu KiB, %llu KiB of it in use, and %llu MiB are needed%s: %s, or memlock in "
		"/etc/security/limits.conf, LimitMEMLOCK= of a unit, or CAP_IPC_LOCK%s",
		what, (unsigned long long)limits->soft / 1024, (unsigned long long)limits->pinned / 1024,
		mib(total), known ? "" : " now, for the whole guest its memory once per rail", how,
		limits->namespaced ? " (which does not count inside a user namespace, as here)" : "");
}

static int diagnose_no_memory(const char *root, const char *what, uint64_t more, struct decant_error *err)
{
	char folder[PATH_MAX];
	const uint64_t room = limits_memory_room(root, folder, sizeof(folder));

	if (room < more)
		return decant_error_set(
			err, -ENOMEM,
			"%s: the memory cgroup has room for %llu KiB, and %llu KiB are needed: raise memory.max in "
			"%.200s (MemoryMax= of a unit)",
			what, (unsigned long long)room / 1024, (unsigned long long)more / 1024, folder);
	return decant_error_set(
		err, -ENOMEM,
		"%s: out of memory, or of what the device can register (max_mr in `ibv_devinfo -v`); free memory, or "
		"migrate fewer guests at once",
		what);
}

int diagnose_device_at(const char *root, int code, const char *call, const char *device, struct decant_error *err)
{
	struct limits_memlock limits;
	char what[128], cgroup[160];
	struct sysfs_port port;
	int rc;

	snprintf(what, sizeof(what), "%.60s on %.32s", call, device[0] != '\0' ? device : "no device");
	if (code == -EACCES || code == -EPERM || code == -ENOENT) {
		rc = diagnose_access(root, sysfs_port(root, device, 1, &port) ? &port : NULL, err);
		if (rc < 0)
			return rc;
	}
	limits_memlock(root, &limits);
	/* rings and tables are pinned as well, and are of unknown size; less than one MiB left is too little for any */
	if (code == -ENOMEM && diagnose_memlock_exceeded(&limits, 1 << 20))
		return diagnose_memlock_raise(&limits, what, 1 << 20, 0, err);
	if (code == -EAGAIN && limits_rdma(root, device, cgroup, sizeof(cgroup)))
		return decant_error_set(err, code, "%s: the rdma cgroup allows no more (%s): raise its rdma.max",
					what, cgroup);
	if (code == -EIO || code == -ENODEV)
		return decant_error_set(err, code, "%s: %s; the device is gone or in error: see the kernel's log",
					what, strerror(-code));
	return decant_error_set(err, code, "%s: %s", what, strerror(-code));
}

int diagnose_device(int code, const char *call, const char *device, struct decant_error *err)
{
	return diagnose_device_at("", code, call, device, err);
}

int diagnose_register_at(const char *root, int code, const char *device, uint64_t length, uint64_t needed,
			 struct decant_error *err)
{
	struct limits_memlock limits;
	char what[128];

	if (code != -ENOMEM)
		return diagnose_device_at(root, code, "registering memory", device, err);
	snprintf(what, sizeof(what), "registering %llu KiB of memory with %.32s",
		 (unsigned long long)length / 1024, device);
	limits_memlock(root, &limits);
	if (diagnose_memlock_exceeded(&limits, length))
		return diagnose_memlock_raise(&limits, what, length, needed, err);
	return diagnose_no_memory(root, what, length, err);
}

int diagnose_register(int code, const char *device, uint64_t length, uint64_t needed, struct decant_error *err)
{
	return diagnose_register_at("", code, device, length, needed, err);
}

/* ---- the way to the peer ---- */

const char *diagnose_completion(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_RETRY_EXC_ERR:
		return "the other host's NIC does not acknowledge: see whether that host lives, cable, switch, and MTU and "
		       "flow control (PFC) on the way";
	case IBV_WC_RNR_RETRY_EXC_ERR:
		return "decant at the other end takes nothing: see whether it stands still there";
	case IBV_WC_REM_ACCESS_ERR:
	case IBV_WC_REM_INV_REQ_ERR:
	case IBV_WC_REM_OP_ERR:
		return "the other end's NIC refuses it: see that end's log, and its kernel's";
	case IBV_WC_WR_FLUSH_ERR:
		return "the connection has ended: see whether decant, or its host, has ended at the other end";
	case IBV_WC_LOC_PROT_ERR:
	case IBV_WC_LOC_LEN_ERR:
	case IBV_WC_LOC_QP_OP_ERR:
		return "this host's NIC refuses its own memory or work: see the kernel's log, and report it";
	default:
		return "this host's NIC or its driver is in error: see the kernel's log, and update its firmware";
	}
}

int diagnose_path(int code, const struct fabric_rail *local, const struct fabric_rail *remote,
		  struct decant_error *err)
{
	char here[RAIL_TEXT_MAX], from[RAIL_TEXT_MAX], to[RAIL_TEXT_MAX];

	if (code == -ENOMEM || code == -ECANCELED || code == -EMFILE)
		return decant_error_set(err, code, "no way from %s to %s: %s", rail_text(local, here),
					rail_address_text(remote, to), strerror(-code));
	return decant_error_set(
		err, -ENETUNREACH,
		"no way from %s to the destination's rail %s: %s; the two must be on one network: try "
		"`ping -I %s %s`, look at routes, VLAN and firewall (RoCE is UDP port 4791), or name other rails "
		"with --rail LOCAL=REMOTE",
		rail_text(local, here), rail_address_text(remote, to),
		code == -ETIMEDOUT ? "it does not answer" : strerror(-code), rail_address_text(local, from), to);
}
