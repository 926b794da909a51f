/* SPDX-License-Identifier: BSD-2-Clause */
/* test_stream.c -- the reader of QEMU's migration stream, over streams made by hand, in whatever pieces they come */
#include "qemu/stream.h"

#include "qemu/strays.h"
#include "support/qemu_stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RAM "pc.ram"
#define VGA "0000:00:02.0/vga.vram"
#define ROM "/rom@etc/acpi/tables"
#define RAM_ID 2u

/* small, since thousands of them are made */
#define BUFFER (8u << 10)

static const char *const names[] = { RAM, VGA, ROM };
static const uint64_t sizes[] = { 64, 4, 2 };
static const char *const own_ram[] = { RAM, NULL };
static const char *const own_two[] = { RAM, VGA, NULL };

static void ram_start(struct qs *qs)
{
	qs_section(qs, QS_START, RAM_ID, "ram", 4);
	qs_list(qs, names, sizes, 3);
}

static void eos_and_footer(struct qs *qs)
{
	qs_eos(qs);
	qs_footer(qs, RAM_ID);
}

static void begin(struct qs *qs)
{
	qs_header(qs, "pc-q35-7.2");
	qs_command(qs, 1, 0);
	qs_command(qs, 2, 4);
	ram_start(qs);
	eos_and_footer(qs);
}

/* Devices, whose bytes look like anything. */
static void devices(struct qs *qs)
{
	qs_footer(qs, RAM_ID);
	qs_section(qs, QS_FULL, 7, "cpu", 12);
	qs_64(qs, 0x20 | 0x08);
	qs_fill(qs, 0x02, 300);
	qs_footer(qs, 7);
	qs_8(qs, 0);
}

/* Two rounds of pages, as QEMU sends them; @kept: only what stays when RAM is taken out. */
static void two_rounds(struct qs *qs, bool kept)
{
	begin(qs);
	qs_section(qs, QS_PART, RAM_ID, NULL, 0);
	if (!kept) {
		qs_page(qs, RAM, 0, 0xa0);
		qs_page(qs, NULL, 1, 0xa1);
		qs_zero(qs, NULL, 2);
		qs_page(qs, NULL, 5, 0xa5);
		qs_zero(qs, NULL, 63);
	}
	qs_page(qs, VGA, 3, 0x33);
	qs_zero(qs, NULL, 0);
	eos_and_footer(qs);
	qs_section(qs, QS_PART, RAM_ID, NULL, 0);
	qs_page(qs, NULL, 1, 0x31);
	if (!kept)
		qs_page(qs, RAM, 1, 0xb1);
	qs_page(qs, VGA, 2, 0x32);
	eos_and_footer(qs);
	qs_section(qs, QS_PART, RAM_ID, NULL, 0);
	eos_and_footer(qs);
	qs_command(qs, 11, 0);
	qs_section(qs, QS_END, RAM_ID, NULL, 0);
	if (!kept)
		qs_zero(qs, RAM, 0);
	qs_page(qs, ROM, 0, 0x0f);
	qs_eos(qs);
	devices(qs);
}

static void assert_bytes(const struct qs *is, const struct qs *wanted)
{
	assert_int_equal(is->length, wanted->length);
	assert_memory_equal(is->bytes, wanted->bytes, wanted->length);
}

static void assert_rounds(const struct reading *reading, const struct qs *wanted)
{
	static const uint8_t times[6] = { 2, 2, 1, 0, 0, 1 };
	uint32_t i;

	assert_string_equal(reading->err.msg, "");
	assert_bytes(&reading->out, wanted);
	for (i = 0; i < READING_PAGES; i++)
		assert_int_equal(reading->pages[0][i], i < 6 ? times[i] : i == 63);
	assert_int_equal(reading->zero_pages, 3);
	assert_int_equal(reading->pages[1][0], 0);
	assert_int_equal(reading->sync_count, 5);
	assert_int_equal(reading->block_events, 1);
}

