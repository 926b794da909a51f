/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib_calls.h -- stands between the library and libc: makes one call fail, or one end of a migration stand still
 *
 * Theory of operation
 * -------------------
 * A program that says <name>_objs := $(lib_calls_obj) is linked with a copy of the library in which the calls of LIB_CALLS go to
 * lib_<call>() (tests/rules.mk renames them). Those count, obey the plan, and call the real one. Nobody else's calls come here: not
 * the test's, not libc's own, so the sanitizers see what they always see.
 *
 * A thread belongs to an end, the source or the destination, because it said so, or because a thread of that end has started it
 * through the library. Only what an end's threads do is counted and can fail. An end that is frozen stands still at its next call
 * of any kind, with whatever locks it holds, like a process that was sent SIGSTOP; what it is waiting for goes on without it.
 */
#ifndef SUPPORT_LIB_CALLS_H
#define SUPPORT_LIB_CALLS_H

#include <stdbool.h>
#include <stdint.h>

/* call, and the errno with which it fails */
#define LIB_CALLS(X)                     \
	X(socket, EMFILE)                \
	X(bind, ENOBUFS)                 \
	X(listen, ENOBUFS)               \
	X(accept4, EMFILE)               \
	X(connect, ENETUNREACH)          \
	X(sendmsg, ENOBUFS)              \
	X(recvmsg, ENOMEM)               \
	X(send, ENOBUFS)                 \
	X(recv, ENOMEM)                  \
	X(setsockopt, ENOBUFS)           \
	X(getsockopt, ENOBUFS)           \
	X(getsockname, ENOBUFS)          \
	X(getpeername, ENOBUFS)          \
	X(shutdown, ENOTCONN)            \
	X(fcntl, ENOMEM)                 \
	X(poll, ENOMEM)                  \
	X(eventfd, EMFILE)               \
	X(read, EIO)                     \
	X(write, EIO)                    \
	X(open, EMFILE)                  \
	X(fopen, EMFILE)                 \
	X(pread, EIO)                    \
	X(lseek, EIO)                    \
	X(close, EIO)                    \
	X(memfd_create, EMFILE)          \
	X(ftruncate, ENOSPC)             \
	X(mmap, ENOMEM)                  \
	X(madvise, ENOMEM)               \
	X(mincore, EAGAIN)               \
	X(getrandom, EIO)                \
	X(nanosleep, EINTR)              \
	X(pthread_create, EAGAIN)        \
	X(pthread_attr_init, ENOMEM)     \
	X(pthread_getcpuclockid, ENOENT) \
	X(sched_getaffinity, EINVAL)     \
	X(getnameinfo, ENOMEM)           \
	X(getaddrinfo, ENOMEM)           \
	X(malloc, ENOMEM)                \
	X(calloc, ENOMEM)                \
	X(realloc, ENOMEM)               \
	X(strdup, ENOMEM)

#define LIB_CALL_NAME(name, error) LIB_##name,
enum lib_call {
	LIB_CALLS(LIB_CALL_NAME) LIB_CALL_COUNT
};
#undef LIB_CALL_NAME

enum lib_end {
	LIB_NOBODY,
	LIB_SOURCE,
	LIB_DESTINATION,
	LIB_ENDS,
};

/* What may become of a call. All but the first change nothing for who uses it rightly. */
enum lib_fault {
	LIB_FAIL,
	LIB_INTERRUPT, /* EINTR, nothing done */
	LIB_AGAIN,     /* EAGAIN, nothing done */
	LIB_SHORT,     /* one byte of all that was asked for */
	LIB_FAULTS,
};

struct lib_plan {
	enum lib_end end;
	enum lib_call call;
	enum lib_fault fault;
	unsigned nth; /* from 1, since lib_plan_set(); 0: none */
};

/* lib_enter() -- from now on this thread is @end's */
void lib_enter(enum lib_end end);

/* lib_freeze() -- @end stands still, or goes on; not from one of its threads */
void lib_freeze(enum lib_end end, bool freeze);

/* lib_plan_set() -- from now on, and counts at zero; NULL: nothing fails */
void lib_plan_set(const struct lib_plan *plan);

/* lib_plan_drop() -- nothing fails any more; the counts stay */
void lib_plan_drop(void);

/* lib_plan_struck() -- has what was planned happened? */
bool lib_plan_struck(void);

/* lib_count() -- calls since lib_plan_set() */
unsigned lib_count(enum lib_end end, enum lib_call call);

const char *lib_strcall(enum lib_call call);
const char *lib_strfault(enum lib_fault fault);

/* lib_call_has() -- can that become of it? */
bool lib_call_has(enum lib_call call, enum lib_fault fault);

#endif
