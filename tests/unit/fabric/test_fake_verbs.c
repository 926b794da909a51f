/* SPDX-License-Identifier: BSD-2-Clause */
/* test_fake_verbs.c -- the fake itself: it must refuse what a device refuses, or the tests over it prove nothing */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/fabric/fake_couple.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void test_write__lands_by_io_address(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	memset(couple->active.memory, 'x', 2 * PAGE);
	assert_int_equal(couple_post_write(couple, 0, PAGE, PAGE), 0);
	assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 10), 0);
	assert_int_equal(couple_next_completion(&couple->active).opcode, IBV_WC_RDMA_WRITE);
	couple_expect_nothing(&couple->active);
	couple_expect_nothing(&couple->passive);

	assert_memory_equal(couple->passive.memory, couple->active.memory, 10);
	assert_int_equal(couple->passive.memory[10], 0);
	assert_memory_equal(couple->passive.memory + PAGE, couple->active.memory + PAGE, PAGE);
	couple_free(couple);
}

static void expect_refused_write(uint64_t remote, uint32_t length, uint32_t key_change)
{
	struct couple *couple = couple_new(0);

	assert_int_equal(couple_post_receive(&couple->passive, 0, PAGE), 0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_RDMA_WRITE, 0,
				     couple_piece(&couple->active, 0, length), remote,
				     couple->passive.mr->rkey ^ key_change),
			 0);
	couple_expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	couple_expect_status(&couple->passive, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(couple_post_write(couple, 0, 0, PAGE), 0);
	couple_expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
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
	assert_int_equal(couple_post(&couple->active, IBV_WR_RDMA_WRITE, 0, couple_piece(&couple->active, 0, 8),
				     (uintptr_t)closed->addr, closed->rkey),
			 0);
	couple_expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(closed);
	couple_free(couple);
	couple = couple_new(0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_RDMA_WRITE, 0, couple_piece(&couple->active, 0, 8),
				     IOVA, foreign->rkey),
			 0);
	couple_expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(foreign);
	assert_int_equal(ibv_dealloc_pd(other), 0);
	couple_free(couple);
}

/* the receiver's memory once more, with what access besides */
static void register_anew(struct half *half, unsigned int access)
{
	assert_int_equal(ibv_dereg_mr(half->mr), 0);
	half->mr = ibv_reg_mr_iova(half->pd, half->memory, BYTES, IOVA,
				   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | access);
	assert_non_null(half->mr);
}

/* @value into page @page of the receiver's; under way when it returns */
static void write_value(struct couple *couple, uint32_t slot, uint32_t page, uint8_t value)
{
	struct half *active = &couple->active;

	memset(active->memory + slot * PAGE, value, PAGE);
	assert_int_equal(couple_post(active, IBV_WR_RDMA_WRITE, 0, couple_piece(active, slot * PAGE, PAGE),
				     IOVA + page * PAGE, couple->passive.mr->rkey),
			 0);
}

static void send_and_see(struct couple *couple)
{
	assert_int_equal(couple_post_receive(&couple->passive, 32 * PAGE, PAGE), 0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, IBV_SEND_SIGNALED,
				     couple_piece(&couple->active, 33 * PAGE, 8), 0, 0),
			 0);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
	couple_expect_status(&couple->passive, IBV_WC_SUCCESS);
}

static void test_relaxed_ordering__the_older_of_two_writes_stays(void **state)
{
	struct couple *couple = couple_new(0);
	const uint8_t *memory = couple->passive.memory;
	struct fake_counts counts;

	(void)state;
	register_anew(&couple->passive, IBV_ACCESS_RELAXED_ORDERING);
	write_value(couple, 1, 5, 'a');
	write_value(couple, 2, 5, 'b');
	write_value(couple, 3, 6, 'c');
	send_and_see(couple);
	assert_int_equal(memory[5 * PAGE], 'a');
	assert_int_equal(memory[6 * PAGE], 'c');

	/* what was seen to be there is behind what comes now */
	write_value(couple, 2, 5, 'd');
	send_and_see(couple);
	assert_int_equal(memory[5 * PAGE], 'd');
	fake_counts(&counts);
	assert_int_equal(counts.unordered, 1);
	assert_int_equal(counts.relaxed, 1);
	couple_free(couple);
}

