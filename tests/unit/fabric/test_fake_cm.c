/* SPDX-License-Identifier: BSD-2-Clause */
/* test_fake_cm.c -- the fake's connection manager, plan and counts */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/fabric/fake_couple.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- the connection manager ---- */

static void test_connect__to_nobody_is_refused(void **state)
{
	struct couple *couple = calloc(1, sizeof(*couple));
	struct rdma_cm_event *event;

	(void)state;
	couple_open_door(couple, 0);
	couple_walk_to_door(couple, 0);
	rdma_destroy_id(couple->listener);
	couple_knock(couple, 0);
	event = couple_await(couple->active.events, RDMA_CM_EVENT_REJECTED);
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
	couple_open_door(couple, 1);
	couple_walk_to_door(couple, 1);
	couple_knock(couple, 0);
	couple_hear(couple);
	assert_int_equal(rdma_reject(couple->passive.id, "no", 2), 0);
	event = couple_await(couple->active.events, RDMA_CM_EVENT_REJECTED);
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
	couple_open_door(couple, 0);
	couple_walk_to_door(couple, 0);
	couple_knock(couple, 0);
	rdma_destroy_id(couple->listener);
	couple_expect(couple->active.events, RDMA_CM_EVENT_REJECTED);
	assert_int_equal(rdma_create_id(couple->door, &couple->listener, NULL, RDMA_PS_TCP), 0);
	couple_free(couple);
}

static void test_disconnect__is_heard_at_both_ends_and_flushes_its_own(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	assert_int_equal(couple_post_receive(&couple->active, 0, 8), 0);
	assert_int_equal(couple_post_receive(&couple->passive, 0, 8), 0);
	assert_int_equal(rdma_disconnect(couple->active.id), 0);
	couple_expect(couple->active.events, RDMA_CM_EVENT_DISCONNECTED);
	couple_expect(couple->door, RDMA_CM_EVENT_DISCONNECTED);
	couple_expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
	couple_expect_nothing(&couple->passive);
	couple_free(couple);
}

static void test_end__of_an_identifier_disconnects_its_peer(void **state)
{
	struct couple *couple = couple_new(0);

	(void)state;
	couple_strip(&couple->passive);
	memset(&couple->passive, 0, sizeof(couple->passive));
	couple_expect(couple->active.events, RDMA_CM_EVENT_DISCONNECTED);
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
	event = couple_await(channel, RDMA_CM_EVENT_ADDR_ERROR);
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
	assert_int_equal(couple_post_receive(&couple->passive, 0, 8), 0);
	fake_remove(0);
	couple_expect(couple->active.events, RDMA_CM_EVENT_DEVICE_REMOVAL);
	couple_expect(couple->door, RDMA_CM_EVENT_DEVICE_REMOVAL);
	couple_expect(couple->door, RDMA_CM_EVENT_DEVICE_REMOVAL);
	couple_expect_status(&couple->passive, IBV_WC_WR_FLUSH_ERR);
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
	assert_int_equal(couple_post_receive(&couple->passive, 0, 8), EPERM);
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
		assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
	couple_expect_status(&couple->active, IBV_WC_REM_OP_ERR);
	couple_expect_status(&couple->active, IBV_WC_WR_FLUSH_ERR);
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
		assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, 0, 8), 0);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
	couple_expect_nothing(&couple->active);
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
	assert_int_equal(couple_post_write(couple, 0, 0, PAGE), 0);
	assert_int_equal(couple_post_write(couple, IBV_SEND_SIGNALED, PAGE, PAGE), 0);
	couple_expect_status(&couple->active, IBV_WC_SUCCESS);
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
		cmocka_unit_test_setup(test_connect__to_nobody_is_refused, couple_set_up),
		cmocka_unit_test_setup(test_reject__carries_data, couple_set_up),
		cmocka_unit_test_setup(test_request__that_nobody_takes_is_refused_with_the_listener,
				       couple_set_up),
		cmocka_unit_test_setup(test_disconnect__is_heard_at_both_ends_and_flushes_its_own, couple_set_up),
		cmocka_unit_test_setup(test_end__of_an_identifier_disconnects_its_peer, couple_set_up),
		cmocka_unit_test_setup(test_bind__knows_which_address_is_a_device, couple_set_up),
		cmocka_unit_test_setup(test_getifaddrs__lists_what_can_be_bound, couple_set_up),
		cmocka_unit_test_setup(test_resolve__fails_in_an_event, couple_set_up),
		cmocka_unit_test_setup(test_remove__tells_everybody, couple_set_up),
		cmocka_unit_test_setup(test_plan__fails_the_call_it_names, couple_set_up),
		cmocka_unit_test_setup(test_plan__breaks_the_nth_write, couple_set_up),
		cmocka_unit_test_setup(test_plan__loses_the_nth_completion, couple_set_up),
		cmocka_unit_test_setup(test_counts__know_what_is_alive, couple_set_up),
		cmocka_unit_test_setup(test_limits__are_held, couple_set_up),
	};

	return cmocka_run_group_tests_name("fake connection manager", tests, NULL, NULL);
}
