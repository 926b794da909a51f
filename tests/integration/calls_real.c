/* SPDX-License-Identifier: BSD-2-Clause */
/* calls_real.c -- no verbs in this program */
#include "integration/calls.h"

unsigned calls_verbs(void)
{
	return 0;
}

const char *calls_verb_name(unsigned verb)
{
	(void)verb;
	return "";
}

void calls_verbs_begin(unsigned verb, unsigned nth)
{
	(void)verb;
	(void)nth;
}

unsigned calls_verb_count(unsigned verb)
{
	(void)verb;
	return 0;
}
