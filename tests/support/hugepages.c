/* SPDX-License-Identifier: BSD-2-Clause */
/* hugepages.c -- huge pages of 2 MiB for the time of a test program */
#include "support/hugepages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static const char knob[] = "/proc/sys/vm/nr_hugepages";
static unsigned reserved;

static long read_knob(int fd)
{
	char text[32] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return -EIO;
	return strtol(text, NULL, 10);
}

static int write_knob(int fd, long value)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", value);

	return pwrite(fd, text, (size_t)length, 0) == length ? 0 : -errno;
}

/* The lock makes reading and writing one step among all test programs; it goes with the descriptor. */
static int change(long by)
{
	int fd = open(knob, O_RDWR | O_CLOEXEC);
	long before;
	int ret;

	if (fd < 0)
		return -errno;
	flock(fd, LOCK_EX);
	before = read_knob(fd);
	ret = before < 0 ? (int)before : write_knob(fd, before + by < 0 ? 0 : before + by);
	if (ret == 0 && by > 0 && read_knob(fd) < before + by) {
		write_knob(fd, before);
		ret = -ENOMEM;
	}
	close(fd);
	return ret;
}

static void give_back(void)
{
	if (reserved > 0)
		change(-(long)reserved);
	reserved = 0;
}

int hugepages_reserve(unsigned pages)
{
	int ret = change(pages);

	if (ret < 0)
		return ret;
	if (reserved == 0)
		atexit(give_back);
	reserved += pages;
	return 0;
}
