/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_auth.c -- with a key: what has it moves as ever, and what has it not neither takes a guest in nor sends one
 *
 * What must hold with a key as without it is taken from the other scenarios, whole.
 */
#include "integration/scenarios.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/handshake.h"
#include "util/clock.h"

static const char right_key[] = "a key that both ends of this migration have";
static const char wrong_key[] = "a key that one end of this migration has";

static void give_source(struct rig *rig, const char *key)
{
	rig->opts.key = key;
	rig->opts.key_length = key != NULL ? strlen(key) : 0;
}

static void give_destination(struct rig *rig, const char *key)
{
	rig->receiver_opts.key = key;
	rig->receiver_opts.key_length = key != NULL ? strlen(key) : 0;
}

static void give_both(struct rig *rig)
{
	give_source(rig, right_key);
	give_destination(rig, right_key);
}

void scenario_key_at_both_ends(struct rig *rig)
{
	give_both(rig);
	rig->opts.channels = 4;
	rig->opts.verify = true;
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
}

/* Nothing was made for it, and the one with the key comes through at once, without a receiver that is busy. */
static void expect_turned_away(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate(rig);
	rig_expect_stayed(rig, -EACCES);
	assert_non_null(strstr(rig->err.msg, "key"));
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_CREATE), 0);
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 0);

	rig->opts.key = rig->receiver_opts.key;
	rig->opts.key_length = rig->receiver_opts.key_length;
	rig_migrate(rig);
	rig_expect_moved(rig);
}

void scenario_key_is_wrong(struct rig *rig)
{
	give_both(rig);
	give_source(rig, wrong_key);
	expect_turned_away(rig);
}

void scenario_key_at_the_source_alone(struct rig *rig)
{
	give_source(rig, right_key);
	expect_turned_away(rig);
}

void scenario_key_at_the_destination_alone(struct rig *rig)
{
	give_destination(rig, right_key);
	expect_turned_away(rig);
}

/* The tokens of each epoch are others. */
void scenario_key_and_channels_that_die(struct rig *rig)
{
	give_both(rig);
	scenario_channel_dies_in_a_later_pass(rig);
}

void scenario_key_and_go_lost(struct rig *rig)
{
	give_both(rig);
	scenario_go_lost(rig);
}

/* ---- one who has no key, and answers in the place of the destination ---- */

struct forger {
	int listener;
	pthread_t thread;
	_Atomic unsigned asked, answered;
};

static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