static void test_stream_next__same_to_the_byte_if_nothing_is_taken(void **state)
{
	struct reading reading;
	struct stream_stats stats;
	struct qs in = { 0 };

	(void)state;
	two_rounds(&in, false);
	reading_begin(&reading, 0, NULL);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_int_equal(reading_finish(&reading), 0);
	assert_bytes(&reading.out, &in);
	stream_get_stats(reading.stream, &stats);
	assert_int_equal(stats.bytes, in.length);
	assert_int_equal(stats.forwarded_bytes, in.length);
	assert_int_equal(stats.pages, 0);
	assert_int_equal(stats.passed_pages, 12);
	assert_int_equal(stats.sections, 5);
	assert_string_equal(stream_machine(reading.stream), "pc-q35-7.2");
	assert_true(stream_has_return_path(reading.stream));
	reading_end(&reading);
	qs_free(&in);
}

static void test_stream_next__takes_pages_out_wherever_it_is_split(void **state)
{
	struct qs in = { 0 }, kept = { 0 };
	struct reading reading;
	size_t split;

	(void)state;
	two_rounds(&in, false);
	two_rounds(&kept, true);
	for (split = 0; split <= in.length; split++) {
		reading_begin(&reading, BUFFER, own_ram);
		assert_int_equal(reading_feed(&reading, in.bytes, split), 0);
		assert_int_equal(reading_feed(&reading, in.bytes + split, in.length - split), 0);
		assert_int_equal(reading_finish(&reading), 0);
		assert_rounds(&reading, &kept);
		reading_end(&reading);
	}
	qs_free(&in);
	qs_free(&kept);
}

static void test_stream_next__takes_pages_out_in_small_pieces(void **state)
{
	struct qs in = { 0 }, kept = { 0 };
	struct reading reading;
	size_t piece, at;

	(void)state;
	two_rounds(&in, false);
	two_rounds(&kept, true);
	for (piece = 1; piece < 40; piece++) {
		reading_begin(&reading, STREAM_BUFFER_MIN, own_ram);
		for (at = 0; at < in.length; at += piece)
			assert_int_equal(reading_feed(&reading, in.bytes + at,
						      piece < in.length - at ? piece : in.length - at),
					 0);
		assert_rounds(&reading, &kept);
		reading_end(&reading);
	}
	qs_free(&in);
	qs_free(&kept);
}

static void test_stream_next__holds_the_end_of_ram_back(void **state)
{
	struct qs in = { 0 }, before = { 0 };
	struct reading reading;

	(void)state;
	begin(&in);
	qs_section(&in, QS_END, RAM_ID, NULL, 0);
	qs_bytes(&before, in.bytes, in.length);
	qs_page(&in, RAM, 9, 1);
	qs_eos(&in);
	reading_begin(&reading, 0, own_ram);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_int_equal(reading.ram_end, before.length);
	assert_int_equal(reading.pages[0][9], 1);
	assert_int_equal(reading.out.length, before.length + 8);
	assert_true(stream_is_blind(reading.stream));
	reading_end(&reading);
	qs_free(&in);
	qs_free(&before);
}

static void test_stream_next__makes_long_runs_of_neighbours_that_are_alike(void **state)
{
	struct qs in = { 0 };
	struct stream_stats stats;
	struct reading reading;
	uint64_t i;

	(void)state;
	begin(&in);
	qs_section(&in, QS_PART, RAM_ID, NULL, 0);
	for (i = 0; i < 64; i++)
		if (i >= 24 && i < 45)
			qs_zero(&in, NULL, i);
		else
			qs_page(&in, i == 0 ? RAM : NULL, i, 7);
	eos_and_footer(&in);
	reading_begin(&reading, 0, own_ram);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	stream_get_stats(reading.stream, &stats);
	assert_int_equal(stats.runs, 3);
	assert_int_equal(stats.pages, 64);
	assert_int_equal(stats.zero_pages, 21);
	reading_end(&reading);
	qs_free(&in);
}

