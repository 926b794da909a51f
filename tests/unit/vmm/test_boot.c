/* SPDX-License-Identifier: BSD-2-Clause */
/* test_boot.c -- the loader of Multiboot kernels: what it hands over, and what it says of files that are none */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "guest/multiboot.h"
#include "guest/stress_host.h"
#include "vmm/boot.h"

#define MIB (1u << 20)
#define RAM_SIZE (16 * MIB)
#define LOAD 0x200000u
#define CODE_OFFSET 0x200u
#define CODE_SIZE 64u

/* A kernel of one segment: headers, Multiboot header at 0x100, code. */
struct test_image {
	Elf32_Ehdr elf;
	Elf32_Phdr segment[2];
	uint8_t gap[0x100 - sizeof(Elf32_Ehdr) - 2 * sizeof(Elf32_Phdr)];
	struct multiboot_header header;
	uint8_t gap2[CODE_OFFSET - 0x100 - sizeof(struct multiboot_header)];
	uint8_t code[CODE_SIZE];
};

struct fixture {
	struct decant_memory *memory;
	uint8_t *ram;
	struct test_image image;
	struct boot_kernel kernel;
	struct boot_entry entry;
	struct decant_error err;
};

static void set_header(struct test_image *image, uint32_t flags)
{
	image->header.magic = MULTIBOOT_HEADER_MAGIC;
	image->header.flags = flags;
	image->header.checksum = 0u - MULTIBOOT_HEADER_MAGIC - flags;
}

static void make_image(struct test_image *image)
{
	memset(image, 0, sizeof(*image));
	memcpy(image->elf.e_ident, ELFMAG "\1\1\1", 7);
	image->elf.e_type = ET_EXEC;
	image->elf.e_machine = EM_386;
	image->elf.e_version = 1;
	image->elf.e_entry = LOAD + 4;
	image->elf.e_phoff = offsetof(struct test_image, segment);
	image->elf.e_phentsize = sizeof(Elf32_Phdr);
	image->elf.e_phnum = 1;
	image->segment[0] = (Elf32_Phdr){
		.p_type = PT_LOAD,
		.p_offset = CODE_OFFSET,
		.p_vaddr = LOAD,
		.p_paddr = LOAD,
		.p_filesz = CODE_SIZE,
		.p_memsz = 8192,
	};
	set_header(image, MULTIBOOT_MEMORY_INFO);
	memset(image->code, 0xab, sizeof(image->code));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct decant_region low = DECANT_REGION_INIT;
	struct decant_region high = DECANT_REGION_INIT;

	assert_non_null(f);
	strcpy(low.name, "ram0");
	low.length = RAM_SIZE;
	strcpy(high.name, "ram1");
	high.length = 2 * MIB;
	high.guest_address = 1ull << 32;
	assert_int_equal(decant_memory_new(&f->memory, NULL), 0);
	assert_int_equal(decant_memory_allocate(f->memory, &low, NULL), 0);
	assert_int_equal(decant_memory_allocate(f->memory, &high, NULL), 1);
	f->ram = decant_memory_region(f->memory, 0)->address;
	make_image(&f->image);
	f->kernel = (struct boot_kernel){ .name = "vmx", .image = &f->image, .size = sizeof(f->image) };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	decant_memory_free(f->memory);
	free(f);
	return 0;
}

static int boot(struct fixture *f)
{
	decant_error_clear(&f->err);
	return boot_multiboot(f->memory, &f->kernel, &f->entry, &f->err);
}

static void expect(struct fixture *f, int code, const char *says)
{
	int rc = boot(f);

	if (rc != code || strstr(f->err.msg, says) == NULL)
		fail_msg("%d \"%s\" is not %d \"%s\"", rc, f->err.msg, code, says);
	assert_null(strchr(f->err.msg, '\n'));
}

static void test_boot_multiboot__loads_and_zeroes(void **state)
{
	struct fixture *f = *state;

	memset(f->ram + LOAD, 0x55, 3 * 4096);
	assert_int_equal(boot(f), 0);
	assert_int_equal(f->entry.eip, LOAD + 4);
	assert_int_equal(f->entry.eax, MULTIBOOT_ENTRY_MAGIC);
	assert_memory_equal(f->ram + LOAD, f->image.code, CODE_SIZE);
	for (uint32_t i = CODE_SIZE; i < 8192; i++)
		assert_int_equal(f->ram[LOAD + i], 0);
	assert_int_equal(f->ram[LOAD + 8192], 0x55);
}

static void test_boot_multiboot__entry_is_virtual(void **state)
{
	struct fixture *f = *state;

	f->image.segment[0].p_vaddr = 0xc0000000;
	f->image.elf.e_entry = 0xc0000010;
	assert_int_equal(boot(f), 0);
	assert_int_equal(f->entry.eip, LOAD + 0x10);
}

