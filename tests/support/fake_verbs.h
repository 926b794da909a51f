/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_verbs.h -- a working RDMA device in the process: what a test program links in the place of libibverbs and librdmacm
 *
 * Theory of operation
 * -------------------
 * It defines the symbols of the two libraries that decant uses, against their own headers, and behind them devices with memory
 * regions, reliable queue pairs, completion queues, completion channels and a connection manager. The queue pairs of
 * one process connect to each other. A thread per device, its NIC, takes the posted work and moves the bytes, checked as a device
 * checks: protection domain, key, range in I/O addresses, access. So a work request is as asynchronous as over a cable, and a
 * reader that does not wait for a completion is a race that TSan sees.
 *
 * It is stricter than any one device, never laxer: a slot of a send queue is free when a completion that covers it has been polled;
 * arming a queue says nothing of completions already in it; the fields of a failed completion that mean nothing hold rubbish;
 * two WRITEs of one page to memory registered with relaxed ordering are in no order unless the program has polled a receive completion
 * that came between them, and then it is the older one that stays;
 * what the real libraries would wait for without end (an event never acknowledged) ends the program with a message.
 *
 * getifaddrs() is defined too: the loopback and one network interface per device, 10.77.<device>.1/24.
 *
 * What it is to do wrong is told by a plan. What is alive is counted, and the program fails at its exit if anything is left.
 */
#ifndef SUPPORT_FAKE_VERBS_H
#define SUPPORT_FAKE_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_DEVICES_MAX 2
#define FAKE_VENDOR_RXE 0xffffffu

/* The calls that can be made to fail. */
#define FAKE_CALLS(X)          \
	X(GETIFADDRS)          \
	X(DEVICE_LIST)         \
	X(OPEN_DEVICE)         \
	X(QUERY_DEVICE)        \
	X(QUERY_PORT)          \
	X(ALLOC_PD)            \
	X(REG_MR)              \
	X(DEREG_MR)            \
	X(ADVISE_MR)           \
	X(CREATE_COMP_CHANNEL) \
	X(CREATE_CQ)           \
	X(REQ_NOTIFY)          \
	X(POLL_CQ)             \
	X(CREATE_QP)           \
	X(MODIFY_QP)           \
	X(POST_SEND)           \
	X(POST_RECV)           \
	X(EVENT_CHANNEL)       \
	X(CREATE_ID)           \
	X(SET_OPTION)          \
	X(BIND_ADDR)           \
	X(LISTEN)              \
	X(RESOLVE_ADDR)        \
	X(RESOLVE_ROUTE)       \
	X(CONNECT)             \
	X(ACCEPT)              \
	X(REJECT)              \
	X(DISCONNECT)          \
	X(GET_CM_EVENT)

#define FAKE_CALL_NAME(name) FAKE_##name,
enum fake_call {
	FAKE_CALLS(FAKE_CALL_NAME) FAKE_CALL_COUNT
};
#undef FAKE_CALL_NAME

struct fake_limits {
	int max_qp_wr, max_cqe, max_sge, max_mr;
	uint32_t max_msg_sz, max_inline;
	uint64_t max_mr_size;
	uint64_t max_pinned; /* bytes registered at once, as a memlock limit would have it; 0: no limit */
};

struct fake_config {
	unsigned devices;          /* 0..FAKE_DEVICES_MAX */
	unsigned bare_interfaces;  /* network interfaces without a device, 10.78.<n>.1/24 */
	struct fake_limits limits; /* of each device */
	bool on_demand;            /* they can register memory without pinning it */
	uint32_t vendor;           /* FAKE_VENDOR_RXE: a device that is software */
	unsigned ack_ms; /* until a peer that does not answer is given up; 0: what the ack timeout and retries say */
	unsigned rnr_ms; /* between two tries at a receiver that is not ready; 0: what its timer says */
};

/* fake_config_default() -- two devices with the limits of a usual NIC, both up */
struct fake_config fake_config_default(void);

/*
 * What goes wrong. Everything zero: nothing. Numbers count from 1, from fake_plan_set() on.
 */
