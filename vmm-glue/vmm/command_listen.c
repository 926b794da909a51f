/* SPDX-License-Identifier: BSD-2-Clause */
/* command_listen.c -- who may reach an end that listens without a key */
#include "vmm/command.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>

static bool listen_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;

		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;

		return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	}
	return false;
}

/* Without a key, whoever reaches the port can put a VM here: so nobody beyond this host may reach it unasked. */
int command_check_listen(const struct address *address, struct decant_error *err)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	bool loopback = true;
	int ret = getaddrinfo(address->host, NULL, &hints, &found);

	if (ret != 0)
		return decant_error_set(err, -ENOENT, "--listen %s: %s", address->host, gai_strerror(ret));
	for (struct addrinfo *one = found; one != NULL; one = one->ai_next)
		loopback = loopback && listen_is_loopback(one->ai_addr);
	freeaddrinfo(found);
	if (loopback)
		return 0;
	return decant_error_set(err, -EINVAL,
				"--listen %s: others can reach it and send a VM; give both ends a --key-file, "
				"listen on 127.0.0.1, or say --insecure if the network is yours alone",
				address->host);
}
