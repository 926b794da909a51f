/* SPDX-License-Identifier: BSD-2-Clause */
/* test_multifd.c -- the reader of multifd's channels, over packets made by hand, in whatever pieces they come */
#include "qemu/multifd.h"

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
#define VGA "vga.vram"

static struct ram_blocks blocks = { .page_size = QS_PAGE };

static int blocks_setup(void **state)
{
	(void)state;
	if (ram_blocks_add(&blocks, RAM, strlen(RAM), (uint64_t)1024 * QS_PAGE) != 0)
		return -1;
	blocks.list[0].region = 0;
	return ram_blocks_add(&blocks, VGA, strlen(VGA), (uint64_t)4 * QS_PAGE) == 1 ? 0 : -1;
}

static int blocks_teardown(void **state)
{
	(void)state;
	ram_blocks_clear(&blocks);
	return 0;
}

/* What became of a channel. */
struct got {
	uint32_t pages[1024];
	uint64_t zero_pages;
	uint32_t events, syncs;
	uint32_t events_at_sync[4];
	struct decant_error err;
	struct multifd *multifd;
};

static int feed(struct got *got, const uint8_t *bytes, size_t length)
{
	struct multifd_event event;
	uint64_t page;
	size_t room;
	int what;

	while (length > 0) {
		void *to = multifd_room(got->multifd, &room);

		room = room < length ? room : length;
		assert_true(room > 0);
		memcpy(to, bytes, room);
		multifd_filled(got->multifd, room);
		bytes += room;
		length -= room;
		while ((what = multifd_next(got->multifd, &event, &got->err)) > 0) {
			got->events++;
			if (what == MULTIFD_SYNC && got->syncs < 4)
				got->events_at_sync[got->syncs++] = got->events;
			for (page = event.offset / QS_PAGE; page < (event.offset + event.bytes) / QS_PAGE; page++)
				got->pages[page]++;
			got->zero_pages += event.zero_pages;
			assert_true(event.zero_pages == 0 || event.zero_pages == event.bytes / QS_PAGE);
			assert_int_equal(event.block, 0);
		}
		if (what < 0)
			return what;
	}
	return 0;
}

static void got_begin(struct got *got, size_t buffer)
{
	*got = (struct got){ 0 };
	assert_int_equal(multifd_new(&blocks, buffer, &got->multifd, &got->err), 0);
}

/* A channel as it comes: INIT, the sync of the set-up, pages of both blocks, a sync alone, one with pages. */
static void channel(struct qs *qs)
{
	static const uint64_t first[] = { 0, 1, 2, 7, 8, 100, 101, 3 };
	static const uint64_t vram[] = { 2, 0, 3 };
	static const uint64_t last[] = { 1023 };

	qs_init_packet(qs, 3);
	qs_packet(qs, "", NULL, 0, 0, 0, true);
	qs_packet(qs, RAM, first, 6, 2, 0x77, false);
	qs_packet(qs, VGA, vram, 2, 1, 0x66, false);
	qs_packet(qs, "", NULL, 0, 0, 0, true);
	qs_packet(qs, RAM, last, 1, 0, 0x77, true);
}

static void assert_strays(struct strays *strays)
{
	static const uint64_t order[] = { 2, 0, 3 };
	uint8_t content[QS_PAGE];
	uint32_t i;

	memset(content, 0x66, sizeof(content));
	for (i = 0; i < 3; i++) {
		assert_non_null(strays->first);
		assert_int_equal(strays->first->block, 1);
		assert_int_equal(strays->first->offset, order[i] * QS_PAGE);
		assert_int_equal(strays->first->zero, i == 2);
		if (i < 2)
			assert_memory_equal(strays->first->content, content, QS_PAGE);
		strays_drop(strays);
	}
	assert_null(strays->first);
}

static void assert_channel(struct got *got)
{
	uint32_t i;

	for (i = 0; i < 1024; i++)
		assert_int_equal(got->pages[i], i <= 3 || i == 7 || i == 8 || i == 100 || i == 101 || i == 1023);
	assert_int_equal(got->zero_pages, 2);
	assert_int_equal(got->syncs, 3);
	assert_int_equal(got->events, 3 + 6);
	assert_int_equal(got->events_at_sync[0], 1);
	assert_int_equal(got->events_at_sync[1], 7);
	assert_int_equal(got->events_at_sync[2], 9);
	assert_int_equal(multifd_id(got->multifd), 3);
	assert_int_equal(multifd_finish(got->multifd, NULL), 0);
	assert_strays(multifd_strays(got->multifd));
}

static void test_multifd_next__wherever_it_is_split(void **state)
{
	struct qs in = { 0 };
	struct got got;
	size_t split;

	(void)state;
	channel(&in);
	for (split = 0; split <= in.length; split++) {
		got_begin(&got, 8192); /* small, since thousands of them are made */
		assert_int_equal(feed(&got, in.bytes, split), 0);
		assert_int_equal(feed(&got, in.bytes + split, in.length - split), 0);
		assert_channel(&got);
		multifd_free(got.multifd);
	}
	qs_free(&in);
}

static void test_multifd_next__in_small_pieces(void **state)
{
	struct qs in = { 0 };
	struct got got;
	size_t piece, at;

	(void)state;
	channel(&in);
	for (piece = 1; piece < 30; piece++) {
		got_begin(&got, 2048);
		for (at = 0; at < in.length; at += piece)
			assert_int_equal(feed(&got, in.bytes + at,
					      piece < in.length - at ? piece : in.length - at),
					 0);
		assert_channel(&got);
		multifd_free(got.multifd);
	}
	qs_free(&in);
}

