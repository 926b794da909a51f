/* SPDX-License-Identifier: BSD-2-Clause */
/* departure_json.c -- the options of a migration as they travel over the control socket */
#include "qemu/json.h"
#include "vmm/departure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void departure_to_json(const struct departure_opts *opts, struct json_object *request)
{
	json_add_text(request, "peer", opts->peer);
	json_add_text(request, "fabric", opts->fabric);
	json_add_text(request, "rails", opts->rails);
	json_add_text(request, "cpus", opts->cpus);
	json_add_number(request, "channels", opts->channels);
	json_add_number(request, "max_downtime_ns", opts->max_downtime_ns);
	json_add_number(request, "timeout_ns", opts->timeout_ns);
	json_add_number(request, "switchover_timeout_ns", opts->switchover_timeout_ns);
	json_add_number(request, "bandwidth_Bps", opts->bandwidth_Bps);
	json_add_number(request, "zero_scan", opts->zero_scan);
	json_add_number(request, "zero_copy", opts->zero_copy);
	json_add_bool(request, "verify", opts->verify);
	json_add_text(request, "if_not_converging",
		      opts->if_not_converging == DECANT_NOT_CONVERGING_THROTTLE ? "throttle" : "abort");
}

static int departure_copy(char *to, size_t room, struct json_object *request, const char *key,
			  const char *otherwise, struct decant_error *err)
{
	const char *text = json_get_text(request, key, otherwise);
	int length = snprintf(to, room, "%s", text);

	if (length < 0 || (size_t)length >= room)
		return decant_error_set(err, -EINVAL, "\"%s\" is too long", key);
	return 0;
}

static int departure_policy(struct json_object *request, enum decant_not_converging *policy,
			    struct decant_error *err)
{
	const char *text = json_get_text(request, "if_not_converging", "abort");

	if (strcmp(text, "abort") == 0)
		*policy = DECANT_NOT_CONVERGING_ABORT;
	else if (strcmp(text, "throttle") == 0)
		*policy = DECANT_NOT_CONVERGING_THROTTLE;
	else
		return decant_error_set(err, -EINVAL, "\"if_not_converging\" must be throttle or abort");
	return 0;
}

int departure_from_json(struct json_object *request, struct departure_opts *opts, struct decant_error *err)
{
	struct departure_opts found = {
		.max_downtime_ns = json_get_number(request, "max_downtime_ns", 300000000),
		.timeout_ns = json_get_number(request, "timeout_ns", 0),
		.switchover_timeout_ns = json_get_number(request, "switchover_timeout_ns", 0),
		.bandwidth_Bps = json_get_number(request, "bandwidth_Bps", 0),
		.verify = json_get_bool(request, "verify", false),
	};
	uint64_t channels = json_get_number(request, "channels", 0);
	uint64_t zero_scan = json_get_number(request, "zero_scan", DECANT_ZERO_SCAN_AUTO);
	uint64_t zero_copy = json_get_number(request, "zero_copy", DECANT_ZERO_COPY_AUTO);
	int ret = departure_copy(found.peer, sizeof(found.peer), request, "peer", "", err);

	if (ret == 0)
		ret = departure_copy(found.fabric, sizeof(found.fabric), request, "fabric", "auto", err);
	if (ret == 0)
		ret = departure_copy(found.rails, sizeof(found.rails), request, "rails", "", err);
	if (ret == 0)
		ret = departure_copy(found.cpus, sizeof(found.cpus), request, "cpus", "", err);
	if (ret == 0)
		ret = departure_policy(request, &found.if_not_converging, err);
	if (ret == 0 && channels > UINT32_MAX)
		ret = decant_error_set(err, -EINVAL, "\"channels\" is too large");
	if (ret == 0 && zero_scan > DECANT_ZERO_SCAN_OFF)
		ret = decant_error_set(err, -EINVAL, "\"zero_scan\" is too large");
	if (ret == 0 && zero_copy > DECANT_ZERO_COPY_OFF)
		ret = decant_error_set(err, -EINVAL, "\"zero_copy\" is too large");
	if (ret == 0 && found.peer[0] == '\0' && strcmp(found.fabric, "loop") != 0)
		ret = decant_error_set(err, -EINVAL, "\"peer\" is missing");
	if (ret < 0)
		return ret;
	found.channels = (uint32_t)channels;
	found.zero_scan = (unsigned int)zero_scan;
	found.zero_copy = (unsigned int)zero_copy;
	*opts = found;
	return 0;
}
