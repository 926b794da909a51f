/* SPDX-License-Identifier: BSD-2-Clause */
/* test_guest_ram.c -- the memory of a QEMU: which mapping is which backend, and which block of the stream */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "qemu/guest_ram.h"
#include "qemu/qmp.h"
#include "support/fake_proc.h"
#include "support/fake_qmp.h"
#include "util/clock.h"

#define MEMFD "/memfd:memory-backend-memfd (deleted)"
#define MIB (UINT64_C(1) << 20)
#define HIGH UINT64_C(0x7f0040000000)
#define MIDDLE UINT64_C(0x7f0030000000)
#define LOW UINT64_C(0x7f0020000000)
#define MACHINE " -machine pc,memory-backend=mem"

static struct decant_error err;
static struct fake_proc proc;
static struct guest_ram *ram;
static int fd[3];

/* Memory whose first byte says which it is. */
static int make_memory(uint64_t length, char mark, unsigned int flags)
{
	int made = memfd_create("memory-backend-memfd", flags);

	assert_true(made >= 0);
	assert_int_equal(ftruncate(made, (off_t)length), 0);
	if (flags == 0)
		assert_int_equal(pwrite(made, &mark, 1, 0), 1);
	return made;
}

static int set_up(void **state)
{
	(void)state;
	fake_proc_new(&proc, getpid());
	for (int i = 0; i < 3; i++)
		fd[i] = make_memory(64 * MIB, (char)('a' + i), 0);
	ram = NULL;
	decant_error_clear(&err);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guest_ram_free(ram);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	fake_proc_free(&proc);
	return 0;
}

static int find(void)
{
	return guest_ram_find(getpid(), NULL, proc.root.path, &ram, &err);
}

static void assert_found(void)
{
	if (find() < 0)
		fail_msg("%s", err.msg);
}

static void assert_refused(int code, const char *words)
{
	assert_int_equal(find(), code);
	assert_int_equal(err.code, code);
	if (strstr(err.msg, words) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", words, err.msg);
	assert_null(ram);
}

/* Block @index is backend @name, in the memory that is marked @mark. */
static void assert_block(uint32_t index, const char *name, char mark)
{
	const struct guest_ram_block *block = guest_ram_block(ram, index);

	assert_non_null(block);
	assert_string_equal(block->name, name);
	assert_int_equal(*(const char *)block->address, mark);
}

static void test_find__one_memfd(void **state)
{
	const struct guest_ram_block *block;
	char byte;
	(void)state;

	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=mem,size=64M" MACHINE);
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	assert_found();
	assert_int_equal(guest_ram_count(ram), 1);
	assert_int_equal(guest_ram_bytes(ram), 64 * MIB);
	assert_block(0, "mem", 'a');
	block = guest_ram_block(ram, 0);
	assert_int_equal(block->length, 64 * MIB);
	assert_int_equal(block->page_size, 4096);
	assert_int_equal(block->there, HIGH);
	assert_int_equal(block->fd_offset, 0);
	((char *)block->address)[4096] = 'z';
	assert_int_equal(pread(fd[0], &byte, 1, 4096), 1);
	assert_int_equal(byte, 'z');
	assert_null(guest_ram_block(ram, 1));
}

static void test_find__as_libvirt_writes_it(void **state)
{
	(void)state;
	fake_proc_command(
		&proc,
		"qemu -name guest=x,debug-threads=on -S -object "
		"{\"qom-type\":\"memory-backend-memfd\",\"id\":\"pc.ram\",\"share\":true,\"size\":67108864} "
		"-machine pc-q35-7.2,usb=off,memory-backend=pc.ram,acpi=on");
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	assert_found();
	assert_block(0, "pc.ram", 'a');
}

/* A policy for a part of it, for example, makes two mappings of one. */
static void test_find__mapping_in_parts(void **state)
{
	(void)state;
	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=mem,size=0.0625G" MACHINE);
	fake_proc_map(&proc, HIGH, 16 * MIB, true, fd[0], 0, MEMFD, 7);
	fake_proc_map(&proc, HIGH + 16 * MIB, 48 * MIB, true, fd[0], 16 * MIB, MEMFD, -1);
	assert_found();
	assert_block(0, "mem", 'a');
}

static void test_find__file_by_path(void **state)
{
	char path[PATH_MAX], command[PATH_MAX + 256];
	int file;
	(void)state;

	snprintf(path, sizeof(path), "%s/the,share=off", proc.root.path);
	file = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(file, (off_t)(192 * MIB)), 0);
	assert_int_equal(pwrite(file, "F", 1, (off_t)(128 * MIB)), 1);
	snprintf(command, sizeof(command),
		 "qemu -object memory-backend-file,id=mem,size=64M,mem-path=%s/the,,share=off,share=on,offset=128M" MACHINE,
		 proc.root.path);
	fake_proc_command(&proc, command);
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	fake_proc_map(&proc, LOW, 64 * MIB, true, file, 128 * MIB, "/elsewhere/in/its/namespace", 8);
	assert_found();
	assert_block(0, "mem", 'F');
	assert_int_equal(guest_ram_block(ram, 0)->fd_offset, 128 * MIB);
	close(file);
}

