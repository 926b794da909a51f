/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_link.c -- streams and control messages between two sidecars, and what a hostile one says
 *
 * Two links, whose messages lie in queues of the test's until it delivers them.
 */
#include "qemu/link.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define QUEUE_MAX 256u

struct side {
	struct link *link;
	struct side *other;
	struct {
		uint8_t *bytes;
		size_t length;
	} queue[QUEUE_MAX]; /* said by this one, and not delivered */
	unsigned queued;
	int send_fails;
};

static struct side source, destination;
static struct decant_error err;

static int queue_message(void *opaque, const void *data, size_t length, struct decant_error *error)
{
	struct side *side = opaque;

	if (side->send_fails != 0)
		return decant_error_set(error, side->send_fails, "the network is gone");
	assert_true(length >= LINK_HEAD && length <= DECANT_MESSAGE_MAX && side->queued < QUEUE_MAX);
	side->queue[side->queued].bytes = malloc(length);
	assert_non_null(side->queue[side->queued].bytes);
	memcpy(side->queue[side->queued].bytes, data, length);
	side->queue[side->queued++].length = length;
	return 0;
}

/* All that has been said is heard. */
static void deliver(struct side *side)
{
	for (unsigned i = 0; i < side->queued; i++) {
		if (link_deliver(side->other->link, side->queue[i].bytes, side->queue[i].length, &err) < 0)
			fail_msg("link_deliver: %s", err.msg);
		free(side->queue[i].bytes);
	}
	side->queued = 0;
}

static void deliver_all(void)
{
	while (source.queued + destination.queued > 0) {
		deliver(&source);
		deliver(&destination);
	}
}

static void open_side(struct side *side, struct side *other, bool is_source)
{
	const struct link_opts opts = { .source = is_source, .send = queue_message, .opaque = side };

	*side = (struct side){ .other = other };
	assert_int_equal(link_new(&opts, &side->link, &err), 0);
}

static int setup(void **state)
{
	(void)state;
	open_side(&source, &destination, true);
	open_side(&destination, &source, false);
	return 0;
}

static void close_side(struct side *side)
{
	for (unsigned i = 0; i < side->queued; i++)
		free(side->queue[i].bytes);
	link_free(side->link);
}

static int teardown(void **state)
{
	(void)state;
	close_side(&source);
	close_side(&destination);
	return 0;
}

static uint32_t open_stream(enum link_service service)
{
	enum link_service found;
	uint32_t id, accepted;

	assert_int_equal(link_open(source.link, service, &id, &err), 0);
	deliver_all();
	assert_int_equal(link_accept(destination.link, &accepted, &found), 1);
	assert_int_equal(accepted, id);
	assert_int_equal(found, service);
	return id;
}

static void expect_nothing(struct side *side, uint32_t id)
{
	const void *data;
	size_t length = 1;

	assert_int_equal(link_peek(side->link, id, &data, &length, &err), 0);
	assert_int_equal(length, 0);
}

static void expect_end(struct side *side, uint32_t id)
{
	const void *data;
	size_t length = 1;

	assert_int_equal(link_peek(side->link, id, &data, &length, &err), 1);
	assert_int_equal(length, 0);
}

static void expect_broken(struct side *side, uint32_t id, int code)
{
	const void *data;
	size_t length;

	assert_int_equal(link_peek(side->link, id, &data, &length, &err), code);
	assert_int_equal(link_write(side->link, id, "x", 1, &err), code);
	assert_int_equal(link_room(side->link, id), 0);
}

static void expect_bytes(struct side *side, uint32_t id, const char *bytes)
{
	const void *data;
	size_t length;

	assert_int_equal(link_peek(side->link, id, &data, &length, &err), 0);
	assert_int_equal(length, strlen(bytes));
	assert_memory_equal(data, bytes, length);
	assert_int_equal(link_consume(side->link, id, length, &err), 0);
}

static void write_text(struct side *side, uint32_t id, const char *text)
{
	assert_int_equal(link_write(side->link, id, text, strlen(text), &err), (int)strlen(text));
}

