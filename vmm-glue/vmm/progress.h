/* SPDX-License-Identifier: BSD-2-Clause */
/* progress.h -- shows how far a migration is: one line that is redrawn on a terminal, a plain line now and then elsewhere */
#ifndef VMM_PROGRESS_H
#define VMM_PROGRESS_H

#include <decant/stats.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
	FILE *out;
	bool terminal;
	bool drawn;        /* terminal: a line stands there without its end */
	uint32_t permille; /* the most that was shown */
	uint32_t pass;     /* elsewhere: of the last line */
	uint64_t shown_ns; /* elsewhere: when */
};

/* progress_init() -- @terminal: as isatty(3) says of @out */
void progress_init(struct progress *progress, FILE *out, bool terminal);

/* progress_show() -- the figures of now; elsewhere than on a terminal at most one line a second and one per pass */
void progress_show(struct progress *progress, const struct decant_stats *stats, uint64_t now_ns);

/* progress_end() -- nothing more comes: what is printed next begins on a line of its own */
void progress_end(struct progress *progress);

#endif
