/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * multiboot.h -- the part of the Multiboot 1 hand-over that decant's loader gives and the stress guest takes
 *
 * Fixed widths, for both the 32-bit guest and the 64-bit host. The assembly entry uses the numbers too.
 */
#ifndef GUEST_MULTIBOOT_H
#define GUEST_MULTIBOOT_H

#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_HEADER_SEARCH 8192 /* bytes of the file in which the header lies */
#define MULTIBOOT_ENTRY_MAGIC 0x2badb002

/* header flags */
#define MULTIBOOT_PAGE_ALIGN 0x00000001
#define MULTIBOOT_MEMORY_INFO 0x00000002
#define MULTIBOOT_REQUIRED 0x0000ffff /* what a loader must know to be allowed to go on */
#define MULTIBOOT_ADDRESSES 0x00010000

/* info flags */
#define MULTIBOOT_INFO_MEMORY 0x00000001
#define MULTIBOOT_INFO_CMDLINE 0x00000004
#define MULTIBOOT_INFO_MODULES 0x00000008
#define MULTIBOOT_INFO_MMAP 0x00000040

#define MULTIBOOT_MMAP_RAM 1
#define MULTIBOOT_MMAP_RESERVED 2

#ifndef __ASSEMBLER__

#include <stdint.h>

struct multiboot_header {
	uint32_t magic;
	uint32_t flags;
	uint32_t checksum; /* the three add up to 0 */
};

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower; /* KiB from 0 */
	uint32_t mem_upper; /* KiB from 1 MiB to the first hole */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count;
	uint32_t mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length;
	uint32_t mmap_addr;
};

struct multiboot_module {
	uint32_t start;
	uint32_t end;
	uint32_t cmdline;
	uint32_t reserved;
};

struct multiboot_mmap {
	uint32_t size; /* of the rest */
	uint32_t base_low;
	uint32_t base_high;
	uint32_t length_low;
	uint32_t length_high;
	uint32_t type;
};

#endif
#endif
