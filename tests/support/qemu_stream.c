/* SPDX-License-Identifier: BSD-2-Clause */
/* qemu_stream.c -- migration streams made by hand, and the stream's reader driven over them */
#include "support/qemu_stream.h"

#include <stdlib.h>
#include <string.h>

#define MULTIFD_MAGIC 0x11223344u

void qs_bytes(struct qs *qs, const void *bytes, size_t length)
{
	if (qs->length + length > qs->room) {
		qs->room = 2 * (qs->length + length) + 4096;
		qs->bytes = realloc(qs->bytes, qs->room);
		if (qs->bytes == NULL)
			abort();
	}
	if (length > 0)
		memcpy(qs->bytes + qs->length, bytes, length);
	qs->length += length;
}

void qs_8(struct qs *qs, uint8_t value)
{
	qs_bytes(qs, &value, 1);
}

void qs_16(struct qs *qs, uint16_t value)
{
	qs_8(qs, (uint8_t)(value >> 8));
	qs_8(qs, (uint8_t)value);
}

void qs_32(struct qs *qs, uint32_t value)
{
	qs_16(qs, (uint16_t)(value >> 16));
	qs_16(qs, (uint16_t)value);
}

void qs_64(struct qs *qs, uint64_t value)
{
	qs_32(qs, (uint32_t)(value >> 32));
	qs_32(qs, (uint32_t)value);
}

void qs_fill(struct qs *qs, uint8_t value, size_t length)
{
	uint8_t page[QS_PAGE];
	size_t piece;

	memset(page, value, sizeof(page));
	for (; length > 0; length -= piece) {
		piece = length < sizeof(page) ? length : sizeof(page);
		qs_bytes(qs, page, piece);
	}
}

void qs_name(struct qs *qs, const char *name)
{
	qs_8(qs, (uint8_t)strlen(name));
	qs_bytes(qs, name, strlen(name));
}

void qs_free(struct qs *qs)
{
	free(qs->bytes);
	*qs = (struct qs){ 0 };
}

void qs_header(struct qs *qs, const char *machine)
{
	qs_bytes(qs, "QEVM", 4);
	qs_32(qs, 3);
	qs_8(qs, 7);
	qs_32(qs, (uint32_t)strlen(machine));
	qs_bytes(qs, machine, strlen(machine));
}

void qs_subsection(struct qs *qs, const char *name)
{
	qs_8(qs, 5);
	qs_name(qs, name);
	qs_32(qs, 1);
}

void qs_command(struct qs *qs, uint16_t command, uint16_t length)
{
	qs_8(qs, 8);
	qs_16(qs, command);
	qs_16(qs, length);
	qs_fill(qs, 1, length);
}

void qs_section(struct qs *qs, uint8_t type, uint32_t id, const char *name, uint32_t version)
{
	qs_8(qs, type);
	qs_32(qs, id);
	if (name == NULL)
		return;
	qs_name(qs, name);
	qs_32(qs, 0);
	qs_32(qs, version);
}

void qs_footer(struct qs *qs, uint32_t id)
{
	qs_8(qs, 0x7e);
	qs_32(qs, id);
}

void qs_list(struct qs *qs, const char *const *names, const uint64_t *pages, size_t count)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < count; i++)
		total += pages[i] * QS_PAGE;
	qs_64(qs, total | 0x04);
	for (i = 0; i < count; i++) {
		qs_name(qs, names[i]);
		qs_64(qs, pages[i] * QS_PAGE);
	}
}

static void qs_record(struct qs *qs, const char *name, uint64_t page, uint64_t flag)
{
	qs_64(qs, page * QS_PAGE | flag | (name == NULL ? 0x20 : 0));
	if (name != NULL)
		qs_name(qs, name);
}

void qs_page(struct qs *qs, const char *name, uint64_t page, uint8_t fill)
{
	qs_record(qs, name, page, 0x08);
	qs_fill(qs, fill, QS_PAGE);
}

void qs_zero(struct qs *qs, const char *name, uint64_t page)
{
	qs_record(qs, name, page, 0x02);
	qs_8(qs, 0);
}

