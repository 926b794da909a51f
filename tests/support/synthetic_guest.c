/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * synthetic_guest.c -- the guest of the synthetic VMM: writers, what they write, and whether it is there
 *
 * Theory of operation
 * -------------------
 * A writer goes over its part of the working set in sweeps. In sweep s it visits page (step * STRIDE + offset(s)) mod 2^k for
 * step 0, 1, ...; numbers beyond its part are skipped. That can be inverted, so from (sweep, step) follows the version of every
 * page: the sweeps completed, plus one if this sweep has been there. Before a page is written, its old contents are checked.
 *
 * The mark in the dirty bitmap is set after the write, with release: the collector takes it with acquire before it reads
 * the page, so it sees the write or a mark that comes later.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "support/synthetic_private.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"

#define PAGE DECANT_PAGE_SIZE
#define WORDS (PAGE / sizeof(uint64_t))
#define WORD_STEP 0x9e3779b97f4a7c15ull
#define STRIDE 0x9e3779b1ull

static uint64_t mix(uint64_t x)
{
	x += WORD_STEP;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint64_t first_word(uint64_t seed, uint32_t region, uint64_t page, uint32_t version)
{
	return mix(seed ^ mix((uint64_t)region << 56 ^ page << 20) ^ mix(version));
}

static uint64_t *page_words(const struct synthetic *vmm, uint32_t region, uint64_t page)
{
	return (uint64_t *)((char *)decant_memory_region(vmm->memory, region)->address + page * PAGE);
}

GUEST_ACCESS static void write_version(struct synthetic *vmm, uint32_t region, uint64_t page, uint32_t version)
{
	volatile uint64_t *words = page_words(vmm, region, page);
	uint64_t word = version == 0 ? 0 : first_word(vmm->config.seed, region, page, version);
	const uint64_t step = version == 0 ? 0 : WORD_STEP;

	for (size_t i = 0; i < WORDS; i++, word += step)
		words[i] = word;
}

/* The first word that is not as in @version, or WORDS. Looks at each @stride-th and the last. */
GUEST_ACCESS static size_t find_wrong(const struct synthetic *vmm, uint32_t region, uint64_t page,
				      uint32_t version, size_t stride)
{
	const volatile uint64_t *words = page_words(vmm, region, page);
	const uint64_t start = version == 0 ? 0 : first_word(vmm->config.seed, region, page, version);
	const uint64_t step = version == 0 ? 0 : WORD_STEP;

	for (size_t i = 0; i < WORDS; i += stride)
		if (words[i] != start + i * step)
			return i;
	return words[WORDS - 1] == start + (WORDS - 1) * step ? WORDS : WORDS - 1;
}

static void note_bad(struct synthetic *vmm, uint32_t region, uint64_t page, uint32_t version, size_t word)
{
	DECANT_AUTO_UNLOCK(&vmm->lock);
	if (vmm->bad[0] != '\0')
		return;
	snprintf(vmm->bad, sizeof(vmm->bad),
		 "region %" PRIu32 " page %" PRIu64 " word %zu is not that of version %" PRIu32, region, page,
		 word, version);
}

static void mark_dirty(struct synthetic *vmm, uint32_t region, uint64_t page)
{
	atomic_fetch_or_explicit(&vmm->dirty[region][page / 64], 1ull << page % 64, memory_order_release);
}

/* ---- the order in which a writer visits its pages ---- */

static uint64_t part_mask(uint64_t pages)
{
	uint64_t mask = 1;

	while (mask < pages)
		mask <<= 1;
	return mask - 1;
}

static uint64_t sweep_offset(const struct synthetic *vmm, uint64_t sweep)
{
	return vmm->config.pattern == SYNTHETIC_RANDOM ? mix(vmm->config.seed + sweep) : 0;
}

static uint64_t sweep_stride(const struct synthetic *vmm)
{
	return vmm->config.pattern == SYNTHETIC_RANDOM ? STRIDE : 1;
}

/* The inverse of an odd number modulo 2^64, by Newton's iteration; each round doubles the number of right bits. */
static uint64_t invert(uint64_t odd)
{
	uint64_t inverse = odd;

	for (int i = 0; i < 6; i++)
		inverse *= 2 - odd * inverse;
	return inverse;
}

static uint64_t visited_at(const struct writer *writer, uint64_t step)
{
	return (step * sweep_stride(writer->vmm) + sweep_offset(writer->vmm, writer->sweep)) &
	       part_mask(writer->pages);
}

/* Version of the writer's page @index, from how far it has come. */
static uint32_t wss_version(const struct writer *writer, uint64_t index)
{
	uint64_t step = (index - sweep_offset(writer->vmm, writer->sweep)) * invert(sweep_stride(writer->vmm));

	return (uint32_t)(writer->sweep + ((step & part_mask(writer->pages)) < writer->step ? 1 : 0));
}

/* ---- writers ---- */

static void stamp(struct writer *writer, uint64_t index)
{
	struct synthetic *vmm = writer->vmm;
	const uint32_t region = vmm->config.wss_region;
	const uint64_t page = writer->first + index;
	const uint32_t version = (uint32_t)writer->sweep;
	size_t wrong = find_wrong(vmm, region, page, version, 63);

	if (wrong < WORDS)
		note_bad(vmm, region, page, version, wrong);
	write_version(vmm, region, page, version + 1);
	mark_dirty(vmm, region, page);
}

static void beat(struct writer *writer)
{
	uint64_t now = clock_now_ns();
	uint64_t gap = now - writer->last_ns;

	if (atomic_exchange_explicit(&writer->gap_reset, false, memory_order_relaxed))
		writer->gap_ns = 0;
	if (writer->last_ns != 0 && gap > writer->gap_ns)
		writer->gap_ns = gap;
	writer->last_ns = now;
	atomic_fetch_add_explicit(&writer->work, 1, memory_order_relaxed);
}

static void step_once(struct writer *writer)
{
	uint64_t index = visited_at(writer, writer->step);

	if (index < writer->pages) {
		stamp(writer, index);
		beat(writer);
	}
	if (writer->step++ == part_mask(writer->pages)) {
		writer->step = 0;
		writer->sweep++;
	}
}

/* A slowed vCPU runs at the start of each of these, and not at its end. */
#define SLICE_NS (10 * NSEC_PER_MSEC)

/* When a vCPU that is slowed by @share may run again; 0: it may now. */
static uint64_t held_until(_Atomic uint32_t *share)
{
	const uint64_t now = clock_now_ns();

	if (now % SLICE_NS < SLICE_NS / 1000 * (1000 - atomic_load_explicit(share, memory_order_relaxed)))
		return 0;
	return now - now % SLICE_NS + SLICE_NS;
}

/* With the lock. Not over a pause. */
static void sleep_out_slice(struct synthetic *vmm, _Atomic uint32_t *share)
{
	const uint64_t until_ns = held_until(share);
	const struct timespec until = clock_timespec(until_ns);

	while (!vmm->paused && !vmm->quit && clock_now_ns() < until_ns)
		pthread_cond_clockwait(&vmm->changed, &vmm->lock, CLOCK_MONOTONIC, &until);
}

/* Stands while the VM is paused or the next page is not due; false: end the thread. */
static bool stand(struct writer *writer)
{
	struct synthetic *vmm = writer->vmm;

	DECANT_AUTO_UNLOCK(&vmm->lock);
	while (vmm->paused && !vmm->quit) {
		if (vmm->standing++ == 0)
			vmm->left_ns = clock_now_ns();
		pthread_cond_broadcast(&vmm->changed);
		while (vmm->paused && !vmm->quit)
			pthread_cond_wait(&vmm->changed, &vmm->lock);
		vmm->standing--;
		writer->pace_ns = clock_now_ns();
	}
	while (!vmm->paused && !vmm->quit && writer->rate > 0 && clock_now_ns() < writer->pace_ns) {
		struct timespec due = clock_timespec(writer->pace_ns);

		pthread_cond_clockwait(&vmm->changed, &vmm->lock, CLOCK_MONOTONIC, &due);
	}
	if (held_until(&writer->share) != 0) {
		sleep_out_slice(vmm, &writer->share);
		writer->pace_ns = clock_now_ns(); /* what it has lost it does not catch up with */
	}
	return !vmm->quit;
}

static bool must_stand(struct writer *writer)
{
	if (atomic_load_explicit(&writer->vmm->interrupt, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&writer->share, memory_order_relaxed) != 0 && held_until(&writer->share) != 0)
		return true;
	if (writer->rate == 0)
		return false;
	writer->pace_ns += NSEC_PER_SEC / writer->rate;
	/* sleep for several pages at once: a sleep is never as short as a page */
	return writer->pace_ns > clock_now_ns() + 2 * NSEC_PER_MSEC;
}

static void *writer_thread(void *opaque)
{
	struct writer *writer = opaque;

	writer->pace_ns = clock_now_ns();
	while (stand(writer)) {
		while (!must_stand(writer))
			step_once(writer);
	}
	return NULL;
}

static void *thinker_thread(void *opaque)
{
	struct thinker *thinker = opaque;
	struct synthetic *vmm = thinker->vmm;

	DECANT_AUTO_UNLOCK(&vmm->lock);
	while (!vmm->quit) {
		const struct timespec next = clock_timespec(clock_deadline_ns(NSEC_PER_MSEC));

		pthread_cond_clockwait(&vmm->changed, &vmm->lock, CLOCK_MONOTONIC, &next);
		sleep_out_slice(vmm, &thinker->share);
		if (!vmm->paused)
			atomic_fetch_add_explicit(&thinker->work, 1, memory_order_relaxed);
	}
	return NULL;
}

/* They have no state, and nobody waits for them to stand. */
static int start_thinkers(struct synthetic *vmm)
{
	while (vmm->thinking < vmm->config.thinkers) {
		struct thinker *thinker = &vmm->thinker[vmm->thinking];
		int ret;

		thinker->vmm = vmm;
		ret = pthread_create(&thinker->thread, NULL, thinker_thread, thinker);
		if (ret != 0)
			return -ret;
		vmm->thinking++;
	}
	return 0;
}

int guest_start_threads(struct synthetic *vmm)
{
	DECANT_AUTO_UNLOCK(&vmm->lock);
	vmm->paused = true;
	vmm->quit = false;
	atomic_store(&vmm->interrupt, true);
	while (vmm->started < vmm->config.writers) {
		struct writer *writer = &vmm->writer[vmm->started];
		int ret = pthread_create(&writer->thread, NULL, writer_thread, writer);

		if (ret != 0)
			return -ret;
		vmm->started++;
	}
	return start_thinkers(vmm);
}

static uint32_t tell_to_quit(struct synthetic *vmm)
{
	DECANT_AUTO_UNLOCK(&vmm->lock);
	vmm->quit = true;
	atomic_store(&vmm->interrupt, true);
	pthread_cond_broadcast(&vmm->changed);
	return vmm->started;
}

void guest_stop_threads(struct synthetic *vmm)
{
	uint32_t started = tell_to_quit(vmm);

	for (uint32_t i = 0; i < started; i++)
		pthread_join(vmm->writer[i].thread, NULL);
	for (uint32_t i = 0; i < vmm->thinking; i++)
		pthread_join(vmm->thinker[i].thread, NULL);
	vmm->started = vmm->thinking = 0;
	vmm->standing = 0;
	vmm->paused = true;
}

uint64_t guest_halt(struct synthetic *vmm)
{
	DECANT_AUTO_UNLOCK(&vmm->lock);
	if (!vmm->paused)
		vmm->left_ns = clock_now_ns();
	vmm->paused = true;
	atomic_store(&vmm->interrupt, true);
	pthread_cond_broadcast(&vmm->changed);
	while (vmm->standing < vmm->started)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	return vmm->left_ns;
}

void guest_go(struct synthetic *vmm)
{
	DECANT_AUTO_UNLOCK(&vmm->lock);
	vmm->paused = false;
	vmm->run_ns = clock_now_ns();
	vmm->run_work = synthetic_work(vmm);
	atomic_store(&vmm->interrupt, false);
	pthread_cond_broadcast(&vmm->changed);
}

uint64_t guest_gap_ns(const struct synthetic *vmm)
{
	uint64_t gap = 0;

	for (uint32_t i = 0; i < vmm->config.writers; i++)
		if (vmm->writer[i].gap_ns > gap)
			gap = vmm->writer[i].gap_ns;
	return gap;
}

/* ---- the ledger and the judge ---- */

static uint64_t region_pages(const struct synthetic *vmm, uint32_t region)
{
	return decant_memory_region(vmm->memory, region)->length / PAGE;
}

static uint32_t note_in_ledger(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages, bool zero)
{
	struct ledger_entry *entry;

	DECANT_AUTO_UNLOCK(&vmm->lock);
	vmm->ledger = realloc(vmm->ledger, (vmm->ledger_length + 1) * sizeof(*entry));
	entry = &vmm->ledger[vmm->ledger_length++];
	*entry = (struct ledger_entry){ .region = region, .first = first, .pages = pages };
	entry->version = zero ? 0 : ++vmm->ledger_version;
	return entry->version;
}

static void write_pages(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages, bool zero)
{
	uint32_t version = note_in_ledger(vmm, region, first, pages, zero);

	for (uint64_t page = first; page < first + pages; page++) {
		write_version(vmm, region, page, version);
		mark_dirty(vmm, region, page);
	}
}

void synthetic_fill(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages)
{
	write_pages(vmm, region, first, pages, false);
}

void synthetic_zero(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages)
{
	write_pages(vmm, region, first, pages, true);
}

void synthetic_punch(struct synthetic *vmm, uint32_t region, uint64_t first, uint64_t pages)
{
	note_in_ledger(vmm, region, first, pages, true);
	madvise(page_words(vmm, region, first), pages * PAGE, MADV_REMOVE);
	for (uint64_t page = first; page < first + pages; page++)
		mark_dirty(vmm, region, page);
}

GUEST_ACCESS void synthetic_corrupt(struct synthetic *vmm, uint32_t region, uint64_t page)
{
	volatile uint64_t *words = page_words(vmm, region, page);

	words[77] ^= 1ull << 20;
}

static void expect_wss(const struct synthetic *vmm, uint32_t *version)
{
	for (uint32_t i = 0; i < vmm->config.writers; i++) {
		const struct writer *writer = &vmm->writer[i];

		for (uint64_t index = 0; index < writer->pages; index++)
			version[writer->first + index] = wss_version(writer, index);
	}
}

/* One version per page of @region. */
static uint32_t *expect_region(const struct synthetic *vmm, uint32_t region)
{
	uint32_t *version = calloc(region_pages(vmm, region), sizeof(*version));

	for (size_t i = 0; i < vmm->ledger_length; i++) {
		const struct ledger_entry *entry = &vmm->ledger[i];

		if (entry->region != region)
			continue;
		for (uint64_t page = 0; page < entry->pages; page++)
			version[entry->first + page] = entry->version;
	}
	if (region == vmm->config.wss_region)
		expect_wss(vmm, version);
	return version;
}

static void check_pages(struct synthetic *vmm, uint32_t region, const uint32_t *version, uint64_t first,
			uint64_t end)
{
	for (uint64_t page = first; page < end; page++) {
		size_t wrong = find_wrong(vmm, region, page, version[page], 1);

		if (wrong < WORDS)
			note_bad(vmm, region, page, version[page], wrong);
	}
}

/* Pages that are not there are zero by nature, so all there is to check is that they may be. */
static void check_hole(struct synthetic *vmm, uint32_t region, const uint32_t *version, uint64_t first,
		       uint64_t end)
{
	for (uint64_t page = first; page < end; page++)
		if (version[page] != 0)
			note_bad(vmm, region, page, version[page], 0);
}

static void check_region(struct synthetic *vmm, uint32_t region)
{
	DECANT_AUTO_FREE uint32_t *version = expect_region(vmm, region);
	const uint64_t end = region_pages(vmm, region) * PAGE;
	uint64_t offset = 0, length, checked = 0;

	int rc;

	while ((rc = decant_memory_next_data(vmm->memory, region, &offset, end, &length, NULL)) > 0) {
		check_hole(vmm, region, version, checked / PAGE, offset / PAGE);
		check_pages(vmm, region, version, offset / PAGE, (offset + length) / PAGE);
		offset += length;
		checked = offset;
	}
	/* where nobody can say what is a hole, every page is looked at */
	if (rc < 0)
		check_pages(vmm, region, version, checked / PAGE, end / PAGE);
	else
		check_hole(vmm, region, version, checked / PAGE, end / PAGE);
}

void guest_check(struct synthetic *vmm)
{
	for (uint32_t i = 0; i < decant_memory_count(vmm->memory); i++)
		check_region(vmm, i);
}

/* ---- making and unmaking ---- */

static void share_out(struct synthetic *vmm)
{
	const struct synthetic_config *config = &vmm->config;
	uint64_t part = config->writers == 0 ? 0 : config->wss_pages / config->writers;

	for (uint32_t i = 0; i < config->writers; i++) {
		struct writer *writer = &vmm->writer[i];

		writer->vmm = vmm;
		writer->first = config->wss_first + i * part;
		writer->pages = part;
		writer->rate = config->rate / config->writers;
		writer->sweep = writer->step = writer->last_ns = writer->gap_ns = 0;
		atomic_store(&writer->work, 0);
		atomic_store(&writer->gap_reset, false);
	}
}

int guest_init(struct synthetic *vmm)
{
	for (uint32_t i = 0; i < decant_memory_count(vmm->memory); i++) {
		vmm->dirty[i] = calloc(bitmap_words(region_pages(vmm, i)), sizeof(vmm->dirty[i][0]));
		if (vmm->dirty[i] == NULL)
			return -ENOMEM;
	}
	share_out(vmm);
	return 0;
}

void guest_destroy(struct synthetic *vmm)
{
	for (uint32_t i = 0; i < SYNTHETIC_REGIONS_MAX; i++) {
		free(vmm->dirty[i]);
		vmm->dirty[i] = NULL;
	}
	free(vmm->ledger);
	vmm->ledger = NULL;
	vmm->ledger_length = 0;
	vmm->bad[0] = '\0';
}
