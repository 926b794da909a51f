/* SPDX-License-Identifier: BSD-2-Clause */
/* test_stream_refused.c -- streams that are broken, or that use what the sidecars cannot follow: each is refused, with what to do */
#include "qemu/stream.h"

#include "support/qemu_stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RAM "pc.ram"
#define RAM_ID 2u

/* small, since thousands of them are made */
#define BUFFER (8u << 10)

static const char *const own_ram[] = { RAM, NULL };

static void list_of(struct qs *qs, const char *name, uint64_t pages)
{
	qs_list(qs, &name, &pages, 1);
}

static void ram_start(struct qs *qs)
{
	qs_section(qs, QS_START, RAM_ID, "ram", 4);
	list_of(qs, RAM, 64);
}

static void ram_part(struct qs *qs)
{
	ram_start(qs);
	qs_eos(qs);
	qs_footer(qs, RAM_ID);
	qs_section(qs, QS_PART, RAM_ID, NULL, 0);
}

/* ---- before the first section ---- */

static void no_stream(struct qs *qs)
{
	qs_bytes(qs, "GET / HTTP/1.1", 14);
}

static void a_channel(struct qs *qs)
{
	qs_init_packet(qs, 0);
}

static void tls(struct qs *qs)
{
	qs_bytes(qs, "\x16\x03\x01\x02\x00", 5);
}

static void version_2(struct qs *qs)
{
	qs_bytes(qs, "QEVM", 4);
	qs_32(qs, 2);
}

static void no_configuration(struct qs *qs)
{
	qs_bytes(qs, "QEVM", 4);
	qs_32(qs, 3);
	qs_section(qs, QS_START, RAM_ID, "ram", 4);
}

static void long_machine(struct qs *qs)
{
	qs_bytes(qs, "QEVM", 4);
	qs_32(qs, 3);
	qs_8(qs, 7);
	qs_32(qs, 256);
}

static void subsection_unknown(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_subsection(qs, "configuration/colour\n");
}

static void page_bits(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_subsection(qs, "configuration/target-page-bits");
	qs_32(qs, 10);
}

static void capabilities(struct qs *qs, const char *name)
{
	qs_header(qs, "pc");
	qs_subsection(qs, "configuration/capabilities");
	qs_32(qs, 1);
	qs_name(qs, name);
}

static void ignore_shared(struct qs *qs)
{
	capabilities(qs, "x-ignore-shared");
}

static void mapped_ram(struct qs *qs)
{
	capabilities(qs, "mapped-ram");
}

static void capabilities_many(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_subsection(qs, "configuration/capabilities");
	qs_32(qs, 65);
}

/* ---- commands ---- */

static void command(struct qs *qs, uint16_t number, uint16_t length)
{
	qs_header(qs, "pc");
	qs_command(qs, number, length);
}

static void postcopy(struct qs *qs)
{
	command(qs, 3, 16);
}

static void postcopy_listen(struct qs *qs)
{
	command(qs, 4, 0);
}

static void packaged(struct qs *qs)
{
	command(qs, 7, 4);
}

static void colo(struct qs *qs)
{
	command(qs, 8, 0);
}

static void resume(struct qs *qs)
{
	command(qs, 9, 0);
}

static void command_0(struct qs *qs)
{
	command(qs, 0, 0);
}

static void command_12(struct qs *qs)
{
	command(qs, 12, 0);
}

static void ping_long(struct qs *qs)
{
	command(qs, 2, 5);
}

/* ---- sections ---- */

static void begin_with(struct qs *qs, uint8_t type, const char *name, uint32_t version)
{
	qs_header(qs, "pc");
	qs_section(qs, type, RAM_ID, name, version);
}

static void virtio_mem(struct qs *qs)
{
	begin_with(qs, QS_FULL, "0000:00:04.0/virtio-mem-device-early", 1);
}

static void device_early(struct qs *qs)
{
	begin_with(qs, QS_FULL, "timer", 2);
}

static void block_migration(struct qs *qs)
{
	begin_with(qs, QS_START, "block", 1);
}

