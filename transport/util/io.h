/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.h -- whole sends and receives on a stream socket, bounded by a deadline, that another thread can wake
 *
 * The socket may be blocking or not: every call is made with MSG_DONTWAIT, and only where it would block does poll(2) wait
 * for the socket, the deadline and @wake_fd together. So both are looked at when the peer keeps us waiting, and a call
 * whose bytes are there costs one system call. @wake_fd is any descriptor that becomes, and stays, readable (io_wake_new());
 * -1: none.
 *
 * All return 0 or: -ETIMEDOUT (the deadline), -ECANCELED (woken), -ECONNRESET (the peer has closed, orderly or not; -EPIPE
 * is turned into it), or what the kernel said. After any of them some of the bytes may have gone: the stream is
 * of no further use. Thread-safe for distinct sockets; one sender and one receiver may share a socket.
 */
#ifndef UTIL_IO_H
#define UTIL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* io_send_full() -- send all of @iov, any number of entries; uses the array up: its contents are undefined afterwards */
int io_send_full(int fd, struct iovec *iov, size_t count, uint64_t deadline_ns, int wake_fd);

/* io_recv_full() -- receive exactly @length bytes */
int io_recv_full(int fd, void *buffer, size_t length, uint64_t deadline_ns, int wake_fd);

/* io_recvv_full() -- fill all of @iov; uses the array up */
int io_recvv_full(int fd, struct iovec *iov, size_t count, uint64_t deadline_ns, int wake_fd);

/* io_wait() -- until poll(2) reports @events (POLLIN, POLLOUT), an error or a hang-up on @fd. A set wake wins. */
int io_wait(int fd, short events, uint64_t deadline_ns, int wake_fd);

/* io_wake_new() -- an eventfd to wake with; a descriptor (closed with close()) or -errno */
int io_wake_new(void);

/* io_wake_set() -- wakes everyone, now and from now on; async-signal-safe, any thread */
void io_wake_set(int wake_fd);

/* io_wake_test() -- is it set? -1 never is */
bool io_wake_test(int wake_fd);

/* io_wake_reset() -- not set any more */
void io_wake_reset(int wake_fd);

#endif
