/* SPDX-License-Identifier: BSD-2-Clause */
/* test_tcp_hostile.c -- peers that do not keep to the protocol of TCP data channels: strangers, false sources, false sinks */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/tcp/acceptor.h"
#include "fabric/tcp/frame.h"
#include "unit/fabric/fabric_pair.h"
#include "util/address.h"
#include "util/clock.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define HELLO_BYTES (FRAME_HEAD_SIZE + FRAME_HELLO_SIZE)

static const struct fabric_ops *const tcp = &fabric_tcp_ops;

/* ---- a client of bare bytes ---- */

static int dial(const struct joined *pair)
{
	const uint8_t *bytes = pair->source_opts.address.bytes;
	const struct address address = {
		.host = "127.0.0.1",
		.port = (uint16_t)(bytes[2] | bytes[3] << 8),
	};
	struct decant_error err = DECANT_ERROR_INIT;
	const int fd = address_connect(&address, clock_deadline_ns(PAIR_LATE_NS), -1, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	return fd;
}

static void put(int fd, const void *bytes, size_t length)
{
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = length };

	assert_int_equal(io_send_full(fd, &iov, 1, clock_deadline_ns(PAIR_LATE_NS), -1), 0);
}

static void put_slowly(int fd, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		put(fd, bytes + i, 1);
		usleep(200);
	}
}

static void put_head(int fd, uint16_t type, uint16_t count, uint64_t value)
{
	const struct frame_head head = { .type = type, .count = count, .value = value };
	uint8_t bytes[FRAME_HEAD_SIZE];

	frame_head_encode(&head, bytes);
	put(fd, bytes, sizeof(bytes));
}

static void put_run(int fd, uint32_t region, uint64_t offset, uint32_t length)
{
	const struct frame_run run = { .region = region, .length = length, .offset = offset };
	uint8_t bytes[FRAME_RUN_SIZE];

	frame_run_encode(&run, bytes);
	put(fd, bytes, sizeof(bytes));
}

static void expect_end(int fd)
{
	uint8_t byte;

	assert_int_equal(io_recv_full(fd, &byte, 1, clock_deadline_ns(PAIR_LATE_NS), -1), -ECONNRESET);
	close(fd);
}

static void expect_answer(int fd, uint16_t type, uint64_t value)
{
	uint8_t bytes[FRAME_HEAD_SIZE];
	struct frame_head head;

	assert_int_equal(io_recv_full(fd, bytes, sizeof(bytes), clock_deadline_ns(PAIR_LATE_NS), -1), 0);
	assert_int_equal(frame_head_decode(&head, bytes, NULL), 0);
	assert_int_equal(head.type, type);
	assert_int_equal(head.value, value);
}

/* OK, and what it answers the token with */
static void expect_let_in(const struct joined *pair, int fd, uint32_t channel)
{
	uint8_t answer[FRAME_ANSWER_SIZE];

	expect_answer(fd, FRAME_OK, channel == 0 ? 16 : 0);
	assert_int_equal(io_recv_full(fd, answer, sizeof(answer), clock_deadline_ns(PAIR_LATE_NS), -1), 0);
	assert_memory_equal(answer, pair->sink_opts.answers[channel], sizeof(answer));
}

static void make_hello(const struct joined *pair, uint32_t channel, uint8_t *bytes)
{
	const struct frame_head head = { .type = FRAME_HELLO, .value = FRAME_HELLO_SIZE };
	struct frame_hello hello = { .version = FRAME_VERSION, .channel = (uint16_t)channel, .epoch = 7 };

	memcpy(hello.token, pair->sink_opts.tokens[channel % FABRIC_CHANNELS_MAX], FABRIC_TOKEN_SIZE);
	frame_head_encode(&head, bytes);
	frame_hello_encode(&hello, bytes + FRAME_HEAD_SIZE);
}

