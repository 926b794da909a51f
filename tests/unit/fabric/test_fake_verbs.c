/* SPDX-License-Identifier: BSD-2-Clause */
/* test_fake_verbs.c -- the fake itself: it must refuse what a device refuses, or the tests over it prove nothing */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "support/fake_verbs.h"
#include "util/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define PAGE 4096u
#define BYTES (64u * PAGE)
#define IOVA 0x10000000u
#define LATE_MS 60000
#define DEPTH 16u

/* One end of a connection. */
struct half {
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_comp_channel *notice;
	struct ibv_cq *cq;
	uint8_t *memory;
	struct ibv_mr *mr;
};

/* Two of them, and the listener. */
struct couple {
	struct half active, passive;
	struct rdma_event_channel *door;
	struct rdma_cm_id *listener;
};

/* ---- making couples ---- */

static struct rdma_cm_event *await(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	struct pollfd ready = { .fd = channel->fd, .events = POLLIN };
	struct rdma_cm_event *event = NULL;

	assert_int_equal(poll(&ready, 1, LATE_MS), 1);
	assert_int_equal(rdma_get_cm_event(channel, &event), 0);
	assert_string_equal(rdma_event_str(event->event), rdma_event_str(type));
	return event;
}

static void expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	assert_int_equal(rdma_ack_cm_event(await(channel, type)), 0);
}

static void equip(struct half *half, struct ibv_context *context, int cqe)
{
	half->pd = ibv_alloc_pd(context);
	half->notice = ibv_create_comp_channel(context);
	half->cq = ibv_create_cq(context, cqe, half, half->notice, 0);
	assert_non_null(half->cq);
	half->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(half->memory, MAP_FAILED);
	half->mr = ibv_reg_mr_iova(half->pd, half->memory, BYTES, IOVA,
				   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	assert_non_null(half->mr);
}

static void make_qp(struct half *half)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = half->cq,
		.recv_cq = half->cq,
		.cap = { .max_send_wr = DEPTH,
			 .max_recv_wr = DEPTH,
			 .max_send_sge = 2,
			 .max_recv_sge = 2,
			 .max_inline_data = 64 },
		.qp_type = IBV_QPT_RC,
	};

	assert_int_equal(rdma_create_qp(half->id, half->pd, &attr), 0);
}

