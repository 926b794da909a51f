/* SPDX-License-Identifier: BSD-2-Clause */
/* tiny_vm.h -- a VM of a few vCPUs and a few instructions, under libdecant-kvm, for its tests */
#ifndef SUPPORT_TINY_VM_H
#define SUPPORT_TINY_VM_H

#include <decant/kvm.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TINY_VCPUS_MAX 4
#define TINY_CODE 0x1000u /* vCPU i starts at TINY_CODE + i * TINY_CODE_STEP */
#define TINY_CODE_STEP 0x100u
#define TINY_PORT 0x10 /* the guest writes here when it has done its work */

struct tiny_vm_opts {
	uint32_t vcpus;
	uint64_t memory;
	bool no_irqchip;
	enum decant_kvm_dirty dirty;
	uint32_t ring_entries;
	const struct kvm_cpuid2 *cpuid; /* NULL: all that the host supports */
	struct decant_log log;
};

struct tiny_vcpu {
	struct tiny_vm *vm;
	uint32_t index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	atomic_bool stop;
	int ended; /* what ended the thread's loop */
	uint64_t rings_full;
};

struct tiny_vm {
	int kvm_fd;
	int vm_fd;
	size_t run_size;
	uint32_t vcpus;
	struct tiny_vcpu vcpu[TINY_VCPUS_MAX];
	struct decant_memory *memory;
	uint8_t *ram; /* region 0, at guest address 0 */
	uint64_t pages;
	struct decant_kvm *kvm;
};

/* tiny_vm_available() -- is there a /dev/kvm to use; else prints the SKIP line */
bool tiny_vm_available(void);

/* tiny_vm_skip() -- leave the test out, and say why */
void tiny_vm_skip(const char *why);

/* tiny_vm_new() -- with CPUID set, all vCPUs added; asserts that it works */
struct tiny_vm *tiny_vm_new(const struct tiny_vm_opts *opts);

/* tiny_vm_try_new() -- the same, or decant_kvm_new()'s error */
int tiny_vm_try_new(const struct tiny_vm_opts *opts, struct tiny_vm **vm, struct decant_error *err);
void tiny_vm_free(struct tiny_vm *vm);

/* tiny_vm_program() -- put @code at the vCPU's start, in 32-bit protected mode without paging, flat segments */
void tiny_vm_program(struct tiny_vm *vm, uint32_t vcpu, const void *code, size_t length);

/* tiny_vm_run() -- until the guest writes to TINY_PORT; asserts that it does */
void tiny_vm_run(struct tiny_vm *vm, uint32_t vcpu);

/* tiny_vm_start(), tiny_vm_stop() -- let the vCPU run in a thread of its own, until it is stopped (out of KVM_RUN, joined) */
void tiny_vm_start(struct tiny_vm *vm, uint32_t vcpu);
void tiny_vm_stop(struct tiny_vm *vm, uint32_t vcpu);

/* tiny_code_write() -- writes @value to the first word of @pages pages from @first on, then to TINY_PORT; its length */
size_t tiny_code_write(uint8_t *code, uint32_t first, uint32_t pages, uint32_t value);

/* tiny_code_sweep() -- the same for ever, the value growing by one with each sweep */
size_t tiny_code_sweep(uint8_t *code, uint32_t first, uint32_t pages, uint32_t value);

/* tiny_code_tsc() -- reads the TSC, stores it at @address, writes to TINY_PORT, for ever */
size_t tiny_code_tsc(uint8_t *code, uint32_t address);

#define TINY_CODE_MAX 64

#endif
