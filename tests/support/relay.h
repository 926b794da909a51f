/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay.h -- the network between a source and a destination, for tests that break it at one message
 *
 * Theory of operation
 * -------------------
 * It takes the source's connections and makes one to the destination for each: the control connections, and TCP data channels, whose
 * address it changes in OPENED. It knows where messages begin and end, so
 * that a test can name the one at which something happens. What happens is told by a callback, or done to the network as a whole:
 * relay_hold() lets nothing pass one way, no byte and no end of a connection, until it is let go. As with TCP nothing is lost in
 * between: a network that swallows packets and comes back is one that was slow.
 *
 * An end of a connection is passed on as it came: end of stream in one direction, or a reset.
 *
 * Threads of its own; all calls from any thread.
 */
#ifndef SUPPORT_RELAY_H
#define SUPPORT_RELAY_H

#include <stdbool.h>
#include <stdint.h>

enum relay_way {
	RELAY_FORTH, /* from the source to the destination */
	RELAY_BACK,
	RELAY_WAYS,
};

/* Messages of the data channels, beside enum wire_type; forth alone. */
#define RELAY_DATA 0x100
#define RELAY_MARKER 0x101
#define RELAY_TYPES 0x102

/* What becomes of the message, and of its connection. */
enum relay_act {
	RELAY_PASS,
	RELAY_CUT,       /* it is lost, both ends see the end of the stream */
	RELAY_CUT_AFTER, /* it arrives, then the same */
	RELAY_RESET,     /* it is lost, both ends see a reset */
	RELAY_HALF,      /* half of its bytes arrive, then the same */
	RELAY_END_WAY,   /* it is lost, and its way ends; the other way goes on */
	RELAY_END_OTHER, /* it arrives, and the other way ends; its way goes on */
};

struct relay_rule {
	uint16_t type; /* enum wire_type or one of the above */
	enum relay_way way;
	unsigned skip; /* let so many pass first */
	/* asked once, before anything is done with the message; in a thread of the relay */
	enum relay_act (*act)(void *opaque);
	void *opaque;
};

struct relay;

/* relay_new() -- listens on 127.0.0.1 and connects to 127.0.0.1:@port; @carry_data: of TCP the data channels, too. NULL on failure */
struct relay *relay_new(uint16_t port, bool carry_data);

uint16_t relay_port(const struct relay *relay);

/* relay_set_rule() -- one at a time; it acts once */
void relay_set_rule(struct relay *relay, const struct relay_rule *rule);

/* relay_drop_rule() -- it is not to act any more; false: its message has come already, and its callback is, or has been, called */
bool relay_drop_rule(struct relay *relay);

/* relay_has_acted() -- has the message of the rule come, and been dealt with as far as it can be now? */
bool relay_has_acted(struct relay *relay);

/* relay_count() -- how many messages of this kind have come, passed on or not */
unsigned relay_count(struct relay *relay, uint16_t type, enum relay_way way);

/* relay_hold() -- nothing passes this way any more, or does again */
void relay_hold(struct relay *relay, enum relay_way way, bool hold);

/* relay_hold_data() -- the same both ways, for the data channels alone */
void relay_hold_data(struct relay *relay, bool hold);

/* relay_break_data() -- reset the data channels that there are */
void relay_break_data(struct relay *relay);

/*
 * relay_repeat() -- say to the destination, over a connection of its own, what the source has said on its first so far
 *
 * @all false: only its first message. Waits for the answer: the type of the first message that comes back, CHALLENGE only
 * if no proof was repeated, 0 if none does.
 * Not to be called from a rule's callback.
 */
uint16_t relay_repeat(struct relay *relay, bool all);

void relay_free(struct relay *relay);

#endif
