/* SPDX-License-Identifier: BSD-2-Clause */
/* test_fault.c -- memory that is not there: under a guard, found without touching it, and outside any guard */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <decant/memory.h>

#include "util/fault.h"
#include "util/thread.h"

#define PAGE 4096u
#define PAGES 64u

static volatile sig_atomic_t not_ours;

static void sigbus_taken(int signo, siginfo_t *info, void *context)
{
	if (decant_memory_fault(info, context))
		return;
	not_ours++;
	signal(signo, SIG_DFL);
}

/* cmocka has a handler of its own around each test */
static void install(int flags)
{
	struct sigaction action = { .sa_sigaction = sigbus_taken, .sa_flags = SA_SIGINFO | flags };

	sigfillset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
	not_ours = 0;
}

/* PAGES pages, of which the file has but the first @there. */
static uint8_t *memory_cut_at(unsigned there)
{
	const int fd = memfd_create("cut", MFD_CLOEXEC);
	uint8_t *memory;

	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	memset(memory, 1, PAGES * PAGE);
	assert_int_equal(ftruncate(fd, (off_t)there * PAGE), 0);
	close(fd);
	return memory;
}

struct sum {
	const uint8_t *memory;
	unsigned pages;
	unsigned read; /* pages */
};

static void read_pages(void *opaque)
{
	struct sum *sum = opaque;

	for (; sum->read < sum->pages; sum->read++)
		(void)*(const volatile uint8_t *)(sum->memory + sum->read * PAGE + 77);
}

static int read_guarded(uint8_t *memory, unsigned *read, struct fault *fault)
{
	const struct fault_range range = { memory, PAGES * PAGE };
	struct sum sum = { .memory = memory, .pages = PAGES };
	const int rc = fault_guard(&range, 1, read_pages, &sum, fault);

	*read = sum.read;
	return rc;
}

static void test_guard__all_is_there(void **state)
{
	uint8_t *memory = memory_cut_at(PAGES);
	struct fault fault;
	unsigned read;
	(void)state;

	install(0);
	assert_int_equal(read_guarded(memory, &read, &fault), 0);
	assert_int_equal(read, PAGES);
	munmap(memory, PAGES * PAGE);
}

static void test_guard__ends_at_the_page_that_is_not_there(void **state)
{
	uint8_t *memory = memory_cut_at(41);
	sigset_t mask;
	struct fault fault;
	unsigned read;
	(void)state;

	install(0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read_guarded(memory, &read, &fault), -EFAULT);
		assert_int_equal(fault.code, -EFAULT);
		assert_ptr_equal((void *)fault.address, memory + 41 * PAGE);
		assert_int_equal(read, 41);
	}
	/* the jump has left no signal blocked */
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGBUS));
	assert_false(sigismember(&mask, SIGUSR1));
	assert_int_equal(not_ours, 0);
	munmap(memory, PAGES * PAGE);
}

static void test_guard__any_flags_of_the_handler(void **state)
{
	uint8_t *memory = memory_cut_at(1);
	struct fault fault;
	unsigned read;
	(void)state;

	install(SA_NODEFER | SA_RESTART);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read_guarded(memory, &read, &fault), -EFAULT);
	munmap(memory, PAGES * PAGE);
}

static void *read_in_thread(void *opaque)
{
	struct fault fault;
	unsigned read;

	return (void *)(intptr_t)read_guarded(opaque, &read, &fault);
}

/* The library's threads block all signals but this one. */
static void test_guard__in_threads_of_the_library(void **state)
{
	uint8_t *memory = memory_cut_at(9);
	pthread_t threads[4];
	(void)state;

	install(0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(thread_start(&threads[i], "reader", read_in_thread, memory), 0);
	for (int i = 0; i < 4; i++) {
		void *rc;

		pthread_join(threads[i], &rc);
		assert_int_equal((intptr_t)rc, -EFAULT);
	}
	munmap(memory, PAGES * PAGE);
}

struct elsewhere {
	uint8_t *memory; /* that is not there */
	uint8_t *guarded;
};

static void read_elsewhere(void *opaque)
{
	const struct elsewhere *elsewhere = opaque;

	(void)*(volatile uint8_t *)elsewhere->memory;
}

static int in_child(void (*body)(const struct elsewhere *elsewhere), const struct elsewhere *elsewhere)
{
	const struct rlimit none = { 0, 0 };
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &none);
		install(0);
		body(elsewhere);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void guard_other_memory(const struct elsewhere *elsewhere)
{
	const struct fault_range range = { elsewhere->guarded, PAGE };
	struct elsewhere copy = *elsewhere;
	struct fault fault;

	fault_guard(&range, 1, read_elsewhere, &copy, &fault);
}

static void guard_nothing(const struct elsewhere *elsewhere)
{
	(void)*(volatile uint8_t *)elsewhere->memory;
}

static void be_sent_one(const struct elsewhere *elsewhere)
{
	(void)elsewhere;
	raise(SIGBUS);
	raise(SIGBUS);
}

/* What is not the library's ends the process, as SIGBUS does: nothing is hidden. */
static void test_fault__of_others_stays_theirs(void **state)
{
	void (*const bodies[])(const struct elsewhere *) = { guard_other_memory, guard_nothing, be_sent_one };
	struct elsewhere elsewhere = { memory_cut_at(0), memory_cut_at(PAGES) };
	(void)state;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		const int status = in_child(bodies[i], &elsewhere);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGBUS);
	}
	munmap(elsewhere.memory, PAGES * PAGE);
	munmap(elsewhere.guarded, PAGES * PAGE);
}

static void test_find__first_page_that_is_not_there(void **state)
{
	(void)state;

	for (unsigned there = 0; there < PAGES; there += 7) {
		uint8_t *memory = memory_cut_at(there);
		struct fault fault;

		for (int write = 0; write <= 1; write++) {
			assert_int_equal(fault_find(memory, PAGES * PAGE, write, &fault), -EFAULT);
			assert_ptr_equal((void *)fault.address, memory + there * PAGE);
			assert_int_equal(fault_find(memory + PAGE / 2, PAGES * PAGE - PAGE, write, &fault),
					 -EFAULT);
			assert_ptr_equal((void *)fault.address, memory + there * PAGE);
			if (there > 0)
				assert_int_equal(fault_find(memory, there * PAGE, write, &fault), 0);
		}
		munmap(memory, PAGES * PAGE);
	}
}

static void test_find__all_is_there(void **state)
{
	uint8_t *memory = memory_cut_at(PAGES);
	struct fault fault;
	(void)state;

	assert_int_equal(fault_find(memory, PAGES * PAGE, false, &fault), 0);
	assert_int_equal(fault_find(memory, PAGES * PAGE, true, &fault), 0);
	munmap(memory, PAGES * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard__all_is_there),
		cmocka_unit_test(test_guard__ends_at_the_page_that_is_not_there),
		cmocka_unit_test(test_guard__any_flags_of_the_handler),
		cmocka_unit_test(test_guard__in_threads_of_the_library),
		cmocka_unit_test(test_fault__of_others_stays_theirs),
		cmocka_unit_test(test_find__first_page_that_is_not_there),
		cmocka_unit_test(test_find__all_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
