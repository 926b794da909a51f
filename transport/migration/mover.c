/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mover.c -- the mover: pushes pages of regions to a peer's memory
 *
 * Theory of operation
 * -------------------
 * A push is cut into pieces that cross no stripe and no granule; a piece's channel is a function of its address alone, so
 * that two writes of one page are never reordered. A piece goes out once its granule has been granted: asked for with
 * REGISTER, populated and exposed by the destination in the background, and answered with its key. Pieces are posted by
 * reference and read later by the fabric.
 *
 * Every page is marked in granules.unacked before it is posted, and the marks fall only when the destination has
 * acknowledged a barrier that was posted after them. An epoch that is lost in between costs the marked pages a second
 * journey (mover_epoch.c), nothing else: MOVER_EPOCH_LOST never leaves this file's public calls.
 */
#include "migration/mover_private.h"

#include "migration/damage.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pages in one stripe go over one channel. A power of two, no larger than any granule. */
#define STRIPE_SIZE ((uint64_t)DECANT_GRANULE_SIZE)

/* How many granules with data a push asks for beyond the one it needs, so that the next push need not wait. */
#define ANNOUNCE_AHEAD 16u

/*
 * What is queued is kept back so long for a granule that is about to be granted, or each of them would cut a list of the fabric's short.
 * Where granules come slower than that, they and not the wire are what the push waits for.
 */
#define GRACE_NS (3 * NSEC_PER_MSEC)

/* With a bandwidth limit: what may go out at once after a pause, and the largest piece, in time. */
#define PACE_BURST_NS (2 * NSEC_PER_MSEC)
#define PACE_PIECE_NS (5 * NSEC_PER_MSEC)
#define PACE_PIECE_MIN (64u << 10)

/* The largest piece where what is under way has a bound in time. */
#define UNDER_WAY_PIECE (256u << 10)

/* ---- granules ---- */

static int send_register(struct decant_mover *mover, struct wire_register *message, struct decant_error *err)
{
	DECANT_AUTO_FREE uint8_t *head = NULL;
	const size_t capacity = 64 + message->count * 16u;
	int rc;

	if (message->count == 0)
		return 0;
	head = malloc(capacity);
	if (head == NULL)
		return decant_error_set(err, -ENOMEM, "REGISTER: out of memory");
	rc = wire_register_encode(message, head, capacity);
	assert(rc > 0);
	rc = mover_send(mover, WIRE_REGISTER, head, (size_t)rc, NULL, 0, err);
	message->count = 0;
	return rc;
}

/* Asks for granule @g as part of @message, which is sent when it is full. */
static int ask_granule(struct decant_mover *mover, struct wire_register *message, uint64_t g,
		       struct decant_error *err)
{
	struct granules *granules = &mover->granules[message->region];
	struct wire_range *last = message->count > 0 ? &message->range[message->count - 1] : NULL;
	int rc = mover_map_granule(mover, message->region, g, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&mover->lock);
	granules->state[g] = GRANULE_ASKED;
	pthread_mutex_unlock(&mover->lock);
	if (last != NULL && last->first + last->count == g) {
		last->count++;
		return 0;
	}
	if (message->count == WIRE_RANGES_MAX)
		rc = send_register(mover, message, err);
	if (rc < 0)
		return rc;
	message->range[message->count++] = (struct wire_range){ .first = g, .count = 1 };
	return 0;
}

int mover_announce(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		   struct decant_error *err)
{
	struct granules *granules = &mover->granules[region];
	const uint64_t end = (offset + length + granules->size - 1) / granules->size;
	DECANT_AUTO_FREE struct wire_register *message = NULL;
	int rc = 0;

	if (mover->source == NULL)
		return 0; /* between epochs: the push that comes asks for what it needs */
	for (uint64_t g = offset / granules->size; rc == 0 && g < end; g++) {
		if (mover_is_announced(mover, region, g * granules->size))
			continue;
		if (message == NULL) {
			message = calloc(1, sizeof(*message));
			if (message == NULL)
				return decant_error_set(err, -ENOMEM, "REGISTER: out of memory");
			message->epoch = mover->epoch;
			message->region = region;
		}
		rc = ask_granule(mover, message, g, err);
	}
	return rc < 0 || message == NULL ? rc : send_register(mover, message, err);
}