static void open_door(struct couple *couple, unsigned device)
{
	struct sockaddr_in address = fake_address(device, 0);

	couple->door = rdma_create_event_channel();
	assert_non_null(couple->door);
	assert_int_equal(rdma_create_id(couple->door, &couple->listener, couple, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_bind_addr(couple->listener, (struct sockaddr *)&address), 0);
	assert_int_equal(rdma_listen(couple->listener, 4), 0);
	assert_int_not_equal(rdma_get_src_port(couple->listener), 0);
}

static void walk_to_door(struct couple *couple, unsigned device)
{
	struct sockaddr_in address = fake_address(device, ntohs(rdma_get_src_port(couple->listener)));
	struct half *active = &couple->active;

	active->events = rdma_create_event_channel();
	assert_int_equal(rdma_create_id(active->events, &active->id, active, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_resolve_addr(active->id, NULL, (struct sockaddr *)&address, 1000), 0);
	expect(active->events, RDMA_CM_EVENT_ADDR_RESOLVED);
	assert_int_equal(rdma_resolve_route(active->id, 1000), 0);
	expect(active->events, RDMA_CM_EVENT_ROUTE_RESOLVED);
	equip(active, active->id->verbs, 2 * DEPTH);
	make_qp(active);
}

static void knock(struct couple *couple, uint8_t retries)
{
	struct rdma_conn_param param = {
		.private_data = "knock",
		.private_data_len = 5,
		.retry_count = 7,
		.rnr_retry_count = retries,
	};

	assert_int_equal(rdma_connect(couple->active.id, &param), 0);
}

/* the new identifier stands on the listener's channel */
static void hear(struct couple *couple)
{
	struct rdma_cm_event *event = await(couple->door, RDMA_CM_EVENT_CONNECT_REQUEST);

	assert_ptr_equal(event->listen_id, couple->listener);
	assert_int_equal(event->param.conn.private_data_len, 56);
	assert_memory_equal(event->param.conn.private_data, "knock", 5);
	couple->passive.id = event->id;
	couple->passive.events = couple->door;
	assert_int_equal(rdma_ack_cm_event(event), 0);
	equip(&couple->passive, couple->passive.id->verbs, 2 * DEPTH);
	make_qp(&couple->passive);
}

static struct couple *couple_new(uint8_t rnr_retries)
{
	struct couple *couple = calloc(1, sizeof(*couple));
	struct rdma_conn_param param = { .rnr_retry_count = rnr_retries };

	assert_non_null(couple);
	open_door(couple, 0);
	walk_to_door(couple, 0);
	knock(couple, 0);
	hear(couple);
	assert_int_equal(rdma_accept(couple->passive.id, &param), 0);
	expect(couple->active.events, RDMA_CM_EVENT_ESTABLISHED);
	expect(couple->door, RDMA_CM_EVENT_ESTABLISHED);
	return couple;
}

static void strip(struct half *half)
{
	if (half->id != NULL && half->id->qp != NULL)
		rdma_destroy_qp(half->id);
	if (half->id != NULL)
		assert_int_equal(rdma_destroy_id(half->id), 0);
	if (half->pd == NULL)
		return;
	assert_int_equal(ibv_destroy_cq(half->cq), 0);
	assert_int_equal(ibv_destroy_comp_channel(half->notice), 0);
	assert_int_equal(ibv_dereg_mr(half->mr), 0);
	assert_int_equal(ibv_dealloc_pd(half->pd), 0);
	munmap(half->memory, BYTES);
}

static void couple_free(struct couple *couple)
{
	strip(&couple->active);
	strip(&couple->passive);
	assert_int_equal(rdma_destroy_id(couple->listener), 0);
	if (couple->active.events != NULL)
		rdma_destroy_event_channel(couple->active.events);
	rdma_destroy_event_channel(couple->door);
	free(couple);
}

/* ---- work ---- */

static struct ibv_sge piece(const struct half *half, uint32_t offset, uint32_t length)
{
	return (struct ibv_sge){ .addr = IOVA + offset, .length = length, .lkey = half->mr->lkey };
}

static int post(struct half *half, enum ibv_wr_opcode opcode, unsigned flags, struct ibv_sge sge, uint64_t remote,
		uint32_t rkey)
{
	static uint64_t number;
	struct ibv_send_wr *bad, wr = {
		.wr_id = ++number,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = flags,
		.imm_data = htonl(4711),
		.wr.rdma = { .remote_addr = remote, .rkey = rkey },
	};

	return ibv_post_send(half->id->qp, &wr, &bad);
}

static int post_write(struct couple *couple, unsigned flags, uint32_t offset, uint32_t length)
{
	return post(&couple->active, IBV_WR_RDMA_WRITE, flags, piece(&couple->active, offset, length),
		    IOVA + offset, couple->passive.mr->rkey);
}

static int post_receive(struct half *half, uint32_t offset, uint32_t length)
{
	struct ibv_sge sge = piece(half, offset, length);
	struct ibv_recv_wr *bad, wr = { .wr_id = 1000 + offset, .sg_list = &sge, .num_sge = 1 };

	return ibv_post_recv(half->id->qp, &wr, &bad);
}

static struct ibv_wc next_completion(struct half *half)
{
	const uint64_t deadline_ns = clock_deadline_ns(LATE_MS * NSEC_PER_MSEC);
	struct ibv_wc wc = { 0 };

	while (ibv_poll_cq(half->cq, 1, &wc) == 0) {
		if (clock_now_ns() > deadline_ns)
			fail_msg("no completion");
		usleep(50);
	}
	return wc;
}

static void expect_status(struct half *half, enum ibv_wc_status status)
{
	const struct ibv_wc wc = next_completion(half);

	assert_string_equal(ibv_wc_status_str(wc.status), ibv_wc_status_str(status));
}

static void expect_nothing(struct half *half)
{
	struct ibv_wc wc;

	usleep(5000);
	assert_int_equal(ibv_poll_cq(half->cq, 1, &wc), 0);
}

/* ---- tests ---- */

static int set_up(void **state)
{
	struct fake_config config = fake_config_default();

	(void)state;
	config.ack_ms = 50;
	config.rnr_ms = 5;
	fake_reset(&config);
	return 0;
}

static void test_write__lands_by_io_address(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	memset(couple->active.memory, 'x', 2 * PAGE);
	assert_int_equal(post_write(couple, 0, PAGE, PAGE), 0);
	assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 10), 0);
	assert_int_equal(next_completion(&couple->active).opcode, IBV_WC_RDMA_WRITE);
	expect_nothing(&couple->active);
	expect_nothing(&couple->passive);

	assert_memory_equal(couple->passive.memory, couple->active.memory, 10);
	assert_int_equal(couple->passive.memory[10], 0);
	assert_memory_equal(couple->passive.memory + PAGE, couple->active.memory + PAGE, PAGE);
	couple_free(couple);
}

