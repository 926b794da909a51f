/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_shape.h -- what the source's sidecar tells the destination's first, as the mover's shape: one record of JSON
 *
 *   {"sidecar": 1, "pass": bool, "fallback": bool, "facts": {...} or null, "blocks": [{"name", "length"}, ...]}
 *
 * "pass": all is passed unchanged, no memory is moved; "fallback": if this is refused, it will be asked again with "pass"; "facts":
 * preflight's, with "start": true if the source will ask for the VM to be started; "blocks": those of the stream, in its order, or those of the memory.
 */
#ifndef QEMU_PROXY_SHAPE_H
#define QEMU_PROXY_SHAPE_H

#include "qemu/guest_ram.h"

#include <decant/error.h>
#include <decant/state.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct proxy_shape {
	bool pass;
	bool fallback;
	struct json_object *facts;     /* NULL: none */
	struct guest_ram_wanted *list; /* @idstr stay owned by @json */
	uint32_t count;
	struct json_object *json; /* what all of it lies in, when it was decoded */
};

/* proxy_shape_encode() -- facts stay the caller's. *@writer is the caller's. */
int proxy_shape_encode(const struct proxy_shape *shape, struct decant_state_writer **writer,
		       struct decant_error *err);

/* proxy_shape_decode() -- what a peer says. 0, -EPROTO, -ENOMEM */
int proxy_shape_decode(struct decant_state_reader *reader, struct proxy_shape *shape, struct decant_error *err);

/* proxy_shape_clear() -- of one that was decoded */
void proxy_shape_clear(struct proxy_shape *shape);

#endif
