/* SPDX-License-Identifier: BSD-2-Clause */
/* sigbus.h -- what becomes of a process that owns a VM when memory is not there */
#ifndef VMM_SIGBUS_H
#define VMM_SIGBUS_H

#include <decant/error.h>

/*
 * sigbus_install() -- the process's handler of SIGBUS, for good
 *
 * A migration that touches guest memory which is not there ends, and the guest goes on. A vCPU that does ends its guest, and
 * says so. Of a page that has failed and that nobody has touched nothing is made. Any other SIGBUS ends the process.
 */
int sigbus_install(struct decant_error *err);

#endif
