/* SPDX-License-Identifier: BSD-2-Clause */
/* calls_fake.c -- the verbs of the RDMA device in the process */
#include "integration/calls.h"

#include <assert.h>
#include <errno.h>

#include "support/fake_verbs.h"

/* A silent peer is given up sooner than by a network card, and later than a busy machine is. */
#define ACK_MS 500

static_assert(FAKE_CALL_COUNT <= CALLS_VERBS_MAX, "room for each verb");

unsigned calls_verbs(void)
{
	return FAKE_CALL_COUNT;
}

#define CALL_NAME(name) #name,
const char *calls_verb_name(unsigned verb)
{
	static const char *const names[] = { FAKE_CALLS(CALL_NAME) };

	return names[verb];
}
#undef CALL_NAME

void calls_verbs_begin(unsigned verb, unsigned nth)
{
	struct fake_config config = fake_config_default();
	struct fake_plan plan = { 0 };

	config.ack_ms = ACK_MS;
	fake_reset(&config);
	plan.fail[verb].nth = nth;
	plan.fail[verb].error = verb == FAKE_REG_MR || verb == FAKE_POST_SEND ? ENOMEM : EIO;
	fake_plan_set(nth > 0 ? &plan : NULL);
}

unsigned calls_verb_count(unsigned verb)
{
	struct fake_counts counts;

	/* what cannot be given back is there for good */
	if (verb == FAKE_DEREG_MR)
		return 0;
	fake_counts(&counts);
	return (unsigned)counts.call[verb];
}
