/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe.c -- what a host's KVM really does, tried on a throw-away VM
 *
 * A KVM that advertises long mode may yet be unable to run it (software KVM on a machine without VMX and SVM),
 * and a 64-bit guest there ends at once or spins for ever. So a guest of four instructions is put straight into
 * long mode; it has done it only if the number arrives that no other mode computes.
 *
 * It must not hang, and a library has no business with signal handlers. So a timer signals this thread with a
 * signal that is blocked outside KVM_RUN and let through inside it (KVM_SET_SIGNAL_MASK): KVM_RUN ends, no
 * handler runs, and the signal is taken back before the mask is restored.
 */
#include "kvm/probe.h"

#include "kvm/clock_state.h"
#include "kvm/cpuid.h"
#include "util/cleanup.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROBE_PORT 0x10
#define PROBE_ANSWER 0x5a
#define PROBE_PML4 0x1000u
#define PROBE_PDPT 0x2000u
#define PROBE_PD 0x3000u
#define PROBE_CODE 0x4000u
#define PROBE_HANDLER 0x4800u
#define PROBE_DATA 0x5000u
#define PROBE_IDT 0x6000u
#define PROBE_GDT 0x7000u
#define PROBE_STACK KVM_PROBE_MEMORY
#define PROBE_ALIAS (0x200000u + PROBE_DATA) /* where the page tables show PROBE_DATA a second time */
#define PROBE_SECONDS 1
#define PROBE_EXITS_MAX 1000
#define KERNEL_SIGSET_BYTES 8

#define CR0_PE (1ull << 0)
#define CR0_ET (1ull << 4)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define PTE_PRESENT_WRITE 0x3ull
#define VECTOR_BREAKPOINT 3u
#define GATE_BYTES 16u
#define GATE_INTERRUPT 0x8e00ull /* present, ring 0, 64-bit interrupt gate */
#define PDE_2M 0x80ull

/*
 * mov rax, PROBE_ALIAS << 16; shr rax, 16; mov al, [rax]; int3; out PROBE_PORT, al; hlt, and in the handler: iretq
 *
 * What a kernel does in its first moments: 64-bit registers, memory through page tables, an exception through the IDT
 * and back. A KVM that is all emulator may run 64-bit code and know no iretq.
 */
static const uint8_t probe_code[] = { 0x48, 0xb8, 0,    0,    0x00, 0x50, 0x20, 0,    0,          0,
				      0x48, 0xc1, 0xe8, 0x10, 0x8a, 0x00, 0xcc, 0xe6, PROBE_PORT, 0xf4 };
static const uint8_t probe_handler[] = { 0x48, 0xcf };

/* null, 64-bit code, data */
static const uint64_t probe_gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };

static int probe_set_memory(struct kvm_probe_vm *vm)
{
	struct kvm_userspace_memory_region slot = { .memory_size = KVM_PROBE_MEMORY };

	vm->memory = mmap(NULL, KVM_PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->memory == MAP_FAILED) {
		vm->memory = NULL;
		return -errno;
	}
	slot.userspace_addr = (uintptr_t)vm->memory;
	return kvm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);
}

static int probe_map_run(int kvm_fd, struct kvm_probe_vm *vm)
{
	int size = kvm_ioctl_value(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size < 0)
		return size;
	vm->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (vm->run == MAP_FAILED) {
		vm->run = NULL;
		return -errno;
	}
	vm->run_size = (size_t)size;
	return 0;
}

static int probe_set_cpuid(int kvm_fd, struct kvm_probe_vm *vm, struct decant_error *err)
{
	DECANT_AUTO_FREE struct kvm_cpuid2 *cpuid = NULL;
	int r = kvm_cpuid_host(kvm_fd, &cpuid, err);

	if (r == 0)
		r = kvm_ioctl(vm->vcpu_fd, KVM_SET_CPUID2, cpuid);
	return r;
}

