/* SPDX-License-Identifier: BSD-2-Clause */
/* stress_options.c -- the stress guest's parameters, from text to boot page */
#include "guest/stress_host.h"
#include "guest/stress_layout.h"
#include "util/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 64
#define KEYS "wss, data, zero, rate, pattern, seed, scatter"

static int parse_pattern(const char *value, uint32_t *pattern, struct decant_error *err)
{
	if (strcmp(value, "seq") == 0)
		*pattern = STRESS_PATTERN_SEQUENTIAL;
	else if (strcmp(value, "random") == 0)
		*pattern = STRESS_PATTERN_RANDOM;
	else
		return decant_error_set(err, -EINVAL, "\"%s\" is none; there are seq and random", value);
	return 0;
}

static int parse_number(const char *value, uint32_t max, uint32_t *number, struct decant_error *err)
{
	unsigned long long parsed;
	char *end;

	errno = 0;
	parsed = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || parsed > max)
		return decant_error_set(err, -EINVAL, "\"%s\" is not a number from 0 to %u", value, max);
	*number = (uint32_t)parsed;
	return 0;
}

static int parse_rate(const char *value, uint64_t *rate, struct decant_error *err)
{
	int ret = size_parse_rate(value, rate, err);

	if (ret == 0 && *rate != 0 && *rate < DECANT_PAGE_SIZE)
		ret = decant_error_set(err, -EINVAL,
				       "\"%s\" is less than a page (4K) per second; a rate is bytes, as in 100M",
				       value);
	return ret;
}

static int parse_value(const char *key, const char *value, struct stress_options *options,
		       struct decant_error *err)
{
	if (strcmp(key, "wss") == 0)
		return size_parse(value, &options->wss, err);
	if (strcmp(key, "data") == 0)
		return size_parse(value, &options->data, err);
	if (strcmp(key, "zero") == 0)
		return size_parse(value, &options->zero, err);
	if (strcmp(key, "rate") == 0)
		return parse_rate(value, &options->rate, err);
	if (strcmp(key, "pattern") == 0)
		return parse_pattern(value, &options->pattern, err);
	if (strcmp(key, "seed") == 0)
		return parse_number(value, UINT32_MAX, &options->seed, err);
	if (strcmp(key, "scatter") == 0)
		return parse_number(value, 1, &options->scatter, err);
	return decant_error_set(err, -EINVAL, "no such option; there are " KEYS);
}

static int parse_word(char *word, struct stress_options *options, struct decant_error *err)
{
	char *value = strchr(word, '=');
	int ret;

	if (value == NULL)
		return decant_error_set(err, -EINVAL,
					"stress guest: \"%s\": needs a value, as in wss=40M; there are " KEYS,
					word);
	*value++ = '\0';
	ret = parse_value(word, value, options, err);
	if (ret != 0) {
		decant_error_prefix(err, "stress guest: %s", word);
		return -EINVAL;
	}
	return 0;
}

int stress_options_parse(const char *text, struct stress_options *options, struct decant_error *err)
{
	struct stress_options parsed = {
		.wss = STRESS_DEFAULT, .data = STRESS_DEFAULT, .zero = STRESS_DEFAULT, .seed = 1
	};

	while (text != NULL && *text != '\0') {
		size_t length = strcspn(text, ",");
		char word[WORD_MAX];
		int ret;

		if (length >= sizeof(word))
			return decant_error_set(err, -EINVAL, "stress guest: option of %zu characters is too long",
						length);
		memcpy(word, text, length);
		word[length] = '\0';
		ret = parse_word(word, &parsed, err);
		if (ret != 0)
			return ret;
		text += length + (text[length] == ',');
	}
	*options = parsed;
	return 0;
}

/* Cut at what 32 bits hold: more than any guest's memory, so it will not fit, and that is what is said. */
static uint32_t to_pages(uint64_t bytes)
{
	uint64_t pages = bytes / DECANT_PAGE_SIZE + (bytes % DECANT_PAGE_SIZE != 0);

	return pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
}

static void set_pages(uint32_t *pages, uint64_t told)
{
	if (told != STRESS_DEFAULT)
		*pages = to_pages(told);
}

static unsigned int to_mib(uint32_t pages)
{
	return pages / 256 + (pages % 256 != 0);
}

int stress_options_fill(const struct stress_options *options, uint64_t memory_bytes, uint32_t vcpus,
			uint32_t tsc_khz, struct stress_boot *boot, struct decant_error *err)
{
	uint64_t memory_pages = memory_bytes / DECANT_PAGE_SIZE;
	struct stress_layout layout;
	struct stress_boot filled = {
		.magic = STRESS_BOOT_MAGIC,
		.vcpus = vcpus,
		.rate_pages = to_pages(options->rate),
		.pattern = options->pattern,
		.seed = options->seed,
		.scatter = options->scatter,
		.tsc_khz = tsc_khz,
	};

	if (vcpus == 0 || vcpus > STRESS_VCPUS_MAX)
		return decant_error_set(err, -EINVAL, "stress guest: %u vCPUs: it takes 1 to %u", vcpus,
					STRESS_VCPUS_MAX);
	filled.memory_pages = memory_pages > STRESS_SLOTS_MAX * STRESS_SLOT_PAGES
				      ? STRESS_SLOTS_MAX * STRESS_SLOT_PAGES
				      : (uint32_t)memory_pages;
	if (filled.memory_pages < STRESS_MEMORY_MIN)
		return decant_error_set(err, -EINVAL, "stress guest: %u MiB of memory: it needs %u MiB",
					to_mib(filled.memory_pages), to_mib(STRESS_MEMORY_MIN));
	stress_layout_defaults(&filled);
	set_pages(&filled.wss_pages, options->wss);
	set_pages(&filled.zero_pages, options->zero);
	set_pages(&filled.data_pages, options->data);
	if (!stress_layout_plan(&layout, &filled))
		return decant_error_set(
			err, -EINVAL,
			"stress guest: wss=%uM, data=%uM and zero=%uM do not fit into %u MiB of memory, of which it "
			"may have 4 MiB to itself and up to 2 MiB after each; data may be %uM then",
			to_mib(filled.wss_pages), to_mib(filled.data_pages), to_mib(filled.zero_pages),
			to_mib(filled.memory_pages), to_mib(stress_layout_room(&filled)));
	*boot = filled;
	return 0;
}
