/* SPDX-License-Identifier: BSD-2-Clause */
/* lib_calls_libc.c -- the library's calls of libc, each of which may fail */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "support/lib_calls_private.h"

/* ---- sockets ---- */

int lib_socket(int domain, int type, int protocol)
{
	return lib_call(LIB_socket) == LIB_FAILED ? -1 : socket(domain, type, protocol);
}

int lib_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	return lib_call(LIB_bind) == LIB_FAILED ? -1 : bind(fd, address, length);
}

int lib_listen(int fd, int backlog)
{
	return lib_call(LIB_listen) == LIB_FAILED ? -1 : listen(fd, backlog);
}

int lib_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	return lib_call(LIB_accept4) == LIB_FAILED ? -1 : accept4(fd, address, length, flags);
}

int lib_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	return lib_call(LIB_connect) == LIB_FAILED ? -1 : connect(fd, address, length);
}

ssize_t lib_sendmsg(int fd, const struct msghdr *message, int flags)
{
	const enum lib_fate fate = lib_call(LIB_sendmsg);
	struct iovec one = { .iov_base = message->msg_iov[0].iov_base, .iov_len = 1 };
	struct msghdr cut = { .msg_iov = &one, .msg_iovlen = 1 };
	ssize_t n;

	if (fate == LIB_FAILED)
		return -1;
	n = sendmsg(fd, fate == LIB_CUT_SHORT ? &cut : message, flags);
	lib_stand();
	return n;
}

ssize_t lib_recvmsg(int fd, struct msghdr *message, int flags)
{
	const enum lib_fate fate = lib_call(LIB_recvmsg);
	/* what is read of a socket's queue of errors has no bytes */
	struct iovec one = { .iov_base = message->msg_iovlen > 0 ? message->msg_iov[0].iov_base : NULL,
			     .iov_len = message->msg_iovlen > 0 };
	struct msghdr cut = { .msg_iov = &one, .msg_iovlen = 1 };
	ssize_t n;

	if (fate == LIB_FAILED)
		return -1;
	n = recvmsg(fd, fate == LIB_CUT_SHORT && one.iov_len > 0 ? &cut : message, flags);
	lib_stand();
	return n;
}

ssize_t lib_recv(int fd, void *bytes, size_t length, int flags)
{
	const enum lib_fate fate = lib_call(LIB_recv);

	return fate == LIB_FAILED ? -1 : recv(fd, bytes, fate == LIB_CUT_SHORT ? 1 : length, flags);
}

ssize_t lib_send(int fd, const void *bytes, size_t length, int flags)
{
	return lib_call(LIB_send) == LIB_FAILED ? -1 : send(fd, bytes, length, flags);
}

int lib_setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	return lib_call(LIB_setsockopt) == LIB_FAILED ? -1 : setsockopt(fd, level, option, value, length);
}

int lib_getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
	return lib_call(LIB_getsockopt) == LIB_FAILED ? -1 : getsockopt(fd, level, option, value, length);
}

int lib_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
	return lib_call(LIB_getsockname) == LIB_FAILED ? -1 : getsockname(fd, address, length);
}

int lib_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
	return lib_call(LIB_getpeername) == LIB_FAILED ? -1 : getpeername(fd, address, length);
}

/* It fails where there is nothing left to shut, and never leaves anything open. */
int lib_shutdown(int fd, int how)
{
	const bool failed = lib_call(LIB_shutdown) == LIB_FAILED;
	const int rc = shutdown(fd, how);

	if (!failed)
		return rc;
	errno = ENOTCONN;
	return -1;
}

int lib_fcntl(int fd, int command, ...)
{
	va_list rest;
	int value;

	va_start(rest, command);
	value = command == F_GETFL || command == F_GETFD || command == F_GET_SEALS ? 0 : va_arg(rest, int);
	va_end(rest);
	return lib_call(LIB_fcntl) == LIB_FAILED ? -1 : fcntl(fd, command, value);
}

int lib_poll(struct pollfd *set, nfds_t count, int timeout)
{
	int rc;

	if (lib_call(LIB_poll) == LIB_FAILED)
		return -1;
	rc = poll(set, count, timeout);
	lib_stand();
	return rc;
}

int lib_eventfd(unsigned int value, int flags)
{
	return lib_call(LIB_eventfd) == LIB_FAILED ? -1 : eventfd(value, flags);
}