static int announce_ahead(struct decant_mover *mover, uint32_t region, uint64_t offset, struct decant_error *err)
{
	const struct decant_region *r = decant_memory_region(mover->memory, region);
	const uint64_t size = mover->granules[region].size;
	uint64_t at = offset, length;
	int rc = mover_announce(mover, region, offset, 1, err);

	for (unsigned int i = 0; rc == 0 && i < ANNOUNCE_AHEAD; i++) {
		at = (at / size + 1) * size;
		if (at >= r->length)
			return 0;
		if (mover_is_announced(mover, region, at))
			continue;
		rc = extents_next(&mover->ahead[region], &at, r->length, &length, err);
		if (rc <= 0)
			return rc;
		rc = mover_announce(mover, region, at, 1, err);
	}
	return rc;
}

bool mover_is_announced(struct decant_mover *mover, uint32_t region, uint64_t offset)
{
	struct granules *granules = &mover->granules[region];
	bool announced;

	pthread_mutex_lock(&mover->lock);
	announced = granules->state[offset / granules->size] != GRANULE_NONE;
	pthread_mutex_unlock(&mover->lock);
	return announced;
}

/* A fabric's time ran out, or its room did; but either may also be why its channels broke, and then nothing will ever come of waiting. */
static bool is_broken(struct decant_mover *mover, int rc)
{
	struct decant_error why = DECANT_ERROR_INIT;

	if (rc != -ETIMEDOUT && rc != -EAGAIN)
		return rc != 0;
	mover->route.ops->source_last_error(mover->source, &why);
	return why.code != 0;
}

int mover_epoch_alive(struct decant_mover *mover)
{
	if (mover->source == NULL || is_broken(mover, mover->route.ops->source_wait(mover->source, 0)))
		return MOVER_EPOCH_LOST;
	DECANT_AUTO_UNLOCK(&mover->lock);
	return mover->lost.code != 0 ? MOVER_EPOCH_LOST : 0;
}

/* May granule @g be written? Then its keys into @write. Else waits a moment for that if it is worth it. */
static bool take_grant(struct decant_mover *mover, uint64_t g, uint64_t wait_ns, struct fabric_write *write)
{
	const struct granules *granules = &mover->granules[write->region];

	DECANT_AUTO_UNLOCK(&mover->lock);
	if (wait_ns > 0 && granules->state[g] != GRANULE_NONE && !granules_writable(granules, g) &&
	    mover->lost.code == 0)
		mover_wait_change(mover, wait_ns);
	if (!granules_writable(granules, g))
		return false;
	write->rkey = granules->rkey[g];
	write->lkey = granules->lkey[g];
	return true;
}

static bool is_lost(struct decant_mover *mover)
{
	DECANT_AUTO_UNLOCK(&mover->lock);
	return mover->lost.code != 0;
}

/* What is left of the grace, which the first call begins */
static uint64_t keep_back(uint64_t *until_ns)
{
	const uint64_t now_ns = clock_now_ns();

	if (*until_ns == 0)
		*until_ns = now_ns + GRACE_NS;
	return now_ns < *until_ns ? *until_ns - now_ns : 0;
}

/* Waits until granule @g may be written; its keys into @write. */
static int await_grant(struct decant_mover *mover, uint64_t g, struct fabric_write *write,
		       struct decant_error *err)
{
	const uint32_t region = write->region;
	const uint64_t size = mover->granules[region].size;
	uint64_t wait_ns = 0, until_ns = 0;
	bool flushed = false;
	int rc;