static void test_find__file_by_directory(void **state)
{
	(void)state;
	fake_proc_command(&proc, "qemu -object memory-backend-file,id=mem,size=64M,share=on,mem-path=/dev/shm "
				 "-object memory-backend-file,id=m,size=64M,share=on,mem-path=/dev/shm" MACHINE);
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, "/dev/shm/qemu_back_mem.m.Or7FoI (deleted)", 7);
	fake_proc_map(&proc, LOW, 64 * MIB, true, fd[1], 0, "/dev/shm/qemu_back_mem.mem.XpQ3ae (deleted)", 8);
	assert_found();
	assert_block(0, "mem", 'b');
	assert_block(1, "m", 'a');
}

static void test_find__different_lengths(void **state)
{
	int small = make_memory(32 * MIB, 's', 0);
	(void)state;

	fake_proc_command(
		&proc,
		"qemu -object memory-backend-memfd,id=a,size=32M -object memory-backend-memfd,id=b,size=64M "
		"-numa node,memdev=a -numa node,memdev=b");
	fake_proc_map(&proc, LOW, 64 * MIB, true, fd[0], 0, MEMFD, 3);
	fake_proc_map(&proc, HIGH, 32 * MIB, true, small, 0, MEMFD, 3 + 1);
	assert_found();
	assert_block(0, "a", 's');
	assert_block(1, "b", 'a');
	close(small);
}

static void two_nodes(uint64_t first, int first_number, uint64_t second, int second_number)
{
	fake_proc_command(
		&proc,
		"qemu -object memory-backend-memfd,id=n0,size=64M -object memory-backend-memfd,id=n1,size=64M "
		"-numa node,memdev=n0 -numa node,memdev=n1");
	fake_proc_map(&proc, second, 64 * MIB, true, fd[1], 0, MEMFD, second_number);
	fake_proc_map(&proc, first, 64 * MIB, true, fd[0], 0, MEMFD, first_number);
}

static void test_find__two_nodes_in_order(void **state)
{
	(void)state;
	two_nodes(HIGH, 3, LOW, 8);
	assert_found();
	assert_block(0, "n0", 'a');
	assert_block(1, "n1", 'b');
}

static void test_find__two_nodes_in_doubt(void **state)
{
	(void)state;
	two_nodes(HIGH, 8, LOW, 3);
	assert_refused(-ENOTUNIQ, "give each backend a file of its own");
}

static void test_find__one_mapping_too_many(void **state)
{
	(void)state;
	two_nodes(HIGH, 3, LOW, 8);
	fake_proc_map(&proc, MIDDLE, 64 * MIB, true, fd[2], 0, MEMFD, 9);
	assert_refused(-ENOTUNIQ, "nothing tells which");
}

