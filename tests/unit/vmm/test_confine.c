/* SPDX-License-Identifier: BSD-2-Clause */
/* test_confine.c -- a process that has confined itself: what it may do, what it may not, what ends it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/confine.h"

#define REFUSED_TO_CONFINE 100
#define SUCCEEDED 0

/* Runs @body in a child that has confined itself; its wait status. The body's value, 0 to 99, is the exit status. */
static int in_child(const struct confine_opts *opts, int (*body)(const void *argument), const void *argument)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		const struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		_exit(confine(opts, NULL) < 0 ? REFUSED_TO_CONFINE : body(argument));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void assert_exits(int status, int code)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
		fail_msg("exit status should be %d; wait status 0x%x", code, status);
}

struct call {
	const char *what;
	long number;
	unsigned long argument[6];
};

/* The errno of the call, or SUCCEEDED. */
static int make_call(const void *opaque)
{
	const struct call *call = opaque;
	const unsigned long *a = call->argument;

	return syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]) < 0 ? errno : SUCCEEDED;
}

static const struct call deadly[] = {
	{ "execve", SYS_execve, { (uintptr_t) "/bin/true" } },
	{ "execveat", SYS_execveat, { 0 } },
	{ "fork", SYS_fork, { 0 } },
	{ "ptrace", SYS_ptrace, { 0 } },
	{ "process_vm_readv", SYS_process_vm_readv, { 0 } },
	{ "io_uring_setup", SYS_io_uring_setup, { 1 } },
	{ "mount", SYS_mount, { 0 } },
	{ "umount2", SYS_umount2, { 0 } },
	{ "unshare", SYS_unshare, { 0 } },
	{ "chroot", SYS_chroot, { (uintptr_t) "/" } },
	{ "bpf", SYS_bpf, { 0 } },
	{ "init_module", SYS_init_module, { 0 } },
	{ "kexec_load", SYS_kexec_load, { 0 } },
	{ "setuid", SYS_setuid, { 0 } },
	{ "setresuid", SYS_setresuid, { 0 } },
	{ "capset", SYS_capset, { 0 } },
	{ "keyctl", SYS_keyctl, { 0 } },
	{ "clock_settime", SYS_clock_settime, { CLOCK_REALTIME } },
};

static const struct call absent[] = {
	{ "socket(AF_PACKET)", SYS_socket, { AF_PACKET, SOCK_RAW } },
	{ "socket(AF_VSOCK)", SYS_socket, { AF_VSOCK, SOCK_STREAM } },
	{ "socket(NETLINK_AUDIT)", SYS_socket, { AF_NETLINK, SOCK_RAW, 9 } },
	{ "clone of a process", SYS_clone, { SIGCHLD } },
	{ "mmap to write and execute",
	  SYS_mmap,
	  { 0, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ul, 0 } },
	{ "mprotect to execute", SYS_mprotect, { 0, 0, PROT_READ | PROT_EXEC } },
	{ "ioctl(TIOCSTI)", SYS_ioctl, { 0, TIOCSTI } },
	{ "prctl(PR_SET_DUMPABLE)", SYS_prctl, { PR_SET_DUMPABLE, 1 } },
	{ "tgkill of another", SYS_tgkill, { 1, 1, 0 } },
	{ "kill", SYS_kill, { 1, 0 } },
	{ "prlimit64 that sets", SYS_prlimit64, { 0, RLIMIT_CORE, 1 } },
	{ "userfaultfd", SYS_userfaultfd, { 0 } },
	{ "one of tomorrow's", 2000, { 0 } },
};

static void assert_killed(const struct confine_opts *opts, const struct call *call)
{
	const int status = in_child(opts, make_call, call);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("%s: should have been killed; wait status 0x%x", call->what, status);
}

static void test_confine__deadly_calls_end_the_process(void **state)
{
	const struct confine_opts opts = { .mode = CONFINE_ON };
	(void)state;

	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		assert_killed(&opts, &deadly[i]);
}

static void test_confine__other_calls_are_absent(void **state)
{
	const struct confine_opts opts = { .mode = CONFINE_ON };
	(void)state;

	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		const int status = in_child(&opts, make_call, &absent[i]);

		if (!WIFEXITED(status) || WEXITSTATUS(status) != ENOSYS)
			fail_msg("%s: should have been ENOSYS; wait status 0x%x", absent[i].what, status);
	}
}

static void test_confine_strict__other_calls_end_the_process(void **state)
{
	const struct confine_opts opts = { .mode = CONFINE_STRICT };
	(void)state;

	assert_killed(&opts, &deadly[0]);
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		assert_killed(&opts, &absent[i]);
}

static void *name_itself(void *named)
{
	*(bool *)named = pthread_setname_np(pthread_self(), "confined") == 0;
	return NULL;
}

static int use_threads(void)
{
	pthread_t thread;
	bool named = false;

	return pthread_create(&thread, NULL, name_itself, &named) == 0 && pthread_join(thread, NULL) == 0 && named;
}