	while (!take_grant(mover, g, wait_ns, write)) {
		rc = mover_check(mover, err);
		if (rc == 0 && !mover_is_announced(mover, region, g * size))
			rc = announce_ahead(mover, region, g * size, err);
		if (rc == 0)
			rc = mover_map_renew(mover, region, g, err);
		if (rc < 0)
			return rc;
		wait_ns = keep_back(&until_ns);
		if (wait_ns > 0 && !is_lost(mover))
			continue;
		/* what is queued can travel while we wait */
		if (!flushed && mover->route.ops->source_flush(mover->source) < 0)
			return MOVER_EPOCH_LOST;
		flushed = true;
		wait_ns = MOVER_WAIT_NS;
		if (mover_epoch_alive(mover) != 0)
			return MOVER_EPOCH_LOST;
	}
	return 0;
}

/* ---- pushing ---- */

static int pace(struct decant_mover *mover, uint64_t bytes, struct decant_error *err)
{
	const uint64_t rate = mover->setup.opts.bandwidth_Bps;
	uint64_t now = clock_now_ns();
	int rc = 0;

	if (rate == 0)
		return 0;
	if (mover->pace_ns + PACE_BURST_NS < now)
		mover->pace_ns = now - PACE_BURST_NS;
	while (rc == 0 && now < mover->pace_ns) {
		const struct timespec until =
			clock_timespec(mover->pace_ns < mover->deadline_ns ? mover->pace_ns : mover->deadline_ns);

		pthread_mutex_lock(&mover->lock);
		pthread_cond_clockwait(&mover->changed, &mover->lock, CLOCK_MONOTONIC, &until);
		pthread_mutex_unlock(&mover->lock);
		rc = mover_check(mover, err);
		now = clock_now_ns();
	}
	mover->pace_ns += (uint64_t)((double)bytes / (double)rate * (double)NSEC_PER_SEC);
	return rc;
}

static uint64_t piece_max(const struct decant_mover *mover)
{
	const uint64_t rate = mover->setup.opts.bandwidth_Bps;
	uint64_t max = mover->route.ops->write_max;

	if (mover->setup.opts.under_way_ns != 0 && max > UNDER_WAY_PIECE)
		max = UNDER_WAY_PIECE;
	if (rate != 0) {
		uint64_t paced = rate / (NSEC_PER_SEC / PACE_PIECE_NS) & ~(uint64_t)(DECANT_PAGE_SIZE - 1);

		if (paced < PACE_PIECE_MIN)
			paced = PACE_PIECE_MIN;
		if (paced < max)
			max = paced;
	}
	return max;
}

static uint64_t piece_length(const struct decant_mover *mover, uint64_t offset, uint64_t length)
{
	const uint64_t to_stripe_end = STRIPE_SIZE - offset % STRIPE_SIZE;
	const uint64_t max = piece_max(mover);

	if (length > to_stripe_end)
		length = to_stripe_end;
	return length < max ? length : max;
}

/* Waits while the fabric is full. 0: try again. */
static int await_room(struct decant_mover *mover, struct decant_error *err)
{
	if (is_broken(mover, mover->route.ops->source_wait(mover->source, 100 * NSEC_PER_MSEC)))
		return MOVER_EPOCH_LOST;
	return mover_check(mover, err);
}

/* Pushes mostly go up through a region: the granules that come next are asked for in time, and not when they are due. */
static int keep_ahead(struct decant_mover *mover, uint32_t region, uint64_t g, struct decant_error *err)
{
	const uint64_t last = mover->entered[region];

	mover->entered[region] = g + 1;
	/* a controller asks for all that it will push */
	if (g < last || mover->setup.purpose != WIRE_PURPOSE_PUSH)
		return 0;
	return announce_ahead(mover, region, g * mover->granules[region].size, err);
}