static void test_stream_next__two_blocks_that_are_moved(void **state)
{
	struct qs in = { 0 };
	struct reading reading;

	(void)state;
	begin(&in);
	qs_section(&in, QS_PART, RAM_ID, NULL, 0);
	qs_page(&in, RAM, 1, 1);
	qs_page(&in, VGA, 2, 1); /* its neighbour, were it the same block */
	qs_page(&in, NULL, 3, 1);
	qs_page(&in, RAM, 2, 1);
	qs_page(&in, NULL, 9, 1); /* none of the one before */
	eos_and_footer(&in);
	reading_begin(&reading, 0, own_two);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_int_equal(reading.pages[0][1], 1);
	assert_int_equal(reading.pages[0][2], 1);
	assert_int_equal(reading.pages[1][2], 1);
	assert_int_equal(reading.pages[1][3], 1);
	assert_int_equal(reading.pages[0][3], 0);
	assert_int_equal(reading.pages[0][9], 1);
	reading_end(&reading);
	qs_free(&in);
}

/* ---- what may stand between the sections of RAM ---- */

static void bitmap_sections(struct qs *qs)
{
	qs_section(qs, QS_START, 3, "dirty-bitmap", 1);
	qs_8(qs, 0x10 | 0x08 | 0x04);
	qs_name(qs, "drive0");
	qs_name(qs, "bitmap0");
	qs_32(qs, 65536);
	qs_8(qs, 1);
	qs_8(qs, 0x01);
	qs_footer(qs, 3);
	qs_section(qs, QS_PART, 3, NULL, 0);
	qs_8(qs, 0x40);
	qs_64(qs, 0);
	qs_32(qs, 1024);
	qs_64(qs, 77);
	qs_fill(qs, 0x01, 77);
	qs_8(qs, 0x40 | 0x02);
	qs_64(qs, 1024);
	qs_32(qs, 1024);
	qs_8(qs, 0x20 | 0x04);
	qs_name(qs, "bitmap0");
	qs_8(qs, 0x01);
	qs_footer(qs, 3);
}

static void vfio_sections(struct qs *qs)
{
	qs_section(qs, QS_START, 4, "0000:00:05.0/vfio", 1);
	qs_64(qs, 0xffffffffef100003);
	qs_64(qs, 0xffffffffef100001);
	qs_footer(qs, 4);
	qs_section(qs, QS_PART, 4, NULL, 0);
	qs_64(qs, 0xffffffffef100004);
	qs_64(qs, 5000);
	qs_fill(qs, 0xee, 5000);
	qs_64(qs, 0xffffffffef100005);
	qs_footer(qs, 4);
}

static void config_subsections(struct qs *qs)
{
	qs_header(qs, "virt-9.0");
	qs_subsection(qs, "configuration/target-page-bits");
	qs_32(qs, 12);
	qs_subsection(qs, "configuration/capabilities");
	qs_32(qs, 0);
	qs_subsection(qs, "configuration/uuid");
	qs_fill(qs, 5, 16);
}

static void test_stream_next__passes_bitmaps_and_vfio_and_commands(void **state)
{
	struct qs in = { 0 }, kept = { 0 };
	struct reading reading;
	size_t split;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct qs *qs = i == 0 ? &in : &kept;

		config_subsections(qs);
		qs_command(qs, 3, 0);
		ram_start(qs);
		eos_and_footer(qs);
		bitmap_sections(qs);
		vfio_sections(qs);
		qs_section(qs, QS_PART, RAM_ID, NULL, 0);
		if (i == 0)
			qs_zero(qs, RAM, 7);
		eos_and_footer(qs);
		qs_section(qs, QS_END, RAM_ID, NULL, 0);
		qs_eos(qs);
		devices(qs);
	}
	for (split = 0; split <= in.length; split++) {
		reading_begin(&reading, BUFFER, own_ram);
		assert_int_equal(reading_feed(&reading, in.bytes, split), 0);
		assert_int_equal(reading_feed(&reading, in.bytes + split, in.length - split), 0);
		assert_bytes(&reading.out, &kept);
		assert_int_equal(reading.pages[0][7], 1);
		assert_false(stream_has_return_path(reading.stream));
		reading_end(&reading);
	}
	qs_free(&in);
	qs_free(&kept);
}

