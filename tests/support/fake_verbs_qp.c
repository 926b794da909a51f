/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_verbs_qp.c -- the fake's queue pairs: making, failing and ending them, and posting to them */
#include "support/fake_verbs_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- completions ---- */

/* Of a failed completion only these fields mean anything. */
static struct ibv_wc completion(const struct fake_qp *qp, uint64_t id, enum ibv_wc_status status)
{
	struct ibv_wc wc;

	memset(&wc, status == IBV_WC_SUCCESS ? 0 : 0xa5, sizeof(wc));
	wc.wr_id = id;
	wc.status = status;
	wc.vendor_err = 0;
	wc.qp_num = qp->base.qp_num;
	return wc;
}

static enum ibv_wc_opcode opcode_of(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_SEND || opcode == IBV_WR_SEND_WITH_IMM ? IBV_WC_SEND : IBV_WC_RDMA_WRITE;
}

void fake_qp_complete(struct fake_qp *qp, enum ibv_wc_status status)
{
	const struct fake_send *send = &qp->send[qp->send_next % qp->cap.max_send_wr];
	const bool wanted = qp->signal_all || (send->wr.send_flags & IBV_SEND_SIGNALED) != 0;
	struct fake_cqe entry = { .wc = completion(qp, send->wr.wr_id, status), .qp = qp };

	entry.covers = ++qp->send_next;
	qp->rnr_tries = 0;
	qp->not_before_ns = 0;
	qp->silent_ns = 0;
	if (status == IBV_WC_SUCCESS)
		entry.wc.opcode = opcode_of(send->wr.opcode);
	if (wanted || status != IBV_WC_SUCCESS)
		fake_cq_push((struct fake_cq *)qp->base.send_cq, &entry);
}

void fake_qp_received(struct fake_qp *qp, enum ibv_wc_status status, const struct ibv_send_wr *wr, uint32_t length)
{
	const struct fake_receive *receive = &qp->receive[qp->receive_next % qp->cap.max_recv_wr];
	struct fake_cqe entry = { .wc = completion(qp, receive->wr.wr_id, status), .qp = qp };

	qp->receive_next++;
	entry.before = qp->landing++;
	if (status == IBV_WC_SUCCESS) {
		entry.wc.opcode = opcode_of(wr->opcode) == IBV_WC_SEND ? IBV_WC_RECV : IBV_WC_RECV_RDMA_WITH_IMM;
		entry.wc.byte_len = length;
		if (wr->opcode == IBV_WR_SEND_WITH_IMM || wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM) {
			entry.wc.wc_flags = IBV_WC_WITH_IMM;
			entry.wc.imm_data = wr->imm_data;
		}
	}
	fake_cq_push((struct fake_cq *)qp->base.recv_cq, &entry);
}

static void flush(struct fake_qp *qp)
{
	/* what a NIC is copying just now it completes itself */
	while (qp->users == 0 && qp->send_next < qp->send_end)
		fake_qp_complete(qp, IBV_WC_WR_FLUSH_ERR);
	while (qp->users == 0 && qp->receive_next < qp->receive_end)
		fake_qp_received(qp, IBV_WC_WR_FLUSH_ERR, NULL, 0);
}

void fake_qp_fail(struct fake_qp *qp)
{
	if (qp->base.state == IBV_QPS_RESET)
		return;
	qp->base.state = IBV_QPS_ERR;
	flush(qp);
}

/* ---- making and ending them ---- */

static int check_shape(const struct ibv_qp_init_attr *attr)
{
	const struct fake_limits *limits = &fake.config.limits;
	const unsigned wr_max = (unsigned)limits->max_qp_wr;
	const unsigned sge_max = (unsigned)(limits->max_sge < FAKE_SGE_MAX ? limits->max_sge : FAKE_SGE_MAX);

	if (attr->qp_type != IBV_QPT_RC || attr->send_cq == NULL || attr->recv_cq == NULL || attr->srq != NULL)
		return EINVAL;
	if (attr->cap.max_send_wr > wr_max || attr->cap.max_recv_wr > wr_max || attr->cap.max_send_sge > sge_max ||
	    attr->cap.max_recv_sge > sge_max || attr->cap.max_inline_data > limits->max_inline)
		return EINVAL;
	return attr->cap.max_send_wr == 0 || attr->cap.max_recv_wr == 0 ? EINVAL : 0;
}

