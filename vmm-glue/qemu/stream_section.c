/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_section.c -- what a migration stream is made of up to the end of RAM: sections of RAM and of the few others, and commands
 *
 * A section's length is nowhere, so one whose body is not known ends the migration, before anything is lost.
 */
#include "qemu/stream_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RAM_VERSION 4u

enum {
	COMMAND_OPEN_RETURN_PATH = 1,
	COMMAND_PING = 2,
	COMMAND_POSTCOPY_ADVISE = 3,
	COMMAND_POSTCOPY_LISTEN = 4,
	COMMAND_POSTCOPY_RUN = 5,
	COMMAND_POSTCOPY_RAM_DISCARD = 6,
	COMMAND_PACKAGED = 7,
	COMMAND_ENABLE_COLO = 8,
	COMMAND_POSTCOPY_RESUME = 9,
	COMMAND_RECV_BITMAP = 10,
	COMMAND_SWITCHOVER_START = 11,
};

/* Its data have a length of their own, so they may be passed over. What is refused means a way of migrating that moves RAM otherwise. */
static const struct {
	int length; /* of the data; -1: refused */
	const char *name;
	const char *advice;
} commands[] = {
	[COMMAND_OPEN_RETURN_PATH] = { 0, "OPEN_RETURN_PATH", "" },
	[COMMAND_PING] = { 4, "PING", "" },
	[COMMAND_POSTCOPY_ADVISE] = { 0, "POSTCOPY_ADVISE",
				      "switch capability postcopy-ram off (migrate-set-capabilities)" },
	[COMMAND_POSTCOPY_LISTEN] = { -1, "POSTCOPY_LISTEN",
				      "switch capability postcopy-ram off (migrate-set-capabilities)" },
	[COMMAND_POSTCOPY_RUN] = { -1, "POSTCOPY_RUN",
				   "switch capability postcopy-ram off (migrate-set-capabilities)" },
	[COMMAND_POSTCOPY_RAM_DISCARD] = { -1, "POSTCOPY_RAM_DISCARD",
					   "switch capability postcopy-ram off (migrate-set-capabilities)" },
	[COMMAND_PACKAGED] = { -1, "PACKAGED",
			       "switch capability background-snapshot off (migrate-set-capabilities)" },
	[COMMAND_ENABLE_COLO] = { -1, "ENABLE_COLO", "switch capability x-colo off (migrate-set-capabilities)" },
	[COMMAND_POSTCOPY_RESUME] = { -1, "POSTCOPY_RESUME", "a postcopy migration cannot be recovered here" },
	[COMMAND_RECV_BITMAP] = { -1, "RECV_BITMAP", "a postcopy migration cannot be recovered here" },
	[COMMAND_SWITCHOVER_START] = { 0, "SWITCHOVER_START", "" },
};

static int section_command(struct stream *stream)
{
	const uint8_t *at = stream_at(stream);
	uint16_t command, length;

	if (!stream_has(stream, 5))
		return STEP_MORE;
	command = big_get16(at + 1);
	length = big_get16(at + 3);
	if (command >= sizeof(commands) / sizeof(commands[0]) || commands[command].name == NULL)
		return stream_refuse(
			stream, -ENOTSUP,
			"command %u: this is a QEMU, or a capability of it, that decant does not know yet",
			command);
	/* With the page sizes it is postcopy of RAM, which empties the destination's memory; without, that of disks' bitmaps. */
	if (commands[command].length < 0 || (command == COMMAND_POSTCOPY_ADVISE && length != 0))
		return stream_refuse(stream, -ENOTSUP, "command %s: %s", commands[command].name,
				     commands[command].advice);
	if (commands[command].length != length)
		return stream_refuse(stream, -EPROTO, "command %s with %u bytes", commands[command].name, length);
	if (command == COMMAND_OPEN_RETURN_PATH)
		stream->return_path = true;
	stream->copy = length;
	return stream_head(stream, 5, stream_element);
}

static const struct {
	enum stream_kind kind;
	const char *name;
	int (*body)(struct stream *stream, struct stream_event *event);
} kinds[] = {
	[KIND_RAM] = { KIND_RAM, "ram", stream_ram },
	[KIND_BITMAP] = { KIND_BITMAP, "dirty-bitmap", stream_bitmap },
	[KIND_VFIO] = { KIND_VFIO, "vfio", stream_vfio },
};

/* What can be said of sections that have no place before the end of RAM. */
static const char *section_advice(const char *name)
{
	if (strstr(name, "virtio-mem") != NULL)
		return "take the virtio-mem devices out of the VM: they take memory away under the sidecars";
	if (strcmp(name, "block") == 0)
		return "switch capability block off, and mirror the disks (blockdev-mirror)";
	return "take this device out of the VM, or switch off the capability that sends it early";
}

