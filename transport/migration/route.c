/* SPDX-License-Identifier: BSD-2-Clause */
/* route.c -- which fabric a source takes, over which rails, and why */
#include "migration/route.h"

#include "migration/host.h"
#include "migration/rails.h"
#include "util/io.h"
#include "util/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_auto(const char *fabric)
{
	return strcmp(fabric, "auto") == 0;
}

uint64_t route_features(const char *fabric)
{
	uint64_t features = host_features();

	if (!is_auto(fabric) && strcmp(fabric, "rdma") != 0)
		features &= ~HOST_FEATURE_RDMA;
	return features;
}

/* Cut where it is too long. */
static void set_reason(struct route *route, const char *what, const char *why)
{
	char text[ROUTE_REASON_MAX + sizeof(((struct decant_error *)0)->msg)];

	snprintf(text, sizeof(text), "%s%s", what, why);
	snprintf(route->reason, sizeof(route->reason), "%.*s", (int)sizeof(route->reason) - 1, text);
}

/* "mlx5_0 reaches 10.9.0.2, mlx5_1 reaches 10.9.1.2" */
static void say_pairs(struct route *route)
{
	size_t at = 0;

	for (uint32_t i = 0; i < route->pairs && at < sizeof(route->reason); i++) {
		const struct fabric_pair *pair = &route->pair[i];
		char address[INET6_ADDRSTRLEN] = "?";

		inet_ntop(pair->remote.family, pair->remote.address, address, sizeof(address));
		at += (size_t)snprintf(route->reason + at, sizeof(route->reason) - at, "%s%s reaches %s",
				       i > 0 ? ", " : "", pair->local.device, address);
	}
}

/* Pairs rails, software ones too if @software. */
static int find_pairs(const struct route_opts *opts, const struct fabric_ops *rdma, bool software,
		      struct route *route, struct decant_error *err)
{
	struct fabric_rail remote[FABRIC_RAILS_MAX];
	const struct fabric_pair_opts pair_opts = {
		.remote = remote,
		.count = rails_of_peer(opts->welcome, remote),
		.rails = opts->rails,
		.hardware_only = !software,
		.near_node = opts->memory_node,
		.timeout_ns = opts->timeout_ns,
		.wake_fd = opts->wake_fd,
		.log = opts->log,
	};
	int rc;

	if (pair_opts.count == 0)
		return decant_error_set(err, -ENODEV, "%s has none: %s", opts->peer,
					opts->welcome->why[0] != '\0' ? opts->welcome->why
								      : "it does not say why");
	rc = rdma->pair(&pair_opts, route->pair, err);
	if (rc <= 0)
		return rc < 0 ? rc : decant_error_set(err, -ENETUNREACH, "no rail reaches %s", opts->peer);
	route->ops = rdma;
	route->pairs = (uint32_t)rc;
	say_pairs(route);
	return 0;
}

static int choose_rdma(const struct route_opts *opts, bool software, struct route *route, struct decant_error *err)
{
	const struct fabric_ops *rdma = fabric_find("rdma");

	if (rdma == NULL)
		return decant_error_set(err, -EOPNOTSUPP, "this build of decant has none");
	if (!(opts->welcome->features & HOST_FEATURE_RDMA))
		return decant_error_set(err, -EOPNOTSUPP, "decant at %s has none", opts->peer);
	return find_pairs(opts, rdma, software, route, err);
}

/* TCP is in every build; a program that links a table of its own may have left it out. */
static int take_tcp(struct route *route, struct decant_error *err)
{
	route->ops = fabric_find("tcp");
	route->pairs = 0;
	return route->ops != NULL ? 0 : decant_error_set(err, -EOPNOTSUPP, "fabric tcp: this build has none");
}

static int choose_auto(const struct route_opts *opts, struct route *route, struct decant_error *err)
{
	struct decant_error why = DECANT_ERROR_INIT;

	if (choose_rdma(opts, false, route, &why) < 0) {
		if (io_wake_test(opts->wake_fd))
			return decant_error_set(err, -ECANCELED, "%s", why.msg);
		set_reason(route, "no RDMA path: ", why.msg);
		if (take_tcp(route, err) < 0)
			return -EOPNOTSUPP;
	}
	log_info(&opts->log, "fabric %s: %s", route->ops->name, route->reason);
	return 0;
}

static int choose_named(const struct route_opts *opts, struct route *route, struct decant_error *err)
{
	const char *name = opts->fabric;

	if (opts->rails != NULL)
		return decant_error_set(err, -EINVAL, "rail %s: fabric %s has no rails; use rdma or auto",
					opts->rails, name);
	route->ops = fabric_find(name);
	if (route->ops == NULL)
		return decant_error_set(err, -EINVAL,
					"fabric \"%s\": there is none of that name; use auto, rdma, tcp or loop",
					name);
	if (!(opts->welcome->features & host_fabric_feature(name)))
		return decant_error_set(err, -EOPNOTSUPP, "fabric %s: %s does not have it", name, opts->peer);
	if (route->ops->reaches != NULL && !route->ops->reaches(opts->welcome->boot_id, opts->welcome->pid))
		return decant_error_set(err, -EINVAL,
					"fabric %s: it works only inside one process, and %s is another; use tcp",
					name, opts->peer);
	set_reason(route, "as asked for", "");
	return 0;
}

int route_choose(const struct route_opts *opts, struct route *route, struct decant_error *err)
{
	int rc;

	*route = (struct route){ .named = !is_auto(opts->fabric) };
	if (!route->named)
		return choose_auto(opts, route, err);
	if (strcmp(opts->fabric, "rdma") != 0)
		return choose_named(opts, route, err);
	rc = choose_rdma(opts, true, route, err);
	if (rc < 0)
		decant_error_prefix(err, "fabric rdma");
	return rc;
}

int route_node(const struct route *route)
{
	for (uint32_t i = 1; i < route->pairs; i++)
		if (route->pair[i].local.numa_node != route->pair[0].local.numa_node)
			return -1;
	return route->pairs > 0 ? route->pair[0].local.numa_node : -1;
}

int route_leave_rails(struct route *route, bool begun, const struct decant_error *why, struct decant_error *err)
{
	if (route->pairs == 0)
		return 0;
	if (route->named && !begun)
		return decant_error_set(err, why->code != 0 ? why->code : -EIO, "fabric rdma: %s", why->msg);
	set_reason(route, begun ? "RDMA was lost: " : "RDMA could not begin: ", why->msg);
	return take_tcp(route, err);
}

/* Of the two ends the slower one's; 0: not known */
static uint32_t pair_speed_mbps(const struct fabric_pair *pair)
{
	const uint32_t local = pair->local.speed_mbps, remote = pair->remote.speed_mbps;

	return local < remote ? local : remote;
}

uint32_t route_channels(const struct route *route)
{
	uint32_t rails = 0;

	for (; rails < route->pairs; rails++) {
		const uint32_t speed_mbps = pair_speed_mbps(&route->pair[rails]);

		if (speed_mbps != 0 && 2 * speed_mbps < pair_speed_mbps(&route->pair[0]))
			break;
	}
	return rails > route->ops->default_channels ? rails : route->ops->default_channels;
}