static void test_streams__carry_bytes_both_ways(void **state)
{
	uint32_t first, second, id;
	enum link_service service;

	(void)state;
	first = open_stream(LINK_MIGRATION);
	second = open_stream(LINK_DISK);
	assert_int_not_equal(first, second);
	assert_int_equal(link_accept(destination.link, &id, &service), 0);
	assert_int_equal(link_accept(source.link, &id, &service), 0);
	write_text(&source, first, "to there");
	write_text(&source, second, "disk");
	write_text(&destination, first, "and back");
	expect_nothing(&destination, first);
	deliver_all();
	expect_bytes(&destination, second, "disk");
	expect_bytes(&destination, first, "to there");
	expect_bytes(&source, first, "and back");
	expect_nothing(&source, second);
}

static void test_link_end__ends_one_direction(void **state)
{
	uint32_t id;

	(void)state;
	id = open_stream(LINK_MIGRATION);
	write_text(&source, id, "last");
	assert_int_equal(link_end(source.link, id, &err), 0);
	assert_int_equal(link_end(source.link, id, &err), 0);
	assert_int_equal(link_room(source.link, id), 0);
	assert_int_equal(link_write(source.link, id, "x", 1, &err), -EPIPE);
	deliver_all();
	expect_bytes(&destination, id, "last");
	expect_end(&destination, id);
	write_text(&destination, id, "still");
	assert_int_equal(link_end(destination.link, id, &err), 0);
	deliver_all();
	expect_bytes(&source, id, "still");
	expect_end(&source, id);
	link_close(source.link, id, 0);
	link_close(destination.link, id, 0);
	assert_int_equal(source.queued + destination.queued, 0);
	assert_int_equal(link_write(source.link, id, "x", 1, &err), -EBADF);
	assert_int_equal(link_room(destination.link, id), 0);
}

static void test_link_write__stops_at_the_window(void **state)
{
	static uint8_t bytes[LINK_WINDOW + 1000];
	uint32_t full, other;
	const void *data;
	size_t length, read = 0;

	(void)state;
	full = open_stream(LINK_MIGRATION);
	other = open_stream(LINK_DISK);
	assert_int_equal(link_room(source.link, full), LINK_WINDOW);
	assert_int_equal(link_write(source.link, full, bytes, sizeof(bytes), &err), LINK_WINDOW);
	assert_int_equal(link_write(source.link, full, bytes, 1, &err), 0);
	deliver_all();
	write_text(&source, other, "not held up");
	deliver_all();
	expect_bytes(&destination, other, "not held up");
	assert_int_equal(link_room(source.link, full), 0);
	assert_int_equal(link_consume(destination.link, full, LINK_WINDOW / 4 - 1, &err), 0);
	assert_int_equal(destination.queued, 0);
	assert_int_equal(link_consume(destination.link, full, 1, &err), 0);
	deliver_all();
	assert_int_equal(link_room(source.link, full), LINK_WINDOW / 4);
	read = LINK_WINDOW / 4;
	while (link_peek(destination.link, full, &data, &length, &err) == 0 && length > 0) {
		assert_int_equal(link_consume(destination.link, full, length < 5000 ? length : 5000, &err), 0);
		read += length < 5000 ? length : 5000;
	}
	assert_int_equal(read, LINK_WINDOW);
	deliver_all();
	/* what is not given back yet is less than a quarter */
	assert_true(link_room(source.link, full) > LINK_WINDOW / 4 * 3);
}

/* Pieces of all lengths, so that the ring's end comes at any place. */
static void test_streams__keep_their_order_around_the_ring(void **state)
{
	static uint8_t bytes[70000];
	uint64_t written = 0, read = 0;
	uint32_t id, random = 1;
	const void *data;
	size_t length;

	(void)state;
	id = open_stream(LINK_MIGRATION);
	while (read < 5ull * LINK_WINDOW) {
		size_t part;

		random = random * 1664525u + 1013904223u;
		part = (random >> 8) % sizeof(bytes);
		if (part > link_room(source.link, id))
			part = link_room(source.link, id);
		for (size_t i = 0; i < part; i++)
			bytes[i] = (uint8_t)((written + i) * 2654435761u >> 13);
		assert_int_equal(link_write(source.link, id, bytes, part, &err), part);
		written += part;
		deliver_all();
		assert_int_equal(link_peek(destination.link, id, &data, &length, &err), 0);
		length = length > 100 ? length - (random & 63) : length;
		for (size_t i = 0; i < length; i++)
			assert_int_equal(((const uint8_t *)data)[i], (uint8_t)((read + i) * 2654435761u >> 13));
		assert_int_equal(link_consume(destination.link, id, length, &err), 0);
		read += length;
		deliver_all();
	}
}

