/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switchover.c -- the hand-over: pause, the last pages and the state, READY, GO, RUNNING
 *
 * Theory of operation
 * -------------------
 * The order is what makes it safe (docs/protocol.md has the diagram). The pages known to be dirty are re-armed and listed; the
 * vCPUs stop; the list is pushed, and travels while the state is saved, which may dirty memory, listed pages too; the last
 * harvest finds all that was written since the list was made, and is pushed behind it; the state travels while the fabric works;
 * when the destination has acknowledged the last barrier it has everything.
 *
 * Between the pause and GO nothing is allocated, registered, logged or looked up, at either end (tests/integration/pause.c): the
 * list, the room for the state and for the messages that come are there before.
 *
 * Up to READY any failure is undone by resuming the guest here. The point of no return is the moment before the first
 * byte of GO is given to the socket: from then on this end cannot know whether the destination has started the guest, so
 * it never resumes without proof (settle.c).
 */
#include "migration/source.h"

#include "migration/verify.h"
#include "util/clock.h"
#include "util/log.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* --verify hashes all of memory at both ends; at a fraction of any memory's rate it gets so long in all. */
#define VERIFY_NS_BASE (60 * NSEC_PER_SEC)
#define VERIFY_BYTES_PER_NS_INVERSE 20u /* 50 MB/s */

/* How long a destination that lives may take from GO to RUNNING before this end asks by QUERY. */
#define RUNNING_NS (30 * NSEC_PER_SEC)

static uint64_t switchover_timeout_ns(const struct decant_migration *m)
{
	const uint64_t by_limit = 4 * m->opts.max_downtime_ns;

	if (m->opts.switchover_timeout_ns != 0)
		return m->opts.switchover_timeout_ns;
	return by_limit > 500 * NSEC_PER_MSEC ? by_limit : 500 * NSEC_PER_MSEC;
}

/* The switchover timer, or --timeout if that ends earlier. */
static void set_deadline(struct decant_migration *m, uint64_t deadline)
{
	if (m->deadline_ns < deadline)
		mover_set_deadline(m->mover, m->deadline_ns, "the migration did not end within --timeout");
	else
		mover_set_deadline(m->mover, deadline, "the hand-over did not end within --switchover-timeout");
}

static int pause_guest(struct decant_migration *m, struct decant_error *err)
{
	int rc = m->ops.pause(m->vmm, &m->left_ns, err);

	m->paused = rc == 0;
	return rc;
}

/* The stop list travels while the state is saved. What that has written, and the guest since the list was made, follows. */
static int send_pages_and_save(struct decant_migration *m, struct decant_error *err)
{
	uint64_t left;
	int rc;

	precopy_pass_begin(m, m->stop_list.pages);
	rc = stop_list_send(&m->stop_list, m, err);
	if (rc < 0)
		return rc;
	decant_state_writer_reset(m->state);
	rc = m->ops.state_save(m->vmm, m->state, err);
	if (rc == 0)
		rc = precopy_harvest(m, &left, err);
	if (rc < 0)
		return rc;
	precopy_pass_more(m, left / DECANT_PAGE_SIZE);
	return precopy_send(m, true, err);
}

/* The last pages and the state, under one barrier. */
static int send_last(struct decant_migration *m, struct decant_error *err)
{
	const void *bytes;
	size_t length;
	int rc = send_pages_and_save(m, err);

	if (rc == 0)
		rc = mover_barrier_post(m->mover, err);
	if (rc < 0)
		return rc;
	bytes = decant_state_writer_bytes(m->state, &length);
	rc = mover_send_chunks(m->mover, WIRE_STATE, bytes, length, err);
	if (rc == 0)
		rc = mover_barrier_wait(m->mover, err);
	if (rc < 0)
		return rc;
	precopy_pass_end(m);
	m->now.remaining_bytes = 0;
	return 0;
}

/* Its time is neither the pause's nor the switchover timer's. */
static int verify(struct decant_migration *m, uint64_t *deadline, struct decant_error *err)
{
	const uint64_t start = clock_now_ns();
	const uint64_t until = start + VERIFY_NS_BASE +
			       decant_memory_bytes(m->memory) * VERIFY_BYTES_PER_NS_INVERSE;
	int rc;

	if (m->deadline_ns < until)
		set_deadline(m, until);
	else
		mover_set_deadline(m->mover, until, "verify took too long");
	rc = verify_source(m->mover, m->memory, err);
	m->now.verify_ns = clock_now_ns() - start;
	*deadline += m->now.verify_ns;
	m->now.verified = rc == 0;
	return rc;
}

