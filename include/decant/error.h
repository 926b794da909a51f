/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/error.h -- what went wrong, where, and what to do about it */
#ifndef DECANT_ERROR_H
#define DECANT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define DECANT_ERROR_MAX 512

/*
 * An error by value: no heap, so that it can be built when memory is what has run out.
 *
 * Every set-up, tear-down and control call takes a `struct decant_error *` as its last argument, which may be NULL,
 * and returns 0 (or a count) or exactly the negative errno that it also leaves in @code. @msg is one line without a
 * newline, always terminated. A call that succeeds leaves the object as it was.
 */
struct decant_error {
	int code;                   /* negative errno, 0 when clear */
	char msg[DECANT_ERROR_MAX]; /* "what: where: why; what to do" */
};

#define DECANT_ERROR_INIT \
	{                 \
		0, ""     \
	}

/*
 * decant_error_set() -- record an error where the failing call is known
 *
 * @err may be NULL. @code is a negative errno. Returns @code, so that `return decant_error_set(...)` reads well.
 * errno is left as it was. Thread-safe for distinct @err.
 */
int decant_error_set(struct decant_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * decant_error_prefix() -- add the context of a caller in front: "prefix: message"
 *
 * Keeps the code. A message that no longer fits is cut at its end. @err may be NULL.
 */
void decant_error_prefix(struct decant_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* decant_error_clear() -- back to "no error"; @err may be NULL */
void decant_error_clear(struct decant_error *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
