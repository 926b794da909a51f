/* SPDX-License-Identifier: BSD-2-Clause */
/* zerocopy.c -- MSG_ZEROCOPY on one socket */
#include "fabric/tcp/zerocopy.h"

#include <assert.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

/* So many completions in a row that say "copied" are no accident. */
#define USELESS_MAX 4u

static_assert((ZEROCOPY_CALLS & (ZEROCOPY_CALLS - 1)) == 0, "numbers run freely");

/* ---- is it worth it? ---- */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET6)
		return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
	return a->ss_family == AF_INET && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
}

static bool is_loopback(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET && (ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24) == 127;
}

/* Does what is sent stay in this host? Then the kernel copies it on its way. */
static bool stays_here(int fd)
{
	struct sockaddr_storage here = { 0 }, there = { 0 };
	socklen_t here_length = sizeof(here), there_length = sizeof(there);

	return getsockname(fd, (struct sockaddr *)&here, &here_length) < 0 ||
	       getpeername(fd, (struct sockaddr *)&there, &there_length) < 0 || is_loopback(&there) ||
	       same_address(&here, &there);
}

void zerocopy_open(struct zerocopy *zerocopy, int fd, enum decant_zero_copy mode)
{
	const int one = 1;

	*zerocopy = (struct zerocopy){ .fd = fd, .optional = mode != DECANT_ZERO_COPY_ON };
	if (mode == DECANT_ZERO_COPY_OFF || (mode == DECANT_ZERO_COPY_AUTO && stays_here(fd)))
		return;
	zerocopy->on = setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) == 0;
}

/* ---- calls ---- */

static uint32_t *bytes_of(struct zerocopy *zerocopy, uint32_t call)
{
	return &zerocopy->bytes[call & (ZEROCOPY_CALLS - 1)];
}

bool zerocopy_begin(struct zerocopy *zerocopy, size_t bytes)
{
	if (!zerocopy->on || bytes < ZEROCOPY_WORTH_BYTES || zerocopy->next - zerocopy->first == ZEROCOPY_CALLS)
		return false;
	/* its completion can come before the call has returned */
	*bytes_of(zerocopy, zerocopy->next++) = (uint32_t)bytes;
	atomic_fetch_add_explicit(&zerocopy->in_flight, bytes, memory_order_relaxed);
	return true;
}

void zerocopy_end(struct zerocopy *zerocopy, size_t bytes, ssize_t sent)
{
	const size_t taken = sent > 0 ? (size_t)sent : 0;
	uint32_t *noted;

	/* a call that takes nothing has no number */
	if (taken == 0)
		zerocopy->next--;
	noted = bytes_of(zerocopy, taken == 0 ? zerocopy->next : zerocopy->next - 1);
	if (*noted == 0)
		return; /* done already, with all that was noted */
	*noted = (uint32_t)taken;
	atomic_fetch_sub_explicit(&zerocopy->in_flight, bytes - taken, memory_order_relaxed);
}

/* ---- completions ---- */

static void complete(struct zerocopy *zerocopy, uint32_t call, bool copied)
{
	uint32_t *bytes = bytes_of(zerocopy, call);

	atomic_fetch_sub_explicit(&zerocopy->in_flight, *bytes, memory_order_relaxed);
	if (!copied)
		atomic_fetch_add_explicit(&zerocopy->referenced, *bytes, memory_order_relaxed);
	*bytes = 0;
}

/* calls @from to @to, as the kernel says: what it has not been given is not believed */
static void complete_range(struct zerocopy *zerocopy, uint32_t from, uint32_t to, bool copied)
{
	for (uint32_t call = from;
	     call - from <= to - from && call - zerocopy->first < zerocopy->next - zerocopy->first; call++)
		complete(zerocopy, call, copied);
	while (zerocopy->first != zerocopy->next && *bytes_of(zerocopy, zerocopy->first) == 0)
		zerocopy->first++;
	zerocopy->useless = copied ? zerocopy->useless + 1 : 0;
	if (zerocopy->optional && zerocopy->useless >= USELESS_MAX)
		zerocopy->on = false;
}

static void take_notice(struct zerocopy *zerocopy, const struct cmsghdr *cmsg)
{
	const bool v4 = cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_RECVERR;
	const bool v6 = cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_RECVERR;
	struct sock_extended_err notice;

	if (!v4 && !v6)
		return;
	memcpy(&notice, CMSG_DATA(cmsg), sizeof(notice));
	if (notice.ee_origin == SO_EE_ORIGIN_ZEROCOPY && notice.ee_errno == 0)
		complete_range(zerocopy, notice.ee_info, notice.ee_data,
			       notice.ee_code & SO_EE_CODE_ZEROCOPY_COPIED);
}

void zerocopy_reap(struct zerocopy *zerocopy)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)) * 2];
	} control;

	for (;;) {
		struct msghdr msg = { .msg_control = &control, .msg_controllen = sizeof(control) };

		if (recvmsg(zerocopy->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg != NULL; cmsg = CMSG_NXTHDR(&msg, cmsg))
			take_notice(zerocopy, cmsg);
	}
}
