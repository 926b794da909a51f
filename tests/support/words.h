/* SPDX-License-Identifier: BSD-2-Clause */
/* words.h -- a command line for tests of its parsers */
#ifndef SUPPORT_WORDS_H
#define SUPPORT_WORDS_H

#define WORDS_MAX 40

/* Words separated by blanks, as argv. */
struct words {
	char text[512];
	char *argv[WORDS_MAX + 1];
	int argc;
};

void words_split(struct words *words, const char *text);

#endif
