/* SPDX-License-Identifier: BSD-2-Clause */
/* hugepages.h -- huge pages of 2 MiB for the time of a test program */
#ifndef SUPPORT_HUGEPAGES_H
#define SUPPORT_HUGEPAGES_H

/*
 * hugepages_reserve() -- raise vm.nr_hugepages by @pages; the program's exit lowers it again
 *
 * Programs that do this at once add up. Returns 0, or a negative errno: -EACCES (not root), -ENOMEM (the host has no
 * contiguous memory for them), ...; then nothing has changed and the test is to be skipped.
 */
int hugepages_reserve(unsigned pages);

#endif
