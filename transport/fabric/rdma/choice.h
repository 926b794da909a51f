/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * choice.h -- which rails to try, in which order, and which to take: all of it that needs no device
 *
 * The order: what --rail names first comes first, then hardware before software, addresses of one subnet, the faster, the nearer
 * to the process, the order of the lists. Addresses that mean something on their own link only come last. Without --rail
 * no rail is tried that is on the network of another device of this host.
 */
#ifndef FABRIC_RDMA_CHOICE_H
#define FABRIC_RDMA_CHOICE_H

#include "fabric/fabric.h"

#define CHOICE_NAME_MAX 64 /* of a device or an address, with terminator */
#define CHOICE_CANDIDATES_MAX (FABRIC_RAILS_MAX * FABRIC_RAILS_MAX)

/* --rail, taken apart: LOCAL[=REMOTE], each a device or an address, "" for any */
struct choice_wish {
	char local[CHOICE_NAME_MAX], remote[CHOICE_NAME_MAX];
};

struct choice_wishes {
	uint32_t count; /* 0: none, anything will do */
	struct choice_wish wish[FABRIC_PAIRS_MAX];
};

/* What there is to choose from. */
struct choice_ends {
	const struct fabric_rail *local, *remote;
	const uint8_t *local_prefix; /* of each local address: bits of its subnet, 0: not known */
	uint32_t local_count, remote_count;
	int near_node; /* NUMA node of the process, -1: not known */
	bool hardware_only;
};

enum choice_state {
	CHOICE_PENDING,
	CHOICE_REACHED,
	CHOICE_FAILED,
};

struct choice_candidate {
	uint32_t local, remote; /* indices */
	uint32_t wish;          /* which wish it fulfils; 0 without any */
	enum choice_state state;
	int why; /* CHOICE_FAILED: -errno */
};

/* choice_parse() -- "LOCAL[=REMOTE][,...]"; NULL: no wish. 0 or -EINVAL, saying what is wrong with @text */
int choice_parse(const char *text, struct choice_wishes *wishes, struct decant_error *err);

/*
 * choice_candidates() -- the pairs that may be tried, best first, all pending; their number
 *
 * -EINVAL: a wish names what an end does not have. -ENODEV: only software, and that is not wanted.
 * -ENETUNREACH: the ends have no addresses of one family.
 */
int choice_candidates(const struct choice_ends *ends, const struct choice_wishes *wishes,
		      struct choice_candidate candidates[CHOICE_CANDIDATES_MAX], struct decant_error *err);

/*
 * choice_pick() -- of those reached the first that share no device at either end, and no wish
 *
 * @picked: their indices, FABRIC_PAIRS_MAX at most; returns their number. *@settled: no candidate that is still pending could
 * change that.
 */
uint32_t choice_pick(const struct choice_ends *ends, const struct choice_wishes *wishes,
		     const struct choice_candidate *candidates, uint32_t count, uint32_t picked[FABRIC_PAIRS_MAX],
		     bool *settled);

#endif
