/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * landing.c -- the destination of a push feeder: decant_landing_*
 *
 * The greeter's threads offer a connection; decant_landing_run() takes it, and is the session's thread.
 */
#include "migration/greeter.h"
#include "migration/host.h"
#include "migration/incoming.h"
#include "migration/session_slot.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/placement.h"
#include <decant/mover.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct decant_landing {
	/* set at creation, read-only after */
	struct decant_landing_opts opts;
	struct decant_landing_ops ops;
	void *opaque;
	struct greeter *greeter;
	struct auth_key *key; /* NULL: none */
	struct placement placement;

	struct session_slot slot;

	/* protected by talk_lock, which is held while a message is being sent */
	pthread_mutex_t talk_lock;
	struct incoming *talking; /* NULL: messages have nowhere to go */
	bool heard;               /* the source takes them */

	/* protected by lock */
	pthread_mutex_t lock;
	struct incoming *running;
	uint64_t cpu_ns; /* of the last session */
};

static int landing_offer(void *opaque, const struct handshake *handshake, const struct wire_hello *hello,
			 struct decant_error *err)
{
	struct decant_landing *landing = opaque;

	if (hello->purpose != WIRE_PURPOSE_PUSH)
		return decant_error_set(err, -EPROTO, "this end takes a push feeder, not a migration");
	return session_slot_offer(&landing->slot, handshake, hello, err);
}

static enum wire_fate landing_fate(void *opaque, const uint8_t id[16])
{
	(void)opaque;
	(void)id;
	return WIRE_FATE_UNKNOWN;
}

static void landing_welcome(void *opaque, struct wire_welcome *welcome)
{
	const struct decant_landing *landing = opaque;

	host_welcome(welcome, landing->opts.max_memory, 0);
	welcome->features |= WIRE_FEATURE_MESSAGES | (landing->opts.zero_memory ? WIRE_FEATURE_ZEROS : 0);
}

static void landing_destroy(struct decant_landing *landing)
{
	pthread_mutex_destroy(&landing->lock);
	pthread_mutex_destroy(&landing->talk_lock);
	auth_key_free(landing->key);
	free(landing);
}

int decant_landing_new(const struct decant_landing_opts *opts, const struct decant_landing_ops *ops, void *opaque,
		       struct decant_landing **out, struct decant_error *err)
{
	struct decant_landing *landing;
	const struct decant_landing_opts *known;
	struct greeter_opts greeter_opts = {
		.listen = opts->listen,
		.hello_timeout_ns = opts->peer_timeout_ns,
		.offer = landing_offer,
		.fate = landing_fate,
		.welcome = landing_welcome,
		.log = opts->log,
	};
	struct placement_scope scope;
	int rc;

	if (opts->listen == NULL || ops->create == NULL)
		return decant_error_set(err, -EINVAL, "landing: an address to listen on and create() are needed");
	landing = calloc(1, sizeof(*landing));
	if (landing == NULL)
		return decant_error_set(err, -ENOMEM, "landing: out of memory");
	memcpy(&landing->opts, opts, opts->size < sizeof(*opts) ? opts->size : sizeof(*opts));
	memcpy(&landing->ops, ops, ops->size < sizeof(*ops) ? ops->size : sizeof(*ops));
	landing->opaque = opaque;
	pthread_mutex_init(&landing->talk_lock, NULL);
	pthread_mutex_init(&landing->lock, NULL);
	known = &landing->opts;
	rc = known->key != NULL ? auth_key_new(known->key, known->key_length, &landing->key, err) : 0;
	if (rc == 0)
		rc = placement_new(known->cpus, &landing->placement, err);
	landing->opts.key = NULL;
	landing->opts.cpus = NULL;
	greeter_opts.opaque = landing;
	greeter_opts.key = landing->key;
	placement_enter(rc == 0 ? &landing->placement : NULL, &scope);
	if (rc == 0)
		rc = session_slot_init(&landing->slot, err);
	if (rc == 0) {
		rc = greeter_new(&greeter_opts, &landing->greeter, err);
		if (rc < 0)
			session_slot_destroy(&landing->slot);
	}
	placement_leave(&scope);
	if (rc < 0) {
		landing_destroy(landing);
		return rc;
	}
	*out = landing;
	return 0;
}

uint16_t decant_landing_port(const struct decant_landing *landing)
{
	return greeter_port(landing->greeter);
}

static int landing_create(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
			  uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct decant_landing *landing = opaque;

	return landing->ops.create(landing->opaque, shape, regions, count, memory, err);
}

static int landing_message(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct decant_landing *landing = opaque;

	if (landing->ops.message == NULL)
		return decant_error_set(err, -EPROTO, "a message came, and nobody here takes messages");
	return landing->ops.message(landing->opaque, data, length, err);
}

static const struct incoming_ops landing_incoming_ops = {
	.create = landing_create,
	.message = landing_message,
};

/* ---- to the source, while it is served ---- */

