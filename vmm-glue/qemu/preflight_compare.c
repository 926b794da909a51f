/* SPDX-License-Identifier: BSD-2-Clause */
/* preflight_compare.c -- one end's facts with the other's: do the two QEMUs fit each other? */
#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/preflight_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void preflight_compare_machine(struct preflight *preflight, struct json_object *theirs)
{
	const char *here = json_get_text(preflight->facts, "machine", NULL);
	const char *there = json_get_text(theirs, "machine", NULL);

	if (here != NULL && there != NULL && strcmp(here, there) != 0)
		preflight_refuse(
			preflight, "machine type",
			"the machine type is %.60s here and %.60s at the other end; start the destination's QEMU "
			"with -machine %.60s",
			here, there, preflight->opts.end == PREFLIGHT_SOURCE ? here : there);
}

static void preflight_compare_memory(struct preflight *preflight, struct json_object *theirs)
{
	uint64_t here = json_get_number(preflight->facts, "memory", 0);
	uint64_t there = json_get_number(theirs, "memory", 0);

	if (here != 0 && there != 0 && here != there)
		preflight_refuse(preflight, "memory size",
				 "the VM has %" PRIu64 " bytes of memory here and %" PRIu64
				 " at the other end; start the destination's QEMU with -m %" PRIu64 "M",
				 here, there, (preflight->opts.end == PREFLIGHT_SOURCE ? here : there) >> 20);
}

static struct json_object *preflight_blocks(struct json_object *facts)
{
	struct json_object *list = NULL;

	json_object_object_get_ex(facts, "blocks", &list);
	return json_object_is_type(list, json_type_array) ? list : NULL;
}

static struct json_object *preflight_find_block(struct json_object *list, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *block = json_object_array_get_idx(list, i);

		if (strcmp(json_get_text(block, "name", ""), name) == 0)
			return block;
	}
	return NULL;
}

static void preflight_compare_block(struct preflight *preflight, struct json_object *here,
				    struct json_object *there)
{
	const char *name = json_get_text(here, "name", "");
	uint64_t length = json_get_number(here, "length", 0), page = json_get_number(here, "page_size", 0);

	if (there == NULL)
		preflight_refuse(
			preflight, "memory backends",
			"memory backend %.60s is at this end only; give the destination's QEMU the same -object "
			"as the source's",
			name);
	else if (json_get_number(there, "length", 0) != length || json_get_number(there, "page_size", 0) != page)
		preflight_refuse(preflight, "memory backends",
				 "memory backend %.60s has %" PRIu64 " bytes in pages of %" PRIu64
				 " here, %" PRIu64 " in pages of %" PRIu64
				 " at the other end; give the destination's QEMU the same -object as the source's",
				 name, length, page, json_get_number(there, "length", 0),
				 json_get_number(there, "page_size", 0));
}

static void preflight_compare_blocks(struct preflight *preflight, struct json_object *theirs)
{
	struct json_object *here = preflight_blocks(preflight->facts);
	struct json_object *there = preflight_blocks(theirs);

	if (here == NULL || there == NULL)
		return;
	for (size_t i = 0; i < json_object_array_length(here); i++) {
		struct json_object *block = json_object_array_get_idx(here, i);

		preflight_compare_block(preflight, block,
					preflight_find_block(there, json_get_text(block, "name", "")));
	}
}

int preflight_compare(struct preflight *preflight, struct json_object *theirs, struct decant_error *err)
{
	uint32_t before = preflight->count;
	const char *unfit;

	if (!json_object_is_type(theirs, json_type_object))
		return decant_error_set(err, -EPROTO, "what the other end says of its QEMU is no JSON object");
	unfit = json_get_text(theirs, "unfit", NULL);
	if (unfit != NULL)
		preflight_refuse(preflight, "the other end", "at the other end: %.600s", unfit);
	preflight_compare_machine(preflight, theirs);
	preflight_compare_memory(preflight, theirs);
	preflight_compare_blocks(preflight, theirs);
	return (int)(preflight->count - before);
}
