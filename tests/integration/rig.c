/* SPDX-License-Identifier: BSD-2-Clause */
/* rig.c -- a source, a receiver and a destination in one process */
#include "integration/rig.h"

#include "integration/breaker.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An emulated host on a busy machine stands still for seconds. */
#define PATIENT_NS (SCALE(10000, 40000) * MS)

bool rig_has_rails(const struct rig *rig)
{
	return strcmp(rig->fabric, "rdma") == 0;
}

static void log_line(void *opaque, enum decant_log_level level, const char *message)
{
	fprintf(stderr, "# %s <%d> %s\n", (const char *)opaque, (int)level, message);
}

static struct decant_log log_as(const char *who)
{
	struct decant_log log = { 0 };

	if (getenv("RIG_LOG") == NULL)
		return log;
	log.fn = log_line;
	log.opaque = (void *)(uintptr_t)who;
	log.level = DECANT_LOG_DEBUG;
	return log;
}

void rig_init(struct rig *rig, const char *fabric)
{
	const struct decant_migration_opts opts = DECANT_MIGRATION_OPTS_INIT;
	const struct decant_receiver_opts receiver_opts = DECANT_RECEIVER_OPTS_INIT;
	const struct synthetic_config config = SYNTHETIC_CONFIG_INIT;

	memset(rig, 0, sizeof(*rig));
	rig->fabric = fabric;
	rig->config = config;
	rig->config.writers = 1;
	rig->config.wss_first = WSS_FIRST;
	rig->config.wss_pages = WSS_PAGES;
	rig->config.rate = 2000;
	rig_add_region(rig, "ram0", 0, RAM, DECANT_PAGE_SIZE);
	rig->opts = opts;
	rig->opts.peer = rig->peer;
	rig->opts.name = "rig";
	rig->opts.fabric = fabric;
	rig->opts.max_downtime_ns = SCALE(500, 3000) * MS;
	rig->opts.switchover_timeout_ns = 20000 * MS;
	rig->opts.peer_timeout_ns = PATIENT_NS;
	rig->opts.log = log_as("source");
	rig->receiver_opts = receiver_opts;
	rig->receiver_opts.listen = "127.0.0.1:0";
	rig->receiver_opts.peer_timeout_ns = PATIENT_NS;
	rig->receiver_opts.log = log_as("destination");
}

void rig_add_region(struct rig *rig, const char *name, uint64_t guest_address, uint64_t length, uint64_t page_size)
{
	const struct decant_region region = DECANT_REGION_INIT;
	struct decant_region *added = &rig->config.region[rig->config.regions++];

	*added = region;
	snprintf(added->name, sizeof(added->name), "%s", name);
	added->guest_address = guest_address;
	added->length = length;
	added->page_size = page_size;
}

void rig_boot_bare(struct rig *rig)
{
	rig->source = synthetic_new(&rig->config);
	rig->destination = synthetic_new_empty();
	assert_non_null(rig->source);
	assert_non_null(rig->destination);
	synthetic_run(rig->source);
}

void rig_boot(struct rig *rig)
{
	rig_boot_bare(rig);
	synthetic_fill(rig->source, 0, 0, WSS_FIRST);
	synthetic_fill(rig->source, 0, WSS_FIRST + WSS_PAGES, HOLE_FIRST - WSS_FIRST - WSS_PAGES);
}

void rig_aim(struct rig *rig, uint16_t port)
{
	snprintf(rig->peer, sizeof(rig->peer), "127.0.0.1:%u", port);
}

static void *receiver_thread(void *opaque)
{
	struct rig *rig = opaque;

	rig->receive_ret = decant_receiver_run(rig->receiver, &rig->received, &rig->receive_err);
	return NULL;
}

void rig_listen(struct rig *rig)
{
	struct decant_error err = DECANT_ERROR_INIT;
	int ret = decant_receiver_new(&rig->receiver_opts, synthetic_ops(), rig->destination, &rig->receiver,
				      &err);

	if (ret < 0)
		fail_msg("receiver: %s", err.msg);
	rig_aim(rig, decant_receiver_port(rig->receiver));
	assert_int_equal(pthread_create(&rig->receiver_thread, NULL, receiver_thread, rig), 0);
	rig->receiving = true;
}

void rig_add_proxy(struct rig *rig)
{
	rig->proxy = proxy_new(decant_receiver_port(rig->receiver));
	assert_non_null(rig->proxy);
	rig_aim(rig, proxy_port(rig->proxy));
}

