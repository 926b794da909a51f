/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot.c -- loader for Multiboot 1 kernels in ELF files
 *
 * The file may be anything: it comes from the command line. So each number in it is checked, with 64-bit sums,
 * before it is used, and a file that is no such kernel is named for what it is.
 *
 * Low memory as handed over:
 *
 *	0x9000  struct multiboot_info, module list, memory map
 *	0xa000  strings: command line, name of the initrd; up to 0x20000
 */
#include "vmm/boot.h"

#include "guest/multiboot.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define INFO_ADDRESS 0x9000u
#define STRINGS_ADDRESS 0xa000u
#define STRINGS_END 0x20000u
#define LOW_END 0xa0000u /* where the PC's low memory ends */
#define HIGH_START 0x100000u
#define HIGH_END 0xfec00000u /* where the PC's interrupt controllers are */
#define INITRD_ALIGN 4096u
#define SEGMENTS_MAX 64u
#define MMAP_MAX 16u

struct info_block {
	struct multiboot_info info;
	struct multiboot_module module;
	struct multiboot_mmap mmap[MMAP_MAX];
};

_Static_assert(sizeof(struct info_block) <= STRINGS_ADDRESS - INFO_ADDRESS,
	       "the information must end where strings begin");

/* A load under way. */
struct loader {
	const struct boot_kernel *kernel;
	const struct decant_memory *memory;
	uint8_t *ram;        /* guest address 0 */
	uint64_t ram_length; /* contiguous from there */
	uint64_t high;       /* end of the highest segment */
	uint32_t strings;    /* guest address of the next string */
};

static bool begins_with(const struct boot_kernel *kernel, size_t offset, const void *bytes, size_t length)
{
	return kernel->size >= offset + length &&
	       memcmp((const uint8_t *)kernel->image + offset, bytes, length) == 0;
}

static bool is_text(const struct boot_kernel *kernel)
{
	const uint8_t *bytes = kernel->image;
	size_t length = kernel->size < 256 ? kernel->size : 256;

	for (size_t i = 0; i < length; i++)
		if (!(bytes[i] >= 32 && bytes[i] < 127) && bytes[i] != '\n' && bytes[i] != '\t' &&
		    bytes[i] != '\r')
			return false;
	return true;
}

static const char *what_it_is(const struct boot_kernel *kernel)
{
	if (kernel->size == 0)
		return "it is empty";
	if (begins_with(kernel, 0x202, "HdrS", 4))
		return "it is a Linux kernel (bzImage), which cannot be booted here yet";
	if (begins_with(kernel, 0, ELFMAG "\2", 5))
		return "it is a 64-bit ELF file";
	if (begins_with(kernel, 0, ELFMAG "\1", 5))
		return "it is an ELF file for another processor";
	if (begins_with(kernel, 0, ELFMAG, 4))
		return "it is an ELF file of no known class";
	if (begins_with(kernel, 0, "\x1f\x8b", 2))
		return "it is compressed with gzip";
	if (begins_with(kernel, 0,
			"\xfd"
			"7zXZ",
			5))
		return "it is compressed with xz";
	if (begins_with(kernel, 0, "\x28\xb5\x2f\xfd", 4))
		return "it is compressed with zstd";
	if (begins_with(kernel, 510, "\x55\xaa", 2))
		return "it is a boot sector or disk image";
	if (is_text(kernel))
		return "it is text";
	return "it is no ELF file";
}

static int refuse(const struct loader *loader, const char *what, struct decant_error *err)
{
	return decant_error_set(err, -ENOEXEC, "%s: not a 32-bit Multiboot kernel: %s", loader->kernel->name,
				what);
}

static int damaged(const struct loader *loader, const char *what, struct decant_error *err)
{
	return decant_error_set(err, -EINVAL, "%s: damaged ELF file: %s", loader->kernel->name, what);
}

static const struct multiboot_header *find_header(const struct boot_kernel *kernel,
						  struct multiboot_header *header)
{
	size_t end = kernel->size < MULTIBOOT_HEADER_SEARCH ? kernel->size : MULTIBOOT_HEADER_SEARCH;

	for (size_t at = 0; at + sizeof(*header) <= end; at += 4) {
		memcpy(header, (const uint8_t *)kernel->image + at, sizeof(*header));
		if (header->magic == MULTIBOOT_HEADER_MAGIC &&
		    header->magic + header->flags + header->checksum == 0)
			return header;
	}
	return NULL;
}

