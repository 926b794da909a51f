/* SPDX-License-Identifier: BSD-2-Clause */
/* progress.c -- shows how far a migration is */
#include "vmm/progress.h"
#include "vmm/words.h"

#include "util/clock.h"

#include <string.h>

#define PROGRESS_LINE_MAX 200
#define PROGRESS_PLAIN_EVERY_NS NSEC_PER_SEC

void progress_init(struct progress *progress, FILE *out, bool terminal)
{
	memset(progress, 0, sizeof(*progress));
	progress->out = out;
	progress->terminal = terminal;
}

/* The pause is not known before the first pass has ended. */
static void progress_forecast(char *text, size_t room, const struct decant_stats *stats)
{
	char pause[WORDS_MAX], rest[WORDS_MAX];

	if (stats->state != DECANT_STATE_PRECOPY || stats->forecast_total_ns == 0)
		text[0] = '\0';
	else if (stats->forecast_downtime_ns == 0)
		snprintf(text, room, ", %s left", words_time(rest, stats->forecast_total_ns));
	else
		snprintf(text, room, ", %s left, pause about %s", words_time(rest, stats->forecast_total_ns),
			 words_time(pause, stats->forecast_downtime_ns));
}

static void progress_throttle(char *text, size_t room, const struct decant_stats *stats)
{
	text[0] = '\0';
	if (stats->throttle_permille > 0)
		snprintf(text, room, ", slowed by %u%%", stats->throttle_permille / 10);
}

static void progress_line(const struct progress *progress, const struct decant_stats *stats, char *line)
{
	char rate[WORDS_MAX], dirty[WORDS_MAX], throttle[32], forecast[96];

	progress_throttle(throttle, sizeof(throttle), stats);
	progress_forecast(forecast, sizeof(forecast), stats);
	if (stats->passes == 0)
		snprintf(line, PROGRESS_LINE_MAX, "%s", decant_strstate(stats->state));
	else
		snprintf(line, PROGRESS_LINE_MAX, "%s: pass %u, %u.%u%%, %s, dirtied at %s%s%s",
			 decant_strstate(stats->state), stats->passes, progress->permille / 10,
			 progress->permille % 10, words_rate(rate, stats->rate_Bps),
			 words_rate(dirty, stats->dirty_rate_Bps), throttle, forecast);
}

static bool progress_is_due(const struct progress *progress, const struct decant_stats *stats, uint64_t now_ns)
{
	if (progress->terminal || progress->shown_ns == 0 || stats->passes != progress->pass)
		return true;
	return now_ns - progress->shown_ns >= PROGRESS_PLAIN_EVERY_NS;
}

void progress_show(struct progress *progress, const struct decant_stats *stats, uint64_t now_ns)
{
	char line[PROGRESS_LINE_MAX];
	uint32_t permille = stats->progress_permille < 1000 ? stats->progress_permille : 1000;

	if (permille > progress->permille)
		progress->permille = permille;
	if (!progress_is_due(progress, stats, now_ns))
		return;
	progress->pass = stats->passes;
	progress->shown_ns = now_ns;
	progress_line(progress, stats, line);
	if (progress->terminal)
		fprintf(progress->out, "\r\033[K%s", line);
	else
		fprintf(progress->out, "%s\n", line);
	progress->drawn = progress->terminal;
	fflush(progress->out);
}

void progress_end(struct progress *progress)
{
	if (progress->drawn)
		fprintf(progress->out, "\n");
	progress->drawn = false;
	fflush(progress->out);
}
