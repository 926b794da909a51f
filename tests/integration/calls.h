/* SPDX-License-Identifier: BSD-2-Clause */
/* calls.h -- every call of libc, and of the verbs, that fails in its turn */
#ifndef INTEGRATION_CALLS_H
#define INTEGRATION_CALLS_H

#include <stddef.h>

#include "support/lib_calls.h"

#define CALLS_VERBS_MAX 32u

/* How often each was called in a migration in which nothing fails. */
struct calls_counts {
	unsigned libc[LIB_ENDS][LIB_CALL_COUNT];
	unsigned verbs[CALLS_VERBS_MAX];
};

/* One trial: one call that fails. */
struct calls_trial {
	struct lib_plan plan; /* of libc; nth 0: none */
	unsigned verb, nth;   /* of the verbs, else; nth 0: none */
	unsigned number;      /* among those of its kind: which call that is differs from run to run */
};

/* calls_trial() -- a migration in which that fails: 0 and what came of it in @text, or -1. Once in a process. */
int calls_trial(const char *fabric, const struct calls_trial *trial, char *text, size_t size);

/* calls_count() -- the same with nothing that fails */
int calls_count(const char *fabric, struct calls_counts *counts, char *text, size_t size);

/* The verbs: calls_fake.c where there are any, or calls_real.c. */
unsigned calls_verbs(void);
const char *calls_verb_name(unsigned verb);

/* calls_verbs_begin() -- from now on the @nth call of @verb fails, or none with 0 */
void calls_verbs_begin(unsigned verb, unsigned nth);

unsigned calls_verb_count(unsigned verb);

#endif
