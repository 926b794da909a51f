/* SPDX-License-Identifier: BSD-2-Clause */
/* test_qemu_move.c -- who is started, and when; what it comes to when either end fails at any stage */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <cmocka.h>

#include "move_stage.h"

#define UNRAISED 134217728u
#define A_WHILE_MS 30 /* for something that must not happen */

static struct qemu_move_result result;
static struct decant_error error;

static struct qemu_move_opts plain_opts(void)
{
	return (struct qemu_move_opts){ .multifd = QEMU_MOVE_MULTIFD_AS_IT_IS };
}

static int play_with(struct stage *stage, void (*scene)(struct stage *stage), struct qemu_move_opts opts)
{
	decant_error_clear(&error);
	return stage_play(stage, scene, &opts, &result, &error);
}

static int play(struct stage *stage, void (*scene)(struct stage *stage))
{
	return play_with(stage, scene, plain_opts());
}

static void expect_said(const char *words)
{
	if (strstr(error.msg, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", error.msg, words);
}

static int set_up(void **state)
{
	*state = stage_new();
	return 0;
}

/* Whatever a test does: the source is never let go on by us. */
static int tear_down(void **state)
{
	struct stage *stage = *state;
	const bool cont = stage_saw(stage, STAGE_CONT);

	stage_free(stage);
	return cont ? -1 : 0;
}

/* ---- scenes ---- */

static void scene_to_switchover(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_stop(stage, "finish-migrate");
	stage_await_look(stage);
	stage_status(stage, "device");
}

static void scene_complete(struct stage *stage)
{
	stage_runstate(stage, "postmigrate");
	stage_status(stage, "completed");
}

static bool asked_in_vain;

static void scene_good(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	stage_await(stage, STAGE_ASKED);
	poll(NULL, 0, A_WHILE_MS);
	asked_in_vain = !stage_saw(stage, STAGE_ANSWERED);
	scene_complete(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, 0, PROXY_DONE, "");
}

static void test_qemu_move__starts_it_there_after_completed_only(void **state)
{
	struct stage *stage = *state;

	assert_int_equal(play(stage, scene_good), 0);

	assert_true(asked_in_vain);
	assert_int_equal(stage_answer(stage), 1);
	assert_int_equal(result.outcome, DECANT_STATE_COMPLETED);
	assert_false(result.paused);
	assert_true(result.stats.downtime_bound_ns > 0);
	assert_int_equal(result.qemu.downtime_ns, 7000000);
	assert_int_equal(result.stats.passes, 3);
	assert_int_equal(result.stats.progress_permille, 1000);
}

static void scene_completed_before_the_question(struct stage *stage)
{
	scene_to_switchover(stage);
	scene_complete(stage);
	stage_sidecar_ask(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, 0, PROXY_DONE, "");
}

static void test_qemu_move__completed_before_the_sidecar_asks(void **state)
{
	assert_int_equal(play(*state, scene_completed_before_the_question), 0);
	assert_int_equal(stage_answer(*state), 1);
}

static void scene_paused(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_sidecar_ask(stage);
	scene_complete(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, 0, PROXY_DONE, "");
}

static void test_qemu_move__a_paused_guest_is_not_started(void **state)
{
	stage_runstate(*state, "paused");
	assert_int_equal(play(*state, scene_paused), 0);

	assert_int_equal(stage_answer(*state), 0);
	assert_true(result.paused);
	assert_int_equal(result.outcome, DECANT_STATE_COMPLETED);
}

static void scene_paused_meanwhile(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_stop(stage, "paused");
	stage_await_look(stage);
	scene_paused(stage);
}

static void test_qemu_move__a_guest_paused_meanwhile_is_not_started(void **state)
{
	assert_int_equal(play(*state, scene_paused_meanwhile), 0);
	assert_int_equal(stage_answer(*state), 0);
	assert_true(result.paused);
}

static void scene_paused_and_resumed(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_stop(stage, "paused");
	stage_await_look(stage);
	stage_go_on(stage);
	scene_good(stage);
}

static void test_qemu_move__a_guest_paused_and_resumed_is_started(void **state)
{
	assert_int_equal(play(*state, scene_paused_and_resumed), 0);
	assert_int_equal(stage_answer(*state), 1);
	assert_false(result.paused);
}

static void scene_pre_switchover(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_stop(stage, "finish-migrate");
	stage_status(stage, "pre-switchover");
	stage_await(stage, STAGE_CONTINUED);
	scene_complete(stage);
	stage_sidecar_ask(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, 0, PROXY_DONE, "");
}

static void test_qemu_move__goes_on_where_qemu_waits_before_the_switchover(void **state)
{
	assert_int_equal(play(*state, scene_pre_switchover), 0);
	assert_true(stage_saw(*state, STAGE_CONTINUED));
}

/* ---- failures ---- */

static void scene_sidecar_fails(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_sidecar_end(stage, -ECONNRESET, PROXY_FAILED, "the network is gone");
	stage_status(stage, "failed");
}

static void test_qemu_move__the_sidecar_fails(void **state)
{
	assert_int_equal(play(*state, scene_sidecar_fails), -ECONNRESET);
	assert_int_equal(result.outcome, DECANT_STATE_FAILED);
	assert_string_equal(result.guest, "running");
	expect_said("the network is gone");
	expect_said("Broken pipe");
}

/* the destination has loaded it, and its word got lost: QEMU goes on, so nothing may be started there */
static void scene_fails_after_loaded(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	stage_await(stage, STAGE_ASKED);
	stage_runstate(stage, "running");
	stage_status(stage, "failed");
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, -EIO, PROXY_FAILED, "QEMU at the source goes on with its guest");
}

static void test_qemu_move__fails_after_it_was_loaded(void **state)
{
	assert_true(play(*state, scene_fails_after_loaded) < 0);
	assert_true(stage_answer(*state) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_FAILED);
	assert_string_equal(result.guest, "running");
}

static void scene_sidecar_lost_before_start(struct stage *stage)
{
	scene_to_switchover(stage);
	scene_complete(stage);
	stage_sidecar_end(stage, -EPIPE, PROXY_FAILED, "the other sidecar is gone");
}

static void test_qemu_move__completed_and_the_sidecar_lost_before_start(void **state)
{
	assert_true(play(*state, scene_sidecar_lost_before_start) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_IN_DOUBT);
	expect_said("runs at neither");
	expect_said("the other sidecar is gone");
}

static void scene_no_answer_to_start(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	scene_complete(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, -ETIMEDOUT, PROXY_IN_DOUBT, "no answer");
}

static void test_qemu_move__no_answer_to_start(void **state)
{
	assert_true(play(*state, scene_no_answer_to_start) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_IN_DOUBT);
	expect_said("may run there");
}

static void scene_cont_fails_there(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	scene_complete(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, -EREMOTEIO, PROXY_FAILED, "cont: Failed to get \"write\" lock");
}

static void test_qemu_move__cont_fails_there(void **state)
{
	assert_true(play(*state, scene_cont_fails_there) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_IN_DOUBT);
	expect_said("could not start it");
	expect_said("write");
}

static void scene_qemu_dies(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_sidecar_reach(stage, PROXY_RAM);
	stage_hang_up(stage);
	stage_await(stage, STAGE_SIDECAR_CANCELLED);
}

static void test_qemu_move__qemu_dies(void **state)
{
	assert_true(play(*state, scene_qemu_dies) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_FAILED);
	assert_string_equal(result.guest, "");
	expect_said("monitor");
}

static void scene_qemu_dies_after_loaded(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	stage_await(stage, STAGE_ASKED);
	stage_hang_up(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_sidecar_end(stage, -EIO, PROXY_FAILED, "told so");
}

static void test_qemu_move__qemu_dies_after_it_was_loaded(void **state)
{
	assert_true(play(*state, scene_qemu_dies_after_loaded) < 0);
	assert_true(stage_answer(*state) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_IN_DOUBT);
	expect_said("has not started it");
}

static void scene_guest_stays_stopped(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_runstate(stage, "io-error");
	stage_status(stage, "failed");
	stage_sidecar_end(stage, -EIO, PROXY_FAILED, "the stream has ended early");
}

static void test_qemu_move__says_that_the_guest_stands_at_the_source(void **state)
{
	assert_true(play(*state, scene_guest_stays_stopped) < 0);
	assert_int_equal(result.outcome, DECANT_STATE_FAILED);
	assert_string_equal(result.guest, "io-error");
}

/* ---- cancellation ---- */

static void scene_cancelled(struct stage *stage)
{
	stage_wish(stage);
	stage_await(stage, STAGE_CANCELLED);
	stage_status(stage, "cancelling");
	stage_runstate(stage, "running");
	stage_status(stage, "cancelled");
	stage_sidecar_end(stage, -ECONNRESET, PROXY_FAILED, "QEMU has closed its socket");
}

static void scene_cancelled_in_setup(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	scene_cancelled(stage);
}

static void scene_cancelled_when_active(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	scene_cancelled(stage);
}

static void scene_cancelled_in_switchover(struct stage *stage)
{
	scene_to_switchover(stage);
	scene_cancelled(stage);
}

static void scene_cancelled_when_loaded(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	stage_await(stage, STAGE_ASKED);
	scene_cancelled(stage);
}

static void expect_cancelled(struct stage *stage, void (*scene)(struct stage *stage))
{
	assert_int_equal(play(stage, scene), -ECANCELED);
	assert_int_equal(result.outcome, DECANT_STATE_CANCELLED);
	assert_string_equal(result.guest, "running");
	assert_int_not_equal(stage_answer(stage), 1);
}

static void test_qemu_move__cancelled_in_setup(void **state)
{
	expect_cancelled(*state, scene_cancelled_in_setup);
}

static void test_qemu_move__cancelled_when_active(void **state)
{
	expect_cancelled(*state, scene_cancelled_when_active);
}

static void test_qemu_move__cancelled_in_the_switchover(void **state)
{
	expect_cancelled(*state, scene_cancelled_in_switchover);
}

static void test_qemu_move__cancelled_when_loaded(void **state)
{
	expect_cancelled(*state, scene_cancelled_when_loaded);
	assert_true(stage_answer(*state) < 0);
}

static void test_qemu_move__cancelled_before_qemu_was_told(void **state)
{
	stage_wish(*state);
	assert_int_equal(play(*state, NULL), -ECANCELED);
	assert_int_equal(result.outcome, DECANT_STATE_CANCELLED);
	assert_false(stage_saw(*state, STAGE_TOLD));
}

/* QEMU was faster than the wish: it has given the guest up, and so it must be started there */
static void scene_cancelled_too_late(struct stage *stage)
{
	scene_to_switchover(stage);
	stage_sidecar_ask(stage);
	stage_wish(stage);
	stage_await(stage, STAGE_CANCELLED);
	scene_complete(stage);
	stage_await(stage, STAGE_ANSWERED);
	stage_wish(stage);
	poll(NULL, 0, A_WHILE_MS);
	stage_sidecar_end(stage, 0, PROXY_DONE, "");
}

static void test_qemu_move__cancelled_too_late(void **state)
{
	assert_int_equal(play(*state, scene_cancelled_too_late), 0);
	assert_int_equal(stage_answer(*state), 1);
	assert_int_equal(result.outcome, DECANT_STATE_COMPLETED);
}

static void scene_wished_twice(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_wish(stage);
	stage_await(stage, STAGE_CANCELLED);
	stage_wish(stage);
	stage_await(stage, STAGE_SIDECAR_CANCELLED);
	stage_status(stage, "failed");
}

static void test_qemu_move__a_second_wish_does_not_wait_for_qemu(void **state)
{
	assert_int_equal(play(*state, scene_wished_twice), -ECANCELED);
	assert_int_equal(result.outcome, DECANT_STATE_CANCELLED);
}

static void scene_time_is_over(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	stage_await(stage, STAGE_CANCELLED);
	stage_status(stage, "cancelled");
	stage_sidecar_end(stage, -ECONNRESET, PROXY_FAILED, "QEMU has closed its socket");
}

static void test_qemu_move__time_is_over(void **state)
{
	struct qemu_move_opts opts = plain_opts();

	opts.timeout_ns = 1000000;
	assert_int_equal(play_with(*state, scene_time_is_over, opts), -ETIMEDOUT);
	assert_int_equal(result.outcome, DECANT_STATE_FAILED);
	expect_said("--timeout");
}

/* ---- settings ---- */

static void expect_settings_as_before(struct stage *stage)
{
	assert_int_equal(stage_setting(stage, "max-bandwidth"), UNRAISED);
	assert_int_equal(stage_setting(stage, "downtime-limit"), 300);
	assert_int_equal(stage_setting(stage, "multifd-channels"), 2);
	assert_int_equal(stage_setting(stage, "multifd"), 0);
	assert_int_equal(stage_setting(stage, "auto-converge"), 0);
	assert_int_equal(stage_setting(stage, "events"), 0);
}

static struct qemu_move_opts all_settings(void)
{
	struct qemu_move_opts opts = plain_opts();

	opts.bandwidth_Bps = 1u << 20;
	opts.max_downtime_ns = 40000001;
	opts.multifd = 4;
	opts.throttle = true;
	return opts;
}

static uint64_t seen_bandwidth, seen_downtime, seen_multifd, seen_channels, seen_converge;

static void scene_settings(struct stage *stage)
{
	stage_await(stage, STAGE_TOLD);
	seen_bandwidth = stage_setting(stage, "max-bandwidth");
	seen_downtime = stage_setting(stage, "downtime-limit");
	seen_multifd = stage_setting(stage, "multifd");
	seen_channels = stage_setting(stage, "multifd-channels");
	seen_converge = stage_setting(stage, "auto-converge");
	scene_good(stage);
}

static void test_qemu_move__sets_and_puts_back(void **state)
{
	assert_int_equal(play_with(*state, scene_settings, all_settings()), 0);

	assert_int_equal(seen_bandwidth, 1u << 20);
	assert_int_equal(seen_downtime, 5); /* an eighth */
	assert_int_equal(seen_multifd, 1);
	assert_int_equal(seen_channels, 4);
	assert_int_equal(seen_converge, 1);
	expect_settings_as_before(*state);
}

static uint64_t limit_at_first; /* ms, for scene_passes() */
static bool has_grown;

static void scene_passes(struct stage *stage)
{
	static const unsigned int part[] = { 1, 1, 2, 4, 8, 8 };

	stage_await(stage, STAGE_TOLD);
	stage_status(stage, "active");
	has_grown = true;
	for (unsigned int i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		struct json_object *data = json_object_new_object();

		json_object_object_add(data, "pass", json_object_new_uint64(i + 1));
		stage_event(stage, "MIGRATION_PASS", data);
		has_grown = has_grown && stage_await_setting(stage, "downtime-limit", part[i] * limit_at_first);
	}
	scene_good(stage);
}

static void expect_grows(struct stage *stage, uint64_t first_ms)
{
	struct qemu_move_opts opts = plain_opts();

	limit_at_first = first_ms;
	opts.max_downtime_ns = 8 * first_ms * 1000000;
	assert_int_equal(play_with(stage, scene_passes, opts), 0);
	assert_true(has_grown);
	expect_settings_as_before(stage);
}

/* QEMU uses up the pause that it is given: it gets more as long as passes show that it needs more */
static void test_qemu_move__gives_the_pause_by_and_by(void **state)
{
	expect_grows(*state, 100);
}

/* what it is at first may be what it was before, and must be that again */
static void test_qemu_move__puts_back_what_grew_later(void **state)
{
	expect_grows(*state, 300);
}

static void test_qemu_move__puts_back_after_a_failure(void **state)
{
	assert_true(play_with(*state, scene_sidecar_fails, all_settings()) < 0);
	expect_settings_as_before(*state);
}

static void test_qemu_move__puts_back_when_qemu_refuses(void **state)
{
	stage_refuse(*state, "migrate");
	assert_int_equal(play_with(*state, NULL, all_settings()), -EREMOTEIO);
	assert_int_equal(result.outcome, DECANT_STATE_FAILED);
	expect_said("not today");
	expect_settings_as_before(*state);
}

static void test_qemu_move__puts_back_when_qemu_refuses_a_parameter(void **state)
{
	stage_refuse(*state, "migrate-set-parameters");
	assert_int_equal(play_with(*state, NULL, all_settings()), -EREMOTEIO);
	assert_false(stage_saw(*state, STAGE_TOLD));
	expect_settings_as_before(*state);
}

/* ---- before anything is done ---- */

static void test_qemu_move__no_guest_to_move(void **state)
{
	stage_runstate(*state, "inmigrate");
	assert_int_equal(play(*state, NULL), -EINVAL);
	expect_said("waits for a guest");
	assert_false(stage_saw(*state, STAGE_TOLD));
}

static void test_qemu_move__a_guest_given_away(void **state)
{
	stage_runstate(*state, "postmigrate");
	assert_int_equal(play(*state, NULL), -EINVAL);
	expect_said("given its guest away");
	assert_false(stage_saw(*state, STAGE_TOLD));
}

static void test_qemu_move__unfit(void **state)
{
	stage_unfit(*state, "memory: not shared; share=on");
	assert_int_equal(play(*state, NULL), -ENOTSUP);
	expect_said("share=on");
	assert_false(stage_saw(*state, STAGE_TOLD));
}

static void test_qemu_move__unfit_and_passed_through(void **state)
{
	struct qemu_move_opts opts = plain_opts();

	opts.fallback = true;
	stage_unfit(*state, "memory: not shared; share=on");
	assert_int_equal(play_with(*state, scene_good, opts), 0);
	assert_true(stage_sidecar_may_fall_back(*state));
}

/* an earlier migration's end, said after we have last looked, is not taken for this one's */
static void test_qemu_move__an_earlier_migration_fails(void **state)
{
	stage_stale(*state, "failed");
	assert_int_equal(play(*state, scene_good), 0);
	assert_int_equal(stage_answer(*state), 1);
}

#define on_stage(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_stage(test_qemu_move__starts_it_there_after_completed_only),
		on_stage(test_qemu_move__completed_before_the_sidecar_asks),
		on_stage(test_qemu_move__a_paused_guest_is_not_started),
		on_stage(test_qemu_move__a_guest_paused_meanwhile_is_not_started),
		on_stage(test_qemu_move__a_guest_paused_and_resumed_is_started),
		on_stage(test_qemu_move__goes_on_where_qemu_waits_before_the_switchover),
		on_stage(test_qemu_move__the_sidecar_fails),
		on_stage(test_qemu_move__fails_after_it_was_loaded),
		on_stage(test_qemu_move__completed_and_the_sidecar_lost_before_start),
		on_stage(test_qemu_move__no_answer_to_start),
		on_stage(test_qemu_move__cont_fails_there),
		on_stage(test_qemu_move__qemu_dies),
		on_stage(test_qemu_move__qemu_dies_after_it_was_loaded),
		on_stage(test_qemu_move__says_that_the_guest_stands_at_the_source),
		on_stage(test_qemu_move__cancelled_in_setup),
		on_stage(test_qemu_move__cancelled_when_active),
		on_stage(test_qemu_move__cancelled_in_the_switchover),
		on_stage(test_qemu_move__cancelled_when_loaded),
		on_stage(test_qemu_move__cancelled_before_qemu_was_told),
		on_stage(test_qemu_move__cancelled_too_late),
		on_stage(test_qemu_move__a_second_wish_does_not_wait_for_qemu),
		on_stage(test_qemu_move__time_is_over),
		on_stage(test_qemu_move__sets_and_puts_back),
		on_stage(test_qemu_move__gives_the_pause_by_and_by),
		on_stage(test_qemu_move__puts_back_what_grew_later),
		on_stage(test_qemu_move__puts_back_after_a_failure),
		on_stage(test_qemu_move__puts_back_when_qemu_refuses),
		on_stage(test_qemu_move__puts_back_when_qemu_refuses_a_parameter),
		on_stage(test_qemu_move__no_guest_to_move),
		on_stage(test_qemu_move__a_guest_given_away),
		on_stage(test_qemu_move__unfit),
		on_stage(test_qemu_move__unfit_and_passed_through),
		on_stage(test_qemu_move__an_earlier_migration_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
