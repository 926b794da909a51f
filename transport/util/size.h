/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * size.h -- sizes, rates and times as people write them
 *
 * All take a decimal number, with a fraction if wanted, and a unit without a space between. Return 0 or -EINVAL (what is
 * wrong, and an example), -ERANGE (more than 64 bits hold). Nothing negative. A fraction is cut to whole bytes or nanoseconds.
 */
#ifndef UTIL_SIZE_H
#define UTIL_SIZE_H

#include <decant/error.h>
#include <stdint.h>

/* size_parse() -- bytes: "4096", "4K", "512M", "1.5G", "2T"; powers of 1024; "MiB", "MB" and lower case mean the same */
int size_parse(const char *text, uint64_t *bytes, struct decant_error *err);

/* size_parse_rate() -- bytes per second: "10Gbit", "2.5Gbit", "800Mbit" (powers of 1000), or "100M" (bytes, powers of 1024) */
int size_parse_rate(const char *text, uint64_t *bytes_per_second, struct decant_error *err);

/* size_parse_time() -- nanoseconds: "300ms", "60s", "1.5s", "250us", "10ns", "5min", "1h"; a unit is required, except for "0" */
int size_parse_time(const char *text, uint64_t *ns, struct decant_error *err);

#endif
