/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_verbs_nic.c -- the thread that does a fake device's work
 *
 * It takes one work request of each queue pair in turn, so that those of a connection are done in order and those of two
 * connections are not. For both ends of a transfer it checks what their devices would check, then copies without the lock: a
 * plain copy, which TSan sees.
 */
#include "support/fake_verbs_private.h"

#include "util/bitmap.h"
#include "util/clock.h"
#include "util/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* not a completion's status: try again when qp->not_before_ns has come */
#define LATER ((enum ibv_wc_status) - 1)

#define RNR_FOREVER 7
#define PAGE 4096u
#define RESEND_NS (10 * NSEC_PER_MSEC)

struct span {
	uint8_t *memory;
	uint64_t length;
	struct fake_mr *mr; /* NULL: inside the work request */
};

struct job {
	struct span from[FAKE_SGE_MAX], to[FAKE_SGE_MAX];
	int from_count, to_count;
	uint64_t length;
	bool takes_receive;
	enum ibv_wc_status peer_status; /* of the receive, where the work fails */
};

/* ---- waiting ---- */

/* The timers of a receiver that is not ready, in units of 10 us, by their code. */
static uint64_t rnr_ns(const struct fake_qp *qp)
{
	static const uint32_t units[32] = {
		65536, 1,   2,   3,   4,    6,    8,    12,   16,   24,   32,   48,    64,    96,    128,   192,
		256,   384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
	};

	if (fake.config.rnr_ms != 0)
		return fake.config.rnr_ms * NSEC_PER_MSEC;
	return units[qp->peer->rnr_timer & 31] * (10 * NSEC_PER_USEC);
}

static uint64_t ack_ns(const struct fake_qp *qp)
{
	if (fake.config.ack_ms != 0)
		return fake.config.ack_ms * NSEC_PER_MSEC;
	return (UINT64_C(4096) << qp->ack_timeout) * (qp->retry + 1u);
}

/* Nobody acknowledges: packets are sent again until the retries are used up. */
static enum ibv_wc_status wait_for_peer(struct fake_qp *qp)
{
	const uint64_t now_ns = clock_now_ns();

	if (qp->silent_ns == 0)
		qp->silent_ns = now_ns;
	if (now_ns - qp->silent_ns >= ack_ns(qp))
		return IBV_WC_RETRY_EXC_ERR;
	qp->not_before_ns = now_ns + (ack_ns(qp) / 8 < RESEND_NS ? ack_ns(qp) / 8 : RESEND_NS);
	return LATER;
}

static enum ibv_wc_status wait_for_receive(struct fake_qp *qp)
{
	fake.counts.not_ready++;
	if (qp->rnr_retry != RNR_FOREVER && qp->rnr_tries >= qp->rnr_retry)
		return IBV_WC_RNR_RETRY_EXC_ERR;
	qp->rnr_tries++;
	qp->not_before_ns = clock_now_ns() + rnr_ns(qp);
	return LATER;
}

/* ---- what both devices check ---- */

static bool is_write(const struct fake_send *send)
{
	return send->wr.opcode == IBV_WR_RDMA_WRITE || send->wr.opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
}

static bool is_heard(const struct fake_qp *qp)
{
	return !fake.cut && qp->device->up && qp->peer != NULL && qp->peer->device->up &&
	       (qp->peer->base.state == IBV_QPS_RTR || qp->peer->base.state == IBV_QPS_RTS);
}

static bool gather(const struct fake_qp *qp, struct fake_send *send, struct job *job)
{
	if ((send->wr.send_flags & IBV_SEND_INLINE) != 0) {
		job->length = send->wr.num_sge > 0 ? send->sge[0].length : 0;
		job->from[0] = (struct span){ send->bytes, job->length, NULL };
		job->from_count = 1;
		return true;
	}
	for (int i = 0; i < send->wr.num_sge; i++) {
		const struct ibv_sge *sge = &send->sge[i];
		struct span *span = &job->from[job->from_count++];

		span->length = sge->length;
		span->mr = fake_translate(qp->base.pd, sge->lkey, false, sge->addr, sge->length, 0, &span->memory);
		if (span->mr == NULL)
			return false;
		job->length += sge->length;
	}
	return true;
}

