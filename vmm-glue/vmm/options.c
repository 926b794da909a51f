/* SPDX-License-Identifier: BSD-2-Clause */
/* options.c -- the words of the verbs that make a VM (run, receive) or only name one */
#include "vmm/options_common.h"

#include "guest/stress_host.h"
#include "util/cpus.h"
#include "util/size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_MAX 1023u /* the highest number that Linux gives */

enum options_key {
	KEY_HELP = 'h',
	KEY_NAME = 256,
	KEY_MEMORY,
	KEY_VCPUS,
	KEY_PAGE_SIZE,
	KEY_SERIAL,
	KEY_DIRTY,
	KEY_GUEST,
	KEY_KERNEL,
	KEY_INITRD,
	KEY_APPEND,
	KEY_JSON,
	KEY_VERBOSE,
	KEY_LISTEN,
	KEY_MAX_MEMORY,
	KEY_INSECURE,
	KEY_KEY_FILE,
	KEY_FORCE,
	KEY_CONFINE,
	KEY_PREALLOC,
	KEY_CPUS,
	KEY_NUMA_NODE,
};

static int options_one(const struct option *table, int key, int index, char **argv, options_take_fn *take,
		       void *options, struct decant_error *err)
{
	const char *word = argv[optind - 1];

	if (key == '?')
		return decant_error_set(err, -EINVAL, "%s: unknown option; --help lists them", word);
	if (key == ':')
		return decant_error_set(err, -EINVAL, "%s: needs a value; --help shows one", word);
	if (key >= OPTIONS_LATER)
		return decant_error_set(err, -EINVAL, "--%s: not in this version of decant", table[index].name);
	return take(options, key, optarg, err);
}

int options_parse(int argc, char **argv, const struct option *table, options_take_fn *take, void *options,
		  const char **words, int max, int *count, struct decant_error *err)
{
	int key, index = 0;

	*count = 0;
	optind = 0; /* getopt starts anew */
	opterr = 0;
	while ((key = getopt_long(argc, argv, "-:h", table, &index)) != -1) {
		int ret = 0;

		if (key == KEY_HELP)
			return OPTIONS_HELP;
		if (key == 1 && *count == max)
			ret = decant_error_set(err, -EINVAL,
					       "\"%s\": one word too many; --help shows what there is", optarg);
		else if (key == 1)
			words[(*count)++] = optarg;
		else
			ret = options_one(table, key, index, argv, take, options, err);
		if (ret < 0)
			return ret;
	}
	for (; optind < argc; optind++) {
		if (*count == max)
			return decant_error_set(err, -EINVAL,
						"\"%s\": one word too many; --help shows what there is",
						argv[optind]);
		words[(*count)++] = argv[optind];
	}
	return 0;
}

int options_take_serial(const char *value, enum options_serial *serial, const char **file)
{
	*file = NULL;
	if (strcmp(value, "stdio") == 0) {
		*serial = OPTIONS_SERIAL_STDIO;
	} else if (strcmp(value, "none") == 0) {
		*serial = OPTIONS_SERIAL_NONE;
	} else {
		*serial = OPTIONS_SERIAL_FILE;
		*file = value;
	}
	return 0;
}

int options_take_number(const char *name, const char *value, uint32_t min, uint32_t max, uint32_t *number,
			struct decant_error *err)
{
	unsigned long found;
	char *end;

	errno = 0;
	found = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || found < min || found > max)
		return decant_error_set(err, -EINVAL, "--%s %s: must be a number from %u to %u", name, value, min,
					max);
	*number = (uint32_t)found;
	return 0;
}

int options_take_cpus(const char *value, const char **cpus, struct decant_error *err)
{
	struct cpus parsed;

	*cpus = value;
	if (strlen(value) >= DEPARTURE_CPUS_MAX)
		return decant_error_set(err, -EINVAL, "--cpus: longer than %d characters; write ranges, as 0-3,8",
					DEPARTURE_CPUS_MAX - 1);
	if (cpus_parse(value, &parsed, err) == 0)
		return 0;
	decant_error_prefix(err, "--cpus");
	return -EINVAL;
}

