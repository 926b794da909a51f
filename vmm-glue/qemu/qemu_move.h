/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qemu_move.h -- moves the guest of an unmodified QEMU to another host, by its monitor and a pair of sidecars: never two
 *
 * All of `decant migrate --qmp`: preflight, parameters, the sidecar of the source in a thread of this process, QEMU's `migrate`, what
 * QEMU tells of it, and the word to start the guest at the destination, given only after QEMU here has reported `completed`.
 *
 * From then on nothing here lets the guest of this QEMU go on, whatever happens: what cannot be finished is in doubt, and an
 * operator settles it (docs/qemu.md, "Never two" and "Settling by hand"; docs/model/qemu.pml).
 */
#ifndef QEMU_QEMU_MOVE_H
#define QEMU_QEMU_MOVE_H

#include "qemu/move_figures.h"
#include "qemu/proxy_stats.h"

#include <decant/error.h>
#include <decant/log.h>
#include <decant/stats.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QEMU_MOVE_NAME_MAX 128
#define QEMU_MOVE_MULTIFD_AS_IT_IS UINT32_MAX

struct qemu_move_opts {
	const char *monitor;      /* the path of QEMU's QMP socket */
	const char *socket;       /* a path of ours, for QEMU to migrate to; what lies there goes */
	const char *peer;         /* "host:port" of a decant proxy dest */
	const char *fabric;       /* as decant_mover_opts.fabric */
	const char *rails;        /* NULL: all */
	const char *cpus;         /* NULL: the library's choice */
	uint32_t channels;        /* 0: the library's choice */
	uint32_t multifd;         /* QEMU's own channels; 0: none; QEMU_MOVE_MULTIFD_AS_IT_IS */
	uint64_t bandwidth_Bps;   /* QEMU's, who heeds it but in the pause; 0: none */
	uint64_t max_downtime_ns; /* 0: QEMU's own limit */
	uint64_t timeout_ns;      /* until QEMU has given the guest up; 0: none */
	bool throttle;            /* QEMU's auto-converge */
	bool fallback;            /* what preflight says no to passes unchanged */
	const void *key;
	size_t key_length;
	struct decant_log log;
	int wish_fd; /* readable: somebody wants it to end, each read takes one wish (a signalfd). -1: nobody can */
	/* a figure has changed, or a while has passed; from the caller's thread; may be NULL */
	void (*progress)(void *opaque, const struct decant_stats *stats);
	void *opaque;
};

struct qemu_move_result {
	enum decant_migration_state outcome; /* COMPLETED, FAILED, CANCELLED or IN_DOUBT */
	char name[QEMU_MOVE_NAME_MAX];       /* QEMU's -name, "" if it has none */
	bool paused;                         /* the guest was not running, so it was not started */
	char guest[32]; /* FAILED, CANCELLED: what QEMU says of the guest here, "unknown" if it does not answer */
	struct proxy_stats sidecar;
	struct move_figures qemu;
	struct decant_stats stats; /* states, their times, and what is the same in all reports */
};

/*
 * qemu_move_run() -- one migration, to its end; blocks, and has its threads ended when it returns
 *
 * Returns 0: the guest is at the destination. Negative: *@result has the outcome, and @err why. -EREMOTEIO among them: QEMU's words.
 */
int qemu_move_run(const struct qemu_move_opts *opts, struct qemu_move_result *result, struct decant_error *err);

#endif
