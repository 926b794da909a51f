/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_handover.c -- the tables of the hand-over are those of docs/protocol.md and of the model, no more and no less
 *
 * Both texts are read line by line, so that they and the code cannot part in silence.
 */
#include "migration/handover.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROTOCOL "docs/protocol.md"
#define MODEL "docs/model/handover.pml"
#define STATES_MAX 16u
#define EVENTS_MAX 16u

/* [from][event]: 1 + to, 0: no such transition */
struct matrix {
	unsigned int next[STATES_MAX][EVENTS_MAX];
};

static unsigned int find_name(const char *const *names, unsigned int count, const char *name, const char *line)
{
	for (unsigned int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	fail_msg("nothing in the code is called %s: %s", name, line);
	return 0;
}

static void add(struct matrix *matrix, const struct handover_end *end, const char *from, const char *event,
		const char *to, const char *line)
{
	const unsigned int f = find_name(end->state, end->states, from, line);
	const unsigned int e = find_name(end->event, end->events, event, line);
	const unsigned int t = find_name(end->state, end->states, to, line);

	if (matrix->next[f][e] != 0 && matrix->next[f][e] != t + 1)
		fail_msg("two ways for one event: %s", line);
	matrix->next[f][e] = t + 1;
}

static void matrix_of_code(const struct handover_end *end, struct matrix *matrix)
{
	memset(matrix, 0, sizeof(*matrix));
	assert_true(end->states <= STATES_MAX && end->events <= EVENTS_MAX);
	for (unsigned int i = 0; i < end->transitions; i++) {
		const struct handover_transition *t = &end->transition[i];

		assert_int_equal(matrix->next[t->from][t->event], 0);
		matrix->next[t->from][t->event] = t->to + 1;
	}
}

static FILE *open_text(const char *path)
{
	FILE *file = fopen(path, "r");

	if (file == NULL)
		fail_msg("%s: %s", path, strerror(errno));
	return file;
}

/* "    FROM, FROM --EVENT--> TO  words" */
static void take_diagram_line(struct matrix *matrix, const struct handover_end *end, const char *line)
{
	const char *arrow = strstr(line, " --");
	char event[32], to[32], from[128];
	char *rest = from;

	if (arrow == NULL || sscanf(arrow, " --%31[A-Z]--> %31[A-Z_]", event, to) != 2)
		return;
	snprintf(from, sizeof(from), "%.*s", (int)(arrow - line), line);
	for (char *name = strtok_r(from, " ,", &rest); name != NULL; name = strtok_r(NULL, " ,", &rest))
		add(matrix, end, name, event, to, line);
}

/* The lines below @title, up to the empty one. */
static void matrix_of_diagram(const char *title, const struct handover_end *end, struct matrix *matrix)
{
	FILE *file = open_text(PROTOCOL);
	char line[512];
	bool inside = false;

	memset(matrix, 0, sizeof(*matrix));
	while (fgets(line, sizeof(line), file) != NULL) {
		if (line[0] == '\n')
			inside = false;
		if (inside)
			take_diagram_line(matrix, end, line);
		if (strncmp(line, title, strlen(title)) == 0)
			inside = true;
	}
	fclose(file);
}

/* "@letter(FROM, EVENT, TO)", anywhere in a line */
static void matrix_of_model(char letter, const struct handover_end *end, struct matrix *matrix)
{
	FILE *file = open_text(MODEL);
	char line[512], format[64], from[32], event[32], to[32];

	memset(matrix, 0, sizeof(*matrix));
	snprintf(format, sizeof(format), "%c(%%31[A-Z_], %%31[A-Z], %%31[A-Z_])", letter);
	while (fgets(line, sizeof(line), file) != NULL)
		for (const char *at = line; (at = strchr(at, letter)) != NULL; at++)
			if (sscanf(at, format, from, event, to) == 3)
				add(matrix, end, from, event, to, line);
	fclose(file);
}

static void expect_equal(const struct handover_end *end, const struct matrix *code, const struct matrix *text,
			 const char *path)
{
	for (unsigned int f = 0; f < end->states; f++)
		for (unsigned int e = 0; e < end->events; e++)
			if (code->next[f][e] != text->next[f][e])
				fail_msg("%s, event %s: the code goes to %s, %s to %s", end->state[f],
					 end->event[e],
					 code->next[f][e] ? end->state[code->next[f][e] - 1] : "nowhere", path,
					 text->next[f][e] ? end->state[text->next[f][e] - 1] : "nowhere");
}

static void test_handover_next__is_the_diagram_of_the_protocol(void **state)
{
	struct matrix code, diagram;

	(void)state;
	matrix_of_code(&handover_source, &code);
	matrix_of_diagram("    SOURCE  ", &handover_source, &diagram);
	expect_equal(&handover_source, &code, &diagram, PROTOCOL);

	matrix_of_code(&handover_destination, &code);
	matrix_of_diagram("    DESTINATION  ", &handover_destination, &diagram);
	expect_equal(&handover_destination, &code, &diagram, PROTOCOL);
}

/* The model begins when the guest is about to be paused. */
static void test_handover_next__is_what_the_model_goes_through(void **state)
{
	struct matrix code, model;

	(void)state;
	matrix_of_code(&handover_source, &code);
	memset(code.next[DECANT_STATE_NEW], 0, sizeof(code.next[0]));
	memset(code.next[DECANT_STATE_CONNECTING], 0, sizeof(code.next[0]));
	matrix_of_model('S', &handover_source, &model);
	expect_equal(&handover_source, &code, &model, MODEL);

	matrix_of_code(&handover_destination, &code);
	matrix_of_model('D', &handover_destination, &model);
	expect_equal(&handover_destination, &code, &model, MODEL);
}

static void test_handover_next__refuses_what_has_no_place(void **state)
{
	struct decant_error err;

	(void)state;
	assert_int_equal(handover_next(&handover_source, DECANT_STATE_SWITCHOVER, SOURCE_READY, &err),
			 DECANT_STATE_GO);
	assert_int_equal(handover_next(&handover_source, DECANT_STATE_GO, SOURCE_CANCEL, &err), -EINVAL);
	assert_string_equal(err.msg, "hand-over: CANCEL has no place in state GO");
	assert_int_equal(handover_next(&handover_source, DECANT_STATE_GO, SOURCE_FAIL, NULL), -EINVAL);
	assert_int_equal(handover_next(&handover_source, DECANT_STATE_COMPLETED, SOURCE_NEVER, NULL), -EINVAL);
	assert_int_equal(handover_next(&handover_destination, DESTINATION_NEVER, DESTINATION_GO, NULL), -EINVAL);
	assert_int_equal(handover_next(&handover_destination, DESTINATION_FILLING, DESTINATION_GO, NULL), -EINVAL);
}

/* Whatever way is taken: the source comes to run again after GO by NEVER or FORCE alone, and NEVER is for good. */
static void test_handover_next__leaves_no_way_to_two_guests(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < handover_source.transitions; i++) {
		const struct handover_transition *t = &handover_source.transition[i];

		if (t->from == DECANT_STATE_GO || t->from == DECANT_STATE_IN_DOUBT)
			assert_true(!handover_source_runs((enum decant_migration_state)t->to) ||
				    t->event == SOURCE_NEVER || t->event == SOURCE_FORCE);
		assert_true(t->from != DECANT_STATE_COMPLETED && t->from != DECANT_STATE_FAILED);
	}
	for (unsigned int i = 0; i < handover_destination.transitions; i++) {
		const struct handover_transition *t = &handover_destination.transition[i];

		assert_true(t->from != DESTINATION_NEVER && t->from != DESTINATION_RUNNING);
		if (handover_fate((enum handover_destination)t->to) == WIRE_FATE_RUNNING)
			assert_true(t->from == DESTINATION_STARTING && t->event == DESTINATION_ENTER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handover_next__is_the_diagram_of_the_protocol),
		cmocka_unit_test(test_handover_next__is_what_the_model_goes_through),
		cmocka_unit_test(test_handover_next__refuses_what_has_no_place),
		cmocka_unit_test(test_handover_next__leaves_no_way_to_two_guests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
