/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matrix.c -- every kind of fault at every message of a migration
 *
 * matrix FABRIC [EVERY | ROW [COLUMN]]: of all cells each EVERY-th, along the diagonals, so that every row and every column is tried;
 * or those of one row, or one cell. Where everything takes longer a share of what is asked for, if no row is named. RIG_LOG=1 shows what both ends log.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "integration/matrix.h"
#include "integration/pair.h"
#include "support/crew.h"
#include "support/slow.h"

#define CELLS_MAX 2048u
#define SHARE_WHERE_SLOW 6u

struct place {
	const struct matrix_row *row;
	const struct matrix_column *column;
};

struct plan {
	const char *fabric;
	size_t count;
	struct place place[CELLS_MAX];
};

static void name_cell(void *opaque, size_t i, char *text, size_t size)
{
	const struct plan *plan = opaque;

	snprintf(text, size, "%s/%s/%s", plan->fabric, plan->place[i].row->name, plan->place[i].column->name);
}

static int run_cell(void *opaque, size_t i, char *text, size_t size)
{
	const struct plan *plan = opaque;

	return matrix_cell(plan->fabric, plan->place[i].row, plan->place[i].column, text, size);
}

static bool is_wanted(size_t row, size_t column, int argc, char **argv)
{
	size_t every = argc > 2 && isdigit((unsigned char)argv[2][0]) ? strtoul(argv[2], NULL, 10) : 1;

	if (slow_here())
		every *= SHARE_WHERE_SLOW;
	if (argc <= 2 || isdigit((unsigned char)argv[2][0]))
		return (row + column) % every == 0;
	return strcmp(argv[2], matrix_rows[row].name) == 0 &&
	       (argc <= 3 || strcmp(argv[3], matrix_columns[column].name) == 0);
}

static void choose(struct plan *plan, int argc, char **argv)
{
	for (size_t row = 0; row < matrix_row_count; row++)
		for (size_t column = 0; column < matrix_column_count; column++) {
			if (!is_wanted(row, column, argc, argv) ||
			    matrix_expected(plan->fabric, &matrix_rows[row], &matrix_columns[column]) == NULL)
				continue;
			plan->place[plan->count++] = (struct place){ &matrix_rows[row], &matrix_columns[column] };
		}
}

int main(int argc, char **argv)
{
	static struct plan plan;
	const struct crew crew = {
		/* most of them wait, most of the time */
		.hands = slow_here() ? 6 : 14,
		.seconds = slow_here() ? 600 : 240,
		.name = name_cell,
		.run = run_cell,
		.opaque = &plan,
	};
	struct crew all = crew;

	if (argc < 2) {
		fprintf(stderr, "usage: %s loop|tcp|rdma [EVERY | ROW [COLUMN]]\n", argv[0]);
		return 2;
	}
	plan.fabric = argv[1];
	choose(&plan, argc, argv);
	all.count = plan.count;
	return plan.count > 0 && crew_run(&all) == 0 ? 0 : 1;
}
