/* SPDX-License-Identifier: BSD-2-Clause */
/* matrix_table.c -- the messages, the faults, and what must become of a migration */
#include "integration/matrix.h"

#include <string.h>

#include "support/lib_calls.h"
#include "wire/wire.h"

#define FORTH RELAY_FORTH
#define BACK RELAY_BACK

/* In the order of docs/protocol.md. */
const struct matrix_row matrix_rows[] = {
	{ "HELLO", WIRE_HELLO, FORTH, 0, MATRIX_BEFORE, 0 },
	{ "CHALLENGE", WIRE_CHALLENGE, BACK, 0, MATRIX_BEFORE, MATRIX_KEY },
	{ "PROOF", WIRE_PROOF, FORTH, 0, MATRIX_BEFORE, MATRIX_KEY },
	{ "PROVED", WIRE_PROVED, BACK, 0, MATRIX_BEFORE, MATRIX_KEY },
	{ "WELCOME", WIRE_WELCOME, BACK, 0, MATRIX_BEFORE, 0 },
	{ "REGIONS", WIRE_REGIONS, FORTH, 0, MATRIX_BEFORE, 0 },
	{ "SHAPE", WIRE_SHAPE, FORTH, 0, MATRIX_BEFORE, 0 },
	{ "PREPARED", WIRE_PREPARED, BACK, 0, MATRIX_BEFORE, 0 },
	{ "OPEN", WIRE_OPEN, FORTH, 0, MATRIX_BEFORE, 0 },
	{ "OPENED", WIRE_OPENED, BACK, 0, MATRIX_BEFORE, 0 },
	{ "REGISTER", WIRE_REGISTER, FORTH, 0, MATRIX_BEFORE, 0 },
	{ "GRANT", WIRE_GRANT, BACK, 0, MATRIX_BEFORE, 0 },
	{ "DATA", RELAY_DATA, FORTH, 0, MATRIX_DATA, MATRIX_TCP },
	{ "MARKER", RELAY_MARKER, FORTH, 0, MATRIX_DATA, MATRIX_TCP },
	{ "PING", WIRE_PING, FORTH, 3, MATRIX_BEFORE, MATRIX_TIME },
	{ "PONG", WIRE_PONG, BACK, 2, MATRIX_BEFORE, MATRIX_TIME },
	{ "PING-back", WIRE_PING, BACK, 3, MATRIX_BEFORE, MATRIX_TIME },
	{ "PONG-forth", WIRE_PONG, FORTH, 2, MATRIX_BEFORE, MATRIX_TIME },
	{ "BARRIER_ACK", WIRE_BARRIER_ACK, BACK, 0, MATRIX_BEFORE, 0 },
	{ "LOST", WIRE_LOST, BACK, 0, MATRIX_BEFORE, MATRIX_NO_RAILS | MATRIX_RDMA },
	{ "FENCE", WIRE_FENCE, FORTH, 0, MATRIX_BEFORE, MATRIX_BREAK },
	{ "FENCED", WIRE_FENCED, BACK, 0, MATRIX_BEFORE, MATRIX_BREAK },
	{ "OPEN-again", WIRE_OPEN, FORTH, 1, MATRIX_BEFORE, MATRIX_BREAK },
	{ "OPENED-again", WIRE_OPENED, BACK, 1, MATRIX_BEFORE, MATRIX_BREAK },
	{ "STATE", WIRE_STATE, FORTH, 0, MATRIX_PAUSED, 0 },
	{ "PAGES", WIRE_PAGES, FORTH, 0, MATRIX_PAUSED, MATRIX_INLINE },
	{ "HASHES", WIRE_HASHES, FORTH, 0, MATRIX_BEFORE, MATRIX_VERIFY },
	{ "VERIFY", WIRE_VERIFY, FORTH, 0, MATRIX_BEFORE, MATRIX_VERIFY },
	{ "VERIFIED", WIRE_VERIFIED, BACK, 0, MATRIX_BEFORE, MATRIX_VERIFY },
	{ "HANDOVER", WIRE_HANDOVER, FORTH, 0, MATRIX_PAUSED, 0 },
	{ "READY", WIRE_READY, BACK, 0, MATRIX_READY, 0 },
	{ "GO", WIRE_GO, FORTH, 0, MATRIX_GO, 0 },
	{ "RUNNING", WIRE_RUNNING, BACK, 0, MATRIX_RUNNING, 0 },
	{ "VERDICT_ASK", WIRE_VERDICT_ASK, FORTH, 0, MATRIX_AFTER, MATRIX_VERDICT },
	{ "VERDICT", WIRE_VERDICT, BACK, 0, MATRIX_AFTER, MATRIX_VERDICT },
	{ "BYE", WIRE_BYE, FORTH, 0, MATRIX_AFTER, 0 },
	{ "BYE-back", WIRE_BYE, BACK, 0, MATRIX_AFTER, 0 },
	{ "HELLO-query", WIRE_HELLO, FORTH, 0, MATRIX_ASKING, MATRIX_LOSE_RUNNING },
	{ "WELCOME-query", WIRE_WELCOME, BACK, 0, MATRIX_ASKING, MATRIX_LOSE_RUNNING },
	{ "CHALLENGE-query", WIRE_CHALLENGE, BACK, 0, MATRIX_ASKING, MATRIX_LOSE_RUNNING | MATRIX_KEY },
	{ "PROOF-query", WIRE_PROOF, FORTH, 0, MATRIX_ASKING, MATRIX_LOSE_RUNNING | MATRIX_KEY },
	{ "PROVED-query", WIRE_PROVED, BACK, 0, MATRIX_ASKING, MATRIX_LOSE_RUNNING | MATRIX_KEY },
	{ "STATUS", WIRE_STATUS, BACK, 0, MATRIX_ASKING, MATRIX_LOSE_RUNNING },
	{ "ABORT", WIRE_ABORT, FORTH, 0, MATRIX_FAILING, MATRIX_CANCEL },
	{ "ERROR", WIRE_ERROR, BACK, 0, MATRIX_FAILING, MATRIX_LOAD_FAILS },
};
const size_t matrix_row_count = sizeof(matrix_rows) / sizeof(matrix_rows[0]);

