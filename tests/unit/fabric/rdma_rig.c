/* SPDX-License-Identifier: BSD-2-Clause */
/* rdma_rig.c -- what the tests of the RDMA fabric over the fake device share */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/fabric/rdma_rig.h"

#include <string.h>
#include <cmocka.h>

int rdma_rig_set_up(void **state)
{
	const struct fake_config config = fake_config_default();

	(void)state;
	fake_reset(&config);
	return 0;
}

void rdma_rig_limits(unsigned devices, const struct fake_limits *limits)
{
	struct fake_config config = fake_config_default();

	config.devices = devices;
	if (limits != NULL)
		config.limits = *limits;
	fake_reset(&config);
}

int rdma_rig_tear_down(void **state)
{
	struct fake_counts counts;
	char text[256];

	(void)state;
	fake_plan_set(NULL);
	fake_counts(&counts);
	assert_string_equal(fake_leaks(text, sizeof(text)), "");
	assert_int_equal(counts.registered, 0);
	assert_int_equal(counts.overruns, 0);
	return 0;
}

void rdma_rig_move(struct joined *pair, uint64_t round)
{
	const uint32_t step = 256 * PAIR_PAGE;
	uint32_t channel = 0;

	pair_fill(pair, round);
	for (uint64_t offset = 0; offset < 3 * PAIR_GRANULE; offset += step)
		pair_write(pair, channel++ % pair->channels, 0, offset, step);
	pair_write(pair, 0, 0, 3 * PAIR_GRANULE, 5 * PAIR_PAGE);
	for (uint64_t offset = 0; offset < PAIR_GRANULE; offset += step)
		pair_write(pair, channel++ % pair->channels, 1, offset, step);
	pair_barrier(pair, round);

	assert_memory_equal(pair->to[0], pair->from[0], pair->length[0]);
	assert_memory_equal(pair->to[1], pair->from[1], PAIR_GRANULE);
}

int rdma_rig_await_error(struct joined *pair, uint32_t channel, struct decant_error *err)
{
	const int rc = pair_await_failure(pair, channel);

	pair->ops->source_last_error(pair->source, err);
	assert_int_equal(err->code, rc);
	assert_string_not_equal(err->msg, "");
	return rc;
}