static int write_piece(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		       struct decant_error *err)
{
	const struct decant_region *r = decant_memory_region(mover->memory, region);
	const struct granules *granules = &mover->granules[region];
	const uint64_t g = offset / granules->size;
	struct fabric_write write = {
		.channel = (uint32_t)((region + offset / STRIPE_SIZE) % mover->channels),
		.region = region,
		.offset = offset,
		.length = (uint32_t)length,
		.data = (const uint8_t *)r->address + offset,
	};
	int rc = keep_ahead(mover, region, g, err);

	if (rc == 0)
		rc = await_grant(mover, g, &write, err);
	if (rc == 0)
		rc = pace(mover, length, err);
	if (rc != 0)
		return rc;
	while ((rc = mover->route.ops->source_write(mover->source, &write)) == -EAGAIN) {
		rc = await_room(mover, err);
		if (rc != 0)
			return rc;
	}
	if (rc < 0)
		return MOVER_EPOCH_LOST;
	if (mover->first_byte_ns == 0)
		mover->first_byte_ns = clock_now_ns();
	bitmap_set_range(mover->granules[region].sent, offset / DECANT_PAGE_SIZE, length / DECANT_PAGE_SIZE);
	mover->bytes += length;
	mover->writes++;
	return 0;
}

/* Pushes without marking: the marks are there. 0, MOVER_EPOCH_LOST or an error. */
static int push_marked(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		       struct decant_error *err)
{
	int rc = mover_check(mover, err);

	while (rc == 0 && length > 0) {
		const uint64_t piece = piece_length(mover, offset, length);

		rc = write_piece(mover, region, offset, piece, err);
		offset += piece;
		length -= piece;
	}
	return rc;
}

bool mover_is_relaxed(const struct decant_mover *mover)
{
	return mover->route.ops->relaxed;
}

/* The fabric may let a write overtake an older one of the same page: that has to be there first. */
static int order_after(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		       struct decant_error *err)
{
	uint64_t first = offset / DECANT_PAGE_SIZE;

	if (!mover_is_relaxed(mover) ||
	    bitmap_next_run(mover->granules[region].unacked, &first, first + length / DECANT_PAGE_SIZE) == 0)
		return 0;
	return decant_mover_barrier(mover, err);
}

static int check_run(const struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length,
		     struct decant_error *err)
{
	const struct decant_region *r = decant_memory_region(mover->memory, index);

	if (r != NULL && offset % DECANT_PAGE_SIZE == 0 && length % DECANT_PAGE_SIZE == 0 && offset <= r->length &&
	    length <= r->length - offset)
		return 0;
	return decant_error_set(err, -EINVAL, "push: region %u, %llu bytes at %llu: not whole pages of a region",
				index, (unsigned long long)length, (unsigned long long)offset);
}

static int push_run(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length,
		    struct decant_error *err)
{
	struct granules *granules = &mover->granules[index];
	const uint64_t first = offset / DECANT_PAGE_SIZE, pages = length / DECANT_PAGE_SIZE;
	int rc = order_after(mover, index, offset, length, err);

	if (rc < 0)
		return rc;
	mover->unsettled = true;
	bitmap_set_range(granules->unacked, first, pages);
	if (granules->written != NULL)
		bitmap_set_range(granules->written, first, pages);
	rc = push_marked(mover, index, offset, length, err);
	/* the failover sends all that is marked, and so the rest of this run too */
	return rc == MOVER_EPOCH_LOST ? mover_failover(mover, err) : rc;
}

int decant_mover_push(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length,
		      struct decant_error *err)
{
	const int rc = check_run(mover, index, offset, length, err);

	if (rc < 0)
		return rc;
	mover->pushes++;
	return push_run(mover, index, offset, length, err);
}

int decant_mover_push_zeros(struct decant_mover *mover, uint32_t index, uint64_t offset, uint64_t length,
			    struct decant_error *err)
{
	uint64_t first = offset / DECANT_PAGE_SIZE;
	const uint64_t end = first + length / DECANT_PAGE_SIZE;
	const uint64_t *written;
	int rc = check_run(mover, index, offset, length, err);

