/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * observe.c -- times a migration from outside: decant-observe [OPTION...]
 *
 * Theory of operation
 * -------------------
 * The stress guest counts heartbeats in its own memory. This program maps the memory of both ends, whatever program runs them, and
 * looks at them by the clock, so that one ruler measures them all. The destination's memory also shows heartbeats that have only been
 * copied there. But what is copied is at most what the source has reached: the destination runs when it has more. The pause is
 * from the last heartbeat seen at the source to the first of the destination's own.
 *
 * It sleeps between two looks, since a CPU that it burnt would be the migration's, and it asks for real-time priority so that it wakes in time.
 * Each look is late by up to one interval; "late_ns" tells the longest time between two.
 *
 * On two hosts an observer runs at each. The one at the destination sends what it sees to the one at the source, which decides.
 *
 * Prints "listening PORT" (with --listen), "ready" when the guest is at work, and JSON at the end, which comes when the guest
 * has run at the destination for --after, after --seconds, or with SIGTERM or SIGINT.
 */
#include "observe.h"

#include "util/clock.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define FIND_NS (1 * NSEC_PER_MSEC) /* between two searches for memory that is not there */
#define CPU_NS (10 * NSEC_PER_MSEC)

static const char usage[] =
	"usage: decant-observe --source MEMORY {--dest MEMORY | --peer HOST:PORT} [OPTION...]\n"
	"       decant-observe --dest MEMORY --listen HOST:PORT [OPTION...]\n"
	"  MEMORY               a file, or PID:NAME, the memfd NAME of a process\n"
	"  --source-pid PID     whose threads' CPU time is to be told\n"
	"  --dest-pid PID       the same of the destination\n"
	"  --interval-us N      between two looks (200)\n"
	"  --series-ms N        between two looks that are printed (5)\n"
	"  --after-ms N         goes on when the guest runs at the destination (300)\n"
	"  --seconds N          gives up (300)\n";

struct options {
	const char *source, *dest, *peer, *listen;
	int source_pid, dest_pid;
	uint64_t interval_ns, series_ns, after_ns, seconds;
};

/* What is known of the hand-over. */
struct handover {
	struct observe_look last; /* of the source, when its heartbeat was first seen to be that */
	uint64_t gap_ns;          /* longest between two changes of the source */
	struct observe_look first;
	bool suspected; /* @first is there, and may yet be a number that was torn while it was copied */
	bool sure;
};

struct observer {
	struct options options;
	struct observe_memory source, dest;
	struct observe_peer peer;
	struct observe_look dest_now; /* the last look at it */
	struct handover handover;
	struct observe_series source_series, dest_series;
	struct observe_cpu *source_cpu, *dest_cpu;
	struct observe_host_cpu host_before;
	uint64_t next_find_ns, next_series_ns, next_cpu_ns;
	uint64_t end_ns, last_turn_ns, late_ns;
};

static volatile sig_atomic_t asked_to_end;

static void on_signal(int number)
{
	(void)number;
	asked_to_end = 1;
}

/* ---- what is seen ---- */

static void source_seen(struct handover *handover, const struct observe_look *look)
{
	if (look->heartbeat <= handover->last.heartbeat)
		return;
	if (handover->last.heartbeat != 0 && look->at_ns - handover->last.at_ns > handover->gap_ns)
		handover->gap_ns = look->at_ns - handover->last.at_ns;
	handover->last = *look;
}

/* @look is not older than what is known of the source by more than it took to come here, which does no harm: the source only counts up. */
static void dest_seen(struct handover *handover, const struct observe_look *look)
{
	if (handover->sure)
		return;
	if (look->heartbeat <= handover->last.heartbeat) {
		handover->suspected = false;
	} else if (!handover->suspected) {
		handover->first = *look;
		handover->suspected = true;
	} else if (look->heartbeat > handover->first.heartbeat) {
		handover->sure = true;
	}
}

static int look_at_dest(struct observer *observer)
{
	int rc;

	if (observer->options.peer == NULL) {
		observer->dest_now = observe_memory_look(&observer->dest);
		return 0;
	}
	while ((rc = observe_peer_look(&observer->peer, &observer->dest_now)) > 0) {
		const struct observe_look source = observe_memory_look(&observer->source);

		source_seen(&observer->handover, &source);
		dest_seen(&observer->handover, &observer->dest_now);
	}
	return rc;
}

