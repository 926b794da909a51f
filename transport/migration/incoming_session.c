/* SPDX-License-Identifier: BSD-2-Clause */
/* incoming_session.c -- the destination's messages: making the VM, opening and fencing epochs, pages inline */
#include "migration/incoming_private.h"

#include "migration/damage.h"
#include "migration/host.h"
#include "migration/memory_data.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define EPOCHS_MAX 64u

/* ---- REGIONS, SHAPE, PREPARED ---- */

static int receive(struct incoming *in, uint16_t type, struct peer_message *message, struct decant_error *err)
{
	int rc = peer_receive(in->peer, CLOCK_NEVER, message, err);

	if (rc < 0 && in->cancelled)
		return decant_error_set(err, -ECANCELED, "stopped");
	if (rc == -ECANCELED && incoming_failure(in, err) < 0)
		return incoming_failure(in, err);
	if (rc < 0)
		return rc;
	if (message->type == type)
		return 0;
	if (message->type == WIRE_ABORT)
		rc = peer_error_decode(message->payload, message->length, err);
	else
		rc = decant_error_set(err, -EPROTO, "the source sent %s where %s was due",
				      wire_strtype(message->type), wire_strtype(type));
	peer_message_free(message);
	return rc;
}

static int check_region(const struct wire_region *region, struct decant_error *err)
{
	if (region->page_size != DECANT_PAGE_SIZE && region->page_size != 2u << 20 &&
	    region->page_size != 1u << 30)
		return decant_error_set(err, -EPROTO, "region %s: pages of %llu bytes", region->name,
					(unsigned long long)region->page_size);
	if (region->length == 0 || region->length % region->page_size != 0 || region->length > 1ull << 52)
		return decant_error_set(err, -EPROTO, "region %s: %llu bytes are not whole pages of it",
					region->name, (unsigned long long)region->length);
	return 0;
}

/* By its name and its addresses; the decoder has bounded them, so that the sums cannot overflow. */
static int check_apart(const struct wire_regions *wire, uint32_t index, struct decant_error *err)
{
	const struct wire_region *region = &wire->region[index];

	for (uint32_t i = 0; i < index; i++) {
		const struct wire_region *other = &wire->region[i];

		if (strcmp(other->name, region->name) == 0)
			return decant_error_set(err, -EPROTO, "two regions are called %s", region->name);
		if (region->guest_address < other->guest_address + other->length &&
		    other->guest_address < region->guest_address + region->length)
			return decant_error_set(err, -EPROTO, "regions %s and %s overlap", other->name,
						region->name);
	}
	return 0;
}

static int receive_regions(struct incoming *in, struct decant_region *regions, uint32_t *count,
			   struct decant_error *err)
{
	DECANT_AUTO_FREE struct wire_regions *wire = malloc(sizeof(*wire));
	struct peer_message message;
	uint64_t total = 0;
	int rc;

	if (wire == NULL)
		return decant_error_set(err, -ENOMEM, "REGIONS: out of memory");
	rc = receive(in, WIRE_REGIONS, &message, err);
	if (rc < 0)
		return rc;
	rc = wire_regions_decode(wire, message.payload, message.length, err);
	peer_message_free(&message);
	for (uint32_t i = 0; rc == 0 && i < wire->count; i++) {
		regions[i] = (struct decant_region)DECANT_REGION_INIT;
		snprintf(regions[i].name, sizeof(regions[i].name), "%s", wire->region[i].name);
		regions[i].length = wire->region[i].length;
		regions[i].page_size = wire->region[i].page_size;
		regions[i].guest_address = wire->region[i].guest_address;
		total += regions[i].length;
		rc = check_region(&wire->region[i], err);
		if (rc == 0)
			rc = check_apart(wire, i, err);
	}
	if (rc == 0 && total > in->max_memory)
		rc = decant_error_set(err, -ENOSPC,
				      "the VM has %llu MiB of memory, this host takes at most %llu MiB; "
				      "raise --max-memory here or free memory",
				      (unsigned long long)(total >> 20),
				      (unsigned long long)(in->max_memory >> 20));
	*count = wire->count;
	return rc;
}

int incoming_reserve_bytes(struct incoming_bytes *bytes, uint32_t capacity, struct decant_error *err)
{
	uint8_t *data = malloc(capacity + 1u);

	if (data == NULL)
		return decant_error_set(err, -ENOMEM, "no memory for %u bytes of state", capacity);
	memset(data, 0, capacity);
	free(bytes->data);
	bytes->data = data;
	bytes->capacity = capacity;
	return 0;
}

