/* SPDX-License-Identifier: BSD-2-Clause */
/* preflight_judge.c -- the rules of preflight: what is accepted, what is refused, and what to change then */
#include "qemu/json.h"
#include "qemu/preflight_private.h"
#include "qemu/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @why NULL: accepted. */
struct preflight_capability {
	const char *name;
	const char *why; /* "...: it is refused" */
};

static const struct preflight_capability preflight_capabilities[] = {
	{ "auto-converge", NULL },
	{ "background-snapshot", "it sends the devices' state from the middle of the memory's" },
	{ "block", "it sends disks in the stream; mirror them over NBD instead (--disks)" },
	{ "compress", "pages come compressed, and decant moves them as they are" },
	{ "dirty-bitmaps", NULL },
	{ "dirty-limit", NULL },
	{ "events", NULL },
	{ "late-block-activate", NULL },
	{ "mapped-ram", "it is for files" },
	{ "multifd", NULL },
	{ "pause-before-switchover", NULL },
	{ "postcopy-blocktime", NULL },
	{ "postcopy-preempt", "it belongs to post-copy" },
	{ "postcopy-ram",
	  "the destination would discard the memory that decant writes to, and ask for pages over the "
	  "stream" },
	{ "rdma-pin-all", NULL },
	{ "release-ram", "it belongs to post-copy" },
	{ "return-path", NULL },
	{ "switchover-ack", NULL },
	{ "validate-uuid", NULL },
	{ "x-colo", "it keeps two VMs in step, and decant moves one" },
	{ "x-ignore-shared", "QEMU would not say which pages of shared memory change" },
	{ "xbzrle", "pages come as differences, which the memory that decant reads makes needless" },
	{ "zero-blocks", NULL },
	{ "zero-copy-send", "it is for TCP, and QEMU's connection to the sidecar is a UNIX socket" },
};

static const char *preflight_who(const struct preflight *preflight)
{
	return preflight->opts.end == PREFLIGHT_SOURCE ? "the source's QEMU" : "the destination's QEMU";
}

static const struct preflight_capability *preflight_find_capability(const char *name)
{
	for (size_t i = 0; i < sizeof(preflight_capabilities) / sizeof(preflight_capabilities[0]); i++) {
		if (strcmp(preflight_capabilities[i].name, name) == 0)
			return &preflight_capabilities[i];
	}
	return NULL;
}

/* "capability NAME" */
static void preflight_refuse_capability(struct preflight *preflight, const char *name, const char *why)
{
	char what[PREFLIGHT_NAME_MAX];

	snprintf(what, sizeof(what), "capability %.40s", name);
	preflight_refuse(preflight, what,
			 "%s: capability %.40s is on: %s; turn it off: " PREFLIGHT_CAPABILITY("false"),
			 preflight_who(preflight), name, why, name);
}

static void preflight_judge_capability(struct preflight *preflight, const char *name)
{
	const struct preflight_capability *known = preflight_find_capability(name);

	if (strlen(name) > 40)
		preflight_refuse(preflight, "capability", "%s: a capability with an absurd name is on",
				 preflight_who(preflight));
	else if (known == NULL)
		preflight_refuse_capability(preflight, name, "decant does not know what it does to the stream");
	else if (known->why != NULL)
		preflight_refuse_capability(preflight, name, known->why);
}

/* Of a list that has been checked. */
bool preflight_has(struct json_object *list, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (strcmp(json_get_text(item, "capability", ""), name) == 0)
			return json_get_bool(item, "state", false);
	}
	return false;
}

int preflight_judge_capabilities(struct preflight *preflight, struct json_object *list, struct decant_error *err)
{
	if (!json_object_is_type(list, json_type_array))
		return decant_error_set(err, -EPROTO, "QEMU: query-migrate-capabilities: answered with no list");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (json_get_bool(item, "state", false))
			preflight_judge_capability(preflight, json_get_text(item, "capability", ""));
	}
	if (preflight->opts.end == PREFLIGHT_SOURCE && !preflight->opts.mend &&
	    !preflight_has(list, "return-path"))
		preflight_refuse(
			preflight, "capability return-path",
			"%s: capability return-path is off: it could not tell whether the destination has loaded "
			"the VM; turn it on: " PREFLIGHT_CAPABILITY("true"),
			preflight_who(preflight), "return-path");
	return 0;
}

static void preflight_judge_multifd(struct preflight *preflight, const char *compression)
{
	if (strcmp(compression, "none") != 0)
		preflight_refuse(
			preflight, "multifd-compression",
			"%s: multifd-compression is %.20s: decant moves pages as they are; set it: "
			"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"multifd-compression\": "
			"\"none\"}}",
			preflight_who(preflight), compression);
}