static void expect_refused_write(uint64_t remote, uint32_t length, uint32_t key_change)
{
	struct couple *couple = couple_new(0);

	assert_int_equal(post_receive(&couple->passive, 0, PAGE), 0);
	assert_int_equal(post(&couple->active, IBV_WR_RDMA_WRITE, 0, piece(&couple->active, 0, length), remote,
			      couple->passive.mr->rkey ^ key_change),
			 0);
	expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	expect_status(&couple->passive, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(post_write(couple, 0, 0, PAGE), 0);
	expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
	couple_free(couple);
}

static void test_write__by_a_wrong_key_or_range_is_refused(void **state)
{
	(void)state;

	expect_refused_write(IOVA, PAGE, 1);
	expect_refused_write(IOVA, PAGE, 0x100);
	expect_refused_write(IOVA - 1, PAGE, 0);
	expect_refused_write(IOVA + BYTES - PAGE + 1, PAGE, 0);
	expect_refused_write(UINT64_MAX - 100, PAGE, 0);
}

static void test_write__needs_the_access_and_the_domain(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_mr *closed = ibv_reg_mr(couple->passive.pd, couple->passive.memory, PAGE,
					   IBV_ACCESS_LOCAL_WRITE);
	struct ibv_pd *other = ibv_alloc_pd(couple->passive.id->verbs);
	struct ibv_mr *foreign = ibv_reg_mr_iova(other, couple->passive.memory, PAGE, IOVA,
						 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);

	(void)state;
	assert_int_equal(ibv_dealloc_pd(other), EBUSY);
	assert_int_equal(post(&couple->active, IBV_WR_RDMA_WRITE, 0, piece(&couple->active, 0, 8),
			      (uintptr_t)closed->addr, closed->rkey),
			 0);
	expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(closed);
	couple_free(couple);
	couple = couple_new(0);
	assert_int_equal(post(&couple->active, IBV_WR_RDMA_WRITE, 0, piece(&couple->active, 0, 8), IOVA,
			      foreign->rkey),
			 0);
	expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(foreign);
	assert_int_equal(ibv_dealloc_pd(other), 0);
	couple_free(couple);
}

static void test_write__from_memory_that_is_not_registered_fails_at_home(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_sge sge = piece(&couple->active, 0, PAGE);

	(void)state;
	sge.addr = (uintptr_t)couple->active.memory; /* not an I/O address */
	assert_int_equal(post(&couple->active, IBV_WR_RDMA_WRITE, 0, sge, IOVA, couple->passive.mr->rkey), 0);
	expect_status(&couple->active, IBV_WC_LOC_PROT_ERR);
	couple_free(couple);
}

static void test_key__is_dead_after_deregistration(void **state)
{
	struct couple *couple = couple_new(0);
	const uint32_t rkey = couple->passive.mr->rkey;

	(void)state;
	assert_int_equal(ibv_dereg_mr(couple->passive.mr), 0);
	couple->passive.mr = ibv_reg_mr_iova(couple->passive.pd, couple->passive.memory, BYTES, IOVA,
					     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	assert_int_not_equal(rkey, couple->passive.mr->rkey);
	assert_int_equal(post(&couple->active, IBV_WR_RDMA_WRITE, 0, piece(&couple->active, 0, 8), IOVA, rkey), 0);
	expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	couple_free(couple);
}

static void test_send__fills_the_receives_in_order(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_wc wc;

	(void)state;
	memcpy(couple->active.memory, "first.second", 12);
	assert_int_equal(post_receive(&couple->passive, 0, 16), 0);
	assert_int_equal(post_receive(&couple->passive, 16, 16), 0);
	assert_int_equal(post(&couple->active, IBV_WR_SEND_WITH_IMM, 0, piece(&couple->active, 0, 6), 0, 0), 0);
	assert_int_equal(post(&couple->active, IBV_WR_SEND, IBV_SEND_SIGNALED, piece(&couple->active, 6, 6), 0, 0),
			 0);
	wc = next_completion(&couple->passive);
	assert_int_equal(wc.wr_id, 1000);
	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_int_equal(wc.byte_len, 6);
	assert_int_equal(wc.wc_flags, IBV_WC_WITH_IMM);
	assert_int_equal(ntohl(wc.imm_data), 4711);
	wc = next_completion(&couple->passive);
	assert_int_equal(wc.wr_id, 1016);
	assert_int_equal(wc.wc_flags, 0);
	assert_int_equal(next_completion(&couple->active).opcode, IBV_WC_SEND);
	assert_memory_equal(couple->passive.memory, "first.", 6);
	assert_memory_equal(couple->passive.memory + 16, "second", 6);
	couple_free(couple);
}

static void test_send__inline_lets_its_buffer_go_at_once(void **state)
{
	struct couple *couple = couple_new(0);
	char text[8] = "inline";
	struct ibv_sge sge = { .addr = (uintptr_t)text, .length = sizeof(text) };

	(void)state;
	assert_int_equal(post_receive(&couple->passive, 0, 16), 0);
	fake_hold(true);
	assert_int_equal(post(&couple->active, IBV_WR_SEND, IBV_SEND_INLINE, sge, 0, 0), 0);
	memset(text, 0, sizeof(text));
	fake_hold(false);
	assert_int_equal(next_completion(&couple->passive).byte_len, sizeof(text));
	assert_string_equal((char *)couple->passive.memory, "inline");
	sge.length = 65;
	assert_int_equal(post(&couple->active, IBV_WR_SEND, IBV_SEND_INLINE, sge, 0, 0), EINVAL);
	couple_free(couple);
}

static void test_send__into_too_small_a_receive_fails_at_both_ends(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	assert_int_equal(post_receive(&couple->passive, 0, 16), 0);
	assert_int_equal(post(&couple->active, IBV_WR_SEND, 0, piece(&couple->active, 0, 17), 0, 0), 0);
	expect_status(&couple->active, IBV_WC_REM_INV_REQ_ERR);
	expect_status(&couple->passive, IBV_WC_LOC_LEN_ERR);
	couple_free(couple);
}

static void test_write_with_immediate__takes_a_receive_and_lands_in_memory(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_wc wc;

	(void)state;
	couple->active.memory[5] = 'i';
	assert_int_equal(post_receive(&couple->passive, PAGE, 16), 0);
	assert_int_equal(post(&couple->active, IBV_WR_RDMA_WRITE_WITH_IMM, 0, piece(&couple->active, 0, 16), IOVA,
			      couple->passive.mr->rkey),
			 0);
	wc = next_completion(&couple->passive);
	assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(wc.byte_len, 16);
	assert_int_equal(couple->passive.memory[5], 'i');
	assert_int_equal(couple->passive.memory[PAGE + 5], 0);
	couple_free(couple);
}

static void test_receiver_not_ready__is_tried_again_and_given_up(void **state)
{
	struct couple *couple = couple_new(3);
	struct fake_counts counts;

	(void)state;
	assert_int_equal(post(&couple->active, IBV_WR_SEND, 0, piece(&couple->active, 0, 8), 0, 0), 0);
	usleep(7000);
	assert_int_equal(post_receive(&couple->passive, 0, 16), 0);
	assert_int_equal(next_completion(&couple->passive).byte_len, 8);
	fake_counts(&counts);
	assert_true(counts.not_ready >= 1);
	assert_int_equal(post(&couple->active, IBV_WR_SEND, 0, piece(&couple->active, 0, 8), 0, 0), 0);
	expect_status(&couple->active, IBV_WC_RNR_RETRY_EXC_ERR);
	couple_free(couple);
}

static void test_peer_gone__is_known_after_the_retries(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	rdma_destroy_qp(couple->passive.id);
	assert_int_equal(post_write(couple, 0, 0, PAGE), 0);
	expect_status(&couple->active, IBV_WC_RETRY_EXC_ERR);
	couple_free(couple);
	couple = couple_new(0);
	fake_cut(true);
	assert_int_equal(post_write(couple, 0, 0, PAGE), 0);
	expect_status(&couple->active, IBV_WC_RETRY_EXC_ERR);
	fake_cut(false);
	couple_free(couple);
}

static void test_post__refuses_more_than_the_queue_holds(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(post_write(couple, i + 1 == DEPTH ? IBV_SEND_SIGNALED : 0, 0, 8), 0);
	usleep(5000);
	/* done long ago, but that is only known when it has been polled */
	assert_int_equal(post_write(couple, 0, 0, 8), ENOMEM);
	expect_status(&couple->active, IBV_WC_SUCCESS);
	assert_int_equal(post_write(couple, 0, 0, 8), 0);
	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(post_receive(&couple->passive, 0, 8), 0);
	assert_int_equal(post_receive(&couple->passive, 0, 8), ENOMEM);
	couple_free(couple);
}

static void test_error__flushes_all_that_waits(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	(void)state;
	fake_hold(true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(post_write(couple, 0, 0, 8), 0);
	assert_int_equal(post_receive(&couple->active, 0, 8), 0);
	assert_int_equal(ibv_modify_qp(couple->active.id->qp, &attr, IBV_QP_STATE), 0);
	fake_hold(false);
	for (int i = 0; i < 4; i++)
		expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
	expect_nothing(&couple->active);
	couple_free(couple);
}

static void test_notice__comes_once_per_arming_and_not_for_what_is_there(void **state)
{
	struct couple *couple = couple_new(0);
	struct half *active = &couple->active;
	struct pollfd ready = { .fd = active->notice->fd, .events = POLLIN };
	struct ibv_cq *cq;
	void *context;

	(void)state;
	assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	usleep(5000);
	assert_int_equal(poll(&ready, 1, 0), 0);
	assert_int_equal(ibv_req_notify_cq(active->cq, 0), 0);
	assert_int_equal(poll(&ready, 1, 10), 0);
	assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	assert_int_equal(poll(&ready, 1, LATE_MS), 1);
	assert_int_equal(ibv_get_cq_event(active->notice, &cq, &context), 0);
	assert_ptr_equal(cq, active->cq);
	assert_ptr_equal(context, active);
	ibv_ack_cq_events(cq, 1);
	assert_int_equal(poll(&ready, 1, 10), 0);
	assert_int_equal(ibv_req_notify_cq(active->cq, 0), 0);
	assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	assert_int_equal(poll(&ready, 1, LATE_MS), 1);
	couple_free(couple); /* an event that was never taken goes with its queue */
}

static void test_overrun__drops_the_completion_and_says_so(void **state)
{
	struct couple *couple = couple_new(0);
	struct half small = { 0 };
	struct ibv_async_event event;
	struct fake_counts counts;
	struct ibv_wc wc[4];

	(void)state;
	rdma_destroy_qp(couple->active.id);
	equip(&small, couple->active.id->verbs, 2);
	small.id = couple->active.id;
	make_qp(&small);
	for (int i = 0; i < 3; i++)
		assert_int_equal(post_receive(&small, 0, 8), 0);
	assert_int_equal(ibv_modify_qp(small.id->qp, &(struct ibv_qp_attr){ .qp_state = IBV_QPS_ERR },
				       IBV_QP_STATE),
			 0);
	assert_int_equal(ibv_poll_cq(small.cq, 4, wc), 2);
	fake_counts(&counts);
	assert_int_equal(counts.overruns, 1);
	assert_int_equal(ibv_get_async_event(small.id->verbs, &event), 0);
	assert_int_equal(event.event_type, IBV_EVENT_CQ_ERR);
	ibv_ack_async_event(&event);
	rdma_destroy_qp(small.id);
	small.id = NULL;
	strip(&small);
	couple_free(couple);
}

static void test_destroy__waits_for_what_is_under_way(void **state)
{
	(void)state;

	for (int i = 0; i < 50; i++) {
		struct couple *couple = couple_new(0);

		for (uint32_t k = 0; k < DEPTH; k++)
			assert_int_equal(post_write(couple, 0, 0, BYTES), 0);
		if (i % 2 == 0)
			usleep(50);
		rdma_destroy_qp(couple->passive.id);
		/* TSan, and this, would see a late write */
		memset(couple->passive.memory, 7, BYTES);
		usleep(200);
		for (uint32_t k = 0; k < BYTES; k += 512)
			assert_int_equal(couple->passive.memory[k], 7);
		couple_free(couple);
	}
}

/* ---- the connection manager ---- */

static void test_connect__to_nobody_is_refused(void **state)
{
	struct couple *couple = calloc(1, sizeof(*couple));
	struct rdma_cm_event *event;

	(void)state;
	open_door(couple, 0);
	walk_to_door(couple, 0);
	rdma_destroy_id(couple->listener);
	knock(couple, 0);
	event = await(couple->active.events, RDMA_CM_EVENT_REJECTED);
	assert_int_equal(event->status, 8);
	rdma_ack_cm_event(event);
	assert_int_equal(rdma_create_id(couple->door, &couple->listener, NULL, RDMA_PS_TCP), 0);
	couple_free(couple);
}

static void test_reject__carries_data(void **state)
{
	struct couple *couple = calloc(1, sizeof(*couple));
	struct rdma_cm_event *event;

	(void)state;
	open_door(couple, 1);
	walk_to_door(couple, 1);
	knock(couple, 0);
	hear(couple);
	assert_int_equal(rdma_reject(couple->passive.id, "no", 2), 0);
	event = await(couple->active.events, RDMA_CM_EVENT_REJECTED);
	assert_int_equal(event->status, 28);
	assert_int_equal(event->param.conn.private_data_len, 148);
	assert_memory_equal(event->param.conn.private_data, "no", 2);
	rdma_ack_cm_event(event);
	couple_free(couple);
}

static void test_request__that_nobody_takes_is_refused_with_the_listener(void **state)
{
	struct couple *couple = calloc(1, sizeof(*couple));

	(void)state;
	open_door(couple, 0);
	walk_to_door(couple, 0);
	knock(couple, 0);
	rdma_destroy_id(couple->listener);
	expect(couple->active.events, RDMA_CM_EVENT_REJECTED);
	assert_int_equal(rdma_create_id(couple->door, &couple->listener, NULL, RDMA_PS_TCP), 0);
	couple_free(couple);
}

static void test_disconnect__is_heard_at_both_ends_and_flushes_its_own(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	assert_int_equal(post_receive(&couple->active, 0, 8), 0);
	assert_int_equal(post_receive(&couple->passive, 0, 8), 0);
	assert_int_equal(rdma_disconnect(couple->active.id), 0);
	expect(couple->active.events, RDMA_CM_EVENT_DISCONNECTED);
	expect(couple->door, RDMA_CM_EVENT_DISCONNECTED);
	expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
	expect_nothing(&couple->passive);
	couple_free(couple);
}

static void test_end__of_an_identifier_disconnects_its_peer(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	strip(&couple->passive);
	memset(&couple->passive, 0, sizeof(couple->passive));
	expect(couple->active.events, RDMA_CM_EVENT_DISCONNECTED);
	couple_free(couple);
}

static void expect_bind(struct sockaddr_in address, int error)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct rdma_cm_id *id;

	assert_int_equal(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_bind_addr(id, (struct sockaddr *)&address), error == 0 ? 0 : -1);
	if (error != 0)
		assert_int_equal(errno, error);
	else
		assert_non_null(id->verbs);
	rdma_destroy_id(id);
	rdma_destroy_event_channel(channel);
}

static void test_bind__knows_which_address_is_a_device(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct fake_config config = fake_config_default();

	(void)state;
	config.bare_interfaces = 1;
	fake_reset(&config);
	expect_bind(fake_address(0, 0), 0);
	expect_bind(fake_address(1, 0), 0);
	expect_bind(address, ENODEV);
	address.sin_addr.s_addr = inet_addr("10.78.0.1");
	expect_bind(address, ENODEV);
	address.sin_addr.s_addr = inet_addr("192.0.2.1");
	expect_bind(address, EADDRNOTAVAIL);
}

static void test_getifaddrs__lists_what_can_be_bound(void **state)
{
	struct ifaddrs *list;
	int loopbacks = 0, others = 0;

	(void)state;
	assert_int_equal(getifaddrs(&list), 0);
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		if ((i->ifa_flags & IFF_LOOPBACK) != 0) {
			loopbacks++;
		} else {
			expect_bind(*(struct sockaddr_in *)i->ifa_addr, 0);
			others++;
		}
	}
	freeifaddrs(list);
	assert_int_equal(loopbacks, 1);
	assert_int_equal(others, 2);
}

static void expect_address_error(const char *address, int status)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = 1, .sin_addr.s_addr = inet_addr(address) };
	struct sockaddr_in from = fake_address(0, 0);
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;

	assert_int_equal(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_resolve_addr(id, (struct sockaddr *)&from, (struct sockaddr *)&to, 20), 0);
	event = await(channel, RDMA_CM_EVENT_ADDR_ERROR);
	assert_int_equal(event->status, status);
	rdma_ack_cm_event(event);
	rdma_destroy_id(id);
	rdma_destroy_event_channel(channel);
}