static void htab(struct qs *qs)
{
	begin_with(qs, QS_START, "spapr/htab", 1);
}

static void ram_version(struct qs *qs)
{
	begin_with(qs, QS_START, "ram", 3);
}

static void ram_twice(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_start(qs);
	qs_eos(qs);
	qs_footer(qs, RAM_ID);
	qs_section(qs, QS_START, 3, "ram", 4);
}

static void begun_twice(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_start(qs);
	qs_eos(qs);
	qs_footer(qs, RAM_ID);
	qs_section(qs, QS_START, RAM_ID, "dirty-bitmap", 1);
}

static void not_begun(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_section(qs, QS_PART, 9, NULL, 0);
}

static void many_sections(struct qs *qs)
{
	uint32_t i;

	qs_header(qs, "pc");
	for (i = 0; i < 257; i++) {
		qs_section(qs, QS_START, i, "dirty-bitmap", 1);
		qs_8(qs, 1);
		qs_footer(qs, i);
	}
}

static void type_unknown(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_8(qs, 0x55);
}

static void eof_early(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_8(qs, 0);
}

static void footer_of_another(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_start(qs);
	qs_eos(qs);
	qs_footer(qs, 3);
}

static void no_footer(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_start(qs);
	qs_eos(qs);
	qs_section(qs, QS_PART, RAM_ID, NULL, 0);
}

static void bitmap_flags(struct qs *qs)
{
	begin_with(qs, QS_START, "dirty-bitmap", 1);
	qs_8(qs, 0x80);
}

static void bitmap_both(struct qs *qs)
{
	begin_with(qs, QS_START, "dirty-bitmap", 1);
	qs_8(qs, 0x30);
}

static void vfio_tag(struct qs *qs)
{
	begin_with(qs, QS_START, "0000:00:05.0/vfio", 1);
	qs_64(qs, 0xffffffffef100002);
}

/* ---- RAM ---- */

static void list_header(struct qs *qs)
{
	qs_header(qs, "pc");
	qs_section(qs, QS_START, RAM_ID, "ram", 4);
}

static void list_too_much(struct qs *qs)
{
	list_header(qs);
	qs_64(qs, 2 * QS_PAGE | 4);
	qs_name(qs, RAM);
	qs_64(qs, 3 * QS_PAGE);
}

static void list_odd(struct qs *qs)
{
	list_header(qs);
	qs_64(qs, 2 * QS_PAGE | 4);
	qs_name(qs, RAM);
	qs_64(qs, 2048);
}

static void list_same(struct qs *qs)
{
	list_header(qs);
	qs_64(qs, 2 * QS_PAGE | 4);
	qs_name(qs, RAM);
	qs_64(qs, QS_PAGE);
	qs_name(qs, RAM);
	qs_64(qs, QS_PAGE);
}

static void list_nameless(struct qs *qs)
{
	list_header(qs);
	list_of(qs, "", 1);
}

static void list_endless(struct qs *qs)
{
	char name[16];
	uint32_t i;

	list_header(qs);
	qs_64(qs, 2 * QS_PAGE | 4);
	for (i = 0; i < 1100; i++) {
		snprintf(name, sizeof(name), "b%u", i);
		qs_name(qs, name);
		qs_64(qs, 0);
	}
}

static void list_empty(struct qs *qs)
{
	list_header(qs);
	qs_64(qs, 4);
}

static void list_again(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_part(qs);
	list_of(qs, RAM, 128);
}

static void list_missing(struct qs *qs)
{
	list_header(qs);
	qs_eos(qs);
}

static void page_before_list(struct qs *qs)
{
	list_header(qs);
	qs_page(qs, RAM, 0, 1);
}

static void page_continued_first(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_part(qs);
	qs_page(qs, NULL, 0, 1);
}

static void page_of_unknown(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_part(qs);
	qs_page(qs, "pc.rom\n", 0, 1);
}

static void page_behind(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_part(qs);
	qs_page(qs, RAM, 63, 1);
	qs_page(qs, NULL, 64, 1);
}

