/* SPDX-License-Identifier: BSD-2-Clause */
/* test_rdma_strangers.c -- who comes to an RDMA sink without a right to, and a source that does not keep to the protocol */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/rdma/hello.h"
#include "fabric/rdma/rdma.h"
#include "unit/fabric/rdma_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define LATE_MS 60000
#define DEPTH 64u
#define MEMORY (256u << 10)

static const struct fabric_ops *const rdma = &fabric_rdma_ops;

/* A client of bare verbs. */
struct stranger {
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	uint8_t *memory;
};

static struct rdma_cm_event *next_event(const struct stranger *stranger)
{
	struct pollfd ready = { .fd = stranger->events->fd, .events = POLLIN };
	struct rdma_cm_event *event = NULL;

	assert_int_equal(poll(&ready, 1, LATE_MS), 1);
	assert_int_equal(rdma_get_cm_event(stranger->events, &event), 0);
	return event;
}

static void expect_event(const struct stranger *stranger, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *event = next_event(stranger);

	assert_string_equal(rdma_event_str(event->event), rdma_event_str(type));
	rdma_ack_cm_event(event);
}

static void equip(struct stranger *stranger)
{
	struct ibv_qp_init_attr attr = {
		.cap = { .max_send_wr = DEPTH, .max_recv_wr = DEPTH, .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	stranger->pd = ibv_alloc_pd(stranger->id->verbs);
	stranger->cq = ibv_create_cq(stranger->id->verbs, 2 * DEPTH, NULL, NULL, 0);
	stranger->memory = calloc(1, MEMORY);
	stranger->mr = ibv_reg_mr(stranger->pd, stranger->memory, MEMORY, IBV_ACCESS_LOCAL_WRITE);
	assert_non_null(stranger->mr);
	attr.send_cq = attr.recv_cq = stranger->cq;
	assert_int_equal(rdma_create_qp(stranger->id, stranger->pd, &attr), 0);
	for (uint32_t i = 0; i < DEPTH; i++) {
		struct ibv_recv_wr *bad, wr = { .wr_id = 0 };

		assert_int_equal(ibv_post_recv(stranger->id->qp, &wr, &bad), 0);
	}
}

/* a connection request to the sink's rail @rail with these private data */
static struct stranger *knock(const struct joined *pair, uint32_t rail, const void *data, uint8_t length)
{
	struct stranger *stranger = calloc(1, sizeof(*stranger));
	struct rdma_conn_param param = {
		.private_data = data,
		.private_data_len = length,
		.retry_count = 7,
		.rnr_retry_count = 1,
	};
	struct sockaddr_in address;
	struct rdma_ports ports;

	assert_int_equal(rdma_ports_decode(&pair->source_opts.address, &ports, NULL), 0);
	address = fake_address((unsigned)(pair->sink_opts.rails[rail].device[4] - '0'), ports.port[rail]);
	stranger->events = rdma_create_event_channel();
	assert_int_equal(rdma_create_id(stranger->events, &stranger->id, NULL, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_resolve_addr(stranger->id, NULL, (struct sockaddr *)&address, 1000), 0);
	expect_event(stranger, RDMA_CM_EVENT_ADDR_RESOLVED);
	assert_int_equal(rdma_resolve_route(stranger->id, 1000), 0);
	expect_event(stranger, RDMA_CM_EVENT_ROUTE_RESOLVED);
	equip(stranger);
	assert_int_equal(rdma_connect(stranger->id, &param), 0);
	return stranger;
}

static void stranger_free(struct stranger *stranger)
{
	rdma_destroy_qp(stranger->id);
	rdma_destroy_id(stranger->id);
	ibv_destroy_cq(stranger->cq);
	ibv_dereg_mr(stranger->mr);
	ibv_dealloc_pd(stranger->pd);
	rdma_destroy_event_channel(stranger->events);
	free(stranger->memory);
	free(stranger);
}

static void make_hello(const struct joined *pair, uint32_t channel, uint8_t *bytes)
{
	struct hello hello = { .channel = (uint16_t)channel, .epoch = pair->sink_opts.epoch };

	memcpy(hello.token, pair->sink_opts.tokens[channel % FABRIC_CHANNELS_MAX], FABRIC_TOKEN_SIZE);
	hello_encode(&hello, bytes);
}

/* ---- at the door ---- */

static _Atomic unsigned warnings;

static void count_warning(void *opaque, enum decant_log_level level, const char *message)
{
	(void)opaque;
	(void)message;
	atomic_fetch_add(&warnings, level <= DECANT_LOG_WARNING);
}

static struct joined *open_logging(uint32_t channels)
{
	struct joined *pair = pair_open(rdma, channels);

	rdma->sink_close(pair->sink);
	pair->sink_opts.log = (struct decant_log){ .fn = count_warning, .level = DECANT_LOG_DEBUG };
	atomic_store(&warnings, 0);
	assert_int_equal(rdma->sink_open(&pair->sink_opts, &pair->sink, NULL), 0);
	rdma->sink_address(pair->sink, &pair->source_opts.address);
	for (uint64_t i = 0; i < 4; i++)
		pair_expose(pair, 0, i);
	pair_expose(pair, 1, 0);
	return pair;
}

static void expect_refused(const struct joined *pair, const void *data, uint8_t length, enum refusal why)
{
	struct stranger *stranger = knock(pair, 0, data, length);
	struct rdma_cm_event *event = next_event(stranger);
	struct refused refused;

	assert_int_equal(event->event, RDMA_CM_EVENT_REJECTED);
	assert_int_equal(refusal_decode(&refused, event->param.conn.private_data,
					event->param.conn.private_data_len),
			 why);
	assert_int_equal(refused.text[0] != '\0', why == REFUSAL_FAILED);
	rdma_ack_cm_event(event);
	stranger_free(stranger);
}

static void expect_undisturbed(struct joined *pair)
{
	pair_connect(pair);
	rdma_rig_move(pair, 1);
	assert_int_equal(pair_events(pair), pair->channels);
	pair_free(pair);
}

static void test_stranger__without_a_hello_is_refused(void **state)
{
	struct joined *pair = open_logging(2);
	uint8_t bytes[56];
	uint64_t seed = 5;

	(void)state;
	expect_refused(pair, NULL, 0, REFUSAL_HELLO);
	for (unsigned length = 1; length <= sizeof(bytes); length += 11) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)pair_random(&seed);
		expect_refused(pair, bytes, (uint8_t)length, REFUSAL_HELLO);
	}
	make_hello(pair, 0, bytes);
	expect_refused(pair, bytes, HELLO_SIZE - 17, REFUSAL_TOKEN); /* what is missing is padded with zeros */
	bytes[4]++;
	expect_refused(pair, bytes, HELLO_SIZE, REFUSAL_HELLO);
	assert_int_equal(atomic_load(&warnings), 1);

	expect_undisturbed(pair);
}

static void test_stranger__with_a_wrong_token_is_refused(void **state)
{
	struct joined *pair = open_logging(2);
	uint8_t bytes[HELLO_SIZE];

	(void)state;
	for (size_t i = 0; i < FABRIC_TOKEN_SIZE; i++) {
		make_hello(pair, 0, bytes);
		bytes[HELLO_SIZE - 4 - 1 - i] ^= 0x80;
		expect_refused(pair, bytes, HELLO_SIZE, REFUSAL_TOKEN);
	}
	assert_int_equal(atomic_load(&warnings), 1);

	expect_undisturbed(pair);
}

static void test_stranger__with_the_token_of_another_is_refused(void **state)
{
	struct joined *pair = open_logging(2);
	struct hello hello = { .epoch = pair->sink_opts.epoch };
	uint8_t bytes[HELLO_SIZE];

	(void)state;
	/* another channel's */
	memcpy(hello.token, pair->sink_opts.tokens[1], FABRIC_TOKEN_SIZE);
	hello_encode(&hello, bytes);
	expect_refused(pair, bytes, sizeof(bytes), REFUSAL_TOKEN);
	/* another epoch's */
	memcpy(hello.token, pair->sink_opts.tokens[0], FABRIC_TOKEN_SIZE);
	hello.epoch++;
	hello_encode(&hello, bytes);
	expect_refused(pair, bytes, sizeof(bytes), REFUSAL_TOKEN);
	/* of channels that there are not: their tokens are zeros */
	for (uint32_t channel = 2; channel < 2 + FABRIC_CHANNELS_MAX; channel++) {
		make_hello(pair, channel, bytes);
		expect_refused(pair, bytes, sizeof(bytes), REFUSAL_TOKEN);
	}
	memset(&hello, 0, sizeof(hello));
	hello.epoch = pair->sink_opts.epoch;
	hello.channel = FABRIC_CHANNELS_MAX + 2;
	hello_encode(&hello, bytes);
	expect_refused(pair, bytes, sizeof(bytes), REFUSAL_TOKEN);

	expect_undisturbed(pair);
}

static void test_stranger__of_another_migration_is_refused(void **state)
{
	struct joined *one = open_logging(1), *other = pair_open(rdma, 1);
	struct fabric_source *source = NULL;

	(void)state;
	memset(other->source_opts.tokens[0], 'z', FABRIC_TOKEN_SIZE);
	other->source_opts.address = one->source_opts.address;
	assert_int_equal(rdma->source_connect(&other->source_opts, &source, NULL), -EACCES);
	assert_null(source);
	pair_free(other);

	expect_undisturbed(one);
}

static void test_stranger__for_a_channel_that_stands_is_refused(void **state)
{
	struct joined *pair = open_logging(2);
	uint8_t bytes[HELLO_SIZE];

	(void)state;
	pair_connect(pair);
	make_hello(pair, 0, bytes);
	for (int i = 0; i < 5; i++)
		expect_refused(pair, bytes, sizeof(bytes), REFUSAL_TWICE);

	rdma_rig_move(pair, 1);
	assert_int_equal(pair_events(pair), 2);
	pair_free(pair);
}

static void test_stranger__over_the_wrong_rail_is_refused(void **state)
{
	struct joined *pair = open_logging(2);
	uint8_t bytes[HELLO_SIZE];

	(void)state;
	assert_int_equal(pair->sink_opts.rail_count, 2);
	make_hello(pair, 1, bytes); /* whose rail is the second */
	expect_refused(pair, bytes, sizeof(bytes), REFUSAL_FAILED);

	expect_undisturbed(pair);
}

static void test_stranger__who_goes_away_is_forgotten(void **state)
{
	struct joined *pair = open_logging(2);
	uint8_t bytes[HELLO_SIZE] = { 0 };

	(void)state;
	for (int i = 0; i < 30; i++)
		stranger_free(knock(pair, 0, bytes, sizeof(bytes)));

	expect_undisturbed(pair);
}

/* ---- inside, with the token ---- */

static struct stranger *enter(const struct joined *pair, uint32_t channel)
{
	uint8_t bytes[HELLO_SIZE];
	struct stranger *stranger;

	make_hello(pair, channel, bytes);
	stranger = knock(pair, channel % pair->sink_opts.rail_count, bytes, sizeof(bytes));
	expect_event(stranger, RDMA_CM_EVENT_ESTABLISHED);
	return stranger;
}

static void post(struct stranger *stranger, enum ibv_wr_opcode opcode, uint32_t imm, uint32_t length,
		 uint64_t remote, uint32_t rkey)
{
	struct ibv_sge sge = { .addr = (uintptr_t)stranger->memory, .length = length, .lkey = stranger->mr->lkey };
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge,
		.num_sge = length > 0 ? 1 : 0,
		.opcode = opcode,
		.imm_data = htonl(imm),
		.wr.rdma = { .remote_addr = remote, .rkey = rkey },
	};

	assert_int_equal(ibv_post_send(stranger->id->qp, &wr, &bad), 0);
}

