/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command_proxy.c -- decant proxy source, decant proxy dest: beside an unmodified QEMU
 *
 * QEMU has one client per monitor, so that of --qmp is let go of while QEMU migrates: whoever tells it to may use the same one.
 */
#include "vmm/command.h"
#include "vmm/confine.h"
#include "vmm/key_file.h"
#include "vmm/proxy_report.h"
#include "vmm/report_file.h"
#include "vmm/sigbus.h"

#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/preflight.h"
#include "qemu/proxy_dest.h"
#include "qemu/proxy_source.h"
#include "qemu/qmp.h"

#include "util/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MONITOR_NS (5 * NSEC_PER_SEC)
#define RESTORE_NS NSEC_PER_SEC
#define WORDS_MAX 512

struct proxy {
	const struct options_proxy *options;
	struct report_file file;
	struct key key;
	enum proxy_stage told;
	struct guest_ram *ram;
	struct preflight *preflight;
};

/* What a signal ends; it may come before that is there. */
static struct proxy_source *volatile signal_source;
static struct proxy_dest *volatile signal_dest;
static volatile sig_atomic_t signalled;

static void proxy_signalled(int signal)
{
	(void)signal;
	signalled = 1;
	if (signal_source != NULL)
		proxy_source_cancel(signal_source);
	if (signal_dest != NULL)
		proxy_dest_stop(signal_dest);
}

static void proxy_catch_signals(void)
{
	const struct sigaction action = { .sa_handler = proxy_signalled };

	struct sigaction before;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* nohup(1) */
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN); /* who reads what is printed may go, and a migration goes on */
}

static const char *proxy_verb(const struct proxy *proxy)
{
	return proxy->options->source ? "proxy source" : "proxy dest";
}

/* ---- what it says ---- */

static void proxy_say(const struct proxy *proxy, const char *event, struct json_object *members, const char *fmt,
		      ...) __attribute__((format(printf, 4, 5)));

static void proxy_say(const struct proxy *proxy, const char *event, struct json_object *members, const char *fmt,
		      ...)
{
	va_list args;

	json_add_text(members, "event", event);
	if (proxy->options->json) {
		command_print_json(members);
	} else if (fmt != NULL) {
		va_start(args, fmt);
		vprintf(fmt, args);
		va_end(args);
		putchar('\n');
		fflush(stdout);
	}
	json_object_put(members);
}

/* In words, only the stages that somebody waits for. */
static void proxy_progress(void *opaque, const struct proxy_stats *stats)
{
	static const char *const words[] = {
		[PROXY_CONNECTED] = "connected",
		[PROXY_DEVICES] = "all memory is at the destination",
		[PROXY_LOADED] = "loaded",
		[PROXY_CLOSED] = NULL,
	};
	struct proxy *proxy = opaque;
	const char *event = "progress";
	const char *text = NULL;

	if (proxy->told != stats->stage && stats->stage != PROXY_CLOSED) {
		event = proxy_report_stage(stats->stage);
		text = words[stats->stage];
	}
	proxy->told = stats->stage;
	if (!proxy->options->json && text == NULL)
		return;
	proxy_say(proxy, event, proxy_report_json(stats, proxy->options->source), text != NULL ? "%s" : NULL,
		  text);
}

static struct json_object *proxy_report(const struct proxy *proxy, const struct proxy_stats *stats,
					enum decant_migration_state outcome, const struct decant_error *err)
{
	struct json_object *report = proxy_report_json(stats, proxy->options->source);

	json_add_number(report, "decant", REPORT_VERSION);
	json_add_text(report, "proxy", proxy->options->source ? "source" : "dest");
	json_add_text(report, "outcome", decant_strstate(outcome));
	json_add_text(report, "error", err->code != 0 ? err->msg : NULL);
	return report;
}

/* The exit status. */
static int proxy_finish(struct proxy *proxy, const struct proxy_stats *stats, enum decant_migration_state outcome,
			const struct decant_error *err)
{
	struct json_object *report = proxy_report(proxy, stats, outcome, err);
	struct json_object *members = json_object_new_object();
	struct decant_error file_err = DECANT_ERROR_INIT;
	char words[WORDS_MAX];
	int status = EXIT_DONE;

	proxy_report_words(stats, proxy->options->source, words, sizeof(words));
	json_object_object_add(members, "report", json_object_get(report));
	proxy_say(proxy, err->code == 0 ? "done" : "failed", members, err->code == 0 ? "%s" : NULL, words);
	if (err->code != 0)
		status = command_fail(proxy_verb(proxy), NULL,
				      outcome == DECANT_STATE_IN_DOUBT ? EXIT_IN_DOUBT : EXIT_FAILED, err);
	if (proxy->options->report != NULL && report_file_write(&proxy->file, report, &file_err) < 0)
		status = command_fail(proxy_verb(proxy), NULL, status == EXIT_DONE ? EXIT_FAILED : status,
				      &file_err);
	json_object_put(report);
	return status;
}

