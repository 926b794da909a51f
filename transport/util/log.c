/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c -- format one log line and hand it to the target */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_LINE_MAX 768

void log_write(const struct decant_log *log, enum decant_log_level level, const char *fmt, ...)
{
	const int saved = errno;
	char line[LOG_LINE_MAX] = "";
	va_list args;

	if (log->fn == NULL || level > log->level)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	for (char *c = line; *c != '\0'; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	log->fn(log->opaque, level, line);
	errno = saved;
}
