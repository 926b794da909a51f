/* SPDX-License-Identifier: BSD-2-Clause */
/* verify.c -- both ends hash every page and compare */
#include "migration/verify.h"

#include "migration/pagehash.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* pages looked at in one go: 64 MiB of memory, 128 KiB of hashes */
#define BATCH_PAGES 16384u

struct batch {
	uint64_t hashes[BATCH_PAGES];
	uint64_t present[BATCH_PAGES / 64];
};

/* ---- source ---- */

static int send_run(struct decant_mover *mover, uint32_t region, uint64_t first, uint64_t count,
		    const uint64_t *hashes, struct decant_error *err)
{
	const struct wire_hashes message = { .region = region, .first = first, .count = (uint32_t)count };
	uint8_t head[64];
	const int length = wire_hashes_encode(&message, head, sizeof(head));

	assert(length > 0);
	/* x86-64 only: a uint64_t lies in memory as it goes over the wire */
	return mover_send(mover, WIRE_HASHES, head, (size_t)length, hashes, count * sizeof(*hashes), err);
}

static int send_region(struct decant_mover *mover, const struct decant_memory *memory, uint32_t index,
		       struct batch *batch, struct decant_error *err)
{
	const uint64_t pages = decant_memory_region(memory, index)->length / DECANT_PAGE_SIZE;
	struct extents extents = { .memory = memory, .index = index };
	int64_t rc = 0;

	for (uint64_t first = 0; rc >= 0 && first < pages; first += BATCH_PAGES) {
		const uint64_t count = pages - first < BATCH_PAGES ? pages - first : BATCH_PAGES;
		uint64_t at = 0, run;

		rc = pagehash_range(&extents, first, count, batch->hashes, batch->present, err);
		while (rc > 0 && (run = bitmap_next_run(batch->present, &at, count)) > 0) {
			rc = send_run(mover, index, first + at, run, batch->hashes + at, err);
			rc = rc < 0 ? rc : 1;
			at += run;
		}
	}
	return rc < 0 ? (int)rc : 0;
}

static int take_result(struct decant_mover *mover, const struct decant_memory *memory, struct decant_error *err)
{
	const struct decant_region *region;
	struct wire_verified verified;
	struct peer_message message;
	uint64_t offset;
	int rc = mover_receive(mover, WIRE_VERIFIED, &message, err);

	if (rc < 0)
		return rc;
	rc = wire_verified_decode(&verified, message.payload, message.length, err);
	peer_message_free(&message);
	if (rc < 0 || verified.mismatches == 0)
		return rc;
	region = decant_memory_region(memory, verified.region);
	if (region == NULL)
		return decant_error_set(err, -EPROTO, "VERIFIED: no region %u", verified.region);
	offset = verified.page * DECANT_PAGE_SIZE;
	return decant_error_set(err, -EILSEQ,
				"verify: %" PRIu64 " pages differ at the destination, the first at %s + 0x%" PRIx64
				" (guest address 0x%" PRIx64 ")",
				verified.mismatches, region->name, offset, region->guest_address + offset);
}

int verify_source(struct decant_mover *mover, const struct decant_memory *memory, struct decant_error *err)
{
	DECANT_AUTO_FREE struct batch *batch = malloc(sizeof(*batch));
	int rc = 0;

	if (batch == NULL)
		return decant_error_set(err, -ENOMEM, "verify: out of memory");
	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(memory); i++)
		rc = send_region(mover, memory, i, batch, err);
	if (rc == 0)
		rc = mover_send(mover, WIRE_VERIFY, NULL, 0, NULL, 0, err);
	return rc < 0 ? rc : take_result(mover, memory, err);
}

/* ---- destination ---- */

struct verify {
	const struct decant_memory *memory;
	struct wire_verified result;
	uint64_t *named[DECANT_REGIONS_MAX]; /* pages that a message has named */
	struct extents extents[DECANT_REGIONS_MAX];
	struct batch batch;
};

