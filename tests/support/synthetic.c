/* SPDX-License-Identifier: BSD-2-Clause */
/* synthetic.c -- struct decant_vmm_ops of the synthetic VMM, its state records and its faults */
#include "support/synthetic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/synthetic_private.h"
#include "util/bitmap.h"
#include "util/cleanup.h"
#include "util/clock.h"

static const char *const event_names[SYNTHETIC_EVENTS] = {
	[SYNTHETIC_SHAPE_SAVE] = "shape_save", [SYNTHETIC_DIRTY_START] = "dirty_start",
	[SYNTHETIC_FETCH] = "dirty_fetch",     [SYNTHETIC_PAUSE] = "pause",
	[SYNTHETIC_RESUME] = "resume",         [SYNTHETIC_SAVE] = "state_save",
	[SYNTHETIC_CREATE] = "create",         [SYNTHETIC_LOAD] = "state_load",
	[SYNTHETIC_START] = "start",           [SYNTHETIC_DISCARD] = "discard",
	[SYNTHETIC_VERDICT] = "verdict",       [SYNTHETIC_THROTTLE] = "throttle",
};

struct shape_record {
	uint64_t seed;
	uint64_t wss_first, wss_pages, rate;
	uint32_t writers, wss_region, pattern, dirty;
};

struct writer_record {
	uint64_t sweep, step, last_ns, gap_ns, work;
};

/* Counts, calls the hook, waits, fails: in that order. */
static int happen(struct synthetic *vmm, enum synthetic_event event, struct decant_error *err)
{
	unsigned nth = atomic_fetch_add(&vmm->count[event], 1) + 1;
	unsigned delay;
	int fault;

	if (vmm->hook != NULL)
		vmm->hook(vmm->hook_opaque, vmm, event, nth);
	delay = atomic_load(&vmm->delay_ms[event]);
	fault = atomic_load(&vmm->fault[event]);
	if (delay > 0)
		usleep(delay * 1000);
	if (fault != 0)
		return decant_error_set(err, fault, "synthetic VM: %s: told to fail: %s", event_names[event],
					strerror(-fault));
	return 0;
}

/* ---- source ---- */

static int synthetic_shape_save(void *opaque, struct decant_state_writer *shape, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	const struct shape_record record = {
		.seed = vmm->config.seed,
		.wss_first = vmm->config.wss_first,
		.wss_pages = vmm->config.wss_pages,
		.rate = vmm->config.rate,
		.writers = vmm->config.writers,
		.wss_region = vmm->config.wss_region,
		.pattern = vmm->config.pattern,
		.dirty = vmm->config.dirty,
	};
	int ret = happen(vmm, SYNTHETIC_SHAPE_SAVE, err);

	return ret < 0 ? ret : decant_state_put(shape, "synthetic.shape", 0, 1, &record, sizeof(record), err);
}

static uint64_t region_words(const struct synthetic *vmm, uint32_t region)
{
	return bitmap_words(decant_memory_region(vmm->memory, region)->length / DECANT_PAGE_SIZE);
}

/* Marks are always set, so there is no moment in which tracking begins: what was marked before is forgotten, with acquire. */
static int synthetic_dirty_start(void *opaque, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = happen(vmm, SYNTHETIC_DIRTY_START, err);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < decant_memory_count(vmm->memory); i++)
		for (uint64_t word = 0; word < region_words(vmm, i); word++)
			atomic_exchange_explicit(&vmm->dirty[i][word], vmm->config.all_set ? UINT64_MAX : 0,
						 memory_order_acquire);
	return 0;
}

static uint64_t last_word_mask(uint64_t pages, uint64_t word)
{
	return word == pages / 64 ? (1ull << pages % 64) - 1 : UINT64_MAX;
}

static int synthetic_dirty_fetch(void *opaque, uint32_t region, uint64_t *bitmap, uint64_t pages,
				 struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = region == 0 ? happen(vmm, SYNTHETIC_FETCH, err) : 0;

	if (ret < 0)
		return ret;
	for (uint64_t word = 0; word < bitmap_words(pages); word++) {
		_Atomic uint64_t *dirty = &vmm->dirty[region][word];
		uint64_t found = vmm->config.dirty == SYNTHETIC_DIRTY_RING
					 ? atomic_exchange_explicit(dirty, 0, memory_order_acquire)
					 : atomic_load_explicit(dirty, memory_order_relaxed);

		bitmap[word] |= found & last_word_mask(pages, word);
	}
	return 0;
}