/* A device does not look at the key of a WRITE of nothing. */
static bool aim_write(const struct fake_qp *qp, const struct fake_send *send, struct job *job)
{
	struct span *span = &job->to[0];

	if (job->length == 0)
		return true;
	job->to_count = 1;
	span->length = job->length;
	span->mr = fake_translate(qp->peer->base.pd, send->wr.wr.rdma.rkey, true, send->wr.wr.rdma.remote_addr,
				  job->length, IBV_ACCESS_REMOTE_WRITE, &span->memory);
	return span->mr != NULL;
}

static enum ibv_wc_status aim_send(const struct fake_qp *qp, struct job *job)
{
	const struct fake_qp *peer = qp->peer;
	const struct fake_receive *receive = &peer->receive[peer->receive_next % peer->cap.max_recv_wr];
	uint64_t room = 0;

	for (int i = 0; i < receive->wr.num_sge; i++) {
		const struct ibv_sge *sge = &receive->sge[i];
		struct span *span = &job->to[job->to_count++];

		span->length = sge->length;
		span->mr = fake_translate(peer->base.pd, sge->lkey, false, sge->addr, sge->length,
					  IBV_ACCESS_LOCAL_WRITE, &span->memory);
		if (span->mr == NULL) {
			job->peer_status = IBV_WC_LOC_PROT_ERR;
			return IBV_WC_REM_OP_ERR;
		}
		room += sge->length;
	}
	if (room < job->length) {
		job->peer_status = IBV_WC_LOC_LEN_ERR;
		return IBV_WC_REM_INV_REQ_ERR;
	}
	return IBV_WC_SUCCESS;
}

static bool receiver_is_ready(const struct fake_qp *qp)
{
	if (fake.plan.not_ready > 0) {
		fake.plan.not_ready--;
		return false;
	}
	return qp->peer->receive_next < qp->peer->receive_end;
}

static enum ibv_wc_status check(struct fake_qp *qp, struct fake_send *send, struct job *job)
{
	const enum ibv_wc_status broken = qp->break_status;

	job->takes_receive = send->wr.opcode != IBV_WR_RDMA_WRITE;
	if (broken != IBV_WC_SUCCESS)
		return broken;
	if (!gather(qp, send, job))
		return IBV_WC_LOC_PROT_ERR;
	if (!is_heard(qp))
		return wait_for_peer(qp);
	qp->silent_ns = 0;
	if (job->takes_receive && !receiver_is_ready(qp))
		return wait_for_receive(qp);
	if (is_write(send))
		return aim_write(qp, send, job) ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR;
	return aim_send(qp, job);
}

/* ---- doing it ---- */

struct piece {
	void *to;
	const void *from;
	uint64_t length;
};

static void copy_piece(void *opaque)
{
	const struct piece *piece = opaque;

	memcpy(piece->to, piece->from, piece->length);
}

/* Memory that has failed under a registration is an error of the end whose memory it is. */
static enum ibv_wc_status copy_guarded(void *to, const void *from, uint64_t length)
{
	const struct fault_range ranges[] = { { from, length }, { to, length } };
	struct piece piece = { .to = to, .from = from, .length = length };
	struct fault fault;

	if (fault_guard(ranges, 2, copy_piece, &piece, &fault) == 0)
		return IBV_WC_SUCCESS;
	return fault.address - (uintptr_t)from < length ? IBV_WC_LOC_PROT_ERR : IBV_WC_REM_OP_ERR;
}

static enum ibv_wc_status copy(const struct job *job)
{
	uint64_t done = 0, from_at = 0, to_at = 0;
	enum ibv_wc_status status = IBV_WC_SUCCESS;
	int from = 0, to = 0;

	while (status == IBV_WC_SUCCESS && done < job->length) {
		const struct span *source = &job->from[from], *target = &job->to[to];
		uint64_t n = source->length - from_at;

		if (n > target->length - to_at)
			n = target->length - to_at;
		status = copy_guarded(target->memory + to_at, source->memory + from_at, n);
		done += n;
		from_at += n;
		to_at += n;
		if (from_at == source->length) {
			from++;
			from_at = 0;
		}
		if (to_at == target->length) {
			to++;
			to_at = 0;
		}
	}
	return status;
}

