/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * preflight.c -- may this QEMU migrate through the sidecars? One look at it, by its monitor and its command line
 *
 * All is asked before anything is judged wrong for good: who is refused is told everything that is to be changed, at once.
 */
#include "qemu/preflight.h"
#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/preflight_private.h"
#include "qemu/process.h"
#include "qemu/qmp.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFLIGHT_VERSION_MIN 70200u

struct preflight *preflight_new(const struct preflight_opts *opts)
{
	struct preflight *preflight = calloc(1, sizeof(*preflight));

	if (preflight == NULL)
		return NULL;
	preflight->opts = *opts;
	preflight->facts = json_object_new_object();
	if (preflight->facts == NULL) {
		free(preflight);
		return NULL;
	}
	return preflight;
}

void preflight_refuse(struct preflight *preflight, const char *name, const char *fmt, ...)
{
	uint32_t index = preflight->count;
	size_t used;
	va_list args;

	if (index == PREFLIGHT_REFUSALS_MAX)
		return;
	snprintf(preflight->name[index], PREFLIGHT_NAME_MAX, "%s", name);
	va_start(args, fmt);
	vsnprintf(preflight->text[index], PREFLIGHT_TEXT_MAX, fmt, args);
	va_end(args);
	for (char *at = preflight->text[index]; *at != '\0'; at++)
		*at = (char)(iscntrl((unsigned char)*at) ? ' ' : *at);
	preflight->refusal[index] = (struct preflight_refusal){
		.name = preflight->name[index],
		.text = preflight->text[index],
	};
	used = strlen(preflight->unfit);
	snprintf(preflight->unfit + used, sizeof(preflight->unfit) - used, "%s%s", index > 0 ? "; " : "",
		 preflight->text[index]);
	preflight->count++;
	json_add_text(preflight->facts, "unfit", preflight->unfit);
}

/* What QEMU answers, or NULL where it does not know the command, or the object. */
static int preflight_ask(struct qmp *qmp, const char *command, struct json_object **answer,
			 struct decant_error *err)
{
	int ret;

	*answer = NULL;
	ret = qmp_call(qmp, command, NULL, answer, err);
	if (ret != -EREMOTEIO)
		return ret;
	decant_error_clear(err);
	return 0;
}

static void preflight_look_version(struct preflight *preflight, struct qmp *qmp)
{
	const char *text;
	uint32_t version = qmp_version(qmp, &text);

	json_add_number(preflight->facts, "version", version);
	json_add_text(preflight->facts, "version_text", text);
	if (version < PREFLIGHT_VERSION_MIN)
		preflight_refuse(preflight, "version",
				 "QEMU %s: decant knows the stream of 7.2 and newer; use one of these", text);
}

static int preflight_look_machine(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	struct json_object *answer = NULL;
	int ret = qmp_get_property(qmp, "/machine", "type", &answer, err);

	if (ret == 0 && json_object_is_type(answer, json_type_string))
		preflight_judge_machine(preflight, json_object_get_string(answer));
	json_object_put(answer);
	if (ret < 0)
		return ret;
	ret = preflight_ask(qmp, "query-memory-size-summary", &answer, err);
	if (answer != NULL)
		json_add_number(preflight->facts, "memory",
				json_get_number(answer, "base-memory", 0) +
					json_get_number(answer, "plugged-memory", 0));
	json_object_put(answer);
	return ret;
}

/* How it is to be migrated: capabilities, then parameters. */
static int preflight_look_settings(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	struct json_object *capabilities = NULL, *parameters = NULL;
	int ret = qmp_call(qmp, "query-migrate-capabilities", NULL, &capabilities, err);

	if (ret == 0)
		ret = qmp_call(qmp, "query-migrate-parameters", NULL, &parameters, err);
	if (ret == 0)
		ret = preflight_judge_capabilities(preflight, capabilities, err);
	if (ret == 0) {
		json_add_number(preflight->facts, "multifd_channels",
				preflight_has(capabilities, "multifd")
					? json_get_number(parameters, "multifd-channels", 0)
					: 0);
		preflight_judge_parameters(preflight, parameters);
	}
	json_object_put(capabilities);
	json_object_put(parameters);
	return ret;
}

static bool preflight_is_one_of(const char *word, const char *const *list)
{
	while (*list != NULL && strcmp(word, *list) != 0)
		list++;
	return *list != NULL;
}

