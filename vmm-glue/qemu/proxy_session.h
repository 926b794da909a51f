/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_session.h -- the source's sidecar connected with the destination's: a mover over the memory that is moved, and the link
 *
 * Made when the memory is known. One that is refused leaves nothing, so that another can be tried that passes all unchanged.
 */
#ifndef QEMU_PROXY_SESSION_H
#define QEMU_PROXY_SESSION_H

#include "qemu/guest_ram.h"

#include <decant/error.h>
#include <decant/mover.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct link;

struct proxy_session {
	struct decant_mover *mover; /* NULL: not connected */
	struct link *link;
	struct decant_memory *memory;
	bool pass;
};

/*
 * proxy_session_open() -- connect; blocks
 *
 * @opts: without message, lost, opaque. @ram NULL: pass all unchanged; else its memory that is in @list (NULL: all of it), whose regions
 * are set. @facts may be NULL. -EREMOTEIO among what is returned: the other sidecar says no, and the message has its words.
 */
int proxy_session_open(struct proxy_session *session, const struct decant_mover_opts *opts,
		       const struct guest_ram *ram, struct guest_ram_wanted *list, uint32_t count, bool fallback,
		       struct json_object *facts, struct decant_error *err);

/*
 * proxy_session_find() -- the regions of blocks that became known after the session was opened with all of @ram
 *
 * Sets list[].region to the index in the session's memory, -1 for those that are not in it. Returns 0 or as guest_ram_match().
 */
int proxy_session_find(const struct proxy_session *session, const struct guest_ram *ram,
		       struct guest_ram_wanted *list, uint32_t count, struct decant_error *err);

/* proxy_session_bytes() -- of memory that is moved */
uint64_t proxy_session_bytes(const struct proxy_session *session);

/*
 * proxy_session_close() -- say goodbye if all has been delivered; or, with @why, tell the other end that it is over
 *
 * Fine on one that is not open.
 */
void proxy_session_close(struct proxy_session *session, const struct decant_error *why);

#endif
