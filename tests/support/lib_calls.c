/* SPDX-License-Identifier: BSD-2-Clause */
/* lib_calls.c -- whose thread this is, what its calls do, and whether it stands still */
#include "support/lib_calls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "support/lib_calls_private.h"

#define LIB_NAME(name, error) #name,
static const char *const names[LIB_CALL_COUNT] = { LIB_CALLS(LIB_NAME) };
#undef LIB_NAME

#define LIB_ERROR(name, error) error,
static const int errors[LIB_CALL_COUNT] = { LIB_CALLS(LIB_ERROR) };
#undef LIB_ERROR

#define BIT(fault) (1u << (fault))
static const unsigned can[LIB_CALL_COUNT] = {
	[LIB_accept4] = BIT(LIB_INTERRUPT) | BIT(LIB_AGAIN),
	[LIB_sendmsg] = BIT(LIB_INTERRUPT) | BIT(LIB_AGAIN) | BIT(LIB_SHORT),
	[LIB_recvmsg] = BIT(LIB_INTERRUPT) | BIT(LIB_AGAIN) | BIT(LIB_SHORT),
	[LIB_recv] = BIT(LIB_INTERRUPT) | BIT(LIB_AGAIN) | BIT(LIB_SHORT),
	[LIB_poll] = BIT(LIB_INTERRUPT),
	[LIB_read] = BIT(LIB_INTERRUPT),
	[LIB_write] = BIT(LIB_INTERRUPT),
	[LIB_pread] = BIT(LIB_INTERRUPT),
	[LIB_open] = BIT(LIB_INTERRUPT),
	[LIB_nanosleep] = BIT(LIB_INTERRUPT),
};

/* A sleep can only be interrupted; and what is written, to an eventfd, always has room. */
static const unsigned cannot[LIB_CALL_COUNT] = { [LIB_nanosleep] = BIT(LIB_FAIL), [LIB_write] = BIT(LIB_FAIL) };

static _Thread_local enum lib_end own_end;

static atomic_uint counts[LIB_ENDS][LIB_CALL_COUNT];
static atomic_bool frozen[LIB_ENDS];
static atomic_bool armed, struck;
static struct lib_plan plan; /* set while nothing is armed */

static pthread_mutex_t freeze_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t thawed = PTHREAD_COND_INITIALIZER;

void lib_enter(enum lib_end end)
{
	own_end = end;
}

void lib_freeze(enum lib_end end, bool freeze)
{
	pthread_mutex_lock(&freeze_lock);
	atomic_store(&frozen[end], freeze);
	pthread_cond_broadcast(&thawed);
	pthread_mutex_unlock(&freeze_lock);
}

void lib_stand(void)
{
	const int saved = errno;

	if (!atomic_load_explicit(&frozen[own_end], memory_order_relaxed))
		return;
	pthread_mutex_lock(&freeze_lock);
	while (atomic_load(&frozen[own_end]))
		pthread_cond_wait(&thawed, &freeze_lock);
	pthread_mutex_unlock(&freeze_lock);
	errno = saved;
}

void lib_plan_set(const struct lib_plan *new_plan)
{
	atomic_store(&armed, false);
	for (int end = 0; end < LIB_ENDS; end++)
		for (int call = 0; call < LIB_CALL_COUNT; call++)
			atomic_store(&counts[end][call], 0);
	atomic_store(&struck, false);
	if (new_plan == NULL || new_plan->nth == 0)
		return;
	plan = *new_plan;
	atomic_store(&armed, true);
}

void lib_plan_drop(void)
{
	atomic_store(&armed, false);
}

bool lib_plan_struck(void)
{
	return atomic_load(&struck);
}

unsigned lib_count(enum lib_end end, enum lib_call call)
{
	return atomic_load(&counts[end][call]);
}

const char *lib_strcall(enum lib_call call)
{
	return names[call];
}

const char *lib_strfault(enum lib_fault fault)
{
	static const char *const texts[LIB_FAULTS] = { "fails", "interrupted", "again", "short" };

	return texts[fault];
}

bool lib_call_has(enum lib_call call, enum lib_fault fault)
{
	return ((can[call] | (BIT(LIB_FAIL) & ~cannot[call])) & BIT(fault)) != 0;
}

enum lib_fate lib_call(enum lib_call call)
{
	unsigned nth;

	lib_stand();
	if (own_end == LIB_NOBODY)
		return LIB_GO_ON;
	nth = atomic_fetch_add_explicit(&counts[own_end][call], 1, memory_order_relaxed) + 1;
	if (!atomic_load(&armed) || plan.end != own_end || plan.call != call || plan.nth != nth)
		return LIB_GO_ON;
	atomic_store(&struck, true);
	if (plan.fault == LIB_SHORT)
		return LIB_CUT_SHORT;
	errno = plan.fault == LIB_FAIL ? errors[call] : plan.fault == LIB_AGAIN ? EAGAIN : EINTR;
	return LIB_FAILED;
}

/* ---- threads belong to the end of who started them ---- */

struct birth {
	void *(*main)(void *);
	void *argument;
	enum lib_end end;
};

static void *born(void *opaque)
{
	const struct birth birth = *(struct birth *)opaque;

	free(opaque);
	lib_enter(birth.end);
	lib_stand();
	return birth.main(birth.argument);
}

int lib_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument)
{
	struct birth *birth;
	int rc;

	if (lib_call(LIB_pthread_create) == LIB_FAILED)
		return errno;
	birth = malloc(sizeof(*birth));
	if (birth == NULL)
		return EAGAIN;
	*birth = (struct birth){ .main = start, .argument = argument, .end = own_end };
	rc = pthread_create(thread, attr, born, birth);
	if (rc != 0)
		free(birth);
	return rc;
}

/* ---- waiting: what is waited for goes on, the thread does not ---- */

int lib_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	lib_stand();
	return pthread_mutex_lock(mutex);
}

int lib_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	const int rc = pthread_cond_wait(cond, mutex);

	lib_stand();
	return rc;
}

int lib_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
			       const struct timespec *until)
{
	const int rc = pthread_cond_clockwait(cond, mutex, clock, until);

	lib_stand();
	return rc;
}

int lib_clock_gettime(clockid_t clock, struct timespec *now)
{
	const int rc = clock_gettime(clock, now);

	lib_stand();
	return rc;
}
