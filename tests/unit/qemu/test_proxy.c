/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_proxy.c -- the two sidecars, with the test in the place of both QEMUs: what passes unchanged, and how it ends
 *
 * Without shared memory, which is for real QEMUs: each source here has --fallback.
 */
#include "qemu/proxy_dest.h"
#include "qemu/proxy_source_private.h"
#include "qemu/unix_socket.h"

#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (60 * NSEC_PER_SEC)
#define HALT_MS 100

struct end {
	pthread_t thread;
	struct proxy_stats stats;
	enum proxy_outcome outcome;
	struct decant_error err;
	int ret;
};

static struct {
	char folder[64], peer[32];
	char source_path[96], dest_path[96], disk_source[96], disk_dest[96];
	struct unix_listener qemu, nbd; /* the destination's QEMU */
	struct proxy_source *source;
	struct proxy_dest *dest;
	struct end source_end, dest_end;
	int asked; /* loaded() */
	int answer;
} rig;

/* ---- the two ends ---- */

static int rig_loaded(void *opaque, const struct proxy_stats *stats, struct decant_error *err)
{
	(void)opaque;
	(void)err;
	assert_int_equal(stats->stage, PROXY_CLOSED);
	rig.asked++;
	return rig.answer;
}

static void *run_source(void *opaque)
{
	struct end *end = opaque;

	end->ret = proxy_source_run(rig.source, &end->stats, &end->outcome, &end->err);
	return NULL;
}

static void *run_dest(void *opaque)
{
	struct end *end = opaque;
	bool started;

	end->ret = proxy_dest_run(rig.dest, &end->stats, &started, &end->err);
	return NULL;
}

static void rig_paths(void)
{
	snprintf(rig.folder, sizeof(rig.folder), "/tmp/decant-proxy.XXXXXX");
	assert_non_null(mkdtemp(rig.folder));
	snprintf(rig.source_path, sizeof(rig.source_path), "%s/source", rig.folder);
	snprintf(rig.dest_path, sizeof(rig.dest_path), "%s/dest", rig.folder);
	snprintf(rig.disk_source, sizeof(rig.disk_source), "%s/disk-source", rig.folder);
	snprintf(rig.disk_dest, sizeof(rig.disk_dest), "%s/disk-dest", rig.folder);
}

static void rig_begin(bool fallback)
{
	static const struct proxy_source_ops ops = { .loaded = rig_loaded };
	struct proxy_dest_opts dest = { .listen = "127.0.0.1:0", .socket = rig.dest_path, .disks = rig.disk_dest };
	struct proxy_source_opts source = {
		.socket = rig.source_path, .disks = rig.disk_source, .fallback = fallback, .ops = &ops
	};
	assert_int_equal(unix_listen(&rig.qemu, rig.dest_path, NULL), 0);
	assert_int_equal(unix_listen(&rig.nbd, rig.disk_dest, NULL), 0);
	assert_int_equal(proxy_dest_new(&dest, &rig.dest, NULL), 0);
	snprintf(rig.peer, sizeof(rig.peer), "127.0.0.1:%u", proxy_dest_port(rig.dest));
	source.peer = rig.peer;
	assert_int_equal(proxy_source_new(&source, &rig.source, NULL), 0);
	assert_int_equal(pthread_create(&rig.dest_end.thread, NULL, run_dest, &rig.dest_end), 0);
	assert_int_equal(pthread_create(&rig.source_end.thread, NULL, run_source, &rig.source_end), 0);
}

static void join_source(void)
{
	assert_int_equal(pthread_join(rig.source_end.thread, NULL), 0);
}

static void join_dest(void)
{
	assert_int_equal(pthread_join(rig.dest_end.thread, NULL), 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&rig, 0, sizeof(rig));
	rig.qemu = rig.nbd = (struct unix_listener)UNIX_LISTENER_INIT;
	rig_paths();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	proxy_source_free(rig.source);
	proxy_dest_free(rig.dest);
	unix_unlisten(&rig.qemu);
	unix_unlisten(&rig.nbd);
	/* nothing was left in it */
	assert_int_equal(rmdir(rig.folder), 0);
	return 0;
}

