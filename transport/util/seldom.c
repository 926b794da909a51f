/* SPDX-License-Identifier: BSD-2-Clause */
/* seldom.c -- when to log again what strangers can repeat */
#include "util/seldom.h"

#include "util/cleanup.h"
#include <stdio.h>
#include <string.h>

void seldom_init(struct seldom *seldom)
{
	memset(seldom, 0, sizeof(*seldom));
	pthread_mutex_init(&seldom->lock, NULL);
}

/* Its place, else a free one, else everyone's; lock held. One that nothing is owed to any more is free. */
static struct seldom_place *find_place(struct seldom *seldom, const char *who, int cause, uint64_t now_ns)
{
	struct seldom_place *spare = NULL;

	for (uint32_t i = 0; i < SELDOM_PLACES; i++) {
		struct seldom_place *place = &seldom->place[i];

		if (place->until_ns != 0 && place->cause == cause &&
		    strncmp(place->who, who, sizeof(place->who) - 1) == 0)
			return place;
		if (place->until_ns <= now_ns && (spare == NULL || place->silent < spare->silent))
			spare = place;
	}
	if (spare == NULL)
		return &seldom->place[SELDOM_PLACES];
	/* what it was silent about is still told, with the next that share a place */
	seldom->place[SELDOM_PLACES].silent += spare->silent;
	*spare = (struct seldom_place){ .cause = cause };
	snprintf(spare->who, sizeof(spare->who), "%s", who);
	return spare;
}

bool seldom_now(struct seldom *seldom, const char *who, int cause, uint64_t now_ns, uint64_t *silent)
{
	DECANT_AUTO_UNLOCK(&seldom->lock);
	struct seldom_place *place = find_place(seldom, who, cause, now_ns);

	*silent = place->silent;
	if (now_ns < place->until_ns) {
		place->silent++;
		return false;
	}
	place->silent = 0;
	place->until_ns = now_ns + SELDOM_NS;
	return true;
}

uint64_t seldom_rest(struct seldom *seldom)
{
	uint64_t rest = 0;

	DECANT_AUTO_UNLOCK(&seldom->lock);
	for (uint32_t i = 0; i <= SELDOM_PLACES; i++) {
		rest += seldom->place[i].silent;
		seldom->place[i].silent = 0;
	}
	return rest;
}

void seldom_destroy(struct seldom *seldom)
{
	pthread_mutex_destroy(&seldom->lock);
}
