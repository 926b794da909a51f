/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover.c -- the destination's side of one migration, from WELCOME to RUNNING
 *
 * Theory of operation
 * -------------------
 * Everything up to READY can fail without harm: the VM is discarded and the source's goes on. READY opens the lease. Only
 * GO within it starts the VM, and once the lease is over the migration has a tombstone, so that no GO, however late, starts it,
 * and QUERY proves that to the source. State and fate change in one step, under one lock (handover.h has the table).
 *
 * HANDOVER fences the channels before anything of the state is loaded: the source has seen every barrier acknowledged, and
 * from here on nobody but this process writes to the guest's memory.
 */
#include "migration/receiver_private.h"

#include "migration/host.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Room for a state's bytes, besides twice what the rehearsal had. */
#define STATE_ROOM_MIN (64u << 10)

/* ---- state ---- */

/* Lock held. An event that has no place changes nothing. */
static int step_locked(struct decant_receiver *receiver, enum handover_destination_event event,
		       struct decant_error *err)
{
	const int next = handover_next(&handover_destination, receiver->phase, event, err);

	if (next < 0)
		return next;
	receiver->phase = (enum handover_destination)next;
	fate_set(&receiver->fate, receiver->id, handover_fate(receiver->phase));
	pthread_cond_broadcast(&receiver->changed);
	return 0;
}

static int step(struct decant_receiver *receiver, enum handover_destination_event event, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&receiver->lock);
	return step_locked(receiver, event, err);
}

/* No vCPU has run, and from here on none can. Before the source is told anything: it may ask at once. */
static void bury(struct decant_receiver *receiver)
{
	DECANT_AUTO_UNLOCK(&receiver->lock);
	if (receiver->phase != DESTINATION_NEVER)
		step_locked(receiver, DESTINATION_FAIL, NULL);
}

/* ---- in the reader thread ---- */

static bool take_go(struct decant_receiver *receiver, const struct peer_message *message)
{
	DECANT_AUTO_UNLOCK(&receiver->lock);
	if (message->length == 0 && clock_now_ns() < receiver->lease_until_ns)
		step_locked(receiver, DESTINATION_GO, NULL);
	return true;
}

/* ABORT is taken here only while the session's thread waits for GO; else it is one message among others. */
static bool take_abort(struct decant_receiver *receiver, const struct peer_message *message)
{
	DECANT_AUTO_UNLOCK(&receiver->lock);
	if (step_locked(receiver, DESTINATION_ABORT, NULL) < 0)
		return false;
	peer_error_decode(message->payload, message->length, &receiver->never_why);
	return true;
}

static bool takeover_intercept(void *opaque, const struct peer_message *message)
{
	if (message->type == WIRE_GO)
		return take_go(opaque, message);
	return message->type == WIRE_ABORT && take_abort(opaque, message);
}

static void takeover_lost(void *opaque)
{
	struct decant_receiver *receiver = opaque;

	DECANT_AUTO_UNLOCK(&receiver->lock);
	if (step_locked(receiver, DESTINATION_LOST, NULL) == 0)
		decant_error_set(&receiver->never_why, -ECONNRESET, "the source is gone, and had not said GO");
}

/* ---- making the VM ---- */

static int refuse_unread(const char *list, const struct decant_state_record *unread, struct decant_error *err)
{
	return decant_error_set(err, -EOPNOTSUPP,
				"%s record %s of instance %u: this host does not know it; "
				"use the same release of decant at both ends",
				list, unread->name, unread->instance);
}

static int takeover_create(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
			   uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct decant_receiver *receiver = opaque;
	struct decant_state_record unread;
	const int rc = receiver->ops.create(receiver->vmm, shape, regions, count, memory, err);

	receiver->created = rc == 0;
	if (rc == 0 && decant_state_unused(shape, &unread) != 0)
		return refuse_unread("shape", &unread, err);
	return rc;
}