/* ---- QEMU ---- */

static void await(int fd, short events)
{
	struct pollfd wait = { .fd = fd, .events = events };

	assert_int_equal(poll(&wait, 1, clock_poll_ms(clock_deadline_ns(PATIENCE_NS))), 1);
}

static int come(const char *path)
{
	struct decant_error err = DECANT_ERROR_INIT;
	const int fd = unix_connect(path, clock_deadline_ns(PATIENCE_NS), -1, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	return fd;
}

static int take(const struct unix_listener *listener)
{
	int fd;

	await(listener->fd, POLLIN);
	fd = unix_accept(listener, NULL);
	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const void *data, size_t length)
{
	const uint8_t *at = data;

	while (length > 0) {
		ssize_t sent;

		await(fd, POLLOUT);
		sent = send(fd, at, length, MSG_NOSIGNAL);
		assert_true(sent > 0);
		at += sent;
		length -= (size_t)sent;
	}
}

static void hear(int fd, const void *data, size_t length)
{
	uint8_t bytes[4096];

	for (size_t have = 0; have < length;) {
		const size_t room = length - have < sizeof(bytes) ? length - have : sizeof(bytes);
		ssize_t got;

		await(fd, POLLIN);
		got = recv(fd, bytes, room, 0);
		assert_true(got > 0);
		assert_memory_equal(bytes, (const uint8_t *)data + have, (size_t)got);
		have += (size_t)got;
	}
}

static bool is_closed(int fd)
{
	uint8_t byte;
	ssize_t got;

	await(fd, POLLIN);
	got = recv(fd, &byte, 1, 0);
	return got == 0 || (got < 0 && errno == ECONNRESET);
}

static const uint8_t begin[] = { 'Q', 'E', 'V', 'M', 0, 0, 0, 3 };
static const uint8_t loaded[] = { 0, 1, 0, 4, 0, 0, 0, 0 };

/* ---- tests ---- */

static void test_proxy__passes_all_unchanged(void **state)
{
	const size_t length = 5u << 20;
	uint8_t *bytes = malloc(length);
	int a, b;

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 7 >> 3);
	memcpy(bytes, begin, sizeof(begin));
	rig_begin(true);
	a = come(rig.source_path);
	say(a, bytes, sizeof(begin));
	b = take(&rig.qemu);
	/* more than all windows and sockets hold at once, so both sides have to move */
	for (size_t at = sizeof(begin); at < length; at += 4096) {
		const size_t part = length - at < 4096 ? length - at : 4096;

		say(a, bytes + at, part);
		if (at == sizeof(begin))
			hear(b, bytes, at);
		hear(b, bytes + at, part);
	}
	say(b, loaded, sizeof(loaded));
	hear(a, loaded, sizeof(loaded));
	close(b);
	assert_true(is_closed(a));
	close(a);
	join_source();
	join_dest();
	assert_int_equal(rig.source_end.ret, 0);
	assert_int_equal(rig.dest_end.ret, 0);
	assert_int_equal(rig.source_end.outcome, PROXY_DONE);
	assert_int_equal(rig.asked, 1);
	assert_true(rig.source_end.stats.fallback && rig.dest_end.stats.fallback);
	assert_int_equal(rig.source_end.stats.stream_bytes, length);
	assert_int_equal(rig.dest_end.stats.forwarded_bytes, length);
	assert_int_equal(rig.dest_end.stats.return_bytes, sizeof(loaded));
	free(bytes);
}

