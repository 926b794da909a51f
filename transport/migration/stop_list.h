/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stop_list.h -- what is known before the pause to be sent in it
 *
 * Made while the guest still runs, so that in the pause there is nothing to search, to protect or to allocate before the first page is on
 * its way. The pages are re-armed as they are put on the list: one that is written after that, by the guest in its last moments or by
 * who saves the state, is dirty again and found by the last harvest.
 */
#ifndef MIGRATION_STOP_LIST_H
#define MIGRATION_STOP_LIST_H

#include <decant/error.h>
#include <stdint.h>

struct decant_migration;

struct stop_run {
	uint64_t first; /* page; a run lies in one chunk */
	uint32_t region;
	uint32_t pages;
};

struct stop_list {
	struct stop_run *run;
	uint64_t count, capacity;
	uint64_t pages; /* that are dirty: those that fill gaps not counted */
};

/* stop_list_take() -- all that migration->dirty says, which says nothing then */
int stop_list_take(struct stop_list *list, struct decant_migration *migration, struct decant_error *err);

/* stop_list_send() -- with the guest paused: push it, and give it to the wire */
int stop_list_send(const struct stop_list *list, struct decant_migration *migration, struct decant_error *err);

void stop_list_free(struct stop_list *list);

#endif
