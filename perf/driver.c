/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * driver.c -- takes one measurement: decant-point NAME ROLE [OPTION...]
 *
 * A receiving end prints "listening PORT" first. The end that holds the clock prints one line of JSON; with footprint both do. bench.py starts both.
 */
#include "point.h"

#include "util/size.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(const struct point_opts *opts, struct point_result *result, struct decant_error *err);
} points[] = {
	{ "fabric", point_fabric },           { "socket", point_socket },
	{ "memcpy", point_memcpy },           { "begin", point_begin },
	{ "footprint", point_footprint },     { "bitmap-scan", point_bitmap_scan },
	{ "bitmap-read", point_bitmap_read },
};

static const char *const roles[] = {
	[POINT_SEND] = "send",
	[POINT_RECEIVE] = "receive",
	[POINT_BOTH] = "both",
};

static const char usage[] =
	"usage: decant-point fabric|socket|memcpy|begin|footprint|bitmap-scan|bitmap-read send|receive|both [OPTION...]\n"
	"  --address HOST:PORT  send: the receiver's; receive: to listen on (127.0.0.1:0)\n"
	"  --fabric NAME        tcp, loop or rdma (tcp)\n"
	"  --memory SIZE        of the guest (1G)\n"
	"  --page-size SIZE     behind it: 4K, 2M, 1G (4K)\n"
	"  --streams N          connections or channels (the fabric's own default; socket: 2)\n"
	"  --zero-copy on       fabric tcp: by reference over loopback, too\n"
	"  --verbose            what the library logs goes to stderr\n";

static void log_to_stderr(void *opaque, enum decant_log_level level, const char *message)
{
	(void)opaque;
	(void)level;
	fprintf(stderr, "decant-point: %s\n", message);
}

static int parse_role(const char *text, enum point_role *role, struct decant_error *err)
{
	for (unsigned int i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		if (strcmp(text, roles[i]) == 0) {
			*role = (enum point_role)i;
			return 0;
		}
	}
	return decant_error_set(err, -EINVAL, "role \"%s\": send, receive or both", text);
}

static int parse_count(const char *text, uint32_t *count, struct decant_error *err)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value > UINT16_MAX)
		return decant_error_set(err, -EINVAL, "--streams %s: a number such as 2", text);
	*count = (uint32_t)value;
	return 0;
}

static int take_option(int key, struct point_opts *opts, struct decant_error *err)
{
	switch (key) {
	case 'a':
		opts->address = optarg;
		return 0;
	case 'f':
		opts->fabric = optarg;
		return 0;
	case 'm':
		return size_parse(optarg, &opts->length, err);
	case 'p':
		return size_parse(optarg, &opts->page_size, err);
	case 's':
		return parse_count(optarg, &opts->streams, err);
	case 'z':
		opts->zero_copy = DECANT_ZERO_COPY_ON;
		return strcmp(optarg, "on") == 0 ? 0
						 : decant_error_set(err, -EINVAL, "--zero-copy %s: on", optarg);
	case 'v':
		opts->log.fn = log_to_stderr;
		return 0;
	default:
		return decant_error_set(err, -EINVAL, "unknown option or no value for it");
	}
}

static int parse(int argc, char **argv, struct point_opts *opts, struct decant_error *err)
{
	static const struct option options[] = {
		{ "address", required_argument, NULL, 'a' }, { "fabric", required_argument, NULL, 'f' },
		{ "memory", required_argument, NULL, 'm' },  { "page-size", required_argument, NULL, 'p' },
		{ "streams", required_argument, NULL, 's' }, { "zero-copy", required_argument, NULL, 'z' },
		{ "verbose", no_argument, NULL, 'v' },       { NULL, 0, NULL, 0 },
	};
	int rc, key;

	if (argc < 3)
		return decant_error_set(err, -EINVAL, "a point and a role are needed");
	opts->name = argv[1];
	rc = parse_role(argv[2], &opts->role, err);
	optind = 3;
	while (rc == 0 && (key = getopt_long(argc, argv, "", options, NULL)) != -1)
		rc = take_option(key, opts, err);
	if (rc == 0 && optind < argc)
		rc = decant_error_set(err, -EINVAL, "what is \"%s\"?", argv[optind]);
	if (rc == 0 && (opts->length == 0 || opts->length % opts->page_size != 0))
		rc = decant_error_set(err, -EINVAL, "--memory: a multiple of the page size");
	return rc;
}

static void report(const struct point_result *result)
{
	printf("{\"bytes\": %" PRIu64 ", \"ns\": %" PRIu64 ", \"cpu_ns\": %" PRIu64 ", \"setup_ns\": %" PRIu64
	       ", \"fabric\": \"%s\", \"streams\": %" PRIu32 ", \"footprint\": %" PRIu64 "}\n",
	       result->bytes, result->ns, result->cpu_ns, result->setup_ns, result->fabric, result->streams,
	       result->footprint);
}

static int run(const struct point_opts *opts, struct decant_error *err)
{
	struct point_result result = { 0 };
	int rc;

	for (unsigned int i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		if (strcmp(opts->name, points[i].name) != 0)
			continue;
		rc = points[i].run(opts, &result, err);
		if (rc == 0 && (opts->role != POINT_RECEIVE || result.footprint > 0))
			report(&result);
		return rc;
	}
	return decant_error_set(err, -EINVAL, "there is no point \"%s\"", opts->name);
}

int main(int argc, char **argv)
{
	struct point_opts opts = {
		.address = "127.0.0.1:0",
		.fabric = "tcp",
		.length = (uint64_t)1 << 30,
		.page_size = 4096,
		.log = { .level = DECANT_LOG_INFO },
	};
	struct decant_error err = DECANT_ERROR_INIT;

	if (parse(argc, argv, &opts, &err) < 0) {
		fprintf(stderr, "decant-point: %s\n%s", err.msg, usage);
		return 2;
	}
	if (run(&opts, &err) < 0) {
		fprintf(stderr, "decant-point: %s %s: %s\n", opts.name, roles[opts.role], err.msg);
		return 1;
	}
	return 0;
}
