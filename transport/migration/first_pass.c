/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * first_pass.c -- pass 1: everything that has data
 *
 * Theory of operation
 * -------------------
 * To find a hole or a zero page is to read it, so the invariant of precopy.c holds here as well: re-arm a chunk, then ask the kernel
 * for its extents, then look for zeros, then push. The destination's memory starts as zeros, so holes and zero pages
 * need not be sent in this pass, and only in this one. A zero page that nobody has looked at (zero_look.h) is sent like any other.
 *
 * Granules are announced well ahead of the data, so that the destination's populating and registering overlaps with
 * the wire.
 */
#include "migration/source.h"

#include "migration/damage.h"
#include "migration/extents.h"
#include "migration/granules.h"
#include "migration/zero_look.h"
#include "util/bitmap.h"
#include <string.h>

/* How far ahead of the data granules are announced. */
#define ANNOUNCE_AHEAD_BYTES (64ull << 20)

/* A hole at least so long is re-armed and looked at in one go. */
#define HOLE_BYTES (64ull << 20)

static const uint64_t all_ones[HOLE_BYTES / DECANT_PAGE_SIZE / 64] = {
	[0 ... HOLE_BYTES / DECANT_PAGE_SIZE / 64 - 1] = UINT64_MAX,
};

struct first_pass {
	struct decant_migration *m;
	const struct decant_region *region;
	uint32_t index;
	struct extents data;  /* the walk of the pages being sent */
	struct extents ahead; /* the walk of the granules being announced */
	uint64_t granule;     /* bytes */
	uint64_t announced;   /* up to this offset all granules with data are announced */
	uint64_t run_start;   /* granules with data that are about to be, */
	uint64_t run_end;     /* nothing between 0 and 0 */
	uint64_t data_bytes;  /* of the whole VM, for the progress */
	uint64_t seen_bytes;
	struct zero_look zeros;
};

/* Guest memory looked at by this end's CPU. */
struct look {
	struct zero_look *how;
	const uint8_t *memory;
	uint64_t pages;
	uint64_t *present; /* of the pages; those of zeros are cleared */
	uint64_t zeros;
	bool found;
};

static struct look look_at(struct first_pass *pass, uint64_t offset, uint64_t length, uint64_t *present)
{
	return (struct look){
		.how = &pass->zeros,
		.memory = (const uint8_t *)pass->region->address + offset,
		.pages = length / DECANT_PAGE_SIZE,
		.present = present,
	};
}

static int look_guarded(const struct first_pass *pass, struct look *look, fault_fn *fn, struct decant_error *err)
{
	const struct fault_range range = { look->memory, look->pages * DECANT_PAGE_SIZE };
	struct fault fault;

	return fault_guard(&range, 1, fn, look, &fault) < 0 ? damage_explain(pass->region, &fault, err) : 0;
}

static void look_for_data(void *opaque)
{
	struct look *look = opaque;

	look->found = zero_look_finds_data(look->how, look->memory, look->pages);
}

/*
 * Is there anything but zeros in [@at, + @length)? 1 or 0, or an error. Only a hint: what is written there later is announced when it is pushed;
 * but a granule of zeros shall cost the destination nothing.
 */
static int holds_data(struct first_pass *pass, uint64_t at, uint64_t length, struct decant_error *err)
{
	struct look look = look_at(pass, at, length, NULL);
	const int rc = look_guarded(pass, &look, look_for_data, err);

	return rc < 0 ? rc : look.found;
}

static int announce_run(struct first_pass *pass, struct decant_error *err)
{
	const uint64_t start = pass->run_start;
	const uint64_t length = pass->run_end - start;

	pass->run_start = pass->run_end = 0;
	return length == 0 ? 0 : mover_announce(pass->m->mover, pass->index, start, length, err);
}

/* Adds the granule at @at to the run; one that does not join on begins another. */
static int add_to_run(struct first_pass *pass, uint64_t at, struct decant_error *err)
{
	const uint64_t start = at - at % pass->granule;
	int rc = 0;

	if (start != pass->run_end && start + pass->granule != pass->run_end) {
		rc = announce_run(pass, err);
		pass->run_start = start;
	}
	pass->run_end = start + pass->granule;
	return rc;
}

/* Announces in long runs, one message each: so not before a good part of what was announced is behind. */
static int announce_ahead(struct first_pass *pass, uint64_t offset, struct decant_error *err)
{
	const uint64_t end = pass->region->length;
	uint64_t until = offset + ANNOUNCE_AHEAD_BYTES;
	int rc = 0;

	if (until > end)
		until = end;
	if (pass->announced > offset + ANNOUNCE_AHEAD_BYTES / 2)
		return 0;
	while (rc == 0 && pass->announced < until) {
		uint64_t at = pass->announced, length, granule_end;
		int found;

		extents_share(&pass->ahead, &pass->data, at);
		found = extents_next(&pass->ahead, &at, until, &length, err);
		if (found < 0)
			return found;
		if (found == 0) {
			pass->announced = until;
			break;
		}
		granule_end = at - at % pass->granule + pass->granule;
		if (length > granule_end - at)
			length = granule_end - at;
		rc = holds_data(pass, at, length, err);
		if (rc > 0)
			rc = add_to_run(pass, at, err);
		pass->announced = at + length;
	}
	return rc < 0 ? rc : announce_run(pass, err);
}

