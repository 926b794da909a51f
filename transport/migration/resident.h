/* SPDX-License-Identifier: BSD-2-Clause */
/* resident.h -- which memory is mapped to pages already, asked of /proc/self/pagemap */
#ifndef MIGRATION_RESIDENT_H
#define MIGRATION_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>

/* resident_open() -- a descriptor to ask with, closed with close(); -1 where there is none, and then nothing is known */
int resident_open(void);

/*
 * resident_all() -- is every page of [@address, + @length), whole pages of 4 KiB, mapped to memory of this process now?
 *
 * False also where it cannot be known. Needs no privilege. Any thread.
 */
bool resident_all(int fd, const void *address, uint64_t length);

#endif