/* One bad thing on channel @channel: the sink gives that channel up and nothing else. */
static void expect_lost(uint32_t channel, enum ibv_wr_opcode opcode, uint32_t imm, uint32_t length, int code)
{
	struct joined *pair = pair_open(rdma, 2);
	struct stranger *stranger = enter(pair, channel);

	post(stranger, opcode, imm, length, 0, (uint32_t)pair->rkey[0][0]);
	if (code != 0)
		assert_int_equal(pair_await_lost(pair, channel), code);
	else
		assert_true(pair_await_lost(pair, channel) < 0);
	rdma->sink_fence(pair->sink);
	assert_int_equal(pair_events(pair), 1);
	stranger_free(stranger);
	pair_free(pair);
}

static void test_source__that_sends_what_is_none_of_the_protocol_loses_its_channel(void **state)
{
	(void)state;

	expect_lost(0, IBV_WR_SEND, 0, 8, -EPROTO);                 /* of no kind */
	expect_lost(0, IBV_WR_SEND_WITH_IMM, 0, 8, -EPROTO);        /* of kind 0 */
	expect_lost(0, IBV_WR_SEND_WITH_IMM, 9u << 24, 8, -EPROTO); /* of an unknown kind */
	expect_lost(0, IBV_WR_SEND_WITH_IMM, 4u << 24, 0, -EPROTO); /* credits, which are the sink's to give */
	expect_lost(0, IBV_WR_SEND_WITH_IMM, 1u << 24, 7, -EPROTO); /* a barrier of another length */
	expect_lost(0, IBV_WR_SEND_WITH_IMM, 1u << 24, 0, -EPROTO);
	expect_lost(1, IBV_WR_SEND_WITH_IMM, 2u << 24, 8, -EPROTO);       /* a message where none belongs */
	expect_lost(0, IBV_WR_RDMA_WRITE_WITH_IMM, 1u << 24, 8, -EPROTO); /* a write that asks for attention */
	expect_lost(1, IBV_WR_SEND_WITH_IMM, 1u << 24, 9, 0);             /* more than the slot holds */
	expect_lost(0, IBV_WR_SEND_WITH_IMM, 2u << 24, FABRIC_MESSAGE_MAX + 1, 0);
}

