/* SPDX-License-Identifier: BSD-2-Clause */
/* owner_internal.h -- what the files of the owner share; nobody else includes it */
#ifndef VMM_OWNER_INTERNAL_H
#define VMM_OWNER_INTERNAL_H

#include "vmm/departure.h"
#include "vmm/owner.h"

struct owner {
	/* set at creation, read-only after */
	struct owner_opts opts;
	int signal_fd;
	int wake_fd;
	struct control *control;

	/* the loop's */
	struct machine *machine;
	struct arrival *arrival; /* kept after the arrival: it answers the source */
	struct departure *departure;
	bool arriving; /* arrival has not finished yet */
	bool in_doubt;
	bool settling; /* departure has been asked to settle */
	bool ready;    /* the guest has begun its work, and that was said */
	bool stop_asked;
	bool done;
	int status;
	char name[MACHINE_NAME_MAX]; /* "": not known yet */
};

/* owner_request() -- the control_request_fn of an owner (owner_verbs.c) */
void owner_request(void *opaque, struct control_client *client, struct json_object *request);

/* owner_state() -- as listed in owner.h */
const char *owner_state(struct owner *owner);

/* owner_stop() -- end the loop as soon as nothing is under way */
void owner_stop(struct owner *owner);

#endif
