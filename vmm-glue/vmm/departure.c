/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * departure.c -- a VM on its way out of this process
 *
 * With the fabric "loop" the VM moves to a second machine in this process: a receiver of its own listens on a free port of
 * the loopback interface for as long as the migration lasts, with a key that is made for it: nobody else may come there.
 */
#include "vmm/departure.h"
#include "qemu/json.h"
#include "vmm/arrival.h"
#include "vmm/report.h"

#include "util/io.h"

#include <decant/migration.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct departure {
	/* set at creation, read-only after */
	struct departure_opts opts;
	struct departure_host host;
	char name[MACHINE_NAME_MAX];
	struct machine_slot slot;
	struct decant_migration *migration;
	struct arrival *landing; /* "loop" only */

	/* the owner's */
	pthread_t thread;
	bool running; /* the thread is to be joined */
	bool force;

	/* the thread's until it has finished, then the owner's */
	int result;
	struct decant_error error;

	_Atomic bool finished; /* set with release after all above */
};

static bool departure_is_loop(const struct departure *departure)
{
	return strcmp(departure->opts.fabric, "loop") == 0;
}

static const char *departure_cpus(const struct departure *departure)
{
	return departure->opts.cpus[0] != '\0' ? departure->opts.cpus : NULL;
}

static void departure_progress(void *opaque, const struct decant_stats *stats)
{
	struct departure *departure = opaque;

	if (departure->host.control != NULL)
		control_publish(departure->host.control, report_progress_json(stats), false);
}

static void departure_finish(struct departure *departure)
{
	atomic_store_explicit(&departure->finished, true, memory_order_release);
	io_wake_set(departure->host.wake_fd);
}

static void *departure_run_thread(void *opaque)
{
	struct departure *departure = opaque;

	departure->result = decant_migration_run(departure->migration, &departure->error);
	departure_finish(departure);
	return NULL;
}

static void *departure_settle_thread(void *opaque)
{
	struct departure *departure = opaque;
	struct decant_error resume = DECANT_ERROR_INIT;

	decant_error_clear(&departure->error);
	departure->result = decant_migration_settle(departure->migration, departure->force, &departure->error);
	if (departure->result == -ECANCELED && machine_vmm_ops()->resume(&departure->slot, &resume) < 0)
		departure->error = resume;
	departure_finish(departure);
	return NULL;
}

static int departure_spawn(struct departure *departure, void *(*body)(void *), struct decant_error *err)
{
	int ret;

	atomic_store(&departure->finished, false);
	ret = -pthread_create(&departure->thread, NULL, body, departure);
	if (ret < 0)
		return decant_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	departure->running = true;
	return 0;
}

static int departure_prepare_landing(struct departure *departure, struct decant_error *err)
{
	struct arrival_opts opts = {
		.listen = "127.0.0.1:0",
		.name = departure->name,
		.cpus = departure_cpus(departure),
		.key = departure->opts.key,
		.host = departure->host.machine,
		.log = departure->host.log,
		.wake_fd = -1,
	};
	int ret = arrival_start(&opts, &departure->landing, err);

	if (ret < 0)
		return ret;
	snprintf(departure->opts.peer, sizeof(departure->opts.peer), "127.0.0.1:%u",
		 arrival_port(departure->landing));
	return 0;
}

static int departure_prepare(struct departure *departure, struct decant_error *err)
{
	const struct departure_opts *from = &departure->opts;
	struct decant_migration_opts opts = DECANT_MIGRATION_OPTS_INIT;

	opts.peer = from->peer;
	opts.name = departure->name;
	opts.fabric = from->fabric;
	opts.rails = from->rails[0] != '\0' ? from->rails : NULL;
	opts.cpus = departure_cpus(departure);
	opts.channels = from->channels;
	opts.max_downtime_ns = from->max_downtime_ns;
	opts.timeout_ns = from->timeout_ns;
	opts.switchover_timeout_ns = from->switchover_timeout_ns;
	opts.bandwidth_Bps = from->bandwidth_Bps;
	opts.zero_scan = (enum decant_zero_scan)from->zero_scan;
	opts.zero_copy = (enum decant_zero_copy)from->zero_copy;
	opts.verify = from->verify;
	opts.if_not_converging = from->if_not_converging;
	opts.key = from->key != NULL ? from->key->bytes : NULL;
	opts.key_length = from->key != NULL ? from->key->length : 0;
	opts.ask_verdict = true;
	opts.log = departure->host.log;
	opts.progress = departure_progress;
	opts.opaque = departure;
	return decant_migration_new(&opts, machine_vmm_ops(), &departure->slot,
				    machine_memory(departure->slot.machine), &departure->migration, err);
}