static void test_source__that_sends_without_credit_hurts_itself_alone(void **state)
{
	struct joined *pair = pair_open(rdma, 1);
	struct stranger *stranger = enter(pair, 0);
	struct ibv_wc wc = { 0 };

	(void)state;
	fake_hold(true);
	for (uint32_t i = 0; i < DEPTH; i++)
		post(stranger, IBV_WR_SEND_WITH_IMM, 1u << 24, 8, 0, 0);
	fake_hold(false);
	/* either the sink was quick enough or the device gave up; it never grows, and it can be ended */
	for (int i = 0; i < 1000 && wc.status == IBV_WC_SUCCESS && pair_events(pair) < DEPTH; i++) {
		if (ibv_poll_cq(stranger->cq, 1, &wc) == 0)
			usleep(1000);
	}
	rdma->sink_fence(pair->sink);
	assert_true(pair_events(pair) >= 16);
	stranger_free(stranger);
	pair_free(pair);
}

static void expect_no_write(uint64_t offset, bool by_address, uint32_t region, uint32_t key_change)
{
	struct joined *pair = pair_open(rdma, 1);
	struct stranger *stranger = enter(pair, 0);
	const uint32_t rkey = (uint32_t)pair->rkey[region][0];

	memset(stranger->memory, 'x', 8);
	post(stranger, IBV_WR_RDMA_WRITE, 0, 8, by_address ? (uintptr_t)pair->to[0] + offset : offset,
	     rkey ^ key_change);
	assert_true(pair_await_lost(pair, 0) < 0);
	rdma->sink_fence(pair->sink);
	for (uint32_t r = 0; r < PAIR_REGIONS; r++)
		for (uint64_t i = 0; i < pair->length[r]; i++)
			assert_int_equal(pair->to[r][i], 0);
	stranger_free(stranger);
	pair_free(pair);
}

