/* SPDX-License-Identifier: BSD-2-Clause */
/* stream_other.c -- the bodies of sections that may stand between those of RAM: disks' dirty bitmaps, and devices of VFIO */
#include "qemu/stream_private.h"

#include <inttypes.h>

enum {
	BITMAP_EOS = 0x01,
	BITMAP_ZEROES = 0x02,
	BITMAP_NAME = 0x04,
	BITMAP_DEVICE = 0x08,
	BITMAP_START = 0x10,
	BITMAP_COMPLETE = 0x20,
	BITMAP_BITS = 0x40,
};

/* A byte for the length, then the name: the length of both, at @offset in what is there; 0: not all is there. */
static size_t counted_name(const struct stream *stream, size_t offset)
{
	size_t length;

	if (!stream_has(stream, offset + 1))
		return 0;
	length = 1 + (size_t)stream_at(stream)[offset];
	return stream_has(stream, offset + length) ? length : 0;
}

/* What follows the names: granularity and flags; or where the bits belong, and unless they are zeroes their length and themselves. */
static int bitmap_rest(struct stream *stream, uint8_t flags, size_t head)
{
	const bool bits = flags & BITMAP_BITS, content = bits && !(flags & BITMAP_ZEROES);
	const size_t fixed = flags & BITMAP_START ? 5 : content ? 20 : bits ? 12 : 0;

	if (!stream_has(stream, head + fixed))
		return STEP_MORE;
	if (content)
		stream->copy = big_get64(stream_at(stream) + head + 12);
	return stream_head(stream, head + fixed, stream_bitmap);
}

int stream_bitmap(struct stream *stream, struct stream_event *event)
{
	size_t head = 1, name;
	uint8_t flags, what;

	(void)event;
	if (!stream_has(stream, 1))
		return STEP_MORE;
	flags = stream_at(stream)[0];
	if (flags == BITMAP_EOS)
		return stream_head(stream, 1, stream_footer);
	what = flags & (BITMAP_START | BITMAP_COMPLETE | BITMAP_BITS);
	if ((flags & ~(what | BITMAP_ZEROES | BITMAP_NAME | BITMAP_DEVICE)) != 0 ||
	    (what != BITMAP_START && what != BITMAP_COMPLETE && what != BITMAP_BITS))
		return stream_refuse(stream, -EPROTO, "flags 0x%02x of a bitmap", flags);
	if (flags & BITMAP_DEVICE) {
		name = counted_name(stream, head);
		if (name == 0)
			return STEP_MORE;
		head += name;
	}
	if (flags & BITMAP_NAME) {
		name = counted_name(stream, head);
		if (name == 0)
			return STEP_MORE;
		head += name;
	}
	return bitmap_rest(stream, flags, head);
}

#define VFIO_TAG UINT64_C(0xffffffffef100000)

enum {
	VFIO_END_OF_STATE = 1,
	VFIO_SETUP = 3,
	VFIO_DATA = 4,
	VFIO_INIT_DATA_SENT = 5, /* ends the body, too */
};

int stream_vfio(struct stream *stream, struct stream_event *event)
{
	uint64_t tag;

	(void)event;
	if (!stream_has(stream, 8))
		return STEP_MORE;
	tag = big_get64(stream_at(stream));
	switch (tag ^ VFIO_TAG) {
	case VFIO_SETUP:
		return stream_head(stream, 8, stream_vfio);
	case VFIO_DATA:
		if (!stream_has(stream, 16))
			return STEP_MORE;
		stream->copy = big_get64(stream_at(stream) + 8);
		return stream_head(stream, 16, stream_vfio);
	case VFIO_END_OF_STATE:
	case VFIO_INIT_DATA_SENT:
		return stream_head(stream, 8, stream_footer);
	default:
		return stream_refuse(stream, -EPROTO, "tag 0x%" PRIx64 " of a VFIO device", tag);
	}
}
