/* SPDX-License-Identifier: BSD-2-Clause */
/* wire_any.c -- tables of the codecs, and samples */
#include "support/wire_any.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <decant/state.h>

struct any_codec {
	int (*encode)(const union wire_any *message, uint8_t *bytes, size_t capacity);
	int (*decode)(union wire_any *message, const uint8_t *bytes, size_t length, struct decant_error *err);
};

#define ANY_DEFINE(name, member)                                                                       \
	static int any_##name##_encode(const union wire_any *message, uint8_t *bytes, size_t capacity) \
	{                                                                                              \
		return wire_##name##_encode(&message->member, bytes, capacity);                        \
	}                                                                                              \
	static int any_##name##_decode(union wire_any *message, const uint8_t *bytes, size_t length,   \
				       struct decant_error *err)                                       \
	{                                                                                              \
		return wire_##name##_decode(&message->member, bytes, length, err);                     \
	}

ANY_DEFINE(hello, hello)
ANY_DEFINE(welcome, welcome)
ANY_DEFINE(error, error)
ANY_DEFINE(regions, regions)
ANY_DEFINE(chunk, chunk)
ANY_DEFINE(prepared, prepared)
ANY_DEFINE(open, open)
ANY_DEFINE(opened, opened)
ANY_DEFINE(register, reg)
ANY_DEFINE(grant, grant)
ANY_DEFINE(barrier_ack, barrier_ack)
ANY_DEFINE(fence, fence)
ANY_DEFINE(lost, lost)
ANY_DEFINE(message, message)
ANY_DEFINE(challenge, challenge)
ANY_DEFINE(proof, proof)
ANY_DEFINE(proved, proved)
ANY_DEFINE(pages, pages)
ANY_DEFINE(hashes, hashes)
ANY_DEFINE(verified, verified)
ANY_DEFINE(handover, handover)
ANY_DEFINE(ready, ready)
ANY_DEFINE(running, running)
ANY_DEFINE(status, status)
ANY_DEFINE(ping, ping)
ANY_DEFINE(pong, pong)
ANY_DEFINE(verdict, verdict)

#define ANY_CODEC(name)                                  \
	{                                                \
		any_##name##_encode, any_##name##_decode \
	}

/* a type that is not here has no payload */
static const struct any_codec codecs[WIRE_TYPE_MAX + 1] = {
	[WIRE_HELLO] = ANY_CODEC(hello),
	[WIRE_WELCOME] = ANY_CODEC(welcome),
	[WIRE_ERROR] = ANY_CODEC(error),
	[WIRE_REGIONS] = ANY_CODEC(regions),
	[WIRE_SHAPE] = ANY_CODEC(chunk),
	[WIRE_PREPARED] = ANY_CODEC(prepared),
	[WIRE_OPEN] = ANY_CODEC(open),
	[WIRE_OPENED] = ANY_CODEC(opened),
	[WIRE_REGISTER] = ANY_CODEC(register),
	[WIRE_GRANT] = ANY_CODEC(grant),
	[WIRE_BARRIER_ACK] = ANY_CODEC(barrier_ack),
	[WIRE_FENCE] = ANY_CODEC(fence),
	[WIRE_FENCED] = ANY_CODEC(fence),
	[WIRE_PAGES] = ANY_CODEC(pages),
	[WIRE_STATE] = ANY_CODEC(chunk),
	[WIRE_HASHES] = ANY_CODEC(hashes),
	[WIRE_VERIFIED] = ANY_CODEC(verified),
	[WIRE_HANDOVER] = ANY_CODEC(handover),
	[WIRE_READY] = ANY_CODEC(ready),
	[WIRE_RUNNING] = ANY_CODEC(running),
	[WIRE_STATUS] = ANY_CODEC(status),
	[WIRE_PING] = ANY_CODEC(ping),
	[WIRE_PONG] = ANY_CODEC(pong),
	[WIRE_ABORT] = ANY_CODEC(error),
	[WIRE_VERDICT] = ANY_CODEC(verdict),
	[WIRE_LOST] = ANY_CODEC(lost),
	[WIRE_MESSAGE] = ANY_CODEC(message),
	[WIRE_CHALLENGE] = ANY_CODEC(challenge),
	[WIRE_PROOF] = ANY_CODEC(proof),
	[WIRE_PROVED] = ANY_CODEC(proved),
};

