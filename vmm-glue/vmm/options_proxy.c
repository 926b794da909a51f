/* SPDX-License-Identifier: BSD-2-Clause */
/* options_proxy.c -- the words of `decant proxy source` and `decant proxy dest` */
#include "vmm/options_common.h"

#include "util/address.h"

#include <errno.h>
#include <string.h>

enum options_proxy_key {
	KEY_HELP = 'h',
	KEY_PEER = 256,
	KEY_LISTEN,
	KEY_QEMU_SOCKET,
	KEY_QMP,
	KEY_DISKS,
	KEY_FALLBACK,
	KEY_FABRIC,
	KEY_RAIL,
	KEY_CHANNELS,
	KEY_BANDWIDTH,
	KEY_CPUS,
	KEY_KEY_FILE,
	KEY_INSECURE,
	KEY_REPORT,
	KEY_CONFINE,
	KEY_JSON,
	KEY_VERBOSE,
};

static int proxy_take_path(const char *value, const char **path)
{
	*path = value;
	return 0;
}

static int proxy_take_network(struct options_proxy *options, int key, const char *value, struct decant_error *err)
{
	switch (key) {
	case KEY_FABRIC:
		return options_take_fabric(value, false, options->fabric, sizeof(options->fabric), err);
	case KEY_RAIL:
		return options_take_rail(value, options->rails, sizeof(options->rails), err);
	case KEY_CHANNELS:
		return options_take_channels(value, &options->channels, err);
	case KEY_BANDWIDTH:
		return options_take_rate("bandwidth", value, &options->bandwidth_Bps, err);
	default:
		return options_take_cpus(value, &options->cpus, err);
	}
}

static int options_proxy_take(void *opaque, int key, const char *value, struct decant_error *err)
{
	struct options_proxy *options = opaque;

	switch (key) {
	case KEY_PEER:
		return proxy_take_path(value, &options->peer);
	case KEY_LISTEN:
		return proxy_take_path(value, &options->listen);
	case KEY_QEMU_SOCKET:
		return proxy_take_path(value, &options->qemu_socket);
	case KEY_QMP:
		return proxy_take_path(value, &options->qmp);
	case KEY_DISKS:
		return proxy_take_path(value, &options->disks);
	case KEY_KEY_FILE:
		return proxy_take_path(value, &options->key_file);
	case KEY_REPORT:
		return proxy_take_path(value, &options->report);
	case KEY_FALLBACK:
		options->fallback = true;
		return 0;
	case KEY_INSECURE:
		options->insecure = true;
		return 0;
	case KEY_CONFINE:
		return options_take_confine(value, &options->confine, err);
	case KEY_JSON:
		options->json = true;
		return 0;
	case KEY_VERBOSE:
		options->verbose = true;
		return 0;
	default:
		return proxy_take_network(options, key, value, err);
	}
}

static int proxy_check_source(const struct options_proxy *options, struct decant_error *err)
{
	struct address address;
	int ret;

	if (options->peer == NULL)
		return decant_error_set(err, -EINVAL,
					"--peer HOST:PORT is missing: where decant proxy dest listens");
	ret = address_parse(options->peer, &address, err);
	if (ret == 0 && address.port == 0)
		ret = decant_error_set(err, -EINVAL, "--peer %s: port 0 cannot be connected to", options->peer);
	if (ret == 0 && options->rails[0] != '\0' && strcmp(options->fabric, "tcp") == 0)
		ret = decant_error_set(err, -EINVAL, "--rail: fabric tcp has no rails; use auto or rdma");
	return ret;
}

static int proxy_check_dest(const struct options_proxy *options, struct decant_error *err)
{
	struct address address;

	if (options->listen == NULL)
		return decant_error_set(err, -EINVAL, "--listen HOST:PORT is missing; port 0 takes a free one");
	if (options->insecure && options->key_file != NULL)
		return decant_error_set(
			err, -EINVAL,
			"--insecure is for want of a key, and there is a --key-file; give one of them");
	return address_parse(options->listen, &address, err);
}

static int proxy_parse_source(int argc, char **argv, struct options_proxy *options, struct decant_error *err)
{
	static const struct option table[] = {
		{ "help", no_argument, NULL, KEY_HELP },
		{ "peer", required_argument, NULL, KEY_PEER },
		{ "qemu-socket", required_argument, NULL, KEY_QEMU_SOCKET },
		{ "qmp", required_argument, NULL, KEY_QMP },
		{ "disks", required_argument, NULL, KEY_DISKS },
		{ "fallback", no_argument, NULL, KEY_FALLBACK },
		{ "fabric", required_argument, NULL, KEY_FABRIC },
		{ "rail", required_argument, NULL, KEY_RAIL },
		{ "channels", required_argument, NULL, KEY_CHANNELS },
		{ "bandwidth", required_argument, NULL, KEY_BANDWIDTH },
		{ "cpus", required_argument, NULL, KEY_CPUS },
		{ "key-file", required_argument, NULL, KEY_KEY_FILE },
		{ "report", required_argument, NULL, KEY_REPORT },
		{ "confine", required_argument, NULL, KEY_CONFINE },
		{ "json", no_argument, NULL, KEY_JSON },
		{ "verbose", no_argument, NULL, KEY_VERBOSE },
		{ 0 },
	};
	int words, ret = options_parse(argc, argv, table, options_proxy_take, options, NULL, 0, &words, err);

	return ret != 0 ? ret : proxy_check_source(options, err);
}

static int proxy_parse_dest(int argc, char **argv, struct options_proxy *options, struct decant_error *err)
{
	static const struct option table[] = {
		{ "help", no_argument, NULL, KEY_HELP },
		{ "listen", required_argument, NULL, KEY_LISTEN },
		{ "qemu-socket", required_argument, NULL, KEY_QEMU_SOCKET },
		{ "qmp", required_argument, NULL, KEY_QMP },
		{ "disks", required_argument, NULL, KEY_DISKS },
		{ "cpus", required_argument, NULL, KEY_CPUS },
		{ "key-file", required_argument, NULL, KEY_KEY_FILE },
		{ "insecure", no_argument, NULL, KEY_INSECURE },
		{ "report", required_argument, NULL, KEY_REPORT },
		{ "confine", required_argument, NULL, KEY_CONFINE },
		{ "json", no_argument, NULL, KEY_JSON },
		{ "verbose", no_argument, NULL, KEY_VERBOSE },
		{ 0 },
	};
	int words, ret = options_parse(argc, argv, table, options_proxy_take, options, NULL, 0, &words, err);

	return ret != 0 ? ret : proxy_check_dest(options, err);
}

int options_proxy(int argc, char **argv, struct options_proxy *options, struct decant_error *err)
{
	const char *end = argc > 1 ? argv[1] : "";
	int ret;

	*options = (struct options_proxy){ .fabric = "auto" };
	if (strcmp(end, "--help") == 0 || strcmp(end, "-h") == 0)
		return OPTIONS_HELP;
	options->source = strcmp(end, "source") == 0;
	if (!options->source && strcmp(end, "dest") != 0)
		return decant_error_set(
			err, -EINVAL,
			"which end? decant proxy source, beside the QEMU that a VM leaves, or decant "
			"proxy dest, beside the one that it comes to");
	ret = options->source ? proxy_parse_source(argc - 1, argv + 1, options, err)
			      : proxy_parse_dest(argc - 1, argv + 1, options, err);
	if (ret == 0 && options->qemu_socket == NULL)
		ret = decant_error_set(err, -EINVAL,
				       "--qemu-socket PATH is missing: the UNIX socket of QEMU's migration");
	return ret;
}