static void test_resolve__fails_in_an_event(void **state)
{
	(void)state;

	expect_address_error("10.77.0.9", -ETIMEDOUT);
	expect_address_error("10.77.1.1", -ENETUNREACH);
	expect_address_error("192.0.2.1", -ENETUNREACH);
	fake_port_set(0, false);
	expect_address_error("10.77.0.1", -ETIMEDOUT);
}

static void test_remove__tells_everybody(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	assert_int_equal(post_receive(&couple->passive, 0, 8), 0);
	fake_remove(0);
	expect(couple->active.events, RDMA_CM_EVENT_DEVICE_REMOVAL);
	expect(couple->door, RDMA_CM_EVENT_DEVICE_REMOVAL);
	expect(couple->door, RDMA_CM_EVENT_DEVICE_REMOVAL);
	expect_status(&couple->passive, IBV_WC_WR_FLUSH_ERR);
	assert_null(ibv_alloc_pd(couple->active.id->verbs));
	couple_free(couple);
}

/* ---- the plan and the counts ---- */

static void test_plan__fails_the_call_it_names(void **state)
{
	struct fake_plan plan = { .fail[FAKE_ALLOC_PD] = { .nth = 2, .error = ENOMEM } };
	struct couple *couple = couple_new(0);
	struct ibv_context *context = couple->active.id->verbs;
	struct ibv_pd *first, *third;

	(void)state;
	fake_plan_set(&plan);
	first = ibv_alloc_pd(context);
	assert_non_null(first);
	assert_null(ibv_alloc_pd(context));
	assert_int_equal(errno, ENOMEM);
	third = ibv_alloc_pd(context);
	assert_non_null(third);
	ibv_dealloc_pd(first);
	ibv_dealloc_pd(third);
	plan = (struct fake_plan){ .fail_any = { .nth = 1, .error = EPERM, .stays = true } };
	fake_plan_set(&plan);
	assert_null(ibv_alloc_pd(context));
	assert_int_equal(post_receive(&couple->passive, 0, 8), EPERM);
	fake_plan_set(NULL);
	couple_free(couple);
}

