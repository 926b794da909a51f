/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seldom.h -- says of something that a stranger can make happen as often as he likes whether it is time to log it again
 *
 * Once per cause and who, then for SELDOM_NS not again; what was not logged meanwhile is counted. Those for whom there is no room share
 * one place, so that many addresses get no more lines than SELDOM_PLACES and one.
 */
#ifndef UTIL_SELDOM_H
#define UTIL_SELDOM_H

#include "util/clock.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SELDOM_NS (10 * NSEC_PER_SEC)
#define SELDOM_PLACES 32u
#define SELDOM_WHO_MAX 64u

struct seldom_place {
	char who[SELDOM_WHO_MAX];
	int cause;
	uint64_t until_ns; /* not again before; 0: the place is free */
	uint64_t silent;   /* not logged since */
};

struct seldom {
	/* protected by lock */
	pthread_mutex_t lock;
	struct seldom_place place[SELDOM_PLACES + 1]; /* the last is everyone else's */
};

void seldom_init(struct seldom *seldom);

/* seldom_now() -- log it? Then *@silent says how many were not logged since it was the last time */
bool seldom_now(struct seldom *seldom, const char *who, int cause, uint64_t now_ns, uint64_t *silent);

/* seldom_rest() -- how many were not logged, and no line has said so; they are forgotten */
uint64_t seldom_rest(struct seldom *seldom);

void seldom_destroy(struct seldom *seldom);

#endif
