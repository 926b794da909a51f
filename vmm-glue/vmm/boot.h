/* SPDX-License-Identifier: BSD-2-Clause */
/* boot.h -- load a kernel into guest memory and say how its first vCPU begins */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <decant/error.h>
#include <decant/memory.h>
#include <stddef.h>
#include <stdint.h>

/* What is to be booted: bytes as they stand in the file. */
struct boot_kernel {
	const char *name; /* for messages: the file's name */
	const void *image;
	size_t size;
	const char *cmdline; /* NULL: none. Handed over as "name cmdline". */
	const void *initrd;  /* NULL: none; becomes the first module */
	size_t initrd_size;
	const char *initrd_name;
};

/*
 * How the first vCPU begins: 32-bit protected mode (cr0 = 0x11), flat 4 GiB segments with base 0 (code 0x9b, data 0x93, 32-bit,
 * 4 KiB granular), interrupts off, these registers, all others 0.
 */
struct boot_entry {
	uint32_t eip;
	uint32_t eax;
	uint32_t ebx;
};

/*
 * boot_multiboot() -- load a 32-bit Multiboot 1 kernel, an ELF file, and make the Multiboot information
 *
 * @memory must have a region at guest address 0. Kernel and initrd lie in that region, from 1 MiB on, the initrd at its end. The
 * information lies below 640 KiB. All of the kernel's segments that the file does not fill are made zero.
 * Returns 0 with *@entry filled; -ENOEXEC: not such a kernel, and the message says what it is instead; -EINVAL: damaged, or it
 * wants what this loader has not; -E2BIG: command line, kernel or initrd do not fit. Guest memory may have been written then.
 */
int boot_multiboot(const struct decant_memory *memory, const struct boot_kernel *kernel, struct boot_entry *entry,
		   struct decant_error *err);

#endif