static void zero_behind(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_part(qs);
	qs_zero(qs, RAM, 63);
	qs_zero(qs, NULL, 64);
}

static void page_filled(struct qs *qs)
{
	qs_header(qs, "pc");
	ram_part(qs);
	qs_64(qs, 0x02);
	qs_name(qs, RAM);
	qs_8(qs, 0xaa);
}

static void record_flags(struct qs *qs, uint64_t flags)
{
	qs_header(qs, "pc");
	ram_part(qs);
	qs_zero(qs, RAM, 3);
	qs_64(qs, flags);
}

static void xbzrle(struct qs *qs)
{
	record_flags(qs, 0x40 | 0x20);
}

static void compress(struct qs *qs)
{
	record_flags(qs, 0x100 | 0x20);
}

static void hook(struct qs *qs)
{
	record_flags(qs, 0x80);
}

static void flags_none(struct qs *qs)
{
	record_flags(qs, 0);
}

static void flags_two(struct qs *qs)
{
	record_flags(qs, 0x08 | 0x02);
}

static void eos_with_offset(struct qs *qs)
{
	record_flags(qs, 0x1010);
}

static void flush_with_offset(struct qs *qs)
{
	record_flags(qs, 0x1200);
}

static const struct {
	const char *name;
	void (*make)(struct qs *qs);
	int code;
	const char *says;
} refused[] = {
	{ "no_stream", no_stream, -EPROTO, "byte 0, at its beginning: this is no migration stream" },
	{ "a_channel", a_channel, -EPROTO, "a channel of multifd" },
	{ "tls", tls, -EPROTO, "tls-creds" },
	{ "version_2", version_2, -ENOTSUP, "version 2" },
	{ "no_configuration", no_configuration, -ENOTSUP, "newer machine type" },
	{ "long_machine", long_machine, -EPROTO, "256 bytes" },
	{ "subsection_unknown", subsection_unknown, -ENOTSUP, "\"configuration/colour?\" version 1" },
	{ "page_bits", page_bits, -ENOTSUP, "2^10" },
	{ "ignore_shared", ignore_shared, -ENOTSUP, "capability x-ignore-shared is on" },
	{ "mapped_ram", mapped_ram, -ENOTSUP, "capability mapped-ram is on" },
	{ "capabilities_many", capabilities_many, -EPROTO, "65 capabilities" },
	{ "postcopy", postcopy, -ENOTSUP, "switch capability postcopy-ram off" },
	{ "postcopy_listen", postcopy_listen, -ENOTSUP, "switch capability postcopy-ram off" },
	{ "packaged", packaged, -ENOTSUP, "background-snapshot" },
	{ "colo", colo, -ENOTSUP, "x-colo" },
	{ "resume", resume, -ENOTSUP, "cannot be recovered" },
	{ "command_0", command_0, -ENOTSUP, "command 0" },
	{ "command_12", command_12, -ENOTSUP, "command 12" },
	{ "ping_long", ping_long, -EPROTO, "PING with 5 bytes" },
	{ "virtio_mem", virtio_mem, -ENOTSUP, "take the virtio-mem devices out" },
	{ "device_early", device_early, -ENOTSUP, "section timer FULL: this comes before the end of RAM" },
	{ "block_migration", block_migration, -ENOTSUP, "blockdev-mirror" },
	{ "htab", htab, -ENOTSUP, "section spapr/htab START" },
	{ "ram_version", ram_version, -EPROTO, "version 3" },
	{ "ram_twice", ram_twice, -EPROTO, "come once" },
	{ "begun_twice", begun_twice, -EPROTO, "begun a second time" },
	{ "not_begun", not_begun, -EPROTO, "section 9 has not begun" },
	{ "many_sections", many_sections, -EPROTO, "more than 256 sections" },
	{ "type_unknown", type_unknown, -EPROTO, "type 0x55" },
	{ "eof_early", eof_early, -EPROTO, "the end of RAM has not come" },
	{ "footer_of_another", footer_of_another, -EPROTO, "section 2's footer" },
	{ "no_footer", no_footer, -EPROTO, "section 2's footer" },
	{ "bitmap_flags", bitmap_flags, -EPROTO, "flags 0x80" },
	{ "bitmap_both", bitmap_both, -EPROTO, "flags 0x30" },
	{ "vfio_tag", vfio_tag, -EPROTO, "tag 0xffffffffef100002" },
	{ "list_too_much", list_too_much, -EPROTO, "12288 bytes: the list has 8192 left" },
	{ "list_odd", list_odd, -EPROTO, "2048 bytes" },
	{ "list_same", list_same, -EPROTO, "listed twice" },
	{ "list_nameless", list_nameless, -EPROTO, "a name that is none" },
	{ "list_endless", list_endless, -EPROTO, "one too many" },
	{ "list_empty", list_empty, -EPROTO, "without memory" },
	{ "list_again", list_again, -EPROTO, "a second block list" },
	{ "list_missing", list_missing, -EPROTO, "no block list" },
	{ "page_before_list", page_before_list, -EPROTO, "not in the list" },
	{ "page_continued_first", page_continued_first, -EPROTO, "not in the list" },
	{ "page_of_unknown", page_of_unknown, -EPROTO, "block \"pc.rom?\"" },
	{ "page_behind", page_behind, -EPROTO, "a page at 0x40000 of block pc.ram, which has 0x40000 bytes" },
	{ "zero_behind", zero_behind, -EPROTO, "a page at 0x40000 of block pc.ram, which has 0x40000 bytes" },
	{ "page_filled", page_filled, -EPROTO, "filled with 0xaa" },
	{ "xbzrle", xbzrle, -ENOTSUP, "switch capability xbzrle off" },
	{ "compress", compress, -ENOTSUP, "switch capability compress off" },
	{ "hook", hook, -EPROTO, "RDMA" },
	{ "flags_none", flags_none, -EPROTO, "flags 0x0" },
	{ "flags_two", flags_two, -EPROTO, "flags 0xa" },
	{ "eos_with_offset", eos_with_offset, -EPROTO, "flags 0x10" },
	{ "flush_with_offset", flush_with_offset, -EPROTO, "flags 0x200" },
};

