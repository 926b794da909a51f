/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_verbs_plan.c -- the fake's lock, plan, counts and beginning and end */
#include "support/fake_verbs_private.h"

#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Longer than any machine needs to acknowledge an event. */
#define LATE_NS (20 * NSEC_PER_SEC)

struct fake_verbs fake = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

void fake_refuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("fake_verbs: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

struct fake_config fake_config_default(void)
{
	return (struct fake_config){
		.devices = FAKE_DEVICES_MAX,
		.limits = { .max_qp_wr = 16384,
			    .max_cqe = 1 << 20,
			    .max_sge = FAKE_SGE_MAX,
			    .max_mr = 1 << 19,
			    .max_msg_sz = 1u << 30,
			    .max_inline = FAKE_INLINE_MAX,
			    .max_mr_size = UINT64_MAX },
		.ack_ms = 500,
	};
}

/* ---- beginning and end ---- */

static void begin(const struct fake_config *config)
{
	fake.config = *config;
	fake.next_key = fake.next_key == 0 ? 1 : fake.next_key; /* keys of before stay dead */
	fake.next_qp_num = 17;
	for (unsigned i = 0; i < config->devices; i++)
		fake_device_init(&fake.device[i], i);
	fake.ready = true;
}

/* drops the lock: a NIC must be able to end */
static void end(void)
{
	if (!fake.ready)
		return;
	fake.stopping = true;
	fake.held = false;
	for (unsigned i = 0; i < fake.config.devices; i++)
		pthread_cond_broadcast(&fake.device[i].work);
	fake_unlock();
	for (unsigned i = 0; i < fake.config.devices; i++) {
		if (fake.device[i].running)
			pthread_join(fake.device[i].nic, NULL);
	}
	fake_lock();
	for (unsigned i = 0; i < fake.config.devices; i++)
		fake_device_destroy(&fake.device[i]);
	fake_cm_reset();
	fake.stopping = false;
	fake.ready = false;
}

__attribute__((destructor)) static void check_at_exit(void)
{
	char text[256];

	if (fake_leaks(text, sizeof(text))[0] != '\0') {
		fprintf(stderr, "fake_verbs: left at the end: %s\n", text);
		fflush(NULL);
		_exit(1);
	}
	fake_lock();
	end();
	fake_unlock();
}

void fake_reset(const struct fake_config *config)
{
	char text[256];

	if (fake_leaks(text, sizeof(text))[0] != '\0')
		fake_refuse("left at a reset: %s", text);
	fake_lock();
	end();
	memset(&fake.counts, 0, sizeof(fake.counts));
	memset(&fake.plan, 0, sizeof(fake.plan));
	fake.cut = false;
	fake.watch = fake.watch_end = 0;
	begin(config);
	fake_unlock();
}

/* ---- the lock, and calls that fail ---- */

void fake_lock(void)
{
	pthread_mutex_lock(&fake.lock);
}

void fake_unlock(void)
{
	pthread_mutex_unlock(&fake.lock);
}

static bool is_hit(const struct fake_failure *failure, uint64_t count)
{
	return failure->nth != 0 && (count == failure->nth || (failure->stays && count > failure->nth));
}

int fake_enter(enum fake_call call)
{
	const struct fake_failure *failure = NULL;

	fake_lock();
	if (!fake.ready) {
		const struct fake_config config = fake_config_default();

		begin(&config);
	}
	fake.counts.call[call]++;
	fake.plan_call[call]++;
	fake.plan_calls += call != FAKE_DEREG_MR;
	if (is_hit(&fake.plan.fail[call], fake.plan_call[call]))
		failure = &fake.plan.fail[call];
	else if (call != FAKE_DEREG_MR && is_hit(&fake.plan.fail_any, fake.plan_calls))
		failure = &fake.plan.fail_any;
	if (failure == NULL)
		return 0;
	fake.counts.failed++;
	return failure->error;
}

void fake_plan_set(const struct fake_plan *plan)
{
	fake_lock();
	if (plan != NULL)
		fake.plan = *plan;
	else
		memset(&fake.plan, 0, sizeof(fake.plan));
	memset(fake.plan_call, 0, sizeof(fake.plan_call));
	fake.plan_calls = 0;
	fake.plan_writes = 0;
	fake.plan_completions = 0;
	fake_unlock();
}

void fake_counts(struct fake_counts *counts)
{
	fake_lock();
	*counts = fake.counts;
	fake_unlock();
}

const char *fake_leaks(char *text, size_t size)
{
	struct fake_counts now;
	int length = 0;

	fake_counts(&now);
	text[0] = '\0';
	const struct {
		unsigned count;
		const char *what;
	} kinds[] = {
		{ now.ids, "identifiers" },       { now.qps, "queue pairs" },
		{ now.cqs, "completion queues" }, { now.comp_channels, "completion channels" },
		{ now.mrs, "memory regions" },    { now.pds, "protection domains" },
		{ now.contexts, "contexts" },     { now.event_channels, "event channels" },
		{ now.lists, "lists" },           { now.unacknowledged, "events not acknowledged" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].count > 0 && length < (int)size)
			length += snprintf(text + length, size - (size_t)length, "%s%u %s", length > 0 ? ", " : "",
					   kinds[i].count, kinds[i].what);
	}
	return text;
}