/* a connection that the sink takes for channel @channel of its source */
static int enter(const struct joined *pair, uint32_t channel)
{
	const int fd = dial(pair);
	uint8_t hello[HELLO_BYTES];

	make_hello(pair, channel, hello);
	put(fd, hello, sizeof(hello));
	expect_let_in(pair, fd, channel);
	return fd;
}

/* ---- strangers at the door ---- */

static void expect_undisturbed(struct joined *pair)
{
	pair_connect(pair);
	pair_barrier(pair, 1);
	assert_int_equal(pair_events(pair), pair->channels);
	pair_free(pair);
}

static void test_stranger__who_talks_garbage_is_shown_out(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	uint64_t seed = 99;
	uint8_t garbage[4096];

	(void)state;
	for (int i = 0; i < 20; i++) {
		const int fd = dial(pair);

		for (size_t k = 0; k < sizeof(garbage); k++)
			garbage[k] = (uint8_t)pair_random(&seed);
		put(fd, garbage, FRAME_HEAD_SIZE + (size_t)i * 100);
		expect_end(fd);
	}

	expect_undisturbed(pair);
}

static void test_stranger__who_stops_in_the_middle_is_forgotten(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	uint8_t hello[HELLO_BYTES];

	(void)state;
	make_hello(pair, 0, hello);
	for (size_t length = 0; length < HELLO_BYTES; length += 5) {
		const int fd = dial(pair);

		put(fd, hello, length);
		shutdown(fd, SHUT_WR);
		expect_end(fd);
	}

	expect_undisturbed(pair);
}

static void test_stranger__whose_first_frame_is_no_hello_is_shown_out(void **state)
{
	struct joined *pair = pair_open(tcp, 1);

	(void)state;
	for (uint32_t i = FRAME_OK; i <= FRAME_TYPE_MAX; i++) {
		const uint16_t type = (uint16_t)i;
		const int fd = dial(pair);

		put_head(fd, type, type == FRAME_WRITES,
			 type == FRAME_WRITES ? PAIR_PAGE
			 : type == FRAME_BYE  ? 0
					      : 1);
		expect_end(fd);
	}

	expect_undisturbed(pair);
}

static void expect_refusal(const struct joined *pair, const struct frame_hello *hello, enum frame_refusal refusal)
{
	const int fd = dial(pair);
	uint8_t bytes[FRAME_HELLO_SIZE];

	frame_hello_encode(hello, bytes);
	put_head(fd, FRAME_HELLO, 0, FRAME_HELLO_SIZE);
	put(fd, bytes, sizeof(bytes));
	expect_answer(fd, FRAME_REFUSED, refusal);
	expect_end(fd);
}

static void test_stranger__is_told_why_it_is_refused(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	struct frame_hello hello = { .version = FRAME_VERSION, .channel = 1, .epoch = 7 };

	(void)state;
	memcpy(hello.token, pair->sink_opts.tokens[0], FABRIC_TOKEN_SIZE);
	expect_refusal(pair, &hello, FRAME_REFUSED_TOKEN);
	hello.version = 99;
	expect_refusal(pair, &hello, FRAME_REFUSED_VERSION);
	hello.version = FRAME_VERSION;
	hello.channel = 2;
	expect_refusal(pair, &hello, FRAME_REFUSED_CHANNEL);
	hello.channel = 0xffff;
	expect_refusal(pair, &hello, FRAME_REFUSED_CHANNEL);
	hello.channel = 0;
	hello.epoch = 6;
	expect_refusal(pair, &hello, FRAME_REFUSED_EPOCH);

	expect_undisturbed(pair);
}

static void test_stranger__with_a_token_that_is_taken_is_refused(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	const int first = enter(pair, 0);
	struct frame_hello hello = { .version = FRAME_VERSION, .channel = 0, .epoch = 7 };

	(void)state;
	memcpy(hello.token, pair->sink_opts.tokens[0], FABRIC_TOKEN_SIZE);
	expect_refusal(pair, &hello, FRAME_REFUSED_CHANNEL);
	put_head(first, FRAME_BARRIER, 0, 5);
	pair->channels = 1;
	pair_await_round(pair, 5);

	assert_int_equal(pair_events(pair), 1);
	close(first);
	pair_free(pair);
}

