/* SPDX-License-Identifier: BSD-2-Clause */
/* test_options_proxy.c -- the words of decant proxy */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "support/words.h"
#include "vmm/options.h"

static void test_options_proxy__source(void **state)
{
	struct options_proxy options;
	struct words words;
	(void)state;

	words_split(&words,
		    "proxy source --peer host:7 --qemu-socket /s --qmp /q --disks /d --fallback --fabric rdma "
		    "--rail a=b --rail c --channels 3 --bandwidth 10Gbit --cpus 0-1 --key-file k --report r "
		    "--confine strict --json --verbose");
	assert_int_equal(options_proxy(words.argc, words.argv, &options, NULL), 0);

	assert_true(options.source && options.fallback && options.json && options.verbose);
	assert_string_equal(options.peer, "host:7");
	assert_string_equal(options.qemu_socket, "/s");
	assert_string_equal(options.qmp, "/q");
	assert_string_equal(options.disks, "/d");
	assert_string_equal(options.fabric, "rdma");
	assert_string_equal(options.rails, "a=b,c");
	assert_int_equal(options.channels, 3);
	assert_int_equal(options.bandwidth_Bps, 1250000000u);
	assert_string_equal(options.cpus, "0-1");
	assert_string_equal(options.key_file, "k");
	assert_string_equal(options.report, "r");
	assert_int_equal(options.confine, CONFINE_STRICT);
}

static void test_options_proxy__dest(void **state)
{
	struct options_proxy options;
	struct words words;
	(void)state;

	words_split(&words, "proxy dest --qemu-socket /s --listen 0.0.0.0:0 --insecure");
	assert_int_equal(options_proxy(words.argc, words.argv, &options, NULL), 0);

	assert_false(options.source || options.fallback || options.json);
	assert_true(options.insecure);
	assert_string_equal(options.listen, "0.0.0.0:0");
	assert_string_equal(options.qemu_socket, "/s");
	assert_null(options.qmp);
	assert_null(options.disks);
	assert_int_equal(options.confine, CONFINE_ON);
}

static void test_options_proxy__help(void **state)
{
	static const char *const asks[] = { "proxy --help", "proxy source --help", "proxy dest --listen a:1 -h" };
	struct options_proxy options;
	struct words words;
	(void)state;

	for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
		words_split(&words, asks[i]);
		assert_int_equal(options_proxy(words.argc, words.argv, &options, NULL), OPTIONS_HELP);
	}
}

static const struct {
	const char *words;
	const char *says;
} refusals[] = {
	{ "proxy", "which end" },
	{ "proxy middle", "which end" },
	{ "proxy source --qemu-socket /s", "--peer" },
	{ "proxy source --peer host:7", "--qemu-socket" },
	{ "proxy source --peer host --qemu-socket /s", "host" },
	{ "proxy source --peer host:0 --qemu-socket /s", "port 0" },
	{ "proxy source --peer host:7 --qemu-socket /s --fabric loop", "auto, rdma or tcp" },
	{ "proxy source --peer host:7 --qemu-socket /s --fabric tcp --rail a", "no rails" },
	{ "proxy source --peer host:7 --qemu-socket /s --rail =a", "LOCAL" },
	{ "proxy source --peer host:7 --qemu-socket /s --channels 0", "--channels" },
	{ "proxy source --peer host:7 --qemu-socket /s --bandwidth fast", "--bandwidth" },
	{ "proxy source --peer host:7 --qemu-socket /s --listen host:7", "unknown option" },
	{ "proxy source --peer host:7 --qemu-socket /s word", "one word too many" },
	{ "proxy source --peer host:7 --qemu-socket", "needs a value" },
	{ "proxy dest --qemu-socket /s", "--listen" },
	{ "proxy dest --listen host:7", "--qemu-socket" },
	{ "proxy dest --listen host --qemu-socket /s", "host" },
	{ "proxy dest --listen host:7 --qemu-socket /s --fallback", "unknown option" },
	{ "proxy dest --listen host:7 --qemu-socket /s --insecure --key-file k", "give one" },
	{ "proxy dest --listen host:7 --qemu-socket /s --confine maybe", "--confine" },
};

static void test_options_proxy__refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct options_proxy options;
		struct words words;

		words_split(&words, refusals[i].words);
		assert_int_equal(options_proxy(words.argc, words.argv, &options, &err), -EINVAL);
		if (strstr(err.msg, refusals[i].says) == NULL)
			fail_msg("%s: \"%s\"", refusals[i].words, err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_proxy__source),
		cmocka_unit_test(test_options_proxy__dest),
		cmocka_unit_test(test_options_proxy__help),
		cmocka_unit_test(test_options_proxy__refusals),
	};

	return cmocka_run_group_tests_name("options_proxy", tests, NULL, NULL);
}