static int synthetic_dirty_clear(void *opaque, uint32_t region, uint64_t first, uint64_t pages,
				 const uint64_t *bitmap, struct decant_error *err)
{
	struct synthetic *vmm = opaque;

	if (first % 64 != 0 ||
	    first + pages > decant_memory_region(vmm->memory, region)->length / DECANT_PAGE_SIZE)
		return decant_error_set(err, -EINVAL,
					"synthetic VM: dirty_clear of pages %" PRIu64 "+%" PRIu64
					" of region %" PRIu32,
					first, pages, region);
	if (vmm->config.dirty == SYNTHETIC_DIRTY_RING)
		return 0;
	for (uint64_t word = 0; word < bitmap_words(pages); word++)
		atomic_fetch_and_explicit(&vmm->dirty[region][first / 64 + word],
					  ~(bitmap[word] & last_word_mask(pages, word)), memory_order_acquire);
	return 0;
}

static void synthetic_dirty_stop(void *opaque)
{
	(void)opaque;
}

static int synthetic_pause(void *opaque, uint64_t *left_ns, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret;

	*left_ns = guest_halt(vmm);
	ret = happen(vmm, SYNTHETIC_PAUSE, err);
	if (ret < 0)
		guest_go(vmm);
	return ret;
}

static int synthetic_resume(void *opaque, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = happen(vmm, SYNTHETIC_RESUME, err);

	if (ret == 0)
		guest_go(vmm);
	return ret;
}

static int put_writer(const struct writer *writer, uint32_t index, struct decant_state_writer *state,
		      struct decant_error *err)
{
	const struct writer_record record = {
		.sweep = writer->sweep,
		.step = writer->step,
		.last_ns = writer->last_ns,
		.gap_ns = writer->gap_ns,
		.work = atomic_load(&writer->work),
	};

	return decant_state_put(state, "synthetic.writer", index, 1, &record, sizeof(record), err);
}

/* The hook comes first: it may write memory, which is then in the ledger that is saved. */
static int synthetic_state_save(void *opaque, struct decant_state_writer *state, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = happen(vmm, SYNTHETIC_SAVE, err);

	for (uint32_t i = 0; ret == 0 && i < vmm->config.writers; i++)
		ret = put_writer(&vmm->writer[i], i, state, err);
	if (ret < 0)
		return ret;
	return decant_state_put(state, "synthetic.ledger", 0, 1, vmm->ledger,
				vmm->ledger_length * sizeof(vmm->ledger[0]), err);
}

static void synthetic_gap_reset(void *opaque)
{
	struct synthetic *vmm = opaque;

	for (uint32_t i = 0; i < vmm->config.writers; i++)
		atomic_store(&vmm->writer[i].gap_reset, true);
}

/* What a ring would count: with the log nobody knows who has written. */
static int synthetic_vcpu_dirtied(void *opaque, uint32_t vcpu, uint64_t *pages, struct decant_error *err)
{
	struct synthetic *vmm = opaque;

	if (vcpu >= vmm->config.writers + vmm->config.thinkers)
		return decant_error_set(err, -ENOENT, "synthetic VM: no vCPU %" PRIu32, vcpu);
	if (vmm->config.dirty == SYNTHETIC_DIRTY_LOG)
		return decant_error_set(err, -EOPNOTSUPP, "synthetic VM: a log does not know who has written");
	*pages = vcpu < vmm->config.writers ? atomic_load(&vmm->writer[vcpu].work) : 0;
	return 0;
}

static int synthetic_throttle(void *opaque, uint32_t vcpu, uint32_t share_permille, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	/* to undo it cannot fail: the guest would stay slow */
	int ret = share_permille != 0 ? happen(vmm, SYNTHETIC_THROTTLE, err) : 0;

	if (ret < 0)
		return ret;
	if (vcpu < vmm->config.writers)
		atomic_store(&vmm->writer[vcpu].share, share_permille);
	else
		atomic_store(&vmm->thinker[vcpu - vmm->config.writers].share, share_permille);
	return 0;
}