int kvm_probe_vm_new(int kvm_fd, struct kvm_probe_vm *vm, struct decant_error *err)
{
	const char *call = "KVM_CREATE_VM";
	int r;

	*vm = (struct kvm_probe_vm){ .vm_fd = -1, .vcpu_fd = -1 };
	r = vm->vm_fd = kvm_ioctl_value(kvm_fd, KVM_CREATE_VM, 0);
	if (r >= 0) {
		call = "KVM_SET_USER_MEMORY_REGION";
		r = probe_set_memory(vm);
	}
	if (r >= 0) {
		call = "KVM_CREATE_VCPU";
		r = vm->vcpu_fd = kvm_ioctl_value(vm->vm_fd, KVM_CREATE_VCPU, 0);
	}
	if (r >= 0)
		r = probe_map_run(kvm_fd, vm);
	if (r >= 0) {
		call = "KVM_SET_CPUID2";
		r = probe_set_cpuid(kvm_fd, vm, err);
	}
	if (r >= 0)
		return 0;
	kvm_probe_vm_free(vm);
	return decant_error_set(err, r, "KVM: %s: %s; /dev/kvm is there but cannot run a VM", call, strerror(-r));
}

void kvm_probe_vm_free(struct kvm_probe_vm *vm)
{
	if (vm->run != NULL)
		munmap(vm->run, vm->run_size);
	if (vm->vcpu_fd >= 0)
		close(vm->vcpu_fd);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->memory != NULL)
		munmap(vm->memory, KVM_PROBE_MEMORY);
	*vm = (struct kvm_probe_vm){ .vm_fd = -1, .vcpu_fd = -1 };
}

static void probe_put_entry(struct kvm_probe_vm *vm, uint32_t table, uint64_t entry)
{
	memcpy(vm->memory + table, &entry, sizeof(entry));
}

static void probe_load(struct kvm_probe_vm *vm)
{
	const uint64_t gate = PROBE_HANDLER | 0x8ull << 16 | GATE_INTERRUPT << 32;

	probe_put_entry(vm, PROBE_PML4, PROBE_PDPT | PTE_PRESENT_WRITE);
	probe_put_entry(vm, PROBE_PDPT, PROBE_PD | PTE_PRESENT_WRITE);
	probe_put_entry(vm, PROBE_PD, PDE_2M | PTE_PRESENT_WRITE);
	probe_put_entry(vm, PROBE_PD + 8, PDE_2M | PTE_PRESENT_WRITE);
	probe_put_entry(vm, PROBE_IDT + VECTOR_BREAKPOINT * GATE_BYTES, gate);
	memcpy(vm->memory + PROBE_GDT, probe_gdt, sizeof(probe_gdt));
	memcpy(vm->memory + PROBE_CODE, probe_code, sizeof(probe_code));
	memcpy(vm->memory + PROBE_HANDLER, probe_handler, sizeof(probe_handler));
	vm->memory[PROBE_DATA] = PROBE_ANSWER;
}

static int probe_enter_long_mode(struct kvm_probe_vm *vm)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 0x8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 0x10, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = PROBE_CODE, .rsp = PROBE_STACK, .rflags = 2 };
	struct kvm_sregs sregs;
	int r = kvm_ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs);

	if (r < 0)
		return r;
	probe_load(vm);
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
	sregs.cr3 = PROBE_PML4;
	sregs.gdt = (struct kvm_dtable){ .base = PROBE_GDT, .limit = sizeof(probe_gdt) - 1 };
	sregs.idt = (struct kvm_dtable){ .base = PROBE_IDT, .limit = 0xfff };
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	r = kvm_ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs);
	return r < 0 ? r : kvm_ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs);
}

static bool probe_answered(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT &&
	       run->io.port == PROBE_PORT && *((const uint8_t *)run + run->io.data_offset) == PROBE_ANSWER;
}

