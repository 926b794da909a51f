/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verbs.h -- libibverbs and librdmacm with one convention: 0 or a count on success, -errno on failure
 *
 * The originals have four: -1 and errno, a positive errno, NULL and errno, and for polling a negative number that says
 * nothing. They are turned into one here and nowhere else; the rest of the folder calls nothing that can fail directly.
 */
#ifndef FABRIC_RDMA_VERBS_H
#define FABRIC_RDMA_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- connection manager ---- */
int verbs_event_channel(struct rdma_event_channel **channel); /* its fd does not block */
int verbs_id(struct rdma_event_channel *channel, void *context, struct rdma_cm_id **id);
int verbs_bind(struct rdma_cm_id *id, struct sockaddr *address);
int verbs_listen(struct rdma_cm_id *id, int backlog);
int verbs_resolve_address(struct rdma_cm_id *id, struct sockaddr *source, struct sockaddr *destination, int ms);
int verbs_resolve_route(struct rdma_cm_id *id, int ms);
int verbs_ack_timeout(struct rdma_cm_id *id, uint8_t exponent); /* 4.096 us x 2^exponent; before resolve_route */
int verbs_connect(struct rdma_cm_id *id, struct rdma_conn_param *param);
int verbs_accept(struct rdma_cm_id *id, struct rdma_conn_param *param);
int verbs_reject(struct rdma_cm_id *id, const void *data, uint8_t length);
int verbs_disconnect(struct rdma_cm_id *id);
int verbs_event(struct rdma_event_channel *channel, struct rdma_cm_event **event); /* -EAGAIN: none */
int verbs_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr);

/* ---- devices and their objects ---- */
int verbs_devices(const char *name); /* how many libibverbs can drive; with @name only that one: 0 or 1 */
int verbs_query_device(struct ibv_context *context, struct ibv_device_attr *attr);
/* verbs_on_demand() -- 1: it registers memory without pinning it, for what a reliable connection writes; 0: it does not */
int verbs_on_demand(struct ibv_context *context);
int verbs_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr);
int verbs_pd(struct ibv_context *context, struct ibv_pd **pd);
int verbs_register(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, int access, struct ibv_mr **mr);
/* verbs_prefetch() -- have the device look up the pages of what was registered on demand, before it needs them; a hint */
void verbs_prefetch(struct ibv_mr *mr, uint64_t iova, bool write);
int verbs_deregister(struct ibv_mr *mr);
int verbs_completion_channel(struct ibv_context *context, struct ibv_comp_channel **channel); /* does not block */
int verbs_cq(struct ibv_context *context, int entries, struct ibv_comp_channel *channel, struct ibv_cq **cq);

/* ---- work ---- */
int verbs_post_send(struct ibv_qp *qp, struct ibv_send_wr *list);
int verbs_post_receive(struct ibv_qp *qp, struct ibv_recv_wr *list);
int verbs_poll(struct ibv_cq *cq, int max, struct ibv_wc *completions); /* their number */
int verbs_arm(struct ibv_cq *cq);
int verbs_take_notice(struct ibv_comp_channel *channel); /* acknowledges all there are; their number */
int verbs_fail_qp(struct ibv_qp *qp);                    /* moves it to the error state: everything is flushed */

#endif
