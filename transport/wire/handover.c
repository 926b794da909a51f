/* SPDX-License-Identifier: BSD-2-Clause */
/* handover.c -- messages that carry a VM's shape and state, and hand it over */
#include "wire/cursor.h"
#include "wire/layout.h"

#include <decant/state.h>
#include <decant/stats.h>

static void chunk_fields(struct cursor *cursor, struct wire_chunk *chunk)
{
	cursor_u32(cursor, "total", &chunk->total);
	cursor_check(cursor, chunk->total <= DECANT_STATE_TOTAL_MAX, "total", "beyond the limit");
	cursor_u32(cursor, "offset", &chunk->offset);
	cursor_u32(cursor, "length", &chunk->length);
	cursor_reserved(cursor, 4);
	cursor_check(cursor, chunk->length <= WIRE_CHUNK_MAX, "length", "beyond the limit");
	cursor_check(cursor, chunk->length > 0 || chunk->total == 0, "length", "0 in a part of something");
	cursor_check(cursor, chunk->offset <= chunk->total && chunk->length <= chunk->total - chunk->offset,
		     "offset", "ends beyond the total");
	cursor_tail(cursor, "data", &chunk->data, chunk->length);
}
WIRE_DEFINE(chunk, "SHAPE or STATE")

static void prepared_fields(struct cursor *cursor, struct wire_prepared *prepared)
{
	cursor_u64(cursor, "save_ns", &prepared->save_ns);
	cursor_u64(cursor, "load_ns", &prepared->load_ns);
}
WIRE_DEFINE(prepared, "PREPARED")

static void handover_fields(struct cursor *cursor, struct wire_handover *handover)
{
	cursor_u64(cursor, "left_ns", &handover->left_ns);
	cursor_i64(cursor, "clock_offset_ns", &handover->clock_offset_ns);
	cursor_u64(cursor, "clock_error_ns", &handover->clock_error_ns);
}
WIRE_DEFINE(handover, "HANDOVER")

static void ready_fields(struct cursor *cursor, struct wire_ready *ready)
{
	cursor_u32(cursor, "lease_ms", &ready->lease_ms);
	cursor_check(cursor, ready->lease_ms >= 1, "lease_ms", "0 is no lease");
	cursor_check(cursor, ready->lease_ms <= WIRE_LEASE_MS_MAX, "lease_ms", "beyond its limit");
	cursor_reserved(cursor, 4);
	cursor_u64(cursor, "load_ns", &ready->load_ns);
	cursor_u64(cursor, "allocated", &ready->allocated);
}
WIRE_DEFINE(ready, "READY")

static void running_fields(struct cursor *cursor, struct wire_running *running)
{
	cursor_u64(cursor, "entered_ns", &running->entered_ns);
	cursor_u64(cursor, "cpu_ns", &running->cpu_ns);
}
WIRE_DEFINE(running, "RUNNING")

static void verdict_fields(struct cursor *cursor, struct wire_verdict *verdict)
{
	cursor_u32(cursor, "status", &verdict->status);
	cursor_check(cursor, verdict->status <= DECANT_VERDICT_BAD, "status", "unknown in this version");
	cursor_reserved(cursor, 4);
	cursor_u64(cursor, "pause_ns", &verdict->pause_ns);
	cursor_u64(cursor, "work_rate", &verdict->work_rate);
	cursor_text(cursor, "text", verdict->text, sizeof(verdict->text));
}
WIRE_DEFINE(verdict, "VERDICT")