void preflight_judge_parameters(struct preflight *preflight, struct json_object *parameters)
{
	const char *mode = json_get_text(parameters, "mode", "normal");

	if (json_get_text(parameters, "tls-creds", "")[0] != '\0')
		preflight_refuse(
			preflight, "tls-creds",
			"%s: tls-creds is set: the sidecars could not read what QEMU encrypts; protect their "
			"connection with --key-file, and set it: {\"execute\": \"migrate-set-parameters\", "
			"\"arguments\": {\"tls-creds\": \"\"}}",
			preflight_who(preflight));
	if (strcmp(mode, "normal") != 0)
		preflight_refuse(
			preflight, "mode",
			"%s: the migration's mode is %.20s, which does not send memory; set it: {\"execute\": "
			"\"migrate-set-parameters\", \"arguments\": {\"mode\": \"normal\"}}",
			preflight_who(preflight), mode);
	if (json_get_number(preflight->facts, "multifd_channels", 0) != 0)
		preflight_judge_multifd(preflight, json_get_text(parameters, "multifd-compression", "none"));
}

/* "pc-i440fx-2.3" is 203; 0: its name tells no version */
static uint64_t preflight_machine_version(const char *machine)
{
	const char *version = strrchr(machine, '-');
	unsigned int major, minor;

	if (version == NULL || sscanf(version, "-%3u.%2u", &major, &minor) != 2)
		return 0;
	return major * UINT64_C(100) + minor;
}

void preflight_judge_machine(struct preflight *preflight, const char *type)
{
	size_t length = strlen(type);
	char machine[PREFLIGHT_NAME_MAX];
	uint64_t version;

	if (length > 8 && strcmp(type + length - 8, "-machine") == 0)
		length -= 8;
	snprintf(machine, sizeof(machine), "%.*s", (int)(length < sizeof(machine) ? length : sizeof(machine) - 1),
		 type);
	json_add_text(preflight->facts, "machine", machine);
	version = preflight_machine_version(machine);
	if (version > 0 && version < 204)
		preflight_refuse(
			preflight, "machine type",
			"%s: machine type %s is older than 2.4: its stream does not tell where sections end; "
			"start the VM with a newer -machine",
			preflight_who(preflight), machine);
}

void preflight_judge_driver(struct preflight *preflight, const char *driver, const char *id)
{
	if (strncmp(driver, "virtio-mem", 10) == 0)
		preflight_refuse(preflight, "virtio-mem",
				 "%s: device %.60s (%.40s) takes memory away from under the sidecar; remove it: "
				 "start the VM without -device %.40s, or with -device pc-dimm instead",
				 preflight_who(preflight), id, driver, driver);
	if (strncmp(driver, "ivshmem", 7) == 0)
		preflight_refuse(preflight, "ivshmem",
				 "%s: device %.60s (%.40s) has memory that other VMs use, too: it would be made "
				 "zero and written to; start the VM without -device %.40s",
				 preflight_who(preflight), id, driver, driver);
	if (strncmp(driver, "virtio-balloon", 14) == 0 && preflight->opts.end == PREFLIGHT_SOURCE &&
	    preflight->opts.pinned)
		preflight_refuse(
			preflight, "virtio-balloon",
			"%s: device %.60s (%.40s) takes pages away that the NIC still reads; remove it: "
			"{\"execute\": \"device_del\", \"arguments\": {\"id\": \"%.60s\"}} (libvirt: <memballoon "
			"model='none'/>), or migrate with --fabric tcp",
			preflight_who(preflight), id, driver, id);
}

/* "-device virtio-balloon-pci,id=b", or as JSON */
static void preflight_judge_device(struct preflight *preflight, const char *value)
{
	struct json_object *object = value[0] == '{' ? json_parse_object(value, strlen(value)) : NULL;
	char driver[PREFLIGHT_NAME_MAX];

	snprintf(driver, sizeof(driver), "%.*s", (int)strcspn(value, ","), value);
	preflight_judge_driver(preflight, object != NULL ? json_get_text(object, "driver", "") : driver,
			       object != NULL ? json_get_text(object, "id", "without id") : "of its command line");
	json_object_put(object);
}

static void preflight_judge_waits(struct preflight *preflight, const struct process *process)
{
	bool waits = process_has_option(process, "S");

	json_add_bool(preflight->facts, "waits", waits);
	if (preflight->opts.end == PREFLIGHT_DEST && !waits)
		preflight_refuse(
			preflight, "not started with -S",
			"%s was not started with -S: it would run the VM as soon as it has loaded it, though the "
			"source may run it still; start it with -S (and -incoming), and the VM is started when "
			"the source has given it up",
			preflight_who(preflight));
	if (preflight->opts.end == PREFLIGHT_DEST && !process_has_option(process, "incoming"))
		preflight_refuse(preflight, "not incoming",
				 "%s was not started to receive a VM; start it with -incoming defer, or -incoming "
				 "unix:PATH",
				 preflight_who(preflight));
}

void preflight_judge_process(struct preflight *preflight, const struct process *process)
{
	uint32_t count;
	const struct process_option *options = process_options(process, &count);

	preflight_judge_waits(preflight, process);
	if (json_get_bool(preflight->facts, "qmp", false))
		return; /* which has said what devices there are now */
	for (uint32_t i = 0; i < count; i++) {
		if (strcmp(options[i].name, "device") == 0 && options[i].value != NULL)
			preflight_judge_device(preflight, options[i].value);
	}
}