int departure_start(const struct departure_opts *opts, const struct departure_host *host, struct machine *machine,
		    struct departure **departure_ptr, struct decant_error *err)
{
	struct departure *departure = calloc(1, sizeof(*departure));
	struct key made = { 0 };
	int ret = 0;

	if (departure == NULL)
		return decant_error_set(err, -ENOMEM, "no memory");
	departure->opts = *opts;
	departure->host = *host;
	departure->slot.machine = machine;
	snprintf(departure->name, sizeof(departure->name), "%s", machine_config(machine)->name);
	if (departure_is_loop(departure)) {
		departure->opts.key = &made;
		ret = key_random(&made, err);
		if (ret == 0)
			ret = departure_prepare_landing(departure, err);
	}
	if (ret == 0)
		ret = departure_prepare(departure, err);
	departure->opts.key = NULL;
	key_wipe(&made);
	if (ret == 0)
		ret = departure_spawn(departure, departure_run_thread, err);
	if (ret < 0) {
		departure_free(departure);
		return ret;
	}
	*departure_ptr = departure;
	return 0;
}

bool departure_finished(struct departure *departure)
{
	return atomic_load_explicit(&departure->finished, memory_order_acquire);
}

static void departure_join(struct departure *departure)
{
	if (departure->running)
		pthread_join(departure->thread, NULL);
	departure->running = false;
}

enum decant_migration_state departure_conclude(struct departure *departure)
{
	struct decant_stats stats = { .size = sizeof(stats) };

	departure_join(departure);
	departure_get_stats(departure, &stats);
	return stats.state;
}

struct machine *departure_landed(struct departure *departure)
{
	struct machine *machine = NULL;

	if (departure->landing == NULL || departure->result != 0)
		return NULL;
	machine = arrival_take(departure->landing, NULL, NULL);
	arrival_free(departure->landing);
	departure->landing = NULL;
	return machine;
}

const char *departure_error(const struct departure *departure)
{
	return departure->error.msg;
}

const char *departure_peer(const struct departure *departure)
{
	return departure_is_loop(departure) ? "a second machine in its process" : departure->opts.peer;
}

struct json_object *departure_report(struct departure *departure)
{
	struct decant_stats stats = { .size = sizeof(stats) };
	struct report report = {
		.vm = departure->name,
		.peer = departure_peer(departure),
		.max_downtime_ns = departure->opts.max_downtime_ns,
		.stats = &stats,
		.error = departure->error.msg[0] != '\0' ? departure->error.msg : NULL,
	};

	departure_get_stats(departure, &stats);
	return report_json(&report);
}

void departure_get_stats(struct departure *departure, struct decant_stats *stats)
{
	stats->size = sizeof(*stats);
	decant_migration_get_stats(departure->migration, stats);
}

void departure_cancel(struct departure *departure)
{
	decant_migration_cancel(departure->migration);
}

int departure_settle(struct departure *departure, bool force, struct decant_error *err)
{
	departure_join(departure);
	departure->force = force;
	return departure_spawn(departure, departure_settle_thread, err);
}

void departure_free(struct departure *departure)
{
	struct machine *landed;

	if (departure == NULL)
		return;
	if (departure->running) {
		decant_migration_cancel(departure->migration);
		departure_join(departure);
	}
	decant_migration_free(departure->migration);
	if (departure->landing != NULL) {
		arrival_stop(departure->landing);
		landed = arrival_take(departure->landing, NULL, NULL);
		arrival_free(departure->landing);
		machine_free(landed);
	}
	free(departure);
}
