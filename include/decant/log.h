/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/log.h -- where the library says what it does; it never prints by itself */
#ifndef DECANT_LOG_H
#define DECANT_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/* the levels of syslog(3) */
enum decant_log_level {
	DECANT_LOG_ERR = 3,
	DECANT_LOG_WARNING = 4,
	DECANT_LOG_NOTICE = 5,
	DECANT_LOG_INFO = 6,
	DECANT_LOG_DEBUG = 7,
};

/* @message is one line without a newline. Called from any of the library's threads, one call at a time is not promised. */
typedef void decant_log_fn(void *opaque, enum decant_log_level level, const char *message);

/*
 * A log target, copied by value into each object. All zeros means: say nothing.
 * Messages above @level are not even formatted.
 */
struct decant_log {
	decant_log_fn *fn;
	void *opaque;
	enum decant_log_level level;
};

#ifdef __cplusplus
}
#endif
#endif
