/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vcpu.c -- a thread per vCPU, and the handshake that stops and starts them together
 *
 * To stop: the one who asks sets the wish under the lock, sets immediate_exit in each kvm_run and sends each thread a
 * signal. The flag catches a thread that is on its way into KVM_RUN, the signal one that is in it; so a thread needs no
 * second kick. With the flag set KVM_RUN completes a pending access and returns -EINTR without running the guest: the
 * return that parks a thread is always that one, whatever the exit before it was. A slice that ends is the same kick, with another
 * wish: stand for a while, and enter again.
 */
#include "vmm/vcpu.h"

#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* the vCPU that this thread has in KVM */
static __thread struct vcpu *volatile vcpu_entered;

static int vcpu_kick_signal(void)
{
	return SIGRTMIN;
}

static void vcpu_kicked(int signo)
{
	(void)signo;
}

static int vcpu_kick_install(struct decant_error *err)
{
	struct sigaction action = { .sa_handler = vcpu_kicked };

	if (sigaction(vcpu_kick_signal(), &action, NULL) < 0)
		return decant_error_set(err, -errno, "sigaction: %s", strerror(errno));
	return 0;
}

static void vcpu_set_immediate_exit(struct vcpu *vcpu, bool on)
{
	__atomic_store_n(&vcpu->run->immediate_exit, on, __ATOMIC_RELEASE);
}

static void vcpu_kick(struct vcpu *vcpu)
{
	vcpu_set_immediate_exit(vcpu, true);
	pthread_kill(vcpu->thread, vcpu_kick_signal());
}

/* with the lock held */
static void vcpu_group_kick(struct vcpu_group *group)
{
	for (uint32_t i = 0; i < group->count; i++)
		if (group->vcpu[i].started)
			vcpu_kick(&group->vcpu[i]);
	/* one that stands between two slices is in no KVM_RUN to be kicked out of */
	pthread_cond_broadcast(&group->changed);
}

/* wait until the group shall run; false: the thread shall end */
static bool vcpu_await_run(struct vcpu *vcpu)
{
	struct vcpu_group *group = vcpu->group;
	DECANT_AUTO_UNLOCK(&group->lock);

	while (group->wanted == VCPU_HOLD)
		pthread_cond_wait(&group->changed, &group->lock);
	if (group->wanted == VCPU_QUIT)
		return false;
	vcpu_set_immediate_exit(vcpu, false);
	group->running++;
	if (group->entered_ns == 0) {
		group->entered_ns = clock_now_ns();
		pthread_cond_broadcast(&group->changed);
	}
	return true;
}

/* With the lock held: stands for as long as it is not to enter, if the group shall run. Has it stood? */
static bool vcpu_stand(struct vcpu *vcpu)
{
	struct vcpu_group *group = vcpu->group;
	bool stood = false;

	while (group->wanted == VCPU_RUN && clock_now_ns() < vcpu->held_until_ns) {
		const struct timespec until = clock_timespec(vcpu->held_until_ns);

		pthread_cond_clockwait(&group->changed, &group->lock, CLOCK_MONOTONIC, &until);
		stood = true;
	}
	return stood;
}

/* true: this return of KVM_RUN parked the vCPU */
static bool vcpu_park(struct vcpu *vcpu, uint64_t left_ns)
{
	struct vcpu_group *group = vcpu->group;
	DECANT_AUTO_UNLOCK(&group->lock);

	/* what it has stood for is no part of the pause */
	if (vcpu_stand(vcpu))
		left_ns = clock_now_ns();
	if (group->wanted == VCPU_RUN) {
		vcpu_set_immediate_exit(vcpu, false);
		return false;
	}
	if (group->left_ns == 0 || left_ns < group->left_ns)
		group->left_ns = left_ns;
	group->running--;
	pthread_cond_broadcast(&group->changed);
	return true;
}

static void vcpu_end(struct vcpu *vcpu, uint64_t left_ns)
{
	struct vcpu_group *group = vcpu->group;
	DECANT_AUTO_UNLOCK(&group->lock);

	group->ended = true;
	if (group->wanted == VCPU_RUN)
		group->wanted = VCPU_HOLD;
	if (group->left_ns == 0 || left_ns < group->left_ns)
		group->left_ns = left_ns;
	group->running--;
	vcpu_group_kick(group);
	pthread_cond_broadcast(&group->changed);
}

bool vcpu_take_poison(const siginfo_t *info)
{
	struct vcpu *vcpu = vcpu_entered;

	if (vcpu == NULL || info->si_code != BUS_MCEERR_AR)
		return false;
	vcpu->poisoned = (uintptr_t)info->si_addr;
	return true;
}

/* On failed memory KVM sends a signal and would try again for ever. */
static int vcpu_enter(struct vcpu *vcpu)
{
	int error;

	vcpu_entered = vcpu;
	error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	vcpu_entered = NULL;
	return vcpu->poisoned != 0 ? -EHWPOISON : error;
}

static void vcpu_run_until_parked(struct vcpu *vcpu)
{
	struct vcpu_group *group = vcpu->group;

	for (;;) {
		int error = vcpu_enter(vcpu);
		uint64_t left_ns = clock_now_ns();

		if (error == -EINTR && vcpu_park(vcpu, left_ns))
			return;
		/* -EAGAIN: an application processor that still waits for its start-up message */
		if (error == -EINTR || error == -EAGAIN)
			continue;
		if (group->exit(group->opaque, vcpu, error) == VCPU_ENDED) {
			vcpu_end(vcpu, left_ns);
			return;
		}
	}
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *vcpu = opaque;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	while (vcpu_await_run(vcpu))
		vcpu_run_until_parked(vcpu);
	return NULL;
}