/* Where QEMU is in the life of a migration that it sends. */
static void preflight_judge_sender(struct preflight *preflight, const char *run, const char *migration)
{
	static const char *const over[] = { "", "none", "completed", "failed", "cancelled", NULL };

	if (strcmp(run, "inmigrate") == 0)
		preflight_refuse(preflight, "status",
				 "the source's QEMU waits for a VM itself (-incoming); is this the right monitor?");
	if (strcmp(run, "postmigrate") == 0)
		preflight_refuse(
			preflight, "status",
			"the VM has migrated away from the source's QEMU already; docs/qemu.md, \"Settling by hand\", if "
			"it is not sure where it is");
	if (!preflight->opts.under_way && !preflight_is_one_of(migration, over))
		preflight_refuse(
			preflight, "migrating",
			"the source's QEMU migrates already (%.30s); wait for its end, or stop it: {\"execute\": "
			"\"migrate_cancel\"}",
			migration);
}

/* On what it listens; NULL: on nothing yet. */
static const char *preflight_listens(struct json_object *migrate)
{
	struct json_object *list = NULL;

	json_object_object_get_ex(migrate, "socket-address", &list);
	if (!json_object_is_type(list, json_type_array) || json_object_array_length(list) == 0)
		return NULL;
	return json_get_text(json_object_array_get_idx(list, 0), "type", "");
}

static void preflight_judge_receiver(struct preflight *preflight, const char *run, struct json_object *migrate)
{
	static const char *const before[] = { "", "none", "setup", NULL };
	const char *migration = json_get_text(migrate, "status", "");
	const char *listens = preflight_listens(migrate);

	json_add_text(preflight->facts, "incoming",
		      strcmp(run, "inmigrate") != 0 ? "none" : (listens != NULL ? "listening" : "deferred"));
	if (strcmp(run, "inmigrate") != 0)
		preflight_refuse(
			preflight, "not incoming",
			"the destination's QEMU does not wait for a VM (its status is %.30s); start a new one with "
			"-S and -incoming defer, or -incoming unix:PATH",
			run);
	else if (!preflight->opts.under_way && !preflight_is_one_of(migration, before))
		preflight_refuse(
			preflight, "migrating",
			"the destination's QEMU receives, or has received, a VM already (%.30s); start a new one",
			migration);
	if (listens != NULL && strcmp(listens, "unix") != 0)
		preflight_refuse(
			preflight, "not on a UNIX socket",
			"the destination's QEMU waits for a VM on a socket of type %.20s; start it with -incoming "
			"defer, or -incoming unix:PATH",
			listens);
}

static int preflight_look_status(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	struct json_object *status = NULL, *migrate = NULL;
	int ret = qmp_call(qmp, "query-status", NULL, &status, err);

	if (ret == 0)
		ret = qmp_call(qmp, "query-migrate", NULL, &migrate, err);
	if (ret == 0 && preflight->opts.end == PREFLIGHT_SOURCE)
		preflight_judge_sender(preflight, json_get_text(status, "status", ""),
				       json_get_text(migrate, "status", ""));
	else if (ret == 0)
		preflight_judge_receiver(preflight, json_get_text(status, "status", ""), migrate);
	json_object_put(status);
	json_object_put(migrate);
	return ret;
}

/* "child<virtio-balloon-pci>" */
static void preflight_judge_child(struct preflight *preflight, struct json_object *item)
{
	const char *type = json_get_text(item, "type", "");
	char driver[PREFLIGHT_NAME_MAX];

	if (sscanf(type, "child<%63[^>]>", driver) == 1)
		preflight_judge_driver(preflight, driver, json_get_text(item, "name", ""));
}

static int preflight_look_devices(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	static const char *const folders[] = { "/machine/peripheral", "/machine/peripheral-anon" };
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
		struct json_object *path = json_object_new_object();
		struct json_object *list = NULL;

		json_add_text(path, "path", folders[i]);
		ret = qmp_call(qmp, "qom-list", path, &list, err);
		for (size_t k = 0;
		     json_object_is_type(list, json_type_array) && k < json_object_array_length(list); k++)
			preflight_judge_child(preflight, json_object_array_get_idx(list, k));
		json_object_put(list);
	}
	return ret;
}

static void preflight_add_blocks(struct preflight *preflight, const struct guest_ram *ram)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < guest_ram_count(ram); i++) {
		const struct guest_ram_block *block = guest_ram_block(ram, i);
		struct json_object *item = json_object_new_object();

		json_add_text(item, "name", block->name);
		json_add_number(item, "length", block->length);
		json_add_number(item, "page_size", block->page_size);
		json_object_array_add(list, item);
		if (block->length % block->page_size != 0)
			preflight_refuse(preflight, "memory",
					 "QEMU's memory: backend %.60s has %" PRIu64
					 " bytes, no multiple of its pages of "
					 "%" PRIu64 "; give it a size= that is, at both ends",
					 block->name, block->length, block->page_size);
	}
	json_object_object_add(preflight->facts, "blocks", list);
}

