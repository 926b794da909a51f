/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pair.c -- rail_pair(): tries the likely pairs of rails, all at once, and takes the best that answer
 *
 * Most candidates that will answer do so within a round trip, and one that will not takes its whole timeout. So the wait ends as
 * soon as nothing still under way could change the choice; and once there is a pair, a better or a second one is waited for
 * half a second and no longer.
 */
#include "fabric/rdma/choice.h"
#include "fabric/rdma/cm.h"
#include "fabric/rdma/diagnose.h"
#include "fabric/rdma/rail.h"
#include "fabric/rdma/verbs.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <errno.h>
#include <ifaddrs.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define STEP_MS_MAX 2000
#define MORE_NS (500 * NSEC_PER_MSEC)

struct pair_search {
	const struct fabric_pair_opts *opts;
	struct choice_wishes wishes;
	struct choice_ends ends;
	struct fabric_rail local[FABRIC_RAILS_MAX];
	uint8_t prefix[FABRIC_RAILS_MAX];
	struct choice_candidate candidates[CHOICE_CANDIDATES_MAX];
	struct rdma_cm_id *ids[CHOICE_CANDIDATES_MAX];
	uint32_t count;
	struct rdma_event_channel *channel;
	uint64_t deadline_ns;
	uint32_t picked[FABRIC_PAIRS_MAX];
	uint32_t picked_count;
};

static uint8_t pair_mask_bits(const struct sockaddr *mask)
{
	const bool v4 = mask->sa_family == AF_INET;
	const uint8_t *bytes = v4 ? (const uint8_t *)&((const struct sockaddr_in *)mask)->sin_addr
				  : (const uint8_t *)&((const struct sockaddr_in6 *)mask)->sin6_addr;
	uint8_t bits = 0;

	for (size_t i = 0; i < (v4 ? 4u : 16u); i++)
		bits = (uint8_t)(bits + (uint8_t)__builtin_popcount(bytes[i]));
	return bits;
}

static bool pair_is_address(const struct fabric_rail *rail, const struct sockaddr *address)
{
	if (address == NULL || address->sa_family != rail->family)
		return false;
	if (rail->family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)address)->sin_addr, rail->address, 4) == 0;
	return memcmp(&((const struct sockaddr_in6 *)address)->sin6_addr, rail->address, 16) == 0;
}

/* A subnet only orders the candidates: where it cannot be told, they are tried all the same. */
static void pair_prefixes(struct pair_search *search)
{
	struct ifaddrs *addresses;

	if (getifaddrs(&addresses) < 0)
		return;
	for (const struct ifaddrs *entry = addresses; entry != NULL; entry = entry->ifa_next)
		for (uint32_t i = 0; i < search->ends.local_count; i++)
			if (entry->ifa_netmask != NULL && pair_is_address(&search->local[i], entry->ifa_addr))
				search->prefix[i] = pair_mask_bits(entry->ifa_netmask);
	freeifaddrs(addresses);
}

static int pair_near_node(void)
{
	unsigned int cpu, node;

	return getcpu(&cpu, &node) == 0 ? (int)node : -1;
}

static int pair_prepare(struct pair_search *search, struct decant_error *err)
{
	const struct fabric_pair_opts *opts = search->opts;
	int rc = choice_parse(opts->rails, &search->wishes, err);

	if (rc < 0)
		return rc;
	if (opts->count == 0)
		return decant_error_set(err, -ENODEV,
					"the destination has no usable RDMA rail; `decant probe` there says why");
	rc = rail_list(search->local, FABRIC_RAILS_MAX, err);
	if (rc < 0)
		return rc;
	search->ends = (struct choice_ends){
		.local = search->local,
		.remote = opts->remote,
		.local_prefix = search->prefix,
		.local_count = (uint32_t)rc,
		.remote_count = opts->count < FABRIC_RAILS_MAX ? opts->count : FABRIC_RAILS_MAX,
		.near_node = opts->near_node >= 0 ? opts->near_node : pair_near_node(),
		.hardware_only = opts->hardware_only,
	};
	pair_prefixes(search);
	rc = choice_candidates(&search->ends, &search->wishes, search->candidates, err);
	if (rc > 0)
		search->count = (uint32_t)rc;
	return rc < 0 ? rc : 0;
}

static void pair_of(const struct pair_search *search, const struct choice_candidate *candidate,
		    struct fabric_pair *pair)
{
	*pair = (struct fabric_pair){
		.local = search->local[candidate->local],
		.remote = search->opts->remote[candidate->remote],
		.remote_index = candidate->remote,
	};
}

static void pair_failed(struct pair_search *search, uint32_t index, int why)
{
	struct choice_candidate *candidate = &search->candidates[index];
	char local[RAIL_TEXT_MAX], remote[RAIL_TEXT_MAX];

	candidate->state = CHOICE_FAILED;
	candidate->why = why;
	log_debug(&search->opts->log, "rails: %s does not reach %s: %s",
		  rail_text(&search->local[candidate->local], local),
		  rail_text(&search->opts->remote[candidate->remote], remote), strerror(-why));
}

static int pair_step_ms(const struct pair_search *search)
{
	const int left = clock_poll_ms(search->deadline_ns);

	return left < 0 || left > STEP_MS_MAX ? STEP_MS_MAX : left + 1;
}