/* The true state will be of about the same size: room for it is made now, when no guest waits. */
static int reserve_state(struct decant_receiver *receiver, size_t length, struct decant_error *err)
{
	const size_t room = 2 * length + STATE_ROOM_MIN < DECANT_STATE_TOTAL_MAX ? 2 * length + STATE_ROOM_MIN
										 : DECANT_STATE_TOTAL_MAX;
	int rc = incoming_reserve_bytes(&receiver->state, (uint32_t)room, err);

	if (rc == 0)
		rc = peer_reserve(incoming_peer(receiver->incoming),
				  room < WIRE_PAYLOAD_MAX ? room : WIRE_PAYLOAD_MAX, err);
	if (rc == 0 && receiver->reader == NULL)
		rc = decant_state_reader_new(NULL, 0, &receiver->reader, err);
	return rc;
}

/*
 * What something costs this thread. One that never waited was at most kept from its CPU, by a host that is busy now and may not be in the
 * pause: then what it computed counts.
 */
struct stopwatch {
	uint64_t wall_ns, cpu_ns;
	long waits;
};

static long thread_waits(void)
{
	struct rusage usage = { 0 };

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static struct stopwatch stopwatch_start(void)
{
	return (struct stopwatch){ clock_now_ns(), clock_thread_cpu_ns(), thread_waits() };
}

static uint64_t stopwatch_ns(const struct stopwatch *since)
{
	const struct stopwatch now = stopwatch_start();

	return now.waits == since->waits ? now.cpu_ns - since->cpu_ns : now.wall_ns - since->wall_ns;
}

/* Saves and loads the fresh VM once: the forecast needs to know what that costs. */
static int takeover_rehearse(void *opaque, struct wire_prepared *prepared, struct decant_error *err)
{
	struct decant_receiver *receiver = opaque;
	struct decant_state_writer *writer;
	struct stopwatch watch;
	const void *bytes;
	size_t length;
	int rc = decant_state_writer_new(&writer, err);

	if (rc < 0)
		return rc;
	watch = stopwatch_start();
	rc = receiver->ops.state_save(receiver->vmm, writer, err);
	prepared->save_ns = stopwatch_ns(&watch);
	bytes = decant_state_writer_bytes(writer, &length);
	if (rc == 0)
		rc = reserve_state(receiver, length, err);
	watch = stopwatch_start();
	if (rc == 0)
		rc = decant_state_reader_reset(receiver->reader, bytes, length, err);
	if (rc == 0)
		rc = receiver->ops.state_load(receiver->vmm, receiver->reader, err);
	prepared->load_ns = stopwatch_ns(&watch);
	decant_state_writer_free(writer);
	decant_error_prefix(rc < 0 ? err : NULL, "rehearsing on the fresh VM");
	return rc;
}

static const struct incoming_ops takeover_ops = {
	.create = takeover_create,
	.rehearse = takeover_rehearse,
	.intercept = takeover_intercept,
	.lost = takeover_lost,
};

/* ---- verify ---- */

static int take_hashes(struct decant_receiver *receiver, const struct peer_message *message,
		       struct decant_error *err)
{
	int rc = 0;

	if (receiver->verify == NULL)
		rc = verify_new(incoming_memory(receiver->incoming), &receiver->verify, err);
	return rc < 0 ? rc : verify_take(receiver->verify, message, err);
}

static int take_verify(struct decant_receiver *receiver, const struct peer_message *message,
		       struct decant_error *err)
{
	struct wire_verified verified;
	uint8_t head[64];
	int rc = wire_empty_decode(WIRE_VERIFY, message->length, err);

	/* a guest without a single page with data sends no HASHES */
	if (rc == 0 && receiver->verify == NULL)
		rc = verify_new(incoming_memory(receiver->incoming), &receiver->verify, err);
	if (rc == 0)
		rc = verify_finish(receiver->verify, &verified, err);
	if (rc < 0)
		return rc;
	verify_free(receiver->verify);
	receiver->verify = NULL;
	rc = wire_verified_encode(&verified, head, sizeof(head));
	return peer_send(incoming_peer(receiver->incoming), WIRE_VERIFIED, head, (size_t)rc, NULL, 0, err);
}

/* ---- hand-over ---- */

static int load_state(struct decant_receiver *receiver, struct decant_error *err)
{
	struct decant_state_record unread;
	int rc;

	if (!receiver->state.begun || receiver->state.have < receiver->state.total)
		return decant_error_set(err, -EPROTO, "HANDOVER before all of the state");
	rc = decant_state_reader_reset(receiver->reader, receiver->state.data, receiver->state.have, err);
	if (rc < 0)
		return rc;
	rc = receiver->ops.state_load(receiver->vmm, receiver->reader, err);
	if (rc == 0 && decant_state_unused(receiver->reader, &unread) != 0)
		rc = refuse_unread("state", &unread, err);
	return rc;
}

static void stamp(struct decant_receiver *receiver, enum decant_migration_state state)
{
	DECANT_AUTO_UNLOCK(&receiver->lock);
	receiver->stats.state_ns[state] = clock_now_ns();
}

static int say_ready(struct decant_receiver *receiver, uint64_t load_ns, struct decant_error *err)
{
	const struct wire_ready ready = {
		.lease_ms = (uint32_t)(receiver->opts.lease_ns / NSEC_PER_MSEC),
		.load_ns = load_ns,
		.allocated = decant_memory_allocated(incoming_memory(receiver->incoming)),
	};
	uint8_t head[64];
	const int length = wire_ready_encode(&ready, head, sizeof(head));
	int rc;

	{
		DECANT_AUTO_UNLOCK(&receiver->lock);
		receiver->stats.dest_allocated = ready.allocated;
		/* before READY is sent: its GO must find the lease running */
		receiver->lease_until_ns = clock_deadline_ns(receiver->opts.lease_ns);
		rc = step_locked(receiver, DESTINATION_LOADED, err);
	}
	if (rc < 0)
		return rc;
	return peer_send(incoming_peer(receiver->incoming), WIRE_READY, head, (size_t)length, NULL, 0, err);
}

static int await_go(struct decant_receiver *receiver, struct decant_error *err)
{
	const struct timespec until = clock_timespec(receiver->lease_until_ns);

	DECANT_AUTO_UNLOCK(&receiver->lock);
	while (receiver->phase == DESTINATION_READY && clock_now_ns() < receiver->lease_until_ns)
		pthread_cond_clockwait(&receiver->changed, &receiver->lock, CLOCK_MONOTONIC, &until);
	if (receiver->phase == DESTINATION_STARTING)
		return 0;
	if (step_locked(receiver, DESTINATION_EXPIRE, NULL) == 0)
		decant_error_set(&receiver->never_why, -ETIMEDOUT,
				 "no GO came within the lease of %llu ms; the guest goes on at the source",
				 (unsigned long long)(receiver->opts.lease_ns / NSEC_PER_MSEC));
	*err = receiver->never_why;
	return err->code;
}

static uint64_t session_cpu_ns(struct decant_receiver *receiver)
{
	return incoming_cpu_ns(receiver->incoming) + clock_thread_cpu_ns() - receiver->cpu_start_ns;
}

static int start_vm(struct decant_receiver *receiver, struct decant_error *err)
{
	const struct decant_handover handover = {
		.size = sizeof(handover),
		.clock_offset_ns = receiver->handover.clock_offset_ns,
		.clock_error_ns = receiver->handover.clock_error_ns,
	};
	struct wire_running running = { 0 };
	uint8_t head[64];
	int rc = receiver->ops.start(receiver->vmm, &handover, &running.entered_ns, err);

	if (rc == 0)
		rc = step(receiver, DESTINATION_ENTER, err);
	if (rc < 0)
		return rc;
	running.cpu_ns = session_cpu_ns(receiver);
	rc = wire_running_encode(&running, head, sizeof(head));
	/* if this is lost, QUERY tells the source */
	peer_send(incoming_peer(receiver->incoming), WIRE_RUNNING, head, (size_t)rc, NULL, 0, NULL);
	DECANT_AUTO_UNLOCK(&receiver->lock);
	receiver->stats.dest_cpu_ns = running.cpu_ns;
	receiver->stats.state = DECANT_STATE_COMPLETED;
	receiver->stats.state_ns[DECANT_STATE_COMPLETED] = running.entered_ns;
	receiver->stats.clock_offset_ns = receiver->handover.clock_offset_ns;
	receiver->stats.clock_error_ns = receiver->handover.clock_error_ns;
	return 0;
}

static int take_handover(struct decant_receiver *receiver, const struct peer_message *message,
			 struct decant_error *err)
{
	uint64_t start;
	int rc = wire_handover_decode(&receiver->handover, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	stamp(receiver, DECANT_STATE_SWITCHOVER);
	incoming_fence(receiver->incoming);
	start = clock_now_ns();
	rc = load_state(receiver, err);
	if (rc == 0)
		rc = say_ready(receiver, clock_now_ns() - start, err);
	if (rc == 0)
		rc = await_go(receiver, err);
	if (rc < 0)
		return rc;
	stamp(receiver, DECANT_STATE_GO);
	return start_vm(receiver, err);
}

/* ---- one session ---- */

/* Handles one message. 1: the VM runs here; 0: go on. */
static int takeover_step(struct decant_receiver *receiver, const struct peer_message *message,
			 struct decant_error *err)
{
	int rc;

	switch (message->type) {
	case WIRE_STATE:
		return incoming_append_chunk(message, &receiver->state, DECANT_STATE_TOTAL_MAX, err);
	case WIRE_HASHES:
		return take_hashes(receiver, message, err);
	case WIRE_VERIFY:
		return take_verify(receiver, message, err);
	case WIRE_HANDOVER:
		rc = take_handover(receiver, message, err);
		return rc < 0 ? rc : 1;
	case WIRE_ABORT:
		peer_error_decode(message->payload, message->length, err);
		return -ECONNABORTED;
	default:
		return decant_error_set(err, -EPROTO, "the source sent %s before GO", wire_strtype(message->type));
	}
}

static int takeover_serve(struct decant_receiver *receiver, struct decant_error *err)
{
	struct peer_message message;
	int rc = incoming_prepare(receiver->incoming, err);

	if (rc == 0)
		stamp(receiver, DECANT_STATE_PRECOPY);
	while (rc == 0) {
		rc = incoming_next(receiver->incoming, CLOCK_NEVER, &message, err);
		if (rc < 0)
			return rc; /* the peer knows already, or is gone */
		rc = takeover_step(receiver, &message, err);
		peer_message_free(&message);
	}
	if (rc < 0)
		bury(receiver);
	if (rc < 0 && rc != -ECONNABORTED)
		incoming_refuse(receiver->incoming, err);
	return rc < 0 ? rc : 0;
}

static int begin(struct decant_receiver *receiver, const struct handshake *handshake,
		 const struct wire_hello *hello, struct decant_error *err)
{
	struct incoming_opts opts = {
		.handshake = *handshake,
		.host = greeter_host(receiver->greeter),
		.peer_timeout_ns = receiver->opts.peer_timeout_ns,
		.populate_threads = host_populate_threads(receiver->opts.populate_threads,
							  cpus_count(&receiver->placement.cpus)),
		.placement = &receiver->placement,
		.ops = &takeover_ops,
		.opaque = receiver,
		.log = receiver->opts.log,
	};
	int rc;

	{
		DECANT_AUTO_UNLOCK(&receiver->lock);
		receiver->phase = DESTINATION_FILLING;
		receiver->lease_until_ns = 0;
		decant_error_clear(&receiver->never_why);
		memset(&receiver->stats, 0, sizeof(receiver->stats));
		receiver->stats.state_ns[DECANT_STATE_CONNECTING] = clock_now_ns();
	}
	memcpy(receiver->id, hello->id, sizeof(receiver->id));
	receiver->created = false;
	receiver->cpu_start_ns = clock_thread_cpu_ns();
	host_welcome(&opts.welcome, receiver->opts.max_memory, receiver->opts.lease_ns);
	opts.welcome.features &= hello->features;
	opts.max_memory = opts.welcome.max_memory;
	/* looked at when it was offered, but the last session may have been of the same id */
	if (!fate_claim(&receiver->fate, receiver->id)) {
		rc = decant_error_set(err, -EEXIST, "this migration has been here before; start a new one");
		handshake_refuse(&opts.handshake, err);
	} else {
		rc = incoming_new(&opts, &receiver->incoming, err);
		if (rc < 0)
			bury(receiver);
	}
	auth_wipe(&opts.handshake.auth);
	if (rc < 0) {
		close(handshake->fd);
		return rc;
	}
	session_slot_watch(&receiver->slot, receiver->incoming);
	return 0;
}

static void clear_session(struct decant_receiver *receiver)
{
	free(receiver->state.data);
	receiver->state = (struct incoming_bytes){ 0 };
	decant_state_reader_free(receiver->reader);
	receiver->reader = NULL;
	verify_free(receiver->verify);
	receiver->verify = NULL;
}

int takeover_run(struct decant_receiver *receiver, const struct handshake *handshake,
		 const struct wire_hello *hello, struct decant_error *err)
{
	int rc = begin(receiver, handshake, hello, err);

	if (rc < 0)
		return rc;
	rc = takeover_serve(receiver, err);
	session_slot_watch(&receiver->slot, NULL);
	clear_session(receiver);
	if (rc == 0)
		return 0;
	bury(receiver);
	/* no thread of ours is left that touches what discard() gives back */
	incoming_stop(receiver->incoming);
	if (receiver->created)
		receiver->ops.discard(receiver->vmm);
	incoming_close(receiver->incoming);
	receiver->incoming = NULL;
	return rc;
}

/* ---- aftercare ---- */

static void answer_verdict(struct decant_receiver *receiver)
{
	struct decant_verdict verdict = { .status = DECANT_VERDICT_NONE };
	struct decant_error err = DECANT_ERROR_INIT;
	struct wire_verdict answer = { 0 };
	uint8_t head[512];
	int rc = 0;

	if (receiver->ops.verdict != NULL)
		rc = receiver->ops.verdict(receiver->vmm, &verdict, &err);
	if (rc < 0) {
		log_warning(&receiver->opts.log, "asking the guest for its verdict: %s", err.msg);
		incoming_refuse(receiver->incoming, &err);
		return;
	}
	answer.status = (uint32_t)verdict.status;
	answer.pause_ns = verdict.pause_ns;
	answer.work_rate = verdict.work_rate;
	memcpy(answer.text, verdict.text, sizeof(answer.text) - 1);
	rc = wire_verdict_encode(&answer, head, sizeof(head));
	if (rc > 0)
		peer_send(incoming_peer(receiver->incoming), WIRE_VERDICT, head, (size_t)rc, NULL, 0, NULL);
}

void takeover_aftercare(struct decant_receiver *receiver)
{
	struct peer_message message;
	struct decant_error err;
	bool more = true;

	while (more && incoming_next(receiver->incoming, CLOCK_NEVER, &message, &err) == 0) {
		if (message.type == WIRE_VERDICT_ASK)
			answer_verdict(receiver);
		else
			more = false;
		/* the source waits for it; anything else has no place here any more */
		if (message.type == WIRE_BYE)
			peer_send(incoming_peer(receiver->incoming), WIRE_BYE, NULL, 0, NULL, 0, NULL);
		peer_message_free(&message);
	}
	peer_hang_up(incoming_peer(receiver->incoming));
}