static void test_link_close__breaks_what_is_not_ended(void **state)
{
	static const struct {
		int code, seen;
	} cases[] = { { 0, -ECONNRESET }, { EIO, -EIO }, { -1, -ECONNRESET }, { 5000, -ECONNRESET } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint32_t id = open_stream(LINK_MIGRATION);

		write_text(&source, id, "lost");
		write_text(&destination, id, "also");
		link_close(source.link, id, cases[i].code);
		deliver_all();
		expect_broken(&destination, id, cases[i].seen);
		link_close(destination.link, id, 0);
		deliver_all();
	}
	/* one that is broken before anybody has accepted it */
	{
		enum link_service service;
		uint32_t id, accepted;

		assert_int_equal(link_open(source.link, LINK_DISK, &id, &err), 0);
		link_close(source.link, id, EPIPE);
		deliver_all();
		assert_int_equal(link_accept(destination.link, &accepted, &service), 1);
		expect_broken(&destination, accepted, -EPIPE);
		link_close(destination.link, accepted, 0);
	}
	assert_int_equal(link_check(source.link, NULL), 0);
	assert_int_equal(link_check(destination.link, NULL), 0);
}

/* What the other end has said before it knew is dropped. */
static void test_link_close__late_messages_harm_nobody(void **state)
{
	static uint8_t bytes[LINK_WINDOW / 2];
	const void *data;
	size_t length;
	uint32_t id;

	(void)state;
	id = open_stream(LINK_MIGRATION);
	assert_int_equal(link_write(source.link, id, bytes, sizeof(bytes), &err), sizeof(bytes));
	deliver_all();
	assert_int_equal(link_write(source.link, id, bytes, 10, &err), 10);
	assert_int_equal(link_end(source.link, id, &err), 0);
	while (link_peek(destination.link, id, &data, &length, &err) == 0 && length > 0)
		assert_int_equal(link_consume(destination.link, id, length, &err), 0);
	link_close(destination.link, id, EIO);
	deliver(&source);
	link_close(source.link, id, 0);
	deliver_all();
	assert_int_equal(link_check(source.link, NULL), 0);
}

static void test_link_open__has_a_limit(void **state)
{
	uint32_t id[LINK_STREAMS_MAX], more;
	enum link_service service;

	(void)state;
	for (unsigned i = 0; i < LINK_STREAMS_MAX; i++)
		id[i] = open_stream(LINK_DISK);
	assert_int_equal(link_open(source.link, LINK_DISK, &more, &err), -EMFILE);
	/* gone here, but not there yet: that end refuses it */
	link_close(source.link, id[7], 0);
	assert_int_equal(link_open(source.link, LINK_DISK, &more, &err), 0);
	deliver_all();
	assert_int_equal(link_accept(destination.link, &id[0], &service), 0);
	expect_broken(&source, more, -EMFILE);
	link_close(source.link, more, 0);
	link_close(destination.link, id[7], 0);
	deliver_all();
	open_stream(LINK_DISK);
	assert_int_equal(link_open(destination.link, LINK_DISK, &more, &err), -EINVAL);
}

static bool readable(struct side *side)
{
	struct pollfd pollfd = { .fd = link_fd(side->link), .events = POLLIN };

	return poll(&pollfd, 1, 0) == 1;
}

static void test_link_fd__tells_that_something_has_come(void **state)
{
	uint32_t id;

	(void)state;
	assert_false(readable(&destination));
	id = open_stream(LINK_MIGRATION);
	assert_true(readable(&destination));
	link_clear(destination.link);
	assert_false(readable(&destination));
	write_text(&source, id, "a");
	write_text(&source, id, "b");
	deliver_all();
	assert_true(readable(&destination));
	link_clear(destination.link);
	assert_false(readable(&destination));
	assert_int_equal(link_end(source.link, id, &err), 0);
	deliver_all();
	assert_true(readable(&destination));
	link_clear(destination.link);
	assert_int_equal(link_send_control(source.link, LINK_START, "", &err), 0);
	deliver_all();
	assert_true(readable(&destination));
	link_clear(destination.link);
	decant_error_set(&err, -EPIPE, "gone");
	link_fail(destination.link, &err);
	assert_true(readable(&destination));
}

