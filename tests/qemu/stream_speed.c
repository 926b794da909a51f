/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_speed.c -- what it costs to read a migration stream: stream_speed [MIB [KIND]] prints a line of JSON for each kind
 *
 * The kinds: pages that are "taken" out, "zero" pages that are, and pages that are "passed" on. The stream is copied into the reader's buffer as read(2) would
 * do it; that is timed apart. Run under valgrind --tool=callgrind --toggle-collect=stream_next it counts instructions.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu/stream.h"
#include "support/qemu_stream.h"
#include "util/clock.h"

#define RAM_ID 2u

static const char *const names[] = { "ram" };

struct speed {
	const char *kind;
	bool zero, owned;
};

static void make(struct qs *qs, uint64_t pages, const struct speed *speed)
{
	uint64_t i;

	qs_header(qs, "pc");
	qs_section(qs, QS_START, RAM_ID, "ram", 4);
	qs_list(qs, names, &pages, 1);
	qs_eos(qs);
	qs_footer(qs, RAM_ID);
	qs_section(qs, QS_PART, RAM_ID, NULL, 0);
	for (i = 0; i < pages; i++)
		if (speed->zero)
			qs_zero(qs, i == 0 ? names[0] : NULL, i);
		else
			qs_page(qs, i == 0 ? names[0] : NULL, i, 1);
	qs_eos(qs);
}

static uint64_t events(struct stream *stream, bool owned)
{
	struct stream_event event;
	uint64_t count = 0;
	int what;

	while ((what = stream_next(stream, &event, NULL)) > 0) {
		count++;
		if (what == STREAM_BLOCKS && owned)
			stream_blocks(stream)->list[0].region = 0;
	}
	if (what < 0)
		abort();
	return count;
}

static void measure(uint64_t pages, const struct speed *speed)
{
	uint64_t copy_ns = 0, read_ns = 0, count = 0, before, between;
	struct stream *stream;
	struct qs qs = { 0 };
	size_t at, room;

	make(&qs, pages, speed);
	if (stream_new(0, &stream, NULL) < 0)
		abort();
	for (at = 0; at < qs.length; at += room) {
		void *to = stream_room(stream, &room);

		room = room < qs.length - at ? room : qs.length - at;
		before = clock_now_ns();
		memcpy(to, qs.bytes + at, room);
		between = clock_now_ns();
		stream_filled(stream, room);
		count += events(stream, speed->owned);
		read_ns += clock_now_ns() - between;
		copy_ns += between - before;
	}
	printf("{\"kind\": \"%s\", \"pages\": %" PRIu64 ", \"events\": %" PRIu64
	       ", \"read_ns_per_page\": %.2f, \"copy_ns_per_page\": %.2f}\n",
	       speed->kind, pages, count, (double)read_ns / (double)pages, (double)copy_ns / (double)pages);
	stream_free(stream);
	qs_free(&qs);
}

int main(int argc, char **argv)
{
	static const struct speed kinds[] = {
		{ "taken", false, true },
		{ "zero", true, true },
		{ "passed", false, false },
	};
	const uint64_t pages = (argc > 1 ? strtoull(argv[1], NULL, 10) : 64) << 8;
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (argc < 3 || strcmp(argv[2], kinds[i].kind) == 0)
			measure(pages, &kinds[i]);
	return 0;
}
