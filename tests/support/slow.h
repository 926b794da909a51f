/* SPDX-License-Identifier: BSD-2-Clause */
/* slow.h -- whether everything takes longer here than on a processor of its own */
#ifndef TESTS_SLOW_H
#define TESTS_SLOW_H

#include <stdbool.h>

/* slow_here() -- a sanitizer, or an emulated processor. First asked by the thread of the test, before there are others. */
bool slow_here(void);

#endif