static void test_strict_ordering__the_newer_of_two_writes_stays(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	write_value(couple, 1, 5, 'a');
	write_value(couple, 2, 5, 'b');
	send_and_see(couple);
	assert_int_equal(couple->passive.memory[5 * PAGE], 'b');
	couple_free(couple);
}

static void test_on_demand__is_refused_by_a_device_that_has_it_not(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_device_attr_ex attr;

	(void)state;
	assert_int_equal(ibv_query_device_ex(couple->active.id->verbs, NULL, &attr), 0);
	assert_int_equal(attr.odp_caps.general_caps, 0);
	assert_null(ibv_reg_mr(couple->passive.pd, couple->passive.memory, PAGE, IBV_ACCESS_ON_DEMAND));
	couple_free(couple);
}

static void test_on_demand__pins_nothing(void **state)
{
	struct fake_config config = fake_config_default();
	struct couple *couple;
	struct ibv_device_attr_ex attr;

	(void)state;
	config.on_demand = true;
	fake_reset(&config);
	couple = couple_new(0);
	assert_int_equal(ibv_query_device_ex(couple->active.id->verbs, NULL, &attr), 0);
	assert_int_not_equal(attr.odp_caps.general_caps & IBV_ODP_SUPPORT, 0);
	assert_int_equal(attr.orig_attr.max_qp_wr, config.limits.max_qp_wr);
	register_anew(&couple->passive, IBV_ACCESS_ON_DEMAND);
	write_value(couple, 1, 5, 'a');
	send_and_see(couple);
	assert_int_equal(couple->passive.memory[5 * PAGE], 'a');
	couple_free(couple);
}

static void test_write__from_memory_that_is_not_registered_fails_at_home(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_sge sge = couple_piece(&couple->active, 0, PAGE);

	(void)state;
	sge.addr = (uintptr_t)couple->active.memory; /* not an I/O address */
	assert_int_equal(couple_post(&couple->active, IBV_WR_RDMA_WRITE, 0, sge, IOVA, couple->passive.mr->rkey),
			 0);
	couple_expect_status(&couple->active, IBV_WC_LOC_PROT_ERR);
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
	assert_int_equal(couple_post(&couple->active, IBV_WR_RDMA_WRITE, 0, couple_piece(&couple->active, 0, 8),
				     IOVA, rkey),
			 0);
	couple_expect_status(&couple->active, IBV_WC_REM_ACCESS_ERR);
	couple_free(couple);
}

static void test_send__fills_the_receives_in_order(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_wc wc;

	(void)state;
	memcpy(couple->active.memory, "first.second", 12);
	assert_int_equal(couple_post_receive(&couple->passive, 0, 16), 0);
	assert_int_equal(couple_post_receive(&couple->passive, 16, 16), 0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND_WITH_IMM, 0, couple_piece(&couple->active, 0, 6),
				     0, 0),
			 0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, IBV_SEND_SIGNALED,
				     couple_piece(&couple->active, 6, 6), 0, 0),
			 0);
	wc = couple_next_completion(&couple->passive);
	assert_int_equal(wc.wr_id, 1000);
	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_int_equal(wc.byte_len, 6);
	assert_int_equal(wc.wc_flags, IBV_WC_WITH_IMM);
	assert_int_equal(ntohl(wc.imm_data), 4711);
	wc = couple_next_completion(&couple->passive);
	assert_int_equal(wc.wr_id, 1016);
	assert_int_equal(wc.wc_flags, 0);
	assert_int_equal(couple_next_completion(&couple->active).opcode, IBV_WC_SEND);
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
	assert_int_equal(couple_post_receive(&couple->passive, 0, 16), 0);
	fake_hold(true);
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, IBV_SEND_INLINE, sge, 0, 0), 0);
	memset(text, 0, sizeof(text));
	fake_hold(false);
	assert_int_equal(couple_next_completion(&couple->passive).byte_len, sizeof(text));
	assert_string_equal((char *)couple->passive.memory, "inline");
	sge.length = 65;
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, IBV_SEND_INLINE, sge, 0, 0), EINVAL);
	couple_free(couple);
}

