/* SPDX-License-Identifier: BSD-2-Clause */
/* io.c -- whole sends and receives that a deadline or another thread can end */
#include "util/io.h"

#include "util/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* IOV_MAX of Linux; a longer array takes several calls */
#define IO_IOV_MAX 1024

/* takes @n transferred bytes off the front of the array */
static void io_advance(struct iovec **iov, size_t *count, size_t n)
{
	while (*count > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (n > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

/* errno of a send or receive that gave -1, as this module reports it; 0: try again */
static int io_failed(int error, int fd, short events, uint64_t deadline_ns, int wake_fd)
{
	if (error == EINTR)
		return 0;
	if (error == EAGAIN || error == EWOULDBLOCK)
		return io_wait(fd, events, deadline_ns, wake_fd);
	return error == EPIPE ? -ECONNRESET : -error;
}

int io_wait(int fd, short events, uint64_t deadline_ns, int wake_fd)
{
	for (;;) {
		struct pollfd set[2] = {
			{ .fd = fd, .events = events },
			{ .fd = wake_fd, .events = POLLIN },
		};
		const int n = poll(set, 2, clock_poll_ms(deadline_ns));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			return set[1].revents != 0 ? -ECANCELED : 0;
		/* poll(2) measures in milliseconds, so it may end a long wait in several steps */
		if (deadline_ns != CLOCK_NEVER && clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
}

int io_send_full(int fd, struct iovec *iov, size_t count, uint64_t deadline_ns, int wake_fd)
{
	io_advance(&iov, &count, 0);
	while (count > 0) {
		const struct msghdr msg = {
			.msg_iov = iov,
			.msg_iovlen = count < IO_IOV_MAX ? count : IO_IOV_MAX,
		};
		const ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			const int rc = io_failed(errno, fd, POLLOUT, deadline_ns, wake_fd);

			if (rc < 0)
				return rc;
			continue;
		}
		io_advance(&iov, &count, (size_t)n);
	}
	return 0;
}

int io_recvv_full(int fd, struct iovec *iov, size_t count, uint64_t deadline_ns, int wake_fd)
{
	io_advance(&iov, &count, 0);
	while (count > 0) {
		struct msghdr msg = {
			.msg_iov = iov,
			.msg_iovlen = count < IO_IOV_MAX ? count : IO_IOV_MAX,
		};
		const ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0) {
			const int rc = io_failed(errno, fd, POLLIN, deadline_ns, wake_fd);

			if (rc < 0)
				return rc;
			continue;
		}
		io_advance(&iov, &count, (size_t)n);
	}
	return 0;
}

int io_recv_full(int fd, void *buffer, size_t length, uint64_t deadline_ns, int wake_fd)
{
	struct iovec iov = { .iov_base = buffer, .iov_len = length };

	return io_recvv_full(fd, &iov, 1, deadline_ns, wake_fd);
}

int io_wake_new(void)
{
	const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void io_wake_set(int wake_fd)
{
	const int saved = errno;
	const uint64_t one = 1;
	ssize_t n;

	do {
		n = write(wake_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
	/* EAGAIN: the counter is full, so it is set */
	errno = saved;
}

bool io_wake_test(int wake_fd)
{
	struct pollfd set = { .fd = wake_fd, .events = POLLIN };

	return wake_fd >= 0 && poll(&set, 1, 0) > 0;
}

void io_wake_reset(int wake_fd)
{
	uint64_t count;
	ssize_t n;

	do {
		n = read(wake_fd, &count, sizeof(count));
	} while (n < 0 && errno == EINTR);
}