static void make_migration(struct rig *rig)
{
	int ret;

	decant_migration_free(rig->migration);
	rig->migration = NULL;
	decant_error_clear(&rig->err);
	ret = decant_migration_new(&rig->opts, synthetic_ops(), rig->source, synthetic_memory(rig->source),
				   &rig->migration, &rig->err);
	if (ret < 0)
		fail_msg("decant_migration_new: %s", rig->err.msg);
}

static void run_migration(struct rig *rig)
{
	rig->ret = decant_migration_run(rig->migration, &rig->err);
	rig->stats.size = sizeof(rig->stats);
	decant_migration_get_stats(rig->migration, &rig->stats);
}

void rig_migrate(struct rig *rig)
{
	make_migration(rig);
	run_migration(rig);
}

static void *migration_thread(void *opaque)
{
	run_migration(opaque);
	return NULL;
}

void rig_migrate_begin(struct rig *rig)
{
	make_migration(rig);
	assert_int_equal(pthread_create(&rig->migration_thread, NULL, migration_thread, rig), 0);
}

void rig_migrate_end(struct rig *rig)
{
	pthread_join(rig->migration_thread, NULL);
}

static void join_receiver(struct rig *rig)
{
	if (!rig->receiving)
		return;
	pthread_join(rig->receiver_thread, NULL);
	rig->receiving = false;
}

static void expect_verdict_ok(struct synthetic *vmm, const char *who)
{
	struct decant_verdict verdict;

	synthetic_judge(vmm, &verdict);
	if (verdict.status != DECANT_VERDICT_OK)
		fail_msg("the guest at the %s says: %s", who, verdict.text);
}

/* Either it runs and gets on, or it does not get on. */
static void expect_progress(struct synthetic *vmm, bool expected)
{
	const uint64_t before = synthetic_work(vmm);

	if (synthetic_is_running(vmm) != expected)
		fail_msg("the guest runs %s", expected ? "nowhere" : "twice");
	if (!expected) {
		usleep(10000);
		if (synthetic_work(vmm) != before)
			fail_msg("the guest runs twice: it works where it should not run");
		return;
	}
	for (int i = 0; i < 10000 && synthetic_work(vmm) == before; i++)
		usleep(1000);
	assert_true(synthetic_work(vmm) > before);
}

static void expect_plausible_stats(const struct rig *rig)
{
	const struct decant_stats *stats = &rig->stats;

	assert_int_equal(stats->state, DECANT_STATE_COMPLETED);
	if (rig->expected != NULL)
		assert_string_equal(stats->fabric, rig->expected);
	else
		assert_string_equal(stats->fabric,
				    rig_has_rails(rig) && stats->failovers > 0 ? "tcp" : rig->fabric);
	assert_int_equal(stats->ram_bytes, decant_memory_bytes(synthetic_memory(rig->source)));
	assert_true(stats->data_bytes <= stats->ram_bytes);
	assert_true(stats->passes >= 1);
	assert_true(stats->forecast[0].made_ns > 0);
	assert_true(stats->forecast[0].left_ns == 0 ||
		    stats->forecast[0].left_ns >= stats->forecast[0].downtime_ns);
	assert_true(stats->forecasts_judged <= stats->passes);
	assert_int_equal(stats->remaining_bytes, 0);
	assert_int_equal(stats->progress_permille, 1000);
	assert_true(stats->downtime_bound_ns > 0);
	assert_true(stats->downtime_bound_ns <= stats->total_ns);
	assert_true(stats->downtime_ns <= stats->downtime_bound_ns + stats->clock_error_ns);
}

/* Each state later than the one before it; both ends run by one clock here. */
static void expect_stamps(const struct rig *rig)
{
	struct decant_stats there = { .size = sizeof(there) };
	const uint64_t *source = rig->stats.state_ns, *destination = there.state_ns;

	decant_receiver_get_stats(rig->receiver, &there);
	for (int state = DECANT_STATE_CONNECTING; state < DECANT_STATE_COMPLETED; state++) {
		assert_true(source[state] > 0);
		assert_true(source[state] <= source[state + 1]);
		assert_true(destination[state] > 0);
		assert_true(destination[state] <= destination[state + 1]);
	}
	assert_true(source[DECANT_STATE_CONNECTING] <= destination[DECANT_STATE_CONNECTING]);
	assert_true(destination[DECANT_STATE_PRECOPY] <= source[DECANT_STATE_PRECOPY]);
	assert_true(source[DECANT_STATE_SWITCHOVER] <= destination[DECANT_STATE_SWITCHOVER]);
	assert_true(source[DECANT_STATE_GO] <= destination[DECANT_STATE_GO]);
	assert_true(llabs(rig->stats.clock_offset_ns) <= (long long)rig->stats.clock_error_ns);
}

