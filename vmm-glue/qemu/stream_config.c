/* SPDX-License-Identifier: BSD-2-Clause */
/* stream_config.c -- how a migration stream begins: its header, the machine type and what else the configuration has */
#include "qemu/stream_private.h"

#include <string.h>

#define STREAM_MAGIC 0x5145564du /* "QEVM" */
#define STREAM_VERSION 3u
#define MULTIFD_MAGIC 0x11223344u
#define TLS_RECORDS 0x1603u /* a handshake of TLS 1.x, its first two bytes */

#define CAPABILITIES_MAX 64u
#define UUID_BYTES 16u

/* Target pages: 4 KiB is the smallest unit that decant moves. */
#define PAGE_BITS_MIN 12u
#define PAGE_BITS_MAX 16u

static int config_capability(struct stream *stream, struct stream_event *event)
{
	const uint8_t *at = stream_at(stream);
	char name[STREAM_NAME_MAX];

	(void)event;
	if (!stream_has(stream, 1) || !stream_has(stream, 1 + (size_t)at[0]))
		return STEP_MORE;
	stream_name(name, at + 1, at[0]);
	return stream_refuse(stream, -ENOTSUP,
			     "capability %s is on, and with it the stream is another: switch it off "
			     "(migrate-set-capabilities)",
			     name);
}

static int config_next(struct stream *stream, struct stream_event *event);

static int config_capabilities(struct stream *stream, struct stream_event *event)
{
	uint32_t count;

	(void)event;
	if (!stream_has(stream, 4))
		return STEP_MORE;
	count = big_get32(stream_at(stream));
	if (count > CAPABILITIES_MAX)
		return stream_refuse(stream, -EPROTO, "%u capabilities: no QEMU has so many", count);
	return stream_head(stream, 4, count == 0 ? config_next : config_capability);
}

static int config_page_bits(struct stream *stream, struct stream_event *event)
{
	uint32_t bits;

	(void)event;
	if (!stream_has(stream, 4))
		return STEP_MORE;
	bits = big_get32(stream_at(stream));
	if (bits < PAGE_BITS_MIN || bits > PAGE_BITS_MAX)
		return stream_refuse(stream, -ENOTSUP,
				     "guest pages of 2^%u bytes: only 4 KiB to 64 KiB can be moved", bits);
	stream->blocks.page_size = 1u << bits;
	return stream_head(stream, 4, config_next);
}

static int config_uuid(struct stream *stream, struct stream_event *event)
{
	(void)event;
	if (!stream_has(stream, UUID_BYTES))
		return STEP_MORE;
	return stream_head(stream, UUID_BYTES, config_next);
}

static const struct {
	const char *name;
	int (*step)(struct stream *stream, struct stream_event *event);
} subsections[] = {
	{ "configuration/target-page-bits", config_page_bits },
	{ "configuration/capabilities", config_capabilities },
	{ "configuration/uuid", config_uuid },
};

/* A subsection has no length, so one that is not known cannot be passed over. */
static int config_subsection(struct stream *stream)
{
	const uint8_t *at = stream_at(stream);
	char name[STREAM_NAME_MAX];
	size_t i, head;

	if (!stream_has(stream, 2) || !stream_has(stream, 2 + (size_t)at[1] + 4))
		return STEP_MORE;
	stream_name(name, at + 2, at[1]);
	head = 2 + (size_t)at[1] + 4;
	if (big_get32(at + head - 4) == 1)
		for (i = 0; i < sizeof(subsections) / sizeof(subsections[0]); i++)
			if (strcmp(name, subsections[i].name) == 0)
				return stream_head(stream, head, subsections[i].step);
	return stream_refuse(stream, -ENOTSUP,
			     "subsection \"%s\" version %u: this is a QEMU that decant does not know yet", name,
			     big_get32(at + head - 4));
}

static int config_next(struct stream *stream, struct stream_event *event)
{
	(void)event;
	if (!stream_has(stream, 1))
		return STEP_MORE;
	if (stream_at(stream)[0] == ELEMENT_SUBSECTION)
		return config_subsection(stream);
	return stream_head(stream, 0, stream_element);
}

static int config_begin(struct stream *stream, struct stream_event *event)
{
	const uint8_t *at = stream_at(stream);
	uint32_t length;

	(void)event;
	if (!stream_has(stream, 1))
		return STEP_MORE;
	if (at[0] != ELEMENT_CONFIGURATION)
		return stream_refuse(
			stream, -ENOTSUP,
			"no configuration: the machine type is of QEMU 2.3 or older, and its stream has no "
			"footers; start the VM with a newer machine type");
	if (!stream_has(stream, 5))
		return STEP_MORE;
	length = big_get32(at + 1);
	if (length == 0 || length >= STREAM_NAME_MAX)
		return stream_refuse(stream, -EPROTO, "a machine type's name of %u bytes", length);
	if (!stream_has(stream, 5 + length))
		return STEP_MORE;
	stream_name(stream->machine, at + 5, length);
	stream_set_place(stream, "configuration");
	return stream_head(stream, 5 + length, config_next);
}

/* What else than a migration stream may come to the socket, told by its first bytes. */
static const char *stranger(uint32_t magic)
{
	if (magic == MULTIFD_MAGIC)
		return "this is a channel of multifd, and the main stream has not come: both ends of QEMU's must use the "
		       "same socket";
	if (magic >> 16 == TLS_RECORDS)
		return "it is encrypted: empty tls-creds (migrate-set-parameters) at both ends; decant has keys of its own";
	return "this is no migration stream of QEMU's";
}

int stream_begin(struct stream *stream, struct stream_event *event)
{
	const uint8_t *at = stream_at(stream);

	(void)event;
	if (!stream_has(stream, 4))
		return STEP_MORE;
	if (big_get32(at) != STREAM_MAGIC)
		return stream_refuse(stream, -EPROTO, "%s", stranger(big_get32(at)));
	if (!stream_has(stream, 8))
		return STEP_MORE;
	if (big_get32(at + 4) != STREAM_VERSION)
		return stream_refuse(stream, -ENOTSUP, "version %u of the format; decant knows %u",
				     big_get32(at + 4), STREAM_VERSION);
	return stream_head(stream, 8, config_begin);
}
