/* SPDX-License-Identifier: BSD-2-Clause */
/* test_io.c -- whole sends and receives, and what ends them early */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/clock.h"
#include "util/io.h"

#define BIG (4u << 20)
#define SOON (20 * NSEC_PER_MSEC)
/* far beyond what any machine needs: ends a test that hangs */
#define LATE (60 * NSEC_PER_SEC)

static int pair[2];
static int wake;

static int open_pair(void **state)
{
	(void)state;
	wake = io_wake_new();
	return wake < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0;
}

static int close_pair(void **state)
{
	(void)state;
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	close(wake);
	return 0;
}

static uint8_t *pattern(size_t length)
{
	uint8_t *bytes = malloc(length);

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	return bytes;
}

struct sender {
	struct iovec *iov;
	size_t count;
	int rc;
};

static void *send_all(void *opaque)
{
	struct sender *sender = opaque;

	sender->rc = io_send_full(pair[1], sender->iov, sender->count, clock_deadline_ns(LATE), wake);
	return NULL;
}

/* @pieces pieces of unequal lengths, some empty, that together are @bytes */
static struct iovec *cut(uint8_t *bytes, size_t length, size_t pieces)
{
	struct iovec *iov = calloc(pieces, sizeof(*iov));
	size_t at = 0;

	assert_non_null(iov);
	for (size_t i = 0; i < pieces; i++) {
		size_t part = i % 3 == 0 ? 0 : (length / pieces) + i % 7;

		if (i == pieces - 1 || part > length - at)
			part = length - at;
		iov[i] = (struct iovec){ .iov_base = bytes + at, .iov_len = part };
		at += part;
	}
	return iov;
}

static void transfer(size_t length, size_t send_pieces, size_t recv_pieces)
{
	uint8_t *out = pattern(length), *in = calloc(1, length);
	struct sender sender = { .iov = cut(out, length, send_pieces), .count = send_pieces };
	struct iovec *into = cut(in, length, recv_pieces);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, send_all, &sender), 0);
	assert_int_equal(io_recvv_full(pair[0], into, recv_pieces, clock_deadline_ns(LATE), wake), 0);
	pthread_join(thread, NULL);
	assert_int_equal(sender.rc, 0);
	assert_memory_equal(in, out, length);
	free(sender.iov);
	free(into);
	free(out);
	free(in);
}

static void test_io_full__large_and_in_many_pieces(void **state)
{
	(void)state;
	transfer(BIG, 1, 1);
	transfer(BIG + 13, 3000, 1);
	transfer(BIG + 13, 7, 2500);
}

static void test_io_full__nothing_to_do(void **state)
{
	struct iovec iov[2] = { { 0 }, { 0 } };

	(void)state;
	assert_int_equal(io_send_full(pair[1], iov, 2, 0, -1), 0);
	assert_int_equal(io_send_full(pair[1], NULL, 0, 0, -1), 0);
	assert_int_equal(io_recv_full(pair[0], NULL, 0, 0, -1), 0);
}

static void test_io_recv_full__deadline(void **state)
{
	const uint64_t start = clock_now_ns();
	char byte;

	(void)state;
	assert_int_equal(io_recv_full(pair[0], &byte, 1, clock_deadline_ns(SOON), wake), -ETIMEDOUT);
	assert_true(clock_now_ns() >= start + SOON);
	assert_int_equal(io_recv_full(pair[0], &byte, 1, 0, -1), -ETIMEDOUT);
}

static void test_io_recv_full__deadline_with_a_part_received(void **state)
{
	char bytes[8];

	(void)state;
	assert_int_equal(write(pair[1], "abc", 3), 3);
	assert_int_equal(io_recv_full(pair[0], bytes, sizeof(bytes), clock_deadline_ns(SOON), wake), -ETIMEDOUT);
}

static void test_io_send_full__deadline_when_the_peer_does_not_read(void **state)
{
	uint8_t *bytes = pattern(BIG);
	struct iovec iov = { .iov_base = bytes, .iov_len = BIG };

	(void)state;
	assert_int_equal(io_send_full(pair[1], &iov, 1, clock_deadline_ns(SOON), wake), -ETIMEDOUT);
	free(bytes);
}

static void *wake_later(void *opaque)
{
	const struct timespec nap = { .tv_nsec = (long)SOON };

	(void)opaque;
	nanosleep(&nap, NULL);
	io_wake_set(wake);
	return NULL;
}