static int section_kind(const char *name)
{
	const size_t length = strlen(name);

	if (strcmp(name, "ram") == 0)
		return KIND_RAM;
	if (strcmp(name, "dirty-bitmap") == 0)
		return KIND_BITMAP;
	if (length > 5 && strcmp(name + length - 5, "/vfio") == 0)
		return KIND_VFIO;
	return -1;
}

static struct stream_section *section_find(struct stream *stream, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < stream->section_count; i++)
		if (stream->sections[i].id == id)
			return &stream->sections[i];
	return NULL;
}

static void section_place(struct stream *stream, const char *name)
{
	const char *what = stream->element == ELEMENT_START  ? "START"
			   : stream->element == ELEMENT_PART ? "PART"
			   : stream->element == ELEMENT_END  ? "END"
							     : "FULL";

	snprintf(stream->place, sizeof(stream->place), "section %.200s %s", name, what);
}

/* Begins the body of a section whose head of @length bytes is all there. */
static int section_enter(struct stream *stream, size_t length, enum stream_kind kind)
{
	stream->synced = false;
	if (kind == KIND_RAM)
		stream->stats.sections++;
	return stream_head(stream, length, kinds[kind].body);
}

static int section_start(struct stream *stream)
{
	const uint8_t *at = stream_at(stream);
	char name[STREAM_NAME_MAX];
	size_t head;
	int kind;

	if (!stream_has(stream, 6) || !stream_has(stream, 6 + (size_t)at[5] + 8))
		return STEP_MORE;
	head = 6 + (size_t)at[5] + 8;
	stream_name(name, at + 6, at[5]);
	section_place(stream, name);
	kind = section_kind(name);
	if (stream->element == ELEMENT_FULL || kind < 0)
		return stream_refuse(stream, -ENOTSUP,
				     "this comes before the end of RAM, and its length cannot be told: %s",
				     section_advice(name));
	stream->section_id = big_get32(at + 1);
	if (section_find(stream, stream->section_id) != NULL)
		return stream_refuse(stream, -EPROTO, "section %u is begun a second time", stream->section_id);
	if (stream->section_count == STREAM_SECTIONS_MAX)
		return stream_refuse(stream, -EPROTO, "more than %u sections", STREAM_SECTIONS_MAX);
	if (kind == KIND_RAM && (big_get32(at + head - 4) != RAM_VERSION || stream->listed || stream->listing > 0))
		return stream_refuse(stream, -EPROTO, "version %u of RAM, which must be %u and come once",
				     big_get32(at + head - 4), RAM_VERSION);
	stream->sections[stream->section_count++] = (struct stream_section){ .id = stream->section_id,
									     .kind = (enum stream_kind)kind };
	return section_enter(stream, head, (enum stream_kind)kind);
}

static int section_part(struct stream *stream)
{
	const struct stream_section *section;

	if (!stream_has(stream, 5))
		return STEP_MORE;
	stream->section_id = big_get32(stream_at(stream) + 1);
	section = section_find(stream, stream->section_id);
	if (section == NULL)
		return stream_refuse(stream, -EPROTO, "section %u has not begun", stream->section_id);
	section_place(stream, kinds[section->kind].name);
	return section_enter(stream, 5, section->kind);
}

int stream_element(struct stream *stream, struct stream_event *event)
{
	uint8_t type;

	(void)event;
	if (!stream_has(stream, 1))
		return STEP_MORE;
	type = stream_at(stream)[0];
	stream->element = type;
	switch (type) {
	case ELEMENT_START:
	case ELEMENT_FULL:
		return section_start(stream);
	case ELEMENT_PART:
	case ELEMENT_END:
		return section_part(stream);
	case ELEMENT_COMMAND:
		return section_command(stream);
	case ELEMENT_EOF:
		return stream_refuse(stream, -EPROTO, "it ends, and the end of RAM has not come");
	default:
		return stream_refuse(stream, -EPROTO, "type 0x%02x where a section or a command must begin", type);
	}
}

int stream_footer(struct stream *stream, struct stream_event *event)
{
	const uint8_t *at = stream_at(stream);

	(void)event;
	if (!stream_has(stream, 5))
		return STEP_MORE;
	if (at[0] != ELEMENT_FOOTER || big_get32(at + 1) != stream->section_id)
		return stream_refuse(stream, -EPROTO, "0x%02x and %u in the place of section %u's footer", at[0],
				     big_get32(at + 1), stream->section_id);
	stream_set_place(stream, "between sections");
	return stream_head(stream, 5, stream_element);
}
