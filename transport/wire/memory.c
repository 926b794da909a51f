/* SPDX-License-Identifier: BSD-2-Clause */
/* memory.c -- messages about guest memory: regions, channels, registration, barriers, pages and their hashes */
#include "wire/cursor.h"
#include "wire/layout.h"

#include <decant/memory.h>

static_assert(WIRE_REGION_NAME_MAX == DECANT_REGION_NAME_MAX, "names fit");
static_assert(WIRE_REGIONS_MAX == DECANT_REGIONS_MAX, "regions fit");

static bool memory_page_size_known(uint64_t page_size)
{
	return page_size == 4096 || page_size == 2ull << 20 || page_size == 1ull << 30;
}

/* [first, first + count) lies below @end, whatever the values */
static bool memory_within(uint64_t first, uint64_t count, uint64_t end)
{
	return first <= end && count <= end - first;
}

static void memory_region_index(struct cursor *cursor, uint32_t *region)
{
	cursor_u32(cursor, "region", region);
	cursor_check(cursor, *region < WIRE_REGIONS_MAX, "region", "beyond the limit");
}

static void memory_epoch(struct cursor *cursor, uint64_t *epoch)
{
	cursor_u64(cursor, "epoch", epoch);
	cursor_check(cursor, *epoch >= 1, "epoch", "0 is none");
}

static void region_fields(struct cursor *cursor, struct wire_region *region)
{
	cursor_name(cursor, "region name", region->name, sizeof(region->name));
	cursor_check(cursor, region->name[0] != '\0', "region name", "empty");
	cursor_u64(cursor, "region length", &region->length);
	cursor_u64(cursor, "region page_size", &region->page_size);
	cursor_u64(cursor, "region guest_address", &region->guest_address);
	if (cursor->rc < 0)
		return;
	cursor_check(cursor, memory_page_size_known(region->page_size), "region page_size",
		     "neither 4 KiB nor 2 MiB nor 1 GiB");
	cursor_check(cursor, region->length > 0 && (region->length & (region->page_size - 1)) == 0,
		     "region length", "no multiple of the page size");
	cursor_check(cursor, region->guest_address % DECANT_PAGE_SIZE == 0, "region guest_address",
		     "no multiple of 4 KiB");
	cursor_check(cursor, memory_within(region->guest_address, region->length, WIRE_ADDRESS_END),
		     "region guest_address", "the region ends beyond 2^52");
}

static void regions_fields(struct cursor *cursor, struct wire_regions *regions)
{
	cursor_u32(cursor, "count", &regions->count);
	cursor_check(cursor, regions->count >= 1 && regions->count <= WIRE_REGIONS_MAX, "count",
		     "beyond its limits");
	cursor_reserved(cursor, 4);
	for (uint32_t i = 0; cursor->rc == 0 && i < regions->count; i++)
		region_fields(cursor, &regions->region[i]);
}
WIRE_DEFINE(regions, "REGIONS")

static void open_fields(struct cursor *cursor, struct wire_open *open)
{
	memory_epoch(cursor, &open->epoch);
	cursor_u32(cursor, "channels", &open->channels);
	cursor_check(cursor, open->channels >= 1 && open->channels <= WIRE_CHANNELS_MAX, "channels",
		     "beyond their limits");
	cursor_u32(cursor, "rails", &open->rails);
	cursor_check(cursor, open->rails <= WIRE_PAIRS_MAX, "rails", "beyond their limit");
	cursor_name(cursor, "fabric", open->fabric, sizeof(open->fabric));
	cursor_check(cursor, open->fabric[0] != '\0', "fabric", "empty");
	for (uint32_t i = 0; cursor->rc == 0 && i < open->rails; i++) {
		cursor_u32(cursor, "rail", &open->rail[i]);
		cursor_check(cursor, open->rail[i] < WIRE_RAILS_MAX, "rail", "beyond the limit");
		for (uint32_t j = 0; j < i; j++)
			cursor_check(cursor, open->rail[i] != open->rail[j], "rail", "named twice");
	}
}
WIRE_DEFINE(open, "OPEN")

static void opened_fields(struct cursor *cursor, struct wire_opened *opened)
{
	memory_epoch(cursor, &opened->epoch);
	cursor_u32(cursor, "channels", &opened->channels);
	cursor_check(cursor, opened->channels >= 1 && opened->channels <= WIRE_CHANNELS_MAX, "channels",
		     "beyond their limits");
	cursor_u16(cursor, "address_length", &opened->address_length);
	cursor_check(cursor, opened->address_length <= WIRE_ADDRESS_MAX, "address_length", "beyond the limit");
	cursor_u16(cursor, "tokens", &opened->token_count);
	cursor_check(cursor, opened->token_count == 0 || opened->token_count == opened->channels, "tokens",
		     "neither none nor two for each channel");
	for (uint32_t i = 0; cursor->rc == 0 && i < opened->token_count; i++) {
		cursor_bytes(cursor, "tokens", opened->tokens[i], WIRE_TOKEN_SIZE);
		cursor_bytes(cursor, "answers", opened->answers[i], WIRE_TOKEN_SIZE);
	}
	if (cursor->rc == 0)
		cursor_bytes(cursor, "address", opened->address, opened->address_length);
}
WIRE_DEFINE(opened, "OPENED")

