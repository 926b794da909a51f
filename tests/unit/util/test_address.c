/* SPDX-License-Identifier: BSD-2-Clause */
/* test_address.c -- "host:port": what is one, and sockets from it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/address.h"
#include "util/clock.h"
#include "util/io.h"

#define LATE (60 * NSEC_PER_SEC)

static struct decant_error err;

struct address_case {
	const char *text;
	const char *host; /* NULL: refused, and the message has ... */
	const char *says; /* ... this in it */
	uint16_t port;
};

static const struct address_case addresses[] = {
	{ "10.0.0.2:4444", "10.0.0.2", NULL, 4444 },
	{ "node7:1", "node7", NULL, 1 },
	{ "node7.example.org:65535", "node7.example.org", NULL, 65535 },
	{ "localhost:0", "localhost", NULL, 0 },
	{ "[::1]:4444", "::1", NULL, 4444 },
	{ "[::]:0", "::", NULL, 0 },
	{ "[fe80::1%eth0]:4444", "fe80::1%eth0", NULL, 4444 },
	{ "[::ffff:10.0.0.1]:9", "::ffff:10.0.0.1", NULL, 9 },
	{ "h:00080", "h", NULL, 80 },
	{ "", NULL, "empty", 0 },
	{ "node7", NULL, "port is missing", 0 },
	{ "node7:", NULL, "port is missing", 0 },
	{ ":4444", NULL, "host is missing", 0 },
	{ "node7:port", NULL, "not a number", 0 },
	{ "node7:-1", NULL, "not a number", 0 },
	{ "node7:4444 ", NULL, "not a number", 0 },
	{ "node7:65536", NULL, "65535", 0 },
	{ "node7:99999999999999999999999", NULL, "65535", 0 },
	{ "::1:4444", NULL, "brackets", 0 },
	{ "fe80::1", NULL, "brackets", 0 },
	{ "[::1]", NULL, "port is missing", 0 },
	{ "[::1]4444", NULL, "port is missing", 0 },
	{ "[::1:4444", NULL, "closing bracket", 0 },
	{ "[]:1", NULL, "no IPv6", 0 },
	{ "[node7]:1", NULL, "no IPv6", 0 },
	{ "[10.0.0.1]:1", NULL, "no IPv6", 0 },
	{ "tcp://node7:4444", NULL, "scheme", 0 },
	{ "user@node7:4444", NULL, "character", 0 },
	{ "no de:4444", NULL, "character", 0 },
	{ "/run/x.sock:1", NULL, "character", 0 },
};

static void test_address_parse__table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		const struct address_case *c = &addresses[i];
		struct address address = { .host = "untouched" };
		const int rc = address_parse(c->text, &address, &err);

		if (c->host != NULL) {
			assert_int_equal(rc, 0);
			assert_string_equal(address.host, c->host);
			assert_int_equal(address.port, c->port);
			continue;
		}
		assert_int_equal(rc, -EINVAL);
		assert_string_equal(address.host, "untouched");
		if (strstr(err.msg, c->says) == NULL || strstr(err.msg, "HOST:PORT") == NULL)
			fail_msg("\"%s\" gave: %s", c->text, err.msg);
	}
}

static void test_address_parse__longest_host(void **state)
{
	char text[ADDRESS_HOST_MAX + 16];
	struct address address;

	(void)state;
	memset(text, 'h', sizeof(text));
	memcpy(text + ADDRESS_HOST_MAX - 1, ":1", 3);
	assert_int_equal(address_parse(text, &address, &err), 0);
	assert_int_equal(strlen(address.host), ADDRESS_HOST_MAX - 1);
	memset(text, 'h', sizeof(text));
	memcpy(text + ADDRESS_HOST_MAX, ":1", 3);
	assert_int_equal(address_parse(text, &address, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too long"));
}

static void test_address_format__is_the_inverse(void **state)
{
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct address address, again;

		if (address_parse(addresses[i].text, &address, NULL) < 0)
			continue;
		assert_int_equal(address_parse(address_format(&address, text), &again, NULL), 0);
		assert_string_equal(again.host, address.host);
		assert_int_equal(again.port, address.port);
	}
}

static int listen_on(const char *text, struct address *local)
{
	struct address address;
	int fd;

	assert_int_equal(address_parse(text, &address, &err), 0);
	fd = address_listen(&address, 8, &err);
	assert_true(fd >= 0);
	assert_int_equal(address_local(fd, local), 0);
	return fd;
}

static void check_socket(int fd)
{
	int nodelay = 0;
	socklen_t length = sizeof(nodelay);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &length), 0);
	assert_true(nodelay);
}