static void assert_refused(struct reading *reading, int code, const char *says)
{
	struct stream_event event;

	if (strstr(reading->err.msg, says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", reading->err.msg, says);
	assert_int_equal(reading->err.code, code);
	/* and so it stays */
	reading->err = (struct decant_error){ 0 };
	assert_int_equal(stream_next(reading->stream, &event, &reading->err), code);
	assert_int_equal(reading_finish(reading), code);
	assert_non_null(strstr(reading->err.msg, says));
}

static void test_stream_next__what_is_refused(void **state)
{
	struct reading reading;
	size_t i, split;

	(void)state;
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct qs in = { 0 };
		size_t step;

		refused[i].make(&in);
		step = 1 + in.length / 600;
		for (split = 0; split < in.length; split += step) {
			reading_begin(&reading, BUFFER, own_ram);
			if (reading_feed(&reading, in.bytes, split) == 0)
				reading_feed(&reading, in.bytes + split, in.length - split);
			assert_refused(&reading, refused[i].code, refused[i].says);
			reading_end(&reading);
		}
		qs_free(&in);
	}
}

/* What is not all there is no error yet. */
static void test_stream_next__nothing_is_refused_before_it_is_there(void **state)
{
	struct reading reading;
	struct qs in = { 0 };
	size_t length;

	(void)state;
	qs_header(&in, "pc-i440fx-10.0");
	qs_command(&in, 1, 0);
	ram_part(&in);
	qs_page(&in, RAM, 3, 3);
	qs_zero(&in, NULL, 9);
	qs_eos(&in);
	for (length = 0; length < in.length; length++) {
		reading_begin(&reading, BUFFER, own_ram);
		assert_int_equal(reading_feed(&reading, in.bytes, length), 0);
		assert_int_equal(reading_finish(&reading), -ECONNRESET);
		reading_end(&reading);
	}
	qs_free(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream_next__what_is_refused),
		cmocka_unit_test(test_stream_next__nothing_is_refused_before_it_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