static void test_find__private(void **state)
{
	(void)state;
	fake_proc_map(&proc, HIGH, 64 * MIB, false, fd[0], 0, MEMFD, 7);
	fake_proc_command(&proc, "qemu -m 64M");
	assert_refused(-ENOTSUP,
		       "-object memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem");
	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=mem,size=64M,share=off" MACHINE);
	assert_refused(-ENOTSUP, "backend mem is private, not shared; add share=on");
	fake_proc_command(&proc, "qemu -object memory-backend-file,id=mem,size=64M,mem-path=/dev/shm" MACHINE);
	assert_refused(-ENOTSUP, "add share=on");
	fake_proc_command(&proc, "qemu -object memory-backend-ram,id=mem,size=64M" MACHINE);
	assert_refused(-ENOTSUP, "memory-backend-memfd");
	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=dimm,size=64M");
	assert_refused(-ENOTSUP, "its command line gives the machine no memory backend");
}

/* What it says it has, it has not. */
static void test_find__not_there(void **state)
{
	(void)state;
	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=mem,size=64M" MACHINE);
	assert_refused(-EPROTO, "no such shared memory");
	fake_proc_map(&proc, HIGH, 64 * MIB, false, fd[0], 0, MEMFD, 7);
	assert_refused(-EPROTO, "no such shared memory");
	fake_proc_map(&proc, LOW, 32 * MIB, true, fd[1], 0, MEMFD, 8);
	assert_refused(-EPROTO, "no such shared memory");
	fake_proc_map(&proc, MIDDLE, 64 * MIB, true, fd[2], 0, "/memfd:other (deleted)", 9);
	assert_refused(-EPROTO, "no such shared memory");
}

static void test_find__no_process(void **state)
{
	(void)state;
	assert_int_equal(guest_ram_find(0, NULL, proc.root.path, &ram, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "PID namespace"));
	assert_int_equal(guest_ram_find(getpid() + 1, NULL, proc.root.path, &ram, &err), -ESRCH);
	assert_int_equal(guest_ram_find(getpid(), NULL, NULL, &ram, &err), -ENOTSUP);
}

static void test_find__odd_maps(void **state)
{
	(void)state;
	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=mem,size=64M" MACHINE);
	fake_proc_maps(&proc, "");
	fake_proc_maps(&proc, "nonsense");
	fake_proc_maps(&proc, "7f0000000000-7f0000001000");
	fake_proc_maps(&proc, "7f0000001000-7f0000000000 rw-s 00000000 00:01 5 " MEMFD);
	fake_proc_maps(&proc, "ffffffffffffffffff-ffffffffffffffffffff rw-s 00000000 00:01 5 " MEMFD);
	fake_proc_maps(&proc, "7f0000000000-7f0000001000 rw-sxxxxxxxxxxxx 00000000 00:01 5 " MEMFD);
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	assert_found();
	assert_block(0, "mem", 'a');
}

static void test_find__odd_options(void **state)
{
	(void)state;
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	fake_proc_command(&proc, "");
	assert_refused(-ENOTSUP, "private");
	fake_proc_command(&proc, "qemu -object");
	assert_refused(-ENOTSUP, "private");
	fake_proc_command(
		&proc,
		"qemu -object {\"qom-type\":5} -object {} -object {\"qom-type\":\"memory-backend-memfd\"," MACHINE);
	assert_refused(-ENOTSUP, "no memory backend");
	fake_proc_command(&proc, "qemu -object memory-backend-memfd,id=mem,size=lots" MACHINE);
	assert_refused(-ENOTSUP, "no memory backend");
	fake_proc_command(&proc, "qemu -append -object memory-backend-memfd,id=mem,size=64M" MACHINE);
	assert_refused(-ENOTSUP, "no memory backend");
	fake_proc_command(&proc, "qemu -nographic --object memory-backend-memfd,size=64M,id=mem" MACHINE);
	assert_found();
}