static enum decant_migration_state proxy_outcome_state(enum proxy_outcome outcome, int ret)
{
	if (outcome == PROXY_FAILED)
		return ret == -ECANCELED ? DECANT_STATE_CANCELLED : DECANT_STATE_FAILED;
	return outcome == PROXY_DONE ? DECANT_STATE_COMPLETED : DECANT_STATE_IN_DOUBT;
}

/* ---- the source's monitor ---- */

/* What cannot be found makes it a fallback, when QEMU has come. */
static int source_memory(struct proxy *proxy, struct qmp *qmp, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;
	const int ret = guest_ram_find(qmp_pid(qmp), qmp, NULL, &proxy->ram, &why);

	if (ret == 0 || proxy->options->fallback)
		return 0;
	*err = why;
	return ret;
}

static int source_monitor(struct proxy *proxy, struct decant_error *err)
{
	const struct options_proxy *options = proxy->options;
	const struct preflight_opts opts = { .end = PREFLIGHT_SOURCE,
					     .mend = true,
					     .pinned = strcmp(options->fabric, "tcp") != 0 };
	struct qmp *qmp;
	int ret = qmp_open(options->qmp, clock_deadline_ns(MONITOR_NS), -1, &qmp, err);

	if (ret < 0)
		return ret;
	ret = preflight_look(qmp, &opts, &proxy->preflight, err);
	if (ret == 0 && preflight_unfit(proxy->preflight) != NULL && !options->fallback)
		ret = decant_error_set(err, -ENOTSUP, "%s", preflight_unfit(proxy->preflight));
	if (ret == 0 && preflight_unfit(proxy->preflight) == NULL)
		ret = source_memory(proxy, qmp, err);
	if (ret == 0)
		ret = preflight_change(proxy->preflight, qmp, err);
	qmp_close(qmp);
	return ret;
}

/* Whoever has told QEMU to migrate may still be at its monitor, or QEMU has ended. */
static void source_restore(struct proxy *proxy, bool complain)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct qmp *qmp;

	if (proxy->preflight == NULL)
		return;
	if (qmp_open(proxy->options->qmp, clock_deadline_ns(RESTORE_NS), -1, &qmp, &err) == 0) {
		preflight_restore(proxy->preflight, qmp, &err);
		qmp_close(qmp);
	}
	/* where nobody listens any more QEMU has ended, and its parameters with it */
	if (err.code != 0 && err.code != -ECONNREFUSED && complain) {
		decant_error_prefix(&err, "QEMU's parameters (max-bandwidth) could not be put back");
		command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, &err);
	}
}

/* ---- the two ends ---- */

static int source_run(struct proxy *proxy, struct decant_error *err)
{
	static const struct proxy_source_ops ops = { .progress = proxy_progress };
	const struct options_proxy *options = proxy->options;
	const struct proxy_source_opts opts = {
		.peer = options->peer,
		.socket = options->qemu_socket,
		.disks = options->disks,
		.fabric = options->fabric,
		.rails = options->rails,
		.cpus = options->cpus,
		.channels = options->channels,
		.bandwidth_Bps = options->bandwidth_Bps,
		.key = options->key_file != NULL ? proxy->key.bytes : NULL,
		.key_length = options->key_file != NULL ? proxy->key.length : 0,
		.ram = proxy->ram,
		.preflight = proxy->preflight,
		.fallback = options->fallback,
		.log = command_log("proxy source", options->verbose),
		.ops = &ops,
		.opaque = proxy,
	};
	struct json_object *members = json_object_new_object();
	struct proxy_stats stats = { 0 };
	struct proxy_source *source;
	enum proxy_outcome outcome;
	int ret = proxy_source_new(&opts, &source, err);

	key_wipe(&proxy->key);
	if (ret < 0) {
		json_object_put(members);
		return command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, err);
	}
	signal_source = source;
	if (signalled)
		proxy_source_cancel(source);
	json_add_text(members, "socket", options->qemu_socket);
	json_add_text(members, "disks", options->disks);
	proxy_say(proxy, "listening", members, "waiting for QEMU: migrate unix:%s", options->qemu_socket);
	ret = proxy_source_run(source, &stats, &outcome, err);
	signal_source = NULL;
	proxy_source_free(source);
	if (outcome == PROXY_IN_DOUBT)
		decant_error_prefix(err,
				    "in doubt: QEMU at the destination has loaded the VM, which may be started "
				    "there only if query-migrate here says completed");
	return proxy_finish(proxy, &stats, proxy_outcome_state(outcome, ret), err);
}

