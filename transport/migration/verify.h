/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify.h -- --verify: both ends hash every page and compare, before READY
 *
 * The source sends the hashes of the pages it has; a page it does not mention is a hole there and must be a hole, or zero,
 * at the destination. Nobody writes to the memory meanwhile.
 */
#ifndef MIGRATION_VERIFY_H
#define MIGRATION_VERIFY_H

#include "migration/mover.h"
#include "wire/wire.h"
#include <decant/memory.h>
#include <stdint.h>

/* verify_source() -- send all hashes, and wait for the answer. -EILSEQ: they differ, and where first. */
int verify_source(struct decant_mover *mover, const struct decant_memory *memory, struct decant_error *err);

/* The destination's side of it. */
struct verify;

int verify_new(const struct decant_memory *memory, struct verify **verify, struct decant_error *err);

/* verify_take() -- compare the pages of one HASHES message; -EPROTO for a wrong one */
int verify_take(struct verify *verify, const struct peer_message *message, struct decant_error *err);

/* verify_finish() -- look at the pages that no message has named; the result of all of it */
int verify_finish(struct verify *verify, struct wire_verified *verified, struct decant_error *err);

void verify_free(struct verify *verify);

#endif
