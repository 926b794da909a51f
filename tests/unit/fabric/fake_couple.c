/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_couple.c -- two queue pairs of bare verbs, connected, for the tests of the fake */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/fabric/fake_couple.h"
#include "util/clock.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- making couples ---- */

struct rdma_cm_event *couple_await(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	struct pollfd ready = { .fd = channel->fd, .events = POLLIN };
	struct rdma_cm_event *event = NULL;

	assert_int_equal(poll(&ready, 1, LATE_MS), 1);
	assert_int_equal(rdma_get_cm_event(channel, &event), 0);
	assert_string_equal(rdma_event_str(event->event), rdma_event_str(type));
	return event;
}

void couple_expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	assert_int_equal(rdma_ack_cm_event(couple_await(channel, type)), 0);
}

void couple_equip(struct half *half, struct ibv_context *context, int cqe)
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

void couple_make_qp(struct half *half)
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

void couple_open_door(struct couple *couple, unsigned device)
{
	struct sockaddr_in address = fake_address(device, 0);

	couple->door = rdma_create_event_channel();
	assert_non_null(couple->door);
	assert_int_equal(rdma_create_id(couple->door, &couple->listener, couple, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_bind_addr(couple->listener, (struct sockaddr *)&address), 0);
	assert_int_equal(rdma_listen(couple->listener, 4), 0);
	assert_int_not_equal(rdma_get_src_port(couple->listener), 0);
}

void couple_walk_to_door(struct couple *couple, unsigned device)
{
	struct sockaddr_in address = fake_address(device, ntohs(rdma_get_src_port(couple->listener)));
	struct half *active = &couple->active;

	active->events = rdma_create_event_channel();
	assert_int_equal(rdma_create_id(active->events, &active->id, active, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_resolve_addr(active->id, NULL, (struct sockaddr *)&address, 1000), 0);
	couple_expect(active->events, RDMA_CM_EVENT_ADDR_RESOLVED);
	assert_int_equal(rdma_resolve_route(active->id, 1000), 0);
	couple_expect(active->events, RDMA_CM_EVENT_ROUTE_RESOLVED);
	couple_equip(active, active->id->verbs, 2 * DEPTH);
	couple_make_qp(active);
}

void couple_knock(struct couple *couple, uint8_t retries)
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
void couple_hear(struct couple *couple)
{
	struct rdma_cm_event *event = couple_await(couple->door, RDMA_CM_EVENT_CONNECT_REQUEST);

	assert_ptr_equal(event->listen_id, couple->listener);
	assert_int_equal(event->param.conn.private_data_len, 56);
	assert_memory_equal(event->param.conn.private_data, "knock", 5);
	couple->passive.id = event->id;
	couple->passive.events = couple->door;
	assert_int_equal(rdma_ack_cm_event(event), 0);
	couple_equip(&couple->passive, couple->passive.id->verbs, 2 * DEPTH);
	couple_make_qp(&couple->passive);
}

struct couple *couple_new(uint8_t rnr_retries)
{
	struct couple *couple = calloc(1, sizeof(*couple));
	struct rdma_conn_param param = { .rnr_retry_count = rnr_retries };

	assert_non_null(couple);
	couple_open_door(couple, 0);
	couple_walk_to_door(couple, 0);
	couple_knock(couple, 0);
	couple_hear(couple);
	assert_int_equal(rdma_accept(couple->passive.id, &param), 0);
	couple_expect(couple->active.events, RDMA_CM_EVENT_ESTABLISHED);
	couple_expect(couple->door, RDMA_CM_EVENT_ESTABLISHED);
	return couple;
}

void couple_strip(struct half *half)
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

void couple_free(struct couple *couple)
{
	couple_strip(&couple->active);
	couple_strip(&couple->passive);
	assert_int_equal(rdma_destroy_id(couple->listener), 0);
	if (couple->active.events != NULL)
		rdma_destroy_event_channel(couple->active.events);
	rdma_destroy_event_channel(couple->door);
	free(couple);
}

/* ---- work ---- */

struct ibv_sge couple_piece(const struct half *half, uint32_t offset, uint32_t length)
{
	return (struct ibv_sge){ .addr = IOVA + offset, .length = length, .lkey = half->mr->lkey };
}

int couple_post(struct half *half, enum ibv_wr_opcode opcode, unsigned flags, struct ibv_sge sge, uint64_t remote,
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

int couple_post_write(struct couple *couple, unsigned flags, uint32_t offset, uint32_t length)
{
	return couple_post(&couple->active, IBV_WR_RDMA_WRITE, flags,
			   couple_piece(&couple->active, offset, length), IOVA + offset, couple->passive.mr->rkey);
}

int couple_post_receive(struct half *half, uint32_t offset, uint32_t length)
{
	struct ibv_sge sge = couple_piece(half, offset, length);
	struct ibv_recv_wr *bad, wr = { .wr_id = 1000 + offset, .sg_list = &sge, .num_sge = 1 };

	return ibv_post_recv(half->id->qp, &wr, &bad);
}

struct ibv_wc couple_next_completion(struct half *half)
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

void couple_expect_status(struct half *half, enum ibv_wc_status status)
{
	const struct ibv_wc wc = couple_next_completion(half);

	assert_string_equal(ibv_wc_status_str(wc.status), ibv_wc_status_str(status));
}

void couple_expect_nothing(struct half *half)
{
	struct ibv_wc wc;

	usleep(5000);
	assert_int_equal(ibv_poll_cq(half->cq, 1, &wc), 0);
}

int couple_set_up(void **state)
{
	struct fake_config config = fake_config_default();

	(void)state;
	config.ack_ms = 50;
	config.rnr_ms = 5;
	fake_reset(&config);
	return 0;
}
