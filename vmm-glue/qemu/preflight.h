/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * preflight.h -- may this QEMU migrate through the sidecars? Looked at before anything is moved, and said in full: all that is wrong, each
 * with what to change
 *
 *   preflight_look()       at one end, over its monitor; changes nothing
 *   preflight_compare()    one end's facts with the other's
 *   preflight_change()     the parameters that would slow it down or make it unsafe, remembered
 *   preflight_restore()    put back
 *
 * docs/qemu.md has the table of what is accepted, what is refused and why. What preflight does not know is refused.
 */
#ifndef QEMU_PREFLIGHT_H
#define QEMU_PREFLIGHT_H

#include <decant/error.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct qmp;
struct preflight;

enum preflight_end {
	PREFLIGHT_SOURCE,
	PREFLIGHT_DEST,
};

struct preflight_opts {
	enum preflight_end end;
	bool under_way;   /* QEMU may have been told to migrate already: this is no reason to refuse */
	bool mend;        /* preflight_change() may turn return-path on: its lack is no reason to refuse, then */
	bool pinned;      /* the fabric may pin memory (any but TCP): a balloon is a reason to refuse */
	const char *proc; /* where proc(5) is, NULL: "/proc" */
};

/*
 * preflight_look() -- look at one end
 *
 * Returns 0 if it could look, whatever it saw; else as qmp_call(): then nothing is known.
 */
int preflight_look(struct qmp *qmp, const struct preflight_opts *opts, struct preflight **preflight,
		   struct decant_error *err);

/*
 * preflight_look_process() -- the same without a monitor: as far as the command line of process @pid tells
 *
 * That is memory, devices, and whether the destination waits (-S). What only the monitor knows shows in the stream, and is refused there.
 * Returns 0, -ESRCH, -EACCES.
 */
int preflight_look_process(pid_t pid, const struct preflight_opts *opts, struct preflight **preflight,
			   struct decant_error *err);

/* One reason to refuse. */
struct preflight_refusal {
	const char *name; /* for programs: "capability postcopy-ram", "not started with -S" */
	const char *text; /* one line: what, why; what to change, word for word */
};

/* preflight_count(), preflight_refusal() -- reasons to refuse; none: it may migrate */
uint32_t preflight_count(const struct preflight *preflight);
const struct preflight_refusal *preflight_refusal(const struct preflight *preflight, uint32_t index);

/* preflight_unfit() -- all of them in one line, NULL if there is none */
const char *preflight_unfit(const struct preflight *preflight);

/*
 * preflight_facts() -- about this end, for the other: a JSON object that stays @preflight's
 *
 * {"qmp": true, "version": 70222, "version_text": "7.2.22 (Debian ...)", "machine": "pc-i440fx-7.2", "memory": BYTES,
 *  "waits": true (-S), "incoming": "deferred"|"listening"|"none", "multifd_channels": N (0: off), "unfit": TEXT or null,
 *  "blocks": [{"name", "length", "page_size"}, ...]}
 * Members that are not known are missing.
 */
struct json_object *preflight_facts(const struct preflight *preflight);

/*
 * preflight_compare() -- @theirs, from the other end, so hostile, with ours: machine types, memory, its shape
 *
 * What does not fit is one more reason to refuse. Returns the number of these, or -EPROTO, -ENOMEM.
 */
int preflight_compare(struct preflight *preflight, struct json_object *theirs, struct decant_error *err);

/*
 * preflight_change() -- set this end's parameters for the migration: max-bandwidth as good as unlimited at the source; with mend, return-path
 *
 * Before migrate is sent. Returns 0 or as qmp_call(): then what was changed has been put back, as far as QEMU still answers.
 */
int preflight_change(struct preflight *preflight, struct qmp *qmp, struct decant_error *err);

/*
 * preflight_restore() -- put back what preflight_change() changed, unless somebody else has changed it since
 *
 * When the migration is over, however it ended; not needed where that QEMU has ended. A second call does nothing. Returns 0 or as qmp_call().
 */
int preflight_restore(struct preflight *preflight, struct qmp *qmp, struct decant_error *err);

void preflight_free(struct preflight *preflight);

#endif
