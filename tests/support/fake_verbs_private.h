/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_verbs_private.h -- what the parts of the fake share: fake_verbs_plan.c (plan and counts), _device.c (devices, memory), _cq.c
 * (completions and events), _qp.c (queue pairs), _nic.c (the thread that does the work), _cm.c and _event.c
 * (connection manager)
 *
 * One lock protects everything; a NIC lets go of it only while it copies, with the queue pairs and memory regions it uses
 * marked. Functions called fake_... here expect the lock to be held unless they say otherwise.
 */
#ifndef SUPPORT_FAKE_VERBS_PRIVATE_H
#define SUPPORT_FAKE_VERBS_PRIVATE_H

#include "support/fake_verbs.h"

#include <pthread.h>
#include <sys/queue.h>

#define FAKE_SGE_MAX 8
#define FAKE_INLINE_MAX 512

/* Which WRITE landed on a page last: over which queue pair, and after how many receive completions of it. */
struct fake_landing {
	uint32_t qp_num, number;
};

struct fake_mr {
	struct ibv_mr base;
	uint64_t iova;
	int access;
	struct fake_landing *landing; /* of each page, where it is registered with relaxed ordering */
	unsigned users;               /* NICs that copy */
	TAILQ_ENTRY(fake_mr) link;
};

struct fake_pd {
	struct ibv_pd base;
	unsigned users; /* memory regions and queue pairs */
};

struct fake_cq_event {
	struct fake_cq *cq;
	TAILQ_ENTRY(fake_cq_event) link;
};

struct fake_comp_channel {
	struct ibv_comp_channel base;
	TAILQ_HEAD(fake_cq_events, fake_cq_event) events;
};

struct fake_cqe {
	struct ibv_wc wc;
	struct fake_qp *qp;
	uint64_t covers; /* send queue: work requests up to this number are done with; 0: it is a receive */
	uint32_t before; /* a receive: what landed with this number, or a smaller one, landed before it */
};

struct fake_cq {
	struct ibv_cq base;
	struct fake_cqe *ring;
	unsigned size, head, count;
	bool armed;
	unsigned users;       /* ends of queue pairs */
	unsigned outstanding; /* events taken and not acknowledged */
};

struct fake_send {
	struct ibv_send_wr wr;
	struct ibv_sge sge[FAKE_SGE_MAX];
	uint8_t bytes[FAKE_INLINE_MAX];
};

struct fake_receive {
	struct ibv_recv_wr wr;
	struct ibv_sge sge[FAKE_SGE_MAX];
};

struct fake_qp {
	struct ibv_qp base;
	struct ibv_qp_cap cap;
	bool signal_all;
	struct fake_device *device;
	struct fake_qp *peer; /* NULL: not connected, or gone */
	unsigned users;       /* NICs that copy to or from it */

	/* running numbers: [free, next) is done or under way, [next, end) waits */
	struct fake_send *send;
	uint64_t send_free, send_next, send_end;
	struct fake_receive *receive;
	uint64_t receive_free, receive_next, receive_end;

	uint32_t landing; /* the number of what lands now */
	uint32_t seen;    /* of what the program knows to have landed */

	uint8_t rnr_timer, rnr_retry, retry, ack_timeout;
	unsigned rnr_tries;
	uint64_t not_before_ns;          /* the work at the head waits */
	uint64_t silent_ns;              /* since when the peer has not answered; 0: it does */
	enum ibv_wc_status break_status; /* of its next work; IBV_WC_SUCCESS: none */
	TAILQ_ENTRY(fake_qp) link;
};

struct fake_async {
	struct ibv_async_event event;
	TAILQ_ENTRY(fake_async) link;
};

struct fake_context {
	struct verbs_context verbs; /* ends with the context that programs know */
	struct fake_device *device;
	TAILQ_HEAD(fake_asyncs, fake_async) events;
	TAILQ_ENTRY(fake_context) link;
};

struct fake_device {
	struct ibv_device base;
	unsigned index;
	bool up, removed;
	struct fake_context *manager; /* the context that all identifiers share */
	TAILQ_HEAD(fake_qps, fake_qp) qps;
	struct fake_qp *turn; /* whose work was done last */
	TAILQ_HEAD(fake_mrs, fake_mr) mrs;
	uint64_t pinned;
	unsigned mr_count;

	pthread_t nic;
	bool running;
	pthread_cond_t work;
};

