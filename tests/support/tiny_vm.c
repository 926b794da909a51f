/* SPDX-License-Identifier: BSD-2-Clause */
/* tiny_vm.c -- a VM of a few vCPUs and a few instructions, under libdecant-kvm, for its tests */
#include "support/tiny_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define TINY_CPUID_MAX 256
#define TINY_TSS 0xfffbd000ul
#define TINY_IDENTITY_MAP 0xfffbc000ull
#define TINY_CR0 0x11 /* PE, ET */

#define tiny_must(condition)                                                                             \
	do {                                                                                             \
		if (!(condition)) {                                                                      \
			fprintf(stderr, "%s:%d: %s: errno %d\n", __func__, __LINE__, #condition, errno); \
			abort();                                                                         \
		}                                                                                        \
	} while (0)

bool tiny_vm_available(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("SKIP: /dev/kvm: %s\n", strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

void tiny_vm_skip(const char *why)
{
	print_message("SKIP: %s\n", why);
	skip();
}

static void tiny_kicked(int number)
{
	(void)number;
}

static void tiny_make_vm(struct tiny_vm *vm, const struct tiny_vm_opts *opts)
{
	struct sigaction action = { .sa_handler = tiny_kicked };
	uint64_t identity_map = TINY_IDENTITY_MAP;
	struct kvm_pit_config pit = { 0 };

	tiny_must(sigaction(SIGUSR1, &action, NULL) == 0);
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	tiny_must(vm->kvm_fd >= 0);
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0ul);
	tiny_must(vm->vm_fd >= 0);
	tiny_must(ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TINY_TSS) == 0);
	tiny_must(ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) == 0);
	if (opts->no_irqchip)
		return;
	tiny_must(ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0ul) == 0);
	tiny_must(ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) == 0);
}

static void tiny_make_memory(struct tiny_vm *vm, uint64_t length)
{
	struct decant_region region = DECANT_REGION_INIT;

	snprintf(region.name, sizeof(region.name), "ram0");
	region.length = length;
	tiny_must(decant_memory_new(&vm->memory, NULL) == 0);
	tiny_must(decant_memory_allocate(vm->memory, &region, NULL) == 0);
	vm->ram = decant_memory_region(vm->memory, 0)->address;
	vm->pages = length / DECANT_PAGE_SIZE;
	tiny_must(decant_kvm_add_memory(vm->kvm, vm->memory, NULL) == 0);
}

static void tiny_set_cpuid(struct tiny_vm *vm, int vcpu_fd, const struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid2 *host = calloc(1, sizeof(*host) + TINY_CPUID_MAX * sizeof(host->entries[0]));

	tiny_must(host != NULL);
	host->nent = TINY_CPUID_MAX;
	if (cpuid == NULL)
		tiny_must(ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, host) == 0);
	tiny_must(ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid != NULL ? cpuid : host) == 0);
	free(host);
}

static void tiny_make_vcpu(struct tiny_vm *vm, uint32_t index, const struct tiny_vm_opts *opts)
{
	struct tiny_vcpu *vcpu = &vm->vcpu[index];

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	tiny_must(vcpu->fd >= 0);
	vm->run_size = (size_t)ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0ul);
	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	tiny_must(vcpu->run != MAP_FAILED);
	tiny_set_cpuid(vm, vcpu->fd, opts->cpuid);
	tiny_must(decant_kvm_add_vcpu(vm->kvm, index, vcpu->fd, NULL) == 0);
}

