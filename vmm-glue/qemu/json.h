/* SPDX-License-Identifier: BSD-2-Clause */
/* json.h -- small helpers over json-c */
#ifndef QEMU_JSON_H
#define QEMU_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* json_parse_object() -- @length bytes that are one JSON object and nothing else but blanks; NULL otherwise */
struct json_object *json_parse_object(const char *text, size_t length);

/* json_get_*() -- member @key of that type, or @otherwise; a text stays owned by @object */
const char *json_get_text(struct json_object *object, const char *key, const char *otherwise);
uint64_t json_get_number(struct json_object *object, const char *key, uint64_t otherwise);
double json_get_real(struct json_object *object, const char *key, double otherwise);
bool json_get_bool(struct json_object *object, const char *key, bool otherwise);

/* json_add_*() -- a new member; NULL text gives null */
void json_add_text(struct json_object *object, const char *key, const char *text);
void json_add_number(struct json_object *object, const char *key, uint64_t number);
void json_add_bool(struct json_object *object, const char *key, bool value);

/* json_add_ms() -- nanoseconds as milliseconds with three digits */
void json_add_ms(struct json_object *object, const char *key, uint64_t ns);

/* json_add_permille() -- thousandths as a ratio with three digits */
void json_add_permille(struct json_object *object, const char *key, uint64_t permille);

#endif
