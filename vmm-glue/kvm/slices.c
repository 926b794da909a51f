/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slices.c -- slices of time: keeps vCPUs out of KVM_RUN for a share of each short while
 *
 * The lock is held while the VMM is told to hold a vCPU. So when a share has been set to 0, and the VMM told to let that vCPU run, no
 * hold can come after it.
 */
#include "kvm/kvm.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/thread.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SLICES_PERIOD_NS (10 * NSEC_PER_MSEC)

/* Shorter than this a vCPU would do little but leave and enter. */
#define SLICES_RUN_NS_MIN (NSEC_PER_MSEC / 2)

struct slice {
	uint32_t share; /* permille; 0: not slowed */
	uint64_t next_ns;
};

struct decant_kvm_slices {
	/* set at creation, read-only after */
	struct decant_kvm_slices_opts opts;

	/* the caller's of set and free */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* protects all below */
	pthread_cond_t changed;
	bool ending;
	uint32_t slowed; /* vCPUs with a share */
	struct slice *slice;
};

static uint64_t slices_period_ns(uint32_t share)
{
	const uint64_t period_ns = SLICES_RUN_NS_MIN * 1000 / (1000 - share);

	return period_ns > SLICES_PERIOD_NS ? period_ns : SLICES_PERIOD_NS;
}

/*
 * With the lock. Holds those whose slice is over, and says when the next one's is.
 *
 * @next_ns is the end of a slice: the hold begins there, and the next slice is over a period later. Periods of equal length stay in step.
 */
static uint64_t slices_turn(struct decant_kvm_slices *slices, uint64_t now_ns)
{
	uint64_t next_ns = CLOCK_NEVER;

	for (uint32_t i = 0; i < slices->opts.vcpus; i++) {
		struct slice *slice = &slices->slice[i];
		uint64_t period_ns;

		if (slice->share == 0)
			continue;
		period_ns = slices_period_ns(slice->share);
		if (slice->next_ns <= now_ns) {
			slices->opts.hold(slices->opts.opaque, i, period_ns / 1000 * slice->share);
			slice->next_ns = now_ns + period_ns;
		}
		if (slice->next_ns < next_ns)
			next_ns = slice->next_ns;
	}
	return next_ns;
}

static void *slices_main(void *opaque)
{
	struct decant_kvm_slices *slices = opaque;
	DECANT_AUTO_UNLOCK(&slices->lock);

	while (!slices->ending) {
		const struct timespec until = clock_timespec(slices_turn(slices, clock_now_ns()));

		pthread_cond_clockwait(&slices->changed, &slices->lock, CLOCK_MONOTONIC, &until);
	}
	return NULL;
}

/* It runs rarely and shortly, but late it would let a vCPU run longer; where it is not allowed to come first, so be it. */
static int slices_start(struct decant_kvm_slices *slices, struct decant_error *err)
{
	const struct sched_param priority = { .sched_priority = sched_get_priority_min(SCHED_FIFO) };
	int r;

	if (slices->started)
		return 0;
	slices->ending = false;
	r = thread_start(&slices->thread, "decant-slices", slices_main, slices);
	if (r < 0)
		return decant_error_set(err, r, "slices of time: thread: %s", strerror(-r));
	pthread_setschedparam(slices->thread, SCHED_FIFO, &priority);
	slices->started = true;
	return 0;
}

static void slices_end(struct decant_kvm_slices *slices)
{
	if (!slices->started)
		return;
	pthread_mutex_lock(&slices->lock);
	slices->ending = true;
	pthread_cond_signal(&slices->changed);
	pthread_mutex_unlock(&slices->lock);
	pthread_join(slices->thread, NULL);
	slices->started = false;
}

int decant_kvm_slices_new(const struct decant_kvm_slices_opts *opts, struct decant_kvm_slices **out,
			  struct decant_error *err)
{
	struct decant_kvm_slices_opts known = DECANT_KVM_SLICES_OPTS_INIT;
	struct decant_kvm_slices *slices;

	memcpy(&known, opts, opts->size < sizeof(known) ? opts->size : sizeof(known));
	if (known.hold == NULL || known.vcpus == 0)
		return decant_error_set(err, -EINVAL, "slices of time: need hold, and vCPUs");
	slices = calloc(1, sizeof(*slices));
	if (slices == NULL)
		return decant_error_set(err, -ENOMEM, "slices of time: out of memory");
	slices->opts = known;
	slices->slice = calloc(known.vcpus, sizeof(*slices->slice));
	if (slices->slice == NULL) {
		free(slices);
		return decant_error_set(err, -ENOMEM, "slices of time: out of memory for %u vCPUs", known.vcpus);
	}
	pthread_mutex_init(&slices->lock, NULL);
	pthread_cond_init(&slices->changed, NULL);
	*out = slices;
	return 0;
}

/* How many vCPUs are slowed then. */
static uint32_t slices_change(struct decant_kvm_slices *slices, uint32_t vcpu, uint32_t share)
{
	struct slice *slice = &slices->slice[vcpu];
	DECANT_AUTO_UNLOCK(&slices->lock);

	slices->slowed += (share != 0) - (slice->share != 0);
	/* one that is slowed already keeps its place in the period: the new share holds from the end of its slice on */
	if (slice->share == 0)
		slice->next_ns = clock_now_ns();
	slice->share = share;
	if (share == 0)
		slices->opts.hold(slices->opts.opaque, vcpu, 0);
	pthread_cond_signal(&slices->changed);
	return slices->slowed;
}

int decant_kvm_slices_set(struct decant_kvm_slices *slices, uint32_t vcpu, uint32_t share_permille,
			  struct decant_error *err)
{
	int r = 0;

	if (vcpu >= slices->opts.vcpus)
		return decant_error_set(err, -EINVAL, "slices of time: vCPU %u of %u", vcpu, slices->opts.vcpus);
	if (share_permille > DECANT_THROTTLE_MAX_PERMILLE)
		return decant_error_set(err, -EINVAL,
					"slices of time: vCPU %u: %u permille of its time, at most %u", vcpu,
					share_permille, DECANT_THROTTLE_MAX_PERMILLE);
	if (share_permille != 0)
		r = slices_start(slices, err);
	if (r == 0 && slices_change(slices, vcpu, share_permille) == 0)
		slices_end(slices);
	return r;
}

void decant_kvm_slices_free(struct decant_kvm_slices *slices)
{
	if (slices == NULL)
		return;
	slices_end(slices);
	for (uint32_t i = 0; i < slices->opts.vcpus; i++)
		if (slices->slice[i].share != 0)
			slices->opts.hold(slices->opts.opaque, i, 0);
	pthread_cond_destroy(&slices->changed);
	pthread_mutex_destroy(&slices->lock);
	free(slices->slice);
	free(slices);
}
