/* SPDX-License-Identifier: BSD-2-Clause */
/* command.h -- the verbs of decant; each takes argv from the verb on and returns the exit status */
#ifndef VMM_COMMAND_H
#define VMM_COMMAND_H

#include "vmm/options.h"
#include "vmm/report.h"

#include "util/address.h"

#include <decant/error.h>
#include <decant/log.h>
#include <json-c/json.h>
#include <stdbool.h>

int command_run(int argc, char **argv);
int command_receive(int argc, char **argv);
int command_migrate(int argc, char **argv);
int command_list(int argc, char **argv);
int command_status(int argc, char **argv);
int command_pause(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_cancel(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_probe(int argc, char **argv);
int command_proxy(int argc, char **argv);

/* command_migrate_qemu() -- `migrate` with --qmp (command_migrate_qemu.c) */
int command_migrate_qemu(const struct options_migrate *options);

/* command_main() -- find the verb in argv[1] and run it */
int command_main(int argc, char **argv);

/* command_fail() -- the one line on stderr, "decant VERB: [NAME: ]message"; returns @status. @name may be NULL */
int command_fail(const char *verb, const char *name, int status, const struct decant_error *err);

/* command_parsed() -- what to do after a parser's @ret: -1 go on, else the exit status (help has been printed, or why not) */
int command_parsed(const char *verb, int ret, const struct decant_error *err);

/* command_help() -- the page of @verb on stdout */
void command_help(const char *verb);

/* command_print_json() -- as one line on stdout */
void command_print_json(struct json_object *json);

/* command_flush() -- @status, or EXIT_FAILED with a line if what was printed could not be written */
int command_flush(const char *verb, int status);

/* command_check_listen() -- @address must not be reached from other hosts: there is no key. 0, -EINVAL (it can be), -ENOENT (no such host) */
int command_check_listen(const struct address *address, struct decant_error *err);

/* command_log() -- the library's messages to stderr, warnings and worse unless @verbose; @verb is static */
struct decant_log command_log(const char *verb, bool verbose);

/* command_open_serial() -- the descriptors of --serial: *@sink and *@input, -1 for none; command_close_serial() closes a file's */
int command_open_serial(enum options_serial serial, const char *file, int *sink, int *input,
			struct decant_error *err);
void command_close_serial(enum options_serial serial, int sink);

#endif
