/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move_sidecar.h -- the source's sidecar in a thread of this process, seen from the thread that speaks to the monitor
 *
 * Its thread asks whether the guest may be started (loaded), and waits until the other has answered, however long QEMU takes to say that it has
 * given the guest up.
 */
#ifndef QEMU_MOVE_SIDECAR_H
#define QEMU_MOVE_SIDECAR_H

#include "qemu/proxy_source.h"

#include <decant/error.h>
#include <stdbool.h>

struct move_sidecar;

/* Where it is, at one moment. */
struct move_sidecar_view {
	bool loaded;   /* the destination has it all, and the answer is awaited or given */
	bool to_start; /* it has been told to have the guest started: from then on it may run there */
	bool ended;
	int ret; /* these of proxy_source_run(), once it has ended */
	enum proxy_outcome outcome;
	struct decant_error err;
	struct proxy_stats stats;
};

/* move_sidecar_new() -- @opts as of proxy_source_new(), but for its ops, which are this object's */
int move_sidecar_new(const struct proxy_source_opts *opts, struct move_sidecar **sidecar,
		     struct decant_error *err);

/* move_sidecar_fd() -- readable when the view has changed since move_sidecar_view() */
int move_sidecar_fd(const struct move_sidecar *sidecar);

void move_sidecar_view(struct move_sidecar *sidecar, struct move_sidecar_view *view);

/*
 * move_sidecar_answer() -- what loaded() is to return: 1 START, 0 the guest stays as it is, negative: the migration has failed, and why
 *
 * The first answer counts; it may come before the question.
 */
void move_sidecar_answer(struct move_sidecar *sidecar, int answer, const struct decant_error *why);

/* move_sidecar_cancel() -- QEMU's connections are closed, unless START has been said */
void move_sidecar_cancel(struct move_sidecar *sidecar);

/* move_sidecar_free() -- cancels, waits for the thread; NULL is fine */
void move_sidecar_free(struct move_sidecar *sidecar);

#endif