/* NBD's server speaks first. */
static void test_proxy__passes_disks(void **state)
{
	int disk, nbd, a, b;

	(void)state;
	rig_begin(true);
	disk = come(rig.disk_source);
	nbd = take(&rig.nbd);
	say(nbd, "NBDMAGIC", 8);
	hear(disk, "NBDMAGIC", 8);
	a = come(rig.source_path);
	say(a, begin, sizeof(begin));
	b = take(&rig.qemu);
	hear(b, begin, sizeof(begin));
	say(disk, "request", 7);
	hear(nbd, "request", 7);
	say(b, loaded, sizeof(loaded));
	hear(a, loaded, sizeof(loaded));
	close(b);
	close(a);
	/* the disk is still there, and so are the sidecars */
	say(nbd, "answer", 6);
	hear(disk, "answer", 6);
	close(disk);
	assert_true(is_closed(nbd));
	close(nbd);
	join_source();
	join_dest();
	assert_int_equal(rig.source_end.ret, 0);
	assert_int_equal(rig.dest_end.ret, 0);
	assert_int_equal(rig.source_end.stats.disk_connections, 1);
	assert_int_equal(rig.source_end.stats.disk_bytes, 8 + 7 + 6);
}

static void expect_failed(const char *source_says, const char *dest_says)
{
	join_source();
	join_dest();
	assert_true(rig.source_end.ret < 0 && rig.dest_end.ret < 0);
	assert_int_equal(rig.source_end.outcome, PROXY_FAILED);
	assert_int_equal(rig.asked, 0);
	if (strstr(rig.source_end.err.msg, source_says) == NULL)
		fail_msg("the source says: %s", rig.source_end.err.msg);
	if (strstr(rig.dest_end.err.msg, dest_says) == NULL)
		fail_msg("the destination says: %s", rig.dest_end.err.msg);
}

static void meet(int *a, int *b)
{
	rig_begin(true);
	*a = come(rig.source_path);
	say(*a, begin, sizeof(begin));
	*b = take(&rig.qemu);
	hear(*b, begin, sizeof(begin));
}

static void test_proxy__a_load_that_fails(void **state)
{
	static const uint8_t failed[] = { 0, 1, 0, 4, 0, 0, 0, 1 };
	int a, b;

	(void)state;
	meet(&a, &b);
	say(b, failed, sizeof(failed));
	close(b);
	hear(a, failed, sizeof(failed));
	assert_true(is_closed(a));
	close(a);
	expect_failed("could not load", "could not load");
}

/* What begins to answer and goes without a last word has not loaded the VM; who never answers cannot be asked. */
static void test_proxy__a_return_path_that_is_cut(void **state)
{
	static const uint8_t pong[] = { 0, 2, 0, 4, 0, 0, 0, 1 };
	int a, b;

	(void)state;
	meet(&a, &b);
	say(b, pong, sizeof(pong));
	hear(a, pong, sizeof(pong));
	close(b);
	assert_true(is_closed(a));
	close(a);
	join_source();
	join_dest();
	assert_int_equal(rig.source_end.outcome, PROXY_FAILED);
	assert_true(rig.source_end.ret < 0 && rig.dest_end.ret < 0);
	assert_int_equal(rig.asked, 0);
}

static void test_proxy__no_return_path(void **state)
{
	int a, b;

	(void)state;
	meet(&a, &b);
	close(a);
	assert_true(is_closed(b));
	close(b);
	join_source();
	join_dest();
	assert_int_equal(rig.source_end.ret, 0);
	assert_int_equal(rig.dest_end.ret, 0);
	assert_int_equal(rig.asked, 1);
}

/* The other sidecar makes the memory zero that they share. */
static void test_proxy__no_fallback_once_memory_is_shared(void **state)
{
	struct proxy_source source = { .opts = { .fallback = true } };
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	decant_error_set(&err, -ENOTSUP, "set the capability return-path");
	source.session.mover = (struct decant_mover *)&source;
	assert_int_equal(proxy_source_fall_back(&source, &err), -ENOTSUP);
	assert_false(source.pass);
	assert_non_null(strstr(err.msg, "--disks"));
	assert_non_null(strstr(err.msg, "return-path"));
	source.session.mover = NULL;
	assert_int_equal(proxy_source_fall_back(&source, &err), 0);
	assert_true(source.pass);
	assert_int_equal(err.code, 0);
}