static void test_stranger__who_is_slow_but_right_is_let_in(void **state)
{
	struct joined *pair = pair_open(tcp, 1);
	const int fd = dial(pair);
	uint8_t hello[HELLO_BYTES];

	(void)state;
	make_hello(pair, 0, hello);
	put_slowly(fd, hello, sizeof(hello));
	expect_let_in(pair, fd, 0);
	put_head(fd, FRAME_BARRIER, 0, 1);
	pair_await_round(pair, 1);

	put_head(fd, FRAME_BYE, 0, 0);
	expect_end(fd);
	pair_free(pair);
}

static void test_stranger__in_a_crowd_of_silent_ones_is_let_in(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	int silent[ACCEPTOR_STRANGERS_MAX * 2];

	(void)state;
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		silent[i] = dial(pair);
	pair_connect(pair);
	pair_barrier(pair, 1);

	/* with the last channel the door is closed for all of them */
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		expect_end(silent[i]);
	assert_int_equal(pair_events(pair), 2);
	pair_free(pair);
}

static void test_stranger__who_never_speaks_is_shown_out_in_time(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	const uint64_t start_ns = clock_now_ns();
	const int fd = dial(pair);

	(void)state;
	expect_end(fd);

	assert_true(clock_now_ns() - start_ns >= ACCEPTOR_HELLO_NS - NSEC_PER_SEC);
	expect_undisturbed(pair);
}

static void test_fence__with_strangers_at_the_door_shows_them_out(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	const int fd = dial(pair);

	(void)state;
	tcp->sink_fence(pair->sink);

	expect_end(fd);
	pair_free(pair);
}

/* ---- a source that has the token and breaks the rules ---- */

static void expect_lost(struct joined *pair, uint32_t channel, int fd, int code)
{
	assert_int_equal(pair_await_lost(pair, channel), code);
	expect_end(fd);
	tcp->sink_fence(pair->sink);
	for (uint32_t i = 0; i < PAIR_REGIONS; i++) {
		for (uint64_t k = 0; k < pair->length[i]; k++)
			assert_int_equal(pair->to[i][k], 0);
	}
	pair_free(pair);
}

