/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confine_calls.c -- which system calls a process that owns a VM may make
 *
 * Theory of operation
 * -------------------
 * Three answers. What is on the list of what decant, and the C library for it, needs, goes through, some of it only with the
 * right arguments. What such a process has no business with, and an intruder would like, ends the process. Anything
 * else is answered with ENOSYS, which a C library takes for an older kernel and does without; so a library newer than these lists
 * does not end a guest. The kernel's log names the call that ends a process; a strict filter, for tests, leaves only that.
 *
 * Names that this libseccomp does not know are left out: there the answer is that for anything else.
 *
 * Sanitizers look into the process by means of ptrace(2) and fork(2), and start a program to read symbols. Built with one,
 * everything goes through that is not deadly, and these are not.
 */
#include "vmm/confine_calls.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
	__has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED true
#else
#define SANITIZED false
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* the second byte of a request says whose it is; only the first two are of this width */
#define IOCTL_OWNER_MASK 0xff00u
#define IOCTL_OWNER_KVM 0xae00u
#define IOCTL_OWNER_RDMA 0x1b00u

static const char *const calls_allowed[] = {
	/* files: kernels to boot, serial ports, names of VMs, what the host says of itself */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2",
	"open", "openat", "close", "close_range", "lseek", "stat", "lstat", "fstat", "newfstatat", "statx",
	"statfs", "fstatfs", "access", "faccessat", "faccessat2", "getdents64", "readlink", "readlinkat", "fcntl",
	"flock", "ftruncate", "fallocate", "fsync", "fdatasync", "unlink", "unlinkat", "rename", "renameat",
	"renameat2", "mkdir", "mkdirat", "chmod", "fchmod", "fchmodat", "umask", "getcwd", "dup", "dup2", "dup3",
	"pipe", "pipe2",
	/* memory, the guest's too */
	"memfd_create", "munmap", "mremap", "madvise", "mincore", "msync", "brk", "mbind", "get_mempolicy",
	"set_mempolicy", "membarrier",
	/* threads */
	"futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "gettid",
	"getpid", "getppid", "exit", "exit_group", "sched_yield", "sched_getaffinity", "sched_setaffinity",
	"sched_getparam", "sched_getscheduler", "sched_setscheduler", "sched_get_priority_min",
	"sched_get_priority_max", "getcpu", "arch_prctl",
	/* signals to itself */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait",
	"sigaltstack", "signalfd4", "restart_syscall", "pause",
	/* time */
	"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "timerfd_create",
	"timerfd_settime", "timerfd_gettime", "times",
	/* waiting */
	"poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
	"epoll_pwait2", "eventfd2",
	/* the network and the control socket */
	"bind", "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "setsockopt", "getsockopt",
	"shutdown", "sendmsg", "sendto", "sendmmsg", "recvmsg", "recvfrom", "recvmmsg", "socketpair",
	/* what it may ask about itself and its host */
	"getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getrusage", "getrlimit",
	"getrandom", "sysinfo", "uname", "getpgrp", "getpgid", "getsid", "capget"
};

static const char *const calls_deadly[] = {
	/* another program */
	"execve", "execveat", "fork", "vfork",
	/* other processes, and a way around the filter */
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_open", "pidfd_getfd",
	"pidfd_send_signal", "kcmp", "io_uring_setup", "io_uring_enter", "io_uring_register", "personality",
	"modify_ldt",
	/* file systems, namespaces */
	"mount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	"pivot_root", "chroot", "setns", "unshare", "open_by_handle_at", "swapon", "swapoff", "quotactl", "acct",
	/* the kernel */
	"bpf", "perf_event_open", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
	"reboot", "syslog", "iopl", "ioperm", "keyctl", "add_key", "request_key",
	/* identity */
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
	"capset",
	/* the host's name and clock */
	"sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex"
};

/* not deadly under a sanitizer */
static const char *const calls_of_sanitizers[] = {
	"execve", "fork", "vfork", "ptrace", "process_vm_readv", "personality",
};

struct calls_rule {
	const char *name;
	unsigned int count;
	struct scmp_arg_cmp arg[2];
};

#define CALLS_IF_EQUAL(call, index, value)                                                  \
	{                                                                                   \
		.name = (call), .count = 1, .arg[0] = { (index), SCMP_CMP_EQ, (value), 0 }, \
	}
#define CALLS_IF_MASKED(call, index, mask, value)                                                       \
	{                                                                                               \
		.name = (call), .count = 1, .arg[0] = { (index), SCMP_CMP_MASKED_EQ, (mask), (value) }, \
	}
#define CALLS_IF_NETLINK(protocol)                                                               \
	{                                                                                        \
		.name = "socket", .count = 2,                                                    \
		.arg = { { 0, SCMP_CMP_EQ, AF_NETLINK, 0 }, { 2, SCMP_CMP_EQ, (protocol), 0 } }, \
	}

