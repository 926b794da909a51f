/* SPDX-License-Identifier: BSD-2-Clause */
/* confine.h -- a process that will own a VM gives up what it does not need; docs/confinement.md says what, and why */
#ifndef VMM_CONFINE_H
#define VMM_CONFINE_H

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>

enum confine_mode {
	CONFINE_ON,
	CONFINE_STRICT, /* a system call that nobody has thought of ends the process: for tests */
	CONFINE_OFF,
};

struct confine_opts {
	enum confine_mode mode;
	uint16_t port;      /* that will be listened on; 0: any that is free */
	bool other_process; /* the memory and the sockets of another user's process will be looked for */
};

/*
 * confine() -- for good, for this process and what it would start
 *
 * Capabilities belong to threads, so it must come before the first of them. Nothing is opened here; what only the privileged
 * may open must be open by now. Returns 0, or why it cannot be done; the process must not go on as if it were confined.
 */
int confine(const struct confine_opts *opts, struct decant_error *err);

/* confine_supported() -- does this kernel have filters of system calls? */
bool confine_supported(void);

#endif