int tiny_vm_try_new(const struct tiny_vm_opts *opts, struct tiny_vm **vm_ptr, struct decant_error *err)
{
	struct decant_kvm_opts kvm_opts = DECANT_KVM_OPTS_INIT;
	struct tiny_vm *vm = calloc(1, sizeof(*vm));
	int r;

	tiny_must(vm != NULL && opts->vcpus <= TINY_VCPUS_MAX);
	tiny_make_vm(vm, opts);
	kvm_opts.kvm_fd = vm->kvm_fd;
	kvm_opts.vm_fd = vm->vm_fd;
	kvm_opts.dirty = opts->dirty;
	kvm_opts.ring_entries = opts->ring_entries;
	kvm_opts.log = opts->log;
	r = decant_kvm_new(&kvm_opts, &vm->kvm, err);
	if (r < 0) {
		tiny_vm_free(vm);
		return r;
	}
	tiny_make_memory(vm, opts->memory);
	for (vm->vcpus = 0; vm->vcpus < opts->vcpus; vm->vcpus++)
		tiny_make_vcpu(vm, vm->vcpus, opts);
	*vm_ptr = vm;
	return 0;
}

struct tiny_vm *tiny_vm_new(const struct tiny_vm_opts *opts)
{
	struct tiny_vm *vm = NULL;

	tiny_must(tiny_vm_try_new(opts, &vm, NULL) == 0);
	return vm;
}

void tiny_vm_free(struct tiny_vm *vm)
{
	decant_kvm_free(vm->kvm);
	for (uint32_t i = 0; i < vm->vcpus; i++) {
		munmap(vm->vcpu[i].run, vm->run_size);
		close(vm->vcpu[i].fd);
	}
	close(vm->vm_fd);
	close(vm->kvm_fd);
	decant_memory_free(vm->memory);
	free(vm);
}

void tiny_vm_program(struct tiny_vm *vm, uint32_t vcpu, const void *code, size_t length)
{
	struct kvm_segment segment = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = TINY_CODE + vcpu * TINY_CODE_STEP, .rflags = 2 };
	struct kvm_mp_state mp_state = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs sregs;
	int fd = vm->vcpu[vcpu].fd;

	tiny_must(length <= TINY_CODE_STEP);
	memcpy(vm->ram + regs.rip, code, length);
	tiny_must(ioctl(fd, KVM_GET_SREGS, &sregs) == 0);
	sregs.cs = segment;
	segment.type = 3;
	segment.selector = 16;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.cr0 = TINY_CR0;
	tiny_must(ioctl(fd, KVM_SET_SREGS, &sregs) == 0);
	tiny_must(ioctl(fd, KVM_SET_REGS, &regs) == 0);
	tiny_must(ioctl(fd, KVM_SET_MP_STATE, &mp_state) == 0);
}

/* true: go on; false: the guest wrote to the port, or @ended says what else happened */
static bool tiny_run_once(struct tiny_vcpu *vcpu)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0ul) < 0) {
		vcpu->ended = -errno;
		return errno == EAGAIN;
	}
	vcpu->ended = (int)vcpu->run->exit_reason;
	if (vcpu->ended != KVM_EXIT_DIRTY_RING_FULL)
		return false;
	__atomic_fetch_add(&vcpu->rings_full, 1, __ATOMIC_RELAXED);
	tiny_must(decant_kvm_ring_full(vcpu->vm->kvm, NULL) == 0);
	return true;
}

void tiny_vm_run(struct tiny_vm *vm, uint32_t vcpu)
{
	while (tiny_run_once(&vm->vcpu[vcpu]))
		continue;
	tiny_must(vm->vcpu[vcpu].ended == KVM_EXIT_IO);
	tiny_must(vm->vcpu[vcpu].run->io.port == TINY_PORT);
	/* only the next entry completes the access: until then the vCPU stands before it */
	vm->vcpu[vcpu].run->immediate_exit = 1;
	tiny_must(ioctl(vm->vcpu[vcpu].fd, KVM_RUN, 0ul) < 0 && errno == EINTR);
	vm->vcpu[vcpu].run->immediate_exit = 0;
}

static void *tiny_thread(void *opaque)
{
	struct tiny_vcpu *vcpu = opaque;

	do {
		while (tiny_run_once(vcpu))
			continue;
	} while (!atomic_load(&vcpu->stop) && (vcpu->ended == KVM_EXIT_IO || vcpu->ended == -EINTR));
	return NULL;
}

