/* SPDX-License-Identifier: BSD-2-Clause */
/* rdma_rig.h -- what the tests of the RDMA fabric over the fake device share */
#ifndef TESTS_RDMA_RIG_H
#define TESTS_RDMA_RIG_H

#include "support/fake_verbs.h"
#include "unit/fabric/fabric_pair.h"

#define RDMA_RIG_MS UINT64_C(1000000)

/* rdma_rig_set_up() -- cmocka's: two devices with the limits of a usual NIC */
int rdma_rig_set_up(void **state);

/* rdma_rig_limits() -- a test's own devices, made anew */
void rdma_rig_limits(unsigned devices, const struct fake_limits *limits);

/* rdma_rig_tear_down() -- cmocka's: fails if anything of the device's is left */
int rdma_rig_tear_down(void **state);

#define rdma_rig_test(f) cmocka_unit_test_setup_teardown(f, rdma_rig_set_up, rdma_rig_tear_down)

/* rdma_rig_move() -- all exposed memory over all channels, under a barrier, and compared */
void rdma_rig_move(struct joined *pair, uint64_t round);

/* rdma_rig_await_error() -- writes and waits until the source fails, and returns why; @err as last_error() has it */
int rdma_rig_await_error(struct joined *pair, uint32_t channel, struct decant_error *err);

#endif