static void test_source__cannot_write_but_where_it_was_granted(void **state)
{
	(void)state;

	expect_no_write(PAIR_GRANULE, false, 0, 0);     /* another granule */
	expect_no_write(PAIR_GRANULE - 4, false, 0, 0); /* across the end */
	expect_no_write(UINT64_MAX - 3, false, 0, 0);   /* around */
	expect_no_write(0, true, 0, 0);                 /* by an address of the process */
	expect_no_write(PAIR_GRANULE, false, 1, 0);     /* the granule that is not exposed */
	expect_no_write(0, false, 0, 1);                /* a key guessed */
	expect_no_write(0, false, 0, 0x100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rdma_rig_test(test_stranger__without_a_hello_is_refused),
		rdma_rig_test(test_stranger__with_a_wrong_token_is_refused),
		rdma_rig_test(test_stranger__with_the_token_of_another_is_refused),
		rdma_rig_test(test_stranger__of_another_migration_is_refused),
		rdma_rig_test(test_stranger__for_a_channel_that_stands_is_refused),
		rdma_rig_test(test_stranger__over_the_wrong_rail_is_refused),
		rdma_rig_test(test_stranger__who_goes_away_is_forgotten),
		rdma_rig_test(test_source__that_sends_what_is_none_of_the_protocol_loses_its_channel),
		rdma_rig_test(test_source__that_sends_without_credit_hurts_itself_alone),
		rdma_rig_test(test_source__cannot_write_but_where_it_was_granted),
	};

	return cmocka_run_group_tests_name("rdma strangers", tests, NULL, NULL);
}