/* The first chunk says how many bytes there will be. */
static int begin_bytes(struct incoming_bytes *bytes, const struct wire_chunk *chunk, const char *what,
		       uint32_t limit, struct decant_error *err)
{
	if (chunk->total > limit)
		return decant_error_set(err, -EPROTO, "%s of %u bytes: at most %u", what, chunk->total, limit);
	bytes->begun = true;
	bytes->total = chunk->total;
	if (bytes->data != NULL && bytes->capacity >= chunk->total)
		return 0;
	free(bytes->data);
	bytes->capacity = chunk->total;
	bytes->data = malloc(chunk->total + 1u);
	if (bytes->data == NULL)
		return decant_error_set(err, -ENOMEM, "%s: no memory for %u bytes", what, chunk->total);
	return 0;
}

int incoming_append_chunk(const struct peer_message *message, struct incoming_bytes *bytes, uint32_t limit,
			  struct decant_error *err)
{
	struct wire_chunk chunk;
	int rc = wire_chunk_decode(&chunk, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (!bytes->begun) {
		rc = begin_bytes(bytes, &chunk, wire_strtype(message->type), limit, err);
		if (rc < 0)
			return rc;
	}
	if (chunk.total != bytes->total || chunk.offset != bytes->have || (chunk.length == 0 && chunk.total != 0))
		return decant_error_set(err, -EPROTO, "%s: its parts do not fit together",
					wire_strtype(message->type));
	memcpy(bytes->data + bytes->have, chunk.data, chunk.length);
	bytes->have += chunk.length;
	return 0;
}

static int receive_shape(struct incoming *in, struct decant_state_reader **shape, struct decant_error *err)
{
	struct incoming_bytes bytes = { 0 };
	struct peer_message message;
	int rc;

	do {
		rc = receive(in, WIRE_SHAPE, &message, err);
		if (rc < 0)
			break;
		rc = incoming_append_chunk(&message, &bytes, DECANT_STATE_TOTAL_MAX, err);
		peer_message_free(&message);
	} while (rc == 0 && bytes.have < bytes.total);
	if (rc == 0)
		rc = decant_state_reader_new(bytes.data, bytes.total, shape, err);
	free(bytes.data);
	return rc;
}

/* What create() made must be what the source has: the fabric writes by region and offset. */
static int adopt_memory(struct incoming *in, const struct decant_region *regions, uint32_t count,
			struct decant_error *err)
{
	if (decant_memory_count(in->memory) != count)
		return decant_error_set(err, -EINVAL, "the VMM made %u regions, the source has %u",
					decant_memory_count(in->memory), count);
	for (uint32_t i = 0; i < count; i++) {
		const struct decant_region *made = decant_memory_region(in->memory, i);

		if (strcmp(made->name, regions[i].name) != 0 || made->length != regions[i].length ||
		    made->page_size != regions[i].page_size)
			return decant_error_set(err, -EINVAL,
						"the VMM made region %s of %llu bytes, the source has %s of %llu",
						made->name, (unsigned long long)made->length, regions[i].name,
						(unsigned long long)regions[i].length);
		in->region[i] = *made;
		in->populated[i] = memory_is_populated(in->memory, i);
		in->granule[i] = granule_size(made->page_size);
		in->asked[i] = bitmap_new((made->length + in->granule[i] - 1) / in->granule[i]);
		if (in->asked[i] == NULL)
			return decant_error_set(err, -ENOMEM, "no memory for the table of granules");
	}
	in->regions = count;
	return 0;
}

static int say_prepared(struct incoming *in, struct decant_error *err)
{
	struct wire_prepared prepared = { 0 };
	uint8_t head[64];
	int rc = in->ops->rehearse != NULL ? in->ops->rehearse(in->opaque, &prepared, err) : 0;

	if (rc < 0)
		return rc;
	rc = wire_prepared_encode(&prepared, head, sizeof(head));
	return peer_send(in->peer, WIRE_PREPARED, head, (size_t)rc, NULL, 0, err);
}

int incoming_prepare(struct incoming *in, struct decant_error *err)
{
	DECANT_AUTO_FREE struct decant_region *regions = calloc(DECANT_REGIONS_MAX, sizeof(*regions));
	struct decant_state_reader *shape = NULL;
	uint32_t count = 0;
	int rc;

	if (regions == NULL)
		return decant_error_set(err, -ENOMEM, "REGIONS: out of memory");
	rc = receive_regions(in, regions, &count, err);
	if (rc == 0)
		rc = receive_shape(in, &shape, err);
	if (rc == 0)
		rc = in->ops->create(in->opaque, shape, regions, count, in->memory, err);
	decant_state_reader_free(shape);
	if (rc == 0)
		rc = adopt_memory(in, regions, count, err);
	if (rc == 0 && in->zero_memory)
		rc = incoming_begin_blank(in, err);
	in->prepared = rc == 0;
	if (rc == 0)
		rc = say_prepared(in, err);
	return rc;
}

/* ---- epochs ---- */

static void reset_barriers(struct incoming *in, const struct wire_open *message)
{
	DECANT_AUTO_UNLOCK(&in->lock);
	in->channels = message->channels;
	in->barrier_epoch = message->epoch;
	in->acked_round = 0;
	in->held_back = false;
	in->rails_in_use = message->rails > 0;
	memset(in->round, 0, sizeof(in->round));
}

static int check_open(const struct incoming *in, const struct wire_open *message, const struct fabric_ops *fabric,
		      struct decant_error *err)
{
	if (fabric == NULL)
		return decant_error_set(err, -EOPNOTSUPP, "fabric \"%s\" is not in this build", message->fabric);
	if (!(in->features & host_fabric_feature(message->fabric)))
		return decant_error_set(err, -EPROTO, "OPEN of fabric %s, which is not in both ends' features",
					message->fabric);
	if ((fabric->rails != NULL) != (message->rails > 0))
		return decant_error_set(err, -EPROTO, "OPEN of fabric %s with %u rails", message->fabric,
					message->rails);
	for (uint32_t i = 0; i < message->rails; i++)
		if (message->rail[i] >= in->rails)
			return decant_error_set(err, -EPROTO, "OPEN of rail %u, where WELCOME had %u",
						message->rail[i], in->rails);
	return 0;
}

/* What the session cannot outlive is the return; what only this fabric cannot do goes into @failed. */
static int open_sink(struct incoming *in, const struct wire_open *message, struct fabric_sink_opts *opts,
		     struct decant_error *failed, struct decant_error *err)
{
	const struct fabric_ops *fabric = fabric_find(message->fabric);
	struct placement_scope scope;
	int rc = check_open(in, message, fabric, err);