static int options_take_node(const char *value, int *node, struct decant_error *err)
{
	uint32_t number;
	const int ret = options_take_number("numa-node", value, 0, NODE_MAX, &number, err);

	*node = ret == 0 ? (int)number : -1;
	return ret;
}

int options_take_name(const char *value, struct decant_error *err)
{
	return machine_name_check(value, err);
}

static int options_take_page_size(const char *value, uint64_t *page_size, struct decant_error *err)
{
	int ret = size_parse(value, page_size, err);

	if (ret == 0 && (*page_size == 4ull << 10 || *page_size == 2ull << 20 || *page_size == 1ull << 30))
		return 0;
	return decant_error_set(err, -EINVAL, "--page-size %s: must be 4K, 2M or 1G", value);
}

static int options_take_size(const char *name, const char *value, uint64_t *size, struct decant_error *err)
{
	if (size_parse(value, size, err) == 0)
		return 0;
	decant_error_prefix(err, "--%s", name);
	return -EINVAL;
}

int options_take_confine(const char *value, enum confine_mode *mode, struct decant_error *err)
{
	if (strcmp(value, "on") == 0)
		*mode = CONFINE_ON;
	else if (strcmp(value, "strict") == 0)
		*mode = CONFINE_STRICT;
	else if (strcmp(value, "off") == 0)
		*mode = CONFINE_OFF;
	else
		return decant_error_set(err, -EINVAL, "--confine %s: must be on, strict or off", value);
	return 0;
}

static int options_take_dirty(const char *value, enum decant_kvm_dirty *dirty, struct decant_error *err)
{
	if (strcmp(value, "log") == 0)
		*dirty = DECANT_KVM_DIRTY_LOG;
	else if (strcmp(value, "ring") == 0)
		*dirty = DECANT_KVM_DIRTY_RING;
	else
		return decant_error_set(err, -EINVAL, "--dirty %s: must be log or ring", value);
	return 0;
}

static int options_take_guest(const char *value, struct machine_boot *boot, struct decant_error *err)
{
	static const char stress[] = "stress";
	size_t length = sizeof(stress) - 1;

	if (strncmp(value, stress, length) != 0 || (value[length] != '\0' && value[length] != ':'))
		return decant_error_set(err, -EINVAL, "--guest %s: must be stress, or stress:wss=40M,...", value);
	boot->stress = value[length] == ':' ? value + length + 1 : "";
	return 0;
}

static int options_run_take(void *opaque, int key, const char *value, struct decant_error *err)
{
	struct options_run *options = opaque;
	struct machine_config *config = &options->config;

	switch (key) {
	case KEY_NAME:
		snprintf(config->name, sizeof(config->name), "%s", value);
		return options_take_name(value, err);
	case KEY_MEMORY:
		return options_take_size("memory", value, &config->memory_bytes, err);
	case KEY_VCPUS:
		return options_take_number("vcpus", value, 1, MACHINE_VCPUS_MAX, &config->vcpus, err);
	case KEY_PAGE_SIZE:
		return options_take_page_size(value, &config->page_size, err);
	case KEY_SERIAL:
		return options_take_serial(value, &options->serial, &options->serial_file);
	case KEY_DIRTY:
		return options_take_dirty(value, &config->dirty, err);
	case KEY_GUEST:
		return options_take_guest(value, &options->boot, err);
	case KEY_KERNEL:
		options->boot.kernel = value;
		return 0;
	case KEY_INITRD:
		options->boot.initrd = value;
		return 0;
	case KEY_APPEND:
		options->boot.command = value;
		return 0;
	case KEY_CONFINE:
		return options_take_confine(value, &options->confine, err);
	case KEY_PREALLOC:
		options->prealloc = true;
		return 0;
	case KEY_CPUS:
		return options_take_cpus(value, &options->cpus, err);
	case KEY_NUMA_NODE:
		return options_take_node(value, &options->numa_node, err);
	case KEY_JSON:
		options->json = true;
		return 0;
	default:
		options->verbose = true;
		return 0;
	}
}