	if (rc == 0)
		rc = mover_check(mover, err);
	if (rc < 0)
		return rc;
	mover->pushes++;
	written = mover->granules[index].written;
	if (written == NULL)
		return push_run(mover, index, offset, length, err);
	while (rc == 0 && first < end) {
		const uint64_t from = first;
		const uint64_t pages = bitmap_next_run(written, &first, end);

		mover->pages_zero += (pages > 0 ? first : end) - from;
		if (pages == 0)
			break;
		rc = push_run(mover, index, first * DECANT_PAGE_SIZE, pages * DECANT_PAGE_SIZE, err);
		first += pages;
	}
	return rc;
}

int mover_push_inline(struct decant_mover *mover, uint32_t region, uint64_t offset, uint64_t length,
		      struct decant_error *err)
{
	const struct decant_region *r = decant_memory_region(mover->memory, region);
	uint8_t head[64];
	int rc = 0, damaged;

	while (rc == 0 && length > 0) {
		const struct wire_pages pages = {
			.region = region,
			.offset = offset,
			.length = (uint32_t)(length < WIRE_CHUNK_MAX ? length : WIRE_CHUNK_MAX),
		};

		rc = wire_pages_encode(&pages, head, sizeof(head));
		assert(rc > 0);
		/* half a message would be the end of the control connection, which must yet say ABORT */
		damaged = damage_find(r, offset, pages.length, false, err);
		if (damaged < 0)
			return damaged;
		rc = mover_send(mover, WIRE_PAGES, head, (size_t)rc, (const uint8_t *)r->address + offset,
				pages.length, err);
		mover->inline_pages += pages.length / DECANT_PAGE_SIZE;
		offset += pages.length;
		length -= pages.length;
	}
	return rc;
}

int mover_flush(struct decant_mover *mover, struct decant_error *err)
{
	return mover->route.ops->source_flush(mover->source) < 0 ? mover_failover(mover, err) : 0;
}

/* ---- messages ---- */

static int post_message(struct decant_mover *mover, const struct mover_kept *kept, struct decant_error *err)
{
	int rc;

	while ((rc = mover->route.ops->source_message(mover->source, kept->bytes, kept->length)) == -EAGAIN) {
		rc = await_room(mover, err);
		if (rc != 0)
			return rc;
	}
	return rc < 0 ? MOVER_EPOCH_LOST : 0;
}

int decant_mover_message(struct decant_mover *mover, const void *data, size_t length, struct decant_error *err)
{
	struct mover_kept *kept;
	int rc = mover_check(mover, err);

	if (rc == 0 && length > DECANT_MESSAGE_MAX)
		rc = decant_error_set(err, -EMSGSIZE, "a message of %zu bytes: at most %u", length,
				      DECANT_MESSAGE_MAX);
	if (rc == 0 && mover->kept_count == MOVER_MESSAGES_KEPT)
		rc = decant_mover_barrier(mover, err);
	if (rc == 0 && mover->kept == NULL) {
		mover->kept = calloc(MOVER_MESSAGES_KEPT, sizeof(*mover->kept));
		if (mover->kept == NULL)
			rc = decant_error_set(err, -ENOMEM, "no memory to keep messages for a failover");
	}
	if (rc < 0)
		return rc;
	mover->unsettled = true;
	kept = &mover->kept[mover->kept_count++];
	for (unsigned int i = 0; i < MOVER_MESSAGE_HEAD; i++)
		kept->bytes[i] = (uint8_t)(mover->message_sequence >> (8 * i));
	mover->message_sequence++;
	mover->messages++;
	mover->message_bytes += length;
	memcpy(kept->bytes + MOVER_MESSAGE_HEAD, data, length);
	kept->length = (uint32_t)(MOVER_MESSAGE_HEAD + length);
	rc = post_message(mover, kept, err);
	return rc == MOVER_EPOCH_LOST ? mover_failover(mover, err) : rc;
}

/* ---- barriers ---- */