/* ---- files and memory ---- */

ssize_t lib_read(int fd, void *bytes, size_t length)
{
	return lib_call(LIB_read) == LIB_FAILED ? -1 : read(fd, bytes, length);
}

ssize_t lib_write(int fd, const void *bytes, size_t length)
{
	return lib_call(LIB_write) == LIB_FAILED ? -1 : write(fd, bytes, length);
}

int lib_open(const char *path, int flags, ...)
{
	va_list rest;
	mode_t mode;

	va_start(rest, flags);
	mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	return lib_call(LIB_open) == LIB_FAILED ? -1 : open(path, flags, mode);
}

FILE *lib_fopen(const char *path, const char *mode)
{
	return lib_call(LIB_fopen) == LIB_FAILED ? NULL : fopen(path, mode);
}

ssize_t lib_pread(int fd, void *bytes, size_t length, off_t offset)
{
	return lib_call(LIB_pread) == LIB_FAILED ? -1 : pread(fd, bytes, length, offset);
}

off_t lib_lseek(int fd, off_t offset, int whence)
{
	return lib_call(LIB_lseek) == LIB_FAILED ? -1 : lseek(fd, offset, whence);
}

/* On Linux it is closed even then. */
int lib_close(int fd)
{
	const bool failed = lib_call(LIB_close) == LIB_FAILED;
	const int rc = close(fd);

	if (!failed)
		return rc;
	errno = EIO;
	return -1;
}

int lib_memfd_create(const char *name, unsigned int flags)
{
	return lib_call(LIB_memfd_create) == LIB_FAILED ? -1 : memfd_create(name, flags);
}

int lib_ftruncate(int fd, off_t length)
{
	return lib_call(LIB_ftruncate) == LIB_FAILED ? -1 : ftruncate(fd, length);
}

void *lib_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return lib_call(LIB_mmap) == LIB_FAILED ? MAP_FAILED
						: mmap(address, length, protection, flags, fd, offset);
}

int lib_madvise(void *address, size_t length, int advice)
{
	return lib_call(LIB_madvise) == LIB_FAILED ? -1 : madvise(address, length, advice);
}

int lib_mincore(void *address, size_t length, unsigned char *resident)
{
	return lib_call(LIB_mincore) == LIB_FAILED ? -1 : mincore(address, length, resident);
}

void *lib_malloc(size_t size)
{
	return lib_call(LIB_malloc) == LIB_FAILED ? NULL : malloc(size);
}

void *lib_calloc(size_t count, size_t size)
{
	return lib_call(LIB_calloc) == LIB_FAILED ? NULL : calloc(count, size);
}

void *lib_realloc(void *old, size_t size)
{
	return lib_call(LIB_realloc) == LIB_FAILED ? NULL : realloc(old, size);
}

char *lib_strdup(const char *text)
{
	return lib_call(LIB_strdup) == LIB_FAILED ? NULL : strdup(text);
}

/* ---- the rest ---- */

ssize_t lib_getrandom(void *bytes, size_t length, unsigned int flags)
{
	return lib_call(LIB_getrandom) == LIB_FAILED ? -1 : getrandom(bytes, length, flags);
}

int lib_nanosleep(const struct timespec *time, struct timespec *left)
{
	return lib_call(LIB_nanosleep) == LIB_FAILED ? -1 : nanosleep(time, left);
}

int lib_pthread_attr_init(pthread_attr_t *attr)
{
	return lib_call(LIB_pthread_attr_init) == LIB_FAILED ? errno : pthread_attr_init(attr);
}

int lib_pthread_getcpuclockid(pthread_t thread, clockid_t *clock)
{
	return lib_call(LIB_pthread_getcpuclockid) == LIB_FAILED ? errno : pthread_getcpuclockid(thread, clock);
}

int lib_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	return lib_call(LIB_sched_getaffinity) == LIB_FAILED ? -1 : sched_getaffinity(pid, size, set);
}

int lib_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size,
		    char *service, socklen_t service_size, int flags)
{
	return lib_call(LIB_getnameinfo) == LIB_FAILED
		       ? EAI_MEMORY
		       : getnameinfo(address, length, host, host_size, service, service_size, flags);
}

int lib_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
	return lib_call(LIB_getaddrinfo) == LIB_FAILED ? EAI_MEMORY : getaddrinfo(node, service, hints, list);
}