static void connect_and_talk(const char *listen_text, const char *connect_host)
{
	struct address address, peer;
	const int listener = listen_on(listen_text, &address);
	char hello[] = "decant";
	struct iovec iov = { .iov_base = hello, .iov_len = 6 };
	char bytes[6];
	int client, server;

	assert_int_not_equal(address.port, 0);
	snprintf(address.host, sizeof(address.host), "%s", connect_host);
	client = address_connect(&address, clock_deadline_ns(LATE), -1, &err);
	check_socket(client);
	server = address_accept(listener, clock_deadline_ns(LATE), -1, &err);
	check_socket(server);
	assert_int_equal(address_peer(client, &peer), 0);
	assert_int_equal(peer.port, address.port);
	assert_int_equal(address_local(client, &address), 0);
	assert_int_equal(address_peer(server, &peer), 0);
	assert_string_equal(peer.host, address.host);
	assert_int_equal(peer.port, address.port);
	assert_int_equal(io_send_full(client, &iov, 1, clock_deadline_ns(LATE), -1), 0);
	assert_int_equal(io_recv_full(server, bytes, 6, clock_deadline_ns(LATE), -1), 0);
	assert_memory_equal(bytes, "decant", 6);
	close(client);
	close(server);
	close(listener);
}

static void test_address_connect__numeric(void **state)
{
	(void)state;
	connect_and_talk("127.0.0.1:0", "127.0.0.1");
}

/* A host without /etc/hosts (a bare chroot) knows no names; "127.1" takes the same way through the look-up. */
static void test_address_connect__name(void **state)
{
	const struct addrinfo hints = { .ai_family = AF_INET };
	struct addrinfo *found = NULL;
	const char *name = getaddrinfo("localhost", NULL, &hints, &found) == 0 ? "localhost" : "127.1";

	(void)state;
	if (found != NULL)
		freeaddrinfo(found);
	connect_and_talk("127.0.0.1:0", name);
}

static void test_address_connect__closed_port(void **state)
{
	struct address address;
	const int listener = listen_on("127.0.0.1:0", &address);

	(void)state;
	close(listener);
	assert_int_equal(address_connect(&address, clock_deadline_ns(LATE), -1, &err), -ECONNREFUSED);
	assert_int_equal(err.code, -ECONNREFUSED);
	assert_non_null(strstr(err.msg, "127.0.0.1"));
	assert_non_null(strstr(err.msg, "nothing listens there"));
}

/*
 * The kernel gives each connect(2) the next free port of a range, so sooner or later the very one that it goes to, if nobody
 * listens there: then TCP connects the socket to itself.
 */
static void test_address_connect__never_to_itself(void **state)
{
	struct address address, own;
	const int listener = listen_on("127.0.0.1:0", &address);
	const int client = address_connect(&address, clock_deadline_ns(LATE), -1, &err);

	(void)state;
	assert_int_equal(address_local(client, &own), 0);
	close(client);
	close(listener);
	for (int i = 0; i < 40000; i++)
		assert_true(address_connect(&own, clock_deadline_ns(LATE), -1, NULL) < 0);
}

static void test_address_connect__port_0(void **state)
{
	const struct address address = { .host = "127.0.0.1" };

	(void)state;
	assert_int_equal(address_connect(&address, clock_deadline_ns(LATE), -1, &err), -EINVAL);
}

