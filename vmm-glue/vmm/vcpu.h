/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vcpu.h -- the vCPUs of a machine: a thread each, that run and are held together
 *
 * HELD: every thread is parked outside KVM_RUN and has finished what the guest had begun (a port access answered by the
 *       VMM is completed by entering KVM once more, without running the guest). State may be saved.
 * RUN:  every thread is in KVM_RUN or about to enter it.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <decant/error.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vcpu_wanted {
	VCPU_HOLD,
	VCPU_RUN,
	VCPU_QUIT,
};

enum vcpu_verdict {
	VCPU_GO_ON,
	VCPU_ENDED, /* the guest cannot go on; the handler has noted why */
};

struct vcpu;

/* Answers one exit of KVM_RUN; from the vCPU's thread. @error is 0 or the negative errno of the ioctl. */
typedef enum vcpu_verdict vcpu_exit_fn(void *opaque, struct vcpu *vcpu, int error);

struct vcpu {
	/* set at creation, read-only after */
	struct vcpu_group *group;
	uint32_t index;
	int fd;
	struct kvm_run *run;
	size_t run_length;
	pthread_t thread;
	bool started;

	uint64_t held_until_ns; /* under the group's lock: it does not enter before; 0: it may */

	/* its thread, and the signal handler of that */
	volatile uintptr_t
		poisoned; /* where in this process the memory has failed that the guest used; 0: nowhere */
};

struct vcpu_group {
	/* set at creation, read-only after */
	struct vcpu *vcpu;
	uint32_t count;
	vcpu_exit_fn *exit;
	void *opaque;

	pthread_mutex_t lock; /* protects all below */
	pthread_cond_t changed;
	enum vcpu_wanted wanted;
	uint32_t running;    /* threads that are not parked */
	bool ended;          /* a vCPU has ended: the group is held for good */
	uint64_t entered_ns; /* since it last became RUN: before the first vCPU entered; 0: not yet */
	uint64_t left_ns;    /* since then: after the first vCPU left for good; 0: not yet */
};

/*
 * vcpu_take_poison() -- for a SIGBUS handler: is it KVM's, that tells this thread's vCPU of failed memory which the guest used?
 *
 * Then KVM_RUN returns, and the vCPU exits with -EHWPOISON. Async-signal-safe.
 */
bool vcpu_take_poison(const siginfo_t *info);

/*
 * vcpu_group_init() -- make @count vCPUs of @vm_fd, HELD, without threads
 *
 * Returns 0 or KVM's error; the group is then empty.
 */
int vcpu_group_init(struct vcpu_group *group, int kvm_fd, int vm_fd, uint32_t count, vcpu_exit_fn *handler,
		    void *opaque, struct decant_error *err);

/* vcpu_group_start_threads() -- after the last set-up from outside */
int vcpu_group_start_threads(struct vcpu_group *group, struct decant_error *err);

/*
 * vcpu_group_run() -- HELD to RUN; returns when the first vCPU is about to enter
 *
 * *@entered_ns (may be NULL): CLOCK_MONOTONIC just before. -ESHUTDOWN: the guest has ended.
 */
int vcpu_group_run(struct vcpu_group *group, uint64_t *entered_ns, struct decant_error *err);

/*
 * vcpu_group_hold() -- RUN to HELD; returns when all are parked
 *
 * *@left_ns (may be NULL): CLOCK_MONOTONIC when the first vCPU had left KVM_RUN. -ESHUTDOWN: the guest has ended meanwhile.
 */
int vcpu_group_hold(struct vcpu_group *group, uint64_t *left_ns, struct decant_error *err);

/*
 * vcpu_group_slice() -- keep vCPU @index out of KVM_RUN for @ns from now on; 0: let it enter again
 *
 * Returns at once; any thread. It stays in state RUN: what stops the group does not wait for it. Nothing in HELD.
 */
void vcpu_group_slice(struct vcpu_group *group, uint32_t index, uint64_t ns);

/* vcpu_group_free() -- end the threads, close the vCPUs; fine on a group that is empty */
void vcpu_group_free(struct vcpu_group *group);

#endif