/* Waits for a message that is being sent. */
static void talk_to(struct decant_landing *landing, struct incoming *incoming, bool heard)
{
	DECANT_AUTO_UNLOCK(&landing->talk_lock);
	landing->talking = incoming;
	landing->heard = heard;
}

static void begin_session(struct decant_landing *landing, struct incoming *incoming, bool heard)
{
	{
		DECANT_AUTO_UNLOCK(&landing->lock);
		landing->running = incoming;
	}
	talk_to(landing, incoming, heard);
	session_slot_watch(&landing->slot, incoming);
}

static void end_session(struct decant_landing *landing, struct incoming *incoming)
{
	session_slot_release(&landing->slot, false);
	talk_to(landing, NULL, false);
	DECANT_AUTO_UNLOCK(&landing->lock);
	landing->running = NULL;
	landing->cpu_ns = incoming_cpu_ns(incoming);
}

int decant_landing_message(struct decant_landing *landing, const void *data, size_t length,
			   struct decant_error *err)
{
	const struct wire_message message = { .length = (uint32_t)length, .data = data };
	uint8_t head[16];
	int rc;

	if (length == 0 || length > DECANT_MESSAGE_MAX)
		return decant_error_set(err, -EMSGSIZE, "a message of %zu bytes: 1 to %u", length,
					DECANT_MESSAGE_MAX);
	rc = wire_message_encode(&message, head, sizeof(head));
	DECANT_AUTO_UNLOCK(&landing->talk_lock);
	if (landing->talking == NULL)
		return decant_error_set(err, -ENOTCONN, "a message to the source: none is connected");
	if (!landing->heard)
		return decant_error_set(err, -EOPNOTSUPP, "the source takes no messages; it is an older decant");
	return peer_send(incoming_peer(landing->talking), WIRE_MESSAGE, head, (size_t)rc, data, length, err);
}

uint64_t decant_landing_cpu_ns(struct decant_landing *landing)
{
	DECANT_AUTO_UNLOCK(&landing->lock);
	return landing->running != NULL ? incoming_cpu_ns(landing->running) : landing->cpu_ns;
}

/* Serves until the source's goodbye. */
static int serve(struct decant_landing *landing, struct incoming *incoming, struct decant_error *err)
{
	struct peer_message message;
	int rc = incoming_prepare(incoming, err);

	if (rc < 0) {
		incoming_refuse(incoming, err);
		return rc;
	}
	rc = incoming_next(incoming, CLOCK_NEVER, &message, err);
	if (rc < 0)
		return rc;
	if (message.type != WIRE_BYE)
		rc = decant_error_set(err, -EPROTO, "a push feeder sent %s", wire_strtype(message.type));
	peer_message_free(&message);
	if (rc < 0) {
		incoming_refuse(incoming, err);
		return rc;
	}
	incoming_fence(incoming);
	rc = incoming_await_zeros(incoming, err);
	if (rc < 0)
		return rc;
	talk_to(landing, NULL, false);
	/* the answer to the goodbye: all that was pushed has landed or never will */
	peer_send(incoming_peer(incoming), WIRE_BYE, NULL, 0, NULL, 0, NULL);
	return 0;
}

int decant_landing_run(struct decant_landing *landing, struct decant_memory **memory,
		       struct decant_error *caller_err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	struct decant_error *err = caller_err != NULL ? caller_err : &local;
	struct incoming_opts opts = {
		.host = greeter_host(landing->greeter),
		.peer_timeout_ns = landing->opts.peer_timeout_ns,
		.populate_threads = host_populate_threads(landing->opts.populate_threads,
							  cpus_count(&landing->placement.cpus)),
		.zero_memory = landing->opts.zero_memory,
		.placement = &landing->placement,
		.ops = &landing_incoming_ops,
		.opaque = landing,
		.log = landing->opts.log,
	};
	struct incoming *incoming;
	struct wire_hello hello;
	int fd, rc;

	rc = session_slot_take(&landing->slot, &opts.handshake, &hello, err);
	if (rc < 0)
		return rc;
	fd = opts.handshake.fd;
	landing_welcome(landing, &opts.welcome);
	opts.welcome.features &= hello.features;
	opts.max_memory = opts.welcome.max_memory;
	rc = incoming_new(&opts, &incoming, err);
	auth_wipe(&opts.handshake.auth);
	if (rc < 0) {
		close(fd);
		session_slot_release(&landing->slot, false);
		return rc;
	}
	begin_session(landing, incoming, (opts.welcome.features & WIRE_FEATURE_MESSAGES) != 0);
	rc = serve(landing, incoming, err);
	end_session(landing, incoming);
	if (rc == 0)
		*memory = incoming_take_memory(incoming);
	incoming_close(incoming);
	return rc;
}

void decant_landing_stop(struct decant_landing *landing)
{
	session_slot_stop(&landing->slot);
}

void decant_landing_free(struct decant_landing *landing)
{
	if (landing == NULL)
		return;
	greeter_free(landing->greeter);
	session_slot_destroy(&landing->slot);
	landing_destroy(landing);
}