static int check_header(const struct loader *loader, struct decant_error *err)
{
	struct multiboot_header header;
	uint32_t unknown;

	if (find_header(loader->kernel, &header) == NULL)
		return refuse(loader, "there is no Multiboot header in its first 8 KiB", err);
	unknown = header.flags & MULTIBOOT_REQUIRED & ~(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO);
	if (unknown != 0)
		return decant_error_set(
			err, -EINVAL,
			"%s: its Multiboot header asks for features 0x%x, which decant does not offer%s",
			loader->kernel->name, unknown, unknown & 4 ? " (a video mode)" : "");
	return 0;
}

static int check_elf(const struct loader *loader, Elf32_Ehdr *elf, struct decant_error *err)
{
	const struct boot_kernel *kernel = loader->kernel;

	if (!begins_with(kernel, 0, ELFMAG "\1\1", 6))
		return refuse(loader, what_it_is(kernel), err);
	if (kernel->size < sizeof(*elf))
		return damaged(loader, "it ends within its header", err);
	memcpy(elf, kernel->image, sizeof(*elf));
	if (elf->e_machine != EM_386)
		return refuse(loader, what_it_is(kernel), err);
	if (elf->e_type != ET_EXEC)
		return refuse(loader, "it is an ELF file, but no executable with fixed addresses", err);
	if (elf->e_phnum == 0 || elf->e_phnum > SEGMENTS_MAX)
		return damaged(loader, "number of program headers not in 1 to 64", err);
	if (elf->e_phentsize != sizeof(Elf32_Phdr))
		return damaged(loader, "size of its program headers", err);
	if ((uint64_t)elf->e_phoff + elf->e_phnum * sizeof(Elf32_Phdr) > kernel->size)
		return damaged(loader, "it ends before its program headers do", err);
	return 0;
}

static int load_segment(struct loader *loader, const Elf32_Phdr *segment, struct decant_error *err)
{
	const struct boot_kernel *kernel = loader->kernel;
	uint64_t end = (uint64_t)segment->p_paddr + segment->p_memsz;

	if (segment->p_filesz > segment->p_memsz)
		return damaged(loader, "a segment is larger in the file than in memory", err);
	if ((uint64_t)segment->p_offset + segment->p_filesz > kernel->size)
		return damaged(loader, "it ends before its segments do", err);
	if (segment->p_paddr < HIGH_START)
		return decant_error_set(err, -EINVAL,
					"%s: a segment is to be loaded at 0x%x, below 1 MiB; decant keeps that",
					kernel->name, segment->p_paddr);
	if (end > loader->ram_length)
		return decant_error_set(
			err, -E2BIG,
			"%s: a segment ends at 0x%llx, beyond the guest's %llu MiB of low memory; give it more",
			kernel->name, (unsigned long long)end, (unsigned long long)(loader->ram_length >> 20));
	memcpy(loader->ram + segment->p_paddr, (const uint8_t *)kernel->image + segment->p_offset,
	       segment->p_filesz);
	memset(loader->ram + segment->p_paddr + segment->p_filesz, 0, segment->p_memsz - segment->p_filesz);
	if (end > loader->high)
		loader->high = end;
	return 0;
}

/* The entry counts as virtual, as linkers write it; most kernels of this kind have both addresses alike. */
static bool entry_in(const Elf32_Phdr *segment, uint32_t entry, uint32_t *eip)
{
	if (entry < segment->p_vaddr || entry - segment->p_vaddr >= segment->p_memsz)
		return false;
	*eip = entry - segment->p_vaddr + segment->p_paddr;
	return true;
}