void rig_expect_moved(struct rig *rig)
{
	if (rig->ret != 0)
		fail_msg("decant_migration_run: %d: %s", rig->ret, rig->err.msg);
	join_receiver(rig);
	if (rig->receive_ret != 0)
		fail_msg("decant_receiver_run: %d: %s", rig->receive_ret, rig->receive_err.msg);
	expect_plausible_stats(rig);
	expect_stamps(rig);
	assert_ptr_equal(rig->received, synthetic_memory(rig->destination));
	expect_progress(rig->source, false);
	if (rig->config.writers > 0)
		expect_progress(rig->destination, true);
	expect_verdict_ok(rig->destination, "destination");
}

/* The destination learns of the end of a migration a moment after the source. */
static void await_discard(struct rig *rig)
{
	for (int i = 0; i < 20000; i++) {
		if (!synthetic_exists(rig->destination))
			return;
		usleep(1000);
	}
	fail_msg("the destination has not discarded what it made");
}

void rig_expect_stayed(struct rig *rig, int code)
{
	if (rig->ret >= 0 || rig->ret == -EINPROGRESS || (code != 0 && rig->ret != code))
		fail_msg("decant_migration_run: %d instead of %d: %s", rig->ret, code, rig->err.msg);
	assert_int_equal(rig->err.code, rig->ret);
	assert_true(strlen(rig->err.msg) > 0);
	assert_null(strchr(rig->err.msg, '\n'));
	assert_int_equal(rig->stats.state, rig->ret == -ECANCELED ? DECANT_STATE_CANCELLED : DECANT_STATE_FAILED);
	if (!synthetic_is_running(rig->source))
		fail_msg("the guest runs nowhere: not where it should have stayed");
	if (rig->config.writers > 0)
		expect_progress(rig->source, true);
	expect_verdict_ok(rig->source, "source");
	await_discard(rig);
	if (synthetic_is_running(rig->destination))
		fail_msg("the guest runs twice: it stayed, and runs at the destination");
}

/* A receiver that is still clearing up says that it is busy. */
void rig_expect_usable(struct rig *rig)
{
	/* a scenario about doubt is impatient; that is no reason to be so now */
	rig->opts.peer_timeout_ns = PATIENT_NS;
	for (int i = 0; i < 100; i++) {
		rig_migrate(rig);
		if (rig->ret != -EBUSY)
			break;
		usleep(100000);
	}
	rig_expect_moved(rig);
}

static void *cancel_thread(void *opaque)
{
	decant_migration_cancel(opaque);
	return NULL;
}

void rig_cancel_from_outside(struct rig *rig)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, cancel_thread, rig->migration) == 0)
		pthread_join(thread, NULL);
}

/* Between this host's own ports, and none of them one of the two. */
static bool is_data_connection(int fd, uint16_t control, uint16_t proxy)
{
	struct sockaddr_in local, peer;
	socklen_t length = sizeof(local);
	uint16_t ports[2];

	if (getsockname(fd, (struct sockaddr *)&local, &length) < 0 || local.sin_family != AF_INET)
		return false;
	length = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		return false;
	ports[0] = ntohs(local.sin_port);
	ports[1] = ntohs(peer.sin_port);
	for (int i = 0; i < 2; i++)
		if (ports[i] == control || ports[i] == proxy)
			return false;
	return true;
}

static bool kill_one(uint16_t control, uint16_t proxy)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	bool killed = false;

	while (folder != NULL && !killed && (entry = readdir(folder)) != NULL) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && is_data_connection(fd, control, proxy))
			killed = shutdown(fd, SHUT_RDWR) == 0;
	}
	if (folder != NULL)
		closedir(folder);
	return killed;
}

bool rig_kill_data(const struct rig *rig)
{
	return kill_one(decant_receiver_port(rig->receiver), rig->proxy == NULL ? 0 : proxy_port(rig->proxy));
}

bool rig_kill_fabric(const struct rig *rig)
{
	struct breaker_counts counts;

	breaker_counts(&counts);
	if (!rig_has_rails(rig) || counts.losses[BREAKER_WRITE] > 0)
		return rig_kill_data(rig);
	breaker_arm(BREAKER_WRITE, 0);
	return true;
}

bool rig_kill_data_but(uint16_t control)
{
	return kill_one(control, 0);
}

void rig_destroy(struct rig *rig)
{
	if (rig->receiver != NULL)
		decant_receiver_stop(rig->receiver);
	join_receiver(rig);
	decant_migration_free(rig->migration);
	proxy_free(rig->proxy);
	decant_receiver_free(rig->receiver);
	synthetic_free(rig->destination);
	decant_memory_free(rig->received);
	synthetic_free(rig->source);
}
