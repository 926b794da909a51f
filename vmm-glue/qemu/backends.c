/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backends.c -- the memory backends of a QEMU, as its monitor or its command line lists them
 *
 * The monitor lists what there is, in no order, and newer ones also where it is mapped (x-query-ramblock, whose text is for people, so
 * it is used where it is as expected and done without where it is not). The command line has the order in which they were made.
 */
#include "qemu/backends.h"
#include "qemu/json.h"
#include "qemu/process.h"
#include "qemu/qmp.h"

#include "util/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKENDS_TYPE_PREFIX "memory-backend-"
#define BACKENDS_COLUMNS_MAX 16

static bool backends_is_type(const char *type)
{
	return strncmp(type, BACKENDS_TYPE_PREFIX, strlen(BACKENDS_TYPE_PREFIX)) == 0;
}

/* What is shared unless it is told. */
static bool backends_shared_by_default(const char *type)
{
	return strcmp(type, "memory-backend-memfd") == 0 || strcmp(type, "memory-backend-shm") == 0;
}

static int backends_copy(char *to, size_t room, const char *from, const char *what, struct decant_error *err)
{
	if (strlen(from) >= room)
		return decant_error_set(err, -EPROTO, "QEMU's memory: %s is longer than %zu bytes", what,
					room - 1);
	memcpy(to, from, strlen(from) + 1);
	return 0;
}

static int backends_add(struct backends *backends, const struct backend *backend, struct decant_error *err)
{
	if (backends->count == DECANT_REGIONS_MAX)
		return decant_error_set(err, -ENOSPC, "QEMU's memory: more than %d memory backends",
					DECANT_REGIONS_MAX);
	backends->backend[backends->count++] = *backend;
	return 0;
}

/* What follows the next comma that is not doubled. */
static const char *backends_next_word(const char *text)
{
	const char *comma = strchr(text, ',');

	while (comma != NULL && comma[1] == ',')
		comma = strchr(comma + 2, ',');
	return comma != NULL ? comma + 1 : NULL;
}

/* The value of @key in "type,key=value,...", where ",," is a comma; false: it is not there, or too long. */
static bool backends_option_value(const char *text, const char *key, char *value, size_t room)
{
	size_t length = strlen(key);
	size_t used = 0;

	while (text != NULL && !(strncmp(text, key, length) == 0 && text[length] == '='))
		text = backends_next_word(text);
	if (text == NULL)
		return false;
	for (text += length + 1; *text != '\0' && used < room - 1; text++) {
		if (*text == ',' && *++text != ',')
			break;
		value[used++] = *text;
	}
	value[used] = '\0';
	return used < room - 1;
}

static bool backends_option_bool(const char *text, const char *key, bool otherwise)
{
	char value[8];

	if (!backends_option_value(text, key, value, sizeof(value)))
		return otherwise;
	return strcmp(value, "on") == 0 || strcmp(value, "yes") == 0 || strcmp(value, "true") == 0 ||
	       strcmp(value, "y") == 0;
}

/* "-object {...}", as libvirt writes it; false: no memory backend, or nonsense */
static bool backends_parse_json(const char *text, struct backend *backend)
{
	struct json_object *object = json_parse_object(text, strlen(text));
	const char *type = json_get_text(object, "qom-type", "");
	const char *size = json_get_text(object, "size", NULL);
	bool good = backends_is_type(type);

	good = good && backends_copy(backend->type, sizeof(backend->type), type, "", NULL) == 0;
	good = good &&
	       backends_copy(backend->id, sizeof(backend->id), json_get_text(object, "id", ""), "", NULL) == 0;
	good = good && backends_copy(backend->path, sizeof(backend->path), json_get_text(object, "mem-path", ""),
				     "", NULL) == 0;
	backend->shared = json_get_bool(object, "share", backends_shared_by_default(type));
	backend->size = json_get_number(object, "size", 0);
	if (size != NULL)
		good = good && size_parse(size, &backend->size, NULL) == 0;
	json_object_put(object);
	return good;
}

/* "-object memory-backend-memfd,id=mem,size=1G,share=on" */
static bool backends_parse_words(const char *text, struct backend *backend)
{
	const char *type = strncmp(text, "qom-type=", 9) == 0 ? text + 9 : text;
	size_t length = strcspn(type, ",");
	char size[32];

	if (!backends_is_type(type) || length >= sizeof(backend->type))
		return false;
	memcpy(backend->type, type, length);
	backend->type[length] = '\0';
	backend->shared = backends_option_bool(text, "share", backends_shared_by_default(backend->type));
	backends_option_value(text, "mem-path", backend->path, sizeof(backend->path));
	return backends_option_value(text, "id", backend->id, sizeof(backend->id)) &&
	       backends_option_value(text, "size", size, sizeof(size)) &&
	       size_parse(size, &backend->size, NULL) == 0;
}

static int backends_list_options(const struct process *process, struct backends *backends,
				 struct decant_error *err)
{
	uint32_t count;
	const struct process_option *options = process_options(process, &count);
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < count; i++) {
		struct backend backend = { .order = (int)i };
		const char *value = options[i].value;

		if (strcmp(options[i].name, "object") != 0 || value == NULL)
			continue;
		if (value[0] == '{' ? backends_parse_json(value, &backend) : backends_parse_words(value, &backend))
			ret = backends_add(backends, &backend, err);
	}
	return ret;
}

