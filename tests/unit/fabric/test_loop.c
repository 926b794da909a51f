/* SPDX-License-Identifier: BSD-2-Clause */
/* test_loop.c -- the faults of the loop fabric do what they say, for other tests rely on them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/loop/copy.h"
#include "fabric/loop/loop.h"
#include "unit/fabric/fabric_pair.h"
#include "util/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define SOON_NS (20 * NSEC_PER_MSEC)

static const struct fabric_ops *const loop = &fabric_loop_ops;

/* A plan that treats the write of one page of region 0 differently, the first so many times. */
struct one_page {
	uint64_t epoch, offset;
	enum loop_action action;
	uint32_t times;
	uint32_t asked;
};

static enum loop_action decide_one_page(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	struct one_page *page = opaque;

	page->asked++;
	if (epoch != page->epoch || write->region != 0 || write->offset != page->offset || page->times == 0)
		return LOOP_DELIVER;
	page->times--;
	return page->action;
}

static struct one_page page_plan;

static void set_page_plan(enum loop_action action, uint64_t offset, uint32_t times, uint32_t delay)
{
	const struct loop_plan plan = { .decide = decide_one_page, .opaque = &page_plan, .delay = delay };

	page_plan = (struct one_page){ .epoch = 7, .offset = offset, .action = action, .times = times };
	loop_plan_set(&plan);
}

static int reset_plan(void **state)
{
	(void)state;
	loop_plan_set(NULL);
	loop_release();
	loop_counts_reset();
	return 0;
}

