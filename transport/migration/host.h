/* SPDX-License-Identifier: BSD-2-Clause */
/* host.h -- what an end says of the host it runs on */
#ifndef MIGRATION_HOST_H
#define MIGRATION_HOST_H

#include "wire/wire.h"
#include <stdint.h>

/* Bits of HELLO and WELCOME: the fabrics an end has. */
#define HOST_FEATURE_TCP 1ull
#define HOST_FEATURE_LOOP 2ull
#define HOST_FEATURE_RDMA WIRE_FEATURE_RDMA

/* host_features() -- the bits of the fabrics in this build */
uint64_t host_features(void);

/* host_fabric_feature() -- the bit of @fabric; 0: there is none of that name */
uint64_t host_fabric_feature(const char *fabric);

/* host_boot_id() -- the kernel's, 16 bytes; zeros where it cannot be read */
void host_boot_id(uint8_t boot_id[16]);

/* host_welcome() -- WELCOME of this host; @max_memory 0: what is available now, huge pages included */
void host_welcome(struct wire_welcome *welcome, uint64_t max_memory, uint64_t lease_ns);

/* host_populate_threads() -- @asked, or one per two of @cpus, at least 1 */
uint32_t host_populate_threads(uint32_t asked, uint32_t cpus);

#endif