static void test_control__comes_in_order(void **state)
{
	static char text[LINK_CONTROL_MAX + 2], heard[LINK_CONTROL_MAX + 1];
	enum link_control kind;

	(void)state;
	assert_int_equal(link_next_control(source.link, &kind, heard), 0);
	assert_int_equal(link_send_control(destination.link, LINK_FACTS, "{\"a\":1}", &err), 0);
	assert_int_equal(link_send_control(destination.link, LINK_ERROR, "a\nb\033[31m\x7f \xc3\xa4", &err), 0);
	assert_int_equal(link_send_control(destination.link, LINK_STARTED, "", &err), 0);
	deliver_all();
	assert_int_equal(link_next_control(source.link, &kind, heard), 1);
	assert_int_equal(kind, LINK_FACTS);
	assert_string_equal(heard, "{\"a\":1}");
	assert_int_equal(link_next_control(source.link, &kind, heard), 1);
	assert_int_equal(kind, LINK_ERROR);
	assert_string_equal(heard, "a?b?[31m? \xc3\xa4");
	assert_int_equal(link_next_control(source.link, &kind, heard), 1);
	assert_int_equal(kind, LINK_STARTED);
	assert_string_equal(heard, "");
	memset(text, 'x', LINK_CONTROL_MAX + 1);
	assert_int_equal(link_send_control(source.link, LINK_FACTS, text, &err), -EMSGSIZE);
	text[LINK_CONTROL_MAX] = '\0';
	assert_int_equal(link_send_control(source.link, LINK_FACTS, text, &err), 0);
	deliver_all();
	assert_int_equal(link_next_control(destination.link, &kind, heard), 1);
	assert_string_equal(heard, text);
}

/* What has come is still there; all else says why it is over. */
static void test_link_fail__is_said_by_all(void **state)
{
	char heard[LINK_CONTROL_MAX + 1];
	enum link_control kind;
	uint32_t id, more;
	const void *data;
	size_t length;

	(void)state;
	id = open_stream(LINK_MIGRATION);
	write_text(&source, id, "rest");
	assert_int_equal(link_send_control(source.link, LINK_ERROR, "because", &err), 0);
	deliver_all();
	decant_error_set(&err, -ETIMEDOUT, "the peer is silent");
	link_fail(destination.link, &err);
	decant_error_set(&err, -EPIPE, "another reason");
	link_fail(destination.link, &err);
	assert_int_equal(link_check(destination.link, &err), -ETIMEDOUT);
	assert_string_equal(err.msg, "the peer is silent");
	assert_int_equal(link_write(destination.link, id, "x", 1, &err), -ETIMEDOUT);
	assert_int_equal(link_end(destination.link, id, &err), -ETIMEDOUT);
	assert_int_equal(link_send_control(destination.link, LINK_START, "", &err), -ETIMEDOUT);
	expect_bytes(&destination, id, "rest");
	assert_int_equal(link_peek(destination.link, id, &data, &length, &err), -ETIMEDOUT);
	assert_int_equal(link_next_control(destination.link, &kind, heard), 1);
	link_close(destination.link, id, EIO);
	assert_int_equal(destination.queued, 0);

	source.send_fails = -ECONNRESET;
	assert_int_equal(link_write(source.link, id, "x", 1, &err), -ECONNRESET);
	assert_string_equal(err.msg, "the network is gone");
	assert_int_equal(link_check(source.link, NULL), -ECONNRESET);
	assert_int_equal(link_open(source.link, LINK_DISK, &more, &err), -ECONNRESET);
}

/* ---- a hostile peer ---- */

/* @data follows the head; of END and CREDIT the number is its first byte, or all ones if that is 0xff */
struct hostile {
	uint16_t type, what;
	uint32_t stream;
	uint32_t length; /* of what follows the head */
	uint8_t fill;
	const char *says;
	bool at_source; /* else at the destination */
};

