/* SPDX-License-Identifier: BSD-2-Clause */
/* preflight_change.c -- set a QEMU's parameters for its migration, and put them back */
#include "qemu/json.h"
#include "qemu/preflight_private.h"
#include "qemu/qmp.h"

#include <errno.h>
#include <string.h>

/* Bytes per second: as good as none, so that what the fabric takes is the only limit. */
#define PREFLIGHT_BANDWIDTH (UINT64_C(1) << 40)

static int preflight_set_capability(struct qmp *qmp, const char *name, bool state, struct decant_error *err)
{
	struct json_object *arguments = json_object_new_object();
	struct json_object *list = json_object_new_array();
	struct json_object *item = json_object_new_object();

	json_add_text(item, "capability", name);
	json_add_bool(item, "state", state);
	json_object_array_add(list, item);
	json_object_object_add(arguments, "capabilities", list);
	return qmp_call(qmp, "migrate-set-capabilities", arguments, NULL, err);
}

static int preflight_set(struct qmp *qmp, const struct preflight_change *change, uint64_t value,
			 struct decant_error *err)
{
	struct json_object *arguments;

	if (change->capability)
		return preflight_set_capability(qmp, change->name, value != 0, err);
	arguments = json_object_new_object();
	json_add_number(arguments, change->name, value);
	return qmp_call(qmp, "migrate-set-parameters", arguments, NULL, err);
}

/* 1 with *@value; 0: QEMU does not know it. */
static int preflight_get(struct qmp *qmp, const struct preflight_change *change, uint64_t *value,
			 struct decant_error *err)
{
	struct json_object *answer = NULL;
	int ret = qmp_call(qmp, change->capability ? "query-migrate-capabilities" : "query-migrate-parameters",
			   NULL, &answer, err);

	if (ret == 0 && change->capability && !json_object_is_type(answer, json_type_array))
		ret = decant_error_set(err, -EPROTO, "QEMU: query-migrate-capabilities: answered with no list");
	if (ret == 0 && change->capability)
		*value = preflight_has(answer, change->name);
	else if (ret == 0)
		*value = json_get_number(answer, change->name, UINT64_MAX);
	json_object_put(answer);
	return ret < 0 ? ret : *value != UINT64_MAX;
}

/* Make it at least @value, and remember what it was. */
static int preflight_raise(struct preflight *preflight, struct qmp *qmp, const char *name, bool capability,
			   uint64_t value, struct decant_error *err)
{
	struct preflight_change change = { .name = name, .capability = capability, .now = value };
	int ret = preflight_get(qmp, &change, &change.before, err);

	if (ret <= 0 || change.before >= value)
		return ret < 0 ? ret : 0;
	/* An error may have come after QEMU had done it: so it is to be put back in any case. */
	preflight->change[preflight->changes++] = change;
	return preflight_set(qmp, &change, value, err);
}

int preflight_change(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	int ret = 0;

	if (preflight->opts.end != PREFLIGHT_SOURCE || preflight->changes > 0)
		return 0;
	if (preflight->opts.mend)
		ret = preflight_raise(preflight, qmp, "return-path", true, 1, err);
	if (ret == 0)
		ret = preflight_raise(preflight, qmp, "max-bandwidth", false, PREFLIGHT_BANDWIDTH, err);
	if (ret < 0)
		preflight_restore(preflight, qmp, NULL);
	return ret;
}

int preflight_restore(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	int worst = 0;

	while (preflight->changes > 0) {
		struct preflight_change *change = &preflight->change[--preflight->changes];
		uint64_t value = 0;
		int ret = preflight_get(qmp, change, &value, worst == 0 ? err : NULL);

		if (ret > 0)
			ret = value == change->now
				      ? preflight_set(qmp, change, change->before, worst == 0 ? err : NULL)
				      : 0;
		worst = worst < 0 ? worst : ret;
	}
	return worst;
}