/* Their reservation is QEMU's: to map them takes none, and none has to exist. */
static void test_find__huge_pages(void **state)
{
	int huge = make_memory(64 * MIB, 'h', MFD_HUGETLB | MFD_HUGE_2MB);
	struct guest_ram_wanted list = { .idstr = "mem", .length = 64 * MIB };
	struct decant_memory *memory;
	(void)state;

	fake_proc_command(&proc,
			  "qemu -object memory-backend-memfd,id=mem,size=64M,hugetlb=on,hugetlbsize=2M" MACHINE);
	fake_proc_map(&proc, HIGH, 64 * MIB, true, huge, 0, MEMFD, 7);
	assert_found();
	assert_int_equal(guest_ram_block(ram, 0)->page_size, 2 * MIB);
	assert_int_equal(guest_ram_match(ram, &list, 1, &memory, &err), 0);
	assert_int_equal(decant_memory_region(memory, 0)->page_size, 2 * MIB);
	decant_memory_free(memory);
	close(huge);
}

/* With a monitor, which is asked. */
static int find_by_monitor(struct fake_qmp *fake)
{
	struct qmp *qmp = NULL;
	int ret;

	assert_int_equal(qmp_open_fd(fake_qmp_connect(fake), clock_deadline_ns(30 * NSEC_PER_SEC), -1, &qmp, &err),
			 0);
	ret = guest_ram_find(qmp_pid(qmp), qmp, proc.root.path, &ram, &err);
	qmp_close(qmp);
	fake_qmp_free(fake);
	return ret;
}

static void test_find_qmp__one(void **state)
{
	(void)state;
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	assert_int_equal(find_by_monitor(fake_qmp_new()), 0);
	assert_block(0, "mem", 'a');
}

static struct fake_qmp *monitor_of_two_nodes(void)
{
	struct fake_qmp *fake = fake_qmp_new();

	fake_qmp_answer(
		fake, "query-memdev",
		"[{\"id\": \"n1\", \"size\": 67108864, \"share\": true}, {\"id\": \"n0\", \"size\": 67108864, "
		"\"share\": true}]");
	fake_qmp_answer(fake, "qom-get /objects/n0 type", "\"memory-backend-memfd\"");
	fake_qmp_answer(fake, "qom-get /objects/n1 type", "\"memory-backend-memfd\"");
	return fake;
}

/* 7.2: the order of the command line, not that of query-memdev. */
static void test_find_qmp__two_nodes_in_order(void **state)
{
	(void)state;
	two_nodes(HIGH, 3, LOW, 8);
	assert_int_equal(find_by_monitor(monitor_of_two_nodes()), 0);
	assert_block(0, "n1", 'b');
	assert_block(1, "n0", 'a');
}

/* They were made over the monitor. */
static void test_find_qmp__two_nodes_in_doubt(void **state)
{
	(void)state;
	two_nodes(HIGH, 3, LOW, 8);
	fake_proc_command(&proc, "qemu");
	assert_int_equal(find_by_monitor(monitor_of_two_nodes()), -ENOTUNIQ);
}

/* Newer ones tell where it is, whatever the order. */
static void test_find_qmp__two_nodes_by_address(void **state)
{
	struct fake_qmp *fake = monitor_of_two_nodes();
	(void)state;

	two_nodes(LOW, 3, HIGH, 8);
	fake_qmp_answer(
		fake, "x-query-ramblock",
		"{\"human-readable-text\": \""
		"              Block Name    PSize              Offset               Used              Total             "
		"   HVA  RO\\n"
		"                      n0    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000 "
		"0x00007f0020000000  rw\\n"
		"             /objects/n1    4 KiB  0x0000000004000000 0x0000000004000000 0x0000000004000000 "
		"0x00007f0040000000  rw\\n"
		"                 pc.bios    4 KiB  0x0000000008000000 0x0000000000040000 0x0000000000040000 "
		"0x00007fbf5c200000  ro\\n\"}");
	assert_int_equal(find_by_monitor(fake), 0);
	assert_block(0, "n1", 'b');
	assert_block(1, "n0", 'a');
}