static bool any_type_exists(uint16_t type)
{
	return type >= WIRE_HELLO && type <= WIRE_TYPE_MAX;
}

int wire_any_decode(uint16_t type, union wire_any *message, const uint8_t *bytes, size_t length,
		    struct decant_error *err)
{
	if (!any_type_exists(type))
		return decant_error_set(err, -EPROTO, "type %u: none", type);
	if (codecs[type].decode == NULL)
		return wire_empty_decode(type, length, err);
	return codecs[type].decode(message, bytes, length, err);
}

int wire_any_encode(uint16_t type, const union wire_any *message, uint8_t *bytes, size_t capacity)
{
	if (!any_type_exists(type))
		return -EINVAL;
	if (codecs[type].encode == NULL)
		return 0;
	return codecs[type].encode(message, bytes, capacity);
}

size_t wire_any_tail(uint16_t type, const union wire_any *message, const uint8_t **data)
{
	switch (type) {
	case WIRE_SHAPE:
	case WIRE_STATE:
		*data = message->chunk.data;
		return message->chunk.length;
	case WIRE_PAGES:
		*data = message->pages.data;
		return message->pages.length;
	case WIRE_MESSAGE:
		*data = message->message.data;
		return message->message.length;
	case WIRE_GRANT:
		*data = message->grant.keys;
		return (size_t)message->grant.count * sizeof(uint64_t);
	case WIRE_HASHES:
		*data = message->hashes.hashes;
		return (size_t)message->hashes.count * sizeof(uint64_t);
	default:
		*data = NULL;
		return 0;
	}
}

int wire_any_payload(uint16_t type, const union wire_any *message, uint8_t *bytes, size_t capacity)
{
	const int head = wire_any_encode(type, message, bytes, capacity);
	const uint8_t *data;
	size_t length;

	if (head < 0)
		return head;
	length = wire_any_tail(type, message, &data);
	if (length > capacity - (size_t)head)
		return -EMSGSIZE;
	if (length > 0)
		memcpy(bytes + head, data, length);
	return head + (int)length;
}

/* one of three values */
static uint64_t pick(enum wire_sample sample, uint64_t least, uint64_t usual, uint64_t most)
{
	return sample == WIRE_SAMPLE_LEAST ? least : sample == WIRE_SAMPLE_USUAL ? usual : most;
}

static uint64_t pick64(enum wire_sample sample)
{
	return pick(sample, 0, 123456789012345, UINT64_MAX);
}

static uint32_t pick32(enum wire_sample sample)
{
	return (uint32_t)pick(sample, 0, 5000, UINT32_MAX);
}

static void pick_text(enum wire_sample sample, char *text, size_t size, const char *usual)
{
	memset(text, 0, size);
	if (sample == WIRE_SAMPLE_USUAL)
		snprintf(text, size, "%s", usual);
	else if (sample == WIRE_SAMPLE_MOST)
		memset(text, '~', size - 1);
}

static void pick_bytes(enum wire_sample sample, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)pick(sample, 0, 17 * i + 1, 0xff);
}

static const uint8_t *pick_data(void)
{
	static uint8_t data[WIRE_CHUNK_MAX];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 11);
	return data;
}

static void sample_hello(enum wire_sample sample, struct wire_hello *hello)
{
	hello->version_min = 1;
	hello->version_max = (uint16_t)pick(sample, 1, 1, UINT16_MAX);
	hello->purpose = (uint16_t)(WIRE_PURPOSE_MIGRATE + sample);
	hello->features = pick64(sample);
	hello->pid = pick32(sample);
	pick_bytes(sample, hello->id, sizeof(hello->id));
	pick_bytes(sample, hello->boot_id, sizeof(hello->boot_id));
	pick_text(sample, hello->name, sizeof(hello->name), "demo");
}

