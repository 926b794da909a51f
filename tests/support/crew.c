/* SPDX-License-Identifier: BSD-2-Clause */
/* crew.c -- many small trials, each in a process of its own */
#include "support/crew.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"

#define HANDS_MAX 64u
#define WORDS_MAX 32u
#define NAME_MAX_BYTES 128

/* One trial that is under way. */
struct hand {
	pid_t pid; /* 0: free */
	size_t trial;
	int output; /* what it prints */
	uint64_t begun_ns;
	bool late;
};

/* What the children leave for the parent, in memory that they share. */
struct word {
	char text[CREW_TEXT_MAX];
};

struct outcome {
	char word[24];
	size_t times;
};

struct shift {
	const struct crew *crew;
	struct word *words;
	struct hand hand[HANDS_MAX];
	struct outcome outcome[WORDS_MAX];
	size_t failed;
};

/* ---- in the child ---- */

static void work(const struct shift *shift, size_t trial, int output)
{
	const struct crew *crew = shift->crew;
	char *text = shift->words[trial].text;
	int rc;

	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	close(output);
	rc = crew->run(crew->opaque, trial, text, CREW_TEXT_MAX);
	fflush(stdout);
	/* with all that a process does at its end: a leak is found there */
	exit(rc == 0 ? 0 : 1);
}

/* ---- in the parent ---- */

static void begin(struct shift *shift, struct hand *hand, size_t trial)
{
	fflush(stdout);
	hand->trial = trial;
	hand->late = false;
	hand->begun_ns = clock_now_ns();
	hand->output = memfd_create("crew", MFD_CLOEXEC);
	hand->pid = hand->output < 0 ? -1 : fork();
	if (hand->pid < 0) {
		fprintf(stderr, "crew: %s\n", strerror(errno));
		abort();
	}
	if (hand->pid == 0)
		work(shift, trial, hand->output);
}

static void print_lines(char *text)
{
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")) != NULL)
		if (line[0] != '\0')
			printf("# %s\n", line);
}

static void show_output(int output)
{
	static char text[16384];
	const off_t end = lseek(output, 0, SEEK_END);
	const off_t start = end > (off_t)sizeof(text) - 1 ? end - (off_t)sizeof(text) + 1 : 0;
	const ssize_t n = pread(output, text, sizeof(text) - 1, start);

	text[n < 0 ? 0 : n] = '\0';
	print_lines(text);
}

/* Counts it by its first word. */
static void count(struct shift *shift, const char *text)
{
	const size_t length = strcspn(text, " ,:;");

	for (size_t i = 0; i < WORDS_MAX; i++) {
		struct outcome *outcome = &shift->outcome[i];

		if (outcome->times == 0)
			snprintf(outcome->word, sizeof(outcome->word), "%.*s", (int)length, text);
		if (strlen(outcome->word) != length || strncmp(outcome->word, text, length) != 0)
			continue;
		outcome->times++;
		return;
	}
}

static void describe(const struct hand *hand, int status, char *text, size_t size)
{
	if (hand->late)
		snprintf(text, size, "it hangs");
	else if (WIFSIGNALED(status))
		snprintf(text, size, "killed by signal %d", WTERMSIG(status));
	else
		snprintf(text, size, "exit status %d", WEXITSTATUS(status));
}

static void end(struct shift *shift, struct hand *hand, int status)
{
	const char *text = shift->words[hand->trial].text;
	char name[NAME_MAX_BYTES], how[64];

	shift->crew->name(shift->crew->opaque, hand->trial, name, sizeof(name));
	hand->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("ok %zu - %s # %.1f s: %s\n", hand->trial + 1, name,
		       (double)(clock_now_ns() - hand->begun_ns) / (double)NSEC_PER_SEC, text);
		count(shift, text);
	} else {
		describe(hand, status, how, sizeof(how));
		printf("not ok %zu - %s\n# %s\n# %s\n", hand->trial + 1, name, how, text);
		show_output(hand->output);
		shift->failed++;
	}
	close(hand->output);
	fflush(stdout);
}

static bool look_after(struct shift *shift, struct hand *hand)
{
	int status;

	if (hand->pid == 0)
		return false;
	if (waitpid(hand->pid, &status, WNOHANG) == hand->pid) {
		end(shift, hand, status);
		return true;
	}
	if (!hand->late && clock_now_ns() - hand->begun_ns >= shift->crew->seconds * NSEC_PER_SEC) {
		hand->late = true;
		/* for a core, or a debugger's sake; nobody handles it */
		kill(hand->pid, SIGABRT);
	}
	return false;
}

static void print_counts(const struct shift *shift)
{
	printf("# %zu trials:", shift->crew->count);
	for (size_t i = 0; i < WORDS_MAX && shift->outcome[i].times > 0; i++)
		printf(" %zu %s,", shift->outcome[i].times, shift->outcome[i].word);
	printf(" %zu failed\n", shift->failed);
}

size_t crew_run(const struct crew *crew)
{
	struct shift *shift = calloc(1, sizeof(*shift));
	const size_t bytes = (crew->count + 1) * sizeof(struct word);
	size_t begun = 0, ended = 0, failed;

	if (shift == NULL)
		abort();
	shift->crew = crew;
	shift->words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shift->words == MAP_FAILED)
		abort();
	printf("1..%zu\n", crew->count);
	while (ended < crew->count) {
		for (unsigned i = 0; i < crew->hands && i < HANDS_MAX; i++) {
			ended += look_after(shift, &shift->hand[i]);
			if (shift->hand[i].pid == 0 && begun < crew->count)
				begin(shift, &shift->hand[i], begun++);
		}
		usleep(2000);
	}
	print_counts(shift);
	failed = shift->failed;
	munmap(shift->words, bytes);
	free(shift);
	return failed;
}