static int await_ready(struct decant_migration *m, struct wire_handover *handover, struct decant_error *err)
{
	struct peer_message message;
	struct wire_ready ready;
	uint8_t head[64];
	int length, rc;

	if (!peer_clock(mover_peer(m->mover), &handover->clock_offset_ns, &handover->clock_error_ns))
		return decant_error_set(err, -EIO, "the clocks of the two hosts could not be matched");
	handover->left_ns = m->left_ns;
	length = wire_handover_encode(handover, head, sizeof(head));
	/* an answer from before the question would be taken for the answer */
	rc = mover_expect_nothing(m->mover, "before HANDOVER", err);
	if (rc == 0)
		rc = mover_send(m->mover, WIRE_HANDOVER, head, (size_t)length, NULL, 0, err);
	if (rc == 0)
		rc = mover_receive(m->mover, WIRE_READY, &message, err);
	if (rc < 0)
		return rc;
	rc = wire_ready_decode(&ready, message.payload, message.length, err);
	peer_message_free(&message);
	if (rc < 0)
		return rc;
	m->lease_ms = ready.lease_ms;
	m->now.dest_allocated = ready.allocated;
	return 0;
}

static void account_pause(struct decant_migration *m, const struct wire_handover *handover,
			  const struct wire_running *running, uint64_t received_ns)
{
	/* both on the destination's clock; wraps rightly */
	const int64_t downtime = (int64_t)(running->entered_ns - (uint64_t)handover->clock_offset_ns - m->left_ns -
					   m->now.verify_ns);
	const uint64_t bound = received_ns - m->left_ns;

	m->now.downtime_ns = downtime > 0 ? (uint64_t)downtime : 0;
	m->now.downtime_bound_ns = bound > m->now.verify_ns ? bound - m->now.verify_ns : 0;
	m->now.clock_error_ns = handover->clock_error_ns;
	m->now.clock_offset_ns = handover->clock_offset_ns;
	m->now.dest_cpu_ns = running->cpu_ns;
}

void switchover_account_settled(struct decant_migration *m)
{
	const uint64_t bound = clock_now_ns() - m->left_ns;

	m->now.downtime_bound_ns = bound > m->now.verify_ns ? bound - m->now.verify_ns : 0;
	m->now.downtime_ns = m->now.downtime_bound_ns;
}

/* GO was sent. 0: it runs there; anything else: in doubt, and why. */
static int await_running(struct decant_migration *m, const struct wire_handover *handover,
			 struct decant_error *err)
{
	struct peer_message message;
	struct wire_running running;
	uint64_t received;
	int rc;

	mover_set_deadline(m->mover, clock_deadline_ns(RUNNING_NS),
			   "the destination has not said that the guest runs");
	rc = mover_receive(m->mover, WIRE_RUNNING, &message, err);
	if (rc < 0)
		return rc;
	received = clock_now_ns();
	rc = wire_running_decode(&running, message.payload, message.length, err);
	peer_message_free(&message);
	if (rc == 0)
		account_pause(m, handover, &running, received);
	return rc;
}

static int settle_after_go(struct decant_migration *m, struct decant_error *err)
{
	struct decant_error why = *err;
	int answer;

	log_warning(&m->opts.log, "GO was sent, and then: %s; asking the destination what became of it", why.msg);
	/* nothing of GO that still lies in the socket may come later than the answer */
	peer_abort(mover_peer(m->mover));
	m->aborted_ns = clock_now_ns();
	m->learnt = settle_doubt(m, clock_deadline_ns(m->lease_ms * NSEC_PER_MSEC + m->opts.peer_timeout_ns),
				 &answer, err);
	if (m->learnt == SOURCE_RUNNING) {
		switchover_account_settled(m);
		return 0;
	}
	if (m->learnt == SOURCE_NEVER) /* an ordinary failure, with the first reason */
		return decant_error_set(err, why.code == -ECANCELED || why.code == -EINPROGRESS ? -EIO : why.code,
					"%s", why.msg);
	return decant_error_set(
		err, -EINPROGRESS,
		"in doubt: GO was sent, and then: %s; the guest stays paused here; the destination at "
		"%s: %s; `resume` asks again, `resume --force` goes on here if it does not run there",
		why.msg, m->peer, settle_explain(answer));
}

int switchover_run(struct decant_migration *m, struct decant_error *err)
{
	struct wire_handover handover;
	uint64_t deadline;
	int rc = migration_step(m, SOURCE_PAUSE, err);

	if (rc == 0)
		rc = stop_list_take(&m->stop_list, m, err);
	/* cancelled since, or the peer is gone: no guest need pause for that */
	if (rc == 0)
		rc = mover_check(m->mover, err);
	if (rc < 0)
		return rc;
	deadline = clock_deadline_ns(switchover_timeout_ns(m));
	set_deadline(m, deadline);
	rc = pause_guest(m, err);
	if (rc == 0)
		rc = send_last(m, err);
	if (rc == 0 && m->opts.verify)
		rc = verify(m, &deadline, err);
	set_deadline(m, deadline);
	if (rc == 0)
		rc = await_ready(m, &handover, err);
	/* READY may have lain there since the timer ended: this thread may have been the one that was away */
	if (rc == 0)
		rc = mover_expect_nothing(m->mover, "before GO", err);
	if (rc == 0)
		rc = migration_step(m, SOURCE_READY, err);
	if (rc < 0)
		return rc;

	rc = peer_send(mover_peer(m->mover), WIRE_GO, NULL, 0, NULL, 0, err);
	if (rc == 0)
		rc = await_running(m, &handover, err);
	return rc == 0 ? 0 : settle_after_go(m, err);
}
