/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_handover.c -- the control connection cut, slow or gone at every arrow: never two running, never none for good
 *
 * Before GO the source goes on by itself. After it only proof counts: RUNNING, or that it never ran and never will.
 */
#include "integration/scenarios.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wire/wire.h"

#define LEASE_MS SCALE(800u, 2000u)

static void boot_behind_proxy(struct rig *rig)
{
	rig->receiver_opts.lease_ns = LEASE_MS * MS;
	rig_boot(rig);
	rig_listen(rig);
	rig_add_proxy(rig);
}

static void set_rule(struct rig *rig, uint16_t type, enum proxy_action action, bool refuse)
{
	const struct proxy_rule rule = { .type = type, .action = action, .refuse = refuse };

	proxy_set_rule(rig->proxy, &rule);
}

static void migrate_when_free(struct rig *rig)
{
	for (int i = 0; i < 100; i++) {
		rig_migrate(rig);
		if (rig->ret != -EBUSY)
			return;
		usleep(100000);
	}
}

void scenario_wire_cut_at_each_arrow(struct rig *rig)
{
	static const uint16_t arrows[] = {
		WIRE_HELLO,    WIRE_WELCOME, WIRE_REGIONS,     WIRE_SHAPE, WIRE_PREPARED, WIRE_OPEN,  WIRE_OPENED,
		WIRE_REGISTER, WIRE_GRANT,   WIRE_BARRIER_ACK, WIRE_STATE, WIRE_HANDOVER, WIRE_READY,
	};

	rig->config.rate = 500;
	boot_behind_proxy(rig);
	for (size_t i = 0; i < sizeof(arrows) / sizeof(arrows[0]); i++) {
		set_rule(rig, arrows[i], PROXY_CUT, false);
		migrate_when_free(rig);
		if (!proxy_has_acted(rig->proxy))
			fail_msg("no %s was seen", wire_strtype(arrows[i]));
		print_message("# cut at %s: %s\n", wire_strtype(arrows[i]), rig->err.msg);
		rig_expect_stayed(rig, 0);
	}
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
	rig_expect_usable(rig);
}

static void *release_later(void *opaque)
{
	struct rig *rig = opaque;

	if (proxy_wait_acted(rig->proxy, 60000))
		usleep(100000);
	proxy_release(rig->proxy);
	return NULL;
}

/* Late is not lost. Slow where nothing runs out: every message but GO, which has a lease, comes 100 ms late, once. */
void scenario_wire_slow_at_each_arrow(struct rig *rig)
{
	static const uint16_t arrows[] = {
		WIRE_PREPARED, WIRE_OPENED, WIRE_GRANT, WIRE_BARRIER_ACK, WIRE_STATE,
		WIRE_HANDOVER, WIRE_READY,  WIRE_GO,    WIRE_RUNNING,
	};

	for (size_t i = 0; i < sizeof(arrows) / sizeof(arrows[0]); i++) {
		struct rig one;
		pthread_t thread;

		rig_init(&one, rig->fabric);
		boot_behind_proxy(&one);
		set_rule(&one, arrows[i], PROXY_HOLD, false);
		assert_int_equal(pthread_create(&thread, NULL, release_later, &one), 0);
		rig_migrate(&one);
		pthread_join(thread, NULL);
		assert_true(proxy_has_acted(one.proxy));
		rig_expect_moved(&one);
		rig_destroy(&one);
	}
}

/* The destination is ready, the source does not learn of it in time: it goes on, and the destination must not start. */
void scenario_ready_held_back(struct rig *rig)
{
	rig->opts.switchover_timeout_ns = SCALE(300, 1500) * MS;
	boot_behind_proxy(rig);
	set_rule(rig, WIRE_READY, PROXY_HOLD, false);
	rig_migrate(rig);
	assert_true(proxy_has_acted(rig->proxy));

	rig_expect_stayed(rig, -ETIMEDOUT);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
	proxy_release(rig->proxy);
	rig->opts.switchover_timeout_ns = 20000 * MS;
	rig_expect_usable(rig);
}

/* GO was given to the socket, but it stays there until the lease has run out: the destination has thrown the VM away. */
void scenario_go_held_back_beyond_the_lease(struct rig *rig)
{
	boot_behind_proxy(rig);
	set_rule(rig, WIRE_GO, PROXY_HOLD, false);
	rig_migrate(rig);
	assert_true(proxy_has_acted(rig->proxy));
	proxy_release(rig->proxy);

	rig_expect_stayed(rig, 0);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
	rig_expect_usable(rig);
}