static void count_qp(struct fake_qp *qp, int by)
{
	((struct fake_pd *)qp->base.pd)->users += (unsigned)by;
	((struct fake_cq *)qp->base.send_cq)->users += (unsigned)by;
	((struct fake_cq *)qp->base.recv_cq)->users += (unsigned)by;
	fake.counts.qps += (unsigned)by;
}

int fake_qp_new(struct fake_device *device, struct ibv_pd *pd, struct ibv_qp_init_attr *attr,
		struct fake_qp **made)
{
	struct fake_qp *qp;
	int error = check_shape(attr);

	if (error != 0)
		return error;
	qp = calloc(1, sizeof(*qp));
	if (qp == NULL)
		return ENOMEM;
	qp->send = calloc(attr->cap.max_send_wr, sizeof(*qp->send));
	qp->receive = calloc(attr->cap.max_recv_wr, sizeof(*qp->receive));
	if (qp->send == NULL || qp->receive == NULL)
		fake_refuse("out of memory");
	qp->base = (struct ibv_qp){
		.context = &device->manager->verbs.context,
		.qp_context = attr->qp_context,
		.pd = pd,
		.send_cq = attr->send_cq,
		.recv_cq = attr->recv_cq,
		.qp_num = fake.next_qp_num++,
		.state = IBV_QPS_INIT,
		.qp_type = IBV_QPT_RC,
	};
	qp->cap = attr->cap;
	qp->signal_all = attr->sq_sig_all != 0;
	qp->device = device;
	qp->landing = 1;
	TAILQ_INSERT_TAIL(&device->qps, qp, link);
	count_qp(qp, 1);
	*made = qp;
	return 0;
}

void fake_qp_free(struct fake_qp *qp)
{
	qp->base.state = IBV_QPS_ERR;
	fake_await_zero(&qp->users, "a queue pair in use");
	if (qp->peer != NULL)
		qp->peer->peer = NULL;
	if (qp->device->turn == qp)
		qp->device->turn = NULL;
	TAILQ_REMOVE(&qp->device->qps, qp, link);
	fake_cq_forget((struct fake_cq *)qp->base.send_cq, qp);
	fake_cq_forget((struct fake_cq *)qp->base.recv_cq, qp);
	fake_async_forget(qp->device, &qp->base);
	count_qp(qp, -1);
	free(qp->send);
	free(qp->receive);
	free(qp);
}

void fake_qp_join(struct fake_qp *active, struct fake_qp *passive)
{
	active->peer = passive;
	passive->peer = active;
}

int ibv_modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
{
	struct fake_qp *qp = (struct fake_qp *)base;
	int error = fake_enter(FAKE_MODIFY_QP);

	/* the connection manager does the rest of what a program could ask for */
	if (error == 0 && (mask & ~(IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER)) != 0)
		error = EINVAL;
	if (error == 0 && (mask & IBV_QP_STATE) != 0 && attr->qp_state != IBV_QPS_ERR &&
	    attr->qp_state != base->state)
		error = EINVAL;
	if (error == 0 && (mask & IBV_QP_MIN_RNR_TIMER) != 0)
		qp->rnr_timer = attr->min_rnr_timer;
	if (error == 0 && (mask & IBV_QP_STATE) != 0 && attr->qp_state == IBV_QPS_ERR)
		fake_qp_fail(qp);
	fake_unlock();
	return error;
}

int ibv_query_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask, struct ibv_qp_init_attr *init)
{
	const struct fake_qp *qp = (const struct fake_qp *)base;

	(void)mask;
	fake_lock();
	*attr = (struct ibv_qp_attr){
		.qp_state = base->state,
		.cur_qp_state = base->state,
		.cap = qp->cap,
		.min_rnr_timer = qp->rnr_timer,
		.timeout = qp->ack_timeout,
		.retry_cnt = qp->retry,
		.rnr_retry = qp->rnr_retry,
		.port_num = 1,
	};
	*init = (struct ibv_qp_init_attr){
		.send_cq = base->send_cq,
		.recv_cq = base->recv_cq,
		.cap = qp->cap,
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = qp->signal_all,
	};
	fake_unlock();
	return 0;
}