/* Every way of saying NEVER that needs no key: at once, and after a challenge, with a proof that is a guess. */
static void forge(struct forger *forger, int fd)
{
	const struct wire_welcome plain = { .version = 1 };
	const struct wire_welcome proved = { .version = 1, .features = WIRE_FEATURE_AUTH };
	const struct wire_status status = { .fate = WIRE_FATE_NEVER };
	struct handshake handshake = { .fd = fd,
				       .wake_fd = -1,
				       .deadline_ns = clock_deadline_ns(20 * NSEC_PER_SEC) };
	const bool challenges = forger->asked++ % 2 == 1;
	uint8_t bytes[WIRE_WELCOME_MAX], zeros[WIRE_MAC_SIZE] = { 0 };
	uint32_t length;
	int rc = handshake_receive(&handshake, WIRE_HELLO, bytes, sizeof(bytes), &length, NULL);

	if (rc == 0 && challenges)
		rc = handshake_send(&handshake, WIRE_CHALLENGE, zeros, sizeof(zeros), NULL);
	if (rc == 0 && challenges)
		rc = handshake_receive(&handshake, WIRE_PROOF, bytes, sizeof(bytes), &length, NULL);
	if (rc < 0)
		return;
	rc = wire_welcome_encode(challenges ? &proved : &plain, bytes, sizeof(bytes));
	handshake_send(&handshake, WIRE_WELCOME, bytes, (size_t)rc, NULL);
	rc = wire_status_encode(&status, bytes, sizeof(bytes));
	handshake_send(&handshake, WIRE_STATUS, bytes, (size_t)rc, NULL);
	if (challenges)
		handshake_send(&handshake, WIRE_PROVED, zeros, sizeof(zeros), NULL);
	shutdown(fd, SHUT_WR);
	forger->answered++;
	/* until the source has read all of it */
	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static void *forger_thread(void *opaque)
{
	struct forger *forger = opaque;
	int fd;

	while ((fd = accept4(forger->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		forge(forger, fd);
		close(fd);
	}
	return NULL;
}

/* It runs there. Who says that it never did, and cannot prove it, must not make a second one of it here. */
void scenario_key_and_a_forged_answer(struct rig *rig)
{
	struct forger forger = { .asked = 0 };
	uint16_t port;

	give_both(rig);
	rig->opts.peer_timeout_ns = SCALE(700, 2000) * MS;
	rig->receiver_opts.lease_ns = SCALE(800, 2000) * MS;
	rig_boot(rig);
	rig_listen(rig);
	rig_add_proxy(rig);
	proxy_set_rule(rig->proxy,
		       &(struct proxy_rule){ .type = WIRE_RUNNING, .action = PROXY_CUT, .refuse = true });
	rig_migrate(rig);
	assert_int_equal(rig->ret, -EINPROGRESS);

	forger.listener = listen_somewhere(&port);
	proxy_set_target(rig->proxy, port);
	proxy_set_refuse(rig->proxy, false);
	assert_int_equal(pthread_create(&forger.thread, NULL, forger_thread, &forger), 0);
	/* where the machine is busy an answer may come too late; once each way is what it takes */
	for (unsigned i = 0; i < 100 && (i < 2 || forger.answered < 2); i++)
		assert_int_equal(decant_migration_settle(rig->migration, false, &rig->err), -EINPROGRESS);
	shutdown(forger.listener, SHUT_RDWR);
	pthread_join(forger.thread, NULL);
	close(forger.listener);

	assert_true(forger.answered >= 2);
	assert_false(synthetic_is_running(rig->source));
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_RESUME), 0);
	assert_true(synthetic_is_running(rig->destination));

	/* and the one that can is believed */
	proxy_set_target(rig->proxy, decant_receiver_port(rig->receiver));
	for (unsigned i = 0; i < 100 && rig->ret == -EINPROGRESS; i++)
		rig->ret = decant_migration_settle(rig->migration, false, &rig->err);
	rig->stats.size = sizeof(rig->stats);
	decant_migration_get_stats(rig->migration, &rig->stats);
	rig_expect_moved(rig);
}

/* ---- a crowd at the door ---- */

#define CROWD 100u

static int knock(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Three times as many as are heard at once say nothing, or HELLO and then nothing: the one with the key is heard all the same. */
void scenario_key_and_a_crowd(struct rig *rig)
{
	const struct wire_hello hello = { .version_min = 1,
					  .version_max = 1,
					  .purpose = WIRE_PURPOSE_MIGRATE,
					  .features = WIRE_FEATURE_AUTH,
					  .name = "rig" };
	uint8_t bytes[512];
	const int length = wire_hello_encode(&hello, bytes, sizeof(bytes));
	int crowd[CROWD];

	give_both(rig);
	rig_boot(rig);
	rig_listen(rig);
	for (unsigned i = 0; i < CROWD; i++) {
		struct handshake handshake = { .wake_fd = -1, .deadline_ns = CLOCK_NEVER };

		crowd[i] = handshake.fd = knock(decant_receiver_port(rig->receiver));
		if (i % 2 == 0)
			handshake_send(&handshake, WIRE_HELLO, bytes, (size_t)length, NULL);
	}
	rig_migrate(rig);
	rig_expect_moved(rig);
	for (unsigned i = 0; i < CROWD; i++)
		close(crowd[i]);
}