static int use_memory(void)
{
	int fd = memfd_create("confined", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *memory = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, 1 << 20) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return memory != MAP_FAILED && madvise(memory, 1 << 20, MADV_DONTFORK) == 0 &&
	       madvise(memory, 1 << 20, MADV_POPULATE_WRITE) == 0 && lseek(fd, 0, SEEK_DATA) == 0 &&
	       munmap(memory, 1 << 20) == 0;
}

static int use_network(void)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || listen(fd, 1) < 0)
		return 0;
	/* a host whose /etc/hosts has no localhost does not find it: a call that is not let through would end the process */
	if (getaddrinfo("localhost", "80", &hints, &found) == 0)
		freeaddrinfo(found);
	if_nametoindex("lo");
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && eventfd(0, EFD_CLOEXEC) >= 0;
}

static int use_files(void)
{
	const struct timespec moment = { .tv_nsec = 1 };
	FILE *file = tmpfile();
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	/* KVM_GET_API_VERSION: where there is no KVM, only the file is told apart */
	return file != NULL && fputs("line\n", file) >= 0 && fclose(file) == 0 &&
	       (kvm < 0 || ioctl(kvm, 0xae00, 0) == 12) && nanosleep(&moment, NULL) == 0 && raise(0) == 0;
}

static int use_what_is_needed(const void *argument)
{
	(void)argument;
	if (!use_threads())
		return 1;
	if (!use_memory())
		return 2;
	if (!use_network())
		return 3;
	return use_files() ? SUCCEEDED : 4;
}

static void test_confine_strict__lets_through_what_is_needed(void **state)
{
	const struct confine_opts opts = { .mode = CONFINE_STRICT };
	(void)state;

	assert_exits(in_child(&opts, use_what_is_needed, NULL), SUCCEEDED);
}

/* A line of /proc/self/status as a number; the names there end in a colon. */
static uint64_t status_number(const char *name, int base)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t number = UINT64_MAX;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			number = strtoull(line + strlen(name), NULL, base);
	if (file != NULL)
		fclose(file);
	return number;
}

struct expected {
	uint64_t capabilities;
	uint64_t bounding;
	uint64_t realtime;
};

static int look_at_status(const void *argument)
{
	const struct expected *expected = argument;
	struct rlimit limit = { 0, 0 };

	if (status_number("NoNewPrivs:", 10) != 1 || status_number("Seccomp:", 10) != 2)
		return 1;
	if (status_number("CapEff:", 16) != expected->capabilities ||
	    status_number("CapPrm:", 16) != expected->capabilities)
		return 2;
	if (status_number("CapInh:", 16) != 0 || status_number("CapAmb:", 16) != 0)
		return 3;
	if (status_number("CapBnd:", 16) != expected->bounding)
		return 4;
	getrlimit(RLIMIT_RTPRIO, &limit);
	return limit.rlim_cur >= expected->realtime ? SUCCEEDED : 5;
}

/* What is left of what this process has; it may be root's, a container's, or nothing. */
static struct expected expect(uint64_t kept)
{
	const uint64_t now = status_number("CapPrm:", 16);
	const uint64_t effective = status_number("CapEff:", 16);

	return (struct expected){
		.capabilities = now & kept,
		.bounding = (effective >> CAP_SETPCAP & 1) != 0 ? 0 : status_number("CapBnd:", 16),
		.realtime = effective >> CAP_SYS_RESOURCE & 1,
	};
}

static void test_confine__status(void **state)
{
	const uint64_t ipc_lock = UINT64_C(1) << CAP_IPC_LOCK;
	const uint64_t bind_service = UINT64_C(1) << CAP_NET_BIND_SERVICE;
	struct confine_opts opts = { .mode = CONFINE_ON };
	struct expected expected = expect(ipc_lock);
	(void)state;

	assert_exits(in_child(&opts, look_at_status, &expected), SUCCEEDED);
	opts.port = 1024;
	assert_exits(in_child(&opts, look_at_status, &expected), SUCCEEDED);
	opts.port = 443;
	expected = expect(ipc_lock | bind_service);
	assert_exits(in_child(&opts, look_at_status, &expected), SUCCEEDED);
}

static int take_privileges(const void *argument)
{
	(void)argument;
	return status_number("NoNewPrivs:", 10) == 0 && syscall(SYS_unshare, 0) == 0 ? SUCCEEDED : 1;
}

static void test_confine_off__changes_nothing(void **state)
{
	const struct confine_opts opts = { .mode = CONFINE_OFF };
	(void)state;

	assert_exits(in_child(&opts, take_privileges, NULL), SUCCEEDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_confine__deadly_calls_end_the_process),
		cmocka_unit_test(test_confine__other_calls_are_absent),
		cmocka_unit_test(test_confine_strict__other_calls_end_the_process),
		cmocka_unit_test(test_confine_strict__lets_through_what_is_needed),
		cmocka_unit_test(test_confine__status),
		cmocka_unit_test(test_confine_off__changes_nothing),
	};

	if (!confine_supported()) {
		puts("1..0 # SKIP this kernel has no filters of system calls");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