void tiny_vm_start(struct tiny_vm *vm, uint32_t vcpu)
{
	atomic_store(&vm->vcpu[vcpu].stop, false);
	__atomic_store_n(&vm->vcpu[vcpu].run->immediate_exit, 0, __ATOMIC_RELEASE);
	tiny_must(pthread_create(&vm->vcpu[vcpu].thread, NULL, tiny_thread, &vm->vcpu[vcpu]) == 0);
}

void tiny_vm_stop(struct tiny_vm *vm, uint32_t vcpu)
{
	atomic_store(&vm->vcpu[vcpu].stop, true);
	__atomic_store_n(&vm->vcpu[vcpu].run->immediate_exit, 1, __ATOMIC_RELEASE);
	pthread_kill(vm->vcpu[vcpu].thread, SIGUSR1);
	pthread_join(vm->vcpu[vcpu].thread, NULL);
	tiny_must(vm->vcpu[vcpu].ended == -EINTR || vm->vcpu[vcpu].ended == KVM_EXIT_IO);
	__atomic_store_n(&vm->vcpu[vcpu].run->immediate_exit, 0, __ATOMIC_RELEASE);
}

static uint8_t *tiny_put(uint8_t *at, const void *bytes, size_t length)
{
	memcpy(at, bytes, length);
	return at + length;
}

static uint8_t *tiny_put_imm(uint8_t *at, uint8_t opcode, uint32_t immediate)
{
	*at++ = opcode;
	return tiny_put(at, &immediate, sizeof(immediate));
}

/* 1: mov [edi], eax; add edi, 4096; dec ecx; jnz 1b */
static const uint8_t tiny_inner[] = { 0x89, 0x07, 0x81, 0xc7, 0, 0x10, 0, 0, 0x49, 0x75, 0xf5 };

size_t tiny_code_write(uint8_t *code, uint32_t first, uint32_t pages, uint32_t value)
{
	const uint8_t done[] = { 0xe6, TINY_PORT, 0xf4 }; /* out; hlt */
	uint8_t *at = tiny_put_imm(code, 0xb8, value);    /* mov eax, */

	at = tiny_put_imm(at, 0xbf, first); /* mov edi, */
	at = tiny_put_imm(at, 0xb9, pages); /* mov ecx, */
	at = tiny_put(at, tiny_inner, sizeof(tiny_inner));
	at = tiny_put(at, done, sizeof(done));
	return (size_t)(at - code);
}

size_t tiny_code_sweep(uint8_t *code, uint32_t first, uint32_t pages, uint32_t value)
{
	const uint8_t again[] = { 0x40, 0xeb, 0xe8 }; /* inc eax; jmp to the mov edi */
	uint8_t *at = tiny_put_imm(code, 0xb8, value);

	at = tiny_put_imm(at, 0xbf, first);
	at = tiny_put_imm(at, 0xb9, pages);
	at = tiny_put(at, tiny_inner, sizeof(tiny_inner));
	at = tiny_put(at, again, sizeof(again));
	return (size_t)(at - code);
}

size_t tiny_code_tsc(uint8_t *code, uint32_t address)
{
	const uint8_t rdtsc[] = { 0x0f, 0x31 };
	const uint8_t store_edx[] = { 0x89, 0x15 };
	const uint8_t again[] = { 0xe6, TINY_PORT, 0xeb, 0xef }; /* out; jmp to the rdtsc */
	uint32_t high = address + 4;
	uint8_t *at = tiny_put(code, rdtsc, sizeof(rdtsc));

	at = tiny_put_imm(at, 0xa3, address); /* mov [address], eax */
	at = tiny_put(at, store_edx, sizeof(store_edx));
	at = tiny_put(at, &high, sizeof(high));
	at = tiny_put(at, again, sizeof(again));
	return (size_t)(at - code);
}
