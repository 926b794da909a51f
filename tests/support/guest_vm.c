/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_vm.c -- the smallest VM that runs the stress guest
 *
 * One memory slot, KVM's own interrupt controllers and timer, one thread per vCPU, a serial port that keeps what it is given.
 * A pause kicks every thread out of KVM_RUN with a signal and holds it at a gate.
 */
#include "support/guest_vm.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "vmm/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SERIAL_DATA 0x3f8
#define SERIAL_LINE_STATUS 0x3fd
#define CPUID_ENTRIES 128
#define KICK SIGUSR1

struct guest_vcpu {
	struct guest_vm *vm;
	uint32_t index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	bool held; /* under lock: at the gate, or gone */
};

struct guest_vm {
	int kvm_fd, vm_fd;
	size_t run_size;
	struct decant_memory *memory;
	struct stress_host host;
	struct boot_entry entry;
	uint32_t vcpus;
	struct guest_vcpu vcpu[STRESS_VCPUS_MAX];

	pthread_mutex_t lock;
	pthread_cond_t gate;
	bool pause, quit;  /* under lock */
	char serial[4096]; /* under lock */
	size_t serial_length;
	char why[128]; /* under lock */
};

static void on_kick(int signal)
{
	(void)signal;
}

static int fail(struct decant_error *err, const char *what)
{
	return decant_error_set(err, -errno, "%s: %s", what, strerror(errno));
}

bool guest_vm_usable(void)
{
	DECANT_AUTO_CLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	DECANT_AUTO_CLOSE int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	return vm >= 0;
}

static void serve_io(struct guest_vm *vm, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	DECANT_AUTO_UNLOCK(&vm->lock);

	if (run->io.direction == KVM_EXIT_IO_IN)
		*data = run->io.port == SERIAL_LINE_STATUS ? 0x60 : 0xff;
	else if (run->io.port == SERIAL_DATA && vm->serial_length + 1 < sizeof(vm->serial))
		vm->serial[vm->serial_length++] = (char)*data;
}

/* Returns false when the vCPU shall end. */
static bool pass_gate(struct guest_vcpu *vcpu)
{
	struct guest_vm *vm = vcpu->vm;
	DECANT_AUTO_UNLOCK(&vm->lock);

	while (vm->pause && !vm->quit) {
		vcpu->held = true;
		pthread_cond_broadcast(&vm->gate);
		pthread_cond_wait(&vm->gate, &vm->lock);
	}
	vcpu->held = false;
	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
	return !vm->quit;
}

static void *run_vcpu(void *opaque)
{
	struct guest_vcpu *vcpu = opaque;
	struct guest_vm *vm = vcpu->vm;

	while (pass_gate(vcpu)) {
		int ret = ioctl(vcpu->fd, KVM_RUN, 0);

		if (ret != 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (ret == 0 && vcpu->run->exit_reason == KVM_EXIT_IO) {
			serve_io(vm, vcpu->run);
			continue;
		}
		pthread_mutex_lock(&vm->lock);
		snprintf(vm->why, sizeof(vm->why), "vCPU %u: KVM_RUN %d, exit %u, suberror %u", vcpu->index, ret,
			 vcpu->run->exit_reason, vcpu->run->internal.suberror);
		pthread_mutex_unlock(&vm->lock);
		break;
	}
	pthread_mutex_lock(&vm->lock);
	vcpu->held = true;
	pthread_cond_broadcast(&vm->gate);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

static int set_cpuid(struct guest_vm *vm, struct guest_vcpu *vcpu, struct decant_error *err)
{
	DECANT_AUTO_FREE struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));

	if (cpuid == NULL)
		return decant_error_set(err, -ENOMEM, "cpuid");
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) != 0)
		return fail(err, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ebx = (cpuid->entries[i].ebx & 0xffffff) | vcpu->index << 24;
		if (cpuid->entries[i].function == 0xb)
			cpuid->entries[i].edx = vcpu->index;
	}
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) != 0)
		return fail(err, "KVM_SET_CPUID2");
	return 0;
}

static int set_entry(const struct guest_vm *vm, const struct guest_vcpu *vcpu, struct decant_error *err)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = vm->entry.eip, .rax = vm->entry.eax, .rbx = vm->entry.ebx, .rflags = 2 };
	struct kvm_segment data = code;
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) != 0)
		return fail(err, "KVM_GET_SREGS");
	data.selector = 16;
	data.type = 3;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 = 0x11;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) != 0)
		return fail(err, "KVM_SET_SREGS");
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) != 0)
		return fail(err, "KVM_SET_REGS");
	return 0;
}

static int add_vcpu(struct guest_vm *vm, uint32_t index, struct decant_error *err)
{
	struct guest_vcpu *vcpu = &vm->vcpu[index];
	int ret;

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0)
		return fail(err, "KVM_CREATE_VCPU");
	vm->vcpus = index + 1;
	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return fail(err, "mmap of a vCPU");
	}
	ret = set_cpuid(vm, vcpu, err);
	if (ret == 0 && index == 0)
		ret = set_entry(vm, vcpu, err);
	return ret;
}

static int add_memory(struct guest_vm *vm, uint64_t bytes, struct decant_error *err)
{
	struct decant_region region = DECANT_REGION_INIT;
	struct kvm_userspace_memory_region slot = { .memory_size = bytes };
	int ret;

	snprintf(region.name, sizeof(region.name), "ram0");
	region.length = bytes;
	ret = decant_memory_new(&vm->memory, err);
	if (ret == 0)
		ret = decant_memory_allocate(vm->memory, &region, err);
	if (ret < 0)
		return ret;
	slot.userspace_addr = (uintptr_t)decant_memory_region(vm->memory, 0)->address;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) != 0)
		return fail(err, "KVM_SET_USER_MEMORY_REGION");
	return 0;
}