static void test_boot_multiboot__information(void **state)
{
	struct fixture *f = *state;
	const struct multiboot_info *info;
	const struct multiboot_mmap *map;
	const struct multiboot_module *module;
	const char disk[] = "an initrd";

	f->kernel.cmdline = "console=ttyS0 quiet";
	f->kernel.initrd = disk;
	f->kernel.initrd_size = sizeof(disk);
	f->kernel.initrd_name = "disk.img";
	assert_int_equal(boot(f), 0);
	info = (const void *)(f->ram + f->entry.ebx);
	assert_int_equal(info->flags, MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_MODULES |
					      MULTIBOOT_INFO_MMAP);
	assert_int_equal(info->mem_lower, 640);
	assert_int_equal(info->mem_upper, RAM_SIZE / 1024 - 1024);
	assert_string_equal(f->ram + info->cmdline, "vmx console=ttyS0 quiet");
	assert_int_equal(info->mods_count, 1);
	module = (const void *)(f->ram + info->mods_addr);
	assert_int_equal(module->end - module->start, sizeof(disk));
	assert_int_equal(module->start % 4096, 0);
	assert_memory_equal(f->ram + module->start, disk, sizeof(disk));
	assert_string_equal(f->ram + module->cmdline, "disk.img");
	map = (const void *)(f->ram + info->mmap_addr);
	assert_int_equal(info->mmap_length, 3 * sizeof(*map));
	assert_int_equal(map[1].base_low, MIB);
	assert_int_equal(map[1].length_low, RAM_SIZE - MIB);
	assert_int_equal(map[2].base_high, 1);
	assert_int_equal(map[2].length_low, 2 * MIB);
	assert_int_equal(map[2].type, MULTIBOOT_MMAP_RAM);
}

static void test_boot_multiboot__the_stress_guest(void **state)
{
	struct fixture *f = *state;

	f->kernel.image = stress_image;
	f->kernel.size = (size_t)(stress_image_end - stress_image);
	assert_int_equal(boot(f), 0);
	assert_true(f->entry.eip >= STRESS_STATUS_ADDRESS + 4 * 4096 && f->entry.eip < 2 * MIB);
}

struct other_file {
	const char *bytes;
	size_t size;
	const char *says;
};

static const struct other_file others[] = {
	{ "", 0, "it is empty" },
	{ "\x7f", 1, "it is no ELF file" },
	{ "#!/bin/sh\necho hello\n", 21, "it is text" },
	{ ELFMAG, 4, "ELF file of no known class" },
	{ ELFMAG "\2\1\1", 7, "it is a 64-bit ELF file" },
	{ ELFMAG "\1\2\1", 7, "for another processor" },
	{ "\x1f\x8b\x08", 3, "compressed with gzip" },
	{ "\xfd"
	  "7zXZ\0",
	  6, "compressed with xz" },
	{ "\x28\xb5\x2f\xfd", 4, "compressed with zstd" },
	{ "\x00\x01\x02\x03", 4, "it is no ELF file" },
};

static void test_boot_multiboot__other_files(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		f->kernel.image = others[i].bytes;
		f->kernel.size = others[i].size;
		expect(f, -ENOEXEC, others[i].says);
	}
}

static void test_boot_multiboot__linux_and_disk_images(void **state)
{
	struct fixture *f = *state;
	uint8_t sector[1024] = { 0xeb, 0x3c };

	f->kernel.image = sector;
	f->kernel.size = sizeof(sector);
	sector[510] = 0x55;
	sector[511] = 0xaa;
	expect(f, -ENOEXEC, "boot sector or disk image");
	memcpy(sector + 0x202, "HdrS", 4);
	expect(f, -ENOEXEC, "Linux kernel (bzImage)");
}

static void test_boot_multiboot__elf_of_another_kind(void **state)
{
	struct fixture *f = *state;

	f->image.elf.e_machine = EM_ARM;
	expect(f, -ENOEXEC, "for another processor");
	make_image(&f->image);
	f->image.elf.e_type = ET_DYN;
	expect(f, -ENOEXEC, "no executable with fixed addresses");
	make_image(&f->image);
	f->image.header.checksum++;
	expect(f, -ENOEXEC, "no Multiboot header");
}

static void test_boot_multiboot__features_it_has_not(void **state)
{
	struct fixture *f = *state;

	set_header(&f->image, 0x4);
	expect(f, -EINVAL, "a video mode");
	set_header(&f->image, 0x8);
	expect(f, -EINVAL, "features 0x8");
	set_header(&f->image, 0x00ff0003);
	assert_int_equal(boot(f), 0);
}