static void test_address_connect__no_such_host(void **state)
{
	struct address address = { .port = 1 };

	(void)state;
	/* a label of more than 63 bytes is in no name server */
	memset(address.host, 'x', 100);
	assert_int_equal(address_connect(&address, clock_deadline_ns(LATE), -1, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no such host"));
}

/* a listener whose queue is full leaves the next connection without an answer */
static int fill_queue(struct address *address, int *clients, int count)
{
	int listener;

	assert_int_equal(address_parse("127.0.0.1:0", address, &err), 0);
	listener = address_listen(address, 0, &err);
	assert_true(listener >= 0);
	assert_int_equal(address_local(listener, address), 0);
	for (int i = 0; i < count; i++) {
		clients[i] = address_connect(address, clock_deadline_ns(50 * NSEC_PER_MSEC), -1, NULL);
		if (clients[i] == -ETIMEDOUT)
			return listener;
	}
	fail_msg("the queue takes all");
	return -1;
}

static void test_address_connect__deadline_and_wake(void **state)
{
	struct address address;
	int clients[16];
	int listener, wake, i;

	(void)state;
	for (i = 0; i < 16; i++)
		clients[i] = -1;
	listener = fill_queue(&address, clients, 16);
	assert_int_equal(address_connect(&address, clock_deadline_ns(20 * NSEC_PER_MSEC), -1, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "firewall"));
	wake = io_wake_new();
	io_wake_set(wake);
	assert_int_equal(address_connect(&address, CLOCK_NEVER, wake, &err), -ECANCELED);
	for (i = 0; i < 16; i++)
		if (clients[i] >= 0)
			close(clients[i]);
	close(wake);
	close(listener);
}

static void test_address_connect__look_up_can_be_given_up(void **state)
{
	struct address address = { .host = "localhost", .port = 1 };
	const int wake = io_wake_new();

	(void)state;
	io_wake_set(wake);
	assert_int_equal(address_connect(&address, CLOCK_NEVER, wake, &err), -ECANCELED);
	close(wake);
}

static void test_address_listen__taken(void **state)
{
	struct address address;
	const int listener = listen_on("127.0.0.1:0", &address);

	(void)state;
	assert_int_equal(address_listen(&address, 8, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "another process"));
	close(listener);
}

static void test_address_listen__not_ours(void **state)
{
	struct address address;

	(void)state;
	assert_int_equal(address_parse("192.0.2.1:0", &address, &err), 0);
	assert_int_equal(address_listen(&address, 8, &err), -EADDRNOTAVAIL);
}

static void test_address_accept__deadline_and_wake(void **state)
{
	struct address address;
	const int listener = listen_on("127.0.0.1:0", &address);
	const int wake = io_wake_new();

	(void)state;
	assert_int_equal(address_accept(listener, clock_deadline_ns(10 * NSEC_PER_MSEC), wake, &err), -ETIMEDOUT);
	io_wake_set(wake);
	assert_int_equal(address_accept(listener, CLOCK_NEVER, wake, &err), -ECANCELED);
	close(wake);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_parse__table),
		cmocka_unit_test(test_address_parse__longest_host),
		cmocka_unit_test(test_address_format__is_the_inverse),
		cmocka_unit_test(test_address_connect__numeric),
		cmocka_unit_test(test_address_connect__name),
		cmocka_unit_test(test_address_connect__closed_port),
		cmocka_unit_test(test_address_connect__never_to_itself),
		cmocka_unit_test(test_address_connect__port_0),
		cmocka_unit_test(test_address_connect__no_such_host),
		cmocka_unit_test(test_address_connect__deadline_and_wake),
		cmocka_unit_test(test_address_connect__look_up_can_be_given_up),
		cmocka_unit_test(test_address_listen__taken),
		cmocka_unit_test(test_address_listen__not_ours),
		cmocka_unit_test(test_address_accept__deadline_and_wake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