static int load_elf(struct loader *loader, uint32_t *eip, struct decant_error *err)
{
	bool entered = false;
	Elf32_Ehdr elf;
	int ret;

	ret = check_elf(loader, &elf, err);
	if (ret == 0)
		ret = check_header(loader, err);
	for (uint32_t i = 0; ret == 0 && i < elf.e_phnum; i++) {
		Elf32_Phdr segment;

		memcpy(&segment, (const uint8_t *)loader->kernel->image + elf.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		if (segment.p_type != PT_LOAD || segment.p_memsz == 0)
			continue;
		ret = load_segment(loader, &segment, err);
		entered = entered || entry_in(&segment, elf.e_entry, eip);
	}
	if (ret == 0 && !entered)
		ret = damaged(loader, "its entry lies in no segment", err);
	return ret;
}

static int load_initrd(struct loader *loader, struct multiboot_module *module, struct decant_error *err)
{
	const struct boot_kernel *kernel = loader->kernel;
	uint64_t start;

	if (kernel->initrd_size > loader->ram_length ||
	    loader->ram_length - kernel->initrd_size < loader->high + INITRD_ALIGN)
		return decant_error_set(
			err, -E2BIG, "%s: initrd of %zu bytes does not fit into the guest's memory; give it more",
			kernel->initrd_name, kernel->initrd_size);
	start = (loader->ram_length - kernel->initrd_size) & ~(uint64_t)(INITRD_ALIGN - 1);
	memcpy(loader->ram + start, kernel->initrd, kernel->initrd_size);
	module->start = (uint32_t)start;
	module->end = (uint32_t)(start + kernel->initrd_size);
	return 0;
}

static int put_string(struct loader *loader, const char *name, const char *rest, uint32_t *address,
		      struct decant_error *err)
{
	size_t room = STRINGS_END - loader->strings;
	int length;

	length = snprintf((char *)loader->ram + loader->strings, room, "%s%s%s", name, *rest != '\0' ? " " : "",
			  rest);
	if (length < 0 || (size_t)length >= room)
		return decant_error_set(err, -E2BIG, "%s: kernel command line too long: at most %zu bytes",
					loader->kernel->name, room - 1);
	*address = loader->strings;
	loader->strings += (uint32_t)length + 1;
	return 0;
}

static void put_range(struct info_block *block, uint64_t base, uint64_t length)
{
	uint32_t index = block->info.mmap_length / sizeof(struct multiboot_mmap);

	if (index == MMAP_MAX || length == 0)
		return;
	block->mmap[index] = (struct multiboot_mmap){
		.size = sizeof(struct multiboot_mmap) - sizeof(uint32_t),
		.base_low = (uint32_t)base,
		.base_high = (uint32_t)(base >> 32),
		.length_low = (uint32_t)length,
		.length_high = (uint32_t)(length >> 32),
		.type = MULTIBOOT_MMAP_RAM,
	};
	block->info.mmap_length += sizeof(struct multiboot_mmap);
}

static void put_memory_map(const struct loader *loader, struct info_block *block)
{
	block->info.mem_lower = LOW_END / 1024;
	block->info.mem_upper = (uint32_t)((loader->ram_length - HIGH_START) / 1024);
	block->info.mmap_addr = INFO_ADDRESS + (uint32_t)offsetof(struct info_block, mmap);
	put_range(block, 0, LOW_END);
	put_range(block, HIGH_START, loader->ram_length - HIGH_START);
	for (uint32_t i = 0; i < decant_memory_count(loader->memory); i++) {
		const struct decant_region *region = decant_memory_region(loader->memory, i);

		if (region->guest_address != 0)
			put_range(block, region->guest_address, region->length);
	}
	block->info.flags |= MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_MMAP;
}

static int hand_over(struct loader *loader, struct decant_error *err)
{
	const struct boot_kernel *kernel = loader->kernel;
	struct info_block block = { 0 };
	int ret;

	put_memory_map(loader, &block);
	ret = put_string(loader, kernel->name, kernel->cmdline != NULL ? kernel->cmdline : "", &block.info.cmdline,
			 err);
	if (ret != 0)
		return ret;
	block.info.flags |= MULTIBOOT_INFO_CMDLINE;
	if (kernel->initrd != NULL) {
		ret = load_initrd(loader, &block.module, err);
		if (ret == 0)
			ret = put_string(loader, kernel->initrd_name, "", &block.module.cmdline, err);
		if (ret != 0)
			return ret;
		block.info.mods_count = 1;
		block.info.mods_addr = INFO_ADDRESS + (uint32_t)offsetof(struct info_block, module);
		block.info.flags |= MULTIBOOT_INFO_MODULES;
	}
	memcpy(loader->ram + INFO_ADDRESS, &block, sizeof(block));
	return 0;
}

static int find_ram(struct loader *loader, struct decant_error *err)
{
	for (uint32_t i = 0; i < decant_memory_count(loader->memory); i++) {
		const struct decant_region *region = decant_memory_region(loader->memory, i);

		if (region->guest_address == 0 && region->length > HIGH_START) {
			loader->ram = region->address;
			loader->ram_length = region->length < HIGH_END ? region->length : HIGH_END;
			return 0;
		}
	}
	return decant_error_set(err, -EINVAL, "%s: the guest has no memory from address 0 to beyond 1 MiB",
				loader->kernel->name);
}

int boot_multiboot(const struct decant_memory *memory, const struct boot_kernel *kernel, struct boot_entry *entry,
		   struct decant_error *err)
{
	struct loader loader = { .kernel = kernel, .memory = memory, .strings = STRINGS_ADDRESS };
	uint32_t eip = 0;
	int ret;

	ret = find_ram(&loader, err);
	if (ret == 0)
		ret = load_elf(&loader, &eip, err);
	if (ret == 0)
		ret = hand_over(&loader, err);
	if (ret != 0)
		return ret;
	*entry = (struct boot_entry){ .eip = eip, .eax = MULTIBOOT_ENTRY_MAGIC, .ebx = INFO_ADDRESS };
	return 0;
}