static void test_plan__breaks_the_nth_write(void **state)
{
	const struct fake_plan plan = { .break_at = 3, .break_status = IBV_WC_REM_OP_ERR };
	struct couple *couple = couple_new(0);

	(void)state;
	fake_plan_set(&plan);
	for (int i = 0; i < 4; i++)
		assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	expect_status(&couple->active, IBV_WC_SUCCESS);
	expect_status(&couple->active, IBV_WC_SUCCESS);
	expect_status(&couple->active, IBV_WC_REM_OP_ERR);
	expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
	couple_free(couple);
}

static void test_plan__loses_the_nth_completion(void **state)
{
	const struct fake_plan plan = { .lose_completion = 2 };
	struct couple *couple = couple_new(0);
	struct fake_counts counts;

	(void)state;
	fake_plan_set(&plan);
	for (int i = 0; i < 3; i++)
		assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	expect_status(&couple->active, IBV_WC_SUCCESS);
	expect_status(&couple->active, IBV_WC_SUCCESS);
	expect_nothing(&couple->active);
	fake_counts(&counts);
	assert_int_equal(counts.writes, 3);
	couple_free(couple);
}

static void test_counts__know_what_is_alive(void **state)
{
	struct couple *couple = couple_new(0);
	struct fake_counts counts;
	char text[256];

	(void)state;
	fake_watch(couple->active.memory, PAGE);
	assert_int_equal(post_write(couple, 0, 0, PAGE), 0);
	assert_int_equal(post_write(couple, IBV_SEND_SIGNALED, PAGE, PAGE), 0);
	expect_status(&couple->active, IBV_WC_SUCCESS);
	fake_counts(&counts);
	assert_int_equal(counts.qps, 2);
	assert_int_equal(counts.mrs, 2);
	assert_int_equal(counts.ids, 3);
	assert_int_equal(counts.registered, 2 * BYTES);
	assert_int_equal(counts.posts, 2);
	assert_int_equal(counts.work_requests, 2);
	assert_int_equal(counts.signalled, 1);
	assert_int_equal(counts.write_bytes, 2 * PAGE);
	assert_int_equal(counts.watched_bytes, PAGE);
	assert_string_not_equal(fake_leaks(text, sizeof(text)), "");
	couple_free(couple);
	assert_string_equal(fake_leaks(text, sizeof(text)), "");
}