static void sample_rail(enum wire_sample sample, struct wire_rail *rail)
{
	pick_text(sample, rail->device, sizeof(rail->device), "mlx5_0");
	rail->device[0] = 'm';
	rail->family = (uint16_t)pick(sample, 4, 4, 6);
	rail->port = (uint16_t)pick(sample, 1, 2, UINT8_MAX);
	rail->flags = (uint16_t)pick(sample, 0, WIRE_RAIL_SOFTWARE, WIRE_RAIL_SOFTWARE);
	rail->numa_node = (uint16_t)pick(sample, 0, 3, UINT16_MAX);
	rail->speed_mbps = (uint32_t)pick(sample, 0, 100000, UINT32_MAX);
	pick_bytes(sample, rail->address, rail->family == 4 ? 4 : 16);
}

/* Least is without rails and the feature, usual has one rail, most has all. */
static void sample_welcome(enum wire_sample sample, struct wire_welcome *welcome)
{
	welcome->version = 1;
	welcome->features = pick(sample, 0, pick64(sample) | WIRE_FEATURE_RDMA, UINT64_MAX);
	welcome->rails = (uint32_t)pick(sample, 0, 1, WIRE_RAILS_MAX);
	for (uint32_t i = 0; i < welcome->rails; i++)
		sample_rail(sample, &welcome->rail[i]);
	welcome->pid = pick32(sample);
	welcome->lease_ms = (uint32_t)pick(sample, 0, 5000, WIRE_LEASE_MS_MAX);
	welcome->max_memory = pick64(sample);
	pick_bytes(sample, welcome->boot_id, sizeof(welcome->boot_id));
}

static void sample_error(enum wire_sample sample, struct wire_error *error)
{
	error->code = (uint32_t)pick(sample, 1, ENOSPC, 4095);
	pick_text(sample, error->text, sizeof(error->text), "memory: 8 GiB wanted, 4 GiB there");
}

static void sample_regions(enum wire_sample sample, struct wire_regions *regions)
{
	static const uint64_t page_sizes[] = { 4096, 2u << 20, 1u << 30 };

	regions->count = (uint32_t)pick(sample, 1, 2, WIRE_REGIONS_MAX);
	for (uint32_t i = 0; i < regions->count; i++) {
		struct wire_region *region = &regions->region[i];

		pick_text(sample, region->name, sizeof(region->name), i == 0 ? "ram0" : "ram1");
		region->name[0] = (char)('a' + i % 26);
		region->page_size = page_sizes[i % 3];
		region->length = region->page_size * pick(sample, 1, 512, 4096);
		region->guest_address = (uint64_t)i << 44;
	}
	if (sample == WIRE_SAMPLE_MOST)
		regions->region[0] = (struct wire_region){
			.name = "end", .length = WIRE_ADDRESS_END - 4096, .page_size = 4096, .guest_address = 4096
		};
}

static void sample_chunk(enum wire_sample sample, struct wire_chunk *chunk)
{
	chunk->total = (uint32_t)pick(sample, 0, 5000, DECANT_STATE_TOTAL_MAX);
	chunk->length = (uint32_t)pick(sample, 0, 1000, WIRE_CHUNK_MAX);
	chunk->offset = (uint32_t)pick(sample, 0, 4000, DECANT_STATE_TOTAL_MAX - WIRE_CHUNK_MAX);
	chunk->data = pick_data();
}

static void sample_open(enum wire_sample sample, struct wire_open *open)
{
	open->epoch = pick(sample, 1, 2, UINT64_MAX);
	open->channels = (uint32_t)pick(sample, 1, 2, WIRE_CHANNELS_MAX);
	pick_text(sample, open->fabric, sizeof(open->fabric), "tcp");
	open->fabric[0] = 't';
	open->rails = (uint32_t)pick(sample, 0, 1, WIRE_PAIRS_MAX);
	open->rail[0] = (uint32_t)pick(sample, 0, 3, WIRE_RAILS_MAX - 1);
}

