/* SPDX-License-Identifier: BSD-2-Clause */
/* words.h -- sizes, rates and times for people to read */
#ifndef VMM_WORDS_H
#define VMM_WORDS_H

#include <stdint.h>

#define WORDS_MAX 32

/* All write into @text and return it. */
const char *words_bytes(char text[WORDS_MAX], uint64_t bytes); /* "512 MiB", "1.5 GiB" */
const char *words_rate(char text[WORDS_MAX], uint64_t bytes_per_second);
const char *words_time(char text[WORDS_MAX], uint64_t ns); /* "37.2 ms", "1.25 s" */

#endif
