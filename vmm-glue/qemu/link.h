/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.h -- from sidecar to sidecar: streams of bytes both ways, and control messages, over the messages of a mover
 *
 * A stream is one connection of QEMU's, carried: bytes in order both ways, each direction with an end of its own, and a window of credit
 * each, so that one that nobody reads holds up no other. docs/protocol.md, "The link of two sidecars", is what is sent.
 *
 *     source                                         destination
 *     mover.opts.message -> link_deliver()           landing.ops.message -> link_deliver()
 *     send: decant_mover_message()                   send: decant_landing_message()
 *     mover.opts.lost -> link_fail()                 end of decant_landing_run() -> link_fail()
 *     link_open()                                    link_accept()
 *     link_room(), link_write(), link_end()          the same
 *     link_peek(), link_consume()                    the same
 *     link_close()                                   link_close()
 *
 * Threads: link_deliver() and link_fail() from any, one link_deliver() at a time; they wait for nothing, but that a destination's
 * refusal of a stream is sent. link_get_stats() from any. All else from one thread, at the source the mover's feeder; it may
 * block in send(), and never for the other end's reader.
 */
#ifndef QEMU_LINK_H
#define QEMU_LINK_H

#include <decant/error.h>
#include <decant/mover.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_STREAMS_MAX 64u   /* open at once */
#define LINK_WINDOW (1u << 20) /* bytes of one direction of one stream that nobody has read yet */
#define LINK_HEAD 8u           /* bytes before the data of every message */
#define LINK_DATA_MAX (DECANT_MESSAGE_MAX - LINK_HEAD)
#define LINK_CONTROL_MAX (16u << 10) /* bytes of one control message's text, without terminator */
#define LINK_CONTROLS_MAX 16u        /* control messages that nobody has taken yet */

struct link;

/* What a stream is for. */
enum link_service {
	LINK_MIGRATION = 1, /* QEMU's migration stream and its return path */
	LINK_DISK = 2,      /* a connection to the NBD server at the destination */
};

enum link_control {
	LINK_FACTS = 1,   /* what an end knows and the other must: JSON */
	LINK_START = 2,   /* source: QEMU here has reported `completed`: start the guest there */
	LINK_STARTED = 3, /* destination: it runs */
	LINK_ERROR = 4,   /* it is over, and why, for people */
};

struct link_opts {
	bool source; /* this end opens the streams */
	/* one message to the other end, of at most DECANT_MESSAGE_MAX bytes; copied */
	int (*send)(void *opaque, const void *data, size_t length, struct decant_error *err);
	void *opaque;
};

struct link_stats {
	uint64_t sent_bytes, received_bytes; /* of all streams, without heads */
	uint32_t streams;                    /* there were so far */
};

/* link_new() -- 0, -ENOMEM, or what eventfd() said */
int link_new(const struct link_opts *opts, struct link **link, struct decant_error *err);

/* link_deliver() -- a message of the other end's; nothing in it is trusted. 0, or -EPROTO, which ends the session; -ENOMEM */
int link_deliver(struct link *link, const void *data, size_t length, struct decant_error *err);

/* link_fail() -- the session is over, and why: every call says so from now on, but those that take what has come; the first one counts */
void link_fail(struct link *link, const struct decant_error *why);

/* link_check() -- 0, or what link_fail() or a failed send has said */
int link_check(struct link *link, struct decant_error *err);

/*
 * link_fd() -- readable when something has come since link_clear(): data, credit, an end, a stream, a control message, the session's end
 *
 * Call link_clear() first, then look at all that may have changed.
 */
int link_fd(const struct link *link);
void link_clear(struct link *link);

/* link_open() -- at the source: a new stream; its id. 0, -EMFILE (LINK_STREAMS_MAX are open), or why the session is over. */
int link_open(struct link *link, enum link_service service, uint32_t *id, struct decant_error *err);

/* link_accept() -- at the destination: the next stream that was opened and not accepted yet; 1, or 0 if there is none */
int link_accept(struct link *link, uint32_t *id, enum link_service *service);

/* link_room() -- bytes that link_write() would take now; 0 also once the stream is ended or broken */
size_t link_room(struct link *link, uint32_t id);

/*
 * link_write() -- send bytes; as many as there is room for
 *
 * Returns how many were taken, 0 if none; -EPIPE (after link_end()); the other end's code if it has broken the stream; or why the
 * session is over.
 */
int link_write(struct link *link, uint32_t id, const void *data, size_t length, struct decant_error *err);

/* link_end() -- nothing more is written; the other end reads its end after all that was. Reading goes on. Idempotent. */
int link_end(struct link *link, uint32_t id, struct decant_error *err);

/*
 * link_peek() -- what has come and was not consumed: *@length bytes at *@data, which stay until link_consume()
 *
 * Returns 0 (*@length 0: nothing yet); 1 at the end, when all has been consumed; the other end's code if it has broken the stream, even
 * if something lies there still; or why the session is over, when nothing does.
 */
int link_peek(struct link *link, uint32_t id, const void **data, size_t *length, struct decant_error *err);

/* link_consume() -- @length of what link_peek() has shown is done with; gives the credit back. 0 or why the session is over. */
int link_consume(struct link *link, uint32_t id, size_t length, struct decant_error *err);

/*
 * link_close() -- the stream is no more for this end, and @id means nothing
 *
 * @code 0: if this end has ended its direction and read the other's end, nothing is sent; else the other end sees it broken with ECONNRESET.
 * A positive errno: the other end sees it broken with that.
 */
void link_close(struct link *link, uint32_t id, int code);

/* link_send_control() -- @text: what json-c or people read, one line, "" for none; bytes that cannot be printed are sent as '?' */
int link_send_control(struct link *link, enum link_control kind, const char *text, struct decant_error *err);

/* link_next_control() -- the next one, in order; 1, or 0 if there is none. Also after the session's end. */
int link_next_control(struct link *link, enum link_control *kind, char text[LINK_CONTROL_MAX + 1]);

void link_get_stats(struct link *link, struct link_stats *stats);

/* link_free() -- when nothing can call link_deliver() any more; closes nothing. NULL is fine. */
void link_free(struct link *link);

#endif
