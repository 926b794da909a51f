/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confine.c -- capabilities, limits, and the order in which privileges go
 *
 * Theory of operation
 * -------------------
 * What a capability is needed for is either turned into a limit while there still is the right to do so (real-time priority),
 * or kept (pinning memory). The bounding set goes before CAP_SETPCAP does. "No new privileges" comes next, since
 * without CAP_SYS_ADMIN the kernel takes a filter only after it. The filter is the last: it forbids all of the above.
 *
 * A process without privileges gives up what it has, which is little: there each of these steps may find nothing to do.
 */
#include "vmm/confine.h"

#include "vmm/confine_calls.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORT_PRIVILEGED_END 1024u

/* what the keeper of the dirty rings asks for */
#define REALTIME_PRIORITY 1u

static uint64_t confine_bit(unsigned int capability)
{
	return UINT64_C(1) << capability;
}

/*
 * RDMA pins the guest's memory, which RLIMIT_MEMLOCK bounds for all who lack the first. QEMU runs as a user of its own under libvirt: its
 * mappings are open to who may trace it, its sockets and files to who may write to them.
 */
static uint64_t confine_needed(const struct confine_opts *opts)
{
	const bool low_port = opts->port != 0 && opts->port < PORT_PRIVILEGED_END;

	return confine_bit(CAP_IPC_LOCK) | (low_port ? confine_bit(CAP_NET_BIND_SERVICE) : 0) |
	       (opts->other_process ? confine_bit(CAP_SYS_PTRACE) | confine_bit(CAP_DAC_OVERRIDE) : 0);
}

/* Where it is not allowed, the keeper does without, as it would have had to do without a limit. */
static void confine_allow_realtime(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_RTPRIO, &limit) < 0 || limit.rlim_cur >= REALTIME_PRIORITY)
		return;
	limit.rlim_cur = REALTIME_PRIORITY;
	if (limit.rlim_max < REALTIME_PRIORITY)
		limit.rlim_max = REALTIME_PRIORITY;
	setrlimit(RLIMIT_RTPRIO, &limit);
}

/* Without CAP_SETPCAP it stays as it is; it bounds what execve(2) could give, of which there is none. */
static int confine_drop_bounding(struct decant_error *err)
{
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
		if (prctl(PR_CAPBSET_DROP, capability) < 0 && errno != EPERM)
			return decant_error_set(err, -errno, "confine: prctl(PR_CAPBSET_DROP, %lu): %s",
						capability, strerror(errno));
	return 0;
}

static int confine_drop_capabilities(uint64_t needed, struct decant_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		return decant_error_set(err, -errno, "confine: capget: %s", strerror(errno));
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(needed >> (32 * i));
		data[i].effective &= data[i].permitted;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return decant_error_set(err, -errno, "confine: capset: %s", strerror(errno));
	return 0;
}

bool confine_supported(void)
{
	const uint32_t action = SECCOMP_RET_KILL_PROCESS;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int confine(const struct confine_opts *opts, struct decant_error *err)
{
	int ret;

	if (opts->mode == CONFINE_OFF)
		return 0;
	confine_allow_realtime();
	ret = confine_drop_bounding(err);
	if (ret == 0)
		ret = confine_drop_capabilities(confine_needed(opts), err);
	if (ret == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		ret = decant_error_set(err, -errno, "confine: prctl(PR_SET_NO_NEW_PRIVS): %s", strerror(errno));
	if (ret == 0)
		ret = confine_calls_load(opts->mode == CONFINE_STRICT, err);
	return ret;
}