static int rearm(struct first_pass *pass, uint64_t offset, uint64_t length, struct decant_error *err)
{
	struct decant_migration *m = pass->m;

	return m->ops.dirty_clear(m->vmm, pass->index, offset / DECANT_PAGE_SIZE, length / DECANT_PAGE_SIZE,
				  all_ones, err);
}

/* The pages of [@offset, + @length), one chunk at most, that have data, as a bitmap. Returns their number. */
static int64_t find_data(struct first_pass *pass, uint64_t offset, uint64_t length, uint64_t *present,
			 struct decant_error *err)
{
	const uint64_t end = offset + length;
	uint64_t at = offset, extent;
	int64_t pages = 0;
	int rc;

	memset(present, 0, bitmap_words(CHUNK_PAGES) * sizeof(*present));
	extents_share(&pass->data, &pass->ahead, offset);
	while (at < end && (rc = extents_next(&pass->data, &at, end, &extent, err)) != 0) {
		if (rc < 0)
			return rc;
		bitmap_set_range(present, (at - offset) / DECANT_PAGE_SIZE, extent / DECANT_PAGE_SIZE);
		pages += (int64_t)(extent / DECANT_PAGE_SIZE);
		at += extent;
	}
	return pages;
}

static void look_for_zeros(void *opaque)
{
	struct look *look = opaque;

	look->zeros = zero_look_chunk(look->how, look->memory, look->pages, look->present);
}

/* Takes the pages of zeros out of @present. */
static int skip_zeros(struct first_pass *pass, uint64_t offset, uint64_t length, uint64_t *present,
		      struct decant_error *err)
{
	struct look look = look_at(pass, offset, length, present);
	const int rc = look_guarded(pass, &look, look_for_zeros, err);

	pass->m->now.pages_looked = pass->zeros.looked;
	if (rc == 0)
		pass->m->now.pages_skipped += look.zeros;
	return rc;
}

static int send_first_chunk(struct first_pass *pass, uint64_t offset, uint64_t length, struct decant_error *err)
{
	uint64_t present[CHUNK_PAGES / 64];
	struct decant_migration *m = pass->m;
	int64_t pages;
	int rc = rearm(pass, offset, length, err);

	if (rc < 0)
		return rc;
	pages = find_data(pass, offset, length, present, err);
	if (pages <= 0)
		return (int)pages;
	m->now.data_bytes += (uint64_t)pages * DECANT_PAGE_SIZE;
	pass->seen_bytes += (uint64_t)pages * DECANT_PAGE_SIZE;
	rc = skip_zeros(pass, offset, length, present, err);
	if (rc == 0)
		rc = announce_ahead(pass, offset, err);
	if (rc == 0)
		rc = precopy_push_runs(m, pass->index, offset, present, length / DECANT_PAGE_SIZE, err);
	if (pass->data_bytes > 0) {
		const uint64_t left = pass->seen_bytes < pass->data_bytes ? pass->data_bytes - pass->seen_bytes
									  : 0;

		m->now.remaining_bytes = left;
		precopy_advance(m, (uint32_t)(900 - 900 * left / pass->data_bytes));
	}
	return rc;
}

/* Is [@offset, + HOLE_BYTES) a hole? Then it is re-armed; the order of the two is what makes it true. */
static int skip_hole(struct first_pass *pass, uint64_t offset, struct decant_error *err)
{
	const uint64_t end = offset + HOLE_BYTES;
	uint64_t at = offset, length;
	int rc;

	if (end > pass->region->length)
		return 0;
	rc = extents_next(&pass->data, &at, end, &length, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = rearm(pass, offset, HOLE_BYTES, err);
	if (rc < 0)
		return rc;
	at = offset;
	rc = extents_next(&pass->data, &at, end, &length, err);
	return rc < 0 ? rc : rc == 0;
}

static int send_first_region(struct first_pass *pass, struct decant_error *err)
{
	const uint64_t chunk = CHUNK_PAGES * DECANT_PAGE_SIZE;
	uint64_t offset = 0;
	int rc = 0;

	pass->announced = 0;
	while (rc == 0 && offset < pass->region->length) {
		const uint64_t left = pass->region->length - offset;

		rc = offset % HOLE_BYTES == 0 ? skip_hole(pass, offset, err) : 0;
		if (rc < 0)
			break;
		if (rc > 0) {
			offset += HOLE_BYTES;
			rc = 0;
			continue;
		}
		rc = send_first_chunk(pass, offset, left < chunk ? left : chunk, err);
		offset += chunk;
	}
	return rc;
}

int first_pass_send(struct decant_migration *m, struct decant_error *err)
{
	struct first_pass pass = {
		.m = m,
		.data_bytes = decant_memory_allocated(m->memory),
		.zeros = { .mode = m->opts.zero_scan },
	};
	int rc = 0;

	precopy_pass_begin(m, 0);
	for (uint32_t i = 0; rc == 0 && i < decant_memory_count(m->memory); i++) {
		pass.index = i;
		pass.region = decant_memory_region(m->memory, i);
		pass.data = (struct extents){ .memory = m->memory, .index = i };
		pass.ahead = pass.data;
		pass.granule = granule_size(pass.region->page_size);
		rc = send_first_region(&pass, err);
	}
	if (rc == 0)
		rc = decant_mover_barrier(m->mover, err);
	if (rc < 0)
		return rc;
	m->now.pass[0].dirty_pages = m->now.data_bytes / DECANT_PAGE_SIZE;
	precopy_pass_end(m);
	return 0;
}
