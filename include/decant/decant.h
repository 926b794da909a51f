/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/decant.h -- all of libdecant */
#ifndef DECANT_DECANT_H
#define DECANT_DECANT_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/migration.h>
#include <decant/mover.h>
#include <decant/rdma.h>
#include <decant/state.h>
#include <decant/stats.h>
#include <decant/version.h>

#endif
