/* SPDX-License-Identifier: BSD-2-Clause */
/* test_peer.c -- the control connection: order, errors, silence, clocks, waking */
#include "migration/handshake.h"
#include "migration/peer.h"
#include "util/clock.h"
#include "util/io.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_NS (400 * NSEC_PER_MSEC)
/* a machine that is busy may keep a thread from its heartbeat for some tenths of a second */
#define HEARTBEAT_TIMEOUT_NS (3 * NSEC_PER_SEC)
#define PATIENCE_NS (20 * NSEC_PER_SEC)

struct pair {
	struct peer *left; /* NULL where the test speaks for itself */
	struct peer *right;
	int left_fd;
	atomic_int lost;
	atomic_int intercepted;
};

static int intercept(void *opaque, const struct peer_message *message, struct decant_error *err)
{
	struct pair *pair = opaque;

	if (message->type == WIRE_VERIFY)
		return decant_error_set(err, -EPROTO, "not this one");
	if (message->type != WIRE_GO)
		return 0;
	pair->intercepted++;
	return 1;
}

static void lost(void *opaque, const struct decant_error *why)
{
	struct pair *pair = opaque;

	assert_true(why->code < 0);
	pair->lost++;
}

static const struct peer_events events = { .intercept = intercept, .lost = lost };

static struct peer *make_patient_peer(struct pair *pair, int fd, uint64_t timeout_ns)
{
	const struct peer_opts opts = { .fd = fd, .timeout_ns = timeout_ns, .events = &events, .opaque = pair };
	struct peer *peer;

	assert_int_equal(peer_new(&opts, &peer, NULL), 0);
	return peer;
}

static struct peer *make_peer(struct pair *pair, int fd)
{
	return make_patient_peer(pair, fd, TIMEOUT_NS);
}

static void open_patient_pair(struct pair *pair, bool both, uint64_t timeout_ns)
{
	int fd[2];

	memset(pair, 0, sizeof(*pair));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	pair->right = make_patient_peer(pair, fd[1], timeout_ns);
	pair->left_fd = fd[0];
	if (both)
		pair->left = make_patient_peer(pair, fd[0], timeout_ns);
}

static void open_pair(struct pair *pair, bool both)
{
	open_patient_pair(pair, both, TIMEOUT_NS);
}

static void close_pair(struct pair *pair)
{
	if (pair->left == NULL)
		close(pair->left_fd);
	peer_close(pair->left);
	peer_close(pair->right);
}

static int receive(struct peer *peer, struct peer_message *message, struct decant_error *err)
{
	return peer_receive(peer, clock_deadline_ns(PATIENCE_NS), message, err);
}

static void test_peer_receive__messages_come_in_order(void **state)
{
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	for (uint32_t i = 0; i < 200; i++) {
		assert_int_equal(peer_send(pair.left, WIRE_STATE, &i, sizeof(i), "data", 4, NULL), 0);
		assert_int_equal(receive(pair.right, &message, NULL), 0);
		assert_int_equal(message.type, WIRE_STATE);
		assert_int_equal(message.length, sizeof(i) + 4);
		assert_memory_equal(message.payload, &i, sizeof(i));
		assert_memory_equal(message.payload + sizeof(i), "data", 4);
		peer_message_free(&message);
	}
	close_pair(&pair);
}

static void test_peer_receive__an_error_of_the_peer_is_returned(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	peer_send_error(pair.left, WIRE_ERROR, -ENOSPC, "no room\n for \x01 it");
	assert_int_equal(receive(pair.right, &message, &err), -ENOSPC);
	assert_string_equal(err.msg, "the peer says: no room? for ? it");
	close_pair(&pair);
}

static void test_peer_receive__interception_consumes(void **state)
{
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	assert_int_equal(peer_send(pair.left, WIRE_GO, NULL, 0, NULL, 0, NULL), 0);
	assert_int_equal(peer_send(pair.left, WIRE_BYE, NULL, 0, NULL, 0, NULL), 0);
	assert_int_equal(receive(pair.right, &message, NULL), 0);
	assert_int_equal(message.type, WIRE_BYE);
	assert_int_equal(pair.intercepted, 1);
	peer_message_free(&message);
	close_pair(&pair);
}

static void test_peer_receive__a_broken_protocol_ends_it(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	assert_int_equal(peer_send(pair.left, WIRE_VERIFY, NULL, 0, NULL, 0, NULL), 0);
	assert_int_equal(receive(pair.right, &message, &err), -EPROTO);
	assert_string_equal(err.msg, "not this one");
	assert_int_equal(peer_check(pair.right, NULL), -EPROTO);
	assert_int_equal(peer_send(pair.right, WIRE_BYE, NULL, 0, NULL, 0, NULL), -EPROTO);
	close_pair(&pair);
}

