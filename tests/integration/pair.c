/* SPDX-License-Identifier: BSD-2-Clause */
/* pair.c -- a source and a destination in one process, and a network between them */
#include "integration/pair.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/lib_calls.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* Three granules: one half written and then the working set, one never written, one with a page at its end. */
#define PAGE ((uint64_t)DECANT_PAGE_SIZE)
#define GRANULE_PAGES (DECANT_GRANULE_SIZE / PAGE)
#define RAM_PAGES (3 * GRANULE_PAGES)
#define FILLED_PAGES (GRANULE_PAGES / 2)
#define WSS_PAGES 16u

#define PATIENT_NS (40000 * PAIR_MS)

/* ---- what the two ends say ---- */

static void show(const char *who, enum decant_log_level level, const char *message)
{
	if (getenv("RIG_LOG") != NULL)
		fprintf(stderr, "# %11.3f %s <%d> %s\n", (double)clock_now_ns() / 1e9, who, (int)level, message);
}

static void source_says(void *opaque, enum decant_log_level level, const char *message)
{
	(void)opaque;
	show("source", level, message);
}

/* A session, or a greeting, that came to nothing says so here, and nowhere else: the receiver waits for the next one. */
static void destination_says(void *opaque, enum decant_log_level level, const char *message)
{
	struct pair *pair = opaque;

	show("destination", level, message);
	DECANT_AUTO_UNLOCK(&pair->lock);
	pair->refusals += strstr(message, "was not taken in") != NULL || strncmp(message, "refused ", 8) == 0;
	pthread_cond_broadcast(&pair->changed);
}

void pair_init(struct pair *pair, const char *fabric)
{
	const struct decant_migration_opts opts = DECANT_MIGRATION_OPTS_INIT;
	const struct decant_receiver_opts receiver_opts = DECANT_RECEIVER_OPTS_INIT;
	const struct synthetic_config config = SYNTHETIC_CONFIG_INIT;
	const struct decant_region region = DECANT_REGION_INIT;

	memset(pair, 0, sizeof(*pair));
	snprintf(pair->fabric, sizeof(pair->fabric), "%s", fabric);
	pthread_mutex_init(&pair->lock, NULL);
	pthread_cond_init(&pair->changed, NULL);
	pair->config = config;
	pair->config.writers = 1;
	pair->config.wss_first = FILLED_PAGES;
	pair->config.wss_pages = WSS_PAGES;
	pair->config.rate = 500;
	pair->config.regions = 1;
	pair->config.region[0] = region;
	snprintf(pair->config.region[0].name, sizeof(region.name), "ram0");
	pair->config.region[0].length = RAM_PAGES * PAGE;
	pair->config.region[0].page_size = DECANT_PAGE_SIZE;
	pair->opts = opts;
	pair->opts.peer = pair->peer;
	pair->opts.name = "pair";
	pair->opts.fabric = pair->fabric;
	pair->opts.max_downtime_ns = PATIENT_NS;
	pair->opts.switchover_timeout_ns = PATIENT_NS;
	pair->opts.peer_timeout_ns = PATIENT_NS;
	pair->opts.log = (struct decant_log){ .fn = source_says, .opaque = pair, .level = DECANT_LOG_DEBUG };
	pair->receiver_opts = receiver_opts;
	pair->receiver_opts.listen = "127.0.0.1:0";
	pair->receiver_opts.peer_timeout_ns = PATIENT_NS;
	pair->receiver_opts.lease_ns = PATIENT_NS;
	pair->receiver_opts.log =
		(struct decant_log){ .fn = destination_says, .opaque = pair, .level = DECANT_LOG_DEBUG };
}

void pair_set_key(struct pair *pair)
{
	static const char key[] = "sixteen bytes or more, and random where it matters";

	pair->opts.key = pair->receiver_opts.key = key;
	pair->opts.key_length = pair->receiver_opts.key_length = sizeof(key);
}

/* ---- life ---- */

static void *receiver_main(void *opaque)
{
	struct pair *pair = opaque;

	lib_enter(LIB_DESTINATION);
	pair->receive_ret = decant_receiver_run(pair->receiver, &pair->received, &pair->receive_err);
	DECANT_AUTO_UNLOCK(&pair->lock);
	pair->receiver_ended = 1;
	pthread_cond_broadcast(&pair->changed);
	return NULL;
}

static void boot(struct pair *pair)
{
	pair->source = synthetic_new(&pair->config);
	pair->destination = synthetic_new_empty();
	if (pair->source == NULL || pair->destination == NULL)
		abort();
	if (pair->hook != NULL) {
		synthetic_set_hook(pair->source, pair->hook, pair);
		synthetic_set_hook(pair->destination, pair->hook, pair);
	}
	synthetic_fill(pair->source, 0, 0, FILLED_PAGES);
	synthetic_fill(pair->source, 0, RAM_PAGES - 1, 1);
	synthetic_run(pair->source);
}