/* Stream 1 is open, stream 2 has been ended by the liar, stream 3 it has broken. */
static const struct hostile hostiles[] = {
	{ 0, 0, 1, 0, 0, "type 0", false },
	{ 6, 0, 1, 0, 0, "type 6", true },
	{ 0xffff, 0, 1, 100, 0, "type 65535", false },
	{ 1, 1, 4, 1, 0, "with data", false },
	{ 1, 0, 4, 0, 0, "service 0", false },
	{ 1, 3, 4, 0, 0, "service 3", false },
	{ 1, 1, 3, 0, 0, "after 3", false },
	{ 1, 1, 5, 0, 0, "after 3", false },
	{ 1, 1, 0, 0, 0, "after 3", false },
	{ 1, 1, 4, 0, 0, "by the destination", true },
	{ 2, 0, 0, 10, 0, "not opened", false },
	{ 2, 0, 4, 10, 0, "not opened", true },
	{ 2, 0, 0xffffffff, 10, 0, "not opened", false },
	{ 2, 1, 1, 10, 0, "reserved", false },
	{ 2, 0, 1, 0, 0, "without any", false },
	{ 2, 0, 2, 10, 0, "behind its end", false },
	{ 2, 0, 3, 10, 0, "it has broken", false },
	{ 3, 0, 1, 3, 1, "of 3 bytes", false },
	{ 3, 0, 1, 5, 1, "of 5 bytes", false },
	{ 3, 0, 1, 4, 0, "CREDIT of 0", true },
	{ 3, 0, 1, 4, 1, "CREDIT of", true },
	{ 3, 0, 1, 4, 0xff, "CREDIT of 4294967295", false },
	{ 3, 0, 9, 4, 1, "not opened", true },
	{ 3, 7, 1, 4, 1, "reserved", true },
	{ 4, 0, 1, 4, 0x7f, "no errno", false },
	{ 4, 0, 2, 4, 0, "second time", false },
	{ 4, 0, 3, 4, 0, "it has broken", false },
	{ 4, 0, 1, 0, 0, "of 0 bytes", false },
	{ 4, 2, 1, 4, 0, "reserved", true },
	{ 5, 0, 0, 1, 'x', "CONTROL 0", false },
	{ 5, 5, 0, 1, 'x', "CONTROL 5", true },
	{ 5, 1, 1, 1, 'x', "CONTROL 1", false },
	{ 5, 1, 0, LINK_CONTROL_MAX + 1, 'x', "CONTROL 1", true },
	{ 5, 4, 0, 5, 0x1b, "printed", true },
	{ 5, 4, 0, 5, 0, "printed", true },
	{ 5, 4, 0, 5, 0x7f, "printed", true },
};

static int say_hostile(struct side *to, const struct hostile *hostile)
{
	static uint8_t bytes[2 * DECANT_MESSAGE_MAX];

	bytes[0] = (uint8_t)hostile->type;
	bytes[1] = (uint8_t)(hostile->type >> 8);
	bytes[2] = (uint8_t)hostile->what;
	bytes[3] = (uint8_t)(hostile->what >> 8);
	for (unsigned int i = 0; i < 4; i++)
		bytes[4 + i] = (uint8_t)(hostile->stream >> (8 * i));
	memset(bytes + LINK_HEAD, hostile->fill, hostile->length);
	return link_deliver(to->link, bytes, LINK_HEAD + hostile->length, &err);
}

static void open_three(void)
{
	open_stream(LINK_MIGRATION);
	assert_int_equal(link_end(source.link, open_stream(LINK_DISK), &err), 0);
	link_close(source.link, open_stream(LINK_DISK), EIO);
	deliver_all();
}

static void test_link_deliver__refuses_what_is_wrong(void **state)
{
	for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++) {
		const struct hostile *hostile = &hostiles[i];

		if (i > 0) {
			teardown(state);
			setup(state);
		}
		open_three();
		decant_error_clear(&err);
		if (say_hostile(hostile->at_source ? &source : &destination, hostile) != -EPROTO ||
		    strstr(err.msg, hostile->says) == NULL)
			fail_msg("case %zu: \"%s\", not \"%s\"", i, err.msg, hostile->says);
	}
}

static void test_link_deliver__refuses_lengths(void **state)
{
	static const uint8_t bytes[DECANT_MESSAGE_MAX + 1] = { 2, 0, 0, 0, 1 };

	(void)state;
	open_stream(LINK_MIGRATION);
	for (size_t length = 0; length < LINK_HEAD; length++)
		assert_int_equal(link_deliver(destination.link, bytes, length, &err), -EPROTO);
	assert_int_equal(link_deliver(destination.link, bytes, sizeof(bytes), &err), -EPROTO);
	assert_int_equal(link_deliver(destination.link, bytes, sizeof(bytes) - 1, &err), 0);
}