static void sample_lost(enum wire_sample sample, struct wire_lost *lost)
{
	lost->epoch = pick(sample, 1, 2, UINT64_MAX);
	lost->code = (uint32_t)pick(sample, 1, ENOMEM, 4095);
	pick_text(sample, lost->text, sizeof(lost->text), "ibv_reg_mr: out of memory");
}

static void sample_opened(enum wire_sample sample, struct wire_opened *opened)
{
	opened->epoch = pick(sample, 1, 2, UINT64_MAX);
	opened->channels = (uint32_t)pick(sample, 1, 2, WIRE_CHANNELS_MAX);
	opened->token_count = (uint16_t)pick(sample, 0, opened->channels, opened->channels);
	opened->address_length = (uint16_t)pick(sample, 0, 7, WIRE_ADDRESS_MAX);
	pick_bytes(sample, opened->tokens[0], opened->token_count * (size_t)WIRE_TOKEN_SIZE);
	pick_bytes(sample, opened->answers[0], opened->token_count * (size_t)WIRE_TOKEN_SIZE);
	pick_bytes(sample, opened->address, opened->address_length);
}

static void sample_register(enum wire_sample sample, struct wire_register *reg)
{
	reg->epoch = pick(sample, 1, 2, UINT64_MAX);
	reg->region = (uint32_t)pick(sample, 0, 1, WIRE_REGIONS_MAX - 1);
	reg->count = (uint32_t)pick(sample, 1, 3, WIRE_RANGES_MAX);
	for (uint32_t i = 0; i < reg->count; i++)
		reg->range[i] = (struct wire_range){ .first = pick(sample, 0, 8ull * i, WIRE_GRANULE_END - 1),
						     .count = (uint32_t)pick(sample, 1, 1 + i, 1) };
}

static void sample_grant(enum wire_sample sample, struct wire_grant *grant)
{
	grant->epoch = pick(sample, 1, 2, UINT64_MAX);
	grant->region = (uint32_t)pick(sample, 0, 1, WIRE_REGIONS_MAX - 1);
	grant->count = (uint32_t)pick(sample, 1, 3, WIRE_KEYS_MAX);
	grant->first = pick(sample, 0, 12, WIRE_GRANULE_END - grant->count);
	grant->keys = pick_data();
}

static void sample_pages(enum wire_sample sample, struct wire_pages *pages)
{
	pages->region = (uint32_t)pick(sample, 0, 1, WIRE_REGIONS_MAX - 1);
	pages->length = (uint32_t)pick(sample, 4096, 8192, WIRE_CHUNK_MAX);
	pages->offset = pick(sample, 0, 40960, WIRE_ADDRESS_END - pages->length);
	pages->data = pick_data();
}

static void sample_hashes(enum wire_sample sample, struct wire_hashes *hashes)
{
	hashes->region = (uint32_t)pick(sample, 0, 1, WIRE_REGIONS_MAX - 1);
	hashes->count = (uint32_t)pick(sample, 1, 3, WIRE_HASHES_MAX);
	hashes->first = pick(sample, 0, 12, WIRE_PAGE_END - hashes->count);
	hashes->hashes = pick_data();
}

static void sample_handover(enum wire_sample sample, struct wire_handover *handover)
{
	handover->left_ns = pick64(sample);
	handover->clock_offset_ns = (int64_t)pick(sample, (uint64_t)INT64_MIN, (uint64_t)-1, INT64_MAX);
	handover->clock_error_ns = pick64(sample);
}

static void sample_verdict(enum wire_sample sample, struct wire_verdict *verdict)
{
	verdict->status = (uint32_t)sample;
	verdict->pause_ns = pick64(sample);
	verdict->work_rate = pick64(sample);
	pick_text(sample, verdict->text, sizeof(verdict->text), "page 7: stamp 3 where 4 was written");
}

