/* SPDX-License-Identifier: BSD-2-Clause */
/* test_size.c -- sizes, rates and times as people write them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "util/size.h"

struct size_case {
	const char *text;
	int rc;
	uint64_t value;
};

static const struct size_case sizes[] = {
	{ "0", 0, 0 },
	{ "4096", 0, 4096 },
	{ "4K", 0, 4096 },
	{ "4k", 0, 4096 },
	{ "4KiB", 0, 4096 },
	{ "4KB", 0, 4096 },
	{ "512M", 0, 512ull << 20 },
	{ "512MiB", 0, 512ull << 20 },
	{ "1G", 0, 1ull << 30 },
	{ "1.5G", 0, 3ull << 29 },
	{ "0.5K", 0, 512 },
	{ "0.0001K", 0, 0 },
	{ "2T", 0, 2ull << 40 },
	{ "0.000000000001T", 0, 1 },
	{ "1.99999999999999999999999T", 0, (2ull << 40) - 1 },
	{ "7B", 0, 7 },
	{ "007K", 0, 7168 },
	{ "18446744073709551615", 0, UINT64_MAX },
	{ "18446744073709551616", -ERANGE, 0 },
	{ "99999999999999999999999", -ERANGE, 0 },
	{ "16777215T", 0, 16777215ull << 40 },
	{ "16777216T", -ERANGE, 0 },
	{ "", -EINVAL, 0 },
	{ "K", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "+1", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "1 ", -EINVAL, 0 },
	{ "1 K", -EINVAL, 0 },
	{ "1.", -EINVAL, 0 },
	{ "1.K", -EINVAL, 0 },
	{ ".5G", -EINVAL, 0 },
	{ "1.2.3K", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
	{ "1e3", -EINVAL, 0 },
	{ "1KK", -EINVAL, 0 },
	{ "1P", -EINVAL, 0 },
	{ "1,5G", -EINVAL, 0 },
	{ "10Gbit", -EINVAL, 0 },
};

static const struct size_case rates[] = {
	{ "0", 0, 0 },
	{ "10Gbit", 0, 1250000000 },
	{ "10gbit", 0, 1250000000 },
	{ "2.5Gbit", 0, 312500000 },
	{ "800Mbit", 0, 100000000 },
	{ "8bit", 0, 1 },
	{ "9bit", 0, 1 },
	{ "8Kbit", 0, 1000 },
	{ "1Tbit", 0, 125000000000 },
	{ "100M", 0, 100ull << 20 },
	{ "1.5G", 0, 3ull << 29 },
	{ "12345", 0, 12345 },
	{ "10Gb", -EINVAL, 0 },
	{ "10GB", -EINVAL, 0 },
	{ "10Gbit/s", -EINVAL, 0 },
	{ "fast", -EINVAL, 0 },
	{ "", -EINVAL, 0 },
};

static const struct size_case times[] = {
	{ "0", 0, 0 },
	{ "0s", 0, 0 },
	{ "300ms", 0, 300000000 },
	{ "60s", 0, 60000000000 },
	{ "1.5s", 0, 1500000000 },
	{ "0.1ms", 0, 100000 },
	{ "250us", 0, 250000 },
	{ "10ns", 0, 10 },
	{ "0.9ns", 0, 0 },
	{ "5min", 0, 300000000000 },
	{ "1h", 0, 3600000000000 },
	{ "5124095h", 0, 18446742000000000000ull },
	{ "5124096h", -ERANGE, 0 },
	{ "300", -EINVAL, 0 },
	{ "5m", -EINVAL, 0 },
	{ "300 ms", -EINVAL, 0 },
	{ "ms", -EINVAL, 0 },
	{ "", -EINVAL, 0 },
	{ "-1s", -EINVAL, 0 },
};

static void run_cases(const struct size_case *cases, size_t count,
		      int (*parse)(const char *text, uint64_t *value, struct decant_error *err))
{
	for (size_t i = 0; i < count; i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		uint64_t value = 4711;
		const int rc = parse(cases[i].text, &value, &err);

		if (rc != cases[i].rc || value != (rc == 0 ? cases[i].value : 4711))
			fail_msg("\"%s\": rc %d, value %llu (%s)", cases[i].text, rc, (unsigned long long)value,
				 err.msg);
		assert_int_equal(err.code, rc);
		assert_true((rc < 0) == (err.msg[0] != '\0'));
		assert_int_equal(parse(cases[i].text, &value, NULL), rc);
	}
}

static void test_size_parse__table(void **state)
{
	(void)state;
	run_cases(sizes, sizeof(sizes) / sizeof(sizes[0]), size_parse);
}

static void test_size_parse_rate__table(void **state)
{
	(void)state;
	run_cases(rates, sizeof(rates) / sizeof(rates[0]), size_parse_rate);
}

static void test_size_parse_time__table(void **state)
{
	(void)state;
	run_cases(times, sizeof(times) / sizeof(times[0]), size_parse_time);
}

static void test_size_parse__says_what_a_right_one_looks_like(void **state)
{
	struct decant_error err;
	uint64_t value;

	(void)state;
	size_parse("12Q", &value, &err);
	assert_non_null(strstr(err.msg, "\"Q\""));
	assert_non_null(strstr(err.msg, "512M"));
	size_parse_time("300", &value, &err);
	assert_non_null(strstr(err.msg, "needs a unit"));
	assert_non_null(strstr(err.msg, "300ms"));
	size_parse_rate("10Gb", &value, &err);
	assert_non_null(strstr(err.msg, "10Gbit"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size_parse__table),
		cmocka_unit_test(test_size_parse_rate__table),
		cmocka_unit_test(test_size_parse_time__table),
		cmocka_unit_test(test_size_parse__says_what_a_right_one_looks_like),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
