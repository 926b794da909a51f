/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenarios.c -- every scenario over every fabric
 *
 * scenarios [FABRIC [NAME]] runs only those of one fabric, and of one name. RIG_LOG=1 shows what both ends log.
 */
#include "integration/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/loop/loop.h"

struct scenario {
	const char *name;
	void (*run)(struct rig *rig);
	const char *only; /* this fabric; NULL: all */
};

#define SCENARIO_ROW(name) { #name, scenario_##name, NULL },
#define SCENARIO_LOOP_ROW(name) { #name, scenario_##name, "loop" },
static const struct scenario scenarios[] = { SCENARIOS(SCENARIO_ROW) SCENARIOS_LOOP(SCENARIO_LOOP_ROW) };

static const char *const fabrics[] = { "loop", "tcp" };

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
	rig_init(&test->rig, test->fabric);
	return 0;
}

static void run(void **state)
{
	struct scenario_case *test = *state;

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

static size_t select_tests(struct scenario_case *cases, struct CMUnitTest *tests, const char *fabric,
			   const char *name)
{
	size_t count = 0;

	for (size_t f = 0; f < FABRIC_COUNT; f++) {
		for (size_t s = 0; s < SCENARIO_COUNT; s++) {
			struct scenario_case *test = &cases[count];

			if (!is_wanted(fabric, fabrics[f]) || !is_wanted(name, scenarios[s].name) ||
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

int main(int argc, char **argv)
{
	static struct scenario_case cases[FABRIC_COUNT * SCENARIO_COUNT];
	static struct CMUnitTest tests[FABRIC_COUNT * SCENARIO_COUNT];
	size_t count = select_tests(cases, tests, argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL);

	if (count == 0) {
		fprintf(stderr, "usage: %s [FABRIC [SCENARIO]]\n", argv[0]);
		return 2;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return _cmocka_run_group_tests("scenarios", tests, count, NULL, NULL) == 0 ? 0 : 1;
}
