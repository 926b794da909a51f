/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * greeter.h -- the destination's door: listens, reads each HELLO, answers QUERY, and offers the rest to the floor above
 *
 * A thread accepts; each connection is greeted in a thread of its own, bounded in number and time, so that a stranger who
 * connects and says nothing keeps nobody else out.
 */
#ifndef MIGRATION_GREETER_H
#define MIGRATION_GREETER_H

#include "wire/wire.h"
#include <decant/error.h>
#include <decant/log.h>
#include <stdint.h>

struct greeter;

struct greeter_opts {
	const char *listen;
	uint64_t hello_timeout_ns;
	/*
	 * A source has come. 0: taken, @fd is the callee's, who goes on with WELCOME; negative: refused with @err, which the
	 * source is told. Any thread, several at once.
	 */
	int (*offer)(void *opaque, int fd, const struct wire_hello *hello, struct decant_error *err);
	/* what became of migration @id; any thread */
	enum wire_fate (*fate)(void *opaque, const uint8_t id[16]);
	void (*welcome)(void *opaque, struct wire_welcome *welcome); /* fill in; any thread */
	void *opaque;
	struct decant_log log;
};

int greeter_new(const struct greeter_opts *opts, struct greeter **greeter, struct decant_error *err);

/* greeter_host(), greeter_port() -- the address it listens on, numeric */
const char *greeter_host(const struct greeter *greeter);
uint16_t greeter_port(const struct greeter *greeter);

/* greeter_free() -- stop listening, end all greetings; no callback runs after it. NULL is fine. */
void greeter_free(struct greeter *greeter);

#endif