static void test_send__into_too_small_a_receive_fails_at_both_ends(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	assert_int_equal(couple_post_receive(&couple->passive, 0, 16), 0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, 0, couple_piece(&couple->active, 0, 17), 0, 0),
			 0);
	couple_expect_status(&couple->active, IBV_WC_REM_INV_REQ_ERR);
	couple_expect_status(&couple->passive, IBV_WC_LOC_LEN_ERR);
	couple_free(couple);
}

static void test_write_with_immediate__takes_a_receive_and_lands_in_memory(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_wc wc;

	(void)state;
	couple->active.memory[5] = 'i';
	assert_int_equal(couple_post_receive(&couple->passive, PAGE, 16), 0);
	assert_int_equal(couple_post(&couple->active, IBV_WR_RDMA_WRITE_WITH_IMM, 0,
				     couple_piece(&couple->active, 0, 16), IOVA, couple->passive.mr->rkey),
			 0);
	wc = couple_next_completion(&couple->passive);
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
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, 0, couple_piece(&couple->active, 0, 8), 0, 0),
			 0);
	usleep(7000);
	assert_int_equal(couple_post_receive(&couple->passive, 0, 16), 0);
	assert_int_equal(couple_next_completion(&couple->passive).byte_len, 8);
	fake_counts(&counts);
	assert_true(counts.not_ready >= 1);
	assert_int_equal(couple_post(&couple->active, IBV_WR_SEND, 0, couple_piece(&couple->active, 0, 8), 0, 0),
			 0);
	couple_expect_status(&couple->active, IBV_WC_RNR_RETRY_EXC_ERR);
	couple_free(couple);
}

static void test_peer_gone__is_known_after_the_retries(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	rdma_destroy_qp(couple->passive.id);
	assert_int_equal(couple_post_write(couple, 0, 0, PAGE), 0);
	couple_expect_status(&couple->active, IBV_WC_RETRY_EXC_ERR);
	couple_free(couple);
	couple = couple_new(0);
	fake_cut(true);
	assert_int_equal(couple_post_write(couple, 0, 0, PAGE), 0);
	couple_expect_status(&couple->active, IBV_WC_RETRY_EXC_ERR);
	fake_cut(false);
	couple_free(couple);
}

static void test_post__refuses_more_than_the_queue_holds(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(couple_post_write(couple, i + 1 == DEPTH ? IBV_SEND_SIGNALED : 0, 0, 8), 0);
	usleep(5000);
	/* done long ago, but that is only known when it has been polled */
	assert_int_equal(couple_post_write(couple, 0, 0, 8), ENOMEM);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
	assert_int_equal(couple_post_write(couple, 0, 0, 8), 0);
	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(couple_post_receive(&couple->passive, 0, 8), 0);
	assert_int_equal(couple_post_receive(&couple->passive, 0, 8), ENOMEM);
	couple_free(couple);
}

