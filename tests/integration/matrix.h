/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matrix.h -- every message of a migration (rows) and every fault that can meet it (columns)
 *
 * A cell is one migration, and one fault at one message of it. What must become of it is in the table; that exactly one
 * guest runs, and with its memory whole, must hold in every cell.
 */
#ifndef INTEGRATION_MATRIX_H
#define INTEGRATION_MATRIX_H

#include <stddef.h>
#include <stdint.h>

#include "support/relay.h"

/* Where a message is, seen from the point of no return: faults of one kind have the same end. */
enum matrix_phase {
	MATRIX_BEFORE,  /* READY */
	MATRIX_PAUSED,  /* the same, and the switchover timer runs */
	MATRIX_DATA,    /* a message of the data channels, which can be had anew */
	MATRIX_READY,   /* READY */
	MATRIX_GO,      /* GO */
	MATRIX_RUNNING, /* RUNNING */
	MATRIX_AFTER,   /* RUNNING */
	MATRIX_ASKING,  /* QUERY, RUNNING having been lost */
	MATRIX_FAILING, /* the migration ends in any case */
	MATRIX_PHASES,
};

/* What a row's message needs to be said at all. */
enum matrix_need {
	MATRIX_VERIFY = 1,      /* --verify */
	MATRIX_VERDICT = 2,     /* the guest is asked for its verdict */
	MATRIX_INLINE = 4,      /* a page in a granule never asked for */
	MATRIX_BREAK = 8,       /* the data channels break */
	MATRIX_CANCEL = 16,     /* it is cancelled on the way */
	MATRIX_LOAD_FAILS = 32, /* the state cannot be loaded */
	MATRIX_LOSE_RUNNING = 64,
	MATRIX_NO_RAILS = 128, /* the destination cannot open the epoch over rails */
	MATRIX_TCP = 256,      /* only there */
	MATRIX_RDMA = 512,
	MATRIX_KEY = 2048,  /* both ends have one */
	MATRIX_TIME = 1024, /* pre-copy goes on until it is said */
};

struct matrix_row {
	const char *name;
	uint16_t type;
	enum relay_way way;
	unsigned skip;
	enum matrix_phase phase;
	unsigned needs;
};

enum matrix_fault {
	MATRIX_ACT,       /* relay_act */
	MATRIX_HOLD,      /* ways, until */
	MATRIX_HOLD_DATA, /* the data channels alone */
	MATRIX_FREEZE,    /* an end, until */
	MATRIX_REPEAT,    /* what the source has said, over another connection */
	MATRIX_REPEAT_HELLO,
	MATRIX_CANCEL_IT,
	MATRIX_STOP_RECEIVER,
};

/* How long it lasts. */
enum matrix_until {
	MATRIX_SHORT,    /* shorter than any timer */
	MATRIX_GIVEN_UP, /* until the source has given up */
	MATRIX_REFUSED,  /* until the destination has, if it may */
	MATRIX_FORCED,   /* for good: until an operator has settled it */
};

/* Timers that are short. All others are longer than any machine is busy. */
enum matrix_timers {
	MATRIX_PATIENT,
	MATRIX_IMPATIENT, /* peer timeouts and lease */
	MATRIX_SHORT_SWITCHOVER,
	MATRIX_SHORT_LEASE,
};

#define MATRIX_BOTH 3u /* bits of enum relay_way */

struct matrix_column {
	const char *name;
	enum matrix_fault fault;
	enum relay_act act;
	unsigned ways;
	int end; /* enum lib_end */
	enum matrix_until until;
	enum matrix_timers timers;
	/* S: it stays, M: it moves, each after being in doubt if D stands before it; NULL: nothing to be seen there */
	const char *expected[MATRIX_PHASES];
};

extern const struct matrix_row matrix_rows[];
extern const size_t matrix_row_count;
extern const struct matrix_column matrix_columns[];
extern const size_t matrix_column_count;

/* matrix_expected() -- of one cell; NULL: there is none */
const char *matrix_expected(const char *fabric, const struct matrix_row *row, const struct matrix_column *column);

/* matrix_cell() -- run it: 0 and what came of it in @text, or -1 and what is wrong. Once in a process. */
int matrix_cell(const char *fabric, const struct matrix_row *row, const struct matrix_column *column, char *text,
		size_t size);

#endif
