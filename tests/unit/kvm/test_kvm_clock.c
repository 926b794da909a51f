/* SPDX-License-Identifier: BSD-2-Clause */
/* test_kvm_clock.c -- the guest's clocks go on by the real pause: not less, and not much more */
#include "kvm/clock_state.h"
#include "kvm/kvm.h"
#include "support/tiny_vm.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#define MEMORY (2u << 20)
#define TSC_AT 0x8000u
#define PAUSE_US 50000
#define EXACT_NS (1 * NSEC_PER_USEC) /* what the error of tying two clocks may shorten the pause by */
#define SLACK_NS (2 * NSEC_PER_SEC)  /* what a busy machine may add between two lines of a test */

struct vms {
	struct tiny_vm *from;
	struct tiny_vm *to;
	struct decant_state_writer *state;
};

/* The time of day as it was, once, before somebody set it: seconds that are missing from the next reading alone. */
static _Atomic int64_t behind_s;

int clock_gettime(clockid_t id, struct timespec *now)
{
	const int ret = (int)syscall(SYS_clock_gettime, id, now);

	if (ret == 0 && id == CLOCK_REALTIME)
		now->tv_sec -= atomic_exchange(&behind_s, 0);
	return ret;
}

static const struct tiny_vm_opts two_vcpus = { .vcpus = 2, .memory = MEMORY };

static struct tiny_vm *vm_new(void)
{
	struct tiny_vm *vm = tiny_vm_new(&two_vcpus);
	uint8_t code[TINY_CODE_MAX];

	for (uint32_t i = 0; i < 2; i++)
		tiny_vm_program(vm, i, code, tiny_code_tsc(code, TSC_AT + 8 * i));
	return vm;
}

static int vms_setup(void **state)
{
	struct vms *vms = calloc(1, sizeof(*vms));

	vms->from = vm_new();
	vms->to = vm_new();
	assert_int_equal(decant_state_writer_new(&vms->state, NULL), 0);
	*state = vms;
	return 0;
}

static int vms_teardown(void **state)
{
	struct vms *vms = *state;

	decant_state_writer_free(vms->state);
	tiny_vm_free(vms->from);
	tiny_vm_free(vms->to);
	free(vms);
	return 0;
}

static void save(struct vms *vms)
{
	decant_state_writer_reset(vms->state);
	assert_int_equal(decant_kvm_state_save(vms->from->kvm, vms->state, NULL), 0);
}

static int load(struct vms *vms, struct decant_error *err)
{
	struct decant_state_reader *reader = NULL;
	size_t length;
	const void *bytes = decant_state_writer_bytes(vms->state, &length);
	int r;

	assert_int_equal(decant_state_reader_new(bytes, length, &reader, NULL), 0);
	r = decant_kvm_state_load(vms->to->kvm, reader, err);
	decant_state_reader_free(reader);
	return r;
}

static uint64_t guest_tsc(struct tiny_vm *vm, uint32_t vcpu)
{
	uint64_t tsc;

	tiny_vm_run(vm, vcpu);
	memcpy(&tsc, vm->ram + TSC_AT + 8 * vcpu, sizeof(tsc));
	return tsc;
}

static uint64_t guest_ns(const struct tiny_vm *vm, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * 1000000 / vm->kvm->vcpus[0]->tsc_khz);
}

static uint64_t kvmclock(const struct tiny_vm *vm)
{
	struct kvm_clock_data data = { 0 };

	assert_int_equal(kvm_ioctl(vm->vm_fd, KVM_GET_CLOCK, &data), 0);
	return data.clock;
}

static void assert_pause(uint64_t seen_ns, uint64_t at_least_ns, uint64_t at_most_ns)
{
	if (seen_ns + EXACT_NS < at_least_ns || seen_ns > at_most_ns + SLACK_NS)
		fail_msg("the guest saw %" PRIu64 " ns of %" PRIu64 " to %" PRIu64, seen_ns, at_least_ns,
			 at_most_ns);
}