static uint64_t word(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static void put_word(uint8_t *bytes, uint64_t value)
{
	memcpy(bytes, &value, sizeof(value));
}

/* posts the first page of region 0 on channel 0 with @value in it */
static void send_value(struct joined *pair, uint64_t value)
{
	put_word(pair->from[0], value);
	pair_write(pair, 0, 0, 0, PAIR_PAGE);
}

static void test_hold__released_after_the_fence_never_lands(void **state)
{
	struct joined *pair = pair_new(loop, 2);
	struct loop_counts counts;

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	send_value(pair, 1);
	assert_int_equal(loop->source_flush(pair->source), 0);
	loop->source_close(pair->source);
	loop->sink_close(pair->sink);

	/* the next epoch, into the same memory */
	pair->sink_opts.epoch = pair->source_opts.epoch = 8;
	assert_int_equal(loop->sink_open(&pair->sink_opts, &pair->sink, NULL), 0);
	loop->sink_address(pair->sink, &pair->source_opts.address);
	pair_expose(pair, 0, 0);
	pair_connect(pair);
	send_value(pair, 2);
	pair_barrier(pair, 1);
	assert_int_equal(loop_release(), 1);
	loop_counts(&counts);

	assert_int_equal(word(pair->to[0]), 2);
	assert_int_equal(counts.held, 1);
	assert_int_equal(counts.dropped_after_fence, 1);
	assert_int_equal(counts.landed_late, 0);
	pair_free(pair);
}

static void test_hold__released_before_the_fence_overwrites_what_is_newer(void **state)
{
	struct joined *pair = pair_new(loop, 2);
	struct loop_counts counts;

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	send_value(pair, 1);
	assert_int_equal(loop->source_flush(pair->source), 0);
	loop->source_close(pair->source);
	pair->source = NULL;
	put_word(pair->to[0], 2);
	assert_int_equal(loop_release(), 1);
	loop_counts(&counts);

	assert_int_equal(word(pair->to[0]), 1);
	assert_int_equal(counts.landed_late, 1);
	assert_int_equal(counts.dropped_after_fence, 0);
	pair_free(pair);
}

static void test_hold__takes_the_data_that_the_page_had_then(void **state)
{
	struct joined *pair = pair_new(loop, 1);

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	send_value(pair, 1);
	assert_int_equal(loop->source_flush(pair->source), 0);
	put_word(pair->from[0], 2);
	assert_int_equal(loop_release(), 1);

	assert_int_equal(word(pair->to[0]), 1);
	pair_free(pair);
}

static void test_hold__keeps_what_is_behind_it_on_its_channel_alone(void **state)
{
	struct joined *pair = pair_new(loop, 2);

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	send_value(pair, 1);
	pair_write(pair, 0, 0, PAIR_PAGE, PAIR_PAGE);
	put_word(pair->from[0] + PAIR_GRANULE, 3);
	pair_write(pair, 1, 0, PAIR_GRANULE, PAIR_PAGE);
	put_word(pair->from[0] + PAIR_PAGE, 2);
	assert_int_equal(pair_post_barrier(pair, 1), 0);

	assert_int_equal(word(pair->to[0] + PAIR_GRANULE), 3);
	assert_int_equal(word(pair->to[0] + PAIR_PAGE), 0);
	assert_int_equal(pair->round[1], 1);
	assert_int_equal(pair->round[0], 0);
	assert_int_equal(loop_release(), 1);
	assert_int_equal(word(pair->to[0]), 1);
	assert_int_equal(word(pair->to[0] + PAIR_PAGE), 2);
	assert_int_equal(pair->round[0], 1);
	pair_free(pair);
}

static void *release_later(void *arg)
{
	(void)arg;
	usleep(20000);
	loop_release();
	return NULL;
}

static void test_hold__fills_the_queue_until_it_is_released(void **state)
{
	struct joined *pair = pair_new(loop, 1);
	const struct fabric_write write = { .length = PAIR_PAGE, .data = pair->from[0] };
	pthread_t thread;
	int rc = 0;

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	for (uint32_t i = 0; i < 100000 && rc == 0; i++)
		rc = loop->source_write(pair->source, &write);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(loop->source_wait(pair->source, SOON_NS), -ETIMEDOUT);
	assert_int_equal(pthread_create(&thread, NULL, release_later, NULL), 0);

	assert_int_equal(loop->source_wait(pair->source, PAIR_LATE_NS), 0);
	pthread_join(thread, NULL);
	pair_barrier(pair, 1);
	pair_free(pair);
}

static void test_hold__outlives_both_ends_and_their_memory(void **state)
{
	struct joined *pair = pair_new(loop, 2);
	struct loop_counts counts;

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	send_value(pair, 1);
	for (uint32_t i = 1; i < 50; i++)
		pair_write(pair, i % 2, 0, (uint64_t)i * PAIR_PAGE, PAIR_PAGE);
	assert_int_equal(loop->source_flush(pair->source), 0);
	pair_free(pair);
	assert_int_equal(loop_release(), 1);
	loop_counts(&counts);

	assert_int_equal(counts.dropped_after_fence, 1);
	assert_int_equal(loop_release(), 0);
}

static void test_hold__keeps_messages_until_credits_run_out(void **state)
{
	struct joined *pair = pair_new(loop, 1);
	uint64_t sent = 0;

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	send_value(pair, 1);
	while (sent < 1000 && loop->source_message(pair->source, &sent, sizeof(sent)) == 0)
		sent++;
	assert_int_equal(sent, 16);
	assert_int_equal(pair_events(pair), 0);
	assert_int_equal(loop_release(), 1);

	assert_int_equal(pair_events(pair), 16);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(pair->event[i].value, i);
	pair_free(pair);
}

static void test_drop__loses_the_write_and_says_nothing(void **state)
{
	struct joined *pair = pair_new(loop, 2);
	struct loop_counts counts;

	(void)state;
	set_page_plan(LOOP_DROP, 0, 1, 0);
	send_value(pair, 1);
	pair_barrier(pair, 1);
	loop_counts(&counts);

	assert_int_equal(word(pair->to[0]), 0);
	assert_int_equal(counts.dropped, 1);
	pair_free(pair);
}

static void test_delay__lasts_the_flushes_it_was_given(void **state)
{
	struct joined *pair = pair_new(loop, 2);

	(void)state;
	set_page_plan(LOOP_DELAY, 0, 1, 2);
	send_value(pair, 1);
	assert_int_equal(loop->source_flush(pair->source), 0);
	put_word(pair->from[0] + PAIR_GRANULE, 3);
	pair_write(pair, 1, 0, PAIR_GRANULE, PAIR_PAGE);
	assert_int_equal(loop->source_flush(pair->source), 0);
	assert_int_equal(word(pair->to[0]), 0);
	assert_int_equal(word(pair->to[0] + PAIR_GRANULE), 3);
	assert_int_equal(loop->source_flush(pair->source), 0);

	assert_int_equal(word(pair->to[0]), 1);
	pair_free(pair);
}

static void test_delay__never_keeps_a_barrier(void **state)
{
	struct joined *pair = pair_new(loop, 2);

	(void)state;
	set_page_plan(LOOP_DELAY, 0, UINT32_MAX, 1000);
	send_value(pair, 1);
	send_value(pair, 2);
	pair_barrier(pair, 1);

	assert_int_equal(word(pair->to[0]), 2);
	pair_free(pair);
}

static void test_kill__breaks_the_channel_at_both_ends(void **state)
{
	struct joined *pair = pair_new(loop, 2);
	struct loop_counts counts;

	(void)state;
	set_page_plan(LOOP_KILL, PAIR_PAGE, 1, 0);
	send_value(pair, 1);
	pair_write(pair, 0, 0, PAIR_PAGE, PAIR_PAGE);
	assert_int_equal(loop->source_flush(pair->source), -ECONNRESET);
	loop_counts(&counts);

	assert_int_equal(pair_await_lost(pair, 0), -ECONNRESET);
	assert_int_equal(pair->lost[1], 0);
	assert_int_equal(loop->source_barrier(pair->source, 1), -ECONNRESET);
	assert_int_equal(word(pair->to[0]), 1);
	assert_int_equal(counts.killed, 1);
	pair_free(pair);
}

/* The order in which writes were executed: one digit per write, its channel. */
struct order {
	char channels[64];
	uint64_t next[4];
	bool mixed;
};

static enum loop_action decide_order(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	struct order *order = opaque;
	const size_t n = strlen(order->channels);

	(void)epoch;
	order->channels[n] = (char)('0' + write->channel);
	if (write->offset != order->next[write->channel]++ * PAIR_PAGE)
		order->mixed = true;
	return LOOP_DELIVER;
}

static void run_order(uint64_t seed, struct order *order)
{
	const struct loop_plan plan = { .decide = decide_order, .opaque = order, .seed = seed };
	struct joined *pair = pair_new(loop, 4);

	memset(order, 0, sizeof(*order));
	loop_plan_set(&plan);
	for (uint32_t i = 0; i < 40; i++)
		pair_write(pair, i % 4, 0, (uint64_t)(i / 4) * PAIR_PAGE, PAIR_PAGE);
	pair_barrier(pair, 1);
	loop_plan_set(NULL);
	pair_free(pair);
}

static void test_seed__mixes_channels_but_not_what_is_on_them(void **state)
{
	struct order plain, first, again, other;

	(void)state;
	run_order(0, &plain);
	run_order(42, &first);
	run_order(42, &again);
	run_order(43, &other);

	assert_string_equal(plain.channels, "0000000000111111111122222222223333333333");
	assert_string_equal(first.channels, again.channels);
	assert_string_not_equal(first.channels, plain.channels);
	assert_string_not_equal(first.channels, other.channels);
	assert_false(first.mixed || other.mixed);
	assert_int_equal(strlen(first.channels), 40);
}

static void test_plan__is_asked_once_per_write_of_its_epoch(void **state)
{
	struct joined *pair = pair_new(loop, 2);

	(void)state;
	set_page_plan(LOOP_DROP, 0, UINT32_MAX, 0);
	page_plan.epoch = 8;
	send_value(pair, 1);
	pair_write(pair, 1, 0, PAIR_GRANULE, PAIR_PAGE);
	pair_barrier(pair, 1);

	assert_int_equal(page_plan.asked, 2);
	assert_int_equal(word(pair->to[0]), 1);
	pair_free(pair);
}

static void test_copy_pages__copies_all_of_it_at_any_alignment(void **state)
{
	static _Alignas(64) uint8_t from[9 * PAIR_PAGE + 64], to[9 * PAIR_PAGE + 128];

	(void)state;
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 2654435761u >> 11);
	for (size_t pages = 1; pages <= 9; pages++) {
		for (size_t skew = 0; skew < 64; skew += 8) {
			memset(to, 0, sizeof(to));
			copy_pages(to + 64, from + skew, pages * PAIR_PAGE);
			assert_memory_equal(to + 64, from + skew, pages * PAIR_PAGE);
			assert_int_equal(to[63], 0);
			assert_int_equal(to[64 + pages * PAIR_PAGE], 0);
		}
	}
}

