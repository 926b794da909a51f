/* SPDX-License-Identifier: BSD-2-Clause */
/* matrix_fake.c -- the RDMA device in the process, and what a cell does to it */
#include "integration/matrix_fake.h"

#include <errno.h>

#include "support/fake_verbs.h"

/* A silent peer is given up sooner than by a network card, and later than a busy machine is. */
#define ACK_MS 500

void matrix_fake_prepare(void)
{
	matrix_fake_begin(false);
}

void matrix_fake_begin(bool deaf)
{
	struct fake_config config = fake_config_default();
	const struct fake_plan plan = { .fail[FAKE_LISTEN] = { .nth = 1, .error = EADDRNOTAVAIL, .stays = true } };

	config.ack_ms = ACK_MS;
	fake_reset(&config);
	fake_plan_set(deaf ? &plan : NULL);
}

void matrix_fake_cut(bool cut)
{
	fake_cut(cut);
}

void matrix_fake_break(void)
{
	for (unsigned i = 0; fake_break(i, IBV_WC_RETRY_EXC_ERR); i++)
		;
}