static void test_clock_start__tsc_advances_by_the_pause(void **state)
{
	struct vms *vms = *state;
	uint64_t ran, stopped, started, again, before, after;

	ran = clock_now_ns();
	before = guest_tsc(vms->from, 0);
	stopped = clock_now_ns();
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	usleep(PAUSE_US);
	assert_int_equal(load(vms, NULL), 0);
	started = clock_now_ns();
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	after = guest_tsc(vms->to, 0);
	again = clock_now_ns();

	assert_true(after > before);
	assert_pause(guest_ns(vms->to, after - before), started - stopped, again - ran);
}

static void test_clock_start__kvmclock_advances_by_the_pause(void **state)
{
	struct vms *vms = *state;
	uint64_t ran, stopped, started, again, before, after;

	guest_tsc(vms->from, 0);
	ran = clock_now_ns();
	before = kvmclock(vms->from);
	stopped = clock_now_ns();
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	usleep(PAUSE_US);
	assert_int_equal(load(vms, NULL), 0);
	started = clock_now_ns();
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	after = kvmclock(vms->to);
	again = clock_now_ns();

	assert_pause(after - before, started - stopped, again - ran);
	guest_tsc(vms->to, 0);
	assert_true(kvmclock(vms->to) > after);
}

/* The step comes between the reading of the time of day and the call that hands it to KVM. */
static void start_over_a_step(struct vms *vms, int64_t step_s)
{
	uint64_t before, after, stopped, started, ran, again;

	ran = clock_now_ns();
	before = kvmclock(vms->from);
	stopped = clock_now_ns();
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	started = clock_now_ns();
	atomic_store(&behind_s, step_s);
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	assert_int_equal(atomic_load(&behind_s), 0);
	after = kvmclock(vms->to);
	again = clock_now_ns();

	assert_pause(after - before, started - stopped, again - ran);
}

static void test_clock_start__kvmclock_knows_nothing_of_the_time_of_day(void **state)
{
	start_over_a_step(*state, 3600);
	start_over_a_step(*state, -3600);
	start_over_a_step(*state, 30 * 24 * 3600);
}

static void test_clock_start__kvmclock_of_another_host(void **state)
{
	const int64_t apart = 3600ll * (int64_t)NSEC_PER_SEC;
	struct decant_handover handover = { .size = sizeof(handover), .clock_offset_ns = apart };
	struct vms *vms = *state;
	uint64_t before, stopped, started, again, after;

	before = kvmclock(vms->from);
	stopped = clock_now_ns();
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	/* as if this host's clock were an hour ahead of the source's: what was stopped at 0 is an hour of ours */
	vms->to->kvm->clock.monotonic_ns -= (uint64_t)apart;
	started = clock_now_ns();
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, &handover, NULL), 0);
	after = kvmclock(vms->to);
	again = clock_now_ns();

	assert_pause(after - before, started - stopped, again - stopped);
}

static void test_clock_start__a_clock_offset_that_is_too_large_stops_no_clock(void **state)
{
	struct decant_handover handover = { .size = sizeof(handover), .clock_offset_ns = (int64_t)NSEC_PER_SEC };
	struct vms *vms = *state;
	uint64_t captured;

	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	captured = vms->to->kvm->clock.kvmclock_ns;

	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, &handover, NULL), 0);

	assert_true(kvmclock(vms->to) >= captured);
}

static void test_clock_start__vcpus_keep_their_difference(void **state)
{
	struct vms *vms = *state;
	int64_t before, after;

	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	before = (int64_t)(vms->from->kvm->vcpus[1]->tsc - vms->from->kvm->vcpus[0]->tsc);
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	assert_int_equal(decant_kvm_clock_stop(vms->to->kvm, NULL), 0);
	after = (int64_t)(vms->to->kvm->vcpus[1]->tsc - vms->to->kvm->vcpus[0]->tsc);

	assert_int_equal(before, after);
}

static void test_clock_start__sets_an_offset_where_the_host_has_one(void **state)
{
	struct vms *vms = *state;
	const uint64_t shift = 1ull << 40;
	uint64_t before, after;

	if (!kvm_tsc_offset_works(vms->to->vcpu[0].fd))
		tiny_vm_skip("this KVM has no TSC offset attribute");
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	vms->from->kvm->vcpus[0]->tsc += shift;
	vms->from->kvm->vcpus[1]->tsc += shift + 1000;
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	before = vms->from->kvm->vcpus[0]->tsc;
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	after = guest_tsc(vms->to, 0);

	assert_true(after > before);
	assert_true(guest_ns(vms->to, after - before) < SLACK_NS);
	assert_int_equal(decant_kvm_clock_stop(vms->to->kvm, NULL), 0);
	if (!kvm_tsc_drifts(vms->to->vcpu[0].fd))
		assert_int_equal(vms->to->kvm->vcpus[1]->tsc - vms->to->kvm->vcpus[0]->tsc, 1000);
}

