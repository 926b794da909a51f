/* SPDX-License-Identifier: BSD-2-Clause */
/* choice.c -- which rails to try, in which order, and which to take */
#include "fabric/rdma/choice.h"
#include "fabric/rdma/rail.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX 256

static int choice_copy(char name[CHOICE_NAME_MAX], const char *text, size_t length, const char *all,
		       struct decant_error *err)
{
	if (length == 0)
		return decant_error_set(
			err, -EINVAL,
			"--rail '%s': a name is missing; write LOCAL[=REMOTE][,LOCAL[=REMOTE]], each a "
			"device or an address, as mlx5_0 or 10.9.0.1=10.9.0.2",
			all);
	if (length >= CHOICE_NAME_MAX)
		return decant_error_set(err, -EINVAL, "--rail: '%.*s...' is too long to be a device or an address",
					CHOICE_NAME_MAX, text);
	memcpy(name, text, length);
	name[length] = '\0';
	return 0;
}

static int choice_parse_one(const char *item, size_t length, const char *all, struct choice_wish *wish,
			    struct decant_error *err)
{
	const char *equals = memchr(item, '=', length);
	const size_t local = equals != NULL ? (size_t)(equals - item) : length;
	int rc;

	wish->remote[0] = '\0';
	rc = choice_copy(wish->local, item, local, all, err);
	if (rc < 0 || equals == NULL)
		return rc;
	if (memchr(equals + 1, '=', length - local - 1) != NULL)
		return decant_error_set(err, -EINVAL, "--rail '%s': two '=' in one pair; write LOCAL=REMOTE[,...]",
					all);
	return choice_copy(wish->remote, equals + 1, length - local - 1, all, err);
}

int choice_parse(const char *text, struct choice_wishes *wishes, struct decant_error *err)
{
	const char *item = text;

	*wishes = (struct choice_wishes){ 0 };
	while (item != NULL) {
		const size_t length = strcspn(item, ",");
		int rc;

		if (wishes->count == FABRIC_PAIRS_MAX)
			return decant_error_set(err, -EINVAL,
						"--rail '%s': a migration uses at most %d pairs of rails", text,
						FABRIC_PAIRS_MAX);
		rc = choice_parse_one(item, length, text, &wishes->wish[wishes->count], err);
		if (rc < 0)
			return rc;
		for (uint32_t i = 0; i < wishes->count; i++)
			if (strcmp(wishes->wish[i].local, wishes->wish[wishes->count].local) == 0)
				return decant_error_set(err, -EINVAL,
							"--rail '%s': %s is there twice, and can serve once", text,
							wishes->wish[i].local);
		wishes->count++;
		item = item[length] == ',' ? item + length + 1 : NULL;
	}
	return 0;
}

static bool choice_named(const struct fabric_rail *rail, const char *name)
{
	uint8_t address[16];

	if (name[0] == '\0' || strncmp(rail->device, name, sizeof(rail->device)) == 0)
		return true;
	if (rail->family == AF_INET)
		return inet_pton(AF_INET, name, address) == 1 && memcmp(address, rail->address, 4) == 0;
	return inet_pton(AF_INET6, name, address) == 1 && memcmp(address, rail->address, 16) == 0;
}

/* "mlx5_0 (10.9.0.1), mlx5_1 (10.10.0.1)" */
static const char *choice_names(const struct fabric_rail *rails, uint32_t count, char text[NAMES_MAX])
{
	char one[RAIL_TEXT_MAX];
	size_t used = 0;

	snprintf(text, NAMES_MAX, "none");
	for (uint32_t i = 0; i < count && used < NAMES_MAX; i++)
		used += (size_t)snprintf(text + used, NAMES_MAX - used, "%s%s", i == 0 ? "" : ", ",
					 rail_text(&rails[i], one));
	return text;
}

static int choice_check_end(const char *name, const struct fabric_rail *rails, uint32_t count, const char *whose,
			    struct decant_error *err)
{
	char names[NAMES_MAX];

