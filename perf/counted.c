/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counted.c -- what one migration over RDMA asks of the device: decant-counted SIZE
 *
 * Both ends are in this process, over the device in the process that the tests have (tests/support/fake_verbs.h): it counts what it is
 * given, so the figures do not depend on what decant says of itself, and its work is outside them. Prints one line of JSON.
 */
#include "point.h"

#include "support/fake_verbs.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>

/* One rail: what a GiB costs is not to be divided by the number of devices. */
static void one_device(void)
{
	struct fake_config config = fake_config_default();

	config.devices = 1;
	fake_reset(&config);
}

static void report(const struct point_opts *opts, const struct point_result *result)
{
	struct fake_counts counts;

	fake_counts(&counts);
	printf("{\"pages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"written\": %" PRIu64
	       ", \"work_requests\": %" PRIu64 ", \"posts\": %" PRIu64 ", \"signalled\": %" PRIu64
	       ", \"completions\": %" PRIu64 ", \"registrations\": %" PRIu64 ", \"streams\": %" PRIu32 "}\n",
	       opts->length / opts->page_size, result->bytes, counts.write_bytes, counts.work_requests,
	       counts.posts, counts.signalled, counts.send_completions, counts.call[FAKE_REG_MR], result->streams);
}

int main(int argc, char **argv)
{
	struct point_opts opts = {
		.name = "fabric",
		.role = POINT_BOTH,
		.fabric = "rdma",
		.page_size = 4096,
		.zero_scan =
			DECANT_ZERO_SCAN_ON, /* each page is looked at: what that costs is to be counted, too */
		.log = { .level = DECANT_LOG_WARNING },
	};
	struct decant_error err = DECANT_ERROR_INIT;
	struct point_result result = { 0 };

	if (argc != 2 || size_parse(argv[1], &opts.length, &err) < 0 || opts.length == 0 ||
	    opts.length % opts.page_size != 0) {
		fprintf(stderr, "usage: decant-counted SIZE, in whole pages: 1G\n");
		return 2;
	}
	one_device();
	if (point_fabric(&opts, &result, &err) < 0) {
		fprintf(stderr, "decant-counted: %s\n", err.msg);
		return 1;
	}
	report(&opts, &result);
	return 0;
}