/* What is wrong with the memory is a reason to refuse; an error only where QEMU cannot be asked any more. */
static int preflight_look_memory(struct preflight *preflight, pid_t pid, struct qmp *qmp, struct decant_error *err)
{
	uint64_t memory = json_get_number(preflight->facts, "memory", 0);
	struct decant_error why = DECANT_ERROR_INIT;
	struct guest_ram *ram = NULL;
	int ret = guest_ram_find(pid, qmp, preflight->opts.proc, &ram, &why);

	if (ret == -ETIMEDOUT || ret == -ECANCELED || ret == -ECONNRESET || ret == -ENOMEM) {
		decant_error_set(err, ret, "%s", why.msg);
		return ret;
	}
	if (ret < 0) {
		preflight_refuse(preflight, "memory", "%s: %s",
				 preflight->opts.end == PREFLIGHT_SOURCE ? "the source" : "the destination",
				 why.msg);
		return 0;
	}
	preflight_add_blocks(preflight, ram);
	if (guest_ram_bytes(ram) < memory)
		preflight_refuse(
			preflight, "memory",
			"only %" PRIu64 " of the VM's %" PRIu64
			" bytes of memory are in shared memory backends; start QEMU with all of it in such",
			guest_ram_bytes(ram), memory);
	guest_ram_free(ram);
	return 0;
}

static int preflight_look_pid(struct preflight *preflight, pid_t pid, struct qmp *qmp, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;
	struct process *process;
	int ret = process_open(pid, preflight->opts.proc, &process, &why);

	if (ret < 0) {
		if (qmp == NULL)
			return decant_error_set(err, ret, "%s", why.msg);
		preflight_refuse(preflight, "process", "%s", why.msg);
		return 0;
	}
	preflight_judge_process(preflight, process);
	process_free(process);
	return preflight_look_memory(preflight, pid, qmp, err);
}

static int preflight_look_all(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	int ret = preflight_look_status(preflight, qmp, err);

	if (ret == 0)
		ret = preflight_look_settings(preflight, qmp, err);
	if (ret == 0)
		ret = preflight_look_machine(preflight, qmp, err);
	if (ret == 0)
		ret = preflight_look_devices(preflight, qmp, err);
	return ret == 0 ? preflight_look_pid(preflight, qmp_pid(qmp), qmp, err) : ret;
}

static int preflight_begin(const struct preflight_opts *opts, bool qmp, struct preflight **preflight,
			   struct decant_error *err)
{
	*preflight = preflight_new(opts);
	if (*preflight == NULL)
		return decant_error_set(err, -ENOMEM, "preflight: no memory");
	json_add_bool((*preflight)->facts, "qmp", qmp);
	return 0;
}

static int preflight_end(struct preflight *preflight, int ret, struct preflight **preflight_ptr)
{
	if (ret < 0)
		preflight_free(preflight);
	else
		*preflight_ptr = preflight;
	return ret;
}

int preflight_look(struct qmp *qmp, const struct preflight_opts *opts, struct preflight **preflight_ptr,
		   struct decant_error *err)
{
	struct preflight *preflight;
	int ret = preflight_begin(opts, true, &preflight, err);

	if (ret < 0)
		return ret;
	preflight_look_version(preflight, qmp);
	return preflight_end(preflight, preflight_look_all(preflight, qmp, err), preflight_ptr);
}

int preflight_look_process(pid_t pid, const struct preflight_opts *opts, struct preflight **preflight_ptr,
			   struct decant_error *err)
{
	struct preflight *preflight;
	int ret = preflight_begin(opts, false, &preflight, err);

	return ret < 0 ? ret
		       : preflight_end(preflight, preflight_look_pid(preflight, pid, NULL, err), preflight_ptr);
}

uint32_t preflight_count(const struct preflight *preflight)
{
	return preflight->count;
}

const struct preflight_refusal *preflight_refusal(const struct preflight *preflight, uint32_t index)
{
	return index < preflight->count ? &preflight->refusal[index] : NULL;
}

const char *preflight_unfit(const struct preflight *preflight)
{
	return preflight->count > 0 ? preflight->unfit : NULL;
}

struct json_object *preflight_facts(const struct preflight *preflight)
{
	return preflight->facts;
}

void preflight_free(struct preflight *preflight)
{
	if (preflight == NULL)
		return;
	json_object_put(preflight->facts);
	free(preflight);
}