struct fake_verbs {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* users and outstanding events have become fewer */
	bool ready, stopping, held, cut;
	struct fake_config config;
	struct fake_device device[FAKE_DEVICES_MAX];
	struct fake_plan plan;
	struct fake_counts counts;

	/* since the plan was set */
	uint64_t plan_call[FAKE_CALL_COUNT], plan_calls, plan_writes, plan_completions;

	uint32_t next_key, next_qp_num;
	uintptr_t watch, watch_end;
};

extern struct fake_verbs fake;

/* ---- fake_verbs_plan.c ---- */

/* fake_enter() -- take the lock, make the devices if there are none, count the call: 0, or the errno with which it is to fail */
int fake_enter(enum fake_call call);
void fake_lock(void);
void fake_unlock(void);

/* fake_refuse() -- the program has misused the API in a way that hangs or destroys with the real one: say so and end it */
__attribute__((noreturn, format(printf, 1, 2))) void fake_refuse(const char *format, ...);

/* fake_await_zero() -- until *@counter is 0; what would never be ends the program. Lets go of the lock. */
void fake_await_zero(const unsigned *counter, const char *what);

/* fake_later() -- nanoseconds from now */
uint64_t fake_later(uint64_t ms);

/* an eventfd that counts the entries of a list */
int fake_bell_new(void);
void fake_bell_ring(int fd);
/* fake_bell_undo() -- one entry has been taken off without a read */
void fake_bell_undo(int fd);
/* fake_bell_take() -- read one, blocking as the fd says: 0 or -1 and errno. WITHOUT the lock. */
int fake_bell_take(int fd);

/* ---- fake_verbs_device.c ---- */
void fake_device_init(struct fake_device *device, unsigned index);
void fake_device_destroy(struct fake_device *device);
void fake_device_gone(struct fake_device *device);
struct fake_device *fake_device_of(const struct ibv_context *context);
struct fake_context *fake_context_of(const struct ibv_context *context);
/* fake_context_new() -- of the device; not counted */
struct fake_context *fake_context_new(struct fake_device *device);
void fake_context_free(struct fake_context *context);

/* fake_translate() -- @address in I/O addresses, as an mr of @pd with this key has it; NULL: it has not */
struct fake_mr *fake_translate(const struct ibv_pd *pd, uint32_t key, bool remote, uint64_t address,
			       uint64_t length, int access, uint8_t **memory);

/* ---- fake_verbs_cq.c ---- */
void fake_cq_push(struct fake_cq *cq, const struct fake_cqe *entry);
void fake_cq_forget(struct fake_cq *cq, const struct fake_qp *qp);
int fake_cq_poll(struct ibv_cq *base, int max, struct ibv_wc *wc);
int fake_cq_arm(struct ibv_cq *base, int solicited_only);
void fake_async_push(struct fake_device *device, enum ibv_event_type type, struct fake_qp *qp, struct fake_cq *cq);
void fake_async_forget(struct fake_device *device, const void *element);

/* ---- fake_verbs_qp.c ---- */
int fake_qp_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int fake_qp_receive(struct ibv_qp *base, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int fake_qp_new(struct fake_device *device, struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct fake_qp **qp);
void fake_qp_free(struct fake_qp *qp);
/* fake_qp_fail() -- to the error state, everything that waits flushed */
void fake_qp_fail(struct fake_qp *qp);
/* fake_qp_join() -- what the two ends of a connection have told each other */
void fake_qp_join(struct fake_qp *active, struct fake_qp *passive);
/* fake_qp_complete() -- the send at send_next is done: completion if it wants one or failed */
void fake_qp_complete(struct fake_qp *qp, enum ibv_wc_status status);
/* fake_qp_received() -- the receive at receive_next is done */
void fake_qp_received(struct fake_qp *qp, enum ibv_wc_status status, const struct ibv_send_wr *wr,
		      uint32_t length);

/* ---- fake_verbs_nic.c ---- */
void *fake_nic_run(void *device);

/* ---- fake_verbs_cm.c ---- */
void fake_cm_device_gone(const struct fake_device *device);
void fake_cm_tick(uint64_t now_ns);
uint64_t fake_cm_due_ns(void);
/* fake_cm_disconnected() -- both ends of the connection of @qp are told that it has ended */
void fake_cm_disconnected(const struct fake_qp *qp);
void fake_cm_reset(void);

#endif
