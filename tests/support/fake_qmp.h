/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_qmp.h -- a monitor that answers what it is told to answer, in a thread of its own
 *
 * It starts as a source of QEMU 10.0.2 with one shared memory, "mem", of which nothing is to be complained. Settings are kept: what
 * migrate-set-capabilities and -parameters set, the queries tell.
 */
#ifndef SUPPORT_FAKE_QMP_H
#define SUPPORT_FAKE_QMP_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_QMP_MEMORY (UINT64_C(64) << 20)

struct fake_qmp;

/* All end the test program where they fail. */

/* fake_qmp_new() -- not yet serving, so that it can be told more */
struct fake_qmp *fake_qmp_new(void);

/* fake_qmp_greeting() -- the line that it sends first, in place of its own; "": none */
void fake_qmp_greeting(struct fake_qmp *fake, const char *line);

/*
 * fake_qmp_answer() -- to @command, from now on: JSON, or "!TEXT" for an error with that description
 *
 * Questions about objects have commands of their own: "qom-list PATH", "qom-get PATH PROPERTY". Any time.
 */
void fake_qmp_answer(struct fake_qmp *fake, const char *command, const char *answer);

/* fake_qmp_raw() -- sends @text to @command in place of an answer, with the command's number in place of "$"; @close: and closes */
void fake_qmp_raw(struct fake_qmp *fake, const char *command, const char *text, bool close);

/* fake_qmp_capability() -- as if somebody had set it */
void fake_qmp_capability(struct fake_qmp *fake, const char *name, bool state);

/* fake_qmp_parameter() -- a number or a text, as JSON */
void fake_qmp_parameter(struct fake_qmp *fake, const char *name, const char *value);

/* fake_qmp_number() -- of a parameter now; for a capability 0 or 1 */
uint64_t fake_qmp_number(struct fake_qmp *fake, const char *name);

/* fake_qmp_calls() -- how often @command came */
unsigned int fake_qmp_calls(struct fake_qmp *fake, const char *command);

/* fake_qmp_connect() -- serve; the client's descriptor, the caller's. One client */
int fake_qmp_connect(struct fake_qmp *fake);

/* fake_qmp_send() -- @text as it is */
void fake_qmp_send(struct fake_qmp *fake, const char *text);

void fake_qmp_free(struct fake_qmp *fake);

#endif
