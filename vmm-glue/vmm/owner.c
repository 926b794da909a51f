/* SPDX-License-Identifier: BSD-2-Clause */
/* owner.c -- the process that owns a VM: its loop, and what it makes of arrivals, departures and ends */
#include "vmm/owner_internal.h"

#include "qemu/json.h"
#include "vmm/report.h"
#include "vmm/sigbus.h"
#include "vmm/words.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/placement.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define OWNER_READY_POLL_MS 20
#define OWNER_DRAIN_NS (2 * NSEC_PER_SEC)

static void owner_guest_ended(void *opaque)
{
	struct owner *owner = opaque;

	io_wake_set(owner->wake_fd);
}

struct machine_host owner_host(struct owner *owner)
{
	return (struct machine_host){
		.serial_sink = owner->opts.serial_sink,
		.numa_node = owner->opts.numa_node,
		.log = owner->opts.log,
		.ended = owner_guest_ended,
		.opaque = owner,
	};
}

/* Now, and not when the first migration begins. */
static int owner_check_cpus(const struct owner *owner, struct decant_error *err)
{
	struct placement placement;

	return owner->opts.cpus != NULL ? placement_new(owner->opts.cpus, &placement, err) : 0;
}

static int owner_block_signals(struct owner *owner, struct decant_error *err)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
	owner->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (owner->signal_fd < 0)
		return decant_error_set(err, -errno, "signalfd: %s", strerror(errno));
	return 0;
}

int owner_new(const struct owner_opts *opts, struct owner **owner_ptr, struct decant_error *err)
{
	struct owner *owner = calloc(1, sizeof(*owner));
	int ret;

	if (owner == NULL)
		return decant_error_set(err, -ENOMEM, "no memory");
	owner->opts = *opts;
	owner->signal_fd = -1;
	owner->wake_fd = io_wake_new();
	ret = owner->wake_fd < 0 ? decant_error_set(err, owner->wake_fd, "eventfd: %s", strerror(-owner->wake_fd))
				 : owner_block_signals(owner, err);
	if (ret == 0)
		ret = owner_check_cpus(owner, err);
	if (ret == 0)
		ret = sigbus_install(err);
	if (ret == 0)
		ret = control_new(owner_request, owner, &owner->control, err);
	if (ret < 0) {
		owner_free(owner);
		return ret;
	}
	*owner_ptr = owner;
	return 0;
}

static int owner_serve(struct owner *owner, const char *name, struct control_claim *claim,
		       struct decant_error *err)
{
	int ret = control_serve(owner->control, claim, err);

	if (ret < 0)
		control_unclaim(claim);
	else
		snprintf(owner->name, sizeof(owner->name), "%s", name);
	return ret;
}

int owner_claim(struct owner *owner, const char *name, struct decant_error *err)
{
	struct control_claim claim = CONTROL_CLAIM_INIT;
	int ret = control_claim(name, &claim, err);

	return ret < 0 ? ret : owner_serve(owner, name, &claim, err);
}

static void owner_say_json(const char *event, struct json_object *members)
{
	json_add_text(members, "event", event);
	puts(json_object_to_json_string_ext(members, JSON_C_TO_STRING_PLAIN));
	fflush(stdout);
}

void owner_say(struct owner *owner, const char *event, struct json_object *members, const char *fmt, ...)
{
	va_list args;

	if (owner->opts.json) {
		owner_say_json(event, members);
	} else {
		va_start(args, fmt);
		vprintf(fmt, args);
		va_end(args);
		putchar('\n');
		fflush(stdout);
	}
	json_object_put(members);
}

static struct json_object *owner_members(const struct owner *owner)
{
	struct json_object *members = json_object_new_object();

	json_add_text(members, "vm", owner->name);
	return members;
}

