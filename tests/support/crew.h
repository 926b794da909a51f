/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crew.h -- many small trials, each in a process of its own, several at a time, each a TAP point
 *
 * A trial that crashes, hangs, or leaves something to its sanitizer is one that failed; the others go on. What it prints is shown if
 * it fails. The parent stays a process of one thread, so that the children have what a new process has.
 */
#ifndef SUPPORT_CREW_H
#define SUPPORT_CREW_H

#include <stddef.h>

#define CREW_TEXT_MAX 320

struct crew {
	size_t count;
	unsigned hands;   /* at a time */
	unsigned seconds; /* one that takes longer hangs */
	/* what trial @i is called; in the parent; the same at each call */
	void (*name)(void *opaque, size_t i, char *text, size_t size);
	/* in a child: 0 and what came of it in @text, of one word first, by which it is counted; or -1 and what is wrong */
	int (*run)(void *opaque, size_t i, char *text, size_t size);
	void *opaque;
};

/* crew_run() -- all of them; prints TAP, and a line with the counts. Returns how many failed. */
size_t crew_run(const struct crew *crew);

#endif
