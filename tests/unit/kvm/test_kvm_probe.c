/* SPDX-License-Identifier: BSD-2-Clause */
/* test_kvm_probe.c -- what the host's KVM is said to do, against what it does */
#include "kvm/kvm.h"
#include "kvm/probe.h"
#include "support/tiny_vm.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_NS (60 * NSEC_PER_SEC)

static void test_probe__fills_the_capabilities(void **state)
{
	struct decant_kvm_caps caps = { .size = sizeof(caps) };
	struct decant_error err = DECANT_ERROR_INIT;
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(decant_kvm_probe(kvm_fd, &caps, &err), 0);

	assert_true(caps.usable);
	assert_true(caps.vcpus_max > 0);
	assert_true(caps.size == sizeof(caps));
	assert_true(!caps.initially_all_set || caps.manual_protect);
	close(kvm_fd);
}

static void test_probe__a_caller_that_knows_less(void **state)
{
	struct decant_kvm_caps caps;
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	(void)state;
	memset(&caps, 0xaa, sizeof(caps));
	caps.size = offsetof(struct decant_kvm_caps, ring_max);
	assert_int_equal(decant_kvm_probe(kvm_fd, &caps, NULL), 0);

	assert_int_equal(caps.ring_max, 0xaaaaaaaa);
	close(kvm_fd);
}

static void test_probe__not_a_kvm(void **state)
{
	struct decant_kvm_caps caps = { .size = sizeof(caps) };
	struct decant_error err = DECANT_ERROR_INIT;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(decant_kvm_probe(fd, &caps, &err), -ENOTTY);
	assert_non_null(strstr(err.msg, "KVM_CREATE_VM"));
	assert_false(caps.usable);
	close(fd);
}

/* A 64-bit guest that never ends is what the watchdog is for. */
static void test_probe_long_mode__a_guest_that_spins(void **state)
{
	const uint8_t spin[] = { 0xeb, 0xfe };
	struct kvm_probe_vm vm;
	struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = 0x100, .rflags = 2 };
	struct kvm_sregs sregs = { 0 };
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	uint64_t before = clock_now_ns();

	(void)state;
	assert_int_equal(kvm_probe_vm_new(kvm_fd, &vm, NULL), 0);
	assert_int_equal(kvm_ioctl(vm.vcpu_fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = code;
	code.type = 3;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = code;
	sregs.cr0 = 0x11;
	memcpy(vm.memory + regs.rip, spin, sizeof(spin));
	assert_int_equal(kvm_ioctl(vm.vcpu_fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(kvm_ioctl(vm.vcpu_fd, KVM_SET_REGS, &regs), 0);

	assert_false(kvm_probe_run_watched(&vm));

	assert_true(clock_now_ns() - before < PATIENCE_NS);
	kvm_probe_vm_free(&vm);
	close(kvm_fd);
}

static void test_probe__leaves_signals_alone(void **state)
{
	struct decant_kvm_caps caps = { .size = sizeof(caps) };
	sigset_t before, after, pending;
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(decant_kvm_probe(kvm_fd, &caps, NULL), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	sigpending(&pending);

	for (int number = 1; number <= SIGRTMAX; number++) {
		assert_int_equal(sigismember(&before, number), sigismember(&after, number));
		assert_int_not_equal(sigismember(&pending, number), 1);
	}
	close(kvm_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe__fills_the_capabilities),
		cmocka_unit_test(test_probe__a_caller_that_knows_less),
		cmocka_unit_test(test_probe__not_a_kvm),
		cmocka_unit_test(test_probe_long_mode__a_guest_that_spins),
		cmocka_unit_test(test_probe__leaves_signals_alone),
	};

	if (!tiny_vm_available())
		return 77;
	return cmocka_run_group_tests_name("kvm_probe", tests, NULL, NULL);
}
