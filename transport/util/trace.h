/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace.h -- points at which a running decant can be watched: USDT probes of the provider "decant"
 *
 * DECANT_TRACE(object_event, arguments...) is one no-op instruction until bpftrace, perf or systemtap arms it, and nothing
 * at all where <sys/sdt.h> was missing at the build. Up to 12 arguments, integers or pointers, which must be cheap:
 * they are computed whether somebody watches or not.
 *
 * For what happens per page, write or message; what happens once per migration belongs in the log. Every point stands in
 * the table of docs/tracing.md, with its arguments.
 */
#ifndef UTIL_TRACE_H
#define UTIL_TRACE_H

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define TRACE_HAVE_SDT 1
#define SDT_USE_VARIADIC 1
#include <sys/sdt.h>
#endif
#endif

#ifdef TRACE_HAVE_SDT
#define DECANT_TRACE(...) STAP_PROBEV(decant, __VA_ARGS__)
#else
#define DECANT_TRACE(...) \
	do {              \
	} while (0)
#endif

#endif
