/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_speed.c -- what it costs to read a migration stream: stream_speed [MIB [KIND]] prints a line of JSON for each kind
 *
 * "socket" is the first of these kinds again, over a UNIX socket: CPU time, of the thread that reads and of the one that writes.
 * The kinds: pages that are "taken" out, "zero" pages that are, and pages that are "passed" on. The stream is copied into the reader's buffer as read(2) would
 * do it; that is timed apart. Run under valgrind --tool=callgrind --toggle-collect=stream_next it counts instructions.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qemu/stream.h"
#include "support/qemu_stream.h"
#include "util/clock.h"

#define RAM_ID 2u
#define SOCKET_BUFFER (256u << 10) /* as the sidecar's */

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

/* ---- over a socket ---- */

struct writer {
	struct qs qs;
	int fd;
	uint64_t cpu_ns;
};

static void *write_all(void *opaque)
{
	const uint64_t before = clock_thread_cpu_ns();
	struct writer *writer = opaque;
	size_t at;
	ssize_t n;

	for (at = 0; at < writer->qs.length; at += (size_t)n) {
		n = write(writer->fd, writer->qs.bytes + at, writer->qs.length - at);
		if (n <= 0)
			abort();
	}
	close(writer->fd);
	writer->cpu_ns = clock_thread_cpu_ns() - before;
	return NULL;
}

static uint64_t read_all(int fd)
{
	const uint64_t before = clock_thread_cpu_ns();
	struct stream *stream;
	size_t room;
	ssize_t n;

	if (stream_new(SOCKET_BUFFER, &stream, NULL) < 0)
		abort();
	for (;;) {
		void *to = stream_room(stream, &room);

		n = read(fd, to, room);
		if (n <= 0)
			break;
		stream_filled(stream, (size_t)n);
		events(stream, true);
	}
	stream_free(stream);
	return clock_thread_cpu_ns() - before;
}

static void measure_socket(uint64_t pages)
{
	static const struct speed taken = { "taken", false, true };
	struct writer writer = { 0 };
	uint64_t read_ns, begin_ns;
	pthread_t thread;
	int fds[2];

	make(&writer.qs, pages, &taken);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		abort();
	writer.fd = fds[0];
	begin_ns = clock_now_ns();
	if (pthread_create(&thread, NULL, write_all, &writer) != 0)
		abort();
	read_ns = read_all(fds[1]);
	pthread_join(thread, NULL);
	printf("{\"kind\": \"socket\", \"pages\": %" PRIu64
	       ", \"reader_cpu_ns_per_page\": %.0f, \"writer_cpu_ns_per_page\": %.0f, \"ns_per_page\": %.0f}\n",
	       pages, (double)read_ns / (double)pages, (double)writer.cpu_ns / (double)pages,
	       (double)(clock_now_ns() - begin_ns) / (double)pages);
	close(fds[1]);
	qs_free(&writer.qs);
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
	if (argc < 3 || strcmp(argv[2], "socket") == 0)
		measure_socket(pages);
	return 0;
}
