/* SPDX-License-Identifier: BSD-2-Clause */
/* size.c -- a number with a fraction and a unit, in integers, so that nothing is rounded on the way */
#include "util/size.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* one unit: what a 1 of it is, as multiplier / divisor */
struct size_unit {
	const char *name;
	uint64_t multiplier;
	uint32_t divisor;
};

static const struct size_unit size_units[] = {
	{ "", 1, 1 },
	{ "B", 1, 1 },
	{ "K", 1ull << 10, 1 },
	{ "KB", 1ull << 10, 1 },
	{ "KiB", 1ull << 10, 1 },
	{ "M", 1ull << 20, 1 },
	{ "MB", 1ull << 20, 1 },
	{ "MiB", 1ull << 20, 1 },
	{ "G", 1ull << 30, 1 },
	{ "GB", 1ull << 30, 1 },
	{ "GiB", 1ull << 30, 1 },
	{ "T", 1ull << 40, 1 },
	{ "TB", 1ull << 40, 1 },
	{ "TiB", 1ull << 40, 1 },
	{ NULL, 0, 0 },
};

/* "Mb" and "MB" mean bits to one and bytes to another, so a rate takes neither. */
static const struct size_unit rate_units[] = {
	{ "", 1, 1 },
	{ "K", 1ull << 10, 1 },
	{ "M", 1ull << 20, 1 },
	{ "G", 1ull << 30, 1 },
	{ "T", 1ull << 40, 1 },
	{ "bit", 1, 8 },
	{ "Kbit", 1000, 8 },
	{ "Mbit", 1000000, 8 },
	{ "Gbit", 1000000000, 8 },
	{ "Tbit", 1000000000000, 8 },
	{ NULL, 0, 0 },
};

static const struct size_unit time_units[] = {
	{ "ns", 1, 1 },
	{ "us", 1000, 1 },
	{ "ms", 1000000, 1 },
	{ "s", 1000000000, 1 },
	{ "min", 60 * 1000000000ull, 1 },
	{ "h", 3600 * 1000000000ull, 1 },
	{ NULL, 0, 0 },
};

/* whole + fraction / scale */
struct size_number {
	uint64_t whole;
	uint64_t fraction;
	uint64_t scale;
};

static const struct size_unit *size_find_unit(const struct size_unit *units, const char *name)
{
	for (; units->name != NULL; units++)
		if (strcasecmp(units->name, name) == 0)
			return units;
	return NULL;
}

static bool size_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* reads "12" or "12.5" from the front of *@text and moves it on; 0, -EINVAL (no number), -ERANGE */
static int size_scan(const char **text, struct size_number *number)
{
	const char *c = *text;

	*number = (struct size_number){ .scale = 1 };
	if (!size_is_digit(*c))
		return -EINVAL;
	for (; size_is_digit(*c); c++)
		if (__builtin_mul_overflow(number->whole, 10, &number->whole) ||
		    __builtin_add_overflow(number->whole, (uint64_t)(*c - '0'), &number->whole))
			return -ERANGE;
	if (*c == '.') {
		if (!size_is_digit(*++c))
			return -EINVAL;
		for (; size_is_digit(*c); c++) {
			/* digits beyond the 15th are less than the smallest step of the largest unit */
			if (number->scale >= 1000000000000000)
				continue;
			number->fraction = number->fraction * 10 + (uint64_t)(*c - '0');
			number->scale *= 10;
		}
	}
	*text = c;
	return 0;
}

static int size_apply(const struct size_number *number, const struct size_unit *unit, uint64_t *value)
{
	const unsigned __int128 whole = (unsigned __int128)number->whole * unit->multiplier;
	const unsigned __int128 part = (unsigned __int128)number->fraction * unit->multiplier / number->scale;
	const unsigned __int128 result = (whole + part) / unit->divisor;

	if (result > UINT64_MAX)
		return -ERANGE;
	*value = (uint64_t)result;
	return 0;
}

static int size_convert(const char *text, const struct size_unit *units, const char *what, const char *example,
			uint64_t *value, struct decant_error *err)
{
	const struct size_unit *unit;
	struct size_number number;
	const char *rest = text;
	int rc;

	rc = size_scan(&rest, &number);
	if (rc == 0) {
		unit = size_find_unit(units, rest);
		if (unit == NULL && *rest == '\0')
			return decant_error_set(err, -EINVAL, "\"%s\": %s needs a unit; write it like %s", text,
						what, example);
		if (unit == NULL)
			return decant_error_set(err, -EINVAL, "\"%s\": \"%s\" is no unit of %s; write it like %s",
						text, rest, what, example);
		rc = size_apply(&number, unit, value);
	}
	if (rc == -ERANGE)
		return decant_error_set(err, rc, "\"%s\": too large for %s", text, what);
	if (rc < 0)
		return decant_error_set(err, rc, "\"%s\" is not %s; write it like %s", text, what, example);
	return 0;
}

int size_parse(const char *text, uint64_t *bytes, struct decant_error *err)
{
	return size_convert(text, size_units, "a size", "4K, 512M or 1.5G", bytes, err);
}

int size_parse_rate(const char *text, uint64_t *bytes_per_second, struct decant_error *err)
{
	return size_convert(text, rate_units, "a rate", "10Gbit (bits per second) or 500M (bytes per second)",
			    bytes_per_second, err);
}

int size_parse_time(const char *text, uint64_t *ns, struct decant_error *err)
{
	if (strcmp(text, "0") == 0) {
		*ns = 0;
		return 0;
	}
	return size_convert(text, time_units, "a time", "300ms, 60s or 1.5s", ns, err);
}
