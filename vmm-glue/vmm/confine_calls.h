/* SPDX-License-Identifier: BSD-2-Clause */
/* confine_calls.h -- the filter of system calls */
#ifndef VMM_CONFINE_CALLS_H
#define VMM_CONFINE_CALLS_H

#include <decant/error.h>
#include <stdbool.h>

/* confine_calls_load() -- for all threads there are; @strict: a call that is on no list ends the process */
int confine_calls_load(bool strict, struct decant_error *err);

#endif
