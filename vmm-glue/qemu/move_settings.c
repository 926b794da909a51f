/* SPDX-License-Identifier: BSD-2-Clause */
/* move_settings.c -- what a migration's options change in QEMU's capabilities and parameters */
#include "qemu/move_settings.h"
#include "qemu/json.h"
#include "qemu/qmp.h"

#include "util/clock.h"

#include <errno.h>
#include <string.h>

#define PART_FIRST 3u  /* a limit begins as its 2^-3, */
#define PART_PASSES 2u /* and stays so for two passes */

#define DOWNTIME_LIMIT "downtime-limit"

static void settings_add_capability(struct json_object *list, const char *name, bool state)
{
	struct json_object *one = json_object_new_object();

	json_add_text(one, "capability", name);
	json_add_bool(one, "state", state);
	json_object_array_add(list, one);
}

static struct json_object *settings_wanted_capabilities(const struct move_wanted *wanted)
{
	struct json_object *list = json_object_new_array();

	settings_add_capability(list, "events", true);
	if (wanted->multifd != UINT32_MAX)
		settings_add_capability(list, "multifd", wanted->multifd > 0);
	if (wanted->throttle)
		settings_add_capability(list, "auto-converge", true);
	return list;
}

/*
 * How much of @max_ns QEMU is told in its pass @pass, from 1. It stops the guest as soon as what is left would fit into its limit, in its first
 * pass too, and so uses up whatever it is given. A guest that needs less gets less.
 */
static uint64_t settings_downtime(uint64_t max_ns, uint64_t pass)
{
	const uint64_t grown = pass > PART_PASSES ? pass - PART_PASSES : 0;

	return grown < PART_FIRST ? max_ns >> (PART_FIRST - grown) : max_ns;
}

static uint64_t settings_ms(uint64_t ns)
{
	return (ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
}

static struct json_object *settings_wanted_parameters(const struct move_wanted *wanted)
{
	struct json_object *parameters = json_object_new_object();

	if (wanted->bandwidth_Bps > 0)
		json_add_number(parameters, "max-bandwidth", wanted->bandwidth_Bps);
	if (wanted->max_downtime_ns > 0)
		json_add_number(parameters, DOWNTIME_LIMIT,
				settings_ms(settings_downtime(wanted->max_downtime_ns, 1)));
	if (wanted->multifd != UINT32_MAX && wanted->multifd > 0)
		json_add_number(parameters, "multifd-channels", wanted->multifd);
	return parameters;
}

/* -1: this QEMU has no such capability */
static int settings_state(struct json_object *all, const char *name)
{
	const size_t count = json_object_is_type(all, json_type_array) ? json_object_array_length(all) : 0;

	for (size_t i = 0; i < count; i++) {
		struct json_object *one = json_object_array_get_idx(all, i);

		if (strcmp(json_get_text(one, "capability", ""), name) == 0)
			return json_get_bool(one, "state", false) ? 1 : 0;
	}
	return -1;
}

/* of @wanted, those that are otherwise now, as they are now; @wanted keeps what is to be changed */
static struct json_object *settings_differing(struct json_object *all, struct json_object **wanted)
{
	struct json_object *before = json_object_new_array(), *change = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(*wanted); i++) {
		struct json_object *one = json_object_array_get_idx(*wanted, i);
		const char *name = json_get_text(one, "capability", "");
		const bool state = json_get_bool(one, "state", false);
		const int now = settings_state(all, name);

		if (now == (state ? 1 : 0) || (now < 0 && !state))
			continue;
		settings_add_capability(change, name, state);
		settings_add_capability(before, name, now == 1);
	}
	json_object_put(*wanted);
	*wanted = change;
	return before;
}

static int settings_set_capabilities(struct qmp *qmp, struct json_object *list, struct decant_error *err)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "capabilities", json_object_get(list));
	return qmp_call(qmp, "migrate-set-capabilities", arguments, NULL, err);
}

