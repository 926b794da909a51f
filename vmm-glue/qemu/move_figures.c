/* SPDX-License-Identifier: BSD-2-Clause */
/* move_figures.c -- what QEMU says of its migration */
#include "qemu/move_figures.h"
#include "qemu/json.h"

#include "util/clock.h"

#include <stdio.h>
#include <string.h>

#define MEGABIT 125000.0 /* bytes */
#define RATE_MAX 1e15
#define PERMILLE_UNTIL_OVER 999

static const struct {
	const char *word;
	enum move_status status;
} move_words[] = {
	{ "none", MOVE_STATUS_NONE },           { "setup", MOVE_STATUS_SETUP },
	{ "wait-unplug", MOVE_STATUS_SETUP },   { "pre-switchover", MOVE_STATUS_PRE_SWITCHOVER },
	{ "device", MOVE_STATUS_DEVICE },       { "cancelling", MOVE_STATUS_CANCELLING },
	{ "completed", MOVE_STATUS_COMPLETED }, { "failed", MOVE_STATUS_FAILED },
	{ "cancelled", MOVE_STATUS_CANCELLED },
};

enum move_status move_status(const char *word)
{
	for (size_t i = 0; i < sizeof(move_words) / sizeof(move_words[0]); i++)
		if (strcmp(word, move_words[i].word) == 0)
			return move_words[i].status;
	return MOVE_STATUS_ACTIVE;
}

bool move_status_is_end(enum move_status status)
{
	return status >= MOVE_STATUS_COMPLETED;
}

static void move_take_ms(struct json_object *answer, const char *key, uint64_t *ns)
{
	const uint64_t ms = json_get_number(answer, key, *ns / NSEC_PER_MSEC);

	if (ms < UINT64_MAX / NSEC_PER_MSEC)
		*ns = ms * NSEC_PER_MSEC;
}

static void move_take_ram(struct move_figures *figures, struct json_object *ram)
{
	const double megabits = json_get_real(ram, "mbps", 0);
	const uint64_t page = json_get_number(ram, "page-size", 4096);
	const uint64_t dirty = json_get_number(ram, "dirty-pages-rate", 0);

	figures->ram_bytes = json_get_number(ram, "total", figures->ram_bytes);
	figures->remaining_bytes = json_get_number(ram, "remaining", figures->remaining_bytes);
	figures->transferred_bytes = json_get_number(ram, "transferred", figures->transferred_bytes);
	figures->normal_pages = json_get_number(ram, "normal", figures->normal_pages);
	figures->zero_pages = json_get_number(ram, "duplicate", figures->zero_pages);
	figures->syncs = json_get_number(ram, "dirty-sync-count", figures->syncs);
	figures->rate_Bps = megabits > 0 && megabits * MEGABIT < RATE_MAX ? (uint64_t)(megabits * MEGABIT) : 0;
	figures->dirty_rate_Bps = page > 0 && dirty < (uint64_t)RATE_MAX / page ? dirty * page : 0;
}

void move_figures_take(struct move_figures *figures, struct json_object *answer)
{
	struct json_object *ram = NULL;
	const uint64_t throttle = json_get_number(answer, "cpu-throttle-percentage", 0);

	figures->status = move_status(json_get_text(answer, "status", "none"));
	snprintf(figures->error, sizeof(figures->error), "%s", json_get_text(answer, "error-desc", ""));
	move_take_ms(answer, "setup-time", &figures->setup_ns);
	move_take_ms(answer, "total-time", &figures->total_ns);
	move_take_ms(answer, "downtime", &figures->downtime_ns);
	move_take_ms(answer, "expected-downtime", &figures->expected_downtime_ns);
	figures->throttle_percent = throttle <= 100 ? (uint32_t)throttle : 0;
	if (json_object_object_get_ex(answer, "ram", &ram) && json_object_is_type(ram, json_type_object))
		move_take_ram(figures, ram);
}

/* In the first pass QEMU has no rate of writing, and its expected downtime is no more than its limit. */
static void move_show_forecast(const struct move_figures *figures, struct decant_stats *stats)
{
	const uint64_t rate = figures->rate_Bps, dirty = figures->dirty_rate_Bps;

	stats->forecast_downtime_ns = 0;
	stats->forecast_total_ns = 0;
	if (rate <= dirty)
		return;
	stats->forecast_total_ns =
		(uint64_t)((double)figures->remaining_bytes / (double)(rate - dirty) * (double)NSEC_PER_SEC);
	if (figures->syncs > 1)
		stats->forecast_downtime_ns = figures->expected_downtime_ns;
}

void move_figures_show(const struct move_figures *figures, struct decant_stats *stats)
{
	const uint64_t total = figures->ram_bytes;
	const uint64_t left = figures->remaining_bytes < total ? figures->remaining_bytes : total;

	stats->ram_bytes = total;
	stats->remaining_bytes = figures->remaining_bytes;
	stats->passes = figures->syncs < UINT32_MAX ? (uint32_t)figures->syncs : UINT32_MAX;
	stats->rate_Bps = figures->rate_Bps;
	stats->dirty_rate_Bps = figures->dirty_rate_Bps;
	stats->throttle_permille = figures->throttle_percent * 10;
	if (total > 0 && total - left <= UINT64_MAX / PERMILLE_UNTIL_OVER) {
		const uint32_t permille = (uint32_t)((total - left) * PERMILLE_UNTIL_OVER / total);

		if (permille > stats->progress_permille)
			stats->progress_permille = permille;
	}
	if (figures->status == MOVE_STATUS_COMPLETED)
		stats->progress_permille = 1000;
	move_show_forecast(figures, stats);
}
