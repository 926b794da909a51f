/* SPDX-License-Identifier: BSD-2-Clause */
/* fate.c -- what became of each migration that came here */
#include "migration/fate.h"

#include "util/cleanup.h"
#include <string.h>

void fate_init(struct fate *fate)
{
	memset(fate, 0, sizeof(*fate));
	pthread_mutex_init(&fate->lock, NULL);
}

static uint32_t find_locked(const struct fate *fate, const uint8_t id[16])
{
	uint32_t i;

	for (i = 0; i < FATES_KEPT; i++)
		if (fate->kept[i].fate != WIRE_FATE_UNKNOWN && memcmp(fate->kept[i].id, id, 16) == 0)
			break;
	return i;
}

bool fate_claim(struct fate *fate, const uint8_t id[16])
{
	DECANT_AUTO_UNLOCK(&fate->lock);
	const uint32_t i = fate->next;

	if (find_locked(fate, id) != FATES_KEPT)
		return false;
	fate->next = (fate->next + 1) % FATES_KEPT;
	memcpy(fate->kept[i].id, id, 16);
	fate->kept[i].fate = WIRE_FATE_PENDING;
	return true;
}

void fate_set(struct fate *fate, const uint8_t id[16], enum wire_fate what)
{
	DECANT_AUTO_UNLOCK(&fate->lock);
	const uint32_t i = find_locked(fate, id);

	if (i != FATES_KEPT && fate->kept[i].fate == WIRE_FATE_PENDING)
		fate->kept[i].fate = what;
}

enum wire_fate fate_get(struct fate *fate, const uint8_t id[16])
{
	DECANT_AUTO_UNLOCK(&fate->lock);
	const uint32_t i = find_locked(fate, id);

	return i == FATES_KEPT ? WIRE_FATE_UNKNOWN : fate->kept[i].fate;
}

void fate_destroy(struct fate *fate)
{
	pthread_mutex_destroy(&fate->lock);
}