struct fake_failure {
	unsigned nth; /* this call fails; 0: none */
	int error;    /* with this errno */
	bool stays;   /* and all after it too */
};

struct fake_plan {
	struct fake_failure fail[FAKE_CALL_COUNT];
	struct fake_failure fail_any; /* the nth call of any of them but DEREG_MR */

	uint64_t break_at;               /* the n-th WRITE on the wire fails ... */
	enum ibv_wc_status break_status; /* ... with this; 0: IBV_WC_RETRY_EXC_ERR */
	uint64_t cut_at;                 /* before the n-th WRITE the network is cut, as by fake_cut() */
	uint64_t disconnect_at;          /* at the n-th WRITE its connection is ended by the manager */
	uint64_t remove_at;              /* at the n-th WRITE its device is removed */
	uint64_t lose_completion;        /* the n-th completion of a successful send never reaches its queue */
	bool lose_rest;                  /* and none after it does */
	unsigned not_ready;              /* so many SENDs find no receive, posted or not */
	bool silent;                     /* a connection request is never answered */
	bool no_address, no_route;       /* resolving ends in an error event */
};

struct fake_counts {
	/* since fake_reset() */
	uint64_t call[FAKE_CALL_COUNT];
	uint64_t posts;         /* calls of ibv_post_send() that took anything */
	uint64_t work_requests; /* of them */
	uint64_t writes, sends; /* carried out */
	uint64_t write_bytes;
	uint64_t watched_bytes; /* of WRITEs whose source is memory given to fake_watch() */
	uint64_t signalled;     /* work requests posted with IBV_SEND_SIGNALED */
	uint64_t completions;   /* entered into queues, of sends and receives */
	uint64_t send_completions;
	uint64_t notices;            /* completion events */
	uint64_t relaxed, on_demand; /* registrations with relaxed ordering; that pin nothing */
	uint64_t prefetched;         /* bytes */
	uint64_t unordered;          /* pages whose WRITE was not ordered after the one before it: see above */
	uint64_t not_ready;          /* SENDs that found no receive */
	uint64_t overruns;           /* completions for which a queue had no room */
	uint64_t failed;             /* calls that the plan made fail */
	uint64_t registered_most;    /* bytes, at any one time */

	/* now */
	unsigned contexts, pds, mrs, comp_channels, cqs, qps, event_channels, ids, lists;
	unsigned unacknowledged; /* events of all kinds */
	uint64_t registered;     /* bytes */
};

/* fake_reset() -- new devices, no plan, counts at zero. Nothing may be alive: fails the program. Before it: the default. */
void fake_reset(const struct fake_config *config);

/* fake_plan_set() -- from now on; NULL: nothing goes wrong */
void fake_plan_set(const struct fake_plan *plan);

void fake_counts(struct fake_counts *counts);

/* fake_leaks() -- what is alive, in words; "" if nothing is. Returns @text. */
const char *fake_leaks(char *text, size_t size);

/* fake_watch() -- count the bytes that WRITEs take straight from here */
void fake_watch(const void *memory, size_t length);

/* fake_cut() -- nothing passes between any two queue pairs or managers any more, or does again */
void fake_cut(bool cut);

/* fake_port_set() -- the device's port goes up or down: no work is carried out, no address resolved */
void fake_port_set(unsigned device, bool up);

/* fake_remove() -- the device is gone: its queue pairs fail, its identifiers are told, every call fails with EIO */
void fake_remove(unsigned device);

/* fake_disconnect() -- the manager ends connection @nth of those that stand (0: the oldest); false: there is none */
bool fake_disconnect(unsigned nth);

/* fake_break() -- a queue pair that is connected fails with @status at its next work; false: there is none */
bool fake_break(unsigned nth, enum ibv_wc_status status);

/* fake_hold() -- the NICs stand still, or go on: what is posted stays where it is */
void fake_hold(bool hold);

/* fake_address() -- of the device's network interface; @port in host order */
struct sockaddr_in fake_address(unsigned device, uint16_t port);

#endif