static void sample_plain(uint16_t type, enum wire_sample sample, union wire_any *message)
{
	const uint64_t any = pick64(sample);

	switch (type) {
	case WIRE_PREPARED:
		message->prepared = (struct wire_prepared){ .save_ns = any, .load_ns = any / 2 };
		break;
	case WIRE_BARRIER_ACK:
		message->barrier_ack = (struct wire_barrier_ack){ .epoch = any | 1, .round = any / 2 };
		break;
	case WIRE_FENCE:
	case WIRE_FENCED:
		message->fence.epoch = any | 1;
		break;
	case WIRE_VERIFIED:
		message->verified = (struct wire_verified){ .mismatches = any,
							    .region = (uint32_t)(any % WIRE_REGIONS_MAX),
							    .page = any % WIRE_PAGE_END };
		break;
	case WIRE_READY:
		message->ready =
			(struct wire_ready){ .lease_ms = (uint32_t)pick(sample, 1, 5001, WIRE_LEASE_MS_MAX),
					     .load_ns = any,
					     .allocated = any / 2 };
		break;
	case WIRE_RUNNING:
		message->running = (struct wire_running){ .entered_ns = any, .cpu_ns = any / 2 };
		break;
	case WIRE_STATUS:
		message->status.fate = (uint32_t)pick(sample, WIRE_FATE_UNKNOWN, WIRE_FATE_RUNNING,
						      WIRE_FATE_NEVER);
		break;
	case WIRE_CHALLENGE:
		pick_bytes(sample, message->challenge.nonce, sizeof(message->challenge.nonce));
		break;
	case WIRE_PROOF:
		pick_bytes(sample, message->proof.nonce, sizeof(message->proof.nonce));
		pick_bytes(sample, message->proof.mac, sizeof(message->proof.mac));
		break;
	case WIRE_PROVED:
		pick_bytes(sample, message->proved.mac, sizeof(message->proved.mac));
		break;
	case WIRE_PING:
		message->ping.sent_ns = any;
		break;
	case WIRE_PONG:
		message->pong =
			(struct wire_pong){ .ping_sent_ns = any, .received_ns = any / 2, .sent_ns = any / 3 };
		break;
	}
}

void wire_any_sample(uint16_t type, enum wire_sample sample, union wire_any *message)
{
	memset(message, 0, sizeof(*message));
	switch (type) {
	case WIRE_HELLO:
		sample_hello(sample, &message->hello);
		break;
	case WIRE_WELCOME:
		sample_welcome(sample, &message->welcome);
		break;
	case WIRE_ERROR:
	case WIRE_ABORT:
		sample_error(sample, &message->error);
		break;
	case WIRE_REGIONS:
		sample_regions(sample, &message->regions);
		break;
	case WIRE_SHAPE:
	case WIRE_STATE:
		sample_chunk(sample, &message->chunk);
		break;
	case WIRE_OPEN:
		sample_open(sample, &message->open);
		break;
	case WIRE_OPENED:
		sample_opened(sample, &message->opened);
		break;
	case WIRE_REGISTER:
		sample_register(sample, &message->reg);
		break;
	case WIRE_GRANT:
		sample_grant(sample, &message->grant);
		break;
	case WIRE_PAGES:
		sample_pages(sample, &message->pages);
		break;
	case WIRE_HASHES:
		sample_hashes(sample, &message->hashes);
		break;
	case WIRE_HANDOVER:
		sample_handover(sample, &message->handover);
		break;
	case WIRE_LOST:
		sample_lost(sample, &message->lost);
		break;
	case WIRE_MESSAGE:
		message->message.length = (uint32_t)pick(sample, 1, 600, WIRE_MESSAGE_MAX);
		message->message.data = pick_data();
		break;
	case WIRE_VERDICT:
		sample_verdict(sample, &message->verdict);
		break;
	default:
		sample_plain(type, sample, message);
		break;
	}
}
