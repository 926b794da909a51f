/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/stats.h -- what a migration has done and is doing */
#ifndef DECANT_STATS_H
#define DECANT_STATS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define DECANT_PASSES_MAX 64  /* passes kept in the statistics; later ones are added up in the last */
#define DECANT_VCPUS_KEPT 256 /* vCPUs of which the statistics tell one by one */
#define DECANT_STAMPS_MAX 16  /* more than there are states */

/*
 * Where a migration is, seen from the source.
 *
 * The order is the order of time; only decant_migration_run() moves it on.
 * Up to and including SWITCHOVER the source's guest is the one that runs or will run, and cancel is possible. From GO on
 * the source's guest stays paused until the destination has proved what became of it.
 */
enum decant_migration_state {
	DECANT_STATE_NEW,        /* made, not run */
	DECANT_STATE_CONNECTING, /* control connection, hello, shape, channels */
	DECANT_STATE_PRECOPY,    /* passes; the guest runs */
	DECANT_STATE_SWITCHOVER, /* the source's guest is paused, no GO was sent */
	DECANT_STATE_GO,         /* GO was given to the socket: the point of no return */
	DECANT_STATE_COMPLETED,  /* RUNNING came back: the destination has it */
	DECANT_STATE_FAILED,     /* it failed, the guest runs (or is paused, as it was before) on the source */
	DECANT_STATE_CANCELLED,  /* the same, because somebody asked for it */
	DECANT_STATE_IN_DOUBT,   /* GO was sent and nothing is known: the source's guest is paused */
};

/* decant_strstate() -- the state's name in lower case, static; "unknown" for any other value */
const char *decant_strstate(enum decant_migration_state state);

enum decant_verdict_status {
	DECANT_VERDICT_NONE, /* this guest cannot judge */
	DECANT_VERDICT_OK,
	DECANT_VERDICT_BAD,
};

/* What the guest itself says after it has looked at all its memory. */
struct decant_verdict {
	enum decant_verdict_status status;
	uint64_t pause_ns;  /* the largest gap the guest saw since the migration's start */
	uint64_t work_rate; /* units of the guest's work per second since the last start */
	char text[160];     /* one line: what is wrong, and where first */
};

struct decant_pass {
	uint64_t ns;          /* its time */
	uint64_t bytes;       /* guest memory sent in it */
	uint64_t dirty_pages; /* pages of 4 KiB that were dirty when it began (pass 1: pages that had data) */
};

/* What was to be expected after a pass. */
struct decant_forecast {
	uint64_t made_ns;     /* when, since the start; 0: none was made then */
	uint64_t left_ns;     /* from then to the end; 0: could not be told */
	uint64_t downtime_ns; /* of that the pause */
};

struct decant_stats {
	size_t size; /* sizeof(struct decant_stats) */
	enum decant_migration_state state;
	char fabric[16]; /* the one that is in use now */
	char fabric_reason
		[192]; /* why it is that one: which rails reach each other, or why there is no RDMA, or none any more */
	uint32_t channels;
	uint32_t failovers; /* times the data went on over another connection */

	uint64_t ram_bytes;
	uint64_t data_bytes;      /* of them, what had pages behind it in pass 1 */
	uint64_t sent_bytes;      /* guest memory sent, all passes */
	uint64_t pages_sent;      /* of 4 KiB */
	uint64_t pages_skipped;   /* zero pages not sent in pass 1 */
	uint64_t remaining_bytes; /* known to be unsent now */
	uint64_t inline_pages;    /* travelled on the control connection */
	uint64_t writes;          /* writes given to the fabric */

	uint32_t passes; /* begun so far, the last with the guest paused included */
	struct decant_pass pass[DECANT_PASSES_MAX];
	uint32_t progress_permille; /* never runs backwards */

	uint64_t throughput_Bps;       /* of pass 1: payload by its time */
	uint64_t rate_Bps;             /* now; of what is dirty, not of clean pages sent between */
	uint64_t dirty_rate_Bps;       /* as seen in the last pass */
	uint64_t forecast_downtime_ns; /* of the pause to come; if no end is in sight: of one now */
	uint64_t forecast_total_ns;    /* from now to the end; 0: no forecast yet, or none possible */

	uint64_t setup_ns; /* start to the first byte of guest memory */
	uint64_t total_ns; /* start to RUNNING received */
	uint64_t downtime_ns; /* first vCPU out of KVM_RUN at the source to first vCPU into it at the destination, less verify */
	uint64_t downtime_bound_ns; /* the same on one clock: to RUNNING received, less verify */
	uint64_t verify_ns;         /* time that --verify took inside the pause */
	uint64_t clock_error_ns;    /* how far the two hosts' clocks may be apart after matching */
	uint64_t source_cpu_ns;     /* of decant's threads at the source */
	uint64_t dest_cpu_ns;       /* of decant's threads at the destination */
	uint64_t source_allocated;  /* guest memory backed by pages at hand-over */
	uint64_t dest_allocated;    /* the same at the destination, before its guest started */
	int verified;               /* 1: compared and equal */
	struct decant_verdict verdict;

	struct decant_forecast forecast[DECANT_PASSES_MAX]; /* after the pass of the same number */
	/*
	 * Once it has completed, and was never in doubt: how many forecasts there are from the second pass on, and how far off the worst of them was, in
	 * thousandths of what came; of the time left, and of the pause.
	 */
	uint32_t forecasts_judged;
	uint32_t forecast_left_error_permille;
	uint32_t forecast_downtime_error_permille;
	uint64_t pages_looked; /* of those that had data in pass 1, how many were looked at for zeros */

	/* with DECANT_NOT_CONVERGING_THROTTLE: thousandths of its time that a vCPU is kept from running */
	uint32_t throttle_permille;     /* now, of the vCPU that is slowed most; 0: none is */
	uint32_t throttle_max_permille; /* the most there was */
	uint64_t throttle_ns;           /* how long any vCPU has been slowed */
	uint32_t throttle_vcpus;        /* vCPUs in the next, at most DECANT_VCPUS_KEPT; 0: nothing was slowed */
	uint16_t throttle_vcpu_max_permille[DECANT_VCPUS_KEPT];
	int throttle_alike;       /* 1: nobody knows which vCPUs dirty, so all were slowed alike */
	uint64_t zero_copy_bytes; /* of sent_bytes, those that the kernel sent without a copy (MSG_ZEROCOPY) */
	/*
	 * When each enum decant_migration_state was come to, on this host's CLOCK_MONOTONIC; 0: not at all. At the destination: CONNECTING is the
	 * source's hello, PRECOPY that memory can come, SWITCHOVER the source's guest was paused, GO its coming, COMPLETED that the guest runs here.
	 */
	uint64_t state_ns[DECANT_STAMPS_MAX];
	int64_t clock_offset_ns; /* the destination's clock less the source's; known from GO on */
};

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
