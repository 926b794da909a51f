/* SPDX-License-Identifier: BSD-2-Clause */
/* command_vm.c -- decant list, status, pause, resume, cancel, stop: one request to one VM's process, or to each */
#include "qemu/json.h"
#include "vmm/client.h"
#include "vmm/command.h"
#include "vmm/words.h"

#include "util/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct json_object *vm_request(const char *verb)
{
	struct json_object *request = json_object_new_object();

	json_add_text(request, "verb", verb);
	return request;
}

static void list_print(struct json_object *status)
{
	char memory[WORDS_MAX] = "-";

	if (json_get_number(status, "memory_bytes", 0) != 0)
		words_bytes(memory, json_get_number(status, "memory_bytes", 0));
	printf("%-20s %-10s %10s %6llu %8llu\n", json_get_text(status, "vm", "?"),
	       json_get_text(status, "state", "?"), memory,
	       (unsigned long long)json_get_number(status, "vcpus", 0),
	       (unsigned long long)json_get_number(status, "pid", 0));
}

/* a VM that goes away while it is asked was not there */
static void list_each(char **names, int count, bool json)
{
	struct json_object *array = json ? json_object_new_array() : NULL;

	if (!json && count > 0)
		printf("%-20s %-10s %10s %6s %8s\n", "NAME", "STATE", "MEMORY", "VCPUS", "PROCESS");
	for (int i = 0; i < count; i++) {
		struct json_object *status;

		if (client_call_name(names[i], vm_request("status"), &status, NULL) < 0)
			continue;
		json_object_object_del(status, "ok");
		if (json) {
			json_object_array_add(array, status);
			continue;
		}
		list_print(status);
		json_object_put(status);
	}
	if (json)
		command_print_json(array);
	json_object_put(array);
}

int command_list(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_simple options;
	char **names;
	int count;
	int status = command_parsed("list", options_simple(argc, argv, false, false, &options, &err), &err);

	if (status >= 0)
		return status;
	count = client_names(&names, &err);
	if (count < 0)
		return command_fail("list", NULL, EXIT_FAILED, &err);
	list_each(names, count, options.json);
	client_names_free(names, count);
	return command_flush("list", EXIT_DONE);
}

static void status_print_migration(struct json_object *status)
{
	struct json_object *migration = NULL;

	if (!json_object_object_get_ex(status, "migration", &migration))
		return;
	printf("  migration  to %s: %s, pass %llu, %.1f%%\n", json_get_text(status, "to", "?"),
	       json_get_text(migration, "state", "?"), (unsigned long long)json_get_number(migration, "pass", 0),
	       (double)json_get_number(migration, "permille", 0) / 10);
}

static void status_print(struct json_object *status)
{
	char memory[WORDS_MAX], allocated[WORDS_MAX], page[WORDS_MAX];

	printf("%s: %s, process %llu\n", json_get_text(status, "vm", "?"), json_get_text(status, "state", "?"),
	       (unsigned long long)json_get_number(status, "pid", 0));
	if (json_get_number(status, "vcpus", 0) == 0)
		return;
	printf("  memory     %s, %s of it allocated, in pages of %s, writes tracked by dirty %s\n",
	       words_bytes(memory, json_get_number(status, "memory_bytes", 0)),
	       words_bytes(allocated, json_get_number(status, "allocated_bytes", 0)),
	       words_bytes(page, json_get_number(status, "page_size", 0)), json_get_text(status, "dirty", "?"));
	printf("  vCPUs      %llu\n", (unsigned long long)json_get_number(status, "vcpus", 0));
	printf("  guest      %s\n", json_get_text(status, "guest", "?"));
	status_print_migration(status);
	if (strcmp(json_get_text(status, "state", ""), "in-doubt") == 0)
		printf("  IN DOUBT   it may run at %s; \"decant resume %s\" asks there again\n",
		       json_get_text(status, "to", "?"), json_get_text(status, "vm", "?"));
}

int command_status(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_simple options;
	struct json_object *reply;
	int status = command_parsed("status", options_simple(argc, argv, true, false, &options, &err), &err);

	if (status >= 0)
		return status;
	if (client_call_name(options.name, vm_request("status"), &reply, &err) < 0)
		return command_fail("status", NULL, EXIT_FAILED, &err);
	json_object_object_del(reply, "ok");
	if (options.json)
		command_print_json(reply);
	else
		status_print(reply);
	json_object_put(reply);
	return command_flush("status", EXIT_DONE);
}

static void vm_say(const struct options_simple *options, const char *done)
{
	struct json_object *json;

	if (!options->json) {
		printf("%s: %s\n", options->name, done);
		return;
	}
	json = json_object_new_object();
	json_add_text(json, "vm", options->name);
	json_add_text(json, "done", done);
	command_print_json(json);
	json_object_put(json);
}

