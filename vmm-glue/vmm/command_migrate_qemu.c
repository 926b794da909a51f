/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command_migrate_qemu.c -- decant migrate --qmp: move the guest of a QEMU, as its manager and its sidecar at once
 *
 * Other than a migration of decant's own VMs, this one belongs to this process: when it is killed, QEMU's migration fails and the guest
 * stays, or QEMU has already given it up and nobody starts it (docs/qemu.md, "Never two").
 */
#include "vmm/command.h"
#include "vmm/confine.h"
#include "vmm/control.h"
#include "vmm/progress.h"
#include "vmm/report_file.h"
#include "vmm/report_qemu.h"
#include "vmm/sigbus.h"

#include "qemu/json.h"
#include "qemu/qemu_move.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct mover {
	const struct options_migrate *options;
	struct progress progress;
	uint64_t shown_ns; /* --json: when */
	enum decant_migration_state state;
};

#define MOVER_JSON_EVERY_NS (200 * NSEC_PER_MSEC)

/* Nobody who reads slowly, or not at all, may hold up what is done in the pause. */
static bool mover_may_print(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

static void mover_progress(void *opaque, const struct decant_stats *stats)
{
	struct mover *mover = opaque;
	const uint64_t now = clock_now_ns();

	if (!mover_may_print())
		return;
	if (!mover->options->json) {
		progress_show(&mover->progress, stats, now);
		return;
	}
	if (stats->state == mover->state && now - mover->shown_ns < MOVER_JSON_EVERY_NS)
		return;
	mover->state = stats->state;
	mover->shown_ns = now;
	command_print_json(report_progress_json(stats));
}

static int mover_signals(struct decant_error *err)
{
	sigset_t mask;
	int fd;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd >= 0 ? fd : decant_error_set(err, -errno, "signalfd: %s", strerror(errno));
}

static int mover_run(struct mover *mover, const struct key *key, const char *socket, int signal_fd,
		     struct qemu_move_result *result, struct decant_error *err)
{
	const struct options_migrate *options = mover->options;
	const struct departure_opts *departure = &options->departure;
	const struct qemu_move_opts move = {
		.monitor = options->qmp,
		.socket = socket,
		.peer = departure->peer,
		.fabric = departure->fabric,
		.rails = departure->rails[0] != '\0' ? departure->rails : NULL,
		.cpus = departure->cpus[0] != '\0' ? departure->cpus : NULL,
		.channels = departure->channels,
		.multifd = options->multifd,
		.bandwidth_Bps = departure->bandwidth_Bps,
		.max_downtime_ns = departure->max_downtime_ns,
		.timeout_ns = departure->timeout_ns,
		.throttle = departure->if_not_converging == DECANT_NOT_CONVERGING_THROTTLE,
		.fallback = options->fallback,
		.key = key->length > 0 ? key->bytes : NULL,
		.key_length = key->length,
		.log = command_log("migrate", false),
		.wish_fd = signal_fd,
		.progress = mover_progress,
		.opaque = mover,
	};
	int ret = qemu_move_run(&move, result, err);

	progress_end(&mover->progress);
	return ret;
}

static void mover_print(const struct options_migrate *options, struct json_object *report)
{
	struct json_object *event;

	if (!options->json) {
		report_qemu_print(stdout, report);
		return;
	}
	event = json_object_new_object();
	json_add_text(event, "event", "finished");
	json_object_object_add(event, "report", json_object_get(report));
	command_print_json(event);
}

static int mover_finish(const struct options_migrate *options, struct report_file *file,
			const struct qemu_move_result *result, const struct decant_error *why)
{
	const struct report_qemu told = {
		.monitor = options->qmp,
		.peer = options->departure.peer,
		.max_downtime_ns = options->departure.max_downtime_ns,
		.result = result,
		.error = why->code < 0 ? why->msg : NULL,
	};
	const char *name = result->name[0] != '\0' ? result->name : options->qmp;
	struct json_object *report = report_qemu_json(&told);
	struct decant_error err = DECANT_ERROR_INIT;
	const int status = (int)report_exit(report);

	mover_print(options, report);
	if (status != EXIT_DONE)
		command_fail("migrate", name, status, why);
	if (options->report != NULL && report_file_write(file, report, &err) < 0)
		command_fail("migrate", name, status, &err);
	json_object_put(report);
	return status;
}

/* From here on it reads what a network and a QEMU say. */
static int mover_shut_in(const struct options_migrate *options, struct decant_error *err)
{
	const struct confine_opts confined = { .mode = options->confine, .other_process = true };
	int ret = confine(&confined, err);

	return ret < 0 ? ret : sigbus_install(err);
}

static int mover_move(const struct options_migrate *options, const struct key *key, const char *socket)
{
	struct mover mover = { .options = options };
	struct report_file file = { .fd = -1 };
	struct qemu_move_result result;
	struct decant_error err = DECANT_ERROR_INIT;
	int signal_fd = mover_signals(&err);
	int status;

	if (signal_fd < 0 || (options->report != NULL && report_file_open(&file, options->report, &err) < 0) ||
	    mover_shut_in(options, &err) < 0) {
		status = command_fail("migrate", options->qmp, EXIT_FAILED, &err);
	} else {
		progress_init(&mover.progress, stdout, isatty(STDOUT_FILENO));
		mover_run(&mover, key, socket, signal_fd, &result, &err);
		status = mover_finish(options, &file, &result, &err);
	}
	report_file_drop(&file);
	if (signal_fd >= 0)
		close(signal_fd);
	return status;
}

/* No name that `decant list` would take for a VM's. */
static int mover_socket(char path[CONTROL_PATH_MAX], struct decant_error *err)
{
	char folder[CONTROL_PATH_MAX];
	int ret = control_make_directory(err);

	if (ret == 0)
		ret = control_directory(folder, err);
	if (ret == 0 && snprintf(path, CONTROL_PATH_MAX, "%s/%d.qemu", folder, (int)getpid()) >= CONTROL_PATH_MAX)
		ret = decant_error_set(err, -ENAMETOOLONG, "%s: too long for a socket in it; set XDG_RUNTIME_DIR",
				       folder);
	return ret;
}

int command_migrate_qemu(const struct options_migrate *options)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct key key = { .length = 0 };
	char socket[CONTROL_PATH_MAX];
	int status;

	if ((options->key_file != NULL && key_file_load(options->key_file, &key, &err) < 0) ||
	    mover_socket(socket, &err) < 0)
		return command_fail("migrate", options->qmp, EXIT_FAILED, &err);
	status = mover_move(options, &key, socket);
	key_wipe(&key);
	command_flush("migrate", status);
	return status; /* where the guest is, whether or not that could be printed */
}
