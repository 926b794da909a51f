/* SPDX-License-Identifier: BSD-2-Clause */
/* test_incoming.c -- what a destination does with a source that breaks the rules */
#include "integration/breaker.h"
#include "migration/host.h"
#include "migration/incoming.h"
#include "migration/peer.h"
#include "util/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (20 * NSEC_PER_SEC)
#define LENGTH (4u << 20)

struct ends {
	struct incoming *incoming;
	struct peer *source;
};

static int create(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		  uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	(void)opaque;
	(void)shape;
	for (uint32_t i = 0; i < count; i++) {
		const int rc = decant_memory_allocate(memory, &regions[i], err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static const struct incoming_ops ops = { .create = create };

static int queue_all(void *opaque, const struct peer_message *message, struct decant_error *err)
{
	(void)opaque;
	(void)message;
	(void)err;
	return 0;
}

static const struct peer_events source_events = { .intercept = queue_all };

static void open_ends_with(struct ends *ends, uint64_t features, const struct auth_key *key)
{
	struct peer_opts peer_opts = {
		.sent = 1,
		.received = 0,
		.timeout_ns = PATIENCE_NS,
		.events = &source_events,
	};
	struct incoming_opts opts = {
		.host = "127.0.0.1",
		.max_memory = 1ull << 30,
		.peer_timeout_ns = PATIENCE_NS,
		.populate_threads = 1,
		.ops = &ops,
	};
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	host_welcome(&opts.welcome, 1ull << 30, 0);
	opts.welcome.features &= features;
	opts.handshake = (struct handshake){ .fd = fd[0], .received = 1, .auth.key = key };
	peer_opts.fd = fd[1];
	assert_int_equal(peer_new(&peer_opts, &ends->source, NULL), 0);
	assert_int_equal(incoming_new(&opts, &ends->incoming, NULL), 0);
}

static void open_ends(struct ends *ends, uint64_t features)
{
	open_ends_with(ends, features, NULL);
}

static void close_ends(struct ends *ends)
{
	incoming_close(ends->incoming);
	peer_close(ends->source);
}

static void say(struct ends *ends, uint16_t type, const uint8_t *bytes, int length, const void *data, size_t more)
{
	assert_true(length > 0);
	assert_int_equal(peer_send(ends->source, type, bytes, (size_t)length, data, more, NULL), 0);
}

static void say_regions_and_shape(struct ends *ends)
{
	struct wire_regions regions = { .count = 1 };
	const struct wire_chunk shape = { 0 };
	uint8_t bytes[512];

	snprintf(regions.region[0].name, sizeof(regions.region[0].name), "ram0");
	regions.region[0].length = LENGTH;
	regions.region[0].page_size = DECANT_PAGE_SIZE;
	say(ends, WIRE_REGIONS, bytes, wire_regions_encode(&regions, bytes, sizeof(bytes)), NULL, 0);
	say(ends, WIRE_SHAPE, bytes, wire_chunk_encode(&shape, bytes, sizeof(bytes)), NULL, 0);
}

static void say_open_rails(struct ends *ends, uint64_t epoch, const char *fabric, uint32_t rails, uint32_t rail)
{
	struct wire_open message = { .epoch = epoch, .channels = 1, .rails = rails, .rail = { rail } };
	uint8_t bytes[64];

	snprintf(message.fabric, sizeof(message.fabric), "%s", fabric);
	say(ends, WIRE_OPEN, bytes, wire_open_encode(&message, bytes, sizeof(bytes)), NULL, 0);
}

static void say_open(struct ends *ends, uint64_t epoch, const char *fabric)
{
	say_open_rails(ends, epoch, fabric, 0, 0);
}

static void say_fence(struct ends *ends, uint64_t epoch)
{
	const struct wire_fence message = { .epoch = epoch };
	uint8_t bytes[64];

	say(ends, WIRE_FENCE, bytes, wire_fence_encode(&message, bytes, sizeof(bytes)), NULL, 0);
}

/* The next message that the source gets is of @type. */
static void expect_said(struct ends *ends, uint16_t type, struct peer_message *message)
{
	assert_int_equal(peer_receive(ends->source, clock_deadline_ns(PATIENCE_NS), message, NULL), 0);
	assert_string_equal(wire_strtype(message->type), wire_strtype(type));
}

static void expect_said_only(struct ends *ends, uint16_t type)
{
	struct peer_message message;

	expect_said(ends, type, &message);
	peer_message_free(&message);
}

static void expect_lost(struct ends *ends, uint64_t epoch, int code, const char *word)
{
	struct peer_message message;
	struct wire_lost lost;

	expect_said(ends, WIRE_LOST, &message);
	assert_int_equal(wire_lost_decode(&lost, message.payload, message.length, NULL), 0);
	peer_message_free(&message);
	assert_int_equal(lost.epoch, epoch);
	assert_int_equal(lost.code, code);
	assert_non_null(strstr(lost.text, word));
}

static void say_register(struct ends *ends, uint64_t epoch)
{
	static struct wire_register message;
	uint8_t bytes[64];

	message = (struct wire_register){ .epoch = epoch, .count = 1, .range = { { .first = 0, .count = 1 } } };
	say(ends, WIRE_REGISTER, bytes, wire_register_encode(&message, bytes, sizeof(bytes)), NULL, 0);
}

static void say_pages(struct ends *ends)
{
	static const uint8_t page[DECANT_PAGE_SIZE] = { 1 };
	const struct wire_pages message = { .length = sizeof(page) };
	uint8_t bytes[64];

	say(ends, WIRE_PAGES, bytes, wire_pages_encode(&message, bytes, sizeof(bytes)), page, sizeof(page));
}

static int next(struct ends *ends, struct peer_message *message, struct decant_error *err)
{
	return incoming_next(ends->incoming, clock_deadline_ns(PATIENCE_NS), message, err);
}

static void expect_opened(struct ends *ends, struct wire_opened *opened)
{
	struct peer_message message;

	expect_said(ends, WIRE_OPENED, &message);
	assert_int_equal(wire_opened_decode(opened, message.payload, message.length, NULL), 0);
	peer_message_free(&message);
}

/* Who listens in learns tokens only where there is no key. */
static void test_incoming_next__opened_tells_no_tokens_of_a_key(void **state)
{
	static const uint8_t zeros[WIRE_TOKEN_SIZE];
	struct auth_key *keys[2] = { NULL, NULL };

	(void)state;
	assert_int_equal(auth_key_new("0123456789abcdef", 16, &keys[1], NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct peer_message message;
		struct wire_opened opened;
		struct ends ends;

		open_ends_with(&ends, host_features(), keys[i]);
		expect_said_only(&ends, WIRE_WELCOME);
		if (keys[i] != NULL)
			expect_said_only(&ends, WIRE_PROVED);
		say_regions_and_shape(&ends);
		assert_int_equal(incoming_prepare(ends.incoming, &err), 0);
		expect_said_only(&ends, WIRE_PREPARED);
		say_open(&ends, 1, "tcp");
		assert_int_equal(peer_send(ends.source, WIRE_BYE, NULL, 0, NULL, 0, NULL), 0);
		assert_int_equal(next(&ends, &message, &err), 0);
		peer_message_free(&message);
		expect_opened(&ends, &opened);
		assert_int_equal(opened.token_count, keys[i] != NULL ? 0 : 1);
		if (keys[i] == NULL) {
			assert_memory_not_equal(opened.tokens[0], zeros, sizeof(zeros));
			assert_memory_not_equal(opened.answers[0], zeros, sizeof(zeros));
			assert_memory_not_equal(opened.tokens[0], opened.answers[0], sizeof(zeros));
		}
		close_ends(&ends);
	}
	auth_key_free(keys[1]);
}

static void test_incoming_next__pages_land_before_the_memory_is_taken(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct ends ends;

	(void)state;
	open_ends(&ends, host_features());
	say_regions_and_shape(&ends);
	assert_int_equal(incoming_prepare(ends.incoming, &err), 0);
	say_pages(&ends);
	assert_int_equal(peer_send(ends.source, WIRE_BYE, NULL, 0, NULL, 0, NULL), 0);
	assert_int_equal(next(&ends, &message, &err), 0);
	assert_int_equal(message.type, WIRE_BYE);
	peer_message_free(&message);
	assert_int_equal(*(uint8_t *)decant_memory_region(incoming_memory(ends.incoming), 0)->address, 1);
	close_ends(&ends);
}

/* The guest runs there, and may be gone again: its memory is nobody's to write, and no channel is opened to it. */
static void test_incoming_next__nothing_lands_once_the_memory_is_taken(void **state)
{
	static const uint16_t expected[] = { WIRE_PAGES, WIRE_OPEN };
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct decant_memory *memory;
	struct ends ends;

	(void)state;
	open_ends(&ends, host_features());
	say_regions_and_shape(&ends);
	assert_int_equal(incoming_prepare(ends.incoming, &err), 0);
	incoming_fence(ends.incoming);
	memory = incoming_take_memory(ends.incoming);
	say_pages(&ends);
	say_open(&ends, 1, "tcp");
	say_register(&ends, 1);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_int_equal(next(&ends, &message, &err), 0);
		assert_int_equal(message.type, expected[i]);
		peer_message_free(&message);
	}
	assert_int_equal(*(uint8_t *)decant_memory_region(memory, 0)->address, 0);
	decant_memory_free(memory);
	close_ends(&ends);
}

static void test_incoming_next__a_second_open_is_refused(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct ends ends;

	(void)state;
	open_ends(&ends, host_features());
	say_regions_and_shape(&ends);
	assert_int_equal(incoming_prepare(ends.incoming, &err), 0);
	say_open(&ends, 1, "tcp");
	say_open(&ends, 2, "tcp");
	assert_int_equal(next(&ends, &message, &err), -EPROTO);
	close_ends(&ends);
}

static void test_incoming_next__a_fabric_not_in_both_features_is_refused(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct ends ends;

	(void)state;
	open_ends(&ends, HOST_FEATURE_LOOP);
	say_regions_and_shape(&ends);
	assert_int_equal(incoming_prepare(ends.incoming, &err), 0);
	say_open(&ends, 1, "tcp");
	assert_int_equal(next(&ends, &message, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "tcp"));
	close_ends(&ends);
}

static void test_incoming_prepare__register_too_early_is_refused(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct ends ends;

	(void)state;
	open_ends(&ends, host_features());
	say_register(&ends, 1);
	assert_int_equal(incoming_prepare(ends.incoming, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "REGISTER"));
	close_ends(&ends);
}

static void prepare(struct ends *ends)
{
	breaker_reset();
	open_ends(ends, host_features());
	say_regions_and_shape(ends);
	assert_int_equal(incoming_prepare(ends->incoming, NULL), 0);
	expect_said_only(ends, WIRE_WELCOME);
	expect_said_only(ends, WIRE_PREPARED);
}

/* Nothing is the caller's: it ends with its patience, having done what it was told to. */
static void serve_for_a_while(struct ends *ends)
{
	struct peer_message message;

	assert_int_equal(incoming_next(ends->incoming, clock_deadline_ns(200 * NSEC_PER_MSEC), &message, NULL),
			 -ETIMEDOUT);
}

static void test_incoming_next__rails_that_do_not_fit_are_refused(void **state)
{
	static const struct {
		const char *fabric;
		uint32_t rails, rail;
		const char *says;
	} cases[] = {
		{ "rdma", 1, 1, "rail 1" },
		{ "rdma", 0, 0, "0 rails" },
		{ "tcp", 1, 0, "1 rails" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct peer_message message;
		struct ends ends;

		prepare(&ends);
		say_open_rails(&ends, 1, cases[i].fabric, cases[i].rails, cases[i].rail);
		assert_int_equal(next(&ends, &message, &err), -EPROTO);
		assert_non_null(strstr(err.msg, cases[i].says));
		close_ends(&ends);
	}
}

static void test_incoming_next__a_sink_that_cannot_open_is_told_and_survived(void **state)
{
	struct ends ends;

	(void)state;
	prepare(&ends);
	breaker_arm(BREAKER_OPEN, 0);
	say_open_rails(&ends, 1, "rdma", 1, 0);
	serve_for_a_while(&ends);
	expect_lost(&ends, 1, EADDRNOTAVAIL, "nobody listen");
	say_fence(&ends, 1);
	say_open(&ends, 2, "tcp");
	serve_for_a_while(&ends);

	expect_said_only(&ends, WIRE_FENCED);
	expect_said_only(&ends, WIRE_OPENED);
	close_ends(&ends);
}

/* Any errno may be a device's: none may pass for an epoch that is over, whose granules are dropped without a word. */
static void expose_in_vain(int code)
{
	struct breaker_counts counts;
	struct ends ends;

	breaker_reset();
	prepare(&ends);
	breaker_arm(BREAKER_EXPOSE, 0);
	breaker_code(BREAKER_EXPOSE, -code);
	say_open_rails(&ends, 1, "rdma", 1, 0);
	serve_for_a_while(&ends);
	expect_said_only(&ends, WIRE_OPENED);
	say_register(&ends, 1);
	expect_lost(&ends, 1, code, "no more memory at the destination");
	say_fence(&ends, 1);
	say_open(&ends, 2, "tcp");
	serve_for_a_while(&ends);
	expect_said_only(&ends, WIRE_FENCED);
	expect_said_only(&ends, WIRE_OPENED);
	say_register(&ends, 2);
	expect_said_only(&ends, WIRE_GRANT);
	close_ends(&ends);
	breaker_counts(&counts);
	assert_int_equal(counts.sinks, 0);
}

static void test_incoming_next__a_granule_that_cannot_be_exposed_is_told_and_survived(void **state)
{
	(void)state;
	expose_in_vain(ENOMEM);
	expose_in_vain(ECANCELED);
}

/* A fenced sink keeps its registrations until they are out of the way; a second one drives it out. */
static void test_incoming_release__closes_what_was_fenced(void **state)
{
	struct breaker_counts counts;
	struct ends ends;

	(void)state;
	prepare(&ends);
	for (uint64_t epoch = 1; epoch <= 3; epoch++) {
		say_open_rails(&ends, epoch, "rdma", 1, 0);
		say_fence(&ends, epoch);
	}
	serve_for_a_while(&ends);
	breaker_counts(&counts);
	assert_int_equal(counts.sinks, 1);

	decant_memory_free(incoming_take_memory(ends.incoming));
	breaker_counts(&counts);
	assert_int_equal(counts.sinks, 0);
	close_ends(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_incoming_next__opened_tells_no_tokens_of_a_key),
		cmocka_unit_test(test_incoming_next__pages_land_before_the_memory_is_taken),
		cmocka_unit_test(test_incoming_next__nothing_lands_once_the_memory_is_taken),
		cmocka_unit_test(test_incoming_next__a_second_open_is_refused),
		cmocka_unit_test(test_incoming_next__a_fabric_not_in_both_features_is_refused),
		cmocka_unit_test(test_incoming_next__rails_that_do_not_fit_are_refused),
		cmocka_unit_test(test_incoming_next__a_sink_that_cannot_open_is_told_and_survived),
		cmocka_unit_test(test_incoming_next__a_granule_that_cannot_be_exposed_is_told_and_survived),
		cmocka_unit_test(test_incoming_release__closes_what_was_fenced),
		cmocka_unit_test(test_incoming_prepare__register_too_early_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