/* The destination first: what it shows must be more than the source has reached by a later look. */
static int look_at_both(struct observer *observer)
{
	struct observe_look source;
	int rc = look_at_dest(observer);

	if (rc < 0)
		return rc;
	source = observe_memory_look(&observer->source);
	source_seen(&observer->handover, &source);
	if (observer->options.peer == NULL)
		dest_seen(&observer->handover, &observer->dest_now);
	if (source.at_ns < observer->next_series_ns)
		return 0;
	observer->next_series_ns = source.at_ns + observer->options.series_ns;
	rc = observe_series_add(&observer->source_series, &source);
	if (rc == 0 && observer->dest_now.at_ns != 0)
		rc = observe_series_add(&observer->dest_series, &observer->dest_now);
	return rc;
}

/* At the destination of two hosts: 1 when the other observer wants no more. */
static int look_for_peer(struct observer *observer)
{
	const struct observe_look look = observe_memory_look(&observer->dest);
	int rc = 0;

	if (observe_peer_serve(observer->peer.fd))
		return 1;
	if (look.heartbeat != observer->dest_now.heartbeat)
		rc = observe_peer_send(observer->peer.fd, &look);
	observer->dest_now = look;
	return rc < 0 ? 1 : 0;
}

/* ---- the clockwork ---- */

static int find_dest(struct observer *observer, uint64_t now, struct decant_error *err)
{
	int rc;

	if (observer->options.dest == NULL || observer->dest.status != NULL || now < observer->next_find_ns)
		return 0;
	observer->next_find_ns = now + FIND_NS;
	rc = observe_memory_find(&observer->dest, observer->options.dest, err);
	return rc == -ENOENT ? 0 : rc;
}

static void sample_cpu(struct observer *observer, uint64_t now)
{
	if (now < observer->next_cpu_ns)
		return;
	observer->next_cpu_ns = now + CPU_NS;
	if (observer->source_cpu != NULL)
		observe_cpu_sample(observer->source_cpu);
	if (observer->dest_cpu != NULL)
		observe_cpu_sample(observer->dest_cpu);
}

