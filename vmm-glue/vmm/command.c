/* SPDX-License-Identifier: BSD-2-Clause */
/* command.c -- finds the verb, and what all verbs share: errors, output, the serial port's ends */
#include "vmm/command.h"

#include <decant/version.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command {
	const char *verb;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "run", command_run },       { "receive", command_receive }, { "migrate", command_migrate },
	{ "list", command_list },     { "status", command_status },   { "pause", command_pause },
	{ "resume", command_resume }, { "cancel", command_cancel },   { "stop", command_stop },
	{ "probe", command_probe },   { "proxy", command_proxy },
};

int command_fail(const char *verb, const char *name, int status, const struct decant_error *err)
{
	fflush(stdout);
	fprintf(stderr, "decant %s: %s%s%s\n", verb, name != NULL ? name : "", name != NULL ? ": " : "", err->msg);
	return status;
}

int command_parsed(const char *verb, int ret, const struct decant_error *err)
{
	if (ret == 0)
		return -1;
	if (ret < 0)
		return command_fail(verb, NULL, EXIT_USAGE, err);
	command_help(verb);
	return command_flush(verb, EXIT_DONE);
}

void command_print_json(struct json_object *json)
{
	puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
	fflush(stdout);
}

int command_flush(const char *verb, int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "decant %s: cannot write the standard output: %s\n", verb, strerror(errno));
	return status == EXIT_DONE ? EXIT_FAILED : status;
}

static void command_log_line(void *opaque, enum decant_log_level level, const char *message)
{
	(void)level;
	fprintf(stderr, "decant %s: %s\n", (const char *)opaque, message);
}

struct decant_log command_log(const char *verb, bool verbose)
{
	return (struct decant_log){
		.fn = command_log_line,
		.opaque = (void *)(uintptr_t)verb,
		.level = verbose ? DECANT_LOG_DEBUG : DECANT_LOG_WARNING,
	};
}

int command_open_serial(enum options_serial serial, const char *file, int *sink, int *input,
			struct decant_error *err)
{
	*sink = -1;
	*input = -1;
	if (serial == OPTIONS_SERIAL_STDIO) {
		*sink = STDOUT_FILENO;
		*input = STDIN_FILENO;
	} else if (serial == OPTIONS_SERIAL_FILE) {
		*sink = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (*sink < 0)
			return decant_error_set(err, -errno, "--serial %s: %s", file, strerror(errno));
	}
	return 0;
}

void command_close_serial(enum options_serial serial, int sink)
{
	if (serial == OPTIONS_SERIAL_FILE && sink >= 0)
		close(sink);
}

static int command_no_verb(const char *word)
{
	fprintf(stderr, "decant: %s%s%s; decant --help lists the verbs\n",
		word != NULL ? "\"" : "a verb is missing", word != NULL ? word : "",
		word != NULL ? "\" is no verb" : "");
	return EXIT_USAGE;
}

int command_main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : NULL;

	if (verb == NULL)
		return command_no_verb(NULL);
	if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0) {
		command_help(NULL);
		return command_flush("help", EXIT_DONE);
	}
	if (strcmp(verb, "--version") == 0) {
		printf("decant %s\n", decant_version_string());
		return command_flush("--version", EXIT_DONE);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(verb, commands[i].verb) == 0)
			return commands[i].run(argc - 1, argv + 1);
	return command_no_verb(verb);
}
