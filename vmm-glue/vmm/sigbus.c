/* SPDX-License-Identifier: BSD-2-Clause */
/* sigbus.c -- whose SIGBUS is it? */
#include "vmm/sigbus.h"

#include "vmm/vcpu.h"

#include <decant/memory.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

static void sigbus_taken(int signo, siginfo_t *info, void *context)
{
	const int saved = errno;

	if (decant_memory_fault(info, context) || info->si_code == BUS_MCEERR_AO || vcpu_take_poison(info)) {
		errno = saved;
		return;
	}
	/* when this handler has returned */
	signal(signo, SIG_DFL);
	raise(signo);
}

int sigbus_install(struct decant_error *err)
{
	struct sigaction action = { .sa_sigaction = sigbus_taken, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGBUS, &action, NULL) < 0)
		return decant_error_set(err, -errno, "sigaction: %s", strerror(errno));
	return 0;
}