static void test_source__that_sends_a_wrong_head_is_cut_off(void **state)
{
	static const struct frame_head heads[] = {
		{ FRAME_WRITES, 0, PAIR_PAGE },
		{ FRAME_WRITES, FRAME_RUNS_MAX + 1, FRAME_BYTES_MAX },
		{ FRAME_WRITES, 0xffff, PAIR_PAGE },
		{ FRAME_WRITES, 1, UINT64_MAX },
		{ FRAME_HELLO, 0, FRAME_HELLO_SIZE },
		{ FRAME_OK, 0, 1 },
		{ FRAME_REFUSED, 0, 1 },
		{ FRAME_CREDIT, 0, 1 },
		{ FRAME_MESSAGE, 0, UINT64_MAX },
		{ 77, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct joined *pair = pair_open(tcp, 1);
		const int fd = enter(pair, 0);

		put_head(fd, heads[i].type, heads[i].count, heads[i].value);
		expect_lost(pair, 0, fd, -EPROTO);
	}
}

static void test_source__that_sends_a_message_on_another_channel_is_cut_off(void **state)
{
	struct joined *pair = pair_open(tcp, 2);
	const int fd = enter(pair, 1);

	(void)state;
	put_head(fd, FRAME_MESSAGE, 0, 0);

	expect_lost(pair, 1, fd, -EPROTO);
}

static void test_source__whose_last_run_is_wrong_writes_nothing_at_all(void **state)
{
	static const struct frame_run wrong[] = {
		{ 1, PAIR_PAGE, PAIR_GRANULE },                 /* not exposed */
		{ 0, PAIR_PAGE, 4 * PAIR_GRANULE },             /* beyond the region */
		{ 0, PAIR_PAGE, UINT64_MAX - PAIR_PAGE + 1 },   /* beyond all */
		{ 0, 2 * PAIR_PAGE, PAIR_GRANULE - PAIR_PAGE }, /* across granules */
		{ 2, PAIR_PAGE, 0 },                            /* no such region */
		{ 0, 2 * PAIR_PAGE, 0 },                        /* more than the head says */
		{ 0, 100, 0 },                                  /* part of a page */
		{ 0, PAIR_PAGE, 100 },
		{ 0, 0, 0 },
	};
	uint8_t page[PAIR_PAGE];

	(void)state;
	memset(page, 0xee, sizeof(page));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const uint32_t length = wrong[i].length == 0 || i == 5 ? PAIR_PAGE : wrong[i].length;
		struct joined *pair = pair_open(tcp, 1);
		const int fd = enter(pair, 0);

		put_head(fd, FRAME_WRITES, 2, (uint64_t)PAIR_PAGE + length);
		put_run(fd, 0, 0, PAIR_PAGE);
		put_run(fd, wrong[i].region, wrong[i].offset, wrong[i].length);
		send(fd, page, sizeof(page), MSG_NOSIGNAL);
		expect_lost(pair, 0, fd, -EPROTO);
	}
}

static void test_source__that_is_slow_loses_nothing(void **state)
{
	struct joined *pair = pair_open(tcp, 1);
	const int fd = enter(pair, 0);
	struct frame_head head = { .type = FRAME_WRITES, .count = 2, .value = 2 * PAIR_PAGE };
	const struct frame_run runs[] = { { 0, PAIR_PAGE, 8 * PAIR_PAGE }, { 1, PAIR_PAGE, 0 } };
	uint8_t bytes[FRAME_HEAD_SIZE + 2 * FRAME_RUN_SIZE];

	(void)state;
	pair_fill(pair, 6);
	frame_head_encode(&head, bytes);
	frame_run_encode(&runs[0], bytes + FRAME_HEAD_SIZE);
	frame_run_encode(&runs[1], bytes + FRAME_HEAD_SIZE + FRAME_RUN_SIZE);
	put_slowly(fd, bytes, sizeof(bytes));
	for (uint32_t i = 0; i < PAIR_PAGE; i += 1000) {
		put(fd, pair->from[0] + i, i + 1000 < PAIR_PAGE ? 1000 : PAIR_PAGE - i);
		usleep(200);
	}
	put(fd, pair->from[1], PAIR_PAGE - 1);
	usleep(2000);
	put(fd, pair->from[1] + PAIR_PAGE - 1, 1);
	head = (struct frame_head){ .type = FRAME_BARRIER, .value = 3 };
	frame_head_encode(&head, bytes);
	put_slowly(fd, bytes, FRAME_HEAD_SIZE);
	pair_await_round(pair, 3);

	assert_memory_equal(pair->to[0] + 8 * PAIR_PAGE, pair->from[0], PAIR_PAGE);
	assert_memory_equal(pair->to[1], pair->from[1], PAIR_PAGE);
	close(fd);
	pair_free(pair);
}

