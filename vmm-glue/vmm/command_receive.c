/* SPDX-License-Identifier: BSD-2-Clause */
/* command_receive.c -- decant receive: take a VM in, and run it in this process */
#include "qemu/json.h"
#include "vmm/command.h"
#include "vmm/confine.h"
#include "vmm/key_file.h"
#include "vmm/owner.h"

#include "util/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int receive_wait(struct owner *owner, const struct options_receive *options, const struct address *wanted,
			const struct key *key, struct decant_error *err)
{
	const struct arrival_opts opts = {
		.listen = options->listen,
		.name = options->name,
		.max_memory = options->max_memory,
		.prealloc = options->prealloc,
		.page_size = options->page_size,
		.key = key,
	};
	struct address bound = *wanted;
	struct json_object *members;
	char text[ADDRESS_TEXT_MAX];
	int ret = 0;

	if (options->name != NULL)
		ret = owner_claim(owner, options->name, err);
	if (ret == 0)
		ret = owner_receive(owner, &opts, &bound.port, err);
	if (ret < 0)
		return ret;
	members = json_object_new_object();
	json_add_text(members, "address", address_format(&bound, text));
	json_add_number(members, "port", bound.port);
	owner_say(owner, "listening", members, "listening on %s", text);
	return 0;
}

/* Wipes @key as soon as the receiver has it. NULL: there is none. */
static int receive_owned(const struct options_receive *options, const struct address *address, struct key *key,
			 int sink, int input)
{
	const struct confine_opts confined = { .mode = options->confine, .port = address->port };
	struct owner_opts opts = {
		.verb = "receive",
		.json = options->json,
		.serial_input = input,
		.serial_sink = sink,
		.numa_node = options->numa_node,
		.cpus = options->cpus,
		.log = command_log("receive", options->verbose),
	};
	struct decant_error err = DECANT_ERROR_INIT;
	struct owner *owner;
	int ret, status;

	if (confine(&confined, &err) < 0 || owner_new(&opts, &owner, &err) < 0)
		return command_fail("receive", options->name, EXIT_FAILED, &err);
	ret = receive_wait(owner, options, address, key, &err);
	if (key != NULL)
		key_wipe(key);
	if (ret < 0)
		status = command_fail("receive", options->name, EXIT_FAILED, &err);
	else
		status = owner_loop(owner);
	owner_free(owner);
	return status;
}

int command_receive(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_receive options;
	struct address address;
	struct key key;
	int sink, input, ret, status;

	ret = options_receive(argc, argv, &options, &err);
	if (ret == 0)
		ret = address_parse(options.listen, &address, &err);
	status = command_parsed("receive", ret, &err);
	if (status >= 0)
		return status;
	ret = options.insecure || options.key_file != NULL ? 0 : command_check_listen(&address, &err);
	if (ret < 0)
		return command_fail("receive", NULL, ret == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &err);
	if (options.key_file != NULL && key_file_load(options.key_file, &key, &err) < 0)
		return command_fail("receive", options.name, EXIT_FAILED, &err);
	if (command_open_serial(options.serial, options.serial_file, &sink, &input, &err) < 0)
		return command_fail("receive", options.name, EXIT_FAILED, &err);
	status = receive_owned(&options, &address, options.key_file != NULL ? &key : NULL, sink, input);
	key_wipe(&key);
	command_close_serial(options.serial, sink);
	return command_flush("receive", status);
}