/* ---- posting ---- */

static uint64_t bytes_of(const struct ibv_sge *sge, int count)
{
	uint64_t bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += sge[i].length;
	return bytes;
}

static int check_send(const struct fake_qp *qp, const struct ibv_send_wr *wr)
{
	if (qp->base.state != IBV_QPS_RTS && qp->base.state != IBV_QPS_ERR)
		return EINVAL;
	if (wr->opcode != IBV_WR_RDMA_WRITE && wr->opcode != IBV_WR_RDMA_WRITE_WITH_IMM &&
	    wr->opcode != IBV_WR_SEND && wr->opcode != IBV_WR_SEND_WITH_IMM)
		return EINVAL;
	if (wr->num_sge < 0 || (unsigned)wr->num_sge > qp->cap.max_send_sge)
		return EINVAL;
	if (bytes_of(wr->sg_list, wr->num_sge) > fake.config.limits.max_msg_sz)
		return EINVAL;
	if ((wr->send_flags & IBV_SEND_INLINE) != 0 &&
	    bytes_of(wr->sg_list, wr->num_sge) > qp->cap.max_inline_data)
		return EINVAL;
	return qp->send_end - qp->send_free >= qp->cap.max_send_wr ? ENOMEM : 0;
}

static void queue_send(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
	struct fake_send *send = &qp->send[qp->send_end++ % qp->cap.max_send_wr];
	size_t length = 0;

	send->wr = *wr;
	send->wr.next = NULL;
	send->wr.sg_list = send->sge;
	for (int i = 0; i < wr->num_sge; i++) {
		send->sge[i] = wr->sg_list[i];
		if ((wr->send_flags & IBV_SEND_INLINE) == 0)
			continue;
		memcpy(send->bytes + length, (const void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
		length += wr->sg_list[i].length;
	}
	if ((wr->send_flags & IBV_SEND_INLINE) != 0) {
		send->sge[0].length = (uint32_t)length;
		send->wr.num_sge = length > 0 ? 1 : 0;
	}
	fake.counts.work_requests++;
	fake.counts.signalled += (wr->send_flags & IBV_SEND_SIGNALED) != 0;
}

int fake_qp_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct fake_qp *qp = (struct fake_qp *)base;
	int error = fake_enter(FAKE_POST_SEND);
	const uint64_t before = qp->send_end;

	for (; wr != NULL && error == 0; wr = wr->next) {
		error = check_send(qp, wr);
		if (error != 0)
			break;
		queue_send(qp, wr);
	}
	*bad = wr;
	fake.counts.posts += qp->send_end > before;
	if (qp->base.state == IBV_QPS_ERR)
		flush(qp);
	pthread_cond_signal(&qp->device->work);
	fake_unlock();
	return error;
}

static int check_receive(const struct fake_qp *qp, const struct ibv_recv_wr *wr)
{
	if (qp->base.state == IBV_QPS_RESET || wr->num_sge < 0 || (unsigned)wr->num_sge > qp->cap.max_recv_sge)
		return EINVAL;
	return qp->receive_end - qp->receive_free >= qp->cap.max_recv_wr ? ENOMEM : 0;
}

int fake_qp_receive(struct ibv_qp *base, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct fake_qp *qp = (struct fake_qp *)base;
	int error = fake_enter(FAKE_POST_RECV);

	for (; wr != NULL && error == 0; wr = wr->next) {
		struct fake_receive *receive = &qp->receive[qp->receive_end % qp->cap.max_recv_wr];

		error = check_receive(qp, wr);
		if (error != 0)
			break;
		receive->wr = *wr;
		receive->wr.sg_list = receive->sge;
		for (int i = 0; i < wr->num_sge; i++)
			receive->sge[i] = wr->sg_list[i];
		qp->receive_end++;
	}
	*bad = wr;
	if (qp->base.state == IBV_QPS_ERR)
		flush(qp);
	fake_unlock();
	return error;
}
