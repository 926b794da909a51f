/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rig.h -- a source, a receiver and a destination in one process, over 127.0.0.1: what every scenario needs
 *
 * The receiver runs in a thread of its own; the migration in the thread of the test, or in one if it says so. All
 * assertions are made in the thread of the test.
 */
#ifndef INTEGRATION_RIG_H
#define INTEGRATION_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <cmocka.h>

#include <decant/decant.h>

#include "support/proxy.h"
#include "support/slow.h"
#include "support/synthetic.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define PAGE ((uint64_t)DECANT_PAGE_SIZE)
#define MS 1000000ull

/* Sanitizers, and processors that are emulated, make everything slower, so less of it. */
#define SCALE(normal, slow) (slow_here() ? (slow) : (normal))

/* ram0 of this size, the first half with data and then the working set, the second half a hole */
#define RAM SCALE(64 * MIB, 16 * MIB)
#define RAM_PAGES (RAM / PAGE)
#define WSS_PAGES SCALE(1024ull, 256ull)
#define WSS_FIRST (RAM_PAGES / 4)
#define HOLE_FIRST (RAM_PAGES / 2)

struct rig {
	const char *fabric;
	struct synthetic_config config;
	struct synthetic *source;
	struct synthetic *destination;

	struct decant_receiver_opts receiver_opts;
	struct decant_receiver *receiver; /* NULL: not started */
	pthread_t receiver_thread;
	bool receiving; /* the thread is to be joined */
	int receive_ret;
	struct decant_error receive_err;
	struct decant_memory *received;

	struct proxy *proxy;  /* NULL: none */
	const char *expected; /* the fabric at the end; NULL: @fabric, or TCP where RDMA was lost */

	struct decant_migration_opts opts; /* changed by the scenario before the migration is made */
	char peer[64];
	struct decant_migration *migration;
	pthread_t migration_thread;
	int ret;
	struct decant_error err;
	struct decant_stats stats; /* after the end */
};

/* rig_init() -- defaults: RAM as above, one writer, fabric as given */
void rig_init(struct rig *rig, const char *fabric);

/* rig_add_region() -- one more, at @guest_address */
void rig_add_region(struct rig *rig, const char *name, uint64_t guest_address, uint64_t length,
		    uint64_t page_size);

/* rig_boot() -- make the source's VM from rig->config and let it run with half of ram0 written, and an empty destination */
void rig_boot(struct rig *rig);

/* rig_boot_bare() -- the same, nothing written */
void rig_boot_bare(struct rig *rig);

/* rig_listen() -- start the receiver and aim the migration at it */
void rig_listen(struct rig *rig);

/* rig_add_proxy() -- aim the migration at a proxy in front of the receiver */
void rig_add_proxy(struct rig *rig);

/* rig_aim() -- at 127.0.0.1:@port */
void rig_aim(struct rig *rig, uint16_t port);

/* rig_migrate() -- make the migration and run it to its end */
void rig_migrate(struct rig *rig);

/* rig_migrate_begin(), rig_migrate_end() -- the same in a thread */
void rig_migrate_begin(struct rig *rig);
void rig_migrate_end(struct rig *rig);

/* rig_expect_moved() -- it did: only the destination runs, nothing is lost, the statistics are plausible */
void rig_expect_moved(struct rig *rig);

/* rig_expect_stayed() -- it did not, with @code (0: any): the source runs on untouched, and the destination holds nothing */
void rig_expect_stayed(struct rig *rig, int code);

/* rig_expect_usable() -- the receiver takes the same VM in at the next attempt */
void rig_expect_usable(struct rig *rig);

/* rig_cancel_from_outside() -- call decant_migration_cancel() in another thread and wait until it has returned */
void rig_cancel_from_outside(struct rig *rig);

/* rig_kill_data() -- break one TCP connection that is not a control connection; false: there is none */
bool rig_kill_data(const struct rig *rig);

/* rig_kill_fabric() -- break RDMA at its next write if it is still in use, else as rig_kill_data() */
bool rig_kill_fabric(const struct rig *rig);

/* rig_kill_data_but() -- the same, where @control is the only port of control connections */
bool rig_kill_data_but(uint16_t control);

/* rig_has_rails() -- is it RDMA? Then registering memory brings it into being, a granule at a time */
bool rig_has_rails(const struct rig *rig);

void rig_destroy(struct rig *rig);

#endif
