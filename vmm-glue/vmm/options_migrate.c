/* SPDX-License-Identifier: BSD-2-Clause */
/* options_migrate.c -- the words of `decant migrate` */
#include "vmm/options_common.h"

#include "qemu/qemu_move.h"
#include "util/address.h"
#include "util/size.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MULTIFD_MAX 255 /* what QEMU takes */

enum options_migrate_key {
	KEY_HELP = 'h',
	KEY_FABRIC = 256,
	KEY_RAIL,
	KEY_CHANNELS,
	KEY_CPUS,
	KEY_MAX_DOWNTIME,
	KEY_BANDWIDTH,
	KEY_TIMEOUT,
	KEY_SWITCHOVER_TIMEOUT,
	KEY_IF_NOT_CONVERGING,
	KEY_MODE,
	KEY_ZERO_SCAN,
	KEY_ZERO_COPY,
	KEY_VERIFY,
	KEY_REPORT,
	KEY_KEY_FILE,
	KEY_JSON,
	KEY_QMP,
	KEY_MULTIFD,
	KEY_FALLBACK,
	KEY_CONFINE,
};

/* an option of which this version has one value, and later ones will have more */
static int migrate_take_only(const char *name, const char *value, const char *only, const char *const *later,
			     struct decant_error *err)
{
	if (strcmp(value, only) == 0)
		return 0;
	for (; *later != NULL; later++)
		if (strcmp(value, *later) == 0)
			return decant_error_set(err, -EINVAL,
						"--%s %s: not in this version of decant; there is %s", name, value,
						only);
	return decant_error_set(err, -EINVAL, "--%s %s: must be %s", name, value, only);
}

static int migrate_take_policy(const char *value, enum decant_not_converging *policy, struct decant_error *err)
{
	if (strcmp(value, "abort") == 0)
		*policy = DECANT_NOT_CONVERGING_ABORT;
	else if (strcmp(value, "throttle") == 0)
		*policy = DECANT_NOT_CONVERGING_THROTTLE;
	else if (strcmp(value, "postcopy") == 0)
		return decant_error_set(err, -EINVAL,
					"--if-not-converging %s: not in this version of decant; there are throttle "
					"and abort",
					value);
	else
		return decant_error_set(err, -EINVAL, "--if-not-converging %s: must be throttle or abort", value);
	return 0;
}

static int migrate_take_time(const char *name, const char *value, uint64_t *ns, struct decant_error *err)
{
	if (size_parse_time(value, ns, err) == 0)
		return 0;
	decant_error_prefix(err, "--%s", name);
	return -EINVAL;
}

static int migrate_take_max_downtime(const char *value, uint64_t *ns, struct decant_error *err)
{
	int ret = migrate_take_time("max-downtime", value, ns, err);

	if (ret == 0 && *ns == 0)
		return decant_error_set(err, -EINVAL, "--max-downtime %s: must be more than nothing", value);
	return ret;
}

/* the three words have the values of enum decant_zero_scan and of enum decant_zero_copy */
static int migrate_take_choice(const char *name, const char *value, unsigned int *choice, struct decant_error *err)
{
	static const char *const words[] = { "auto", "on", "off" };

	static_assert(DECANT_ZERO_SCAN_ON == 1 && DECANT_ZERO_SCAN_OFF == 2, "as in words");
	static_assert(DECANT_ZERO_COPY_ON == 1 && DECANT_ZERO_COPY_OFF == 2, "as in words");
	for (*choice = 0; *choice < sizeof(words) / sizeof(words[0]); ++*choice)
		if (strcmp(value, words[*choice]) == 0)
			return 0;
	return decant_error_set(err, -EINVAL, "--%s %s: must be auto, on or off", name, value);
}

static int migrate_take_cpus(const char *value, struct departure_opts *departure, struct decant_error *err)
{
	const char *cpus;
	int ret = options_take_cpus(value, &cpus, err);

	if (ret == 0)
		snprintf(departure->cpus, sizeof(departure->cpus), "%s", cpus);
	return ret;
}

static int options_migrate_take(void *opaque, int key, const char *value, struct decant_error *err)
{
	static const char *const later_modes[] = { "postcopy", "hybrid", NULL };
	struct options_migrate *options = opaque;
	struct departure_opts *departure = &options->departure;

	switch (key) {
	case KEY_FABRIC:
		return options_take_fabric(value, true, departure->fabric, sizeof(departure->fabric), err);
	case KEY_RAIL:
		return options_take_rail(value, departure->rails, sizeof(departure->rails), err);
	case KEY_CHANNELS:
		return options_take_channels(value, &departure->channels, err);
	case KEY_CPUS:
		return migrate_take_cpus(value, departure, err);
	case KEY_MAX_DOWNTIME:
		return migrate_take_max_downtime(value, &departure->max_downtime_ns, err);
	case KEY_BANDWIDTH:
		return options_take_rate("bandwidth", value, &departure->bandwidth_Bps, err);
	case KEY_TIMEOUT:
		return migrate_take_time("timeout", value, &departure->timeout_ns, err);
	case KEY_SWITCHOVER_TIMEOUT:
		return migrate_take_time("switchover-timeout", value, &departure->switchover_timeout_ns, err);
	case KEY_IF_NOT_CONVERGING:
		options->policy = true;
		return migrate_take_policy(value, &departure->if_not_converging, err);
	case KEY_MODE:
		return migrate_take_only("mode", value, "precopy", later_modes, err);
	case KEY_ZERO_SCAN:
		return migrate_take_choice("zero-scan", value, &departure->zero_scan, err);
	case KEY_ZERO_COPY:
		return migrate_take_choice("zero-copy", value, &departure->zero_copy, err);
	case KEY_VERIFY:
		departure->verify = true;
		return 0;
	case KEY_REPORT:
		options->report = value;
		return 0;
	case KEY_KEY_FILE:
		options->key_file = value;
		return 0;
	case KEY_QMP:
		options->qmp = value;
		return 0;
	case KEY_MULTIFD:
		return options_take_number("multifd", value, 0, MULTIFD_MAX, &options->multifd, err);
	case KEY_FALLBACK:
		options->fallback = true;
		return 0;
	case KEY_CONFINE:
		options->confined = true;
		return options_take_confine(value, &options->confine, err);
	default:
		options->json = true;
		return 0;
	}
}