void fake_watch(const void *memory, size_t length)
{
	fake_lock();
	fake.watch = (uintptr_t)memory;
	fake.watch_end = fake.watch + length;
	fake_unlock();
}

void fake_await_zero(const unsigned *counter, const char *what)
{
	const struct timespec deadline = clock_timespec(clock_deadline_ns(LATE_NS));

	while (*counter > 0) {
		if (pthread_cond_clockwait(&fake.changed, &fake.lock, CLOCK_MONOTONIC, &deadline) == ETIMEDOUT)
			fake_refuse("%s: %u that never end", what, *counter);
	}
}

uint64_t fake_later(uint64_t ms)
{
	return clock_deadline_ns(ms * NSEC_PER_MSEC);
}

/* ---- what the tests do to devices ---- */

static void wake_nics(void)
{
	for (unsigned i = 0; i < fake.config.devices; i++)
		pthread_cond_broadcast(&fake.device[i].work);
}

static struct fake_device *device_at(unsigned index)
{
	if (!fake.ready || index >= fake.config.devices)
		fake_refuse("there is no device %u", index);
	return &fake.device[index];
}

void fake_cut(bool cut)
{
	fake_lock();
	fake.cut = cut;
	wake_nics();
	fake_unlock();
}

void fake_hold(bool hold)
{
	fake_lock();
	fake.held = hold;
	wake_nics();
	fake_unlock();
}

void fake_port_set(unsigned device, bool up)
{
	fake_lock();
	device_at(device)->up = up;
	wake_nics();
	fake_unlock();
}

void fake_remove(unsigned device)
{
	fake_lock();
	fake_device_gone(device_at(device));
	fake_unlock();
}

static struct fake_qp *connected_qp(unsigned nth)
{
	struct fake_qp *qp;

	for (unsigned i = 0; fake.ready && i < fake.config.devices; i++) {
		TAILQ_FOREACH(qp, &fake.device[i].qps, link)
		{
			if (qp->peer != NULL && qp->base.state == IBV_QPS_RTS && nth-- == 0)
				return qp;
		}
	}
	return NULL;
}

bool fake_disconnect(unsigned nth)
{
	const struct fake_qp *qp;

	fake_lock();
	/* each connection has two queue pairs */
	qp = connected_qp(2 * nth);
	if (qp != NULL)
		fake_cm_disconnected(qp);
	fake_unlock();
	return qp != NULL;
}

bool fake_break(unsigned nth, enum ibv_wc_status status)
{
	struct fake_qp *qp;

	fake_lock();
	qp = connected_qp(nth);
	if (qp != NULL)
		qp->break_status = status;
	fake_unlock();
	return qp != NULL;
}

/* ---- bells ---- */

int fake_bell_new(void)
{
	return eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
}

void fake_bell_ring(int fd)
{
	if (eventfd_write(fd, 1) < 0)
		fake_refuse("eventfd: %s", strerror(errno));
}

void fake_bell_undo(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	eventfd_t value;

	/* if somebody is between reading it and taking the entry, then there is nothing to undo */
	if (poll(&ready, 1, 0) == 1 && eventfd_read(fd, &value) < 0 && errno != EAGAIN)
		fake_refuse("eventfd: %s", strerror(errno));
}

int fake_bell_take(int fd)
{
	eventfd_t value;

	return eventfd_read(fd, &value);
}
