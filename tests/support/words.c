/* SPDX-License-Identifier: BSD-2-Clause */
/* words.c -- a command line for tests of its parsers */
#include "support/words.h"

#include <stdio.h>
#include <string.h>

void words_split(struct words *words, const char *text)
{
	char *next = words->text;
	char *word;

	snprintf(words->text, sizeof(words->text), "%s", text);
	words->argc = 0;
	while ((word = strsep(&next, " ")) != NULL && words->argc < WORDS_MAX)
		words->argv[words->argc++] = word;
	words->argv[words->argc] = NULL;
}