int verify_new(const struct decant_memory *memory, struct verify **out, struct decant_error *err)
{
	struct verify *verify = calloc(1, sizeof(*verify));
	bool complete = verify != NULL;

	for (uint32_t i = 0; complete && i < decant_memory_count(memory); i++) {
		verify->named[i] = bitmap_new(decant_memory_region(memory, i)->length / DECANT_PAGE_SIZE);
		complete = verify->named[i] != NULL;
		verify->extents[i] = (struct extents){ .memory = memory, .index = i };
	}
	if (!complete) {
		verify_free(verify);
		return decant_error_set(err, -ENOMEM, "verify: out of memory");
	}
	verify->memory = memory;
	*out = verify;
	return 0;
}

void verify_free(struct verify *verify)
{
	if (verify == NULL)
		return;
	for (uint32_t i = 0; i < DECANT_REGIONS_MAX; i++)
		free(verify->named[i]);
	free(verify);
}

static void mismatch(struct verify *verify, uint32_t region, uint64_t page)
{
	struct wire_verified *result = &verify->result;

	if (result->mismatches == 0 || region < result->region ||
	    (region == result->region && page < result->page)) {
		result->region = region;
		result->page = page;
	}
	result->mismatches++;
}

static int compare(struct verify *verify, const struct wire_hashes *theirs, uint32_t done, uint32_t count,
		   struct decant_error *err)
{
	struct batch *batch = &verify->batch;
	int64_t rc = pagehash_range(&verify->extents[theirs->region], theirs->first + done, count, batch->hashes,
				    batch->present, err);

	for (uint32_t i = 0; rc >= 0 && i < count; i++) {
		const uint64_t ours = bitmap_test(batch->present, i) ? batch->hashes[i] : pagehash_zero();

		if (ours != wire_hash(theirs, done + i))
			mismatch(verify, theirs->region, theirs->first + done + i);
	}
	return rc < 0 ? (int)rc : 0;
}

int verify_take(struct verify *verify, const struct peer_message *message, struct decant_error *err)
{
	struct wire_hashes theirs;
	uint64_t pages;
	int rc = wire_hashes_decode(&theirs, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (theirs.region >= decant_memory_count(verify->memory))
		return decant_error_set(err, -EPROTO, "HASHES: no region %u", theirs.region);
	pages = decant_memory_region(verify->memory, theirs.region)->length / DECANT_PAGE_SIZE;
	if (theirs.first > pages || theirs.count > pages - theirs.first)
		return decant_error_set(err, -EPROTO, "HASHES: pages beyond region %u", theirs.region);
	bitmap_set_range(verify->named[theirs.region], theirs.first, theirs.count);
	for (uint32_t done = 0; rc == 0 && done < theirs.count; done += BATCH_PAGES) {
		const uint32_t left = theirs.count - done;

		rc = compare(verify, &theirs, done, left < BATCH_PAGES ? left : BATCH_PAGES, err);
	}
	return rc;
}

/* The pages of one region that the source does not have: what is here of them must be zero. */
static int check_unnamed(struct verify *verify, uint32_t index, struct decant_error *err)
{
	const uint64_t pages = decant_memory_region(verify->memory, index)->length / DECANT_PAGE_SIZE;
	struct batch *batch = &verify->batch;
	int64_t rc = 0;

	for (uint64_t first = 0; rc >= 0 && first < pages; first += BATCH_PAGES) {
		const uint64_t count = pages - first < BATCH_PAGES ? pages - first : BATCH_PAGES;

		if (bitmap_count(verify->named[index], first, count) == count)
			continue;
		rc = pagehash_range(&verify->extents[index], first, count, batch->hashes, batch->present, err);
		for (uint64_t i = 0; rc > 0 && i < count; i++)
			if (bitmap_test(batch->present, i) && !bitmap_test(verify->named[index], first + i) &&
			    batch->hashes[i] != pagehash_zero())
				mismatch(verify, index, first + i);
	}
	return rc < 0 ? (int)rc : 0;
}

int verify_finish(struct verify *verify, struct wire_verified *verified, struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(verify->memory); i++)
		rc = check_unnamed(verify, i, err);
	*verified = verify->result;
	return rc;
}
