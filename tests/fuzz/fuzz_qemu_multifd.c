/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_qemu_multifd.c -- what comes over a connection that says it is one of multifd's channels
 *
 * The first byte says in which pieces the rest comes. Whatever the pieces, the same comes of it.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "qemu/multifd.h"
#include "qemu/strays.h"

#define PAGE 4096u
#define BUFFER (16u << 10) /* small: it is made anew for each input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has come of a channel. */
struct outcome {
	int code;
	int finish;
	int id;
	uint64_t pages; /* the sum of a hash of each */
	uint64_t zero_pages;
	uint64_t strays; /* a hash of them, in order */
	uint64_t syncs;
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x100000001b3);
}

static const struct ram_blocks *fuzz_blocks(void)
{
	static struct ram_blocks blocks = { .page_size = PAGE };

	if (blocks.count == 0) {
		if (ram_blocks_add(&blocks, "ram", 3, (uint64_t)256 * PAGE) != 0 ||
		    ram_blocks_add(&blocks, "vga", 3, (uint64_t)8 * PAGE) != 1)
			abort();
		blocks.list[0].region = 0;
	}
	return &blocks;
}

static void fuzz_strays(struct outcome *outcome, struct strays *strays)
{
	for (; strays->first != NULL; strays_drop(strays)) {
		const struct stray *stray = strays->first;

		assert(stray->block == 1 && stray->offset % PAGE == 0 && stray->offset < (uint64_t)8 * PAGE);
		outcome->strays = mix(mix(outcome->strays, stray->offset), stray->zero);
		for (uint32_t i = 0; !stray->zero && i < PAGE; i++)
			outcome->strays = mix(outcome->strays, stray->content[i]);
	}
	strays_clear(strays);
}

static void fuzz_event(struct outcome *outcome, struct multifd *multifd, int what,
		       const struct multifd_event *event)
{
	if (what == MULTIFD_SYNC) {
		outcome->syncs++;
		fuzz_strays(outcome, multifd_strays(multifd));
		return;
	}
	assert(what == MULTIFD_PAGES && event->block == 0 && event->bytes > 0 && event->bytes % PAGE == 0);
	assert(event->offset % PAGE == 0 && event->offset + event->bytes <= (uint64_t)256 * PAGE);
	assert(event->zero_pages == 0 || event->zero_pages == event->bytes / PAGE);
	for (uint64_t at = event->offset; at < event->offset + event->bytes; at += PAGE)
		outcome->pages += mix(1, at);
	outcome->zero_pages += event->zero_pages;
}

static struct outcome fuzz_read(const uint8_t *data, size_t size, size_t buffer, size_t piece)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct outcome outcome = { 0 };
	struct multifd_event event;
	struct multifd *multifd;
	size_t room;
	int what = 0;

	if (multifd_new(fuzz_blocks(), buffer, &multifd, NULL) < 0)
		abort();
	while (size > 0 && what == 0) {
		void *to = multifd_room(multifd, &room);

		assert(room > 0);
		room = piece > 0 && piece < room ? piece : room;
		room = room < size ? room : size;
		memcpy(to, data, room);
		multifd_filled(multifd, room);
		data += room;
		size -= room;
		while ((what = multifd_next(multifd, &event, &err)) > 0)
			fuzz_event(&outcome, multifd, what, &event);
	}
	outcome.code = what;
	assert(what == 0 || (err.code == what && err.msg[0] != '\0'));
	outcome.finish = multifd_finish(multifd, &err);
	outcome.id = multifd_id(multifd);
	multifd_free(multifd);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, pieces;

	if (size < 1)
		return 0;
	whole = fuzz_read(data + 1, size - 1, BUFFER, 0);
	pieces = fuzz_read(data + 1, size - 1, 2048, 1 + (size_t)data[0]);
	assert(whole.code == pieces.code && whole.finish == pieces.finish && whole.id == pieces.id);
	assert(whole.pages == pieces.pages && whole.zero_pages == pieces.zero_pages);
	assert(whole.strays == pieces.strays && whole.syncs == pieces.syncs);
	return 0;
}