static void sleep_until(uint64_t at_ns)
{
	const struct timespec at = clock_timespec(at_ns);

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* 0: on; 1: the end; -errno */
static int turn(struct observer *observer, struct decant_error *err)
{
	const struct handover *handover = &observer->handover;
	const uint64_t now = clock_now_ns();
	int rc = find_dest(observer, now, err);

	if (rc < 0)
		return rc;
	if (observer->last_turn_ns != 0 && now - observer->last_turn_ns > observer->late_ns)
		observer->late_ns = now - observer->last_turn_ns;
	observer->last_turn_ns = now;
	if (observer->options.listen != NULL)
		rc = look_for_peer(observer);
	else
		rc = look_at_both(observer);
	if (rc < 0)
		return decant_error_set(err, rc, "cannot look at the destination: %s", strerror(-rc));
	sample_cpu(observer, now);
	if (asked_to_end || now >= observer->end_ns)
		return 1;
	return rc == 1 || (handover->sure && now >= handover->first.at_ns + observer->options.after_ns) ? 1 : 0;
}

static int observe(struct observer *observer, struct decant_error *err)
{
	uint64_t next = clock_now_ns();
	int rc;

	observer->end_ns = next + observer->options.seconds * NSEC_PER_SEC;
	while ((rc = turn(observer, err)) == 0) {
		const uint64_t now = clock_now_ns();

		next += observer->options.interval_ns;
		next = next < now ? now : next;
		sleep_until(next);
	}
	return rc < 0 ? rc : 0;
}

/* ---- what is printed ---- */

static void print_series(const char *name, const struct observe_series *series)
{
	printf("\"%s\": [", name);
	for (size_t i = 0; i < series->count; i++)
		printf("%s[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", i == 0 ? "" : ", ", series->look[i].at_ns,
		       series->look[i].heartbeat, series->look[i].work);
	printf("]");
}

static void print_cpu(const char *name, const struct observe_cpu *cpu)
{
	if (cpu == NULL)
		return;
	printf("\"%s\": ", name);
	observe_cpu_print(stdout, cpu);
	printf(", ");
}

static void print_all(const struct observer *observer)
{
	const struct handover *handover = &observer->handover;
	const struct observe_host_cpu host = observe_host_cpu();

	printf("{\"interval_ns\": %" PRIu64 ", \"late_ns\": %" PRIu64 ", ", observer->options.interval_ns,
	       observer->late_ns);
	print_cpu("source_cpu", observer->source_cpu);
	print_cpu("dest_cpu", observer->dest_cpu);
	printf("\"host_cpu\": {\"user\": %.2f, \"system\": %.2f, \"softirq\": %.2f}",
	       host.user - observer->host_before.user, host.system - observer->host_before.system,
	       host.softirq - observer->host_before.softirq);
	if (observer->options.listen == NULL) {
		printf(", \"last_ns\": %" PRIu64 ", \"longest_gap_ns\": %" PRIu64, handover->last.at_ns,
		       handover->gap_ns);
		if (handover->sure)
			printf(", \"first_ns\": %" PRIu64 ", \"pause_ns\": %" PRId64, handover->first.at_ns,
			       (int64_t)(handover->first.at_ns - handover->last.at_ns));
		printf(", \"clock_error_ns\": %" PRIu64 ", \"series\": {", observer->peer.error_ns);
		print_series("source", &observer->source_series);
		printf(", ");
		print_series("dest", &observer->dest_series);
		printf("}");
	}
	printf("}\n");
}

/* ---- the command ---- */

static int parse_number(const char *name, const char *text, uint64_t *number, struct decant_error *err)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *number == 0 || *number > INT32_MAX)
		return decant_error_set(err, -EINVAL, "--%s %s: a number from 1 on", name, text);
	return 0;
}

static int take_number(int key, const char *name, struct options *options, struct decant_error *err)
{
	uint64_t number;
	const int rc = parse_number(name, optarg, &number, err);

	if (rc < 0)
		return rc;
	if (key == 'S')
		options->source_pid = (int)number;
	else if (key == 'D')
		options->dest_pid = (int)number;
	else if (key == 'i')
		options->interval_ns = number * NSEC_PER_USEC;
	else if (key == 'e')
		options->series_ns = number * NSEC_PER_MSEC;
	else if (key == 'a')
		options->after_ns = number * NSEC_PER_MSEC;
	else
		options->seconds = number;
	return 0;
}

static int take_option(int key, const char *name, struct options *options, struct decant_error *err)
{
	switch (key) {
	case 's':
		options->source = optarg;
		return 0;
	case 'd':
		options->dest = optarg;
		return 0;
	case 'p':
		options->peer = optarg;
		return 0;
	case 'l':
		options->listen = optarg;
		return 0;
	case '?':
		return decant_error_set(err, -EINVAL, "unknown option or no value for it");
	default:
		return take_number(key, name, options, err);
	}
}

static int check_options(const struct options *options, struct decant_error *err)
{
	const bool at_dest = options->source == NULL && options->dest != NULL && options->listen != NULL &&
			     options->peer == NULL;
	const bool at_source = options->source != NULL && options->listen == NULL &&
			       (options->dest == NULL) != (options->peer == NULL);

	if (at_dest || at_source)
		return 0;
	return decant_error_set(err, -EINVAL, "two memories are needed, or one and the other observer");
}