void qs_eos(struct qs *qs)
{
	qs_64(qs, 0x10);
}

void qs_init_packet(struct qs *qs, uint8_t id)
{
	qs_32(qs, MULTIFD_MAGIC);
	qs_32(qs, 1);
	qs_fill(qs, 0, 16);
	qs_8(qs, id);
	qs_fill(qs, 0, 39);
}

void qs_packet(struct qs *qs, const char *block, const uint64_t *pages, uint32_t normal, uint32_t zero,
	       uint8_t fill, bool sync)
{
	char name[256] = "";
	uint32_t i;

	strncpy(name, block, sizeof(name) - 1);
	qs_32(qs, MULTIFD_MAGIC);
	qs_32(qs, 1);
	qs_32(qs, sync);
	qs_32(qs, 128);
	qs_32(qs, normal);
	qs_32(qs, normal > 0 ? normal * QS_PAGE : 7 * QS_PAGE); /* a number left over: nobody looks at it */
	qs_64(qs, 7);
	qs_32(qs, zero);
	qs_fill(qs, 0, 28);
	qs_bytes(qs, name, sizeof(name));
	for (i = 0; i < 128; i++)
		qs_64(qs, i < normal + zero ? pages[i] * QS_PAGE : 0);
	qs_fill(qs, fill, (size_t)normal * QS_PAGE);
}

static void reading_own(struct reading *reading)
{
	struct ram_blocks *blocks = stream_blocks(reading->stream);
	int region = 0, found;
	size_t i;

	reading->block_events++;
	for (i = 0; reading->own != NULL && reading->own[i] != NULL; i++) {
		found = ram_blocks_find(blocks, reading->own[i], strlen(reading->own[i]));
		if (found < 0)
			abort();
		blocks->list[found].region = region++;
	}
}

static void reading_pages(struct reading *reading, const struct stream_event *event)
{
	uint64_t page = event->offset / QS_PAGE, end = page + event->bytes / QS_PAGE;

	if (event->block >= READING_BLOCKS || end > READING_PAGES || event->bytes == 0)
		abort();
	for (; page < end; page++)
		reading->pages[event->block][page]++;
	reading->zero_pages += event->zero_pages;
}

static void reading_event(struct reading *reading, int what, const struct stream_event *event)
{
	switch (what) {
	case STREAM_FORWARD:
		qs_bytes(&reading->out, event->data, event->length);
		break;
	case STREAM_BLOCKS:
		reading_own(reading);
		break;
	case STREAM_PAGES:
		reading_pages(reading, event);
		break;
	case STREAM_SYNC:
		if (reading->sync_count == READING_SYNCS)
			abort();
		reading->syncs[reading->sync_count++] = reading->out.length;
		if (reading->on_sync != NULL)
			reading->on_sync(reading, reading->opaque);
		break;
	case STREAM_RAM_END:
		reading->ram_end = reading->out.length;
		break;
	default:
		abort();
	}
}

void reading_begin(struct reading *reading, size_t buffer, const char *const *own)
{
	*reading = (struct reading){ .ram_end = SIZE_MAX, .own = own };
	if (stream_new(buffer, &reading->stream, &reading->err) < 0)
		abort();
}

int reading_feed(struct reading *reading, const uint8_t *bytes, size_t length)
{
	struct stream_event event;
	size_t room;
	int what;

	while (length > 0) {
		void *to = stream_room(reading->stream, &room);

		room = room < length ? room : length;
		if (room == 0)
			abort();
		memcpy(to, bytes, room);
		stream_filled(reading->stream, room);
		bytes += room;
		length -= room;
		while ((what = stream_next(reading->stream, &event, &reading->err)) > 0)
			reading_event(reading, what, &event);
		if (what < 0)
			return what;
	}
	return 0;
}

int reading_finish(struct reading *reading)
{
	return stream_finish(reading->stream, &reading->err);
}

void reading_end(struct reading *reading)
{
	stream_free(reading->stream);
	qs_free(&reading->out);
}