/* Its text is for people: if it is another some day, it is done without. */
static void test_find_qmp__odd_table(void **state)
{
	static const char *const tables[] = {
		"[]", "{}", "{\"human-readable-text\": 5}", "{\"human-readable-text\": \"HVA\\nn0\\nn1 HVA\\n\"}",
		"{\"human-readable-text\": \" Block Name HVA RO\\nn0 zzz rw\\nn1\\n\\n \\n\"}"
	};
	(void)state;

	two_nodes(HIGH, 3, LOW, 8);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct fake_qmp *fake = monitor_of_two_nodes();

		fake_qmp_answer(fake, "x-query-ramblock", tables[i]);
		assert_int_equal(find_by_monitor(fake), 0);
		assert_block(1, "n0", 'a');
		guest_ram_free(ram);
		ram = NULL;
	}
}

static void test_find_qmp__refused(void **state)
{
	static const struct {
		const char *answer;
		int code;
	} cases[] = {
		{ "[{\"id\": \"mem\", \"size\": 67108864, \"share\": false}]", -ENOTSUP },
		{ "[]", -ENOTSUP },
		{ "{}", -ENOTSUP },
		{ "[5]", -EPROTO },
		{ "[{\"id\": \"mem\", \"share\": true}]", -EPROTO },
		{ "[{\"id\": \"mem\", \"size\": -1, \"share\": true}]", -EPROTO },
		{ "[{\"size\": 67108864, \"share\": true}]", -EPROTO },
		{ "[{\"id\": 7, \"size\": 67108864, \"share\": true}]", -EPROTO },
		{ "[{\"id\": \"mem\", \"size\": 67104768, \"share\": true}]", -EPROTO },
		{ "[{\"id\": \"mem\", \"size\": 18446744073709551615, \"share\": true}]", -EPROTO },
		{ "!no", -EREMOTEIO },
	};
	(void)state;

	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fake_qmp *fake = fake_qmp_new();

		fake_qmp_answer(fake, "query-memdev", cases[i].answer);
		assert_int_equal(find_by_monitor(fake), cases[i].code);
		assert_null(ram);
	}
}

static void test_find_qmp__too_many(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	char text[8192] = "[";
	size_t used = 1;
	(void)state;

	for (int i = 0; i <= DECANT_REGIONS_MAX; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "{\"id\": \"m%d\", \"size\": 67108864, \"share\": true}%s", i,
					 i < DECANT_REGIONS_MAX ? ", " : "]");
	fake_qmp_answer(fake, "query-memdev", text);
	assert_int_equal(find_by_monitor(fake), -ENOSPC);
}

static void test_match__by_name(void **state)
{
	struct guest_ram_wanted list[] = {
		{ .idstr = "0000:00:02.0/vga.vram", .length = 16 * MIB },
		{ .idstr = "/objects/n1", .length = 64 * MIB },
		{ .idstr = "pc.bios", .length = 262144 },
		{ .idstr = "n0", .length = 64 * MIB },
	};
	const struct decant_region *region;
	struct decant_memory *memory;
	(void)state;

	two_nodes(HIGH, 3, LOW, 8);
	assert_found();
	assert_int_equal(guest_ram_match(ram, list, 4, &memory, &err), 0);
	assert_int_equal(list[0].region, -1);
	assert_int_equal(list[1].region, 0);
	assert_int_equal(list[2].region, -1);
	assert_int_equal(list[3].region, 1);
	assert_int_equal(decant_memory_count(memory), 2);
	region = decant_memory_region(memory, 0);
	assert_string_equal(region->name, "n1");
	assert_ptr_equal(region->address, guest_ram_block(ram, 1)->address);
	assert_int_equal(region->guest_address, 0);
	region = decant_memory_region(memory, 1);
	assert_string_equal(region->name, "n0");
	assert_int_equal(region->guest_address, 64 * MIB);
	assert_int_equal(region->length, 64 * MIB);
	decant_memory_free(memory);
}

