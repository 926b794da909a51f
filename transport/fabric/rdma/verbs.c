/* SPDX-License-Identifier: BSD-2-Clause */
/* verbs.c -- libibverbs and librdmacm with one convention */
#include "fabric/rdma/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A failure without a reason must not look like success. */
static int from_errno(void)
{
	return errno != 0 ? -errno : -EIO;
}

/* -1 and errno; some providers return the errno itself, with either sign */
static int from_return(int rc)
{
	if (rc == 0)
		return 0;
	if (rc == -1)
		return from_errno();
	return rc > 0 ? -rc : rc;
}

/* -EAGAIN is the fabric's word for "full, wait": from a device it would be waited for without end. */
static int from_work(int rc)
{
	rc = from_return(rc);
	return rc == -EAGAIN ? -ENOBUFS : rc;
}

static int unblock(int fd)
{
	const int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int verbs_event_channel(struct rdma_event_channel **channel)
{
	int rc;

	errno = 0;
	*channel = rdma_create_event_channel();
	if (*channel == NULL)
		return from_errno();
	rc = unblock((*channel)->fd);
	if (rc < 0) {
		rdma_destroy_event_channel(*channel);
		*channel = NULL;
	}
	return rc;
}

int verbs_id(struct rdma_event_channel *channel, void *context, struct rdma_cm_id **id)
{
	return from_return(rdma_create_id(channel, id, context, RDMA_PS_TCP));
}

int verbs_bind(struct rdma_cm_id *id, struct sockaddr *address)
{
	return from_return(rdma_bind_addr(id, address));
}

int verbs_listen(struct rdma_cm_id *id, int backlog)
{
	return from_return(rdma_listen(id, backlog));
}

int verbs_resolve_address(struct rdma_cm_id *id, struct sockaddr *source, struct sockaddr *destination, int ms)
{
	return from_return(rdma_resolve_addr(id, source, destination, ms));
}

int verbs_resolve_route(struct rdma_cm_id *id, int ms)
{
	return from_return(rdma_resolve_route(id, ms));
}

int verbs_ack_timeout(struct rdma_cm_id *id, uint8_t exponent)
{
	return from_return(
		rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &exponent, sizeof(exponent)));
}

int verbs_connect(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
	return from_return(rdma_connect(id, param));
}

int verbs_accept(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
	return from_return(rdma_accept(id, param));
}

int verbs_reject(struct rdma_cm_id *id, const void *data, uint8_t length)
{
	return from_return(rdma_reject(id, data, length));
}

int verbs_disconnect(struct rdma_cm_id *id)
{
	return from_return(rdma_disconnect(id));
}

int verbs_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
	return from_return(rdma_get_cm_event(channel, event));
}

int verbs_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	return from_return(rdma_create_qp(id, pd, attr));
}

int verbs_devices(const char *name)
{
	struct ibv_device **list;
	int there, found = 0;

	errno = 0;
	list = ibv_get_device_list(&there);
	if (list == NULL)
		return from_errno();
	for (int i = 0; i < there; i++)
		found += name == NULL || strcmp(ibv_get_device_name(list[i]), name) == 0;
	ibv_free_device_list(list);
	return found;
}

int verbs_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	return from_return(ibv_query_device(context, attr));
}

int verbs_on_demand(struct ibv_context *context)
{
	const uint32_t needed = IBV_ODP_SUPPORT_WRITE;
	struct ibv_device_attr_ex attr;
	const int rc = from_return(ibv_query_device_ex(context, NULL, &attr));

	if (rc < 0)
		return rc;
	return (attr.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
	       (attr.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed;
}

int verbs_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
	return from_return(ibv_query_port(context, port, attr));
}

int verbs_pd(struct ibv_context *context, struct ibv_pd **pd)
{
	errno = 0;
	*pd = ibv_alloc_pd(context);
	return *pd == NULL ? from_errno() : 0;
}

int verbs_register(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, int access, struct ibv_mr **mr)
{
	errno = 0;
	*mr = ibv_reg_mr_iova(pd, memory, length, iova, access);
	return *mr == NULL ? from_errno() : 0;
}

void verbs_prefetch(struct ibv_mr *mr, uint64_t iova, bool write)
{
	struct ibv_sge all = { .addr = iova, .length = (uint32_t)mr->length, .lkey = mr->lkey };
	const enum ibv_advise_mr_advice advice = write ? IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE
						       : IBV_ADVISE_MR_ADVICE_PREFETCH;

	/* who has no such thing faults its pages in when the first packet comes */
	if (mr->length <= UINT32_MAX)
		(void)ibv_advise_mr(mr->pd, advice, IBV_ADVISE_MR_FLAG_FLUSH, &all, 1);
}

int verbs_deregister(struct ibv_mr *mr)
{
	return from_return(ibv_dereg_mr(mr));
}

int verbs_completion_channel(struct ibv_context *context, struct ibv_comp_channel **channel)
{
	int rc;

	errno = 0;
	*channel = ibv_create_comp_channel(context);
	if (*channel == NULL)
		return from_errno();
	rc = unblock((*channel)->fd);
	if (rc < 0) {
		ibv_destroy_comp_channel(*channel);
		*channel = NULL;
	}
	return rc;
}

int verbs_cq(struct ibv_context *context, int entries, struct ibv_comp_channel *channel, struct ibv_cq **cq)
{
	errno = 0;
	*cq = ibv_create_cq(context, entries, NULL, channel, 0);
	return *cq == NULL ? from_errno() : 0;
}

int verbs_post_send(struct ibv_qp *qp, struct ibv_send_wr *list)
{
	struct ibv_send_wr *bad;

	return from_work(ibv_post_send(qp, list, &bad));
}

int verbs_post_receive(struct ibv_qp *qp, struct ibv_recv_wr *list)
{
	struct ibv_recv_wr *bad;

	return from_work(ibv_post_recv(qp, list, &bad));
}

int verbs_poll(struct ibv_cq *cq, int max, struct ibv_wc *completions)
{
	const int n = ibv_poll_cq(cq, max, completions);

	return n < 0 ? -EIO : n;
}

int verbs_arm(struct ibv_cq *cq)
{
	return from_work(ibv_req_notify_cq(cq, 0));
}

int verbs_take_notice(struct ibv_comp_channel *channel)
{
	struct ibv_cq *cq;
	void *context;
	int taken = 0;

	while (ibv_get_cq_event(channel, &cq, &context) == 0) {
		ibv_ack_cq_events(cq, 1);
		taken++;
	}
	return errno == EAGAIN ? taken : from_errno();
}

int verbs_fail_qp(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	return from_return(ibv_modify_qp(qp, &attr, IBV_QP_STATE));
}
