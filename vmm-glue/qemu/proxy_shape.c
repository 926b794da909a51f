/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_shape.c -- what the source's sidecar tells the destination's first */
#include "qemu/proxy_shape.h"

#include "qemu/json.h"
#include "qemu/ram_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD "qemu.sidecar"
#define VERSION 1

static struct json_object *shape_json(const struct proxy_shape *shape)
{
	struct json_object *json = json_object_new_object();
	struct json_object *blocks = json_object_new_array();

	json_add_number(json, "sidecar", VERSION);
	json_add_bool(json, "pass", shape->pass);
	json_add_bool(json, "fallback", shape->fallback);
	json_object_object_add(json, "facts", json_object_get(shape->facts));
	for (uint32_t i = 0; i < shape->count; i++) {
		struct json_object *block = json_object_new_object();

		json_add_text(block, "name", shape->list[i].idstr);
		json_add_number(block, "length", shape->list[i].length);
		json_object_array_add(blocks, block);
	}
	json_object_object_add(json, "blocks", blocks);
	return json;
}

int proxy_shape_encode(const struct proxy_shape *shape, struct decant_state_writer **writer,
		       struct decant_error *err)
{
	struct json_object *json = shape_json(shape);
	const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
	int ret = decant_state_writer_new(writer, err);

	if (ret == 0) {
		ret = decant_state_put(*writer, RECORD, 0, VERSION, text, strlen(text), err);
		if (ret < 0)
			decant_state_writer_free(*writer);
	}
	json_object_put(json);
	return ret;
}

static int shape_blocks(struct proxy_shape *shape, struct decant_error *err)
{
	struct json_object *blocks;

	if (!json_object_object_get_ex(shape->json, "blocks", &blocks) ||
	    !json_object_is_type(blocks, json_type_array) || json_object_array_length(blocks) > RAM_BLOCKS_MAX)
		return decant_error_set(err, -EPROTO,
					"the source's sidecar: its list of blocks is missing or absurd");
	shape->count = (uint32_t)json_object_array_length(blocks);
	shape->list = calloc(shape->count + 1u, sizeof(*shape->list));
	if (shape->list == NULL)
		return decant_error_set(err, -ENOMEM, "the source's list of blocks: out of memory");
	for (uint32_t i = 0; i < shape->count; i++) {
		struct json_object *block = json_object_array_get_idx(blocks, i);
		const bool object = json_object_is_type(block, json_type_object);

		shape->list[i].region = -1;
		shape->list[i].idstr = object ? json_get_text(block, "name", NULL) : NULL;
		shape->list[i].length = object ? json_get_number(block, "length", 0) : 0;
		if (shape->list[i].idstr == NULL || strlen(shape->list[i].idstr) >= RAM_BLOCK_NAME_MAX)
			return decant_error_set(err, -EPROTO, "the source's sidecar: block %u has no name", i);
	}
	return 0;
}

int proxy_shape_decode(struct decant_state_reader *reader, struct proxy_shape *shape, struct decant_error *err)
{
	struct decant_state_record record;
	int ret = decant_state_get(reader, RECORD, 0, VERSION, &record, err);

	*shape = (struct proxy_shape){ 0 };
	if (ret == -ENOENT)
		return decant_error_set(err, -EPROTO,
					"the source is no decant proxy; run decant proxy source there");
	if (ret < 0)
		return ret;
	shape->json = json_parse_object(record.data, record.length);
	if (shape->json == NULL)
		return decant_error_set(err, -EPROTO, "the source's sidecar: what it says of itself is no JSON");
	shape->pass = json_get_bool(shape->json, "pass", false);
	shape->fallback = json_get_bool(shape->json, "fallback", false);
	if (json_object_object_get_ex(shape->json, "facts", &shape->facts) &&
	    !json_object_is_type(shape->facts, json_type_object))
		shape->facts = NULL;
	ret = shape_blocks(shape, err);
	if (ret < 0)
		proxy_shape_clear(shape);
	return ret;
}

void proxy_shape_clear(struct proxy_shape *shape)
{
	free(shape->list);
	json_object_put(shape->json);
	*shape = (struct proxy_shape){ 0 };
}
