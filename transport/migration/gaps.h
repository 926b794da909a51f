/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gaps.h -- joins runs of dirty pages where the clean pages between them cost less to send than another write does
 *
 * Only pages that were sent in this epoch may fill a gap: they are there at both ends, neither a hole nor unregistered, and what is sent
 * again of them is no older than what was. The caller hands in one chunk at a time, so no run crosses a stripe.
 */
#ifndef MIGRATION_GAPS_H
#define MIGRATION_GAPS_H

#include <stdint.h>

#define GAP_PAGES_MAX 16u

/* gaps_worth() -- the longest gap that is worth filling, in pages: what @rate_Bps carries in the @write_ns of one write */
uint64_t gaps_worth(uint64_t rate_Bps, uint64_t write_ns);

/* gaps_fill() -- sets the bits of gaps of up to @most pages that are all in @sent; returns how many */
uint64_t gaps_fill(uint64_t *bitmap, const uint64_t *sent, uint64_t pages, uint64_t most);

#endif