/* A good channel's beginning with one field of its second packet changed. */
static void assert_refused(size_t field, uint32_t value, int code, const char *says)
{
	static const uint64_t pages[] = { 5, 6 };
	uint8_t *packet;
	struct qs in = { 0 };
	struct got got;

	qs_init_packet(&in, 0);
	qs_packet(&in, RAM, pages, 2, 0, 1, false);
	packet = in.bytes + 64 + field;
	packet[0] = (uint8_t)(value >> 24);
	packet[1] = (uint8_t)(value >> 16);
	packet[2] = (uint8_t)(value >> 8);
	packet[3] = (uint8_t)value;
	got_begin(&got, 0);
	assert_int_equal(feed(&got, in.bytes, in.length), code);
	if (strstr(got.err.msg, says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", got.err.msg, says);
	assert_int_equal(got.events, 0);
	/* and so it stays */
	assert_int_equal(feed(&got, in.bytes, 1), code);
	assert_int_equal(multifd_finish(got.multifd, NULL), code);
	multifd_free(got.multifd);
	qs_free(&in);
}

static void test_multifd_next__what_is_refused(void **state)
{
	(void)state;
	assert_refused(0, 0x11223345, -EPROTO, "magic 0x11223345");
	assert_refused(4, 2, -EPROTO, "version 2");
	assert_refused(8, 1 << 1, -ENOTSUP, "multifd-compression to none");
	assert_refused(8, 16 << 1, -ENOTSUP, "multifd-compression to none");
	assert_refused(8, 32 << 1, -ENOTSUP, "x-migration-multifd-transfer=off");
	assert_refused(8, 1u << 31, -EPROTO, "flags 0x80000000");
	assert_refused(16, 129, -EPROTO, "129 pages");
	assert_refused(16, 1, -EPROTO, "with 8192 bytes");
	assert_refused(20, 0, -EPROTO, "with 0 bytes");
	assert_refused(32, 127, -EPROTO, "127 zero ones");
	assert_refused(32, 0xffffffff, -EPROTO, "4294967295 zero ones");
	assert_refused(64, 0x41424344, -EPROTO, "not in the list");
	assert_refused(320, 1, -EPROTO, "a page at 0x100005000");
	assert_refused(324, 0x400000, -EPROTO, "a page at 0x400000 of block pc.ram, which has 0x400000 bytes");
	assert_refused(324, 0x1800, -EPROTO, "a page at 0x1800");
}

static void test_multifd_next__a_name_without_an_end(void **state)
{
	static const uint64_t pages[] = { 5 };
	struct qs in = { 0 };
	struct got got;

	(void)state;
	qs_init_packet(&in, 0);
	qs_packet(&in, RAM, pages, 1, 0, 1, false);
	memset(in.bytes + 64 + 64, 'x', 256);
	got_begin(&got, 0);
	assert_int_equal(feed(&got, in.bytes, in.length), -EPROTO);
	multifd_free(got.multifd);
	qs_free(&in);
}

/* Each page of memory that is not shared comes once between two syncs: more would be kept for nothing. */
static void test_multifd_next__keeps_no_more_than_there_is(void **state)
{
	static const uint64_t vram[] = { 0, 1, 2, 3 };
	struct strays taken;
	struct qs in = { 0 };
	struct got got;

	(void)state;
	qs_init_packet(&in, 0);
	got_begin(&got, 0);
	qs_packet(&in, VGA, vram, 4, 0, 1, true);
	assert_int_equal(feed(&got, in.bytes, in.length), 0);
	strays_init(&taken, 0);
	strays_move(&taken, multifd_strays(got.multifd));
	assert_int_equal(feed(&got, in.bytes + 64, in.length - 64), 0);
	assert_int_equal(feed(&got, in.bytes + 64, in.length - 64), -ENOTSUP);
	assert_non_null(strstr(got.err.msg, "share it"));
	strays_clear(&taken);
	multifd_free(got.multifd);
	qs_free(&in);
}

static void test_multifd_finish__inside_a_packet(void **state)
{
	struct qs in = { 0 };
	struct got got;
	size_t length;

	(void)state;
	channel(&in);
	for (length = 1; length < 64 + 1344; length++) {
		if (length == 64)
			continue;
		got_begin(&got, 0);
		assert_int_equal(feed(&got, in.bytes, length), 0);
		assert_int_equal(multifd_finish(got.multifd, &got.err), -ECONNRESET);
		multifd_free(got.multifd);
	}
	qs_free(&in);
}

static void test_multifd_kind__by_four_bytes(void **state)
{
	(void)state;
	assert_int_equal(multifd_kind("QEVM"), MULTIFD_MAIN);
	assert_int_equal(multifd_kind("\x11\x22\x33\x44"), MULTIFD_CHANNEL);
	assert_int_equal(multifd_kind("\x16\x03\x01\x02"), MULTIFD_TLS);
	assert_int_equal(multifd_kind("GET "), MULTIFD_STRANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_multifd_next__wherever_it_is_split),
		cmocka_unit_test(test_multifd_next__in_small_pieces),
		cmocka_unit_test(test_multifd_next__what_is_refused),
		cmocka_unit_test(test_multifd_next__a_name_without_an_end),
		cmocka_unit_test(test_multifd_next__keeps_no_more_than_there_is),
		cmocka_unit_test(test_multifd_finish__inside_a_packet),
		cmocka_unit_test(test_multifd_kind__by_four_bytes),
	};

	return cmocka_run_group_tests(tests, blocks_setup, blocks_teardown);
}
