/* SPDX-License-Identifier: BSD-2-Clause */
/* options_network.c -- the words that say which way a VM goes: fabric, rails, channels, rate; of migrate and of proxy */
#include "vmm/options_common.h"

#include "util/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CHANNELS_MAX 64

int options_take_fabric(const char *value, bool loop, char *fabric, size_t room, struct decant_error *err)
{
	static const char *const fabrics[] = { "auto", "rdma", "tcp", "loop" };
	const size_t count = sizeof(fabrics) / sizeof(fabrics[0]) - (loop ? 0 : 1);

	for (size_t i = 0; i < count; i++) {
		if (strcmp(value, fabrics[i]) != 0)
			continue;
		snprintf(fabric, room, "%s", value);
		return 0;
	}
	return decant_error_set(err, -EINVAL, "--fabric %s: must be auto, rdma%s", value,
				loop ? ", tcp or loop" : " or tcp");
}

static bool options_rails_well_formed(const char *rails)
{
	for (const char *at = rails;; at++) {
		size_t word = strcspn(at, "=,");

		at += word;
		if (word > 0 && *at == '=') {
			word = strcspn(++at, "=,");
			at += word;
		}
		if (word == 0 || *at == '=')
			return false;
		if (*at == '\0')
			return true;
	}
}

int options_take_rail(const char *value, char *rails, size_t room, struct decant_error *err)
{
	const size_t used = strlen(rails);

	if (!options_rails_well_formed(value))
		return decant_error_set(err, -EINVAL,
					"--rail %s: must be LOCAL[=REMOTE], each a device or an address", value);
	if (used + 1 + strlen(value) >= room)
		return decant_error_set(err, -EINVAL, "--rail %s: too many", value);
	snprintf(rails + used, room - used, "%s%s", used > 0 ? "," : "", value);
	return 0;
}

int options_take_channels(const char *value, uint32_t *channels, struct decant_error *err)
{
	return options_take_number("channels", value, 1, CHANNELS_MAX, channels, err);
}

int options_take_rate(const char *name, const char *value, uint64_t *rate, struct decant_error *err)
{
	if (size_parse_rate(value, rate, err) == 0)
		return 0;
	decant_error_prefix(err, "--%s", name);
	return -EINVAL;
}