static void pair_begin(struct pair_search *search, uint32_t index)
{
	struct sockaddr_storage local, remote;
	struct fabric_pair pair;
	int rc;

	pair_of(search, &search->candidates[index], &pair);
	rail_sockaddr(&pair.local, 0, &local);
	rail_remote_sockaddr(&pair, 0, &remote);
	rc = verbs_id(search->channel, NULL, &search->ids[index]);
	if (rc < 0)
		search->ids[index] = NULL;
	else
		rc = verbs_resolve_address(search->ids[index], (struct sockaddr *)&local,
					   (struct sockaddr *)&remote, pair_step_ms(search));
	if (rc < 0)
		pair_failed(search, index, rc);
}

/* Does it leave by the rail that it was bound to? */
static bool pair_on_its_rail(const struct pair_search *search, uint32_t index)
{
	const struct fabric_rail *rail = &search->local[search->candidates[index].local];
	const struct rdma_cm_id *id = search->ids[index];

	return id->verbs != NULL && id->port_num == rail->port &&
	       strcmp(ibv_get_device_name(id->verbs->device), rail->device) == 0;
}

static void pair_handle(struct pair_search *search, uint32_t index, const struct cm_event *event)
{
	int rc = event->status < 0 ? event->status : -ENETUNREACH;

	if (event->type == RDMA_CM_EVENT_ROUTE_RESOLVED) {
		search->candidates[index].state = CHOICE_REACHED;
		return;
	}
	if (event->type == RDMA_CM_EVENT_ADDR_RESOLVED)
		rc = pair_on_its_rail(search, index)
			     ? verbs_resolve_route(search->ids[index], pair_step_ms(search))
			     : -ENETUNREACH;
	if (rc < 0)
		pair_failed(search, index, rc);
}

static int pair_take_events(struct pair_search *search)
{
	struct cm_event event;
	int rc;

	while ((rc = cm_take(search->channel, &event)) == 0)
		for (uint32_t i = 0; i < search->count; i++)
			if (search->ids[i] == event.id)
				pair_handle(search, i, &event);
	return rc == -EAGAIN ? 0 : rc;
}

static int pair_resolve(struct pair_search *search, struct decant_error *err)
{
	uint64_t until_ns = search->deadline_ns;
	bool settled;
	int rc = 0;

	for (uint32_t i = 0; i < search->count; i++)
		pair_begin(search, i);
	for (;;) {
		search->picked_count = choice_pick(&search->ends, &search->wishes, search->candidates,
						   search->count, search->picked, &settled);
		if (settled || rc == -ETIMEDOUT)
			return 0;
		if (search->picked_count > 0 && until_ns == search->deadline_ns)
			until_ns = clock_deadline_ns(MORE_NS) < until_ns ? clock_deadline_ns(MORE_NS) : until_ns;
		rc = io_wait(search->channel->fd, POLLIN, until_ns, search->opts->wake_fd);
		if (rc == 0)
			rc = pair_take_events(search);
		if (rc == -ECANCELED)
			return decant_error_set(err, rc, "looking for rails: cancelled");
		if (rc < 0 && rc != -ETIMEDOUT)
			return decant_error_set(err, rc, "rdma_get_cm_event: %s", strerror(-rc));
	}
}

/* What is told of is the best that was tried; with --rail the best of the first wish that came to nothing. */
static int pair_unreached(const struct pair_search *search, struct decant_error *err)
{
	const struct choice_candidate *best = NULL;

	for (uint32_t i = 0; i < search->count && best == NULL; i++) {
		bool fulfilled = false;

		for (uint32_t j = 0; j < search->picked_count; j++)
			fulfilled |= search->candidates[search->picked[j]].wish == search->candidates[i].wish;
		if (!fulfilled)
			best = &search->candidates[i];
	}
	/* a wish without any candidate: its ends have no addresses of one kind, or another wish has taken the device */
	if (best == NULL || best->state == CHOICE_REACHED)
		return decant_error_set(
			err, -ENETUNREACH,
			"--rail '%s': these pairs cannot all be used together; each device serves once, and "
			"both ends of a pair need addresses of one kind",
			search->opts->rails);
	return diagnose_path(best->state == CHOICE_PENDING ? -ETIMEDOUT : best->why, &search->local[best->local],
			     &search->opts->remote[best->remote], err);
}

static int pair_result(const struct pair_search *search, struct fabric_pair *pairs, struct decant_error *err)
{
	char local[RAIL_TEXT_MAX], remote[RAIL_TEXT_MAX];

	if (search->picked_count == 0 || search->picked_count < search->wishes.count)
		return pair_unreached(search, err);
	for (uint32_t i = 0; i < search->picked_count; i++) {
		pair_of(search, &search->candidates[search->picked[i]], &pairs[i]);
		log_info(&search->opts->log, "rails: %s reaches %s", rail_text(&pairs[i].local, local),
			 rail_text(&pairs[i].remote, remote));
	}
	return (int)search->picked_count;
}

int rail_pair(const struct fabric_pair_opts *opts, struct fabric_pair *pairs, struct decant_error *err)
{
	struct pair_search search = { .opts = opts, .deadline_ns = clock_deadline_ns(opts->timeout_ns) };
	int rc = pair_prepare(&search, err);

	if (rc < 0)
		return rc;
	rc = verbs_event_channel(&search.channel);
	if (rc < 0)
		return diagnose_manager(rc, err);
	rc = pair_resolve(&search, err);
	for (uint32_t i = 0; i < search.count; i++)
		if (search.ids[i] != NULL)
			rdma_destroy_id(search.ids[i]);
	rdma_destroy_event_channel(search.channel);
	return rc < 0 ? rc : pair_result(&search, pairs, err);
}