/* the errors of a VM's process, and of a name that is none, which already names it */
static int vm_fail(const char *verb, const struct options_simple *options, int status,
		   const struct decant_error *err)
{
	return command_fail(verb, err->code == -ENOENT ? NULL : options->name, status, err);
}

static int vm_order(int argc, char **argv, const char *verb, const char *done)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_simple options;
	int status = command_parsed(verb, options_simple(argc, argv, true, false, &options, &err), &err);

	if (status >= 0)
		return status;
	if (client_call_name(options.name, vm_request(verb), NULL, &err) < 0)
		return vm_fail(verb, &options, EXIT_FAILED, &err);
	vm_say(&options, done);
	return command_flush(verb, EXIT_DONE);
}

int command_pause(int argc, char **argv)
{
	return vm_order(argc, argv, "pause", "paused");
}

int command_stop(int argc, char **argv)
{
	return vm_order(argc, argv, "stop", "stopped");
}

/* wait for "finished"; its report is the caller's */
static int vm_await_report(struct client *client, struct json_object **report, struct decant_error *err)
{
	struct json_object *line;
	int ret;

	*report = NULL;
	while (*report == NULL) {
		ret = client_next(client, CLOCK_NEVER, &line, err);
		if (ret < 0)
			return ret;
		if (json_object_object_get_ex(line, "report", report))
			json_object_get(*report);
		json_object_put(line);
	}
	return 0;
}

/* ask, and if that takes a while, wait for the report; *@report is NULL if it did not */
static int vm_ask_and_wait(const char *name, struct json_object *request, bool always_waits,
			   struct json_object **report, struct decant_error *err)
{
	struct json_object *reply = NULL;
	struct client *client;
	int ret = client_open(name, &client, err);

	*report = NULL;
	if (ret < 0) {
		json_object_put(request);
		return ret;
	}
	ret = client_call(client, request, &reply, err);
	if (ret == 0 && (always_waits || json_get_bool(reply, "wait", false)))
		ret = vm_await_report(client, report, err);
	json_object_put(reply);
	client_close(client);
	return ret;
}

static int resume_settled(const struct options_simple *options, struct json_object *report)
{
	struct decant_error err = DECANT_ERROR_INIT;
	const char *outcome = json_get_text(report, "outcome", "");

	if (strcmp(outcome, "completed") == 0) {
		decant_error_set(&err, -EEXIST, "it runs at %s, so it must not run here",
				 json_get_text(report, "peer", "its destination"));
		return vm_fail("resume", options, EXIT_FAILED, &err);
	}
	if (strcmp(outcome, "in-doubt") == 0) {
		decant_error_set(&err, -EINPROGRESS, "still in doubt: %s",
				 json_get_text(report, "error",
					       "the destination does not answer; --force if you know "
					       "that it does not run there"));
		return vm_fail("resume", options, EXIT_IN_DOUBT, &err);
	}
	vm_say(options, "resumed; it never ran at the destination");
	return EXIT_DONE;
}

int command_resume(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_simple options;
	struct json_object *request, *report;
	int status = command_parsed("resume", options_simple(argc, argv, true, true, &options, &err), &err);

	if (status >= 0)
		return status;
	request = vm_request("resume");
	json_add_bool(request, "force", options.force);
	if (vm_ask_and_wait(options.name, request, false, &report, &err) < 0)
		return vm_fail("resume", &options, EXIT_FAILED, &err);
	status = EXIT_DONE;
	if (report != NULL)
		status = resume_settled(&options, report);
	else
		vm_say(&options, "resumed");
	json_object_put(report);
	return command_flush("resume", status);
}

int command_cancel(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_simple options;
	struct json_object *report;
	int status = command_parsed("cancel", options_simple(argc, argv, true, false, &options, &err), &err);

	if (status >= 0)
		return status;
	if (vm_ask_and_wait(options.name, vm_request("cancel"), true, &report, &err) < 0)
		return vm_fail("cancel", &options, EXIT_FAILED, &err);
	status = EXIT_DONE;
	if (strcmp(json_get_text(report, "outcome", ""), "completed") == 0) {
		decant_error_set(&err, -EALREADY, "too late: it runs at %s",
				 json_get_text(report, "peer", "its destination"));
		status = vm_fail("cancel", &options, EXIT_FAILED, &err);
	} else if (report_exit(report) == EXIT_IN_DOUBT) {
		decant_error_set(&err, -EINPROGRESS, "too late: the outcome is in doubt");
		status = vm_fail("cancel", &options, EXIT_IN_DOUBT, &err);
	} else {
		vm_say(&options, "migration cancelled");
	}
	json_object_put(report);
	return command_flush("cancel", status);
}