/* Never came, and the connection with it: QUERY says NEVER once the lease has run out. */
void scenario_go_lost(struct rig *rig)
{
	boot_behind_proxy(rig);
	set_rule(rig, WIRE_GO, PROXY_CUT, false);
	rig_migrate(rig);
	assert_true(proxy_has_acted(rig->proxy));

	rig_expect_stayed(rig, 0);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
	rig_expect_usable(rig);
}

/* It runs, only the answer was lost: QUERY says so. */
void scenario_running_lost(struct rig *rig)
{
	boot_behind_proxy(rig);
	set_rule(rig, WIRE_RUNNING, PROXY_CUT, false);
	rig_migrate(rig);
	assert_true(proxy_has_acted(rig->proxy));

	rig_expect_moved(rig);
}

static void expect_in_doubt(struct rig *rig)
{
	assert_true(proxy_has_acted(rig->proxy));
	assert_int_equal(rig->ret, -EINPROGRESS);
	assert_int_equal(rig->stats.state, DECANT_STATE_IN_DOUBT);
	assert_true(strlen(rig->err.msg) > 0);
	assert_false(synthetic_is_running(rig->source));
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_RESUME), 0);
}

static void boot_for_doubt(struct rig *rig)
{
	rig->opts.peer_timeout_ns = SCALE(700, 2000) * MS;
	boot_behind_proxy(rig);
}

static int settle(struct rig *rig, bool force)
{
	int ret = decant_migration_settle(rig->migration, force, &rig->err);

	rig->stats.size = sizeof(rig->stats);
	decant_migration_get_stats(rig->migration, &rig->stats);
	return ret;
}

void scenario_running_lost_and_peer_away(struct rig *rig)
{
	boot_for_doubt(rig);
	set_rule(rig, WIRE_RUNNING, PROXY_CUT, true);
	rig_migrate(rig);
	expect_in_doubt(rig);

	assert_int_equal(settle(rig, false), -EINPROGRESS);
	proxy_set_refuse(rig->proxy, false);
	rig->ret = settle(rig, false);
	rig_expect_moved(rig);
}

void scenario_go_lost_and_peer_away(struct rig *rig)
{
	boot_for_doubt(rig);
	set_rule(rig, WIRE_GO, PROXY_CUT, true);
	rig_migrate(rig);
	expect_in_doubt(rig);

	usleep(LEASE_MS * 1000 + 200000);
	proxy_set_refuse(rig->proxy, false);
	assert_int_equal(settle(rig, false), -ECANCELED);
	assert_int_equal(rig->stats.state, DECANT_STATE_FAILED);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
	assert_false(synthetic_is_running(rig->source));
	assert_int_equal(synthetic_ops()->resume(rig->source, NULL), 0);
	rig_expect_usable(rig);
}

/* Nobody answers, and the operator says that it must be so. The lease is waited out first. */
void scenario_settle_by_force(struct rig *rig)
{
	boot_for_doubt(rig);
	set_rule(rig, WIRE_GO, PROXY_CUT, true);
	rig_migrate(rig);
	expect_in_doubt(rig);

	assert_int_equal(settle(rig, true), -ECANCELED);
	assert_int_equal(rig->stats.state, DECANT_STATE_FAILED);
	for (int i = 0; i < 20000 && synthetic_count(rig->destination, SYNTHETIC_DISCARD) == 0; i++)
		usleep(1000);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_DISCARD), 1);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
}

/* It has GO and takes long to start the guest: it answers, so that force has no place, and in the end it runs there. */
void scenario_settle_while_it_starts(struct rig *rig)
{
	rig->opts.peer_timeout_ns = SCALE(700, 2000) * MS;
	rig->receiver_opts.lease_ns = LEASE_MS * MS;
	rig_boot(rig);
	synthetic_set_delay(rig->destination, SYNTHETIC_START, 6 * LEASE_MS);
	rig_listen(rig);
	rig_add_proxy(rig);
	set_rule(rig, WIRE_GO, PROXY_CUT_AFTER, false);
	rig_migrate(rig);
	expect_in_doubt(rig);

	assert_int_equal(settle(rig, true), -EINPROGRESS);
	assert_int_equal(rig->stats.state, DECANT_STATE_IN_DOUBT);
	for (int i = 0; i < 600 && (rig->ret = settle(rig, true)) == -EINPROGRESS; i++)
		usleep(100000);
	rig_expect_moved(rig);
}

void scenario_settle_what_is_settled(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);

	assert_int_equal(decant_migration_settle(rig->migration, false, &rig->err), -EINVAL);
	assert_int_equal(decant_migration_settle(rig->migration, true, &rig->err), -EINVAL);
	rig_expect_moved(rig);
}