/* Does the machine's own memory come from a backend, whole or by NUMA node? */
static bool backends_machine_has(const struct process *process)
{
	uint32_t count;
	const struct process_option *options = process_options(process, &count);
	char value[GUEST_RAM_NAME_MAX];

	for (uint32_t i = 0; i < count; i++) {
		const char *name = options[i].name;
		bool machine = strcmp(name, "machine") == 0 || strcmp(name, "M") == 0;

		if ((machine && backends_option_value(options[i].value, "memory-backend", value, sizeof(value))) ||
		    (strcmp(name, "numa") == 0 &&
		     backends_option_value(options[i].value, "memdev", value, sizeof(value))))
			return true;
	}
	return false;
}

int backends_of_process(const struct process *process, struct backends *backends, struct decant_error *err)
{
	int ret;

	backends->count = 0;
	ret = backends_list_options(process, backends, err);
	if (ret == 0 && !backends_machine_has(process))
		return decant_error_set(
			err, -ENOTSUP,
			"QEMU's memory is private, not shared: its command line gives the machine no "
			"memory backend; " BACKENDS_ADVICE);
	return ret;
}

/* Answers with text, or "" where there is none. */
static int backends_property(struct qmp *qmp, const char *id, const char *property, char *text, size_t room,
			     struct decant_error *err)
{
	char path[GUEST_RAM_NAME_MAX + 16];
	struct json_object *value = NULL;
	int ret;

	text[0] = '\0';
	snprintf(path, sizeof(path), "/objects/%s", id);
	ret = qmp_get_property(qmp, path, property, &value, err);
	if (ret == -EREMOTEIO) {
		decant_error_clear(err);
		return 0;
	}
	if (ret == 0 && json_object_is_type(value, json_type_string))
		ret = backends_copy(text, room, json_object_get_string(value), property, err);
	json_object_put(value);
	return ret;
}

static int backends_take_memdev(struct qmp *qmp, struct json_object *memdev, const struct backends *ordered,
				struct backend *backend, struct decant_error *err)
{
	const char *id = json_get_text(memdev, "id", "");
	int ret;

	backend->size = json_get_number(memdev, "size", 0);
	backend->shared = json_get_bool(memdev, "share", false);
	if (id[0] == '\0' || backend->size == 0)
		return decant_error_set(err, -EPROTO,
					"QEMU's memory: query-memdev lists a backend without id or size");
	ret = backends_copy(backend->id, sizeof(backend->id), id, "a backend's id", err);
	if (ret == 0)
		ret = backends_property(qmp, id, "type", backend->type, sizeof(backend->type), err);
	if (ret == 0)
		ret = backends_property(qmp, id, "mem-path", backend->path, sizeof(backend->path), err);
	backend->order = -1;
	for (uint32_t i = 0; i < ordered->count; i++) {
		if (strcmp(ordered->backend[i].id, id) == 0)
			backend->order = ordered->backend[i].order;
	}
	return ret;
}

/* "NAME  4 KiB  OFFSET USED TOTAL HVA RO", the columns that the head line names: @back from the end is the address */
static void backends_take_address(struct backends *backends, char *line, int back)
{
	char *column[BACKENDS_COLUMNS_MAX] = { NULL };
	int columns = 0;
	char *word;

	while ((word = strsep(&line, " ")) != NULL) {
		if (*word != '\0' && columns < BACKENDS_COLUMNS_MAX)
			column[columns++] = word;
	}
	if (columns < back + 2)
		return;
	for (uint32_t i = 0; i < backends->count; i++) {
		const char *name = column[0];

		name = strncmp(name, "/objects/", 9) == 0 ? name + 9 : name;
		if (strcmp(name, backends->backend[i].id) == 0)
			backends->backend[i].there = strtoull(column[columns - 1 - back], NULL, 16);
	}
}

/* How many columns stand behind the one of the addresses; -1: there is none. */
static int backends_address_column(const char *head)
{
	const char *at = strstr(head, " HVA");
	int behind = 0;

	if (at == NULL)
		return -1;
	for (at += 4; *at != '\0'; at++)
		behind += at[0] != ' ' && at[-1] == ' ';
	return behind;
}

/* Where QEMU tells it. */
static void backends_take_addresses(struct qmp *qmp, struct backends *backends)
{
	struct json_object *answer = NULL;
	const char *table;
	char *text, *rest, *line;
	int back = -1;

	if (qmp_call(qmp, "x-query-ramblock", NULL, &answer, NULL) < 0)
		return;
	table = json_get_text(answer, "human-readable-text", "");
	rest = text = strdup(table);
	while ((line = strsep(&rest, "\r\n")) != NULL) {
		if (back < 0)
			back = backends_address_column(line);
		else
			backends_take_address(backends, line, back);
	}
	free(text);
	json_object_put(answer);
}

static int backends_take_memdevs(struct qmp *qmp, struct json_object *list, const struct backends *ordered,
				 struct backends *backends, struct decant_error *err)
{
	size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < count; i++) {
		struct backend backend = { 0 };

		ret = backends_take_memdev(qmp, json_object_array_get_idx(list, i), ordered, &backend, err);
		if (ret == 0)
			ret = backends_add(backends, &backend, err);
	}
	return ret;
}

int backends_of_qmp(struct qmp *qmp, const struct process *process, struct backends *backends,
		    struct decant_error *err)
{
	struct backends *ordered = calloc(1, sizeof(*ordered));
	struct json_object *list = NULL;
	int ret;

	if (ordered == NULL)
		return decant_error_set(err, -ENOMEM, "QEMU's memory: no memory to list it");
	backends->count = 0;
	ret = backends_list_options(process, ordered, err);
	if (ret == 0)
		ret = qmp_call(qmp, "query-memdev", NULL, &list, err);
	if (ret == 0)
		ret = backends_take_memdevs(qmp, list, ordered, backends, err);
	if (ret == 0)
		backends_take_addresses(qmp, backends);
	json_object_put(list);
	free(ordered);
	return ret;
}