static int settings_apply_capabilities(struct move_settings *settings, struct qmp *qmp,
				       const struct move_wanted *wanted, struct decant_error *err)
{
	struct json_object *all = NULL, *change, *before;
	int ret = qmp_call(qmp, "query-migrate-capabilities", NULL, &all, err);

	if (ret < 0)
		return ret;
	change = settings_wanted_capabilities(wanted);
	before = settings_differing(all, &change);
	json_object_put(all);
	if (json_object_array_length(change) > 0)
		ret = settings_set_capabilities(qmp, change, err);
	json_object_put(change);
	if (ret == 0 && json_object_array_length(before) > 0)
		settings->capabilities = json_object_get(before);
	json_object_put(before);
	return ret;
}

static int settings_set_parameters(struct qmp *qmp, struct json_object *parameters, struct decant_error *err)
{
	return qmp_call(qmp, "migrate-set-parameters", json_object_get(parameters), NULL, err);
}

/* the values that @wanted has, as they are now; those that are equal leave @wanted */
static struct json_object *settings_before(struct json_object *now, struct json_object *wanted)
{
	static const char *const names[] = { "max-bandwidth", DOWNTIME_LIMIT, "multifd-channels" };
	struct json_object *before = json_object_new_object();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct json_object *was = NULL, *is = NULL;

		if (!json_object_object_get_ex(wanted, names[i], &is) ||
		    !json_object_object_get_ex(now, names[i], &was))
			continue;
		/* the limit of the pause grows later, even if it need not be changed now */
		if (json_object_get_uint64(was) != json_object_get_uint64(is) ||
		    strcmp(names[i], DOWNTIME_LIMIT) == 0)
			json_object_object_add(before, names[i], json_object_get(was));
		if (json_object_get_uint64(was) == json_object_get_uint64(is))
			json_object_object_del(wanted, names[i]);
	}
	return before;
}

static int settings_apply_parameters(struct move_settings *settings, struct qmp *qmp,
				     const struct move_wanted *wanted, struct decant_error *err)
{
	struct json_object *now = NULL, *change, *before;
	int ret = qmp_call(qmp, "query-migrate-parameters", NULL, &now, err);

	if (ret < 0)
		return ret;
	change = settings_wanted_parameters(wanted);
	before = settings_before(now, change);
	json_object_put(now);
	if (json_object_object_length(change) > 0)
		ret = settings_set_parameters(qmp, change, err);
	json_object_put(change);
	if (ret == 0 && json_object_object_length(before) > 0)
		settings->parameters = json_object_get(before);
	json_object_put(before);
	return ret;
}

int move_settings_apply(struct move_settings *settings, struct qmp *qmp, const struct move_wanted *wanted,
			struct decant_error *err)
{
	int ret;

	*settings = (struct move_settings){ NULL, NULL };
	ret = settings_apply_capabilities(settings, qmp, wanted, err);
	if (ret == 0)
		ret = settings_apply_parameters(settings, qmp, wanted, err);
	if (ret < 0)
		move_settings_restore(settings, qmp, NULL);
	return ret;
}

struct json_object *move_settings_grown(uint64_t max_ns, uint64_t pass)
{
	struct json_object *parameters;

	if (max_ns == 0 || settings_downtime(max_ns, pass) == settings_downtime(max_ns, pass - 1))
		return NULL;
	parameters = json_object_new_object();
	json_add_number(parameters, DOWNTIME_LIMIT, settings_ms(settings_downtime(max_ns, pass)));
	return parameters;
}

int move_settings_restore(struct move_settings *settings, struct qmp *qmp, struct decant_error *err)
{
	int ret = 0, second = 0;

	if (settings->parameters != NULL)
		ret = settings_set_parameters(qmp, settings->parameters, err);
	if (settings->capabilities != NULL)
		second = settings_set_capabilities(qmp, settings->capabilities, ret == 0 ? err : NULL);
	json_object_put(settings->parameters);
	json_object_put(settings->capabilities);
	*settings = (struct move_settings){ NULL, NULL };
	return ret < 0 ? ret : second;
}
