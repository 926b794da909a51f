/* SPDX-License-Identifier: BSD-2-Clause */
/* lib_calls_private.h -- what the calls of lib_calls_libc.c ask before they go on, and all that the library calls in libc's place */
#ifndef SUPPORT_LIB_CALLS_PRIVATE_H
#define SUPPORT_LIB_CALLS_PRIVATE_H

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "support/lib_calls.h"

enum lib_fate {
	LIB_GO_ON,
	LIB_FAILED, /* with errno set */
	LIB_CUT_SHORT,
};

/* lib_call() -- count it, and say what is to become of it; stands still first if the end does */
enum lib_fate lib_call(enum lib_call call);

/* lib_stand() -- stand still as long as the end does; keeps errno */
void lib_stand(void);

int lib_socket(int domain, int type, int protocol);
int lib_bind(int fd, const struct sockaddr *address, socklen_t length);
int lib_listen(int fd, int backlog);
int lib_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int lib_connect(int fd, const struct sockaddr *address, socklen_t length);
ssize_t lib_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t lib_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t lib_send(int fd, const void *bytes, size_t length, int flags);
ssize_t lib_recv(int fd, void *bytes, size_t length, int flags);
int lib_setsockopt(int fd, int level, int option, const void *value, socklen_t length);
int lib_getsockopt(int fd, int level, int option, void *value, socklen_t *length);
int lib_getsockname(int fd, struct sockaddr *address, socklen_t *length);
int lib_getpeername(int fd, struct sockaddr *address, socklen_t *length);
int lib_shutdown(int fd, int how);
int lib_fcntl(int fd, int command, ...);
int lib_poll(struct pollfd *set, nfds_t count, int timeout);
int lib_eventfd(unsigned int value, int flags);
ssize_t lib_read(int fd, void *bytes, size_t length);
ssize_t lib_write(int fd, const void *bytes, size_t length);
int lib_open(const char *path, int flags, ...);
FILE *lib_fopen(const char *path, const char *mode);
ssize_t lib_pread(int fd, void *bytes, size_t length, off_t offset);
off_t lib_lseek(int fd, off_t offset, int whence);
int lib_close(int fd);
int lib_memfd_create(const char *name, unsigned int flags);
int lib_ftruncate(int fd, off_t length);
void *lib_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
int lib_madvise(void *address, size_t length, int advice);
int lib_mincore(void *address, size_t length, unsigned char *resident);
ssize_t lib_getrandom(void *bytes, size_t length, unsigned int flags);
int lib_nanosleep(const struct timespec *time, struct timespec *left);
int lib_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument);
int lib_pthread_attr_init(pthread_attr_t *attr);
int lib_pthread_getcpuclockid(pthread_t thread, clockid_t *clock);
int lib_pthread_mutex_lock(pthread_mutex_t *mutex);
int lib_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int lib_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
			       const struct timespec *until);
int lib_clock_gettime(clockid_t clock, struct timespec *now);
int lib_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int lib_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size,
		    char *service, socklen_t service_size, int flags);
int lib_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list);
void *lib_malloc(size_t size);
void *lib_calloc(size_t count, size_t size);
void *lib_realloc(void *old, size_t size);
char *lib_strdup(const char *text);

#endif
