/* SPDX-License-Identifier: BSD-2-Clause */
/* seed_qemu.c -- migration streams of QEMU's, and channels of multifd, as short as they can be */
#include "fuzz/seed.h"

#include "support/qemu_stream.h"

#include <stdint.h>
#include <string.h>

#define RAM_ID 2u
#define STRAYS 0x80 /* of fuzz_qemu_stream's first byte */

static const char *const names[] = { "ram", "vga" };
static const uint64_t sizes[] = { 256, 8 };

static void part(struct qs *qs, uint8_t type)
{
	qs_section(qs, type, RAM_ID, NULL, 0);
}

static void close_part(struct qs *qs)
{
	qs_eos(qs);
	qs_footer(qs, RAM_ID);
}

static void begin(struct qs *qs, uint8_t choice, bool flush)
{
	qs_8(qs, choice);
	qs_8(qs, 6);
	qs_header(qs, "pc");
	qs_command(qs, 1, 0);
	qs_command(qs, 2, 4);
	qs_section(qs, QS_START, RAM_ID, "ram", 4);
	qs_list(qs, names, sizes, 2);
	if (flush)
		qs_64(qs, 0x200);
	close_part(qs);
}

static void end(struct qs *qs)
{
	qs_command(qs, 11, 0);
	part(qs, QS_END);
	qs_zero(qs, "ram", 9);
	close_part(qs);
	qs_section(qs, QS_FULL, 9, "cpu", 1);
	qs_8(qs, 0);
}

static int written(const char *target, const char *name, struct qs *qs)
{
	const int status = seed_write(target, name, qs->bytes, qs->length);

	qs_free(qs);
	return status;
}

/* Pages of both blocks, with a name and without. */
static int seed_rounds(const char *name, uint8_t choice, bool flush)
{
	struct qs qs = { 0 };

	begin(&qs, choice, flush);
	part(&qs, QS_PART);
	qs_zero(&qs, "ram", 0);
	qs_zero(&qs, NULL, 1);
	qs_page(&qs, NULL, 2, 1);
	qs_zero(&qs, "vga", 0);
	if (flush)
		qs_64(&qs, 0x200);
	qs_zero(&qs, NULL, 1);
	close_part(&qs);
	part(&qs, QS_PART);
	qs_zero(&qs, NULL, 2);
	qs_zero(&qs, "ram", 7);
	close_part(&qs);
	end(&qs);
	return written("fuzz_qemu_stream", name, &qs);
}

static void bitmap(struct qs *qs)
{
	qs_section(qs, QS_START, 3, "dirty-bitmap", 1);
	qs_8(qs, 0x1c);
	qs_name(qs, "d");
	qs_name(qs, "b");
	qs_32(qs, 65536);
	qs_8(qs, 1);
	qs_8(qs, 0x40);
	qs_64(qs, 0);
	qs_32(qs, 8);
	qs_64(qs, 3);
	qs_fill(qs, 1, 3);
	qs_8(qs, 1);
	qs_footer(qs, 3);
}

static void vfio(struct qs *qs)
{
	qs_section(qs, QS_START, 4, "a/vfio", 1);
	qs_64(qs, 0xffffffffef100003);
	qs_64(qs, 0xffffffffef100004);
	qs_64(qs, 5);
	qs_fill(qs, 2, 5);
	qs_64(qs, 0xffffffffef100001);
	qs_footer(qs, 4);
}

/* What may stand between the sections of RAM. */
static int seed_others(void)
{
	struct qs qs = { 0 };

	begin(&qs, 1, false);
	bitmap(&qs);
	vfio(&qs);
	end(&qs);
	return written("fuzz_qemu_stream", "others", &qs);
}

static int seed_configuration(void)
{
	struct qs qs = { 0 };

	qs_8(&qs, 1);
	qs_8(&qs, 0);
	qs_header(&qs, "virt");
	qs_subsection(&qs, "configuration/target-page-bits");
	qs_32(&qs, 14);
	qs_subsection(&qs, "configuration/uuid");
	qs_fill(&qs, 7, 16);
	qs_subsection(&qs, "configuration/capabilities");
	qs_32(&qs, 1);
	qs_name(&qs, "mapped-ram");
	return written("fuzz_qemu_stream", "configuration", &qs);
}

static int seed_channel(const char *name, const char *block, uint32_t normal, uint32_t zero)
{
	static const uint64_t pages[] = { 3, 4, 5, 0, 7 };
	struct qs qs = { 0 };

	qs_8(&qs, 100);
	qs_init_packet(&qs, 2);
	qs_packet(&qs, "", NULL, 0, 0, 0, true);
	qs_packet(&qs, block, pages, normal, zero, 1, normal == 1);
	qs_packet(&qs, "", NULL, 0, 0, 0, true);
	return written("fuzz_qemu_multifd", name, &qs);
}

int seed_qemu(void)
{
	if (seed_rounds("nothing_taken", 0, false) < 0 || seed_rounds("ram_taken", 1, false) < 0 ||
	    seed_rounds("all_taken", 3, false) < 0 || seed_rounds("flushes", 1, true) < 0 ||
	    seed_rounds("strays", STRAYS | 1, true) < 0 || seed_others() < 0 || seed_configuration() < 0)
		return -1;
	if (seed_channel("ram", "ram", 1, 4) < 0 || seed_channel("zeros", "ram", 0, 5) < 0 ||
	    seed_channel("vga", "vga", 1, 1) < 0)
		return -1;
	return 0;
}