static void range_fields(struct cursor *cursor, struct wire_range *range)
{
	cursor_u64(cursor, "range first", &range->first);
	cursor_u32(cursor, "range count", &range->count);
	cursor_reserved(cursor, 4);
	cursor_check(cursor, range->count >= 1, "range count", "0");
	cursor_check(cursor, memory_within(range->first, range->count, WIRE_GRANULE_END), "range",
		     "ends beyond 2^52");
}

static void register_fields(struct cursor *cursor, struct wire_register *reg)
{
	memory_epoch(cursor, &reg->epoch);
	memory_region_index(cursor, &reg->region);
	cursor_u32(cursor, "count", &reg->count);
	cursor_check(cursor, reg->count >= 1 && reg->count <= WIRE_RANGES_MAX, "count", "beyond its limits");
	for (uint32_t i = 0; cursor->rc == 0 && i < reg->count; i++)
		range_fields(cursor, &reg->range[i]);
}
WIRE_DEFINE(register, "REGISTER")

static void grant_fields(struct cursor *cursor, struct wire_grant *grant)
{
	memory_epoch(cursor, &grant->epoch);
	memory_region_index(cursor, &grant->region);
	cursor_u32(cursor, "count", &grant->count);
	cursor_check(cursor, grant->count >= 1 && grant->count <= WIRE_KEYS_MAX, "count", "beyond its limits");
	cursor_u64(cursor, "first", &grant->first);
	cursor_check(cursor, memory_within(grant->first, grant->count, WIRE_GRANULE_END), "first",
		     "ends beyond 2^52");
	cursor_tail(cursor, "keys", &grant->keys, (size_t)grant->count * sizeof(uint64_t));
}
WIRE_DEFINE(grant, "GRANT")

static void barrier_ack_fields(struct cursor *cursor, struct wire_barrier_ack *ack)
{
	memory_epoch(cursor, &ack->epoch);
	cursor_u64(cursor, "round", &ack->round);
}
WIRE_DEFINE(barrier_ack, "BARRIER_ACK")

static void fence_fields(struct cursor *cursor, struct wire_fence *fence)
{
	memory_epoch(cursor, &fence->epoch);
}
WIRE_DEFINE(fence, "FENCE or FENCED")

static void lost_fields(struct cursor *cursor, struct wire_lost *lost)
{
	memory_epoch(cursor, &lost->epoch);
	cursor_u32(cursor, "code", &lost->code);
	cursor_check(cursor, lost->code >= 1 && lost->code <= WIRE_ERRNO_MAX, "code", "no errno");
	cursor_counted_text(cursor, "text", lost->text, sizeof(lost->text));
}
WIRE_DEFINE(lost, "LOST")

static void message_fields(struct cursor *cursor, struct wire_message *message)
{
	cursor_u32(cursor, "length", &message->length);
	cursor_check(cursor, message->length >= 1 && message->length <= WIRE_MESSAGE_MAX, "length",
		     "beyond its limits");
	cursor_reserved(cursor, 4);
	cursor_tail(cursor, "data", &message->data, message->length);
}
WIRE_DEFINE(message, "MESSAGE")

static void pages_fields(struct cursor *cursor, struct wire_pages *pages)
{
	memory_region_index(cursor, &pages->region);
	cursor_u32(cursor, "length", &pages->length);
	cursor_check(cursor, pages->length >= DECANT_PAGE_SIZE && pages->length <= WIRE_CHUNK_MAX, "length",
		     "beyond its limits");
	cursor_u64(cursor, "offset", &pages->offset);
	cursor_check(cursor, pages->length % DECANT_PAGE_SIZE == 0 && pages->offset % DECANT_PAGE_SIZE == 0,
		     "offset", "not whole pages of 4 KiB");
	cursor_check(cursor, memory_within(pages->offset, pages->length, WIRE_ADDRESS_END), "offset",
		     "ends beyond 2^52");
	cursor_tail(cursor, "data", &pages->data, pages->length);
}
WIRE_DEFINE(pages, "PAGES")

static void hashes_fields(struct cursor *cursor, struct wire_hashes *hashes)
{
	memory_region_index(cursor, &hashes->region);
	cursor_u32(cursor, "count", &hashes->count);
	cursor_check(cursor, hashes->count >= 1 && hashes->count <= WIRE_HASHES_MAX, "count", "beyond its limits");
	cursor_u64(cursor, "first", &hashes->first);
	cursor_check(cursor, memory_within(hashes->first, hashes->count, WIRE_PAGE_END), "first",
		     "ends beyond 2^52");
	cursor_tail(cursor, "hashes", &hashes->hashes, (size_t)hashes->count * sizeof(uint64_t));
}
WIRE_DEFINE(hashes, "HASHES")

static void verified_fields(struct cursor *cursor, struct wire_verified *verified)
{
	cursor_u64(cursor, "mismatches", &verified->mismatches);
	memory_region_index(cursor, &verified->region);
	cursor_reserved(cursor, 4);
	cursor_u64(cursor, "page", &verified->page);
	cursor_check(cursor, verified->page < WIRE_PAGE_END, "page", "lies beyond 2^52");
}
WIRE_DEFINE(verified, "VERIFIED")

uint64_t wire_grant_key(const struct wire_grant *grant, uint32_t i)
{
	assert(i < grant->count);
	return cursor_le64(grant->keys + (size_t)i * sizeof(uint64_t));
}

uint64_t wire_hash(const struct wire_hashes *hashes, uint32_t i)
{
	assert(i < hashes->count);
	return cursor_le64(hashes->hashes + (size_t)i * sizeof(uint64_t));
}