static void read_boot_id(uint8_t boot_id[16])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned int byte;

	assert_non_null(file);
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			assert_int_equal(fgetc(file), '-');
		assert_int_equal(fscanf(file, "%2x", &byte), 1);
		boot_id[i] = (uint8_t)byte;
	}
	fclose(file);
}

static void test_reaches__only_its_own_process(void **state)
{
	uint8_t boot_id[16];

	(void)state;
	read_boot_id(boot_id);
	assert_true(loop->reaches(boot_id, (uint32_t)getpid()));
	assert_false(loop->reaches(boot_id, (uint32_t)getpid() + 1));
	boot_id[15] ^= 1;
	assert_false(loop->reaches(boot_id, (uint32_t)getpid()));
}

struct waiter {
	struct joined *pair;
	_Atomic bool waiting;
	int rc;
};

static void *wait_for_room(void *arg)
{
	struct waiter *waiter = arg;
	const struct fabric_write write = { .length = PAIR_PAGE, .data = waiter->pair->from[0] };

	while (loop->source_write(waiter->pair->source, &write) == 0)
		;
	waiter->waiting = true;
	waiter->rc = loop->source_wait(waiter->pair->source, PAIR_LATE_NS);
	return NULL;
}

static void test_stop__while_a_write_is_held_wakes_the_waiting_thread(void **state)
{
	struct waiter waiter = { .pair = pair_new(loop, 1) };
	pthread_t thread;

	(void)state;
	set_page_plan(LOOP_HOLD, 0, 1, 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_room, &waiter), 0);
	while (!waiter.waiting)
		usleep(1000);
	loop->source_stop(waiter.pair->source);
	pthread_join(thread, NULL);

	assert_int_equal(waiter.rc, -ECANCELED);
	pair_free(waiter.pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_hold__released_after_the_fence_never_lands, reset_plan),
		cmocka_unit_test_teardown(test_hold__released_before_the_fence_overwrites_what_is_newer,
					  reset_plan),
		cmocka_unit_test_teardown(test_hold__takes_the_data_that_the_page_had_then, reset_plan),
		cmocka_unit_test_teardown(test_hold__keeps_what_is_behind_it_on_its_channel_alone, reset_plan),
		cmocka_unit_test_teardown(test_hold__fills_the_queue_until_it_is_released, reset_plan),
		cmocka_unit_test_teardown(test_hold__outlives_both_ends_and_their_memory, reset_plan),
		cmocka_unit_test_teardown(test_hold__keeps_messages_until_credits_run_out, reset_plan),
		cmocka_unit_test_teardown(test_drop__loses_the_write_and_says_nothing, reset_plan),
		cmocka_unit_test_teardown(test_delay__lasts_the_flushes_it_was_given, reset_plan),
		cmocka_unit_test_teardown(test_delay__never_keeps_a_barrier, reset_plan),
		cmocka_unit_test_teardown(test_kill__breaks_the_channel_at_both_ends, reset_plan),
		cmocka_unit_test_teardown(test_seed__mixes_channels_but_not_what_is_on_them, reset_plan),
		cmocka_unit_test_teardown(test_plan__is_asked_once_per_write_of_its_epoch, reset_plan),
		cmocka_unit_test_teardown(test_stop__while_a_write_is_held_wakes_the_waiting_thread, reset_plan),
		cmocka_unit_test(test_copy_pages__copies_all_of_it_at_any_alignment),
		cmocka_unit_test(test_reaches__only_its_own_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