static int options_run_check(struct options_run *options, struct decant_error *err)
{
	const struct machine_boot *boot = &options->boot;
	const struct machine_config *config = &options->config;
	struct stress_options stress;

	if ((boot->stress != NULL) == (boot->kernel != NULL))
		return decant_error_set(err, -EINVAL, "say what to run: either --guest stress or --kernel FILE");
	if (boot->kernel == NULL && (boot->initrd != NULL || boot->command != NULL))
		return decant_error_set(err, -EINVAL, "--initrd and --append go with --kernel only");
	if (config->memory_bytes < MACHINE_MEMORY_MIN || config->memory_bytes > MACHINE_MEMORY_MAX)
		return decant_error_set(err, -EINVAL, "--memory: must be 4M to 16T");
	if (config->memory_bytes % config->page_size != 0)
		return decant_error_set(err, -EINVAL, "--memory: must be a multiple of the --page-size");
	if (options->json && options->serial == OPTIONS_SERIAL_STDIO)
		return decant_error_set(err, -EINVAL,
					"--json and --serial stdio both want the standard output; "
					"use --serial FILE");
	options->config.guest = boot->kernel != NULL ? MACHINE_GUEST_KERNEL : MACHINE_GUEST_STRESS;
	return boot->stress != NULL ? stress_options_parse(boot->stress, &stress, err) : 0;
}

int options_run(int argc, char **argv, struct options_run *options, struct decant_error *err)
{
	static const struct option table[] = {
		{ "help", no_argument, NULL, KEY_HELP },
		{ "name", required_argument, NULL, KEY_NAME },
		{ "memory", required_argument, NULL, KEY_MEMORY },
		{ "vcpus", required_argument, NULL, KEY_VCPUS },
		{ "page-size", required_argument, NULL, KEY_PAGE_SIZE },
		{ "prealloc", no_argument, NULL, KEY_PREALLOC },
		{ "serial", required_argument, NULL, KEY_SERIAL },
		{ "dirty", required_argument, NULL, KEY_DIRTY },
		{ "guest", required_argument, NULL, KEY_GUEST },
		{ "kernel", required_argument, NULL, KEY_KERNEL },
		{ "initrd", required_argument, NULL, KEY_INITRD },
		{ "append", required_argument, NULL, KEY_APPEND },
		{ "confine", required_argument, NULL, KEY_CONFINE },
		{ "cpus", required_argument, NULL, KEY_CPUS },
		{ "numa-node", required_argument, NULL, KEY_NUMA_NODE },
		{ "json", no_argument, NULL, KEY_JSON },
		{ "verbose", no_argument, NULL, KEY_VERBOSE },
		{ "disk", required_argument, NULL, OPTIONS_LATER },
		{ "net", required_argument, NULL, OPTIONS_LATER },
		{ 0 },
	};
	int words, ret;

	*options = (struct options_run){
		.config = { .name = "vm", .memory_bytes = 512ull << 20, .page_size = 4096, .vcpus = 1 },
		.serial = OPTIONS_SERIAL_FILE,
		.numa_node = -1,
	};
	ret = options_parse(argc, argv, table, options_run_take, options, NULL, 0, &words, err);
	if (ret != 0)
		return ret;
	if (options->serial == OPTIONS_SERIAL_FILE && options->serial_file == NULL)
		options->serial = options->json ? OPTIONS_SERIAL_NONE : OPTIONS_SERIAL_STDIO;
	return options_run_check(options, err);
}

