/* SPDX-License-Identifier: BSD-2-Clause */
/* move_figures.h -- what QEMU says of its migration: the answer to query-migrate, of which nothing is believed unseen */
#ifndef QEMU_MOVE_FIGURES_H
#define QEMU_MOVE_FIGURES_H

#include <decant/stats.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define MOVE_FIGURES_TEXT_MAX 256

/* QEMU's words for where a migration is; what is not known is taken for active. */
enum move_status {
	MOVE_STATUS_NONE,
	MOVE_STATUS_SETUP,
	MOVE_STATUS_ACTIVE,
	MOVE_STATUS_PRE_SWITCHOVER,
	MOVE_STATUS_DEVICE,
	MOVE_STATUS_CANCELLING,
	MOVE_STATUS_COMPLETED, /* these three are ends */
	MOVE_STATUS_FAILED,
	MOVE_STATUS_CANCELLED,
};

struct move_figures {
	enum move_status status;
	char error[MOVE_FIGURES_TEXT_MAX]; /* why it failed, "" */
	uint64_t ram_bytes, remaining_bytes, transferred_bytes;
	uint64_t normal_pages, zero_pages; /* of 4 KiB, as QEMU found them */
	uint64_t syncs;                    /* of the dirty bitmap: passes */
	uint64_t rate_Bps, dirty_rate_Bps;
	uint32_t throttle_percent; /* auto-converge */
	/* 0: not said */
	uint64_t setup_ns, total_ns, downtime_ns, expected_downtime_ns;
};

/* move_status() -- of QEMU's word for it */
enum move_status move_status(const char *word);
bool move_status_is_end(enum move_status status);

/* move_figures_take() -- of an answer to query-migrate; what it does not have keeps its value */
void move_figures_take(struct move_figures *figures, struct json_object *answer);

/* move_figures_show() -- as the figures of any migration: passes, rates, forecasts, progress */
void move_figures_show(const struct move_figures *figures, struct decant_stats *stats);

#endif