#define WAY(way) (1u << (way))

/* BEFORE, PAUSED, DATA, READY, GO, RUNNING, AFTER, ASKING, FAILING */
#define LOSES                                               \
	{                                                   \
		"S", "S", "M", "S", "S", "M", "M", "M", "S" \
	}
#define KEEPS                                               \
	{                                                   \
		"S", "S", "M", "S", "M", "M", "M", "M", "S" \
	}
#define NOTHING                                             \
	{                                                   \
		"M", "M", "M", "M", "M", "M", "M", "M", "S" \
	}

const struct matrix_column matrix_columns[] = {
	{ .name = "cut", .act = RELAY_CUT, .expected = LOSES },
	{ .name = "cut-after", .act = RELAY_CUT_AFTER, .expected = KEEPS },
	{ .name = "reset", .act = RELAY_RESET, .expected = LOSES },
	{ .name = "reset-inside", .act = RELAY_HALF, .expected = LOSES },
	{ .name = "its-way-ends", .act = RELAY_END_WAY, .expected = LOSES },
	{ .name = "other-way-ends", .act = RELAY_END_OTHER, .expected = KEEPS },

	{ .name = "slow", .fault = MATRIX_HOLD, .ways = MATRIX_BOTH, .expected = NOTHING },
	{ .name = "slow-forth", .fault = MATRIX_HOLD, .ways = WAY(FORTH), .expected = NOTHING },
	{ .name = "slow-back", .fault = MATRIX_HOLD, .ways = WAY(BACK), .expected = NOTHING },
	{ .name = "slow-data", .fault = MATRIX_HOLD_DATA, .expected = { [MATRIX_DATA] = "M" } },
	{ .name = "hole",
	  .fault = MATRIX_HOLD,
	  .ways = MATRIX_BOTH,
	  .until = MATRIX_GIVEN_UP,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { "S", "S", "S", "S", "DS", "DM", "M", "DM", "S" } },
	{ .name = "hole-forth",
	  .fault = MATRIX_HOLD,
	  .ways = WAY(FORTH),
	  .until = MATRIX_GIVEN_UP,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { "S", "S", "S", "DS", "DS", "M", "M", "DM|M", "S" } },
	{ .name = "hole-back",
	  .fault = MATRIX_HOLD,
	  .ways = WAY(BACK),
	  .until = MATRIX_GIVEN_UP,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { "S", "S", "S", "S", "DM", "DM", "M", "DM", "S" } },
	{ .name = "hole-data",
	  .fault = MATRIX_HOLD_DATA,
	  .until = MATRIX_GIVEN_UP,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { [MATRIX_DATA] = "M|S" } },
	{ .name = "hole-for-good",
	  .fault = MATRIX_HOLD,
	  .ways = MATRIX_BOTH,
	  .until = MATRIX_FORCED,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { "S", "S", "S", "S", "DS", "DM", "M", "DM", "S" } },
	{ .name = "beyond-switchover-timer",
	  .fault = MATRIX_HOLD,
	  .ways = MATRIX_BOTH,
	  .until = MATRIX_GIVEN_UP,
	  .timers = MATRIX_SHORT_SWITCHOVER,
	  .expected = { [MATRIX_PAUSED] = "S", [MATRIX_READY] = "S" } },
	{ .name = "beyond-lease",
	  .fault = MATRIX_HOLD,
	  .ways = MATRIX_BOTH,
	  .until = MATRIX_REFUSED,
	  .timers = MATRIX_SHORT_LEASE,
	  .expected = { [MATRIX_READY] = "S", [MATRIX_GO] = "S" } },

	{ .name = "repeated", .fault = MATRIX_REPEAT, .expected = NOTHING },
	{ .name = "second-hello", .fault = MATRIX_REPEAT_HELLO, .expected = NOTHING },

	{ .name = "source-frozen", .fault = MATRIX_FREEZE, .end = LIB_SOURCE, .expected = NOTHING },
	{ .name = "source-frozen-long",
	  .fault = MATRIX_FREEZE,
	  .end = LIB_SOURCE,
	  .until = MATRIX_REFUSED,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { "S", "S", "S", "S", "M", "M", "M", "DM|M", "S" } },
	{ .name = "destination-frozen", .fault = MATRIX_FREEZE, .end = LIB_DESTINATION, .expected = NOTHING },
	{ .name = "destination-frozen-long",
	  .fault = MATRIX_FREEZE,
	  .end = LIB_DESTINATION,
	  .until = MATRIX_GIVEN_UP,
	  .timers = MATRIX_IMPATIENT,
	  .expected = { "S", "S", "S", "DS", "DS", "M", "M", "DM|M", "S" } },

	{ .name = "cancel",
	  .fault = MATRIX_CANCEL_IT,
	  .expected = { "S", "S", "S", "S", "M", "M", "M", "M", "S" } },
	{ .name = "receiver-stopped",
	  .fault = MATRIX_STOP_RECEIVER,
	  .expected = { "S|M", "S|M", "S|M", "S|M", "S|M", "M", "M", "M", "S" } },
};
const size_t matrix_column_count = sizeof(matrix_columns) / sizeof(matrix_columns[0]);

static bool is_absent(const char *fabric, const struct matrix_row *row)
{
	if ((row->needs & MATRIX_TCP) && strcmp(fabric, "tcp") != 0)
		return true;
	return (row->needs & MATRIX_RDMA) && strcmp(fabric, "rdma") != 0;
}

const char *matrix_expected(const char *fabric, const struct matrix_row *row, const struct matrix_column *column)
{
	/* who comes second with the same id is refused, and it is not said which of two HELLOs is read first */
	if (row->type == WIRE_HELLO && row->phase == MATRIX_BEFORE &&
	    (column->fault == MATRIX_REPEAT || column->fault == MATRIX_REPEAT_HELLO))
		return "S|M";
	/* frozen for a time, and not until the other has noticed (matrix_cell.c) */
	if (column->fault == MATRIX_FREEZE && column->until != MATRIX_SHORT && strcmp(fabric, "loop") == 0 &&
	    row->phase < MATRIX_RUNNING && !is_absent(fabric, row))
		return "S|M|DS|DM";
	return is_absent(fabric, row) ? NULL : column->expected[row->phase];
}