int options_take_peer(const char *value, char peer[DEPARTURE_PEER_MAX], struct decant_error *err)
{
	struct address address;
	int ret = address_parse(value, &address, err);

	if (ret < 0)
		return ret;
	if (address.port == 0)
		return decant_error_set(err, -EINVAL, "%s: port 0 cannot be connected to", value);
	snprintf(peer, DEPARTURE_PEER_MAX, "%s", value);
	return 0;
}

static int options_migrate_peer(struct options_migrate *options, const char *peer, struct decant_error *err)
{
	const char *fabric = options->departure.fabric;
	bool loop = strcmp(fabric, "loop") == 0;

	if (loop && options->key_file != NULL)
		return decant_error_set(err, -EINVAL,
					"--key-file: --fabric loop stays in the VM's process and needs no key");
	if (loop && peer != NULL)
		return decant_error_set(err, -EINVAL,
					"%s: --fabric loop stays in the VM's process and takes no address", peer);
	if (loop)
		return 0;
	if (peer == NULL)
		return decant_error_set(err, -EINVAL, "where to? give HOST:PORT of a decant receive");
	return options_take_peer(peer, options->departure.peer, err);
}

/* a VM of decant's own */
static int options_migrate_own(struct options_migrate *options, const char *const *words, int count,
			       struct decant_error *err)
{
	int ret;

	if (options->multifd != QEMU_MOVE_MULTIFD_AS_IT_IS)
		return decant_error_set(err, -EINVAL, "--multifd: goes with --qmp only");
	if (options->fallback)
		return decant_error_set(err, -EINVAL, "--fallback: goes with --qmp only");
	if (options->confined)
		return decant_error_set(
			err, -EINVAL,
			"--confine: goes with --qmp only; the VM's process has its own, of decant run");
	if (count == 0)
		return decant_error_set(err, -EINVAL, "which VM? give its name; decant list shows them");
	options->name = words[0];
	ret = options_take_name(words[0], err);
	return ret < 0 ? ret : options_migrate_peer(options, words[1], err);
}

int options_migrate(int argc, char **argv, struct options_migrate *options, struct decant_error *err)
{
	static const struct option table[] = {
		{ "help", no_argument, NULL, KEY_HELP },
		{ "fabric", required_argument, NULL, KEY_FABRIC },
		{ "rail", required_argument, NULL, KEY_RAIL },
		{ "channels", required_argument, NULL, KEY_CHANNELS },
		{ "cpus", required_argument, NULL, KEY_CPUS },
		{ "max-downtime", required_argument, NULL, KEY_MAX_DOWNTIME },
		{ "bandwidth", required_argument, NULL, KEY_BANDWIDTH },
		{ "timeout", required_argument, NULL, KEY_TIMEOUT },
		{ "switchover-timeout", required_argument, NULL, KEY_SWITCHOVER_TIMEOUT },
		{ "if-not-converging", required_argument, NULL, KEY_IF_NOT_CONVERGING },
		{ "mode", required_argument, NULL, KEY_MODE },
		{ "zero-scan", required_argument, NULL, KEY_ZERO_SCAN },
		{ "zero-copy", required_argument, NULL, KEY_ZERO_COPY },
		{ "verify", no_argument, NULL, KEY_VERIFY },
		{ "report", required_argument, NULL, KEY_REPORT },
		{ "json", no_argument, NULL, KEY_JSON },
		{ "tos", required_argument, NULL, OPTIONS_LATER },
		{ "pkey", required_argument, NULL, OPTIONS_LATER },
		{ "key-file", required_argument, NULL, KEY_KEY_FILE },
		{ "qmp", required_argument, NULL, KEY_QMP },
		{ "multifd", required_argument, NULL, KEY_MULTIFD },
		{ "fallback", no_argument, NULL, KEY_FALLBACK },
		{ "confine", required_argument, NULL, KEY_CONFINE },
		{ 0 },
	};
	const char *words[2] = { NULL, NULL };
	const struct departure_opts *departure = &options->departure;
	int count, ret;

	*options = (struct options_migrate){
		.departure = { .fabric = "auto", .max_downtime_ns = 300000000 },
		.multifd = QEMU_MOVE_MULTIFD_AS_IT_IS,
	};
	ret = options_parse(argc, argv, table, options_migrate_take, options, words, 2, &count, err);
	if (ret != 0)
		return ret;
	if (departure->rails[0] != '\0' &&
	    (strcmp(departure->fabric, "loop") == 0 || strcmp(departure->fabric, "tcp") == 0))
		return decant_error_set(err, -EINVAL, "--rail: fabric %s has no rails; use auto or rdma",
					departure->fabric);
	if (options->qmp != NULL)
		return options_migrate_qemu(options, words, count, err);
	return options_migrate_own(options, words, count, err);
}
