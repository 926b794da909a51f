/* SPDX-License-Identifier: BSD-2-Clause */
/* options_common.h -- what the parsers of several verbs share */
#ifndef VMM_OPTIONS_COMMON_H
#define VMM_OPTIONS_COMMON_H

#include "vmm/options.h"

#include <getopt.h>

/* options of later versions, so that their names give a better answer than "unknown option" */
#define OPTIONS_LATER 1000

/* Takes one option; @value is NULL for one without. */
typedef int options_take_fn(void *options, int key, const char *value, struct decant_error *err);

/*
 * options_parse() -- walk through argv with getopt_long(3); option keys below OPTIONS_LATER go to @take
 *
 * @words gets what is no option, in order; *@count how many, at most @max.
 */
int options_parse(int argc, char **argv, const struct option *table, options_take_fn *take, void *options,
		  const char **words, int max, int *count, struct decant_error *err);

int options_take_serial(const char *value, enum options_serial *serial, const char **file);
int options_take_number(const char *name, const char *value, uint32_t min, uint32_t max, uint32_t *number,
			struct decant_error *err);

/* options_take_cpus() -- a list of CPUs, checked only for what it looks like */
int options_take_cpus(const char *value, const char **cpus, struct decant_error *err);

/* options_take_confine() -- on, strict or off */
int options_take_confine(const char *value, enum confine_mode *mode, struct decant_error *err);

/* options_network.c: @loop: may it be that, too? */
int options_take_fabric(const char *value, bool loop, char *fabric, size_t room, struct decant_error *err);
/* LOCAL[=REMOTE]; given again, or with commas, there are more of them; added to @rails */
int options_take_rail(const char *value, char *rails, size_t room, struct decant_error *err);
int options_take_channels(const char *value, uint32_t *channels, struct decant_error *err);
int options_take_rate(const char *name, const char *value, uint64_t *rate, struct decant_error *err);
/* options_migrate_qemu() -- after all of migrate's options have been taken, --qmp among them: what QEMU cannot do is refused */
int options_migrate_qemu(struct options_migrate *options, const char *const *words, int count,
			 struct decant_error *err);

/* options_take_peer() -- HOST:PORT of a receiver, to *@peer */
int options_take_peer(const char *value, char peer[DEPARTURE_PEER_MAX], struct decant_error *err);

/* options_take_name() -- a VM's name */
int options_take_name(const char *value, struct decant_error *err);

#endif