static void test_boot_multiboot__damaged_headers(void **state)
{
	struct fixture *f = *state;

	f->image.elf.e_phnum = 0;
	expect(f, -EINVAL, "number of program headers");
	f->image.elf.e_phnum = 65;
	expect(f, -EINVAL, "number of program headers");
	make_image(&f->image);
	f->image.elf.e_phentsize = 8;
	expect(f, -EINVAL, "size of its program headers");
	make_image(&f->image);
	f->image.elf.e_phoff = 0xffffffff;
	expect(f, -EINVAL, "before its program headers do");
	f->image.elf.e_phoff = sizeof(f->image) - sizeof(Elf32_Phdr) + 1;
	expect(f, -EINVAL, "before its program headers do");
}

static void test_boot_multiboot__damaged_segments(void **state)
{
	struct fixture *f = *state;
	Elf32_Phdr *segment = &f->image.segment[0];

	segment->p_offset = 0xffffffff;
	expect(f, -EINVAL, "before its segments do");
	segment->p_offset = CODE_OFFSET + 1;
	expect(f, -EINVAL, "before its segments do");
	segment->p_offset = CODE_OFFSET;
	segment->p_memsz = CODE_SIZE - 1;
	expect(f, -EINVAL, "larger in the file than in memory");
	segment->p_memsz = RAM_SIZE;
	expect(f, -E2BIG, "beyond the guest's 16 MiB");
	segment->p_memsz = 0xffffffff;
	expect(f, -E2BIG, "beyond the guest's");
	segment->p_memsz = 8192;
	segment->p_paddr = RAM_SIZE - 4096;
	expect(f, -E2BIG, "beyond the guest's");
	segment->p_paddr = 0xfffff000;
	expect(f, -E2BIG, "beyond the guest's");
	segment->p_paddr = 0x9000;
	expect(f, -EINVAL, "below 1 MiB");
}

static void test_boot_multiboot__entry_outside(void **state)
{
	struct fixture *f = *state;

	f->image.elf.e_entry = LOAD - 1;
	expect(f, -EINVAL, "entry lies in no segment");
	f->image.elf.e_entry = LOAD + 8192;
	expect(f, -EINVAL, "entry lies in no segment");
	make_image(&f->image);
	f->image.segment[0].p_type = PT_NOTE;
	expect(f, -EINVAL, "entry lies in no segment");
}

static void test_boot_multiboot__cut_anywhere(void **state)
{
	struct fixture *f = *state;
	size_t whole = sizeof(f->image);

	for (size_t size = 0; size < whole; size++) {
		uint8_t *cut = malloc(size + 1);

		assert_non_null(cut);
		memcpy(cut, &f->image, size);
		f->kernel.image = cut;
		f->kernel.size = size;
		assert_true(boot(f) < 0);
		free(cut);
	}
}

static void test_boot_multiboot__what_does_not_fit(void **state)
{
	struct fixture *f = *state;
	static char line[128 * 1024];

	memset(line, 'x', sizeof(line) - 1);
	f->kernel.cmdline = line;
	expect(f, -E2BIG, "command line too long");
	f->kernel.cmdline = NULL;
	f->kernel.initrd = line;
	f->kernel.initrd_name = "disk.img";
	f->kernel.initrd_size = RAM_SIZE - LOAD - 4096;
	expect(f, -E2BIG, "disk.img: initrd");
	f->kernel.initrd_size = SIZE_MAX;
	expect(f, -E2BIG, "disk.img: initrd");
}

static void test_boot_multiboot__no_low_memory(void **state)
{
	struct fixture *f = *state;
	struct decant_memory *none;

	assert_int_equal(decant_memory_new(&none, NULL), 0);
	assert_int_equal(boot_multiboot(none, &f->kernel, &f->entry, &f->err), -EINVAL);
	assert_non_null(strstr(f->err.msg, "no memory from address 0"));
	decant_memory_free(none);
}

#define BOOT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOOT_TEST(test_boot_multiboot__loads_and_zeroes),
		BOOT_TEST(test_boot_multiboot__entry_is_virtual),
		BOOT_TEST(test_boot_multiboot__information),
		BOOT_TEST(test_boot_multiboot__the_stress_guest),
		BOOT_TEST(test_boot_multiboot__other_files),
		BOOT_TEST(test_boot_multiboot__linux_and_disk_images),
		BOOT_TEST(test_boot_multiboot__elf_of_another_kind),
		BOOT_TEST(test_boot_multiboot__features_it_has_not),
		BOOT_TEST(test_boot_multiboot__damaged_headers),
		BOOT_TEST(test_boot_multiboot__damaged_segments),
		BOOT_TEST(test_boot_multiboot__entry_outside),
		BOOT_TEST(test_boot_multiboot__cut_anywhere),
		BOOT_TEST(test_boot_multiboot__what_does_not_fit),
		BOOT_TEST(test_boot_multiboot__no_low_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
