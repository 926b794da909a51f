/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * greeter.h -- the destination's door: listens, hears each HELLO and the proof of the key, answers QUERY, and offers the rest to the
 * floor above
 *
 * A thread accepts; each connection is greeted in a thread of its own, bounded in number and time. Where there are too many, the
 * oldest of the address that has most of them goes, so that strangers who connect and say nothing keep nobody else out.
 */
#ifndef MIGRATION_GREETER_H
#define MIGRATION_GREETER_H

#include "migration/handshake.h"
#include "wire/wire.h"
#include <decant/error.h>
#include <decant/log.h>
#include <stdint.h>

struct greeter;

struct greeter_opts {
	const char *listen;
	uint64_t hello_timeout_ns;
	const struct auth_key *key; /* NULL: none; outlives the greeter */
	/*
	 * A source has come, and has proved the key. 0: taken, the socket is the callee's, who goes on with handshake_answer();
	 * negative: refused with @err, which the source is told. Any thread, several at once.
	 */
	int (*offer)(void *opaque, const struct handshake *handshake, const struct wire_hello *hello,
		     struct decant_error *err);
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
