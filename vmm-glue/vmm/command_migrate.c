/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command_migrate.c -- decant migrate: ask a VM's process to move it, and watch
 *
 * The migration is the VM's process's. This one may be killed and nothing changes; only when it is asked politely to end
 * (SIGINT, SIGTERM) does it pass the wish on, and waits for the outcome.
 */
#include "qemu/json.h"
#include "vmm/client.h"
#include "vmm/command.h"
#include "vmm/key_file.h"
#include "vmm/progress.h"
#include "vmm/report_file.h"

#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct watch {
	const struct options_migrate *options;
	struct client *client;
	struct progress progress;
	int signal_fd;
	bool cancelled;             /* the wish has been passed on */
	struct json_object *report; /* NULL until "finished" came */
};

static int watch_block_signals(struct watch *watch, struct decant_error *err)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	watch->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (watch->signal_fd < 0)
		return decant_error_set(err, -errno, "signalfd: %s", strerror(errno));
	return 0;
}

static void watch_progress(struct watch *watch, struct json_object *line)
{
	struct decant_stats stats;

	report_progress_stats(line, &stats);
	if (!watch->options->json)
		progress_show(&watch->progress, &stats, clock_now_ns());
}

static void watch_line(struct watch *watch, struct json_object *line)
{
	const char *event = json_get_text(line, "event", "");

	if (watch->options->json && event[0] != '\0')
		command_print_json(line);
	if (strcmp(event, "progress") == 0)
		watch_progress(watch, line);
	else if (strcmp(event, "finished") == 0 && json_object_object_get_ex(line, "report", &watch->report))
		json_object_get(watch->report);
}

/* the first signal asks for an end of the migration, the second ends this command at once */
static int watch_signalled(struct watch *watch, struct decant_error *err)
{
	struct signalfd_siginfo info;
	struct json_object *request;

	if (read(watch->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (watch->cancelled)
		return decant_error_set(err, -EINTR,
					"interrupted; the migration has been asked to end, decant status "
					"%s shows whether it has",
					watch->options->name);
	watch->cancelled = true;
	request = json_object_new_object();
	json_add_text(request, "verb", "cancel");
	return client_send(watch->client, request, err);
}

static int watch_lines(struct watch *watch, struct decant_error *err)
{
	struct json_object *line;
	int ret = 0;

	while (watch->report == NULL) {
		ret = client_next(watch->client, 0, &line, err);
		if (ret <= 0)
			break;
		watch_line(watch, line);
		json_object_put(line);
	}
	return ret < 0 ? ret : 0;
}

static int watch_until_finished(struct watch *watch, struct decant_error *err)
{
	int ret = watch_lines(watch, err);

	while (ret == 0 && watch->report == NULL) {
		struct pollfd fds[] = {
			{ .fd = watch->signal_fd, .events = POLLIN },
			{ .fd = client_fd(watch->client), .events = POLLIN },
		};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return decant_error_set(err, -errno, "poll: %s", strerror(errno));
		if (fds[0].revents != 0)
			ret = watch_signalled(watch, err);
		if (ret == 0)
			ret = watch_lines(watch, err);
	}
	progress_end(&watch->progress);
	return ret;
}

/* what the report cannot say in words: the one line on stderr */
static void migrate_complain(const struct options_migrate *options, struct json_object *report)
{
	struct decant_error err = DECANT_ERROR_INIT;
	const char *outcome = json_get_text(report, "outcome", "failed");
	const char *error = json_get_text(report, "error", NULL);

	if (report_exit(report) == EXIT_DONE)
		return;
	if (strcmp(outcome, "completed") == 0)
		error = "it runs at the destination, and HAS FOUND ITS MEMORY DAMAGED";
	else if (strcmp(outcome, "cancelled") == 0)
		error = "cancelled; the guest is here, as it was";
	decant_error_set(&err, -EIO, "%s", error != NULL ? error : outcome);
	command_fail("migrate", options->name, EXIT_FAILED, &err);
}

static int migrate_finish(const struct options_migrate *options, struct report_file *file,
			  struct json_object *report)
{
	struct decant_error err = DECANT_ERROR_INIT;
	int status = (int)report_exit(report);

	if (!options->json)
		report_print(stdout, report);
	migrate_complain(options, report);
	if (options->report != NULL && report_file_write(file, report, &err) < 0)
		command_fail("migrate", options->name, status, &err);
	return status;
}

/* GO may have been sent by then: nobody can tell what became of the guest */
static int migrate_lost(struct watch *watch, struct decant_error *err)
{
	if (err->code == -EINTR)
		return command_fail("migrate", watch->options->name, EXIT_FAILED, err);
	decant_error_prefix(err, "nothing more is known of the migration");
	return command_fail("migrate", watch->options->name, EXIT_IN_DOUBT, err);
}

static int migrate_ask(struct watch *watch, int key_fd, struct decant_error *err)
{
	struct json_object *request = json_object_new_object();

	json_add_text(request, "verb", "migrate");
	departure_to_json(&watch->options->departure, request);
	json_add_bool(request, "key", key_fd >= 0);
	return client_call_fd(watch->client, request, key_fd, NULL, err);
}

/* Opened, and looked into, as whoever called this command: the VM's process only gets the descriptor. *@key_fd -1: there is none. */
static int migrate_open_key(const struct options_migrate *options, int *key_fd, struct decant_error *err)
{
	struct key key;
	int ret;

	*key_fd = -1;
	if (options->key_file == NULL)
		return 0;
	ret = key_file_open(options->key_file, err);
	if (ret < 0)
		return ret;
	*key_fd = ret;
	ret = key_file_read(*key_fd, options->key_file, &key, err);
	key_wipe(&key);
	return ret;
}

static int migrate_watched(const struct options_migrate *options, struct report_file *file, int key_fd)
{
	struct watch watch = { .options = options, .signal_fd = -1 };
	struct decant_error err = DECANT_ERROR_INIT;
	int status;

	progress_init(&watch.progress, stdout, isatty(STDOUT_FILENO));
	if (client_open(options->name, &watch.client, &err) < 0)
		return command_fail("migrate", NULL, EXIT_FAILED, &err);
	if (watch_block_signals(&watch, &err) < 0 || migrate_ask(&watch, key_fd, &err) < 0)
		status = command_fail("migrate", options->name, EXIT_FAILED, &err);
	else if (watch_until_finished(&watch, &err) < 0)
		status = migrate_lost(&watch, &err);
	else
		status = migrate_finish(options, file, watch.report);
	json_object_put(watch.report);
	client_close(watch.client);
	if (watch.signal_fd >= 0)
		close(watch.signal_fd);
	return status;
}

int command_migrate(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_migrate options;
	struct report_file file = { .fd = -1 };
	int key_fd;
	int status = command_parsed("migrate", options_migrate(argc, argv, &options, &err), &err);

	if (status >= 0)
		return status;
	if (options.qmp != NULL)
		return command_migrate_qemu(&options);
	if (migrate_open_key(&options, &key_fd, &err) < 0)
		return command_fail("migrate", options.name, EXIT_FAILED, &err);
	if (options.report != NULL && report_file_open(&file, options.report, &err) < 0)
		return command_fail("migrate", options.name, EXIT_FAILED, &err);
	status = migrate_watched(&options, &file, key_fd);
	report_file_drop(&file);
	if (key_fd >= 0)
		close(key_fd);
	return command_flush("migrate", status);
}
