/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine_shape.c -- the record "vmm.shape", version 1
 *
 * A JSON object: { "name": "demo", "memory": bytes, "page_size": bytes, "vcpus": n, "dirty": "log" | "ring" | "auto",
 * "guest": "stress" | "kernel" }. Whether the values make a machine is machine_new()'s to say.
 */
#include "vmm/machine_shape.h"

#include "qemu/json.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define SHAPE_RECORD "vmm.shape"
#define SHAPE_VERSION 1
#define SHAPE_BYTES_MAX 4096

static const char *const shape_dirty[] = {
	[DECANT_KVM_DIRTY_AUTO] = "auto",
	[DECANT_KVM_DIRTY_LOG] = "log",
	[DECANT_KVM_DIRTY_RING] = "ring",
};

static const char *const shape_guest[] = {
	[MACHINE_GUEST_STRESS] = "stress",
	[MACHINE_GUEST_KERNEL] = "kernel",
};

int machine_shape_save(const struct machine_config *config, struct decant_state_writer *shape,
		       struct decant_error *err)
{
	char text[512];
	int length = snprintf(text, sizeof(text),
			      "{\"name\":\"%s\",\"memory\":%llu,\"page_size\":%llu,\"vcpus\":%u,"
			      "\"dirty\":\"%s\",\"guest\":\"%s\"}",
			      config->name, (unsigned long long)config->memory_bytes,
			      (unsigned long long)config->page_size, config->vcpus, shape_dirty[config->dirty],
			      shape_guest[config->guest]);

	return decant_state_put(shape, SHAPE_RECORD, 0, SHAPE_VERSION, text, (size_t)length, err);
}

static int shape_get_number(struct json_object *json, const char *key, uint64_t max, uint64_t *number,
			    struct decant_error *err)
{
	struct json_object *value = NULL;
	int64_t found;

	if (!json_object_object_get_ex(json, key, &value) || !json_object_is_type(value, json_type_int))
		return decant_error_set(err, -EPROTO, "%s: no number \"%s\"", SHAPE_RECORD, key);
	found = json_object_get_int64(value);
	if (found < 0 || (uint64_t)found > max)
		return decant_error_set(err, -EPROTO, "%s: \"%s\" is %lld, out of range", SHAPE_RECORD, key,
					(long long)found);
	*number = (uint64_t)found;
	return 0;
}

static int shape_get_text(struct json_object *json, const char *key, const char **text, struct decant_error *err)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(json, key, &value) || !json_object_is_type(value, json_type_string))
		return decant_error_set(err, -EPROTO, "%s: no text \"%s\"", SHAPE_RECORD, key);
	*text = json_object_get_string(value);
	return 0;
}

static int shape_get_choice(struct json_object *json, const char *key, const char *const *choices, size_t count,
			    uint32_t *chosen, struct decant_error *err)
{
	const char *text;
	int ret = shape_get_text(json, key, &text, err);

	if (ret < 0)
		return ret;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(text, choices[i]) == 0) {
			*chosen = (uint32_t)i;
			return 0;
		}
	}
	return decant_error_set(err, -EPROTO, "%s: \"%s\" is \"%.32s\", which this version does not know",
				SHAPE_RECORD, key, text);
}

static int shape_get_name(struct json_object *json, struct machine_config *config, struct decant_error *err)
{
	const char *name;
	int ret = shape_get_text(json, "name", &name, err);

	if (ret == 0)
		ret = machine_name_check(name, err) < 0 ? -EPROTO : 0;
	if (ret == 0)
		snprintf(config->name, sizeof(config->name), "%s", name);
	return ret;
}

static int shape_from_json(struct json_object *json, struct machine_config *config, struct decant_error *err)
{
	uint64_t vcpus = 0;
	uint32_t dirty = 0;
	uint32_t guest = 0;
	int ret = shape_get_name(json, config, err);

	if (ret == 0)
		ret = shape_get_number(json, "memory", MACHINE_MEMORY_MAX, &config->memory_bytes, err);
	if (ret == 0)
		ret = shape_get_number(json, "page_size", 1ull << 30, &config->page_size, err);
	if (ret == 0)
		ret = shape_get_number(json, "vcpus", MACHINE_VCPUS_MAX, &vcpus, err);
	if (ret == 0)
		ret = shape_get_choice(json, "dirty", shape_dirty, 3, &dirty, err);
	if (ret == 0)
		ret = shape_get_choice(json, "guest", shape_guest, 2, &guest, err);
	config->vcpus = (uint32_t)vcpus;
	config->dirty = (enum decant_kvm_dirty)dirty;
	config->guest = (enum machine_guest)guest;
	return ret;
}

int machine_shape_load(struct machine_config *config, struct decant_state_reader *shape, struct decant_error *err)
{
	struct machine_config found = { 0 };
	struct decant_state_record record;
	struct json_object *json;
	int ret;

	ret = decant_state_get(shape, SHAPE_RECORD, 0, SHAPE_VERSION, &record, err);
	if (ret < 0)
		return ret;
	json = record.length <= SHAPE_BYTES_MAX ? json_parse_object(record.data, record.length) : NULL;
	if (json == NULL)
		return decant_error_set(err, -EPROTO, "%s: not a JSON object", SHAPE_RECORD);
	ret = shape_from_json(json, &found, err);
	json_object_put(json);
	if (ret == 0)
		*config = found;
	return ret;
}