static void test_proxy__cancelled_at_the_source(void **state)
{
	int a, b;

	(void)state;
	meet(&a, &b);
	proxy_source_cancel(rig.source);
	assert_true(is_closed(a));
	assert_true(is_closed(b));
	close(a);
	close(b);
	expect_failed("cancelled", "at the source: cancelled");
	assert_int_equal(rig.source_end.ret, -ECANCELED);
}

static void test_proxy__stopped_at_the_destination(void **state)
{
	int a, b;

	(void)state;
	meet(&a, &b);
	proxy_dest_stop(rig.dest);
	assert_true(is_closed(a));
	assert_true(is_closed(b));
	close(a);
	close(b);
	expect_failed("at the destination: stopped", "stopped");
}

static void stop_dest(void)
{
	proxy_dest_stop(rig.dest);
	join_dest();
}

static void test_proxy__garbage_is_no_migration(void **state)
{
	int a;

	(void)state;
	rig_begin(true);
	a = come(rig.source_path);
	say(a, "GET / HTTP/1.0\r\n", 16);
	assert_true(is_closed(a));
	close(a);
	join_source();
	assert_int_equal(rig.source_end.ret, -EPROTO);
	assert_non_null(strstr(rig.source_end.err.msg, "47 45 54 20"));
	stop_dest();
}

/* What @a has said comes to the other QEMU, its answer back, and both sidecars end well. */
static void expect_passed(int a)
{
	const int b = take(&rig.qemu);

	hear(b, begin, sizeof(begin));
	say(b, loaded, sizeof(loaded));
	close(b);
	hear(a, loaded, sizeof(loaded));
	close(a);
	join_source();
	join_dest();
	assert_int_equal(rig.source_end.ret, 0);
	assert_int_equal(rig.dest_end.ret, 0);
}

/* Whoever only looks whether somebody listens changes nothing. */
static void test_proxy__a_connection_that_says_nothing(void **state)
{
	int a;

	(void)state;
	rig_begin(true);
	close(come(rig.source_path));
	a = come(rig.source_path);
	say(a, begin, sizeof(begin));
	expect_passed(a);
}

/* It is heard when the rest comes. */
static void test_proxy__a_connection_that_begins_in_pieces(void **state)
{
	int a;

	(void)state;
	rig_begin(true);
	a = come(rig.source_path);
	say(a, begin, 3);
	poll(NULL, 0, HALT_MS);
	say(a, begin + 3, sizeof(begin) - 3);
	expect_passed(a);
}

/* This process is no QEMU, so its memory cannot be found. */
static void test_proxy__without_fallback_it_is_refused(void **state)
{
	int a;

	(void)state;
	rig_begin(false);
	a = come(rig.source_path);
	say(a, begin, sizeof(begin));
	assert_true(is_closed(a));
	close(a);
	join_source();
	assert_true(rig.source_end.ret < 0);
	assert_int_equal(rig.source_end.outcome, PROXY_FAILED);
	/* the destination has met nobody, and waits */
	stop_dest();
	assert_int_equal(rig.dest_end.ret, -ECANCELED);
	assert_int_equal(rig.dest_end.stats.stage, PROXY_WAITING);
}

static void test_proxy__sockets_are_private_and_go(void **state)
{
	struct stat info;

	(void)state;
	rig_begin(true);
	assert_int_equal(stat(rig.source_path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	assert_int_equal(stat(rig.disk_source, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	proxy_source_cancel(rig.source);
	join_source();
	assert_int_equal(stat(rig.source_path, &info), -1);
	assert_int_equal(stat(rig.disk_source, &info), -1);
	stop_dest();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_proxy__passes_all_unchanged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__passes_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__a_load_that_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__a_return_path_that_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__no_return_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__no_fallback_once_memory_is_shared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__cancelled_at_the_source, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__stopped_at_the_destination, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__garbage_is_no_migration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__a_connection_that_says_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__a_connection_that_begins_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__without_fallback_it_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_proxy__sockets_are_private_and_go, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
