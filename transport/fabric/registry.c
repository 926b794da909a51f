/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry.c -- the fabrics of this build, by name
 *
 * Alone in its object file, so that a program can link a fabric_find() of its own in its place.
 */
#include "fabric/fabric.h"

#include <string.h>

static const struct fabric_ops *const fabrics[] = {
	&fabric_tcp_ops,
	&fabric_loop_ops,
	&fabric_rdma_ops,
};

const struct fabric_ops *fabric_find(const char *name)
{
	for (size_t i = 0; i < sizeof(fabrics) / sizeof(fabrics[0]); i++) {
		if (strcmp(fabrics[i]->name, name) == 0)
			return fabrics[i];
	}
	return NULL;
}
