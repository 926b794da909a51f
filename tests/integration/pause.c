/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pause.c -- what the two ends do not do while a guest is paused: allocate, register, log, look something up
 *
 * pause FABRIC. Each call of libc and of the verbs by either end is counted, and so is each line that an end logs, from the moment in which the
 * source's guest stands to the one in which the destination is told to start it, which is after GO has come. What may be done in
 * between is to send, to receive, to wait, and to end the data channels.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "integration/calls.h"
#include "integration/pair.h"

/* What costs time that no one has bounded, or asks the kernel, or the network, for something new. */
static const enum lib_call forbidden[] = {
	LIB_malloc,
	LIB_calloc,
	LIB_realloc,
	LIB_strdup,
	LIB_mmap,
	LIB_madvise,
	LIB_mincore,
	LIB_open,
	LIB_fopen,
	LIB_pread,
	LIB_lseek,
	LIB_memfd_create,
	LIB_ftruncate,
	LIB_socket,
	LIB_bind,
	LIB_listen,
	LIB_connect,
	LIB_accept4,
	LIB_getaddrinfo,
	LIB_getnameinfo,
	LIB_getsockname,
	LIB_getpeername,
	LIB_setsockopt,
	LIB_eventfd,
	LIB_getrandom,
	LIB_pthread_create,
	LIB_pthread_attr_init,
	LIB_sched_getaffinity,
};

#define FORBIDDEN (sizeof(forbidden) / sizeof(forbidden[0]))

struct snapshot {
	unsigned libc[LIB_ENDS][FORBIDDEN];
	unsigned verbs[CALLS_VERBS_MAX];
	unsigned logged[LIB_ENDS];
};

struct watch {
	struct pair pair;
	_Atomic unsigned logged[LIB_ENDS];
	struct snapshot paused, started;
	_Atomic bool was_paused, was_started;
};

static struct watch watch;

static void source_says(void *opaque, enum decant_log_level level, const char *message)
{
	(void)opaque;
	atomic_fetch_add(&watch.logged[LIB_SOURCE], 1);
	if (getenv("RIG_LOG") != NULL)
		fprintf(stderr, "# source <%d> %s\n", (int)level, message);
}

static void destination_says(void *opaque, enum decant_log_level level, const char *message)
{
	(void)opaque;
	atomic_fetch_add(&watch.logged[LIB_DESTINATION], 1);
	if (getenv("RIG_LOG") != NULL)
		fprintf(stderr, "# destination <%d> %s\n", (int)level, message);
}

static void take(struct snapshot *snapshot)
{
	for (int end = 0; end < LIB_ENDS; end++) {
		snapshot->logged[end] = atomic_load(&watch.logged[end]);
		for (size_t i = 0; i < FORBIDDEN; i++)
			snapshot->libc[end][i] = lib_count((enum lib_end)end, forbidden[i]);
	}
	for (unsigned verb = 0; verb < calls_verbs(); verb++)
		snapshot->verbs[verb] = calls_verb_count(verb);
}

static void happened(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	(void)nth;
	if (event == SYNTHETIC_PAUSE && vmm == watch.pair.source) {
		take(&watch.paused);
		atomic_store(&watch.was_paused, true);
	} else if (event == SYNTHETIC_START) {
		take(&watch.started);
		atomic_store(&watch.was_started, true);
	}
}

/* ---- the verdict ---- */

static unsigned faults;

static void expect_none(const char *who, const char *what, unsigned before, unsigned after)
{
	if (before == after)
		return;
	printf("# in the pause the %s %s: %u times\n", who, what, after - before);
	faults++;
}

/* What takes a queue pair down is the fence; all the rest of the verbs but posting and polling makes something. */
static bool verb_is_allowed(const char *name)
{
	static const char *const allowed[] = { "POST_SEND", "POST_RECV", "POLL_CQ", "REQ_NOTIFY", "DISCONNECT" };

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (strcmp(name, allowed[i]) == 0)
			return true;
	return strncmp(name, "DESTROY", 7) == 0 || strncmp(name, "MODIFY", 6) == 0;
}

static void judge(void)
{
	static const char *const ends[LIB_ENDS] = { "test", "source", "destination" };

	for (int end = LIB_SOURCE; end < LIB_ENDS; end++) {
		expect_none(ends[end], "logs", watch.paused.logged[end], watch.started.logged[end]);
		for (size_t i = 0; i < FORBIDDEN; i++)
			expect_none(ends[end], lib_strcall(forbidden[i]), watch.paused.libc[end][i],
				    watch.started.libc[end][i]);
	}
	for (unsigned verb = 0; verb < calls_verbs(); verb++)
		if (!verb_is_allowed(calls_verb_name(verb)))
			expect_none("ends", calls_verb_name(verb), watch.paused.verbs[verb],
				    watch.started.verbs[verb]);
}

static int migrate(const char *fabric)
{
	struct pair *pair = &watch.pair;
	char text[200] = "";
	int rc;

	calls_verbs_begin(0, 0);
	lib_plan_set(NULL);
	pair_init(pair, fabric);
	pair->direct = true;
	pair->hook = happened;
	/* enough to be dirty when it stands */
	pair->config.rate = 0;
	pair->opts.log = (struct decant_log){ .fn = source_says, .level = DECANT_LOG_DEBUG };
	pair->receiver_opts.log = (struct decant_log){ .fn = destination_says, .level = DECANT_LOG_DEBUG };
	pair_set_key(pair);
	rc = pair_start(pair);
	if (rc == 0)
		rc = pair_migrate(pair);
	if (rc == 0 && !pair_await_source(pair, PAIR_PATIENCE_MS))
		rc = -1;
	pair_join(pair);
	if (rc == 0)
		rc = pair->ret;
	if (rc == 0)
		rc = pair_judge(pair, PAIR_MOVED, text, sizeof(text));
	if (rc != 0)
		printf("# it did not move: %s%s%s\n", text, pair->err.msg, pair->receive_err.msg);
	pair_destroy(pair);
	return rc;
}

int main(int argc, char **argv)
{
	const char *fabric = argc > 1 ? argv[1] : "loop";

	printf("1..1\n");
	if (migrate(fabric) != 0 || !watch.was_paused || !watch.was_started)
		faults++;
	judge();
	printf("%s 1 - %s/nothing_is_made_in_the_pause\n", faults == 0 ? "ok" : "not ok", fabric);
	return faults != 0;
}