static void reset(int fd)
{
	const struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static void test_source__that_dies_is_lost(void **state)
{
	(void)state;
	for (int how = 0; how < 4; how++) {
		struct joined *pair = pair_open(tcp, 1);
		const int fd = enter(pair, 0);

		if (how == 1)
			put(fd, "DCF", 3);
		if (how == 2)
			put_head(fd, FRAME_WRITES, 1, PAIR_PAGE);
		if (how == 3)
			reset(fd);
		else
			close(fd);
		assert_int_equal(pair_await_lost(pair, 0), -ECONNRESET);
		pair_free(pair);
	}
}

static void test_fence__in_the_middle_of_a_frame_does_not_wait_for_its_rest(void **state)
{
	struct joined *pair = pair_open(tcp, 1);
	const int fd = enter(pair, 0);

	(void)state;
	put_head(fd, FRAME_WRITES, 1, PAIR_PAGE);
	put_run(fd, 0, 0, PAIR_PAGE);
	put(fd, pair->from[0], 100);
	usleep(5000);
	tcp->sink_fence(pair->sink);

	assert_int_equal(pair_events(pair), 0);
	close(fd);
	pair_free(pair);
}

/* ---- a sink that breaks the rules ---- */

struct false_sink {
	struct fabric_source_opts opts;
	int listener;
	uint16_t type; /* of the answer to each hello; 0: none */
	uint64_t value;
	int fd[2];
	pthread_t thread;
};

static void *answer_hellos(void *arg)
{
	struct false_sink *sink = arg;

	for (uint32_t i = 0; i < sink->opts.channels; i++) {
		uint8_t hello[HELLO_BYTES];

		sink->fd[i] = address_accept(sink->listener, clock_deadline_ns(PAIR_LATE_NS), -1, NULL);
		if (sink->fd[i] < 0 ||
		    io_recv_full(sink->fd[i], hello, sizeof(hello), clock_deadline_ns(PAIR_LATE_NS), -1) < 0)
			return NULL;
		if (sink->opts.wake_fd >= 0)
			io_wake_set(sink->opts.wake_fd);
		if (sink->type != 0)
			put_head(sink->fd[i], sink->type, 0, sink->value);
		if (sink->type == FRAME_OK)
			put(sink->fd[i], sink->opts.answers[i], FRAME_ANSWER_SIZE);
	}
	return NULL;
}

static void start_sink(struct false_sink *sink, uint32_t channels, uint16_t type, uint64_t value, int wake_fd)
{
	struct address address = { .host = "127.0.0.1" };

	*sink = (struct false_sink){ .type = type, .value = value, .fd = { -1, -1 } };
	sink->listener = address_listen(&address, 8, NULL);
	assert_true(sink->listener >= 0);
	assert_int_equal(address_local(sink->listener, &address), 0);
	sink->opts = (struct fabric_source_opts){
		.peer_host = "127.0.0.1",
		.channels = channels,
		.connect_timeout_ns = PAIR_LATE_NS,
		.wake_fd = wake_fd,
		.address = { .length = 4, .bytes = { 1, 0, address.port & 0xff, address.port >> 8 } },
	};
	assert_int_equal(pthread_create(&sink->thread, NULL, answer_hellos, sink), 0);
}

static void start_false_sink(struct false_sink *sink, uint32_t channels, uint16_t type, uint64_t value)
{
	start_sink(sink, channels, type, value, -1);
}

static void stop_false_sink(struct false_sink *sink)
{
	for (uint32_t i = 0; i < 2; i++) {
		if (sink->fd[i] >= 0)
			close(sink->fd[i]);
	}
	close(sink->listener);
}

static void expect_connect(uint16_t type, uint64_t value, uint64_t timeout_ns, int code)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_source *source = NULL;
	struct false_sink sink;

	start_false_sink(&sink, 1, type, value);
	sink.opts.connect_timeout_ns = timeout_ns;
	assert_int_equal(tcp->source_connect(&sink.opts, &source, &err), code);
	assert_int_equal(err.code, code);
	assert_null(source);
	pthread_join(sink.thread, NULL);
	stop_false_sink(&sink);
}

