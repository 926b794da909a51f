/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * calls.c -- each call of libc, and of the verbs, fails in its turn
 *
 * calls FABRIC [MOST | END CALL FAULT NTH]: of each kind at most MOST calls, spread over all there are; or one. A first run in which
 * nothing fails counts them. RIG_LOG=1 shows what both ends log.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "integration/calls.h"
#include "integration/pair.h"
#include "support/crew.h"
#include "support/slow.h"

#define TRIALS_MAX 20000u
#define MOST_WHERE_SLOW 1u

static const char *const ends[LIB_ENDS] = { "nobody", "source", "destination" };

struct list {
	const char *fabric;
	unsigned most; /* of each kind */
	size_t count;
	struct calls_trial trial[TRIALS_MAX];
};

static void name_trial(void *opaque, size_t i, char *text, size_t size)
{
	const struct list *list = opaque;
	const struct calls_trial *trial = &list->trial[i];

	if (trial->nth > 0)
		snprintf(text, size, "%s/verbs/%s/fails/%u", list->fabric, calls_verb_name(trial->verb),
			 trial->nth);
	else
		snprintf(text, size, "%s/%s/%s/%s/%u", list->fabric, ends[trial->plan.end],
			 lib_strcall(trial->plan.call), lib_strfault(trial->plan.fault), trial->number);
}

static int run_trial(void *opaque, size_t i, char *text, size_t size)
{
	const struct list *list = opaque;

	const struct calls_trial *trial = &list->trial[i];
	char what[CREW_TEXT_MAX - 32];
	int rc = calls_trial(list->fabric, trial, what, sizeof(what));

	snprintf(text, size, "%s (call %u)", what, trial->nth > 0 ? trial->nth : trial->plan.nth);
	return rc;
}

/* ---- which ---- */

/* Which call of @count is the @i-th of @most that are tried: the first and the last, and evenly between. */
static unsigned spread(unsigned i, unsigned most, unsigned count)
{
	return most >= count ? i + 1 : 1 + (unsigned)((uint64_t)i * (count - 1) / (most > 1 ? most - 1 : 1));
}

static void add(struct list *list, const struct calls_trial *trial)
{
	if (list->count < TRIALS_MAX)
		list->trial[list->count++] = *trial;
}

static void add_kind(struct list *list, enum lib_end end, enum lib_call call, enum lib_fault fault, unsigned count)
{
	const unsigned tries = count < list->most ? count : list->most;

	for (unsigned i = 0; i < tries; i++) {
		const struct calls_trial trial = {
			.plan = { end, call, fault, spread(i, tries, count) },
			.number = i + 1,
		};

		add(list, &trial);
	}
}

static void add_verb(struct list *list, unsigned verb, unsigned count)
{
	const unsigned tries = count < list->most ? count : list->most;

	for (unsigned i = 0; i < tries; i++) {
		const struct calls_trial trial = { .verb = verb, .nth = spread(i, tries, count), .number = i + 1 };

		add(list, &trial);
	}
}

static void add_all(struct list *list, const struct calls_counts *counts)
{
	for (unsigned verb = 0; verb < calls_verbs(); verb++)
		add_verb(list, verb, counts->verbs[verb]);
	for (int end = LIB_SOURCE; end < LIB_ENDS; end++)
		for (int call = 0; call < LIB_CALL_COUNT; call++)
			for (int fault = 0; fault < LIB_FAULTS; fault++)
				if (lib_call_has((enum lib_call)call, (enum lib_fault)fault))
					add_kind(list, (enum lib_end)end, (enum lib_call)call,
						 (enum lib_fault)fault, counts->libc[end][call]);
}

static bool parse_one(struct list *list, char **words)
{
	struct calls_trial trial = { 0 };
	unsigned found = 0;

	trial.number = trial.plan.nth = (unsigned)strtoul(words[3], NULL, 10);
	for (int end = 0; end < LIB_ENDS; end++)
		if (strcmp(words[0], ends[end]) == 0)
			found++, trial.plan.end = (enum lib_end)end;
	for (int call = 0; call < LIB_CALL_COUNT; call++)
		if (strcmp(words[1], lib_strcall((enum lib_call)call)) == 0)
			found++, trial.plan.call = (enum lib_call)call;
	for (int fault = 0; fault < LIB_FAULTS; fault++)
		if (strcmp(words[2], lib_strfault((enum lib_fault)fault)) == 0)
			found++, trial.plan.fault = (enum lib_fault)fault;
	for (unsigned verb = 0; verb < calls_verbs(); verb++)
		if (strcmp(words[0], "verbs") == 0 && strcmp(words[1], calls_verb_name(verb)) == 0)
			found = 3,
			trial = (struct calls_trial){ .verb = verb, .nth = trial.number, .number = trial.number };
	if (found == 3)
		add(list, &trial);
	return found == 3;
}

/* ---- counting: in a child, since this process is to stay as it is ---- */

static int count_in_child(const char *fabric, struct calls_counts *counts)
{
	struct calls_counts *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char text[CREW_TEXT_MAX] = "";
	int status = -1;
	pid_t pid;

	if (shared == MAP_FAILED)
		abort();
	pid = fork();
	if (pid == 0) {
		const int rc = calls_count(fabric, shared, text, sizeof(text));

		if (rc < 0 || strncmp(text, "moved", 5) != 0)
			fprintf(stderr, "with nothing that fails: %s\n", text);
		exit(rc < 0 ? 1 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return -1;
	*counts = *shared;
	munmap(shared, sizeof(*shared));
	return 0;
}

int main(int argc, char **argv)
{
	static struct list list;
	struct crew crew = {
		.hands = slow_here() ? 4 : 6,
		.seconds = slow_here() ? 600 : 240,
		.name = name_trial,
		.run = run_trial,
		.opaque = &list,
	};
	struct calls_counts counts;

	if (argc < 2 || (argc > 3 && argc != 6)) {
		fprintf(stderr, "usage: %s loop|tcp|rdma [MOST | END CALL FAULT NTH]\n", argv[0]);
		return 2;
	}
	list.fabric = argv[1];
	list.most = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : TRIALS_MAX;
	if (slow_here() && list.most > MOST_WHERE_SLOW)
		list.most = MOST_WHERE_SLOW;
	if (argc == 6 && !parse_one(&list, argv + 2))
		return 2;
	if (argc != 6 && count_in_child(list.fabric, &counts) < 0)
		return 1;
	if (argc != 6)
		add_all(&list, &counts);
	crew.count = list.count;
	return list.count > 0 && crew_run(&crew) == 0 ? 0 : 1;
}
