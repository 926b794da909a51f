/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_couple.h -- two queue pairs of bare verbs, connected, for the tests of the fake */
#ifndef TESTS_FAKE_COUPLE_H
#define TESTS_FAKE_COUPLE_H

#include "support/fake_verbs.h"

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

struct rdma_cm_event *couple_await(struct rdma_event_channel *channel, enum rdma_cm_event_type type);
void couple_expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type);
void couple_equip(struct half *half, struct ibv_context *context, int cqe);
void couple_make_qp(struct half *half);
void couple_open_door(struct couple *couple, unsigned device);
void couple_walk_to_door(struct couple *couple, unsigned device);
void couple_knock(struct couple *couple, uint8_t retries);
void couple_hear(struct couple *couple);
struct couple *couple_new(uint8_t rnr_retries);
void couple_strip(struct half *half);
void couple_free(struct couple *couple);
struct ibv_sge couple_piece(const struct half *half, uint32_t offset, uint32_t length);
int couple_post(struct half *half, enum ibv_wr_opcode opcode, unsigned flags, struct ibv_sge sge, uint64_t remote,
		uint32_t rkey);
int couple_post_write(struct couple *couple, unsigned flags, uint32_t offset, uint32_t length);
int couple_post_receive(struct half *half, uint32_t offset, uint32_t length);
struct ibv_wc couple_next_completion(struct half *half);
void couple_expect_status(struct half *half, enum ibv_wc_status status);
void couple_expect_nothing(struct half *half);
int couple_set_up(void **state);

#endif
