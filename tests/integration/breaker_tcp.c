/* SPDX-License-Identifier: BSD-2-Clause */
/* breaker_tcp.c -- the breaker over TCP: one rail per host, made up, that reaches the other's */
#include "integration/breaker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#define RAIL_DEVICE "rail0"

static struct fabric_ops railed;

static int tcp_rails(struct fabric_rail *rails, uint32_t max, struct decant_error *err)
{
	if (max == 0)
		return decant_error_set(err, -EINVAL, "no room for a rail");
	rails[0] = (struct fabric_rail){
		.device = RAIL_DEVICE,
		.port = 1,
		.software = !breaker_is_hardware(),
		.numa_node = -1,
		.family = AF_INET,
		.speed_mbps = 1000,
	};
	inet_pton(AF_INET, "127.0.0.1", rails[0].address);
	return 1;
}

static int tcp_pair(const struct fabric_pair_opts *opts, struct fabric_pair *pairs, struct decant_error *err)
{
	if (opts->rails != NULL && strcmp(opts->rails, RAIL_DEVICE) != 0)
		return decant_error_set(err, -ENODEV, "rail %s: there is " RAIL_DEVICE " only", opts->rails);
	if (opts->hardware_only && opts->remote[0].software)
		return decant_error_set(err, -ENETUNREACH, "only software RDMA reaches the destination");
	pairs[0].remote = opts->remote[0];
	pairs[0].remote_index = 0;
	return tcp_rails(&pairs[0].local, 1, err);
}

static void make_railed(void)
{
	railed = fabric_tcp_ops;
	railed.rails = tcp_rails;
	railed.pair = tcp_pair;
	/* every gap is worth filling, so that the oracles see what comes of that */
	railed.write_cost_ns = UINT32_MAX;
}

const struct fabric_ops *breaker_base(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_railed);
	return &railed;
}
