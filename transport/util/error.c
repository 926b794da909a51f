/* SPDX-License-Identifier: BSD-2-Clause */
/* error.c -- errors by value: a code and one line of text */
#include <assert.h>
#include <decant/error.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message is one line, whatever a caller or a peer has put into its arguments. */
static void error_one_line(char *text)
{
	for (; *text != '\0'; text++)
		if (*text == '\n' || *text == '\r')
			*text = ' ';
}

int decant_error_set(struct decant_error *err, int code, const char *fmt, ...)
{
	const int saved = errno;
	char text[DECANT_ERROR_MAX];
	va_list args;

	assert(code < 0);
	if (err == NULL)
		return code;
	/* by way of a copy, since the arguments may point into the old message */
	va_start(args, fmt);
	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		text[0] = '\0';
	va_end(args);
	error_one_line(text);
	err->code = code;
	memcpy(err->msg, text, sizeof(text));
	errno = saved;
	return code;
}

void decant_error_prefix(struct decant_error *err, const char *fmt, ...)
{
	const int saved = errno;
	char text[DECANT_ERROR_MAX];
	size_t room;
	va_list args;
	int n;

	if (err == NULL)
		return;
	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n < 0)
		goto out;
	if ((size_t)n < sizeof(text)) {
		room = sizeof(text) - (size_t)n;
		snprintf(text + n, room, ": %.*s", (int)room, err->msg);
	}
	error_one_line(text);
	memcpy(err->msg, text, sizeof(text));
out:
	errno = saved;
}

void decant_error_clear(struct decant_error *err)
{
	if (err == NULL)
		return;
	err->code = 0;
	err->msg[0] = '\0';
}