static int options_receive_take(void *opaque, int key, const char *value, struct decant_error *err)
{
	struct options_receive *options = opaque;

	switch (key) {
	case KEY_LISTEN:
		options->listen = value;
		return 0;
	case KEY_NAME:
		options->name = value;
		return options_take_name(value, err);
	case KEY_MAX_MEMORY:
		return options_take_size("max-memory", value, &options->max_memory, err);
	case KEY_PREALLOC:
		return options_take_size("prealloc", value, &options->prealloc, err);
	case KEY_PAGE_SIZE:
		return options_take_page_size(value, &options->page_size, err);
	case KEY_SERIAL:
		return options_take_serial(value, &options->serial, &options->serial_file);
	case KEY_CONFINE:
		return options_take_confine(value, &options->confine, err);
	case KEY_CPUS:
		return options_take_cpus(value, &options->cpus, err);
	case KEY_NUMA_NODE:
		return options_take_node(value, &options->numa_node, err);
	case KEY_INSECURE:
		options->insecure = true;
		return 0;
	case KEY_KEY_FILE:
		options->key_file = value;
		return 0;
	case KEY_JSON:
		options->json = true;
		return 0;
	default:
		options->verbose = true;
		return 0;
	}
}

int options_receive(int argc, char **argv, struct options_receive *options, struct decant_error *err)
{
	static const struct option table[] = {
		{ "help", no_argument, NULL, KEY_HELP },
		{ "listen", required_argument, NULL, KEY_LISTEN },
		{ "name", required_argument, NULL, KEY_NAME },
		{ "max-memory", required_argument, NULL, KEY_MAX_MEMORY },
		{ "prealloc", required_argument, NULL, KEY_PREALLOC },
		{ "page-size", required_argument, NULL, KEY_PAGE_SIZE },
		{ "serial", required_argument, NULL, KEY_SERIAL },
		{ "insecure", no_argument, NULL, KEY_INSECURE },
		{ "confine", required_argument, NULL, KEY_CONFINE },
		{ "cpus", required_argument, NULL, KEY_CPUS },
		{ "numa-node", required_argument, NULL, KEY_NUMA_NODE },
		{ "json", no_argument, NULL, KEY_JSON },
		{ "verbose", no_argument, NULL, KEY_VERBOSE },
		{ "key-file", required_argument, NULL, KEY_KEY_FILE },
		{ 0 },
	};
	int words, ret;

	*options = (struct options_receive){ .page_size = 4096, .serial = OPTIONS_SERIAL_FILE, .numa_node = -1 };
	ret = options_parse(argc, argv, table, options_receive_take, options, NULL, 0, &words, err);
	if (ret != 0)
		return ret;
	if (options->listen == NULL)
		return decant_error_set(err, -EINVAL, "--listen HOST:PORT is missing; port 0 takes a free one");
	if (options->prealloc % options->page_size != 0)
		return decant_error_set(err, -EINVAL, "--prealloc: must be a multiple of the --page-size");
	if (options->insecure && options->key_file != NULL)
		return decant_error_set(
			err, -EINVAL,
			"--insecure is for want of a key, and there is a --key-file; give one of them");
	if (options->json && options->serial == OPTIONS_SERIAL_STDIO)
		return decant_error_set(err, -EINVAL,
					"--json and --serial stdio both want the standard output; "
					"use --serial FILE");
	if (options->serial == OPTIONS_SERIAL_FILE && options->serial_file == NULL)
		options->serial = options->json ? OPTIONS_SERIAL_NONE : OPTIONS_SERIAL_STDIO;
	return 0;
}

static int options_simple_take(void *opaque, int key, const char *value, struct decant_error *err)
{
	struct options_simple *options = opaque;

	(void)value;
	(void)err;
	if (key == KEY_JSON)
		options->json = true;
	else
		options->force = true;
	return 0;
}

int options_simple(int argc, char **argv, bool takes_name, bool takes_force, struct options_simple *options,
		   struct decant_error *err)
{
	const struct option table[] = {
		{ "help", no_argument, NULL, KEY_HELP },
		{ "json", no_argument, NULL, KEY_JSON },
		{ takes_force ? "force" : NULL, no_argument, NULL, KEY_FORCE },
		{ 0 },
	};
	int words, ret;

	*options = (struct options_simple){ 0 };
	ret = options_parse(argc, argv, table, options_simple_take, options, &options->name, takes_name ? 1 : 0,
			    &words, err);
	if (ret != 0)
		return ret;
	if (takes_name && words == 0)
		return decant_error_set(err, -EINVAL, "which VM? give its name; decant list shows them");
	return takes_name ? options_take_name(options->name, err) : 0;
}