static void owner_complain(const struct owner *owner, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void owner_complain(const struct owner *owner, const char *fmt, ...)
{
	char text[DECANT_ERROR_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "decant %s: %s%s%s\n", owner->opts.verb, owner->name, owner->name[0] != '\0' ? ": " : "",
		text);
}

const char *owner_state(struct owner *owner)
{
	if (owner->machine == NULL)
		return "waiting";
	if (owner->in_doubt)
		return "in-doubt";
	if (owner->departure != NULL)
		return "migrating";
	switch (machine_get_state(owner->machine)) {
	case MACHINE_HELD:
		return "paused";
	case MACHINE_ENDED:
		return "ended";
	default:
		return owner->ready ? "running" : "starting";
	}
}

void owner_adopt(struct owner *owner, struct machine *machine)
{
	owner->machine = machine;
	owner->ready = false;
}

int owner_receive(struct owner *owner, const struct arrival_opts *wanted, uint16_t *port, struct decant_error *err)
{
	struct arrival_opts opts = *wanted;
	int ret;

	opts.host = owner_host(owner);
	opts.cpus = owner->opts.cpus;
	opts.log = owner->opts.log;
	opts.wake_fd = owner->wake_fd;
	ret = arrival_start(&opts, &owner->arrival, err);
	if (ret < 0)
		return ret;
	owner->arriving = true;
	*port = arrival_port(owner->arrival);
	return 0;
}

static void owner_end(struct owner *owner, int status)
{
	if (!owner->done)
		owner->status = status;
	owner->done = true;
}

void owner_stop(struct owner *owner)
{
	owner->stop_asked = true;
	if (owner->arriving)
		arrival_stop(owner->arrival);
	else if (owner->departure != NULL && !owner->in_doubt)
		departure_cancel(owner->departure);
	else
		owner_end(owner, EXIT_DONE);
}

static void owner_arrived(struct owner *owner)
{
	struct control_claim claim = CONTROL_CLAIM_INIT;
	struct decant_error err = DECANT_ERROR_INIT;
	struct machine *machine = arrival_take(owner->arrival, &claim, &err);
	struct json_object *members;
	struct decant_stats stats;

	owner->arriving = false;
	if (machine == NULL) {
		owner_complain(owner, "stopped; no VM had been taken in");
		owner_end(owner, EXIT_FAILED);
		return;
	}
	if (claim.lock_fd >= 0 && owner_serve(owner, machine_config(machine)->name, &claim, &err) < 0)
		owner_complain(owner, "it runs, and cannot be controlled: %s", err.msg);
	owner_adopt(owner, machine);
	arrival_stats(owner->arrival, &stats);
	members = owner_members(owner);
	json_object_object_add(members, "stamps_ns", report_stamps_json(&stats));
	owner_say(owner, "arrived", members, "%s: arrived%s", owner->name,
		  machine_get_state(machine) == MACHINE_HELD ? ", paused as it was" : "");
	if (owner->stop_asked)
		owner_end(owner, EXIT_DONE);
}

static void owner_publish_finished(struct owner *owner, struct json_object *report)
{
	struct json_object *event = json_object_new_object();

	json_add_text(event, "event", "finished");
	json_add_number(event, "exit", report_exit(report));
	json_object_object_add(event, "report", json_object_get(report));
	control_publish(owner->control, event, true);
}

/* The receiver that brought the machine may still be asking it for its verdict, so it goes first. */
static void owner_free_machine(struct owner *owner)
{
	if (owner->machine != NULL)
		machine_abandon_verdict(owner->machine);
	arrival_free(owner->arrival);
	owner->arrival = NULL;
	machine_free(owner->machine);
	owner->machine = NULL;
}

static void owner_departed(struct owner *owner, struct machine *landed)
{
	struct json_object *members = owner_members(owner);

	json_add_text(members, "to", departure_peer(owner->departure));
	owner_free_machine(owner);
	if (landed != NULL) {
		owner_adopt(owner, landed);
		owner->ready = true;
		owner_say(owner, "migrated", members, "%s: migrated to a second machine here, running",
			  owner->name);
		return;
	}
	owner_say(owner, "migrated", members, "%s: migrated to %s", owner->name, departure_peer(owner->departure));
	owner_end(owner, EXIT_DONE);
}

static void owner_conclude(struct owner *owner, enum decant_migration_state state)
{
	owner->in_doubt = state == DECANT_STATE_IN_DOUBT;
	if (state == DECANT_STATE_COMPLETED)
		owner_departed(owner, departure_landed(owner->departure));
	if (owner->in_doubt) {
		owner_complain(owner, "migration in doubt: %s", departure_error(owner->departure));
		return;
	}
	departure_free(owner->departure);
	owner->departure = NULL;
	if (owner->stop_asked)
		owner_end(owner, EXIT_DONE);
}

static void owner_departure_finished(struct owner *owner)
{
	enum decant_migration_state state = departure_conclude(owner->departure);
	struct json_object *report = departure_report(owner->departure);

	owner->settling = false;
	owner_conclude(owner, state);
	owner_publish_finished(owner, report);
	json_object_put(report);
}

static bool owner_is_migrating(const struct owner *owner)
{
	return owner->departure != NULL && (!owner->in_doubt || owner->settling);
}

static void owner_check_end(struct owner *owner)
{
	char why[256];
	bool failed;

	if (owner->machine == NULL || owner->departure != NULL ||
	    machine_get_state(owner->machine) != MACHINE_ENDED)
		return;
	machine_why(owner->machine, why, sizeof(why), &failed);
	if (failed)
		owner_complain(owner, "the guest has stopped: %s", why);
	else
		owner_say(owner, "ended", owner_members(owner), "%s: %s", owner->name, why);
	owner_end(owner, failed ? EXIT_FAILED : EXIT_DONE);
}

static void owner_check_ready(struct owner *owner)
{
	const struct machine_config *config;
	char memory[WORDS_MAX], page[WORDS_MAX];

	if (owner->ready || owner->machine == NULL || machine_get_state(owner->machine) != MACHINE_RUNNING ||
	    !machine_ready(owner->machine))
		return;
	owner->ready = true;
	config = machine_config(owner->machine);
	owner_say(owner, "running", owner_members(owner), "%s: running, %s in pages of %s, %u vCPU%s, process %d",
		  owner->name, words_bytes(memory, config->memory_bytes), words_bytes(page, config->page_size),
		  config->vcpus, config->vcpus == 1 ? "" : "s", getpid());
}

static void owner_check(struct owner *owner)
{
	io_wake_reset(owner->wake_fd);
	if (owner->arriving && arrival_finished(owner->arrival))
		owner_arrived(owner);
	if (owner_is_migrating(owner) && departure_finished(owner->departure))
		owner_departure_finished(owner);
	owner_check_ready(owner);
	owner_check_end(owner);
}

static void owner_signalled(struct owner *owner)
{
	struct signalfd_siginfo info;

	while (read(owner->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		owner_stop(owner);
}

static void owner_typed(struct owner *owner)
{
	char bytes[64];
	ssize_t got = read(owner->opts.serial_input, bytes, sizeof(bytes));

	if (got <= 0 && !(got < 0 && (errno == EINTR || errno == EAGAIN)))
		owner->opts.serial_input = -1;
	else if (got > 0 && owner->machine != NULL)
		machine_serial_input(owner->machine, bytes, (size_t)got);
}

int owner_loop(struct owner *owner)
{
	while (!owner->done) {
		struct pollfd fds[] = {
			{ .fd = owner->signal_fd, .events = POLLIN },
			{ .fd = owner->wake_fd, .events = POLLIN },
			{ .fd = control_fd(owner->control), .events = POLLIN },
			{ .fd = owner->opts.serial_input, .events = POLLIN },
		};
		bool waits = owner->machine != NULL && !owner->ready;

		if (poll(fds, 4, waits ? OWNER_READY_POLL_MS : -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			owner_signalled(owner);
		if (fds[3].revents != 0)
			owner_typed(owner);
		if (fds[2].revents != 0)
			control_process(owner->control);
		owner_check(owner);
	}
	control_drain(owner->control, OWNER_DRAIN_NS);
	return owner->status;
}

void owner_free(struct owner *owner)
{
	if (owner == NULL)
		return;
	departure_free(owner->departure);
	owner_free_machine(owner);
	control_free(owner->control);
	if (owner->signal_fd >= 0)
		close(owner->signal_fd);
	if (owner->wake_fd >= 0)
		close(owner->wake_fd);
	free(owner);
}