static void test_stream_next__pages_of_64_KiB(void **state)
{
	static const char *const name[] = { RAM };
	static const uint64_t pages[] = { 64 };
	struct qs in = { 0 };
	struct reading reading;

	(void)state;
	qs_header(&in, "virt-9.0");
	qs_subsection(&in, "configuration/target-page-bits");
	qs_32(&in, 16);
	qs_section(&in, QS_START, RAM_ID, "ram", 4);
	qs_list(&in, name, pages, 1);
	eos_and_footer(&in);
	qs_section(&in, QS_PART, RAM_ID, NULL, 0);
	qs_page(&in, RAM, 16, 3); /* in units of 4 KiB: the second page */
	qs_fill(&in, 3, 15 * QS_PAGE);
	qs_zero(&in, NULL, 32);
	eos_and_footer(&in);
	reading_begin(&reading, 0, own_ram);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_int_equal(reading.pages[0][15], 0);
	assert_int_equal(reading.pages[0][16], 1);
	assert_int_equal(reading.pages[0][47], 1);
	assert_int_equal(reading.pages[0][48], 0);
	reading_end(&reading);
	qs_free(&in);
}

/* ---- multifd's traces in the main stream ---- */

static void test_stream_next__a_flush_is_the_sync_and_is_not_forwarded(void **state)
{
	struct qs in = { 0 }, kept = { 0 };
	struct reading reading;
	size_t sync;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct qs *qs = i == 0 ? &in : &kept;

		qs_header(qs, "pc");
		ram_start(qs);
		sync = qs->length;
		if (i == 0)
			qs_64(qs, 0x200);
		eos_and_footer(qs);
		qs_section(qs, QS_PART, RAM_ID, NULL, 0);
		qs_zero(qs, VGA, 1);
		if (i == 0)
			qs_64(qs, 0x200);
		qs_zero(qs, NULL, 2);
		eos_and_footer(qs);
		qs_section(qs, QS_END, RAM_ID, NULL, 0);
		qs_eos(qs);
	}
	reading_begin(&reading, 0, own_ram);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_bytes(&reading.out, &kept);
	assert_int_equal(reading.sync_count, 2);
	assert_int_equal(reading.syncs[0], sync);
	reading_end(&reading);
	qs_free(&in);
	qs_free(&kept);
}

/* At the second sync two pages and a zero page are there, over three channels. */
static void put_strays_in(struct reading *reading, void *opaque)
{
	struct strays strays;
	struct stray *stray;
	uint32_t i;

	(void)opaque;
	if (reading->sync_count != 2)
		return;
	for (i = 1; i <= 2; i++) {
		strays_init(&strays, STRAYS_MAX);
		stray = strays_add(&strays, i, QS_PAGE, QS_PAGE, false);
		memset(stray->content, (int)(0x50 + i), QS_PAGE);
		stream_put_in(reading->stream, &strays);
		assert_null(strays.first);
	}
	strays_add(&strays, 2, 0, QS_PAGE, true);
	stream_put_in(reading->stream, &strays);
}

static void test_stream_put_in__comes_before_the_sync_and_mends_continue(void **state)
{
	struct qs in = { 0 }, kept = { 0 };
	struct reading reading;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct qs *qs = i == 0 ? &in : &kept;

		begin(qs);
		qs_section(qs, QS_PART, RAM_ID, NULL, 0);
		qs_zero(qs, VGA, 1);
		if (i == 0)
			qs_zero(qs, RAM, 1);
		if (i == 1) {
			qs_page(qs, VGA, 1, 0x51);
			qs_page(qs, ROM, 1, 0x52);
			qs_zero(qs, ROM, 0);
		}
		eos_and_footer(qs);
		qs_section(qs, QS_PART, RAM_ID, NULL, 0);
		qs_page(qs, VGA, 2, 0x32);
		qs_page(qs, NULL, 3, 0x33);
		eos_and_footer(qs);
		qs_section(qs, QS_END, RAM_ID, NULL, 0);
		qs_eos(qs);
	}
	reading_begin(&reading, 0, own_ram);
	reading.on_sync = put_strays_in;
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_bytes(&reading.out, &kept);
	reading_end(&reading);
	qs_free(&in);
	qs_free(&kept);
}