/* ---- destination ---- */

static int take_shape(struct synthetic *vmm, struct decant_state_reader *shape, struct decant_error *err)
{
	struct decant_state_record record;
	struct shape_record saved;
	int ret = decant_state_get(shape, "synthetic.shape", 0, 1, &record, err);

	if (ret < 0)
		return ret;
	if (record.length != sizeof(saved))
		return decant_error_set(err, -EPROTO, "synthetic VM: shape of %zu bytes", record.length);
	memcpy(&saved, record.data, sizeof(saved));
	vmm->config.seed = saved.seed;
	vmm->config.wss_first = saved.wss_first;
	vmm->config.wss_pages = saved.wss_pages;
	vmm->config.wss_region = saved.wss_region;
	vmm->config.rate = saved.rate;
	vmm->config.writers = saved.writers;
	vmm->config.pattern = saved.pattern;
	vmm->config.dirty = saved.dirty;
	return 0;
}

static int make_regions(struct synthetic *vmm, const struct decant_region *regions, uint32_t count,
			struct decant_memory *memory, struct decant_error *err)
{
	if (count > SYNTHETIC_REGIONS_MAX)
		return decant_error_set(err, -ENOSPC, "synthetic VM: %" PRIu32 " regions", count);
	for (uint32_t i = 0; i < count; i++) {
		struct decant_region region = regions[i];
		int ret;

		region.numa_node = -1;
		region.fd = -1;
		if (i == 0 && atomic_load(&vmm->wrong_memory))
			region.length += region.page_size;
		ret = decant_memory_allocate(memory, &region, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int synthetic_create(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
			    uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = happen(vmm, SYNTHETIC_CREATE, err);

	if (ret == 0)
		ret = take_shape(vmm, shape, err);
	if (ret == 0)
		ret = make_regions(vmm, regions, count, memory, err);
	if (ret < 0)
		return ret;
	vmm->memory = memory;
	ret = guest_init(vmm);
	if (ret == 0) {
		atomic_store(&vmm->exists, true);
		return 0;
	}
	guest_destroy(vmm);
	vmm->memory = NULL;
	return decant_error_set(err, ret, "synthetic VM: no memory for dirty bitmaps");
}

static int get_writer(struct writer *writer, uint32_t index, struct decant_state_reader *state,
		      struct decant_error *err)
{
	struct decant_state_record record;
	struct writer_record saved;
	int ret = decant_state_get(state, "synthetic.writer", index, 1, &record, err);

	if (ret < 0)
		return ret;
	if (record.length != sizeof(saved))
		return decant_error_set(err, -EPROTO, "synthetic VM: writer of %zu bytes", record.length);
	memcpy(&saved, record.data, sizeof(saved));
	writer->sweep = saved.sweep;
	writer->step = saved.step;
	writer->last_ns = saved.last_ns;
	writer->gap_ns = saved.gap_ns;
	atomic_store(&writer->work, saved.work);
	return 0;
}

static int get_ledger(struct synthetic *vmm, struct decant_state_reader *state, struct decant_error *err)
{
	struct decant_state_record record;
	int ret = decant_state_get(state, "synthetic.ledger", 0, 1, &record, err);

	if (ret < 0)
		return ret;
	free(vmm->ledger);
	vmm->ledger = malloc(record.length + 1);
	vmm->ledger_length = record.length / sizeof(vmm->ledger[0]);
	if (vmm->ledger == NULL)
		return decant_error_set(err, -ENOMEM, "synthetic VM: no memory for the ledger");
	memcpy(vmm->ledger, record.data, record.length);
	vmm->ledger_version = 0;
	for (size_t i = 0; i < vmm->ledger_length; i++)
		if (vmm->ledger[i].version > vmm->ledger_version)
			vmm->ledger_version = vmm->ledger[i].version;
	return 0;
}

static int synthetic_state_load(void *opaque, struct decant_state_reader *state, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	struct decant_state_record record;
	int ret = happen(vmm, SYNTHETIC_LOAD, err);

	for (uint32_t i = 0; ret == 0 && i < vmm->config.writers; i++)
		ret = get_writer(&vmm->writer[i], i, state, err);
	if (ret == 0)
		ret = get_ledger(vmm, state, err);
	if (ret == 0 && decant_state_unused(state, &record))
		return decant_error_set(err, -EPROTO, "synthetic VM: nobody took record %s", record.name);
	return ret;
}

static int synthetic_start(void *opaque, const struct decant_handover *handover, uint64_t *entered_ns,
			   struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = happen(vmm, SYNTHETIC_START, err);

	if (ret == 0) {
		ret = guest_start_threads(vmm);
		if (ret < 0)
			decant_error_set(err, ret, "synthetic VM: writer thread: %s", strerror(-ret));
	}
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < vmm->config.writers; i++)
		if (vmm->writer[i].last_ns != 0)
			vmm->writer[i].last_ns += (uint64_t)handover->clock_offset_ns;
	*entered_ns = clock_now_ns();
	guest_go(vmm);
	return 0;
}

static void synthetic_discard(void *opaque)
{
	struct synthetic *vmm = opaque;

	happen(vmm, SYNTHETIC_DISCARD, NULL);
	guest_stop_threads(vmm);
	guest_destroy(vmm);
	vmm->memory = NULL;
	atomic_store(&vmm->exists, false);
}

/* The gap that a pause was is known when the guest has gone on after it. */
static void await_first_pages(struct synthetic *vmm)
{
	for (int i = 0; i < 2000 && synthetic_work(vmm) <= vmm->run_work + vmm->config.writers; i++)
		usleep(1000);
}

static int synthetic_verdict(void *opaque, struct decant_verdict *verdict, struct decant_error *err)
{
	struct synthetic *vmm = opaque;
	int ret = happen(vmm, SYNTHETIC_VERDICT, err);

	if (ret < 0)
		return ret;
	if (vmm->config.writers > 0)
		await_first_pages(vmm);
	synthetic_judge(vmm, verdict);
	return ret;
}

const struct decant_vmm_ops *synthetic_ops(void)
{
	static const struct decant_vmm_ops ops = {
		.size = sizeof(ops),
		.shape_save = synthetic_shape_save,
		.dirty_start = synthetic_dirty_start,
		.dirty_fetch = synthetic_dirty_fetch,
		.dirty_clear = synthetic_dirty_clear,
		.dirty_stop = synthetic_dirty_stop,
		.pause = synthetic_pause,
		.resume = synthetic_resume,
		.state_save = synthetic_state_save,
		.create = synthetic_create,
		.state_load = synthetic_state_load,
		.start = synthetic_start,
		.discard = synthetic_discard,
		.verdict = synthetic_verdict,
		.gap_reset = synthetic_gap_reset,
		.vcpu_dirtied = synthetic_vcpu_dirtied,
		.throttle = synthetic_throttle,
	};

	return &ops;
}

/* ---- the test's side ---- */

struct synthetic *synthetic_new_empty(void)
{
	struct synthetic *vmm = calloc(1, sizeof(*vmm));

	if (vmm == NULL)
		return NULL;
	pthread_mutex_init(&vmm->judging, NULL);
	pthread_mutex_init(&vmm->lock, NULL);
	pthread_cond_init(&vmm->changed, NULL);
	vmm->paused = true;
	return vmm;
}

static int make_memory(struct synthetic *vmm, struct decant_error *err)
{
	int ret = decant_memory_new(&vmm->memory, err);

	if (ret < 0)
		return ret;
	vmm->owns_memory = true;
	for (uint32_t i = 0; i < vmm->config.regions; i++) {
		ret = decant_memory_allocate(vmm->memory, &vmm->config.region[i], err);
		if (ret < 0)
			return ret;
	}
	return guest_init(vmm);
}

struct synthetic *synthetic_new(const struct synthetic_config *config)
{
	struct synthetic *vmm = synthetic_new_empty();
	struct decant_error err = DECANT_ERROR_INIT;

	if (vmm == NULL)
		return NULL;
	vmm->config = *config;
	if (make_memory(vmm, &err) == 0) {
		atomic_store(&vmm->exists, true);
		return vmm;
	}
	fprintf(stderr, "synthetic VM: %s\n", err.msg);
	synthetic_free(vmm);
	return NULL;
}

struct decant_memory *synthetic_memory(const struct synthetic *vmm)
{
	return vmm->memory;
}

void synthetic_run(struct synthetic *vmm)
{
	if (guest_start_threads(vmm) < 0)
		abort();
	guest_go(vmm);
}

void synthetic_free(struct synthetic *vmm)
{
	if (vmm == NULL)
		return;
	guest_stop_threads(vmm);
	guest_destroy(vmm);
	if (vmm->owns_memory)
		decant_memory_free(vmm->memory);
	pthread_cond_destroy(&vmm->changed);
	pthread_mutex_destroy(&vmm->lock);
	pthread_mutex_destroy(&vmm->judging);
	free(vmm);
}

void synthetic_set_hook(struct synthetic *vmm, synthetic_hook *hook, void *opaque)
{
	vmm->hook = hook;
	vmm->hook_opaque = opaque;
}

void synthetic_set_fault(struct synthetic *vmm, enum synthetic_event event, int code)
{
	atomic_store(&vmm->fault[event], code);
}

void synthetic_set_delay(struct synthetic *vmm, enum synthetic_event event, unsigned ms)
{
	atomic_store(&vmm->delay_ms[event], ms);
}

void synthetic_set_wrong_memory(struct synthetic *vmm, bool wrong)
{
	atomic_store(&vmm->wrong_memory, wrong);
}

unsigned synthetic_count(const struct synthetic *vmm, enum synthetic_event event)
{
	return atomic_load(&vmm->count[event]);
}

bool synthetic_exists(const struct synthetic *vmm)
{
	return atomic_load(&vmm->exists);
}

bool synthetic_is_running(struct synthetic *vmm)
{
	DECANT_AUTO_UNLOCK(&vmm->lock);
	return !vmm->paused && vmm->started == vmm->config.writers;
}

uint64_t synthetic_work(const struct synthetic *vmm)
{
	uint64_t work = 0;

	for (uint32_t i = 0; i < vmm->config.writers; i++)
		work += atomic_load_explicit(&vmm->writer[i].work, memory_order_relaxed);
	return work;
}

uint64_t synthetic_thought(const struct synthetic *vmm, uint32_t index)
{
	return atomic_load(&vmm->thinker[index].work);
}

bool synthetic_throttled(const struct synthetic *vmm)
{
	for (uint32_t i = 0; i < vmm->config.writers; i++)
		if (atomic_load(&vmm->writer[i].share) != 0)
			return true;
	for (uint32_t i = 0; i < vmm->config.thinkers; i++)
		if (atomic_load(&vmm->thinker[i].share) != 0)
			return true;
	return false;
}

/* The guest does not see the time it stands here. */
static void forget_the_stop(struct synthetic *vmm, uint64_t began_ns)
{
	uint64_t now = clock_now_ns();

	for (uint32_t i = 0; i < vmm->config.writers; i++)
		if (vmm->writer[i].last_ns != 0)
			vmm->writer[i].last_ns += now - began_ns;
}

void synthetic_judge(struct synthetic *vmm, struct decant_verdict *verdict)
{
	uint64_t began, ran;
	bool running;

	DECANT_AUTO_UNLOCK(&vmm->judging);
	running = synthetic_is_running(vmm);
	began = guest_halt(vmm);
	ran = began - vmm->run_ns;
	guest_check(vmm);
	memset(verdict, 0, sizeof(*verdict));
	verdict->status = vmm->bad[0] == '\0' ? DECANT_VERDICT_OK : DECANT_VERDICT_BAD;
	verdict->pause_ns = guest_gap_ns(vmm);
	verdict->work_rate = ran == 0 ? 0
				      : (synthetic_work(vmm) - vmm->run_work) * 1000 / (ran / NSEC_PER_MSEC + 1);
	snprintf(verdict->text, sizeof(verdict->text), "%s", vmm->bad);
	forget_the_stop(vmm, began);
	if (running)
		guest_go(vmm);
}