int pair_start(struct pair *pair)
{
	uint16_t port;
	int ret;

	boot(pair);
	lib_enter(LIB_DESTINATION);
	ret = decant_receiver_new(&pair->receiver_opts, synthetic_ops(), pair->destination, &pair->receiver,
				  &pair->receive_err);
	lib_enter(LIB_NOBODY);
	if (ret < 0)
		return ret;
	port = decant_receiver_port(pair->receiver);
	if (!pair->direct) {
		pair->relay = relay_new(port, strcmp(pair->fabric, "loop") != 0);
		port = relay_port(pair->relay);
	}
	snprintf(pair->peer, sizeof(pair->peer), "127.0.0.1:%u", port);
	if (pthread_create(&pair->receiver_thread, NULL, receiver_main, pair) != 0)
		abort();
	pair->receiver_is_started = true;
	return 0;
}

static void *source_main(void *opaque)
{
	struct pair *pair = opaque;

	lib_enter(LIB_SOURCE);
	pair->ret = decant_migration_run(pair->migration, &pair->err);
	DECANT_AUTO_UNLOCK(&pair->lock);
	pair->source_ended = 1;
	pthread_cond_broadcast(&pair->changed);
	return NULL;
}

int pair_migrate(struct pair *pair)
{
	int ret;

	decant_migration_free(pair->migration);
	pair->migration = NULL;
	decant_error_clear(&pair->err);
	pair->source_ended = 0;
	lib_enter(LIB_SOURCE);
	ret = decant_migration_new(&pair->opts, synthetic_ops(), pair->source, synthetic_memory(pair->source),
				   &pair->migration, &pair->err);
	lib_enter(LIB_NOBODY);
	if (ret < 0)
		return ret;
	if (pthread_create(&pair->source_thread, NULL, source_main, pair) != 0)
		abort();
	pair->source_is_started = true;
	return 0;
}

static bool await(struct pair *pair, const unsigned *number, unsigned least, unsigned ms)
{
	const struct timespec until = clock_timespec(clock_deadline_ns(ms * PAIR_MS));
	int rc = 0;

	DECANT_AUTO_UNLOCK(&pair->lock);
	while (*number < least && rc == 0)
		rc = pthread_cond_clockwait(&pair->changed, &pair->lock, CLOCK_MONOTONIC, &until);
	return *number >= least;
}

bool pair_await_source(struct pair *pair, unsigned ms)
{
	return await(pair, &pair->source_ended, 1, ms);
}

bool pair_await_refusals(struct pair *pair, unsigned count, unsigned ms)
{
	return await(pair, &pair->refusals, count, ms);
}

void pair_join(struct pair *pair)
{
	if (pair->source_is_started)
		pthread_join(pair->source_thread, NULL);
	pair->source_is_started = false;
}

int pair_settle(struct pair *pair, bool force)
{
	int ret;

	lib_enter(LIB_SOURCE);
	ret = decant_migration_settle(pair->migration, force, &pair->err);
	lib_enter(LIB_NOBODY);
	return ret;
}

int pair_resume(struct pair *pair)
{
	return synthetic_ops()->resume(pair->source, &pair->err);
}

void pair_destroy(struct pair *pair)
{
	/* a process that ends frees what it has left: as its ends, so that what fails then is theirs, too */
	lib_enter(LIB_DESTINATION);
	if (pair->receiver != NULL)
		decant_receiver_stop(pair->receiver);
	if (pair->receiver_is_started)
		pthread_join(pair->receiver_thread, NULL);
	lib_enter(LIB_SOURCE);
	decant_migration_free(pair->migration);
	lib_enter(LIB_NOBODY);
	relay_free(pair->relay);
	lib_enter(LIB_DESTINATION);
	decant_receiver_free(pair->receiver);
	lib_enter(LIB_NOBODY);
	synthetic_free(pair->destination);
	decant_memory_free(pair->received);
	synthetic_free(pair->source);
	pthread_cond_destroy(&pair->changed);
	pthread_mutex_destroy(&pair->lock);
}

/* ---- the oracle ---- */

static bool await_work(struct synthetic *vmm)
{
	const uint64_t before = synthetic_work(vmm);

	for (unsigned ms = 0; ms < PAIR_PATIENCE_MS; ms++) {
		if (synthetic_work(vmm) != before)
			return true;
		usleep(1000);
	}
	return false;
}

/* Who is being asked for its verdict stands for a moment. */
static bool await_running(struct synthetic *vmm)
{
	for (unsigned ms = 0; ms < PAIR_PATIENCE_MS && !synthetic_is_running(vmm); ms++)
		usleep(1000);
	return synthetic_is_running(vmm);
}