static void test_connect__to_a_false_sink_fails(void **state)
{
	(void)state;

	expect_connect(FRAME_HELLO, FRAME_HELLO_SIZE, PAIR_LATE_NS, -EPROTO);
	expect_connect(FRAME_OK, 0, PAIR_LATE_NS, -EPROTO);
	expect_connect(FRAME_OK, FRAME_CREDITS_MAX + 1, PAIR_LATE_NS, -EPROTO);
	expect_connect(77, 0, PAIR_LATE_NS, -EPROTO);
	expect_connect(FRAME_REFUSED, FRAME_REFUSED_TOKEN, PAIR_LATE_NS, -EACCES);
	expect_connect(0, 0, 50 * NSEC_PER_MSEC, -ETIMEDOUT);
}

/* woken when the sink has the first hello, and answers none */
static void test_connect__ends_at_once_when_it_is_woken(void **state)
{
	const uint64_t begin_ns = clock_now_ns();
	const int wake_fd = io_wake_new();
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_source *source = NULL;
	struct false_sink sink;

	(void)state;
	start_sink(&sink, 1, 0, 0, wake_fd);
	assert_int_equal(tcp->source_connect(&sink.opts, &source, &err), -ECANCELED);
	assert_true(clock_now_ns() - begin_ns < PAIR_LATE_NS / 2);
	assert_null(source);
	pthread_join(sink.thread, NULL);
	stop_false_sink(&sink);
	close(wake_fd);
}

/* what comes on the way back of @channel makes the source fail */
static void expect_source_fails(uint32_t channel, uint16_t type, uint64_t value, int code)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct fabric_source *source = NULL;
	struct false_sink sink;

	start_false_sink(&sink, 2, FRAME_OK, 4);
	assert_int_equal(tcp->source_connect(&sink.opts, &source, &err), 0);
	pthread_join(sink.thread, NULL);
	assert_int_equal(tcp->source_message(source, "m", 1), 0);
	put_head(sink.fd[channel], type, 0, value);
	while (tcp->source_flush(source) == 0)
		usleep(100);

	tcp->source_last_error(source, &err);
	assert_int_equal(err.code, code);
	assert_int_equal(tcp->source_wait(source, PAIR_LATE_NS), code);
	tcp->source_close(source);
	stop_false_sink(&sink);
}

static void test_source__trusts_nothing_on_the_way_back(void **state)
{
	(void)state;

	expect_source_fails(0, FRAME_CREDIT, 2, -EPROTO);
	expect_source_fails(0, FRAME_CREDIT, FRAME_CREDITS_MAX, -EPROTO);
	expect_source_fails(0, FRAME_BARRIER, 1, -EPROTO);
	expect_source_fails(0, 77, 1, -EPROTO);
	expect_source_fails(1, FRAME_CREDIT, 1, -EPROTO);
}

static void test_message__runs_out_of_credit_and_gets_it_back(void **state)
{
	struct fabric_source *source = NULL;
	struct false_sink sink;

	(void)state;
	start_false_sink(&sink, 1, FRAME_OK, 4);
	assert_int_equal(tcp->source_connect(&sink.opts, &source, NULL), 0);
	pthread_join(sink.thread, NULL);
	for (int i = 0; i < 4; i++)
		assert_int_equal(tcp->source_message(source, "m", 1), 0);
	assert_int_equal(tcp->source_message(source, "m", 1), -EAGAIN);
	assert_int_equal(tcp->source_wait(source, 20 * NSEC_PER_MSEC), -ETIMEDOUT);
	put_head(sink.fd[0], FRAME_CREDIT, 0, 2);

	assert_int_equal(tcp->source_wait(source, PAIR_LATE_NS), 0);
	assert_int_equal(tcp->source_message(source, "m", 1), 0);
	assert_int_equal(tcp->source_message(source, "m", 1), 0);
	assert_int_equal(tcp->source_message(source, "m", 1), -EAGAIN);
	tcp->source_close(source);
	stop_false_sink(&sink);
}