static int make_vm(struct guest_vm *vm, struct decant_error *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return fail(err, "/dev/kvm");
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return fail(err, "KVM_CREATE_VM");
	vm->run_size = (size_t)ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000ul) != 0 ||
	    ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) != 0 || ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) != 0)
		return fail(err, "interrupt controllers");
	return 0;
}

static int boot(struct guest_vm *vm, uint64_t bytes, uint32_t vcpus, const char *text, struct decant_error *err)
{
	struct boot_kernel kernel = { .name = "stress", .image = stress_image };
	struct stress_options options;
	struct stress_boot page;
	int khz, ret;

	kernel.size = (size_t)(stress_image_end - stress_image);
	ret = stress_options_parse(text, &options, err);
	if (ret == 0)
		ret = boot_multiboot(vm->memory, &kernel, &vm->entry, err);
	for (uint32_t i = 0; ret == 0 && i < vcpus; i++)
		ret = add_vcpu(vm, i, err);
	if (ret != 0)
		return ret;
	khz = ioctl(vm->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);
	if (khz <= 0)
		return fail(err, "KVM_GET_TSC_KHZ");
	ret = stress_options_fill(&options, bytes, vcpus, (uint32_t)khz, &page, err);
	if (ret == 0)
		ret = stress_host_attach(&vm->host, vm->memory, NULL, NULL, err);
	if (ret == 0)
		stress_host_boot(&vm->host, &page);
	return ret;
}

int guest_vm_new(uint64_t memory_bytes, uint32_t vcpus, const char *options, struct guest_vm **vm,
		 struct decant_error *err)
{
	struct sigaction action = { .sa_handler = on_kick };
	struct guest_vm *made = calloc(1, sizeof(*made));
	int ret;

	if (made == NULL)
		return decant_error_set(err, -ENOMEM, "guest_vm");
	sigaction(KICK, &action, NULL);
	made->vm_fd = -1;
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->gate, NULL);
	ret = make_vm(made, err);
	if (ret == 0)
		ret = add_memory(made, memory_bytes, err);
	if (ret == 0)
		ret = boot(made, memory_bytes, vcpus, options, err);
	for (uint32_t i = 0; ret == 0 && i < vcpus; i++) {
		ret = -pthread_create(&made->vcpu[i].thread, NULL, run_vcpu, &made->vcpu[i]);
		made->vcpu[i].started = ret == 0;
	}
	if (ret != 0) {
		guest_vm_free(made);
		return ret;
	}
	*vm = made;
	return 0;
}

struct stress_host *guest_vm_host(struct guest_vm *vm)
{
	return &vm->host;
}

struct decant_memory *guest_vm_memory(struct guest_vm *vm)
{
	return vm->memory;
}

void *guest_vm_page(struct guest_vm *vm, uint32_t page)
{
	return (uint8_t *)decant_memory_region(vm->memory, 0)->address + (uint64_t)page * DECANT_PAGE_SIZE;
}

bool guest_vm_wait_run(struct guest_vm *vm, uint64_t timeout_ns)
{
	uint64_t deadline = clock_deadline_ns(timeout_ns);

	while (stress_host_phase(&vm->host) < STRESS_PHASE_RUN) {
		if (clock_now_ns() > deadline || *guest_vm_why(vm) != '\0')
			return false;
		usleep(1000);
	}
	return true;
}

static bool all_held(const struct guest_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpus; i++)
		if (vm->vcpu[i].started && !vm->vcpu[i].held)
			return false;
	return true;
}

static void kick_all(struct guest_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpus; i++) {
		if (!vm->vcpu[i].started || vm->vcpu[i].held)
			continue;
		__atomic_store_n(&vm->vcpu[i].run->immediate_exit, 1, __ATOMIC_RELAXED);
		pthread_kill(vm->vcpu[i].thread, KICK);
	}
}

void guest_vm_pause(struct guest_vm *vm)
{
	DECANT_AUTO_UNLOCK(&vm->lock);

	vm->pause = true;
	kick_all(vm);
	while (!all_held(vm))
		pthread_cond_wait(&vm->gate, &vm->lock);
}

void guest_vm_resume(struct guest_vm *vm)
{
	DECANT_AUTO_UNLOCK(&vm->lock);

	vm->pause = false;
	pthread_cond_broadcast(&vm->gate);
}

void guest_vm_serial(struct guest_vm *vm, char *text, size_t length)
{
	DECANT_AUTO_UNLOCK(&vm->lock);

	snprintf(text, length, "%s", vm->serial);
}

const char *guest_vm_why(struct guest_vm *vm)
{
	DECANT_AUTO_UNLOCK(&vm->lock);

	return vm->why;
}

void guest_vm_free(struct guest_vm *vm)
{
	if (vm == NULL)
		return;
	pthread_mutex_lock(&vm->lock);
	vm->quit = true;
	kick_all(vm);
	pthread_cond_broadcast(&vm->gate);
	pthread_mutex_unlock(&vm->lock);
	for (uint32_t i = 0; i < vm->vcpus; i++) {
		if (vm->vcpu[i].started)
			pthread_join(vm->vcpu[i].thread, NULL);
		if (vm->vcpu[i].run != NULL)
			munmap(vm->vcpu[i].run, vm->run_size);
		close(vm->vcpu[i].fd);
	}
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	decant_memory_free(vm->memory);
	pthread_cond_destroy(&vm->gate);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}