static void mark(struct fake_qp *qp, struct fake_qp *peer, const struct job *job, int by)
{
	qp->users += (unsigned)by;
	peer->users += (unsigned)by;
	for (int i = 0; i < job->from_count; i++) {
		if (job->from[i].mr != NULL)
			job->from[i].mr->users += (unsigned)by;
	}
	for (int i = 0; i < job->to_count; i++)
		job->to[i].mr->users += (unsigned)by;
}

static void count(const struct fake_send *send, const struct job *job)
{
	const bool write = is_write(send);

	fake.counts.writes += write;
	fake.counts.sends += !write;
	fake.counts.write_bytes += write ? job->length : 0;
	for (int i = 0; write && i < job->from_count; i++) {
		const uintptr_t at = (uintptr_t)job->from[i].memory;

		if (at >= fake.watch && at < fake.watch_end && job->from[i].length <= fake.watch_end - at)
			fake.counts.watched_bytes += job->from[i].length;
	}
}

static void succeed(struct fake_qp *qp, struct fake_send *send, const struct job *job)
{
	struct fake_qp *peer = qp->peer;

	count(send, job);
	if (job->takes_receive && peer->base.state != IBV_QPS_ERR)
		fake_qp_received(peer, IBV_WC_SUCCESS, &send->wr, (uint32_t)job->length);
	fake_qp_complete(qp, qp->base.state == IBV_QPS_ERR ? IBV_WC_WR_FLUSH_ERR : IBV_WC_SUCCESS);
}

/* What the peer refused has failed there too. */
static void fail(struct fake_qp *qp, const struct job *job, enum ibv_wc_status status)
{
	struct fake_qp *peer = qp->peer;

	fake_qp_complete(qp, status);
	fake_qp_fail(qp);
	if (peer == NULL)
		return;
	if (status == IBV_WC_REM_ACCESS_ERR)
		fake_async_push(peer->device, IBV_EVENT_QP_ACCESS_ERR, peer, NULL);
	if (job->peer_status != IBV_WC_SUCCESS && peer->base.state != IBV_QPS_ERR)
		fake_qp_received(peer, job->peer_status, NULL, 0);
	if (status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR || status == IBV_WC_REM_OP_ERR)
		fake_qp_fail(peer);
}

/*
 * Relaxed ordering: what a receiver has seen a completion after is in memory, and nothing else is in any order. The pages of a WRITE that
 * were written once before that, as a bitmap: they keep what they have. NULL: there are none.
 */
static uint64_t *find_unordered(const struct fake_qp *peer, const struct job *job)
{
	const struct span *span = &job->to[0];
	const uint64_t offset = (uint64_t)(span->memory - (uint8_t *)span->mr->base.addr);
	const uint64_t pages = (offset % PAGE + job->length + PAGE - 1) / PAGE;
	uint64_t *unordered = NULL;

	for (uint64_t i = 0; i < pages; i++) {
		struct fake_landing *landing = &span->mr->landing[offset / PAGE + i];

		if (landing->qp_num == peer->base.qp_num && landing->number > peer->seen) {
			if (unordered == NULL)
				unordered = bitmap_new(pages);
			if (unordered == NULL)
				fake_refuse("out of memory");
			bitmap_set(unordered, i);
			fake.counts.unordered++;
		}
		*landing = (struct fake_landing){ peer->base.qp_num, peer->landing };
	}
	return unordered;
}

static enum ibv_wc_status copy_but(const struct job *job, const uint64_t *unordered)
{
	const uint64_t lead = (uint64_t)(job->to[0].memory - (uint8_t *)job->to[0].mr->base.addr) % PAGE;
	enum ibv_wc_status status = IBV_WC_SUCCESS;
	uint64_t at = 0;

	for (uint64_t i = 0; status == IBV_WC_SUCCESS && at < job->length; i++) {
		const uint64_t end = (i + 1) * PAGE - lead < job->length ? (i + 1) * PAGE - lead : job->length;

		if (!bitmap_test(unordered, i))
			status = copy_guarded(job->to[0].memory + at, job->from[0].memory + at, end - at);
		at = end;
	}
	return status;
}

