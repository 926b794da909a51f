/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diagnose.h -- why RDMA does not work here, and what to do about it
 *
 * A verb that fails says ENOMEM, ENODEV or EACCES and nothing more. Each call below is given such a code right after the
 * failure, looks at the host (sysfs, /dev/infiniband, /proc/self/status, limits) and sets an error that names the cause and the
 * remedy. All return the code that they set: the one given, or a better one where the host told it (-ENODEV no device, -ENETDOWN
 * port down, -EADDRNOTAVAIL no address, -EACCES no permission, -ENOENT a library or a kernel module is missing).
 * Thread-safe. They read files: not for a path that is in a hurry.
 */
#ifndef FABRIC_RDMA_DIAGNOSE_H
#define FABRIC_RDMA_DIAGNOSE_H

#include "fabric/fabric.h"
#include "fabric/rdma/sysfs.h"
#include "fabric/rdma/verbs.h"

#include <decant/error.h>
#include <stdint.h>

/* the connection manager could not be opened (verbs_event_channel, verbs_id) */
int diagnose_manager(int code, struct decant_error *err);

/* no address of this host belongs to an RDMA port */
int diagnose_no_rail(struct decant_error *err);

/* the port has an address and is not active: -ENETDOWN */
int diagnose_port_down(const char *device, uint8_t port, struct decant_error *err);

/* @call ("ibv_create_cq") failed on @device */
int diagnose_device(int code, const char *call, const char *device, struct decant_error *err);

/* @length bytes could not be registered with @device; @needed: all that will be registered, 0 if that is not known */
int diagnose_register(int code, const char *device, uint64_t length, uint64_t needed, struct decant_error *err);

/* the address (or the route to it) was not resolved; @code from the call or from the event's status */
int diagnose_path(int code, const struct fabric_rail *local, const struct fabric_rail *remote,
		  struct decant_error *err);

/* diagnose_completion() -- what to do about work that completed with @status; never NULL */
const char *diagnose_completion(enum ibv_wc_status status);

/*
 * What the above are made of. @root goes before every path, as in sysfs.h.
 *
 * diagnose_access() -- may this process use the connection manager, and the device (NULL: none)? 0, -ENOENT or -EACCES
 * diagnose_port() -- why can this port not be a rail? Never 0
 */
int diagnose_access(const char *root, const struct sysfs_port *port, struct decant_error *err);
int diagnose_port(const char *root, const struct sysfs_port *port, struct decant_error *err);
int diagnose_no_rail_at(const char *root, struct decant_error *err);
int diagnose_device_at(const char *root, int code, const char *call, const char *device, struct decant_error *err);
int diagnose_register_at(const char *root, int code, const char *device, uint64_t length, uint64_t needed,
			 struct decant_error *err);

#endif
