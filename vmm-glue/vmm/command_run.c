/* SPDX-License-Identifier: BSD-2-Clause */
/* command_run.c -- decant run: a VM in this process */
#include "vmm/command.h"
#include "vmm/confine.h"
#include "vmm/owner.h"

#include <stdio.h>

static int run_prealloc(const struct options_run *options, struct decant_memory **memory, struct decant_error *err)
{
	if (!options->prealloc)
		return 0;
	return machine_memory_new(options->config.memory_bytes, options->config.page_size, options->numa_node,
				  memory, err);
}

static int run_start(struct owner *owner, const struct options_run *options, struct decant_error *err)
{
	struct machine_host host = owner_host(owner);
	struct machine *machine;
	int ret = run_prealloc(options, &host.reserve, err);

	if (ret == 0)
		ret = machine_new(&options->config, &host, NULL, &machine, err);
	decant_memory_free(host.reserve);
	if (ret < 0)
		return ret;
	ret = machine_boot(machine, &options->boot, err);
	if (ret == 0)
		ret = machine_run(machine, NULL, err);
	if (ret < 0)
		machine_free(machine);
	else
		owner_adopt(owner, machine);
	return ret;
}

static int run_owned(const struct options_run *options, int sink, int input)
{
	const struct confine_opts confined = { .mode = options->confine };
	const char *name = options->config.name;
	struct owner_opts opts = {
		.verb = "run",
		.json = options->json,
		.serial_input = input,
		.serial_sink = sink,
		.numa_node = options->numa_node,
		.cpus = options->cpus,
		.log = command_log("run", options->verbose),
	};
	struct decant_error err = DECANT_ERROR_INIT;
	struct owner *owner;
	int status;

	if (confine(&confined, &err) < 0 || owner_new(&opts, &owner, &err) < 0)
		return command_fail("run", name, EXIT_FAILED, &err);
	if (owner_claim(owner, name, &err) < 0 || run_start(owner, options, &err) < 0)
		status = command_fail("run", name, EXIT_FAILED, &err);
	else
		status = owner_loop(owner);
	owner_free(owner);
	return status;
}

int command_run(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_run options;
	int sink, input, status;

	status = command_parsed("run", options_run(argc, argv, &options, &err), &err);
	if (status >= 0)
		return status;
	if (command_open_serial(options.serial, options.serial_file, &sink, &input, &err) < 0)
		return command_fail("run", options.config.name, EXIT_FAILED, &err);
	status = run_owned(&options, sink, input);
	command_close_serial(options.serial, sink);
	return command_flush("run", status);
}
