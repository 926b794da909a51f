/* SPDX-License-Identifier: BSD-2-Clause */
/* matrix_real.c -- no RDMA device in the process */
#include "integration/matrix_fake.h"

void matrix_fake_prepare(void)
{
}

void matrix_fake_begin(bool deaf)
{
	(void)deaf;
}

void matrix_fake_cut(bool cut)
{
	(void)cut;
}

void matrix_fake_break(void)
{
}
