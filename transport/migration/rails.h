/* SPDX-License-Identifier: BSD-2-Clause */
/* rails.h -- rails of fabric "rdma" on their way through WELCOME */
#ifndef MIGRATION_RAILS_H
#define MIGRATION_RAILS_H

#include "fabric/fabric.h"
#include "wire/wire.h"
#include <decant/log.h>
#include <stdint.h>

/*
 * rails_welcome() -- list this host's rails in @rails and in @welcome, or there why it has none
 *
 * Nothing is looked for if @welcome's features are without RDMA. Returns their number.
 */
uint32_t rails_welcome(struct wire_welcome *welcome, struct fabric_rail rails[FABRIC_RAILS_MAX],
		       const struct decant_log *log);

/* rails_prepare() -- load what the devices need, so that no VM that comes waits for it; what fails will fail again in WELCOME */
void rails_prepare(void);

/* rails_of_peer() -- the rails in @welcome; their number */
uint32_t rails_of_peer(const struct wire_welcome *welcome, struct fabric_rail rails[FABRIC_RAILS_MAX]);

#endif
