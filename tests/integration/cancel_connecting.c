/* SPDX-License-Identifier: BSD-2-Clause */
/* cancel_connecting.c -- a migration is cancelled while its data channels wait for an answer that does not come: it ends at once */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>
#include <cmocka.h>

#include "integration/pair.h"
#include "wire/wire.h"

/* The peer timeout of a pair is 40 s: what ends before that has been told to. */
#define AT_ONCE_MS 20000u

static struct pair pair;
static atomic_bool opened;

/* The address of the channels is known to the source when this has passed, and nothing that it says on them arrives. */
static enum relay_act hold_channels(void *opaque)
{
	(void)opaque;
	relay_hold_data(pair.relay, true);
	atomic_store(&opened, true);
	return RELAY_PASS;
}

static void test_cancel__while_channels_connect_ends_it_at_once(void **state)
{
	const struct relay_rule rule = { .type = WIRE_OPENED, .way = RELAY_BACK, .act = hold_channels };
	char text[256] = "";

	(void)state;
	pair_init(&pair, "tcp");
	assert_int_equal(pair_start(&pair), 0);
	relay_set_rule(pair.relay, &rule);
	assert_int_equal(pair_migrate(&pair), 0);
	while (!atomic_load(&opened))
		usleep(1000);
	/* most of the time it is in the connect by then; earlier is no reason to fail */
	usleep(50000);
	decant_migration_cancel(pair.migration);

	assert_true(pair_await_source(&pair, AT_ONCE_MS));
	pair_join(&pair);
	assert_int_equal(pair.ret, -ECANCELED);
	relay_hold_data(pair.relay, false);
	if (pair_judge(&pair, PAIR_STAYED, text, sizeof(text)) < 0 || pair_repeat(&pair, text, sizeof(text)) < 0)
		fail_msg("%s", text);
	pair_destroy(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cancel__while_channels_connect_ends_it_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
