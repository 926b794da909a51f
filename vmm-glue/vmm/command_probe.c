/* SPDX-License-Identifier: BSD-2-Clause */
/* command_probe.c -- decant probe: what this host has; always exits 0, what is missing is for the reader to judge */
#include "vmm/command.h"
#include "vmm/probe.h"

#include <stdio.h>

int command_probe(int argc, char **argv)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_simple options;
	struct json_object *probe;
	int status = command_parsed("probe", options_simple(argc, argv, false, false, &options, &err), &err);

	if (status >= 0)
		return status;
	probe = probe_json();
	if (options.json)
		command_print_json(probe);
	else
		probe_print(stdout, probe);
	json_object_put(probe);
	return command_flush("probe", EXIT_DONE);
}