static void test_peer_receive__a_sequence_number_that_jumps_ends_it(void **state)
{
	struct handshake left = { .wake_fd = -1, .deadline_ns = CLOCK_NEVER, .sent = 1 };
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, false);
	left.fd = pair.left_fd;
	assert_int_equal(handshake_send(&left, WIRE_BYE, NULL, 0, NULL), 0);
	assert_int_equal(receive(pair.right, &message, NULL), -EPROTO);
	close_pair(&pair);
	assert_int_equal(pair.lost, 1);
}

static void test_peer_receive__silence_ends_it(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	const uint64_t start = clock_now_ns();
	struct pair pair;

	(void)state;
	open_pair(&pair, false);
	assert_int_equal(receive(pair.right, &message, &err), -ETIMEDOUT);
	assert_true(clock_now_ns() - start >= TIMEOUT_NS);
	assert_non_null(strstr(err.msg, "no sign of the peer"));
	close_pair(&pair);
}

static void test_peer_receive__silence_is_told_to_the_silent(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, false);
	assert_int_equal(receive(pair.right, &message, NULL), -ETIMEDOUT);
	/* the silent end wakes up, and finds why it is alone */
	pair.left = make_patient_peer(&pair, pair.left_fd, PATIENCE_NS);
	assert_int_equal(receive(pair.left, &message, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "the peer says: control connection: no sign of the peer"));
	close_pair(&pair);
}

static void test_peer_receive__a_heartbeat_keeps_it(void **state)
{
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_patient_pair(&pair, true, HEARTBEAT_TIMEOUT_NS);
	assert_int_equal(peer_receive(pair.right, clock_deadline_ns(HEARTBEAT_TIMEOUT_NS * 5 / 4), &message, NULL),
			 -ETIMEDOUT);
	assert_int_equal(peer_check(pair.right, NULL), 0);
	assert_int_equal(peer_check(pair.left, NULL), 0);
	close_pair(&pair);
}

static void test_peer_receive__closing_is_told_apart(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	peer_close(pair.left);
	pair.left = NULL;
	pair.left_fd = -1;
	assert_int_equal(receive(pair.right, &message, &err), -ECONNRESET);
	close_pair(&pair);
}

static void test_peer_wake__cancels_one_receive(void **state)
{
	struct peer_message message;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	peer_wake(pair.right);
	assert_int_equal(receive(pair.right, &message, NULL), -ECANCELED);
	assert_int_equal(peer_send(pair.left, WIRE_BYE, NULL, 0, NULL, 0, NULL), 0);
	assert_int_equal(receive(pair.right, &message, NULL), 0);
	peer_message_free(&message);
	close_pair(&pair);
}

static void test_peer_clock__matches_two_ends_of_one_clock(void **state)
{
	int64_t offset = INT64_MAX;
	uint64_t error = 0;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	for (int i = 0; i < 10000 && !peer_clock(pair.left, &offset, &error); i++)
		usleep(1000);
	assert_true(error > 0);
	assert_true((uint64_t)llabs(offset) <= error);
	close_pair(&pair);
}

/* Answers the next PING after @delay_us, as message @sequence of the other end. */
static void answer_ping(int fd, uint32_t sequence, unsigned delay_us)
{
	struct wire_header header = { .type = WIRE_PONG, .sequence = sequence };
	uint8_t bytes[WIRE_HEADER_SIZE], payload[64];
	struct wire_ping ping;
	struct wire_pong pong;

	assert_int_equal(io_recv_full(fd, bytes, sizeof(bytes), clock_deadline_ns(PATIENCE_NS), -1), 0);
	assert_int_equal(wire_header_decode(&header, bytes, NULL), 0);
	assert_int_equal(header.type, WIRE_PING);
	assert_int_equal(io_recv_full(fd, payload, header.length, clock_deadline_ns(PATIENCE_NS), -1), 0);
	assert_int_equal(wire_ping_decode(&ping, payload, header.length, NULL), 0);
	usleep(delay_us);
	pong = (struct wire_pong){ .ping_sent_ns = ping.sent_ns, .received_ns = 1, .sent_ns = 1 };
	header = (struct wire_header){ .type = WIRE_PONG, .sequence = sequence };
	header.length = (uint32_t)wire_pong_encode(&pong, payload, sizeof(payload));
	wire_header_encode(&header, bytes, sizeof(bytes));
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(write(fd, payload, header.length), header.length);
}

