/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * departure.h -- a VM on its way out of this process: the migration and its thread
 *
 * The machine belongs to the migration from departure_start() until it has finished, and further while it is in doubt:
 * nobody else runs or holds it meanwhile.
 */
#ifndef VMM_DEPARTURE_H
#define VMM_DEPARTURE_H

#include "vmm/control.h"
#include "vmm/key_file.h"
#include "vmm/machine.h"

#include <decant/error.h>
#include <decant/log.h>
#include <decant/migration.h>
#include <decant/stats.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define DEPARTURE_PEER_MAX 280
#define DEPARTURE_FABRIC_MAX 16
#define DEPARTURE_RAILS_MAX 256
#define DEPARTURE_CPUS_MAX 1024

struct departure_opts {
	char peer[DEPARTURE_PEER_MAX]; /* "host:port"; "" with the fabric "loop" */
	char fabric[DEPARTURE_FABRIC_MAX];
	char rails[DEPARTURE_RAILS_MAX]; /* "LOCAL[=REMOTE][,...]", "": any */
	char cpus[DEPARTURE_CPUS_MAX];   /* "0-3,8", "": the VM's process's --cpus, or the library's choice */
	uint32_t channels;
	uint64_t max_downtime_ns;
	uint64_t timeout_ns;
	uint64_t switchover_timeout_ns;
	uint64_t bandwidth_Bps;
	unsigned int zero_scan; /* enum decant_zero_scan */
	unsigned int zero_copy; /* enum decant_zero_copy */
	bool verify;
	enum decant_not_converging if_not_converging;
	const struct key *key; /* NULL: none; not in JSON; read by departure_start() alone */
};

/* What the process lends to a migration. */
struct departure_host {
	struct machine_host machine; /* for the machine that "loop" makes beside */
	struct decant_log log;
	struct control *control; /* progress is published here */
	int wake_fd;             /* an io_wake, set when departure_finished() turns true */
};

struct departure;

/* departure_to_json(), departure_from_json() -- the options as members of the request "migrate"; -EINVAL says which is wrong */
void departure_to_json(const struct departure_opts *opts, struct json_object *request);
int departure_from_json(struct json_object *request, struct departure_opts *opts, struct decant_error *err);

/* departure_start() -- check the options and migrate in a thread of its own */
int departure_start(const struct departure_opts *opts, const struct departure_host *host, struct machine *machine,
		    struct departure **departure, struct decant_error *err);

/* departure_finished() -- the migration, or the settling asked for, has come to an end */
bool departure_finished(struct departure *departure);

/* departure_conclude() -- after it has finished: the state it ended in */
enum decant_migration_state departure_conclude(struct departure *departure);

/* departure_landed() -- "loop", after COMPLETED: the machine that the guest runs in now; the caller's. NULL otherwise */
struct machine *departure_landed(struct departure *departure);

/* departure_report() -- after it has finished: the report; the caller's */
struct json_object *departure_report(struct departure *departure);

/* departure_error() -- after it has finished: why it failed, "" if it did not */
const char *departure_error(const struct departure *departure);

const char *departure_peer(const struct departure *departure);

void departure_get_stats(struct departure *departure, struct decant_stats *stats);

void departure_cancel(struct departure *departure);

/* departure_settle() -- IN_DOUBT: ask again, in the thread; finishes like a migration, and the guest runs again where it may */
int departure_settle(struct departure *departure, bool force, struct decant_error *err);

/* departure_free() -- cancels and waits; NULL is fine. The machine stays the caller's. */
void departure_free(struct departure *departure);

#endif