static void test_io_recv_full__woken_while_it_waits(void **state)
{
	pthread_t thread;
	char byte;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wake_later, NULL), 0);
	assert_int_equal(io_recv_full(pair[0], &byte, 1, CLOCK_NEVER, wake), -ECANCELED);
	pthread_join(thread, NULL);
	assert_int_equal(io_recv_full(pair[0], &byte, 1, CLOCK_NEVER, wake), -ECANCELED);
}

static void test_io_send_full__woken_while_it_waits(void **state)
{
	uint8_t *bytes = pattern(BIG);
	struct iovec iov = { .iov_base = bytes, .iov_len = BIG };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wake_later, NULL), 0);
	assert_int_equal(io_send_full(pair[1], &iov, 1, CLOCK_NEVER, wake), -ECANCELED);
	pthread_join(thread, NULL);
	free(bytes);
}

static void test_io__peer_has_closed(void **state)
{
	char byte = 'x';
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	char bytes[4];

	(void)state;
	assert_int_equal(write(pair[1], "ab", 2), 2);
	close(pair[1]);
	pair[1] = -1;
	assert_int_equal(io_recv_full(pair[0], bytes, sizeof(bytes), CLOCK_NEVER, wake), -ECONNRESET);
	assert_int_equal(io_send_full(pair[0], &iov, 1, CLOCK_NEVER, wake), -ECONNRESET);
}

static void on_signal(int number)
{
	(void)number;
}

struct pest {
	pthread_t victim;
};

/* disturbs the victim's wait several times, then lets it end */
static void *pester(void *opaque)
{
	const struct timespec nap = { .tv_nsec = 5 * (long)NSEC_PER_MSEC };
	const struct pest *pest = opaque;

	for (int i = 0; i < 5; i++) {
		nanosleep(&nap, NULL);
		pthread_kill(pest->victim, SIGUSR1);
	}
	return write(pair[1], "x", 1) == 1 ? NULL : opaque;
}

static void test_io_recv_full__signals_do_not_end_it(void **state)
{
	const struct sigaction action = { .sa_handler = on_signal };
	struct pest pest = { .victim = pthread_self() };
	struct sigaction before;
	pthread_t thread;
	void *failed;
	char byte = 0;

	(void)state;
	sigaction(SIGUSR1, &action, &before);
	assert_int_equal(pthread_create(&thread, NULL, pester, &pest), 0);
	assert_int_equal(io_recv_full(pair[0], &byte, 1, clock_deadline_ns(LATE), wake), 0);
	pthread_join(thread, &failed);
	sigaction(SIGUSR1, &before, NULL);
	assert_null(failed);
	assert_int_equal(byte, 'x');
}

static void test_io_wake__set_reset_and_never(void **state)
{
	(void)state;
	assert_false(io_wake_test(-1));
	assert_false(io_wake_test(wake));
	io_wake_reset(wake);
	io_wake_set(wake);
	io_wake_set(wake);
	assert_true(io_wake_test(wake));
	assert_true(io_wake_test(wake));
	io_wake_reset(wake);
	assert_false(io_wake_test(wake));
}

static void test_io_wait__wake_wins_over_readiness(void **state)
{
	(void)state;
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(io_wait(pair[0], POLLIN, CLOCK_NEVER, wake), 0);
	io_wake_set(wake);
	assert_int_equal(io_wait(pair[0], POLLIN, CLOCK_NEVER, wake), -ECANCELED);
	assert_int_equal(io_wait(pair[0], POLLIN, 0, -1), 0);
}

#define io_test(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
	const struct CMUnitTest tests[] = {
		io_test(test_io_full__large_and_in_many_pieces),
		io_test(test_io_full__nothing_to_do),
		io_test(test_io_recv_full__deadline),
		io_test(test_io_recv_full__deadline_with_a_part_received),
		io_test(test_io_send_full__deadline_when_the_peer_does_not_read),
		io_test(test_io_recv_full__woken_while_it_waits),
		io_test(test_io_send_full__woken_while_it_waits),
		io_test(test_io__peer_has_closed),
		io_test(test_io_recv_full__signals_do_not_end_it),
		io_test(test_io_wake__set_reset_and_never),
		io_test(test_io_wait__wake_wins_over_readiness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