	for (uint32_t i = 0; i < count; i++)
		if (choice_named(&rails[i], name))
			return 0;
	return decant_error_set(err, -EINVAL, "--rail: %s has no usable RDMA rail '%s'; it has %s", whose, name,
				choice_names(rails, count, names));
}

static int choice_check(const struct choice_ends *ends, const struct choice_wishes *wishes,
			struct decant_error *err)
{
	for (uint32_t i = 0; i < wishes->count; i++) {
		const struct choice_wish *wish = &wishes->wish[i];
		int rc = choice_check_end(wish->local, ends->local, ends->local_count, "this host", err);

		if (rc == 0)
			rc = choice_check_end(wish->remote, ends->remote, ends->remote_count, "the destination",
					      err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool choice_link_local(const struct fabric_rail *rail)
{
	if (rail->family == AF_INET)
		return rail->address[0] == 169 && rail->address[1] == 254;
	return rail->address[0] == 0xfe && (rail->address[1] & 0xc0) == 0x80;
}

static bool choice_same_subnet(const struct fabric_rail *a, const struct fabric_rail *b, uint8_t prefix)
{
	const uint32_t bytes = prefix / 8;
	const uint8_t mask = (uint8_t)(0xff00 >> (prefix % 8));

	if (prefix == 0 || prefix > (a->family == AF_INET ? 32 : 128) ||
	    memcmp(a->address, b->address, bytes) != 0)
		return false;
	return mask == 0 || ((a->address[bytes] ^ b->address[bytes]) & mask) == 0;
}

static bool choice_same_device(const struct fabric_rail *a, const struct fabric_rail *b)
{
	return strncmp(a->device, b->device, sizeof(a->device)) == 0;
}

/* Larger is better; each line outweighs all below it. */
struct choice_rank {
	bool hardware, global, same_subnet;
	uint32_t speed_mbps;
	bool near;
};

static struct choice_rank choice_rank(const struct choice_ends *ends, const struct choice_candidate *candidate)
{
	const struct fabric_rail *local = &ends->local[candidate->local],
				 *remote = &ends->remote[candidate->remote];

	return (struct choice_rank){
		.hardware = !local->software && !remote->software,
		.global = !choice_link_local(local),
		.same_subnet = choice_same_subnet(local, remote, ends->local_prefix[candidate->local]),
		.speed_mbps = local->speed_mbps < remote->speed_mbps ? local->speed_mbps : remote->speed_mbps,
		.near = ends->near_node >= 0 && local->numa_node == ends->near_node,
	};
}

/* is @a before @b? */
static bool choice_before(const struct choice_ends *ends, const struct choice_candidate *a,
			  const struct choice_candidate *b)
{
	const struct choice_rank first = choice_rank(ends, a), second = choice_rank(ends, b);

	if (a->wish != b->wish)
		return a->wish < b->wish;
	if (first.hardware != second.hardware)
		return first.hardware;
	if (first.global != second.global)
		return first.global;
	if (first.same_subnet != second.same_subnet)
		return first.same_subnet;
	if (first.speed_mbps != second.speed_mbps)
		return first.speed_mbps > second.speed_mbps;
	if (first.near != second.near)
		return first.near;
	return a->local != b->local ? a->local < b->local : a->remote < b->remote;
}

/* the wish that the two fulfil; -1: none */
static int choice_wish_of(const struct choice_wishes *wishes, const struct fabric_rail *local,
			  const struct fabric_rail *remote)
{
	for (uint32_t i = 0; i < wishes->count; i++)
		if (choice_named(local, wishes->wish[i].local) && choice_named(remote, wishes->wish[i].remote))
			return (int)i;
	return wishes->count == 0 ? 0 : -1;
}

static bool choice_possible(const struct choice_ends *ends, const struct fabric_rail *local,
			    const struct fabric_rail *remote)
{
	return local->family == remote->family && choice_link_local(local) == choice_link_local(remote) &&
	       !(ends->hardware_only && (local->software || remote->software));
}

/*
 * Is the remote rail on a network that this host has, but by another device? Linux answers for any of its addresses on any of its
 * interfaces (arp_ignore=0), so the address would be resolved, and then not be connected to.
 */
static bool choice_crosses(const struct choice_ends *ends, uint32_t local, const struct fabric_rail *remote)
{
	bool own = false, other = false;

	for (uint32_t i = 0; i < ends->local_count; i++) {
		const struct fabric_rail *rail = &ends->local[i];

		if (rail->family != remote->family || !choice_same_subnet(rail, remote, ends->local_prefix[i]))
			continue;
		own |= choice_same_device(rail, &ends->local[local]);
		other |= !choice_same_device(rail, &ends->local[local]);
	}
	return other && !own;
}

static void choice_insert(const struct choice_ends *ends, struct choice_candidate *candidates, uint32_t count,
			  struct choice_candidate new)
{
	uint32_t at = count;

	for (; at > 0 && choice_before(ends, &new, &candidates[at - 1]); at--)
		candidates[at] = candidates[at - 1];
	candidates[at] = new;
}

static int choice_none(const struct choice_ends *ends, struct decant_error *err)
{
	char local[NAMES_MAX], remote[NAMES_MAX];

	choice_names(ends->local, ends->local_count, local);
	choice_names(ends->remote, ends->remote_count, remote);
	for (uint32_t i = 0; ends->hardware_only && i < ends->local_count + ends->remote_count; i++) {
		const bool here = i < ends->local_count;
		const struct fabric_rail *rail = here ? &ends->local[i] : &ends->remote[i - ends->local_count];

		if (rail->software)
			return decant_error_set(err, -ENODEV,
						"no RDMA hardware at both ends: %s %s is software, slower than TCP; "
						"--fabric rdma takes it nevertheless",
						here ? "this host's" : "the destination's", rail->device);
	}
	return decant_error_set(err, -ENETUNREACH,
				"the RDMA rails of the two hosts have no addresses of one kind: here %s, there %s",
				local, remote);
}

int choice_candidates(const struct choice_ends *ends, const struct choice_wishes *wishes,
		      struct choice_candidate candidates[CHOICE_CANDIDATES_MAX], struct decant_error *err)
{
	uint32_t count = 0;
	int rc = choice_check(ends, wishes, err);

	for (uint32_t i = 0; rc == 0 && i < ends->local_count * ends->remote_count; i++) {
		const uint32_t local = i / ends->remote_count, remote = i % ends->remote_count;
		const int wish = choice_wish_of(wishes, &ends->local[local], &ends->remote[remote]);

		if (wish < 0 || count == CHOICE_CANDIDATES_MAX ||
		    !choice_possible(ends, &ends->local[local], &ends->remote[remote]) ||
		    (wishes->count == 0 && choice_crosses(ends, local, &ends->remote[remote])))
			continue;
		choice_insert(ends, candidates, count++,
			      (struct choice_candidate){
				      .local = local, .remote = remote, .wish = (uint32_t)wish });
	}
	if (rc == 0 && count == 0)
		return choice_none(ends, err);
	return rc < 0 ? rc : (int)count;
}

/* can both be taken? */
static bool choice_agree(const struct choice_ends *ends, const struct choice_wishes *wishes,
			 const struct choice_candidate *a, const struct choice_candidate *b)
{
	return !choice_same_device(&ends->local[a->local], &ends->local[b->local]) &&
	       !choice_same_device(&ends->remote[a->remote], &ends->remote[b->remote]) &&
	       !(wishes->count > 0 && a->wish == b->wish);
}

uint32_t choice_pick(const struct choice_ends *ends, const struct choice_wishes *wishes,
		     const struct choice_candidate *candidates, uint32_t count, uint32_t picked[FABRIC_PAIRS_MAX],
		     bool *settled)
{
	uint32_t taken = 0;

	*settled = true;
	for (uint32_t i = 0; i < count && taken < FABRIC_PAIRS_MAX; i++) {
		bool possible = candidates[i].state != CHOICE_FAILED;

		for (uint32_t j = 0; possible && j < taken; j++)
			possible = choice_agree(ends, wishes, &candidates[picked[j]], &candidates[i]);
		if (possible && candidates[i].state == CHOICE_PENDING)
			*settled = false;
		else if (possible)
			picked[taken++] = i;
	}
	return taken;
}