static void test_state_load__tsc_that_would_run_backwards(void **state)
{
	struct vms *vms = *state;
	struct decant_error err = DECANT_ERROR_INIT;

	if (kvm_tsc_offset_works(vms->to->vcpu[0].fd))
		tiny_vm_skip("this KVM has a TSC offset attribute");
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	vms->from->kvm->vcpus[1]->tsc += 1ull << 40;
	save(vms);

	assert_int_equal(load(vms, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "vCPU 1"));
	assert_non_null(strstr(err.msg, "backwards"));
}

static void count_warning(void *opaque, enum decant_log_level level, const char *message)
{
	int *count = opaque;

	if (level == DECANT_LOG_WARNING && strstr(message, "TSC") != NULL)
		(*count)++;
}

static void test_clock_start__says_when_the_tsc_jumps(void **state)
{
	struct vms *vms = *state;
	int warnings = 0;

	if (kvm_tsc_offset_works(vms->to->vcpu[0].fd))
		tiny_vm_skip("this KVM has a TSC offset attribute");
	vms->to->kvm->log =
		(struct decant_log){ .fn = count_warning, .opaque = &warnings, .level = DECANT_LOG_WARNING };
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	assert_int_equal(warnings, 0);

	vms->from->kvm->vcpus[1]->tsc -= 1ull << 32;
	save(vms);
	assert_int_equal(load(vms, NULL), 0);
	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);
	assert_int_equal(warnings, 1);
}

static void test_clock_stop__then_going_on_at_the_source(void **state)
{
	struct vms *vms = *state;
	uint64_t before, after, stopped, again;

	before = guest_tsc(vms->from, 0);
	stopped = clock_now_ns();
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	save(vms);
	usleep(PAUSE_US);
	again = clock_now_ns();
	after = guest_tsc(vms->from, 0);

	assert_pause(guest_ns(vms->from, after - before), again - stopped, again - stopped);
}

static void test_clock_stop__again_after_going_on(void **state)
{
	struct vms *vms = *state;
	struct kvm_clock first;

	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	first = vms->from->kvm->clock;
	usleep(1000);
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);

	assert_true(vms->from->kvm->clock.monotonic_ns >= first.monotonic_ns + NSEC_PER_MSEC);
	assert_true(vms->from->kvm->clock.kvmclock_ns > first.kvmclock_ns);
	assert_true(vms->from->kvm->vcpus[0]->tsc > 0);
}

static void test_clock_start__without_a_stop(void **state)
{
	struct vms *vms = *state;
	uint64_t before = guest_tsc(vms->from, 0);

	assert_int_equal(decant_kvm_clock_start(vms->from->kvm, NULL, NULL), 0);

	assert_true(guest_tsc(vms->from, 0) > before);
}

#define clock_test(function) cmocka_unit_test_setup_teardown(function, vms_setup, vms_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		clock_test(test_clock_start__tsc_advances_by_the_pause),
		clock_test(test_clock_start__kvmclock_advances_by_the_pause),
		clock_test(test_clock_start__kvmclock_knows_nothing_of_the_time_of_day),
		clock_test(test_clock_start__kvmclock_of_another_host),
		clock_test(test_clock_start__a_clock_offset_that_is_too_large_stops_no_clock),
		clock_test(test_clock_start__vcpus_keep_their_difference),
		clock_test(test_clock_start__sets_an_offset_where_the_host_has_one),
		clock_test(test_state_load__tsc_that_would_run_backwards),
		clock_test(test_clock_start__says_when_the_tsc_jumps),
		clock_test(test_clock_stop__then_going_on_at_the_source),
		clock_test(test_clock_stop__again_after_going_on),
		clock_test(test_clock_start__without_a_stop),
	};

	if (!tiny_vm_available())
		return 77;
	return cmocka_run_group_tests_name("kvm_clock", tests, NULL, NULL);
}