static void test_error__flushes_all_that_waits(void **state)
{
	struct couple *couple = couple_new(0);
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	(void)state;
	fake_hold(true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(couple_post_write(couple, 0, 0, 8), 0);
	assert_int_equal(couple_post_receive(&couple->active, 0, 8), 0);
	assert_int_equal(ibv_modify_qp(couple->active.id->qp, &attr, IBV_QP_STATE), 0);
	fake_hold(false);
	for (int i = 0; i < 4; i++)
		couple_expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
	couple_expect_nothing(&couple->active);
	couple_free(couple);
}

static void test_notice__comes_once_per_arming_and_not_for_what_is_there(void **state)
{
	struct couple *couple = couple_new(0);
	struct half *active = &couple->active;
	struct pollfd ready = { .fd = active->notice->fd, .events = POLLIN };
	struct fake_counts counts;
	struct ibv_cq *cq;
	void *context;

	(void)state;
	assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	do {
		usleep(100);
		fake_counts(&counts);
	} while (counts.completions == 0);
	assert_int_equal(poll(&ready, 1, 0), 0);
	assert_int_equal(ibv_req_notify_cq(active->cq, 0), 0);
	assert_int_equal(poll(&ready, 1, 10), 0);
	assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	assert_int_equal(poll(&ready, 1, LATE_MS), 1);
	assert_int_equal(ibv_get_cq_event(active->notice, &cq, &context), 0);
	assert_ptr_equal(cq, active->cq);
	assert_ptr_equal(context, active);
	ibv_ack_cq_events(cq, 1);
	assert_int_equal(poll(&ready, 1, 10), 0);
	assert_int_equal(ibv_req_notify_cq(active->cq, 0), 0);
	assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
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
	couple_equip(&small, couple->active.id->verbs, 2);
	small.id = couple->active.id;
	couple_make_qp(&small);
	for (int i = 0; i < 3; i++)
		assert_int_equal(couple_post_receive(&small, 0, 8), 0);
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
	couple_strip(&small);
	couple_free(couple);
}

static void test_destroy__waits_for_what_is_under_way(void **state)
{
	(void)state;

	for (int i = 0; i < 50; i++) {
		struct couple *couple = couple_new(0);

		for (uint32_t k = 0; k < DEPTH; k++)
			assert_int_equal(couple_post_write(couple, 0, 0, BYTES), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_write__lands_by_io_address, couple_set_up),
		cmocka_unit_test_setup(test_write__by_a_wrong_key_or_range_is_refused, couple_set_up),
		cmocka_unit_test_setup(test_write__needs_the_access_and_the_domain, couple_set_up),
		cmocka_unit_test_setup(test_write__from_memory_that_is_not_registered_fails_at_home,
				       couple_set_up),
		cmocka_unit_test_setup(test_relaxed_ordering__the_older_of_two_writes_stays, couple_set_up),
		cmocka_unit_test_setup(test_strict_ordering__the_newer_of_two_writes_stays, couple_set_up),
		cmocka_unit_test_setup(test_on_demand__is_refused_by_a_device_that_has_it_not, couple_set_up),
		cmocka_unit_test_setup(test_on_demand__pins_nothing, couple_set_up),
		cmocka_unit_test_setup(test_key__is_dead_after_deregistration, couple_set_up),
		cmocka_unit_test_setup(test_send__fills_the_receives_in_order, couple_set_up),
		cmocka_unit_test_setup(test_send__inline_lets_its_buffer_go_at_once, couple_set_up),
		cmocka_unit_test_setup(test_send__into_too_small_a_receive_fails_at_both_ends, couple_set_up),
		cmocka_unit_test_setup(test_write_with_immediate__takes_a_receive_and_lands_in_memory,
				       couple_set_up),
		cmocka_unit_test_setup(test_receiver_not_ready__is_tried_again_and_given_up, couple_set_up),
		cmocka_unit_test_setup(test_peer_gone__is_known_after_the_retries, couple_set_up),
		cmocka_unit_test_setup(test_post__refuses_more_than_the_queue_holds, couple_set_up),
		cmocka_unit_test_setup(test_error__flushes_all_that_waits, couple_set_up),
		cmocka_unit_test_setup(test_notice__comes_once_per_arming_and_not_for_what_is_there,
				       couple_set_up),
		cmocka_unit_test_setup(test_overrun__drops_the_completion_and_says_so, couple_set_up),
		cmocka_unit_test_setup(test_destroy__waits_for_what_is_under_way, couple_set_up),
	};

	return cmocka_run_group_tests_name("fake verbs", tests, NULL, NULL);
}