/* fills all that is between it and a sink that takes nothing off the socket */
static void fill_up(struct joined *pair)
{
	int rc = 0;

	while (rc != -ETIMEDOUT) {
		const struct fabric_write write = { .length = 256 * PAIR_PAGE, .data = pair->from[0] };

		rc = tcp->source_write(pair->source, &write);
		if (rc == -EAGAIN)
			rc = tcp->source_wait(pair->source, 200 * NSEC_PER_MSEC);
		assert_true(rc == 0 || rc == -ETIMEDOUT);
	}
	assert_true(tcp->source_pending(pair->source) > 0);
}

static void test_stop__does_not_wait_for_a_sink_that_hangs(void **state)
{
	struct joined *pair = pair_open(tcp, 1);
	struct false_sink sink;

	(void)state;
	start_false_sink(&sink, 1, FRAME_OK, 4);
	assert_int_equal(tcp->source_connect(&sink.opts, &pair->source, NULL), 0);
	pthread_join(sink.thread, NULL);
	fill_up(pair);
	tcp->source_stop(pair->source);

	assert_int_equal(tcp->source_flush(pair->source), -ECANCELED);
	stop_false_sink(&sink);
	pair_free(pair);
}

/* Of what the kernel had by reference nothing may be sent with what is in memory later. */
static void test_stop__makes_the_kernel_forget_what_it_has_by_reference(void **state)
{
	struct joined *pair = pair_open(tcp, 1);
	uint64_t later = 0;
	struct false_sink sink;
	char bytes[65536];
	ssize_t n;

	(void)state;
	start_false_sink(&sink, 1, FRAME_OK, 4);
	sink.opts.zero_copy = DECANT_ZERO_COPY_ON;
	assert_int_equal(tcp->source_connect(&sink.opts, &pair->source, NULL), 0);
	pthread_join(sink.thread, NULL);
	memset(pair->from[0], 0, 256 * PAIR_PAGE);
	fill_up(pair);
	tcp->source_stop(pair->source);
	memset(pair->from[0], 'X', 256 * PAIR_PAGE);

	while ((n = recv(sink.fd[0], bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			later += bytes[i] == 'X';
	assert_int_equal(later, 0);
	stop_false_sink(&sink);
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stranger__who_talks_garbage_is_shown_out),
		cmocka_unit_test(test_stranger__who_stops_in_the_middle_is_forgotten),
		cmocka_unit_test(test_stranger__whose_first_frame_is_no_hello_is_shown_out),
		cmocka_unit_test(test_stranger__is_told_why_it_is_refused),
		cmocka_unit_test(test_stranger__with_a_token_that_is_taken_is_refused),
		cmocka_unit_test(test_stranger__who_is_slow_but_right_is_let_in),
		cmocka_unit_test(test_stranger__in_a_crowd_of_silent_ones_is_let_in),
		cmocka_unit_test(test_stranger__who_never_speaks_is_shown_out_in_time),
		cmocka_unit_test(test_fence__with_strangers_at_the_door_shows_them_out),
		cmocka_unit_test(test_source__that_sends_a_wrong_head_is_cut_off),
		cmocka_unit_test(test_source__that_sends_a_message_on_another_channel_is_cut_off),
		cmocka_unit_test(test_source__whose_last_run_is_wrong_writes_nothing_at_all),
		cmocka_unit_test(test_source__that_is_slow_loses_nothing),
		cmocka_unit_test(test_source__that_dies_is_lost),
		cmocka_unit_test(test_fence__in_the_middle_of_a_frame_does_not_wait_for_its_rest),
		cmocka_unit_test(test_connect__to_a_false_sink_fails),
		cmocka_unit_test(test_connect__ends_at_once_when_it_is_woken),
		cmocka_unit_test(test_source__trusts_nothing_on_the_way_back),
		cmocka_unit_test(test_message__runs_out_of_credit_and_gets_it_back),
		cmocka_unit_test(test_stop__does_not_wait_for_a_sink_that_hangs),
		cmocka_unit_test(test_stop__makes_the_kernel_forget_what_it_has_by_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