static bool probe_run(struct kvm_probe_vm *vm)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < PROBE_EXITS_MAX; i++)
		r = kvm_ioctl_value(vm->vcpu_fd, KVM_RUN, 0);
	return r == 0 && probe_answered(vm->run);
}

/* A signal that KVM_RUN would notice: one that is ignored is thrown away before it could. */
static int probe_signal(void)
{
	for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
		struct sigaction action;

		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			return number;
	}
	return -1;
}

static int probe_let_through(const struct kvm_probe_vm *vm, int number)
{
	const struct kvm_signal_mask head = { .len = KERNEL_SIGSET_BYTES };
	const uint64_t set = ~(1ull << (number - 1));
	uint8_t request[sizeof(head) + sizeof(set)];

	memcpy(request, &head, sizeof(head));
	memcpy(request + sizeof(head), &set, sizeof(set));
	return kvm_ioctl(vm->vcpu_fd, KVM_SET_SIGNAL_MASK, request);
}

static int probe_timer(int number, timer_t *timer)
{
	struct itimerspec when = { .it_value.tv_sec = PROBE_SECONDS };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number };

	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, timer) < 0)
		return -errno;
	if (timer_settime(*timer, 0, &when, NULL) == 0)
		return 0;
	timer_delete(*timer);
	return -errno;
}

bool kvm_probe_run_watched(struct kvm_probe_vm *vm)
{
	const struct timespec at_once = { 0 };
	int number = probe_signal();
	bool runs = false;
	sigset_t wake, old;
	timer_t timer;

	if (number < 0 || probe_let_through(vm, number) < 0)
		return false;
	sigemptyset(&wake);
	sigaddset(&wake, number);
	pthread_sigmask(SIG_BLOCK, &wake, &old);
	if (probe_timer(number, &timer) == 0) {
		runs = probe_run(vm);
		timer_delete(timer);
		sigtimedwait(&wake, NULL, &at_once);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return runs;
}

bool kvm_probe_long_mode(struct kvm_probe_vm *vm)
{
	return probe_enter_long_mode(vm) == 0 && kvm_probe_run_watched(vm);
}

static uint32_t probe_ring_entries(int vm_fd)
{
	int bytes = kvm_extension(vm_fd, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);

	if (bytes == 0)
		bytes = kvm_extension(vm_fd, KVM_CAP_DIRTY_LOG_RING);
	return (uint32_t)bytes / sizeof(struct kvm_dirty_gfn);
}

int decant_kvm_probe(int kvm_fd, struct decant_kvm_caps *caps, struct decant_error *err)
{
	struct decant_kvm_caps found = { .size = caps->size, .usable = true };
	struct kvm_probe_vm vm;
	int protect;
	int r = kvm_probe_vm_new(kvm_fd, &vm, err);

	if (r < 0)
		return r;
	protect = kvm_extension(vm.vm_fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	found.manual_protect = (protect & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) != 0;
	found.initially_all_set = (protect & KVM_DIRTY_LOG_INITIALLY_SET) != 0;
	found.ring_max = probe_ring_entries(vm.vm_fd);
	found.xsave2 = kvm_extension(vm.vm_fd, KVM_CAP_XSAVE2) > 0;
	found.clock_realtime = (kvm_extension(vm.vm_fd, KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_REALTIME) != 0;
	found.tsc_control = kvm_extension(vm.vm_fd, KVM_CAP_TSC_CONTROL) > 0;
	found.tsc_offset = kvm_tsc_offset_works(vm.vcpu_fd);
	found.nested_state = kvm_extension(vm.vm_fd, KVM_CAP_NESTED_STATE) > 0;
	found.vcpus_max = (uint32_t)kvm_extension(vm.vm_fd, KVM_CAP_MAX_VCPUS);
	found.long_mode = kvm_probe_long_mode(&vm);
	kvm_probe_vm_free(&vm);
	memcpy(caps, &found, caps->size < sizeof(found) ? caps->size : sizeof(found));
	return 0;
}