int mover_repeat_unacked(struct decant_mover *mover, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(mover->memory); i++) {
		const struct granules *granules = &mover->granules[i];
		uint64_t first = 0, pages;

		while (rc == 0 && (pages = bitmap_next_run(granules->unacked, &first, granules->pages)) > 0) {
			rc = push_marked(mover, i, first * DECANT_PAGE_SIZE, pages * DECANT_PAGE_SIZE, err);
			first += pages;
		}
	}
	for (uint32_t i = 0; rc == 0 && i < mover->kept_count; i++)
		rc = post_message(mover, &mover->kept[i], err);
	return rc;
}

/* 0, MOVER_EPOCH_LOST or an error */
static int post_barrier(struct decant_mover *mover, struct decant_error *err)
{
	int rc;

	while ((rc = mover->route.ops->source_barrier(mover->source, mover->round)) == -EAGAIN) {
		rc = await_room(mover, err);
		if (rc != 0)
			return rc;
	}
	return rc < 0 ? MOVER_EPOCH_LOST : 0;
}

int mover_barrier_post(struct decant_mover *mover, struct decant_error *err)
{
	int rc = mover_check(mover, err);

	if (rc < 0)
		return rc;
	mover->barriers++;
	mover->round++;
	pthread_mutex_lock(&mover->lock);
	mover->asked_round = mover->round;
	pthread_mutex_unlock(&mover->lock);
	while ((rc = post_barrier(mover, err)) == MOVER_EPOCH_LOST) {
		rc = mover_failover(mover, err);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static void forget_unacked(struct decant_mover *mover)
{
	for (uint32_t i = 0; i < decant_memory_count(mover->memory); i++)
		bitmap_clear_range(mover->granules[i].unacked, 0, mover->granules[i].pages);
	mover->kept_count = 0;
	mover->unsettled = false;
}

/* A destination that makes its memory zero acknowledges no barrier before it has, and that takes as long as it takes. */
static bool awaits_zeros(struct decant_mover *mover)
{
	if (!(mover->welcome.features & WIRE_FEATURE_ZEROS) || mover->route.ops->source_pending(mover->source) > 0)
		return false;
	DECANT_AUTO_UNLOCK(&mover->lock);
	return mover->acked_epoch == 0;
}

/* 0: acknowledged; MOVER_EPOCH_LOST; or an error */
static int await_barrier(struct decant_mover *mover, struct decant_error *err)
{
	const uint64_t patience = mover->setup.opts.peer_timeout_ns;
	uint64_t pending = UINT64_MAX;
	uint64_t stuck_at = 0;
	bool acked;
	int rc;

	for (;;) {
		pthread_mutex_lock(&mover->lock);
		acked = mover->acked_epoch == mover->epoch && mover->acked_round >= mover->round;
		if (!acked && mover->failed.code == 0)
			mover_wait_change(mover, MOVER_WAIT_NS);
		acked = mover->acked_epoch == mover->epoch && mover->acked_round >= mover->round;
		pthread_mutex_unlock(&mover->lock);
		if (acked)
			return 0;

		rc = mover_check(mover, err);
		if (rc < 0)
			return rc;
		if (mover_epoch_alive(mover) != 0)
			return MOVER_EPOCH_LOST;
		/* the peer lives, but its data channels carry nothing any more */
		if (mover->route.ops->source_pending(mover->source) != pending) {
			pending = mover->route.ops->source_pending(mover->source);
			stuck_at = clock_deadline_ns(patience);
		} else if (clock_now_ns() >= stuck_at && !awaits_zeros(mover)) {
			return MOVER_EPOCH_LOST;
		}
	}
}

int mover_barrier_wait(struct decant_mover *mover, struct decant_error *err)
{
	int rc;

	while ((rc = await_barrier(mover, err)) == MOVER_EPOCH_LOST) {
		rc = mover_failover(mover, err);
		if (rc == 0)
			rc = mover_barrier_post(mover, err);
		if (rc < 0)
			return rc;
	}
	if (rc == 0)
		forget_unacked(mover);
	return rc;
}

int decant_mover_barrier(struct decant_mover *mover, struct decant_error *err)
{
	const int rc = mover_barrier_post(mover, err);

	return rc < 0 ? rc : mover_barrier_wait(mover, err);
}