/* Without the lock in between: either end may fail meanwhile, but neither can go. */
static void carry_out(struct fake_qp *qp, struct fake_send *send, const struct job *job)
{
	struct fake_qp *peer = qp->peer;
	uint64_t *unordered = NULL;
	enum ibv_wc_status status;

	mark(qp, peer, job, 1);
	/* one piece is what decant's are; more of them stay in order */
	if (is_write(send) && job->to_count > 0 && job->from_count == 1 && job->to[0].mr->landing != NULL)
		unordered = find_unordered(peer, job);
	fake_unlock();
	status = unordered != NULL ? copy_but(job, unordered) : copy(job);
	free(unordered);
	fake_lock();
	mark(qp, peer, job, -1);
	if (status != IBV_WC_SUCCESS && qp->base.state != IBV_QPS_ERR)
		fail(qp, job, status);
	else
		succeed(qp, send, job);
	if (peer->base.state == IBV_QPS_ERR)
		fake_qp_fail(peer);
	if (qp->base.state == IBV_QPS_ERR)
		fake_qp_fail(qp);
	pthread_cond_broadcast(&fake.changed);
}

static void follow_plan(struct fake_qp *qp, const struct fake_send *send)
{
	const struct fake_plan *plan = &fake.plan;

	if (!is_write(send) || qp->silent_ns != 0 || qp->rnr_tries != 0)
		return;
	fake.plan_writes++;
	if (plan->break_at == fake.plan_writes)
		qp->break_status = plan->break_status != IBV_WC_SUCCESS ? plan->break_status
									: IBV_WC_RETRY_EXC_ERR;
	if (plan->cut_at == fake.plan_writes)
		fake.cut = true;
	if (plan->disconnect_at == fake.plan_writes)
		fake_cm_disconnected(qp);
	if (plan->remove_at == fake.plan_writes)
		fake_device_gone(qp->device);
}

static void work(struct fake_qp *qp)
{
	struct fake_send *send = &qp->send[qp->send_next % qp->cap.max_send_wr];
	struct job job = { .peer_status = IBV_WC_SUCCESS };
	enum ibv_wc_status status;

	follow_plan(qp, send);
	if (qp->base.state != IBV_QPS_RTS)
		return;
	status = check(qp, send, &job);
	if (status == IBV_WC_SUCCESS)
		carry_out(qp, send, &job);
	else if (status != LATER)
		fail(qp, &job, status);
}

/* ---- the thread ---- */

static bool is_due(const struct fake_qp *qp, uint64_t now_ns, uint64_t *due_ns)
{
	if (qp->base.state != IBV_QPS_RTS || qp->send_next == qp->send_end)
		return false;
	if (qp->not_before_ns <= now_ns)
		return true;
	if (qp->not_before_ns < *due_ns)
		*due_ns = qp->not_before_ns;
	return false;
}

/* the one after the last; NULL: none before @due_ns */
static struct fake_qp *next_qp(struct fake_device *device, uint64_t now_ns, uint64_t *due_ns)
{
	struct fake_qp *first = NULL, *qp;
	bool passed = device->turn == NULL;

	TAILQ_FOREACH(qp, &device->qps, link)
	{
		if (is_due(qp, now_ns, due_ns)) {
			if (passed)
				return qp;
			first = first != NULL ? first : qp;
		}
		passed |= qp == device->turn;
	}
	return first;
}

static void sleep_until(struct fake_device *device, uint64_t due_ns)
{
	const uint64_t event_ns = fake_cm_due_ns();
	const struct timespec due = clock_timespec(event_ns < due_ns ? event_ns : due_ns);

	if ((event_ns < due_ns ? event_ns : due_ns) == CLOCK_NEVER)
		pthread_cond_wait(&device->work, &fake.lock);
	else
		pthread_cond_clockwait(&device->work, &fake.lock, CLOCK_MONOTONIC, &due);
}

void *fake_nic_run(void *arg)
{
	struct fake_device *device = arg;

	fake_lock();
	while (!fake.stopping) {
		const uint64_t now_ns = clock_now_ns();
		uint64_t due_ns = CLOCK_NEVER;
		struct fake_qp *qp = NULL;

		fake_cm_tick(now_ns);
		if (!fake.held)
			qp = next_qp(device, now_ns, &due_ns);
		if (qp == NULL) {
			sleep_until(device, due_ns);
			continue;
		}
		device->turn = qp;
		work(qp);
	}
	fake_unlock();
	return NULL;
}
