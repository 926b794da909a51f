/* SPDX-License-Identifier: BSD-2-Clause */
/* json.c -- small helpers over json-c */
#include "qemu/json.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 32

struct json_object *json_parse_object(const char *text, size_t length)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	struct json_object *object = NULL;
	size_t end = 0;

	if (tokener == NULL)
		return NULL;
	if (length <= INT_MAX)
		object = json_tokener_parse_ex(tokener, text, (int)length);
	if (object != NULL)
		end = json_tokener_get_parse_end(tokener);
	while (end < length && isspace((unsigned char)text[end]))
		end++;
	if (end != length || !json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		object = NULL;
	}
	json_tokener_free(tokener);
	return object;
}

const char *json_get_text(struct json_object *object, const char *key, const char *otherwise)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_string))
		return otherwise;
	return json_object_get_string(value);
}

uint64_t json_get_number(struct json_object *object, const char *key, uint64_t otherwise)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_int) ||
	    json_object_get_int64(value) < 0)
		return otherwise;
	return json_object_get_uint64(value);
}

double json_get_real(struct json_object *object, const char *key, double otherwise)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value) ||
	    (!json_object_is_type(value, json_type_double) && !json_object_is_type(value, json_type_int)))
		return otherwise;
	return json_object_get_double(value);
}

bool json_get_bool(struct json_object *object, const char *key, bool otherwise)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_boolean))
		return otherwise;
	return json_object_get_boolean(value);
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, text != NULL ? json_object_new_string(text) : NULL);
}

void json_add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

void json_add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static void json_add_real(struct json_object *object, const char *key, double value)
{
	char text[40];

	snprintf(text, sizeof(text), "%.3f", value);
	json_object_object_add(object, key, json_object_new_double_s(value, text));
}

void json_add_ms(struct json_object *object, const char *key, uint64_t ns)
{
	json_add_real(object, key, (double)ns / 1e6);
}

void json_add_permille(struct json_object *object, const char *key, uint64_t permille)
{
	json_add_real(object, key, (double)permille / 1e3);
}
