/* SPDX-License-Identifier: BSD-2-Clause */
/* test_zerocopy.c -- MSG_ZEROCOPY on one socket: its calls, their completions, and when it is given up */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/tcp/zerocopy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define LENGTH (256u << 10)
#define LATE_MS 60000

static int from, to; /* the two ends of a connection over loopback */
static char *memory;
static char taken[LENGTH];

static int join_ends(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	const int door = socket(AF_INET, SOCK_STREAM, 0);
	(void)state;

	memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || bind(door, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(door, 1) < 0 || getsockname(door, (struct sockaddr *)&address, &length) < 0)
		return -1;
	from = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(from, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	to = accept(door, NULL, NULL);
	close(door);
	return to < 0 ? -1 : 0;
}

static int part_ends(void **state)
{
	(void)state;
	close(from);
	close(to);
	munmap(memory, LENGTH);
	return 0;
}

static void take(size_t length)
{
	assert_int_equal(recv(to, taken, length, MSG_WAITALL), length);
}

/* one call by reference, taken at the other end */
static void send_one(struct zerocopy *zerocopy, char what)
{
	memset(memory, what, LENGTH);
	assert_true(zerocopy_begin(zerocopy, LENGTH));
	const ssize_t sent = send(from, memory, LENGTH, MSG_ZEROCOPY | MSG_NOSIGNAL);

	zerocopy_end(zerocopy, LENGTH, sent);
	assert_true(sent > 0);
	take((size_t)sent);
	assert_memory_equal(taken, memory, (size_t)sent);
}

static void reap_all(struct zerocopy *zerocopy)
{
	struct pollfd poll_for = { .fd = from };

	while (zerocopy->in_flight > 0) {
		assert_int_equal(poll(&poll_for, 1, LATE_MS), 1);
		assert_true(poll_for.revents & POLLERR);
		zerocopy_reap(zerocopy);
	}
}

static void test_zerocopy_open__stays_off_on_this_host_unless_told(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_AUTO);
	assert_false(zerocopy.on);
	assert_false(zerocopy_begin(&zerocopy, LENGTH));
	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_OFF);
	assert_false(zerocopy.on);
	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	assert_true(zerocopy.on);
	zerocopy_open(&zerocopy, -1, DECANT_ZERO_COPY_ON);
	assert_false(zerocopy.on);
}

static void test_zerocopy_reap__takes_each_completion(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	for (char round = 1; round <= 20; round++)
		send_one(&zerocopy, round);
	reap_all(&zerocopy);

	assert_int_equal(zerocopy.first, 20);
	assert_int_equal(zerocopy.next, 20);
	assert_int_equal(zerocopy.referenced, 0); /* over loopback the kernel copies, and says so */
	assert_true(zerocopy.on);
}

static void test_zerocopy_reap__gives_up_where_the_kernel_copies(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	zerocopy.optional = true;
	for (char round = 1; zerocopy.on; round++) {
		assert_in_range(round, 1, 100);
		send_one(&zerocopy, round);
		reap_all(&zerocopy);
	}

	assert_false(zerocopy_begin(&zerocopy, LENGTH));
}

static void test_zerocopy_begin__leaves_little_to_be_copied(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	assert_false(zerocopy_begin(&zerocopy, ZEROCOPY_WORTH_BYTES - 1));
	assert_true(zerocopy_begin(&zerocopy, ZEROCOPY_WORTH_BYTES));
}

static void test_zerocopy_begin__has_so_many_in_flight_and_no_more(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	for (unsigned int i = 0; i < ZEROCOPY_CALLS; i++) {
		assert_true(zerocopy_begin(&zerocopy, LENGTH));
		zerocopy_end(&zerocopy, LENGTH, LENGTH);
	}

	assert_false(zerocopy_begin(&zerocopy, LENGTH));
	assert_int_equal(zerocopy.in_flight, (uint64_t)ZEROCOPY_CALLS * LENGTH);
}

static void test_zerocopy_end__of_a_call_that_took_a_part_or_nothing(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	assert_true(zerocopy_begin(&zerocopy, LENGTH));
	zerocopy_end(&zerocopy, LENGTH, -1);
	assert_int_equal(zerocopy.next, 0);
	assert_int_equal(zerocopy.in_flight, 0);
	assert_true(zerocopy_begin(&zerocopy, LENGTH));
	zerocopy_end(&zerocopy, LENGTH, 4096);

	assert_int_equal(zerocopy.next, 1);
	assert_int_equal(zerocopy.in_flight, 4096);
}

/* The kernel may be done before the call has returned. */
static void test_zerocopy_end__after_its_completion(void **state)
{
	struct zerocopy zerocopy;
	(void)state;

	zerocopy_open(&zerocopy, from, DECANT_ZERO_COPY_ON);
	assert_true(zerocopy_begin(&zerocopy, LENGTH));
	assert_int_equal(send(from, memory, LENGTH, MSG_ZEROCOPY | MSG_NOSIGNAL), LENGTH);
	take(LENGTH);
	reap_all(&zerocopy);
	zerocopy_end(&zerocopy, LENGTH, LENGTH);

	assert_int_equal(zerocopy.first, 1);
	assert_int_equal(zerocopy.next, 1);
	assert_int_equal(zerocopy.in_flight, 0);
}

#define with_ends(test) cmocka_unit_test_setup_teardown(test, join_ends, part_ends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_ends(test_zerocopy_open__stays_off_on_this_host_unless_told),
		with_ends(test_zerocopy_reap__takes_each_completion),
		with_ends(test_zerocopy_reap__gives_up_where_the_kernel_copies),
		with_ends(test_zerocopy_begin__leaves_little_to_be_copied),
		with_ends(test_zerocopy_begin__has_so_many_in_flight_and_no_more),
		with_ends(test_zerocopy_end__of_a_call_that_took_a_part_or_nothing),
		with_ends(test_zerocopy_end__after_its_completion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
