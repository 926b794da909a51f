/* SPDX-License-Identifier: BSD-2-Clause */
/* copy.h -- guest pages from one place of memory to another, past the caches */
#ifndef LOOP_COPY_H
#define LOOP_COPY_H

#include <stddef.h>

/* copy_pages() -- @length is a multiple of 4 KiB; what is copied can be seen by other threads after the next release */
void copy_pages(void *to, const void *from, size_t length);

#endif
