/* SPDX-License-Identifier: BSD-2-Clause */
/* receiver.c -- the controller at the destination: decant_receiver_* */
#include "migration/receiver_private.h"

#include "migration/host.h"
#include "migration/rails.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/thread.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int receiver_offer(void *opaque, const struct handshake *handshake, const struct wire_hello *hello,
			  struct decant_error *err)
{
	struct decant_receiver *receiver = opaque;

	if (hello->purpose != WIRE_PURPOSE_MIGRATE)
		return decant_error_set(err, -EPROTO, "this end takes migrations, not a push feeder");
	if (receiver->name != NULL && strcmp(receiver->name, hello->name) != 0)
		return decant_error_set(err, -EPERM, "this receiver waits for VM \"%s\", not for \"%s\"",
					receiver->name, hello->name);
	/* a tombstone is for ever: an id that is known here cannot come to life again */
	if (fate_get(&receiver->fate, hello->id) != WIRE_FATE_UNKNOWN)
		return decant_error_set(err, -EEXIST, "this migration has been here before; start a new one");
	return session_slot_offer(&receiver->slot, handshake, hello, err);
}

static enum wire_fate receiver_fate(void *opaque, const uint8_t id[16])
{
	struct decant_receiver *receiver = opaque;

	return fate_get(&receiver->fate, id);
}

static void receiver_welcome(void *opaque, struct wire_welcome *welcome)
{
	const struct decant_receiver *receiver = opaque;

	host_welcome(welcome, receiver->opts.max_memory, receiver->opts.lease_ns);
}

static int check_opts(const struct decant_receiver_opts *opts, const struct decant_vmm_ops *ops,
		      struct decant_error *err)
{
	if (opts->listen == NULL)
		return decant_error_set(err, -EINVAL, "no address to listen on: give HOST:PORT");
	if (opts->lease_ns < 100000000u || opts->peer_timeout_ns < 100000000u)
		return decant_error_set(err, -EINVAL, "lease and peer timeout must be 100 ms or more");
	if (opts->lease_ns / NSEC_PER_MSEC > WIRE_LEASE_MS_MAX)
		return decant_error_set(err, -EINVAL, "lease: at most %u ms", WIRE_LEASE_MS_MAX);
	if (ops->create == NULL || ops->state_load == NULL || ops->state_save == NULL || ops->start == NULL ||
	    ops->discard == NULL)
		return decant_error_set(err, -EINVAL,
					"a receiver needs create, state_save, state_load, start and discard");
	return 0;
}

static void receiver_destroy(struct decant_receiver *receiver)
{
	fate_destroy(&receiver->fate);
	pthread_cond_destroy(&receiver->changed);
	pthread_mutex_destroy(&receiver->lock);
	free(receiver->name);
	auth_key_free(receiver->key);
	free(receiver);
}

static int copy_opts(struct decant_receiver *receiver, struct decant_error *err)
{
	const struct decant_receiver_opts *opts = &receiver->opts;

	if (opts->name != NULL) {
		receiver->name = strdup(opts->name);
		if (receiver->name == NULL)
			return decant_error_set(err, -ENOMEM, "receiver: out of memory");
	}
	return opts->key != NULL ? auth_key_new(opts->key, opts->key_length, &receiver->key, err) : 0;
}

static int receiver_open(struct decant_receiver *receiver, struct decant_error *err)
{
	const struct greeter_opts greeter_opts = {
		.listen = receiver->opts.listen,
		.hello_timeout_ns = receiver->opts.peer_timeout_ns,
		.key = receiver->key,
		.offer = receiver_offer,
		.fate = receiver_fate,
		.welcome = receiver_welcome,
		.opaque = receiver,
		.log = receiver->opts.log,
	};
	struct placement_scope scope;
	int rc = placement_new(receiver->opts.cpus, &receiver->placement, err);

	if (rc < 0)
		return rc;
	placement_enter(&receiver->placement, &scope);
	rc = session_slot_init(&receiver->slot, err);
	if (rc == 0) {
		rc = greeter_new(&greeter_opts, &receiver->greeter, err);
		if (rc < 0)
			session_slot_destroy(&receiver->slot);
	}
	placement_leave(&scope);
	return rc;
}