static int proxy_source(struct proxy *proxy)
{
	struct decant_error err = DECANT_ERROR_INIT;
	int status;

	if (proxy->options->qmp != NULL && source_monitor(proxy, &err) < 0)
		status = command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, &err);
	else
		status = source_run(proxy, &err);
	source_restore(proxy, status != EXIT_DONE);
	preflight_free(proxy->preflight);
	guest_ram_free(proxy->ram);
	return status;
}

static int dest_run(struct proxy *proxy, const struct address *wanted, struct proxy_dest *dest)
{
	struct json_object *members = json_object_new_object();
	struct decant_error err = DECANT_ERROR_INIT;
	struct address bound = *wanted;
	struct proxy_stats stats = { 0 };
	char text[ADDRESS_TEXT_MAX];
	bool started;
	int ret;

	bound.port = proxy_dest_port(dest);
	json_add_text(members, "address", address_format(&bound, text));
	json_add_number(members, "port", bound.port);
	proxy_say(proxy, "listening", members, "listening on %s", text);
	ret = proxy_dest_run(dest, &stats, &started, &err);
	if (ret < 0)
		return proxy_finish(proxy, &stats,
				    ret == -ECANCELED ? DECANT_STATE_CANCELLED : DECANT_STATE_FAILED, &err);
	return proxy_finish(proxy, &stats, DECANT_STATE_COMPLETED, &err);
}

static int proxy_dest(struct proxy *proxy, const struct address *wanted)
{
	static const struct proxy_dest_ops ops = { .progress = proxy_progress };
	const struct options_proxy *options = proxy->options;
	const struct proxy_dest_opts opts = {
		.listen = options->listen,
		.socket = options->qemu_socket,
		.disks = options->disks,
		.cpus = options->cpus,
		.key = options->key_file != NULL ? proxy->key.bytes : NULL,
		.key_length = options->key_file != NULL ? proxy->key.length : 0,
		.qmp = options->qmp,
		.log = command_log("proxy dest", options->verbose),
		.ops = &ops,
		.opaque = proxy,
	};
	struct decant_error err = DECANT_ERROR_INIT;
	struct proxy_dest *dest;
	int status = proxy_dest_new(&opts, &dest, &err);

	key_wipe(&proxy->key);
	if (status < 0)
		return command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, &err);
	signal_dest = dest;
	if (signalled)
		proxy_dest_stop(dest);
	status = dest_run(proxy, wanted, dest);
	signal_dest = NULL;
	proxy_dest_free(dest);
	return status;
}

static int proxy_run(struct proxy *proxy, const struct address *address)
{
	const struct options_proxy *options = proxy->options;
	const struct confine_opts confined = { .mode = options->confine,
					       .port = address->port,
					       .other_process = true };
	struct decant_error err = DECANT_ERROR_INIT;

	if (options->key_file != NULL && key_file_load(options->key_file, &proxy->key, &err) < 0)
		return command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, &err);
	if (options->report != NULL && report_file_open(&proxy->file, options->report, &err) < 0)
		return command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, &err);
	if (confine(&confined, &err) < 0 || sigbus_install(&err) < 0)
		return command_fail(proxy_verb(proxy), NULL, EXIT_FAILED, &err);
	/* before anything is changed over a monitor */
	proxy_catch_signals();
	return options->source ? proxy_source(proxy) : proxy_dest(proxy, address);
}

int command_proxy(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_proxy options;
	struct proxy proxy = { .options = &options, .file = { .fd = -1 } };
	struct address address = { .port = 0 };
	int status = command_parsed("proxy", options_proxy(argc, argv, &options, &err), &err);

	if (status >= 0)
		return status;
	if (!options.source) {
		int ret = address_parse(options.listen, &address, &err);

		if (ret == 0 && !options.insecure && options.key_file == NULL)
			ret = command_check_listen(&address, &err);
		if (ret < 0)
			return command_fail(proxy_verb(&proxy), NULL, ret == -EINVAL ? EXIT_USAGE : EXIT_FAILED,
					    &err);
	}
	status = proxy_run(&proxy, &address);
	key_wipe(&proxy.key);
	report_file_drop(&proxy.file);
	return command_flush("proxy", status);
}
