/* SPDX-License-Identifier: BSD-2-Clause */
/* log.h -- one log line with its level tested before anything is formatted */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <decant/log.h>

void log_write(const struct decant_log *log, enum decant_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at(log, lvl, ...)                                   \
	do {                                                    \
		if ((log)->fn != NULL && (lvl) <= (log)->level) \
			log_write((log), (lvl), __VA_ARGS__);   \
	} while (0)

#define log_err(log, ...) log_at(log, DECANT_LOG_ERR, __VA_ARGS__)
#define log_warning(log, ...) log_at(log, DECANT_LOG_WARNING, __VA_ARGS__)
#define log_notice(log, ...) log_at(log, DECANT_LOG_NOTICE, __VA_ARGS__)
#define log_info(log, ...) log_at(log, DECANT_LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_at(log, DECANT_LOG_DEBUG, __VA_ARGS__)

#endif
