/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owner_verbs.c -- what a VM's process answers on its control socket
 *
 *   status                       all about it
 *   pause, resume {force}        resume in doubt: asks the destination; the client gets "finished"
 *   migrate {options}            with "key": true, the key's file comes along as a descriptor; the client gets "progress" events and at last "finished" with the report
 *   cancel                       the client gets "finished" too
 *   stop
 */
#include "vmm/owner_internal.h"

#include "qemu/json.h"
#include "vmm/key_file.h"
#include "vmm/report.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct json_object *owner_ok(void)
{
	struct json_object *reply = json_object_new_object();

	json_add_bool(reply, "ok", true);
	return reply;
}

static const char *owner_dirty_name(enum decant_kvm_dirty dirty)
{
	return dirty == DECANT_KVM_DIRTY_RING ? "ring" : "log";
}

static void owner_add_machine(struct json_object *reply, struct machine *machine)
{
	const struct machine_config *config = machine_config(machine);

	json_add_number(reply, "memory_bytes", config->memory_bytes);
	json_add_number(reply, "allocated_bytes", decant_memory_allocated(machine_memory(machine)));
	json_add_number(reply, "page_size", config->page_size);
	json_add_number(reply, "vcpus", config->vcpus);
	json_add_text(reply, "dirty", owner_dirty_name(config->dirty));
	json_add_text(reply, "guest", config->guest == MACHINE_GUEST_STRESS ? "stress" : "kernel");
}

static void owner_status(struct owner *owner, struct control_client *client, struct json_object *request)
{
	struct json_object *reply = owner_ok();
	struct decant_stats stats;

	(void)request;
	json_add_text(reply, "vm", owner->name);
	json_add_text(reply, "state", owner_state(owner));
	json_add_number(reply, "pid", (uint64_t)getpid());
	if (owner->machine != NULL)
		owner_add_machine(reply, owner->machine);
	if (owner->departure != NULL) {
		departure_get_stats(owner->departure, &stats);
		json_add_text(reply, "to", departure_peer(owner->departure));
		json_object_object_add(reply, "migration", report_progress_json(&stats));
	}
	control_reply(client, reply);
}

/* refuses, unless there is a machine that nothing else is done with */
static bool owner_is_free(struct owner *owner, struct control_client *client)
{
	if (owner->machine == NULL)
		control_refuse(client, "no VM has arrived yet");
	else if (owner->in_doubt)
		control_refuse(client, "whether it runs at %s is in doubt; \"decant resume %s\" asks again",
			       departure_peer(owner->departure), owner->name);
	else if (owner->departure != NULL)
		control_refuse(client, "it is being migrated to %s; cancel that first",
			       departure_peer(owner->departure));
	else
		return true;
	return false;
}

static void owner_pause(struct owner *owner, struct control_client *client, struct json_object *request)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)request;
	if (!owner_is_free(owner, client))
		return;
	if (machine_get_state(owner->machine) == MACHINE_HELD)
		control_refuse(client, "it is paused already");
	else if (machine_hold(owner->machine, NULL, &err) < 0)
		control_refuse(client, "%s", err.msg);
	else
		control_reply(client, owner_ok());
}

static void owner_settle(struct owner *owner, struct control_client *client, bool force)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct json_object *reply;

	if (owner->settling) {
		control_refuse(client, "that is being found out already");
		return;
	}
	if (departure_settle(owner->departure, force, &err) < 0) {
		control_refuse(client, "%s", err.msg);
		return;
	}
	owner->settling = true;
	reply = owner_ok();
	json_add_bool(reply, "wait", true);
	control_reply(client, reply);
	control_watch(client);
}

static void owner_resume(struct owner *owner, struct control_client *client, struct json_object *request)
{
	struct decant_error err = DECANT_ERROR_INIT;

	if (owner->in_doubt) {
		owner_settle(owner, client, json_get_bool(request, "force", false));
		return;
	}
	if (!owner_is_free(owner, client))
		return;
	if (machine_get_state(owner->machine) == MACHINE_RUNNING)
		control_refuse(client, "it is not paused");
	else if (machine_run(owner->machine, NULL, &err) < 0)
		control_refuse(client, "%s", err.msg);
	else
		control_reply(client, owner_ok());
}

/* 1: there is a key; 0: there is none */
static int owner_take_key(struct control_client *client, struct json_object *request, struct key *key,
			  struct decant_error *err)
{
	DECANT_AUTO_CLOSE const int fd = control_take_fd(client);
	int ret;

	if (!json_get_bool(request, "key", false))
		return 0;
	if (fd < 0)
		return decant_error_set(err, -EINVAL, "\"key\" is said, and no descriptor of a file came along");
	ret = key_file_read(fd, "(passed on)", key, err);
	return ret < 0 ? ret : 1;
}

static void owner_migrate(struct owner *owner, struct control_client *client, struct json_object *request)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct departure_host host = {
		.machine = owner_host(owner),
		.log = owner->opts.log,
		.control = owner->control,
		.wake_fd = owner->wake_fd,
	};
	struct departure_opts opts;
	struct key key;
	int ret;

	if (!owner_is_free(owner, client))
		return;
	ret = departure_from_json(request, &opts, &err);
	if (ret == 0)
		ret = owner_take_key(client, request, &key, &err);
	opts.key = ret > 0 ? &key : NULL;
	if (ret >= 0 && opts.cpus[0] == '\0' && owner->opts.cpus != NULL)
		snprintf(opts.cpus, sizeof(opts.cpus), "%s", owner->opts.cpus);
	if (ret >= 0)
		ret = departure_start(&opts, &host, owner->machine, &owner->departure, &err);
	key_wipe(&key);
	if (ret < 0) {
		control_refuse(client, "%s", err.msg);
		return;
	}
	control_reply(client, owner_ok());
	control_watch(client);
}

static void owner_cancel(struct owner *owner, struct control_client *client, struct json_object *request)
{
	(void)request;
	if (owner->departure == NULL || owner->in_doubt) {
		control_refuse(client, "it is not being migrated");
		return;
	}
	departure_cancel(owner->departure);
	control_reply(client, owner_ok());
	control_watch(client);
}

static void owner_stop_verb(struct owner *owner, struct control_client *client, struct json_object *request)
{
	(void)request;
	if (owner->departure != NULL && !owner->in_doubt) {
		control_refuse(client, "it is being migrated to %s; cancel that first",
			       departure_peer(owner->departure));
		return;
	}
	control_reply(client, owner_ok());
	owner_stop(owner);
}

static const struct owner_verb {
	const char *name;
	void (*answer)(struct owner *owner, struct control_client *client, struct json_object *request);
} owner_verbs[] = {
	{ "status", owner_status },   { "pause", owner_pause },   { "resume", owner_resume },
	{ "migrate", owner_migrate }, { "cancel", owner_cancel }, { "stop", owner_stop_verb },
};

void owner_request(void *opaque, struct control_client *client, struct json_object *request)
{
	struct owner *owner = opaque;
	const char *verb = json_get_text(request, "verb", NULL);

	for (size_t i = 0; verb != NULL && i < sizeof(owner_verbs) / sizeof(owner_verbs[0]); i++) {
		if (strcmp(verb, owner_verbs[i].name) == 0) {
			owner_verbs[i].answer(owner, client, request);
			return;
		}
	}
	control_refuse(client, "a request names a \"verb\": status, pause, resume, migrate, cancel "
			       "or stop");
}
