/* SPDX-License-Identifier: BSD-2-Clause */
/* test_stress_options.c -- the stress guest's parameters as people write them, and what fits into a memory */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "guest/stress_host.h"
#include "guest/stress_layout.h"

#define MIB (1ull << 20)

static struct stress_options parse(const char *text)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct stress_options options;
	int rc = stress_options_parse(text, &options, &err);

	if (rc != 0)
		fail_msg("\"%s\": %s", text, err.msg);
	return options;
}

static void test_stress_options_parse__all_keys(void **state)
{
	struct stress_options options =
		parse("wss=40M,data=1.5G,zero=8K,rate=100M,pattern=random,seed=7,scatter=1");

	(void)state;
	assert_int_equal(options.wss, 40 * MIB);
	assert_int_equal(options.data, 1536 * MIB);
	assert_int_equal(options.zero, 8192);
	assert_int_equal(options.rate, 100 * MIB);
	assert_int_equal(options.pattern, STRESS_PATTERN_RANDOM);
	assert_int_equal(options.seed, 7);
	assert_int_equal(options.scatter, 1);
}

static void test_stress_options_parse__nothing_told(void **state)
{
	struct stress_options empty = parse("");
	struct stress_options none = parse(NULL);

	(void)state;
	assert_int_equal(empty.wss, STRESS_DEFAULT);
	assert_int_equal(empty.data, STRESS_DEFAULT);
	assert_int_equal(empty.zero, STRESS_DEFAULT);
	assert_int_equal(empty.rate, 0);
	assert_int_equal(empty.pattern, STRESS_PATTERN_SEQUENTIAL);
	assert_memory_equal(&empty, &none, sizeof(empty));
}

struct bad_case {
	const char *text;
	const char *says;
};

static const struct bad_case bad[] = {
	{ "wss", "wss" },
	{ "wss=", "wss" },
	{ "wss=40Q", "wss" },
	{ "wss=-1M", "wss" },
	{ "Wss=4M", "Wss: no such option; there are wss, data" },
	{ "speed=3", "speed: no such option" },
	{ "=4M", "no such option" },
	{ "wss=4M,,data=4M", "needs a value" },
	{ "pattern=zigzag", "seq and random" },
	{ "rate=100", "less than a page" },
	{ "rate=fast", "rate" },
	{ "seed=x", "seed" },
	{ "seed=4294967296", "number from 0 to 4294967295" },
	{ "seed=-1", "seed" },
	{ "scatter=2", "number from 0 to 1" },
	{ "wss=0000000000000000000000000000000000000000000000000000000000000004M", "too long" },
};

static void test_stress_options_parse__bad_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct stress_options options = { .wss = 42 };
		struct decant_error err = DECANT_ERROR_INIT;

		assert_int_equal(stress_options_parse(bad[i].text, &options, &err), -EINVAL);
		if (strstr(err.msg, bad[i].says) == NULL)
			fail_msg("\"%s\": \"%s\" does not say \"%s\"", bad[i].text, err.msg, bad[i].says);
		assert_int_equal(options.wss, 42);
	}
}

static void test_stress_options_fill__defaults(void **state)
{
	struct stress_options options = parse("");
	struct stress_boot boot;

	(void)state;
	assert_int_equal(stress_options_fill(&options, 512 * MIB, 2, 1000000, &boot, NULL), 0);
	assert_int_equal(boot.magic, STRESS_BOOT_MAGIC);
	assert_int_equal(boot.vcpus, 2);
	assert_int_equal(boot.memory_pages, 131072);
	assert_int_equal(boot.wss_pages, STRESS_WSS_DEFAULT);
	assert_int_equal(boot.data_pages, STRESS_DATA_DEFAULT);
	assert_int_equal(boot.zero_pages, STRESS_ZERO_DEFAULT);
	assert_int_equal(boot.tsc_khz, 1000000);
	assert_int_equal(boot.gap_reset, 0);
	assert_int_equal(boot.verdict_ask, 0);
}

static void test_stress_options_fill__defaults_fit_any_memory(void **state)
{
	struct stress_options options = parse("");

	(void)state;
	for (uint64_t memory = 16 * MIB; memory < 6144 * MIB; memory += memory / 7 / 4096 * 4096 + 4096) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct stress_boot boot;

		if (stress_options_fill(&options, memory, 16, 1, &boot, &err) != 0)
			fail_msg("%llu MiB: %s", (unsigned long long)(memory / MIB), err.msg);
	}
}

static void test_stress_options_fill__rounds_up_to_pages(void **state)
{
	struct stress_options options = parse("wss=4097,data=1,zero=0,rate=4097");
	struct stress_boot boot;

	(void)state;
	assert_int_equal(stress_options_fill(&options, 64 * MIB, 1, 1, &boot, NULL), 0);
	assert_int_equal(boot.wss_pages, 2);
	assert_int_equal(boot.data_pages, 1);
	assert_int_equal(boot.zero_pages, 0);
	assert_int_equal(boot.rate_pages, 2);
}

struct misfit_case {
	const char *text;
	uint64_t memory;
	uint32_t vcpus;
	const char *says;
};

static const struct misfit_case misfits[] = {
	{ "", 8 * MIB, 1, "it needs 16 MiB" },
	{ "", 64 * MIB, 0, "it takes 1 to 16" },
	{ "", 64 * MIB, 17, "it takes 1 to 16" },
	{ "wss=64M", 64 * MIB, 1, "do not fit into 64 MiB" },
	{ "wss=62M,data=0,zero=0", 64 * MIB, 1, "do not fit" },
	{ "data=60M", 64 * MIB, 1, "do not fit" },
	{ "zero=60M", 64 * MIB, 1, "do not fit" },
	{ "wss=8M,zero=0,data=52M", 64 * MIB, 1, "data may be 50M then" },
	{ "wss=16T", 64 * MIB, 1, "do not fit" },
	{ "data=17592186044415M", 64 * MIB, 1, "do not fit" },
	{ "wss=16777215T,zero=16777215T,data=16777215T", 64 * MIB, 1, "do not fit" },
};

static void test_stress_options_fill__what_does_not_fit(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(misfits) / sizeof(misfits[0]); i++) {
		const struct misfit_case *c = &misfits[i];
		struct stress_options options = parse(c->text);
		struct decant_error err = DECANT_ERROR_INIT;
		struct stress_boot boot;

		assert_int_equal(stress_options_fill(&options, c->memory, c->vcpus, 1, &boot, &err), -EINVAL);
		if (strstr(err.msg, c->says) == NULL)
			fail_msg("\"%s\": \"%s\" does not say \"%s\"", c->text, err.msg, c->says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stress_options_parse__all_keys),
		cmocka_unit_test(test_stress_options_parse__nothing_told),
		cmocka_unit_test(test_stress_options_parse__bad_text),
		cmocka_unit_test(test_stress_options_fill__defaults),
		cmocka_unit_test(test_stress_options_fill__defaults_fit_any_memory),
		cmocka_unit_test(test_stress_options_fill__rounds_up_to_pages),
		cmocka_unit_test(test_stress_options_fill__what_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