static void test_stream_put_in__a_continued_record_gets_its_name(void **state)
{
	struct qs in = { 0 }, kept = { 0 };
	struct reading reading;
	size_t split;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct qs *qs = i == 0 ? &in : &kept;

		begin(qs);
		qs_section(qs, QS_PART, RAM_ID, NULL, 0);
		qs_page(qs, VGA, 1, 1);
		if (i == 1) {
			qs_page(qs, VGA, 1, 0x51);
			qs_page(qs, ROM, 1, 0x52);
			qs_zero(qs, ROM, 0);
		}
		eos_and_footer(qs);
		qs_section(qs, QS_PART, RAM_ID, NULL, 0);
		qs_page(qs, i == 0 ? NULL : VGA, 2, 2);
		qs_zero(qs, NULL, 3);
		eos_and_footer(qs);
		qs_section(qs, QS_END, RAM_ID, NULL, 0);
		qs_eos(qs);
	}
	for (split = 0; split <= in.length; split++) {
		reading_begin(&reading, BUFFER, own_ram);
		reading.on_sync = put_strays_in;
		assert_int_equal(reading_feed(&reading, in.bytes, split), 0);
		assert_int_equal(reading_feed(&reading, in.bytes + split, in.length - split), 0);
		assert_bytes(&reading.out, &kept);
		reading_end(&reading);
	}
	qs_free(&in);
	qs_free(&kept);
}

/* ---- ends ---- */

static void pass_all(struct reading *reading, void *opaque)
{
	(void)opaque;
	stream_pass(reading->stream);
}

static void test_stream_pass__nothing_is_looked_at_any_more(void **state)
{
	struct qs in = { 0 };
	struct reading reading;

	(void)state;
	begin(&in);
	qs_fill(&in, 0xff, 5000);
	reading_begin(&reading, 0, NULL);
	reading.on_sync = pass_all;
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_bytes(&reading.out, &in);
	assert_int_equal(reading_finish(&reading), 0);
	reading_end(&reading);
	qs_free(&in);
}

static void test_stream_finish__before_the_end_of_ram(void **state)
{
	struct qs in = { 0 };
	struct reading reading;

	(void)state;
	begin(&in);
	reading_begin(&reading, 0, own_ram);
	assert_int_equal(reading_feed(&reading, in.bytes, in.length), 0);
	assert_int_equal(reading_finish(&reading), -ECONNRESET);
	assert_non_null(strstr(reading.err.msg, "before the end of RAM"));
	reading_end(&reading);
	qs_free(&in);
}

static void test_stream_new__a_buffer_that_is_too_small(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct stream *stream = NULL;

	(void)state;
	assert_int_equal(stream_new(STREAM_BUFFER_MIN - 1, &stream, &err), -EINVAL);
	assert_null(stream);
	stream_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream_next__same_to_the_byte_if_nothing_is_taken),
		cmocka_unit_test(test_stream_next__takes_pages_out_wherever_it_is_split),
		cmocka_unit_test(test_stream_next__takes_pages_out_in_small_pieces),
		cmocka_unit_test(test_stream_next__holds_the_end_of_ram_back),
		cmocka_unit_test(test_stream_next__makes_long_runs_of_neighbours_that_are_alike),
		cmocka_unit_test(test_stream_next__two_blocks_that_are_moved),
		cmocka_unit_test(test_stream_next__passes_bitmaps_and_vfio_and_commands),
		cmocka_unit_test(test_stream_next__pages_of_64_KiB),
		cmocka_unit_test(test_stream_next__a_flush_is_the_sync_and_is_not_forwarded),
		cmocka_unit_test(test_stream_put_in__comes_before_the_sync_and_mends_continue),
		cmocka_unit_test(test_stream_put_in__a_continued_record_gets_its_name),
		cmocka_unit_test(test_stream_pass__nothing_is_looked_at_any_more),
		cmocka_unit_test(test_stream_finish__before_the_end_of_ram),
		cmocka_unit_test(test_stream_new__a_buffer_that_is_too_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