	if (rc < 0)
		return rc;
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	if (in->sink != NULL || message->epoch != in->epoch + 1 || message->epoch > EPOCHS_MAX)
		return decant_error_set(err, -EPROTO, "OPEN of epoch %llu in epoch %llu",
					(unsigned long long)message->epoch, (unsigned long long)in->epoch);
	for (uint32_t i = 0; i < in->regions; i++) {
		const uint64_t granules = (in->region[i].length + in->granule[i] - 1) / in->granule[i];

		bitmap_clear_range(in->asked[i], 0, granules);
	}
	/* only now: the threads of a sink that is open use them */
	reset_barriers(in, message);
	in->epoch = message->epoch;
	in->fabric = fabric;
	placement_enter(in->placement, &scope);
	rc = fabric->sink_open(opts, &in->sink, failed);
	placement_leave(&scope);
	if (rc < 0)
		in->sink = NULL;
	return 0;
}

static void fill_sink_opts(struct incoming *in, const struct wire_open *message, struct fabric_sink_opts *opts)
{
	*opts = (struct fabric_sink_opts){
		.host = in->host,
		.channels = message->channels,
		.epoch = message->epoch,
		.regions = in->regions,
		.events = &incoming_sink_events,
		.opaque = in,
		.log = in->log,
	};
	for (uint32_t i = 0; i < in->regions; i++) {
		opts->region_length[i] = in->region[i].length;
		opts->granule_size[i] = in->granule[i];
	}
	/* an index that WELCOME did not have is refused before any of this is used */
	opts->rail_count = message->rails;
	for (uint32_t i = 0; i < message->rails; i++)
		opts->rails[i] = in->rail[message->rail[i]];
}

static int say_opened(struct incoming *in, const struct fabric_sink_opts *opts, struct decant_error *err)
{
	struct wire_opened opened = { .epoch = opts->epoch, .channels = opts->channels };
	struct fabric_address address;
	uint8_t head[WIRE_ADDRESS_MAX + sizeof(opened.tokens) + sizeof(opened.answers) + 64];
	int rc;

	in->fabric->sink_address(in->sink, &address);
	/* the other end makes them itself, if both have a key */
	if (!in->auth.proved) {
		opened.token_count = (uint16_t)opts->channels;
		memcpy(opened.tokens, opts->tokens, sizeof(opened.tokens));
		memcpy(opened.answers, opts->answers, sizeof(opened.answers));
	}
	opened.address_length = (uint16_t)address.length;
	memcpy(opened.address, address.bytes, address.length);
	rc = wire_opened_encode(&opened, head, sizeof(head));
	return peer_send(in->peer, WIRE_OPENED, head, (size_t)rc, NULL, 0, err);
}

static int make_tokens(const struct incoming *in, struct fabric_sink_opts *opts, struct decant_error *err)
{
	opts->token_timeout_ns = in->token_ns;
	if (in->auth.proved)
		return auth_tokens(&in->auth, opts->epoch, opts->channels, opts->tokens, opts->answers, err);
	if (getrandom(opts->tokens, sizeof(opts->tokens), 0) != sizeof(opts->tokens) ||
	    getrandom(opts->answers, sizeof(opts->answers), 0) != sizeof(opts->answers))
		return decant_error_set(err, -errno, "getrandom: %s", strerror(errno));
	return 0;
}

static int take_open(struct incoming *in, const struct peer_message *message, struct decant_error *err)
{
	DECANT_AUTO_FREE struct fabric_sink_opts *opts = malloc(sizeof(*opts));
	struct decant_error failed = DECANT_ERROR_INIT;
	struct wire_open request;
	int rc = wire_open_decode(&request, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (opts == NULL)
		return decant_error_set(err, -ENOMEM, "OPEN: out of memory");
	if (request.channels == 0 || request.channels > FABRIC_CHANNELS_MAX)
		return decant_error_set(err, -EPROTO, "OPEN of %u channels: 1 to %u", request.channels,
					FABRIC_CHANNELS_MAX);
	fill_sink_opts(in, &request, opts);
	rc = make_tokens(in, opts, err);
	if (rc < 0)
		return rc;
	rc = open_sink(in, &request, opts, &failed, err);
	if (rc < 0)
		return rc;
	if (in->sink != NULL)
		return say_opened(in, opts, err);
	if (incoming_say_lost(in, request.epoch, &failed))
		return 0;
	*err = failed;
	return err->code;
}

static int take_fence(struct incoming *in, const struct peer_message *message, struct decant_error *err)
{
	struct wire_fence fence;
	uint8_t head[32];
	int rc = wire_fence_decode(&fence, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (fence.epoch != in->epoch)
		return decant_error_set(err, -EPROTO, "FENCE of epoch %llu in epoch %llu",
					(unsigned long long)fence.epoch, (unsigned long long)in->epoch);
	incoming_fence(in);
	rc = wire_fence_encode(&fence, head, sizeof(head));
	return peer_send(in->peer, WIRE_FENCED, head, (size_t)rc, NULL, 0, err);
}

static int take_pages(struct incoming *in, const struct peer_message *message, struct decant_error *err)
{
	struct wire_pages pages;
	uint64_t first, last;
	int rc = wire_pages_decode(&pages, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (pages.region >= in->regions || pages.offset > in->region[pages.region].length ||
	    pages.length > in->region[pages.region].length - pages.offset)
		return decant_error_set(err, -EPROTO, "PAGES beyond the regions");
	first = pages.offset / in->granule[pages.region];
	last = (pages.offset + pages.length - 1) / in->granule[pages.region];
	if (in->blank != NULL)
		rc = blank_range(in->blank, pages.region, pages.offset, pages.length, err);
	if (rc < 0)
		return rc;

	/* in a granule of the fabric's the order of writes would be nobody's */
	DECANT_AUTO_UNLOCK(&in->sink_lock);
	if (bitmap_count(in->asked[pages.region], first, last - first + 1) != 0)
		return decant_error_set(err, -EPROTO, "PAGES into a granule that the fabric writes");
	rc = damage_find(&in->region[pages.region], pages.offset, pages.length, true, err);
	if (rc == 0)
		memcpy((uint8_t *)in->region[pages.region].address + pages.offset, pages.data, pages.length);
	return rc;
}

int incoming_next(struct incoming *in, uint64_t deadline_ns, struct peer_message *message,
		  struct decant_error *err)
{
	int rc;

	for (;;) {
		rc = peer_receive(in->peer, deadline_ns, message, err);
		if (in->cancelled && rc < 0)
			return decant_error_set(err, -ECANCELED, "stopped");
		if (incoming_failure(in, err) < 0) {
			if (rc == 0)
				peer_message_free(message);
			incoming_refuse(in, err);
			return err->code;
		}
		if (rc < 0)
			return rc;
		/* the memory is a running guest's, or its owner's: nothing from outside lands in it any more */
		if (in->memory == NULL)
			return 0;
		if (message->type == WIRE_OPEN)
			rc = take_open(in, message, err);
		else if (message->type == WIRE_FENCE)
			rc = take_fence(in, message, err);
		else if (message->type == WIRE_PAGES)
			rc = take_pages(in, message, err);
		else
			return 0;
		peer_message_free(message);
		if (rc < 0) {
			incoming_refuse(in, err);
			return rc;
		}
	}
}
