/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenarios.c -- every scenario over every fabric
 *
 * scenarios FABRIC [NAME] runs those of one fabric, and of one name or, with "rails", those of rails alone. RIG_LOG=1 shows what
 * both ends log.
 */
#include "integration/scenarios.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/fabric.h"
#include "fabric/loop/loop.h"
#include "integration/breaker.h"

struct scenario {
	const char *name;
	void (*run)(struct rig *rig);
	const char *only; /* this fabric; NULL: all */
};

#define SCENARIO_ROW(name) { #name, scenario_##name, NULL },
#define SCENARIO_LOOP_ROW(name) { #name, scenario_##name, "loop" },
#define SCENARIO_TCP_ROW(name) { #name, scenario_##name, "tcp" },
#define SCENARIO_RAILS_ROW(name) { #name, scenario_##name, "rdma" },
static const struct scenario scenarios[] = { SCENARIOS(SCENARIO_ROW) SCENARIOS_LOOP(
	SCENARIO_LOOP_ROW) SCENARIOS_TCP(SCENARIO_TCP_ROW) SCENARIOS_RAILS(SCENARIO_RAILS_ROW) };

static const char *const fabrics[] = { "loop", "tcp", "rdma" };

#define SCENARIO_COUNT (sizeof(scenarios) / sizeof(scenarios[0]))
#define FABRIC_COUNT (sizeof(fabrics) / sizeof(fabrics[0]))

/* What a test is given, and its rig. */
struct scenario_case {
	char name[80];
	const char *fabric;
	const struct scenario *scenario;
	struct rig rig;
};

static int set_up(void **state)
{
	struct scenario_case *test = *state;

	loop_plan_set(NULL);
	loop_counts_reset();
	breaker_reset();
	rig_init(&test->rig, test->fabric);
	return 0;
}

static void sigbus_taken(int signo, siginfo_t *info, void *context)
{
	if (!decant_memory_fault(info, context))
		signal(signo, SIG_DFL);
}

static void run(void **state)
{
	const struct sigaction sigbus = { .sa_sigaction = sigbus_taken, .sa_flags = SA_SIGINFO };
	struct scenario_case *test = *state;

	/* cmocka has a handler of its own around each test */
	sigaction(SIGBUS, &sigbus, NULL);
	test->scenario->run(&test->rig);
}

static int tear_down(void **state)
{
	struct scenario_case *test = *state;

	loop_plan_set(NULL);
	loop_release();
	rig_destroy(&test->rig);
	return 0;
}

static bool is_wanted(const char *wanted, const char *name)
{
	return wanted == NULL || strcmp(wanted, name) == 0;
}

/* By its name, or as one of "rails". */
static bool is_wanted_scenario(const char *wanted, const struct scenario *scenario)
{
	if (wanted != NULL && strcmp(wanted, "rails") == 0)
		return scenario->only != NULL && strcmp(scenario->only, "rdma") == 0;
	return is_wanted(wanted, scenario->name);
}

static size_t select_tests(struct scenario_case *cases, struct CMUnitTest *tests, const char *fabric,
			   const char *name)
{
	size_t count = 0;

	for (size_t f = 0; f < FABRIC_COUNT; f++) {
		for (size_t s = 0; s < SCENARIO_COUNT; s++) {
			struct scenario_case *test = &cases[count];

			if (!is_wanted(fabric, fabrics[f]) || !is_wanted_scenario(name, &scenarios[s]) ||
			    !is_wanted(scenarios[s].only, fabrics[f]))
				continue;
			test->fabric = fabrics[f];
			test->scenario = &scenarios[s];
			snprintf(test->name, sizeof(test->name), "%s/%s", fabrics[f], scenarios[s].name);
			tests[count++] = (struct CMUnitTest){ test->name, run, set_up, tear_down, test };
		}
	}
	return count;
}

/* Why this machine cannot run them. */
static bool lacks_rails(const char *fabric, struct decant_error *why)
{
	struct fabric_rail rails[FABRIC_RAILS_MAX];

	return fabric != NULL && strcmp(fabric, "rdma") == 0 &&
	       fabric_find("rdma")->rails(rails, FABRIC_RAILS_MAX, why) <= 0;
}

int main(int argc, char **argv)
{
	static struct scenario_case cases[FABRIC_COUNT * SCENARIO_COUNT];
	static struct CMUnitTest tests[FABRIC_COUNT * SCENARIO_COUNT];
	struct decant_error why = DECANT_ERROR_INIT;
	size_t count = select_tests(cases, tests, argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL);

	if (argc < 2 || count == 0) {
		fprintf(stderr, "usage: %s loop|tcp|rdma [SCENARIO]\n", argv[0]);
		return 2;
	}
	breaker_reset();
	if (lacks_rails(argv[1], &why)) {
		printf("SKIP: %s\n", why.msg);
		return 77;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return _cmocka_run_group_tests("scenarios", tests, count, NULL, NULL) == 0 ? 0 : 1;
}