static uint64_t await_round_trip(struct peer *peer, uint64_t below_ns)
{
	uint64_t ns = 0;

	for (int i = 0; i < 10000 && (ns == 0 || ns >= below_ns); i++) {
		usleep(1000);
		ns = peer_round_trip_ns(peer);
	}
	return ns;
}

/* An end that stood still for its first answer is no reason to expect that of every message. */
static void test_peer_round_trip__is_the_best_of_all(void **state)
{
	struct pair pair;
	uint64_t first;

	(void)state;
	open_patient_pair(&pair, false, PATIENCE_NS);
	assert_int_equal(peer_round_trip_ns(pair.right), 0);
	answer_ping(pair.left_fd, 0, 200000);
	first = await_round_trip(pair.right, UINT64_MAX);
	assert_true(first >= 200000000);
	for (uint32_t i = 1; i < 5; i++)
		answer_ping(pair.left_fd, i, 0);
	assert_in_range(await_round_trip(pair.right, first), 1, first - 1);
	close_pair(&pair);
}

static void test_peer_stop__makes_a_blocked_send_fail(void **state)
{
	static uint8_t data[WIRE_CHUNK_MAX];
	struct pair pair;
	int rc = 0;

	(void)state;
	/* nobody reads at the other end, so a socket fills up, and the silence ends it */
	open_pair(&pair, false);
	for (int i = 0; i < 100 && rc == 0; i++)
		rc = peer_send(pair.right, WIRE_STATE, data, 16, data, sizeof(data), NULL);
	assert_true(rc < 0);
	peer_stop(pair.right);
	assert_true(peer_send(pair.right, WIRE_BYE, NULL, 0, NULL, 0, NULL) < 0);
	close_pair(&pair);
}

static void connected_pair(int fd[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&address, length), 0);
	fd[1] = accept(listener, NULL, NULL);
	assert_true(fd[1] >= 0);
	close(listener);
}

/* At once: whoever asks over another connection must know that nothing of this one comes any more. */
static void test_peer_abort__resets_the_connection_at_once(void **state)
{
	struct pair pair;
	char bytes[256];
	ssize_t n;
	int fd[2];

	(void)state;
	memset(&pair, 0, sizeof(pair));
	connected_pair(fd);
	pair.left_fd = fd[0];
	pair.right = make_peer(&pair, fd[1]);
	peer_abort(pair.right);
	assert_true(peer_send(pair.right, WIRE_GO, NULL, 0, NULL, 0, NULL) < 0);
	do {
		n = recv(pair.left_fd, bytes, sizeof(bytes), 0);
	} while (n > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
	close_pair(&pair);
}

static void test_peer_send_until__ends_when_it_is_told_to(void **state)
{
	static uint8_t data[WIRE_CHUNK_MAX];
	const uint64_t start = clock_now_ns();
	struct pair pair;
	int fd[2], rc = 0;

	(void)state;
	memset(&pair, 0, sizeof(pair));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	pair.left_fd = fd[0];
	pair.right = make_patient_peer(&pair, fd[1], PATIENCE_NS);
	while (rc == 0)
		rc = peer_send_until(pair.right, start + 200 * NSEC_PER_MSEC, WIRE_STATE, data, 16, data,
				     sizeof(data), NULL);
	assert_int_equal(rc, -ETIMEDOUT);
	assert_true(clock_now_ns() - start < PATIENCE_NS / 2);
	close_pair(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_receive__messages_come_in_order),
		cmocka_unit_test(test_peer_receive__an_error_of_the_peer_is_returned),
		cmocka_unit_test(test_peer_receive__interception_consumes),
		cmocka_unit_test(test_peer_receive__a_broken_protocol_ends_it),
		cmocka_unit_test(test_peer_receive__a_sequence_number_that_jumps_ends_it),
		cmocka_unit_test(test_peer_receive__silence_ends_it),
		cmocka_unit_test(test_peer_receive__silence_is_told_to_the_silent),
		cmocka_unit_test(test_peer_receive__a_heartbeat_keeps_it),
		cmocka_unit_test(test_peer_receive__closing_is_told_apart),
		cmocka_unit_test(test_peer_wake__cancels_one_receive),
		cmocka_unit_test(test_peer_clock__matches_two_ends_of_one_clock),
		cmocka_unit_test(test_peer_abort__resets_the_connection_at_once),
		cmocka_unit_test(test_peer_send_until__ends_when_it_is_told_to),
		cmocka_unit_test(test_peer_round_trip__is_the_best_of_all),
		cmocka_unit_test(test_peer_stop__makes_a_blocked_send_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