/* the thread takes its mask from its maker: only the kick and what the program did wrong may interrupt it */
static int vcpu_start_thread(struct vcpu *vcpu)
{
	sigset_t mask, saved;
	int ret;

	sigfillset(&mask);
	sigdelset(&mask, vcpu_kick_signal());
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &mask, &saved);
	ret = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	vcpu->started = ret == 0;
	return -ret;
}

int vcpu_group_start_threads(struct vcpu_group *group, struct decant_error *err)
{
	for (uint32_t i = 0; i < group->count; i++) {
		int ret = vcpu_start_thread(&group->vcpu[i]);

		if (ret < 0)
			return decant_error_set(err, ret, "vCPU %u: cannot start its thread: %s", i,
						strerror(-ret));
	}
	return 0;
}

static int vcpu_init(struct vcpu *vcpu, int vm_fd, size_t run_length, struct decant_error *err)
{
	int fd = ioctl(vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	void *run;

	if (fd < 0)
		return decant_error_set(err, -errno, "KVM_CREATE_VCPU %u: %s", vcpu->index, strerror(errno));
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	run = mmap(NULL, run_length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED) {
		int ret = decant_error_set(err, -errno, "mmap of kvm_run of vCPU %u: %s", vcpu->index,
					   strerror(errno));

		close(fd);
		return ret;
	}
	vcpu->fd = fd;
	vcpu->run = run;
	vcpu->run_length = run_length;
	return 0;
}

int vcpu_group_init(struct vcpu_group *group, int kvm_fd, int vm_fd, uint32_t count, vcpu_exit_fn *handler,
		    void *opaque, struct decant_error *err)
{
	int length = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	int ret;

	memset(group, 0, sizeof(*group));
	if (length < 0)
		return decant_error_set(err, -errno, "KVM_GET_VCPU_MMAP_SIZE: %s", strerror(errno));
	ret = vcpu_kick_install(err);
	if (ret < 0)
		return ret;
	group->vcpu = calloc(count, sizeof(*group->vcpu));
	if (group->vcpu == NULL)
		return decant_error_set(err, -ENOMEM, "no memory for %u vCPUs", count);
	pthread_mutex_init(&group->lock, NULL);
	pthread_cond_init(&group->changed, NULL);
	group->exit = handler;
	group->opaque = opaque;
	for (uint32_t i = 0; i < count; i++) {
		group->vcpu[i].group = group;
		group->vcpu[i].index = i;
		ret = vcpu_init(&group->vcpu[i], vm_fd, (size_t)length, err);
		if (ret < 0) {
			vcpu_group_free(group);
			return ret;
		}
		group->count++;
	}
	return 0;
}

int vcpu_group_run(struct vcpu_group *group, uint64_t *entered_ns, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&group->lock);

	if (group->ended)
		return decant_error_set(err, -ESHUTDOWN, "the guest has ended");
	group->entered_ns = 0;
	group->left_ns = 0;
	group->wanted = VCPU_RUN;
	pthread_cond_broadcast(&group->changed);
	while (group->entered_ns == 0)
		pthread_cond_wait(&group->changed, &group->lock);
	if (entered_ns != NULL)
		*entered_ns = group->entered_ns;
	return 0;
}

/*
 * A thread that has not yet seen RUN stays parked and never enters; that is as good as held. So the stamp may be missing
 * only where no vCPU entered at all, and then now is right.
 */
int vcpu_group_hold(struct vcpu_group *group, uint64_t *left_ns, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&group->lock);

	if (group->wanted == VCPU_RUN)
		group->wanted = VCPU_HOLD;
	vcpu_group_kick(group);
	while (group->running > 0)
		pthread_cond_wait(&group->changed, &group->lock);
	if (group->ended)
		return decant_error_set(err, -ESHUTDOWN, "the guest has ended");
	if (left_ns != NULL)
		*left_ns = group->left_ns != 0 ? group->left_ns : clock_now_ns();
	return 0;
}

void vcpu_group_slice(struct vcpu_group *group, uint32_t index, uint64_t ns)
{
	DECANT_AUTO_UNLOCK(&group->lock);

	if (index >= group->count)
		return;
	if (ns == 0) {
		group->vcpu[index].held_until_ns = 0;
		pthread_cond_broadcast(&group->changed);
	} else if (group->wanted == VCPU_RUN && group->vcpu[index].started) {
		group->vcpu[index].held_until_ns = clock_deadline_ns(ns);
		vcpu_kick(&group->vcpu[index]);
	}
}

static void vcpu_group_quit(struct vcpu_group *group)
{
	pthread_mutex_lock(&group->lock);
	group->wanted = VCPU_QUIT;
	vcpu_group_kick(group);
	pthread_cond_broadcast(&group->changed);
	pthread_mutex_unlock(&group->lock);
	for (uint32_t i = 0; i < group->count; i++)
		if (group->vcpu[i].started)
			pthread_join(group->vcpu[i].thread, NULL);
}

void vcpu_group_free(struct vcpu_group *group)
{
	if (group->vcpu == NULL)
		return;
	vcpu_group_quit(group);
	for (uint32_t i = 0; i < group->count; i++) {
		munmap(group->vcpu[i].run, group->vcpu[i].run_length);
		close(group->vcpu[i].fd);
	}
	pthread_cond_destroy(&group->changed);
	pthread_mutex_destroy(&group->lock);
	free(group->vcpu);
	memset(group, 0, sizeof(*group));
}
