/* SPDX-License-Identifier: BSD-2-Clause */
/* breaker_rdma.c -- the breaker over RDMA */
#include "integration/breaker.h"

const struct fabric_ops *breaker_base(void)
{
	return &fabric_rdma_ops;
}