/* one of a call's rules must fit */
static const struct calls_rule calls_if[] = {
	/* threads, not processes */
	CALLS_IF_MASKED("clone", 0, CLONE_THREAD, CLONE_THREAD),
	/* nothing that can be both written and executed */
	CALLS_IF_MASKED("mmap", 2, PROT_WRITE | PROT_EXEC, 0),
	CALLS_IF_MASKED("mmap", 2, PROT_WRITE | PROT_EXEC, PROT_WRITE),
	CALLS_IF_MASKED("mmap", 2, PROT_WRITE | PROT_EXEC, PROT_EXEC),
	CALLS_IF_MASKED("mprotect", 2, PROT_EXEC, 0),
	CALLS_IF_MASKED("ioctl", 1, IOCTL_OWNER_MASK, IOCTL_OWNER_KVM),
	CALLS_IF_MASKED("ioctl", 1, IOCTL_OWNER_MASK, IOCTL_OWNER_RDMA),
	/* what a C library asks of a stream, and of an interface's name in an address */
	CALLS_IF_EQUAL("ioctl", 1, TCGETS),
	CALLS_IF_EQUAL("ioctl", 1, TIOCGWINSZ),
	CALLS_IF_EQUAL("ioctl", 1, FIONREAD),
	CALLS_IF_EQUAL("ioctl", 1, FIONBIO),
	CALLS_IF_EQUAL("ioctl", 1, SIOCGIFINDEX),
	CALLS_IF_EQUAL("ioctl", 1, SIOCGIFNAME),
	/* what QEMU has not yet read of a connection */
	CALLS_IF_EQUAL("ioctl", 1, SIOCOUTQ),
	CALLS_IF_EQUAL("socket", 0, AF_UNIX),
	CALLS_IF_EQUAL("socket", 0, AF_INET),
	CALLS_IF_EQUAL("socket", 0, AF_INET6),
	CALLS_IF_NETLINK(NETLINK_ROUTE),
	CALLS_IF_NETLINK(NETLINK_RDMA),
	CALLS_IF_EQUAL("prctl", 0, PR_SET_NAME),
	CALLS_IF_EQUAL("prctl", 0, PR_GET_NAME),
	CALLS_IF_EQUAL("prctl", 0, PR_SET_VMA),
	CALLS_IF_EQUAL("prctl", 0, PR_CAPBSET_READ),
	/* asks for limits, and sets none */
	CALLS_IF_EQUAL("prlimit64", 2, 0),
};

/* a rule that says what the filter says anyway is not taken */
static int calls_add(scmp_filter_ctx filter, uint32_t action, const struct calls_rule *rule)
{
	const int number = seccomp_syscall_resolve_name(rule->name);
	uint32_t otherwise;
	int ret = seccomp_attr_get(filter, SCMP_FLTATR_ACT_DEFAULT, &otherwise);

	if (ret < 0 || otherwise == action || number == __NR_SCMP_ERROR)
		return ret;
	return seccomp_rule_add_array(filter, action, number, rule->count, rule->arg);
}

static int calls_add_all(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < count; i++)
		ret = calls_add(filter, action, &(struct calls_rule){ .name = names[i] });
	return ret;
}

#define CALLS_ADD_ALL(filter, action, names) \
	calls_add_all((filter), (action), (names), sizeof(names) / sizeof((names)[0]))

static bool calls_is_sanitizers(const char *name)
{
	for (size_t i = 0; i < sizeof(calls_of_sanitizers) / sizeof(calls_of_sanitizers[0]); i++)
		if (strcmp(name, calls_of_sanitizers[i]) == 0)
			return true;
	return false;
}

static int calls_forbid_deadly(scmp_filter_ctx filter)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < sizeof(calls_deadly) / sizeof(calls_deadly[0]); i++)
		if (!SANITIZED || !calls_is_sanitizers(calls_deadly[i]))
			ret = calls_add_all(filter, SCMP_ACT_KILL_PROCESS, &calls_deadly[i], 1);
	return ret;
}

static int calls_allow(scmp_filter_ctx filter)
{
	const struct calls_rule kick = {
		.name = "tgkill",
		.count = 1,
		.arg[0] = { 0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0 },
	};
	int ret = CALLS_ADD_ALL(filter, SCMP_ACT_ALLOW, calls_allowed);

	for (size_t i = 0; ret == 0 && i < sizeof(calls_if) / sizeof(calls_if[0]); i++)
		ret = calls_add(filter, SCMP_ACT_ALLOW, &calls_if[i]);
	if (ret == 0)
		ret = calls_add(filter, SCMP_ACT_ALLOW, &kick);
	return ret;
}

static int calls_fill(scmp_filter_ctx filter)
{
	/* its flags are out of a filter's reach; told that there is none, a C library takes clone(2) */
	static const char *const absent[] = { "clone3" };
	int ret;

	ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* a tree instead of a list: the vCPUs' ioctl would be at its end */
	if (ret == 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (ret == 0)
		ret = calls_forbid_deadly(filter);
	if (ret == 0 && !SANITIZED)
		ret = CALLS_ADD_ALL(filter, SCMP_ACT_ERRNO(ENOSYS), absent);
	if (ret == 0 && !SANITIZED)
		ret = calls_allow(filter);
	return ret;
}

static uint32_t calls_otherwise(bool strict)
{
	if (SANITIZED)
		return SCMP_ACT_ALLOW;
	return strict ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(ENOSYS);
}

int confine_calls_load(bool strict, struct decant_error *err)
{
	scmp_filter_ctx filter = seccomp_init(calls_otherwise(strict));
	int ret;

	if (filter == NULL)
		return decant_error_set(err, -ENOMEM, "confine: seccomp_init: no memory");
	ret = calls_fill(filter);
	if (ret < 0)
		decant_error_set(err, ret, "confine: seccomp: a rule was not taken: %s", strerror(-ret));
	if (ret == 0) {
		ret = seccomp_load(filter);
		if (ret < 0)
			decant_error_set(err, ret,
					 "confine: seccomp_load: %s; does this kernel have CONFIG_SECCOMP_FILTER? "
					 "decant probe says; --confine off goes on without",
					 strerror(-ret));
	}
	seccomp_release(filter);
	return ret;
}