static bool await_gone(struct synthetic *vmm)
{
	for (unsigned ms = 0; ms < PAIR_PATIENCE_MS && synthetic_exists(vmm); ms++)
		usleep(1000);
	return !synthetic_exists(vmm);
}

static int judge_guest(struct synthetic *vmm, const char *where, char *text, size_t size)
{
	struct decant_verdict verdict;

	if (!await_work(vmm)) {
		snprintf(text, size, "the guest runs nowhere: it stands at the %s", where);
		return -1;
	}
	synthetic_judge(vmm, &verdict);
	if (verdict.status == DECANT_VERDICT_OK)
		return 0;
	snprintf(text, size, "the guest at the %s says: %s", where, verdict.text);
	return -1;
}

static int judge_moved(struct pair *pair, char *text, size_t size)
{
	if (!await(pair, &pair->receiver_ended, 1, PAIR_PATIENCE_MS) || pair->receive_ret != 0) {
		snprintf(text, size, "the receiver has no VM: %s", pair->receive_err.msg);
		return -1;
	}
	if (synthetic_is_running(pair->source)) {
		snprintf(text, size, "the guest runs twice: it moved, and runs at the source");
		return -1;
	}
	if (!await_running(pair->destination)) {
		snprintf(text, size, "the guest runs nowhere: not where it has moved to");
		return -1;
	}
	return judge_guest(pair->destination, "destination", text, size);
}

static int judge_stayed(struct pair *pair, char *text, size_t size)
{
	const char *wrong = NULL;

	if (!synthetic_is_running(pair->source))
		wrong = "the guest runs nowhere: not where it should have stayed";
	else if (!await_gone(pair->destination))
		wrong = "the destination has not discarded what it made";
	else if (synthetic_is_running(pair->destination))
		wrong = "the guest runs twice: it stayed, and runs at the destination";
	if (wrong == NULL)
		return judge_guest(pair->source, "source", text, size);
	snprintf(text, size, "%s", wrong);
	return -1;
}

int pair_judge(struct pair *pair, enum pair_place place, char *text, size_t size)
{
	return place == PAIR_MOVED ? judge_moved(pair, text, size) : judge_stayed(pair, text, size);
}

int pair_repeat(struct pair *pair, char *text, size_t size)
{
	pair->opts.peer_timeout_ns = pair->opts.switchover_timeout_ns = PATIENT_NS;
	/* a receiver that is still clearing up says that it is busy; one with short timers may lose the source on a busy machine */
	for (unsigned i = 0; i < PAIR_PATIENCE_MS / 20; i++) {
		if (pair_migrate(pair) < 0 || !pair_await_source(pair, PAIR_PATIENCE_MS))
			break;
		pair_join(pair);
		if (pair->ret == 0)
			break;
		usleep(20000);
	}
	if (pair->ret == 0)
		return pair_judge(pair, PAIR_MOVED, text, size);
	snprintf(text, size, "and then the next attempt fails: %s", pair->err.msg);
	return -1;
}

/* ---- what is held ---- */

static unsigned entries(const char *path)
{
	DIR *folder = opendir(path);
	unsigned count = 0;

	while (folder != NULL && readdir(folder) != NULL)
		count++;
	if (folder != NULL)
		closedir(folder);
	return count;
}

static void *say_who(void *opaque)
{
	*(pid_t *)opaque = gettid();
	return NULL;
}

void pair_holdings_begin(struct pair_holdings *holdings)
{
	char path[64] = "";
	pthread_t thread;
	pid_t id = 0;

	/* with the first thread a sanitizer starts one of its own, which stays; this one takes a moment to leave /proc */
	if (pthread_create(&thread, NULL, say_who, &id) == 0)
		pthread_join(thread, NULL);
	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)id);
	for (unsigned ms = 0; ms < PAIR_PATIENCE_MS && access(path, F_OK) == 0; ms++)
		usleep(1000);
	pair_holdings(holdings);
}

void pair_holdings(struct pair_holdings *holdings)
{
	holdings->descriptors = entries("/proc/self/fd");
	holdings->threads = entries("/proc/self/task");
}

/* A thread that was joined takes a moment to leave /proc. */
int pair_await_holdings(const struct pair_holdings *before, char *text, size_t size)
{
	struct pair_holdings now;

	for (int i = 0; i < 10000; i++) {
		pair_holdings(&now);
		if (now.descriptors == before->descriptors && now.threads == before->threads)
			return 0;
		usleep(1000);
	}
	snprintf(text, size, "left behind: %d descriptors, %d threads",
		 (int)(now.descriptors - before->descriptors), (int)(now.threads - before->threads));
	return -1;
}