/* A backend that is no block, as one that is not plugged in, is left out. */
static void test_match__some(void **state)
{
	struct guest_ram_wanted list = { .idstr = "0000:00:04.0/n1", .length = 64 * MIB };
	struct decant_memory *memory;
	(void)state;

	two_nodes(HIGH, 3, LOW, 8);
	assert_found();
	assert_int_equal(guest_ram_match(ram, &list, 1, &memory, &err), 0);
	assert_int_equal(decant_memory_count(memory), 1);
	decant_memory_free(memory);
}

static void test_match__refused(void **state)
{
	struct guest_ram_wanted none[] = { { .idstr = "pc.bios", .length = 4096 },
					   { .idstr = "xn0", .length = 4096 } };
	struct guest_ram_wanted length[] = { { .idstr = "n0", .length = 32 * MIB } };
	struct guest_ram_wanted twice[] = { { .idstr = "n0", .length = 64 * MIB },
					    { .idstr = "/objects/n0", .length = 64 * MIB } };
	struct decant_memory *memory;
	(void)state;

	two_nodes(HIGH, 3, LOW, 8);
	assert_found();
	assert_int_equal(guest_ram_match(ram, none, 2, &memory, &err), -ENOENT);
	assert_int_equal(guest_ram_match(ram, none, 0, &memory, &err), -ENOENT);
	assert_int_equal(guest_ram_match(ram, length, 1, &memory, &err), -EPROTO);
	assert_int_equal(guest_ram_match(ram, twice, 2, &memory, &err), -EPROTO);
}

static void test_match__long_names(void **state)
{
	char command[512], name[96] = "";
	struct guest_ram_wanted list = { .idstr = name, .length = 64 * MIB };
	struct decant_memory *memory;
	(void)state;

	memset(name, 'n', sizeof(name) - 1);
	snprintf(command, sizeof(command),
		 "qemu -object memory-backend-memfd,id=%s,size=64M -machine pc,memory-backend=%s", name, name);
	fake_proc_command(&proc, command);
	fake_proc_map(&proc, HIGH, 64 * MIB, true, fd[0], 0, MEMFD, 7);
	assert_found();
	assert_int_equal(guest_ram_match(ram, &list, 1, &memory, &err), 0);
	assert_string_equal(decant_memory_region(memory, 0)->name, "0:nnnnnnnnnnnnnnnnnnnnnnnnnn");
	decant_memory_free(memory);
}

#define found(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		found(test_find__one_memfd),
		found(test_find__as_libvirt_writes_it),
		found(test_find__mapping_in_parts),
		found(test_find__file_by_path),
		found(test_find__file_by_directory),
		found(test_find__different_lengths),
		found(test_find__two_nodes_in_order),
		found(test_find__two_nodes_in_doubt),
		found(test_find__one_mapping_too_many),
		found(test_find__private),
		found(test_find__not_there),
		found(test_find__no_process),
		found(test_find__odd_maps),
		found(test_find__odd_options),
		found(test_find__huge_pages),
		found(test_find_qmp__one),
		found(test_find_qmp__two_nodes_in_order),
		found(test_find_qmp__two_nodes_in_doubt),
		found(test_find_qmp__two_nodes_by_address),
		found(test_find_qmp__odd_table),
		found(test_find_qmp__refused),
		found(test_find_qmp__too_many),
		found(test_match__by_name),
		found(test_match__some),
		found(test_match__refused),
		found(test_match__long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