/* More than there is credit for, and credit that was not given back, by a byte. */
static void test_link_deliver__holds_the_other_end_to_its_credit(void **state)
{
	const struct hostile data = { .type = 2, .stream = 1, .length = LINK_DATA_MAX };
	const struct hostile rest = { .type = 2, .stream = 1, .length = LINK_WINDOW % LINK_DATA_MAX };
	const struct hostile byte = { .type = 2, .stream = 1, .length = 1 };
	const void *bytes;
	size_t length;

	(void)state;
	open_stream(LINK_MIGRATION);
	for (unsigned int i = 0; i < LINK_WINDOW / LINK_DATA_MAX; i++)
		assert_int_equal(say_hostile(&destination, &data), 0);
	assert_int_equal(say_hostile(&destination, &rest), 0);
	assert_int_equal(say_hostile(&destination, &byte), -EPROTO);
	/* a little that was read and not given back does not count either */
	assert_int_equal(link_peek(destination.link, 1, &bytes, &length, &err), 0);
	assert_int_equal(link_consume(destination.link, 1, 1000, &err), 0);
	assert_int_equal(destination.queued, 0);
	assert_int_equal(say_hostile(&destination, &byte), -EPROTO);
	assert_non_null(strstr(err.msg, "credit"));
}

static void test_link_deliver__keeps_few_controls(void **state)
{
	const struct hostile control = { .type = 5, .what = 1, .length = LINK_CONTROL_MAX, .fill = 'x' };

	(void)state;
	for (unsigned int i = 0; i < LINK_CONTROLS_MAX; i++)
		assert_int_equal(say_hostile(&source, &control), 0);
	assert_int_equal(say_hostile(&source, &control), -EPROTO);
	assert_non_null(strstr(err.msg, "nobody has taken"));
}

/* Anything at all, half of it almost right: every answer is 0 or -EPROTO, and no stream ever has more than its window. */
static void test_link_deliver__anything(void **state)
{
	uint32_t random = 20, refused = 0;
	const void *bytes;
	size_t length;

	(void)state;
	for (unsigned int i = 0; i < 60000; i++) {
		struct hostile hostile;
		uint32_t id = 0;
		int rc;

		random = random * 1664525u + 1013904223u;
		hostile = (struct hostile){
			.type = (uint16_t)((random >> 8) % 7),
			.what = (random >> 11) % 4 == 0 ? (uint16_t)((random >> 13) % 6) : 0,
			.stream = (random >> 16) % 80,
			.length = (random >> 24) % 8 == 0 ? (random >> 9) % LINK_DATA_MAX : (random >> 27) % 6,
			.fill = (uint8_t)((random >> 20) % 3),
		};
		if (hostile.type == 1) {
			hostile.what = 1 + (random >> 30) % 2;
			hostile.length = 0;
			hostile.stream = 1 + i / 700;
		}
		rc = say_hostile(&destination, &hostile);
		assert_true(rc == 0 || rc == -EPROTO);
		refused += rc != 0;
		while (destination.queued > 0)
			free(destination.queue[--destination.queued].bytes);
		if (link_peek(destination.link, hostile.stream, &bytes, &length, &err) == 0)
			assert_true(length <= LINK_WINDOW);
		if (i % 50 == 0 && link_accept(destination.link, &id, &(enum link_service){ 0 }) == 1 &&
		    id % 3 == 0)
			link_close(destination.link, id, 0);
		while (destination.queued > 0)
			free(destination.queue[--destination.queued].bytes);
	}
	assert_true(refused > 1000 && refused < 59000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_streams__carry_bytes_both_ways),
		TEST(test_link_end__ends_one_direction),
		TEST(test_link_write__stops_at_the_window),
		TEST(test_streams__keep_their_order_around_the_ring),
		TEST(test_link_close__breaks_what_is_not_ended),
		TEST(test_link_close__late_messages_harm_nobody),
		TEST(test_link_open__has_a_limit),
		TEST(test_link_fd__tells_that_something_has_come),
		TEST(test_control__comes_in_order),
		TEST(test_link_fail__is_said_by_all),
		TEST(test_link_deliver__refuses_what_is_wrong),
		TEST(test_link_deliver__refuses_lengths),
		TEST(test_link_deliver__holds_the_other_end_to_its_credit),
		TEST(test_link_deliver__keeps_few_controls),
		TEST(test_link_deliver__anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