static void test_limits__are_held(void **state)
{
	struct fake_config config = fake_config_default();
	struct ibv_device **list;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_mr *one;
	static uint8_t memory[4 * PAGE];

	(void)state;
	config.limits.max_cqe = 16;
	config.limits.max_mr = 2;
	config.limits.max_mr_size = 2 * PAGE;
	config.limits.max_pinned = 3 * PAGE;
	fake_reset(&config);
	list = ibv_get_device_list(NULL);
	context = ibv_open_device(list[1]);
	ibv_free_device_list(list);
	pd = ibv_alloc_pd(context);
	assert_null(ibv_create_cq(context, 17, NULL, NULL, 0));
	assert_null(ibv_reg_mr(pd, memory, 3 * PAGE, 0));
	one = ibv_reg_mr(pd, memory, 2 * PAGE, 0);
	assert_non_null(one);
	assert_null(ibv_reg_mr(pd, memory, 2 * PAGE, 0));
	assert_int_equal(errno, ENOMEM);
	assert_null(ibv_reg_mr(pd, memory, PAGE, IBV_ACCESS_REMOTE_WRITE));
	assert_int_equal(errno, EINVAL);
	ibv_dereg_mr(one);
	ibv_dealloc_pd(pd);
	ibv_close_device(context);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_write__lands_by_io_address, set_up),
		cmocka_unit_test_setup(test_write__by_a_wrong_key_or_range_is_refused, set_up),
		cmocka_unit_test_setup(test_write__needs_the_access_and_the_domain, set_up),
		cmocka_unit_test_setup(test_write__from_memory_that_is_not_registered_fails_at_home, set_up),
		cmocka_unit_test_setup(test_key__is_dead_after_deregistration, set_up),
		cmocka_unit_test_setup(test_send__fills_the_receives_in_order, set_up),
		cmocka_unit_test_setup(test_send__inline_lets_its_buffer_go_at_once, set_up),
		cmocka_unit_test_setup(test_send__into_too_small_a_receive_fails_at_both_ends, set_up),
		cmocka_unit_test_setup(test_write_with_immediate__takes_a_receive_and_lands_in_memory, set_up),
		cmocka_unit_test_setup(test_receiver_not_ready__is_tried_again_and_given_up, set_up),
		cmocka_unit_test_setup(test_peer_gone__is_known_after_the_retries, set_up),
		cmocka_unit_test_setup(test_post__refuses_more_than_the_queue_holds, set_up),
		cmocka_unit_test_setup(test_error__flushes_all_that_waits, set_up),
		cmocka_unit_test_setup(test_notice__comes_once_per_arming_and_not_for_what_is_there, set_up),
		cmocka_unit_test_setup(test_overrun__drops_the_completion_and_says_so, set_up),
		cmocka_unit_test_setup(test_destroy__waits_for_what_is_under_way, set_up),
		cmocka_unit_test_setup(test_connect__to_nobody_is_refused, set_up),
		cmocka_unit_test_setup(test_reject__carries_data, set_up),
		cmocka_unit_test_setup(test_request__that_nobody_takes_is_refused_with_the_listener, set_up),
		cmocka_unit_test_setup(test_disconnect__is_heard_at_both_ends_and_flushes_its_own, set_up),
		cmocka_unit_test_setup(test_end__of_an_identifier_disconnects_its_peer, set_up),
		cmocka_unit_test_setup(test_bind__knows_which_address_is_a_device, set_up),
		cmocka_unit_test_setup(test_getifaddrs__lists_what_can_be_bound, set_up),
		cmocka_unit_test_setup(test_resolve__fails_in_an_event, set_up),
		cmocka_unit_test_setup(test_remove__tells_everybody, set_up),
		cmocka_unit_test_setup(test_plan__fails_the_call_it_names, set_up),
		cmocka_unit_test_setup(test_plan__breaks_the_nth_write, set_up),
		cmocka_unit_test_setup(test_plan__loses_the_nth_completion, set_up),
		cmocka_unit_test_setup(test_counts__know_what_is_alive, set_up),
		cmocka_unit_test_setup(test_limits__are_held, set_up),
	};

	return cmocka_run_group_tests_name("fake_verbs", tests, NULL, NULL);
}
