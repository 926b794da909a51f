/* SPDX-License-Identifier: BSD-2-Clause */
/* machine.h -- the smallest VM, for programs that show how the kernel behaves; they use nothing of decant */
#ifndef PLATFORM_MACHINE_H
#define PLATFORM_MACHINE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define PAGES 512u
#define CODE 0x1000u
#define PORT 0x10

struct machine {
	int kvm_fd;
	int vm_fd;
	int vcpu_fd;
	int memory_fd;
	struct kvm_run *run;
	uint8_t *memory;
};

#define must(condition)                                                                                      \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			printf("FAILED: %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
			exit(1);                                                                             \
		}                                                                                            \
	} while (0)

static inline void skip(const char *reason)
{
	printf("SKIP: %s\n", reason);
	exit(77);
}

static inline void machine_new(struct machine *m)
{
	m->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm_fd < 0)
		skip("no /dev/kvm");
	m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0ul);
	must(m->vm_fd >= 0);
	m->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	must(m->memory_fd >= 0 && ftruncate(m->memory_fd, (off_t)PAGES * PAGE) == 0);
	m->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->memory_fd, 0);
	must(m->memory != MAP_FAILED);
}

static inline void machine_slot(struct machine *m, uint32_t flags)
{
	struct kvm_userspace_memory_region slot = {
		.flags = flags,
		.memory_size = (uint64_t)PAGES * PAGE,
		.userspace_addr = (uintptr_t)m->memory,
	};

	must(ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) == 0);
}

/* 32-bit protected mode without paging, flat segments: what every KVM runs */
static inline void machine_vcpu(struct machine *m)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid = { .head.nent = 256 };
	struct kvm_segment segment = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_sregs sregs;

	m->vcpu_fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, 0ul);
	must(m->vcpu_fd >= 0);
	m->run = mmap(NULL, (size_t)ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0ul), PROT_READ | PROT_WRITE,
		      MAP_SHARED, m->vcpu_fd, 0);
	must(m->run != MAP_FAILED);
	must(ioctl(m->kvm_fd, KVM_GET_SUPPORTED_CPUID, &cpuid) == 0);
	must(ioctl(m->vcpu_fd, KVM_SET_CPUID2, &cpuid) == 0);
	must(ioctl(m->vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
	sregs.cs = segment;
	segment.type = 3;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.cr0 = 0x11;
	must(ioctl(m->vcpu_fd, KVM_SET_SREGS, &sregs) == 0);
}

/* Runs @code with @eax until it writes to PORT, that write included. */
static inline void machine_run(struct machine *m, const void *code, size_t length, uint32_t eax)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rax = eax };

	memcpy(m->memory + CODE, code, length);
	must(ioctl(m->vcpu_fd, KVM_SET_REGS, &regs) == 0);
	must(ioctl(m->vcpu_fd, KVM_RUN, 0ul) == 0);
	must(m->run->exit_reason == KVM_EXIT_IO && m->run->io.port == PORT);
	m->run->immediate_exit = 1;
	must(ioctl(m->vcpu_fd, KVM_RUN, 0ul) < 0 && errno == EINTR);
	m->run->immediate_exit = 0;
}

/* The guest writes one byte to each of two pages. */
static inline void machine_write(struct machine *m, uint32_t page, uint32_t other_page)
{
	uint8_t code[] = {
		0xa2, 0, 0, 0, 0, 0xa2, 0, 0, 0, 0, 0xe6, PORT, 0xf4
	}; /* mov [a], al; mov [b], al; out */
	uint32_t address = page * PAGE;

	memcpy(code + 1, &address, sizeof(address));
	address = other_page * PAGE;
	memcpy(code + 6, &address, sizeof(address));
	machine_run(m, code, sizeof(code), 0x55);
}

static inline bool bit(const uint64_t *map, uint32_t page)
{
	return map[page / 64] >> (page % 64) & 1;
}

#endif