static int parse(int argc, char **argv, struct options *options, struct decant_error *err)
{
	static const struct option known[] = {
		{ "source", required_argument, NULL, 's' },
		{ "dest", required_argument, NULL, 'd' },
		{ "peer", required_argument, NULL, 'p' },
		{ "listen", required_argument, NULL, 'l' },
		{ "source-pid", required_argument, NULL, 'S' },
		{ "dest-pid", required_argument, NULL, 'D' },
		{ "interval-us", required_argument, NULL, 'i' },
		{ "series-ms", required_argument, NULL, 'e' },
		{ "after-ms", required_argument, NULL, 'a' },
		{ "seconds", required_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	int rc = 0, key, index = 0;

	while (rc == 0 && (key = getopt_long(argc, argv, "", known, &index)) != -1)
		rc = take_option(key, known[index].name, options, err);
	if (rc == 0 && optind < argc)
		rc = decant_error_set(err, -EINVAL, "what is \"%s\"?", argv[optind]);
	return rc < 0 ? rc : check_options(options, err);
}

/* Neither is owed to us: without them the looks are later, and say so. */
static void ask_for_precision(void)
{
	const struct sched_param priority = { .sched_priority = 1 };

	prctl(PR_SET_TIMERSLACK, 1);
	sched_setscheduler(0, SCHED_FIFO, &priority);
}

static int await_guest(struct observer *observer, struct decant_error *err)
{
	const uint64_t deadline = clock_deadline_ns(observer->options.seconds * NSEC_PER_SEC);
	int rc;

	while ((rc = observe_memory_find(&observer->source, observer->options.source, err)) == -ENOENT &&
	       clock_now_ns() < deadline && !asked_to_end)
		sleep_until(clock_now_ns() + FIND_NS);
	if (rc < 0)
		return rc;
	while (observer->source.status->magic != STRESS_BOOT_MAGIC ||
	       observer->source.status->phase != STRESS_PHASE_RUN) {
		if (asked_to_end || clock_now_ns() >= deadline)
			return decant_error_set(err, -ETIMEDOUT, "%s: no stress guest has begun its work there",
						observer->options.source);
		sleep_until(clock_now_ns() + FIND_NS);
	}
	return 0;
}

static int prepare(struct observer *observer, struct decant_error *err)
{
	const struct options *options = &observer->options;
	int rc = 0;

	observer->peer.fd = -1;
	if (options->source != NULL)
		rc = await_guest(observer, err);
	if (rc == 0 && options->peer != NULL)
		rc = observe_peer_connect(&observer->peer, options->peer, err);
	if (rc == 0 && options->listen != NULL) {
		observer->peer.fd = observe_peer_listen(options->listen, err);
		rc = observer->peer.fd < 0 ? observer->peer.fd : 0;
	}
	if (rc == 0 && options->source_pid != 0)
		rc = observe_cpu_new(options->source_pid, &observer->source_cpu);
	if (rc == 0 && options->dest_pid != 0)
		rc = observe_cpu_new(options->dest_pid, &observer->dest_cpu);
	observer->host_before = observe_host_cpu();
	return rc;
}

static int run(struct observer *observer, struct decant_error *err)
{
	int rc = prepare(observer, err);

	if (rc < 0)
		return rc;
	ask_for_precision();
	printf("ready\n");
	fflush(stdout);
	rc = observe(observer, err);
	if (rc < 0)
		return rc;
	print_all(observer);
	if (observer->options.listen == NULL && !observer->handover.sure)
		return decant_error_set(err, -ETIMEDOUT, "the guest was not seen to run at the destination");
	return 0;
}

static void release(struct observer *observer)
{
	observe_peer_close(&observer->peer);
	observe_memory_drop(&observer->source);
	observe_memory_drop(&observer->dest);
	observe_series_free(&observer->source_series);
	observe_series_free(&observer->dest_series);
	observe_cpu_free(observer->source_cpu);
	observe_cpu_free(observer->dest_cpu);
}

int main(int argc, char **argv)
{
	struct observer observer = {
		.options = {
			.interval_ns = 200 * NSEC_PER_USEC,
			.series_ns = 5 * NSEC_PER_MSEC,
			.after_ns = 300 * NSEC_PER_MSEC,
			.seconds = 300,
		},
	};
	struct decant_error err = DECANT_ERROR_INIT;
	int rc;

	if (parse(argc, argv, &observer.options, &err) < 0) {
		fprintf(stderr, "decant-observe: %s\n%s", err.msg, usage);
		return 2;
	}
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	rc = run(&observer, &err);
	if (rc < 0)
		fprintf(stderr, "decant-observe: %s\n", err.msg);
	release(&observer);
	return rc < 0 ? 1 : 0;
}