int decant_receiver_new(const struct decant_receiver_opts *opts, const struct decant_vmm_ops *ops, void *vmm,
			struct decant_receiver **out, struct decant_error *err)
{
	struct decant_receiver_opts known = DECANT_RECEIVER_OPTS_INIT;
	struct decant_vmm_ops known_ops = { 0 };
	struct decant_receiver *receiver;
	int rc;

	memcpy(&known, opts, opts->size < sizeof(known) ? opts->size : sizeof(known));
	memcpy(&known_ops, ops, ops->size < sizeof(known_ops) ? ops->size : sizeof(known_ops));
	rc = check_opts(&known, &known_ops, err);
	if (rc < 0)
		return rc;
	receiver = calloc(1, sizeof(*receiver));
	if (receiver == NULL)
		return decant_error_set(err, -ENOMEM, "receiver: out of memory");
	receiver->opts = known;
	receiver->ops = known_ops;
	receiver->vmm = vmm;
	pthread_mutex_init(&receiver->lock, NULL);
	pthread_cond_init(&receiver->changed, NULL);
	fate_init(&receiver->fate);
	rc = copy_opts(receiver, err);
	if (rc == 0)
		rc = receiver_open(receiver, err);
	/* what the options point to is the caller's; nothing reads it from here on */
	receiver->opts.listen = NULL;
	receiver->opts.name = NULL;
	receiver->opts.key = NULL;
	receiver->opts.cpus = NULL;
	if (rc < 0) {
		receiver_destroy(receiver);
		return rc;
	}
	rails_prepare();
	*out = receiver;
	return 0;
}

uint16_t decant_receiver_port(const struct decant_receiver *receiver)
{
	return greeter_port(receiver->greeter);
}

static void *aftercare_main(void *argument)
{
	takeover_aftercare(argument);
	return NULL;
}

int decant_receiver_run(struct decant_receiver *receiver, struct decant_memory **memory,
			struct decant_error *caller_err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	struct decant_error *err = caller_err != NULL ? caller_err : &local;
	struct handshake handshake;
	struct placement_scope scope;
	struct wire_hello hello;
	int rc;

	do {
		rc = session_slot_take(&receiver->slot, &handshake, &hello, err);
		if (rc < 0)
			return rc;
		log_info(&receiver->opts.log, "taking VM \"%s\" in", hello.name);
		rc = takeover_run(receiver, &handshake, &hello, err);
		auth_wipe(&handshake.auth);
		session_slot_release(&receiver->slot, rc == 0);
		if (rc < 0)
			log_warning(&receiver->opts.log, "VM \"%s\" was not taken in: %s", hello.name, err->msg);
	} while (rc < 0);

	*memory = incoming_take_memory(receiver->incoming);
	placement_enter(&receiver->placement, &scope);
	receiver->aftercare_started = thread_start(&receiver->aftercare, "decant-after", aftercare_main,
						   receiver) == 0;
	placement_leave(&scope);
	if (!receiver->aftercare_started) {
		log_warning(&receiver->opts.log, "no thread to answer the source's questions after the start");
		peer_hang_up(incoming_peer(receiver->incoming));
	}
	decant_error_clear(err);
	return 0;
}

void decant_receiver_stop(struct decant_receiver *receiver)
{
	session_slot_stop(&receiver->slot);
}

void decant_receiver_get_stats(struct decant_receiver *receiver, struct decant_stats *stats)
{
	struct decant_stats now;

	{
		DECANT_AUTO_UNLOCK(&receiver->lock);
		now = receiver->stats;
	}
	now.size = stats->size < sizeof(now) ? stats->size : sizeof(now);
	memcpy(stats, &now, now.size);
}

void decant_receiver_free(struct decant_receiver *receiver)
{
	if (receiver == NULL)
		return;
	greeter_free(receiver->greeter);
	if (receiver->aftercare_started) {
		incoming_cancel(receiver->incoming);
		pthread_join(receiver->aftercare, NULL);
	}
	incoming_close(receiver->incoming);
	session_slot_destroy(&receiver->slot);
	receiver_destroy(receiver);
}
