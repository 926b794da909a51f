/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fabric.h -- struct fabric_ops: all that the engine knows of a network
 *
 * Theory of operation
 * -------------------
 * A fabric carries writes into the peer's registered memory, from a *source* to a *sink* (the destination), over one or
 * more *channels*. It is shaped after one-sided RDMA; a fabric without it (TCP, loop) does the same with a thread at the sink.
 *
 *   - A write is posted by reference: the fabric reads the pages later, at any time until a barrier posted after it has
 *     been reported at the sink. Nothing is copied in user space.
 *   - Writes on one channel land in the order in which they were posted; over a fabric that is @relaxed only writes of different
 *     pages may be under way at once: one that overlaps another is posted when a barrier after that has been reported. Between
 *     channels there is no order.
 *   - A barrier is a marker on each channel. The sink reports it (events->barrier) when everything posted before it
 *     on that channel can be seen in the sink's memory. The source's own completions prove nothing.
 *   - fence() at the sink: when it has returned nothing of this sink's channels can land any more and no event will be
 *     called any more. RDMA destroys the QPs, TCP shuts the sockets and joins the receivers.
 *   - Messages are ordered among themselves and against barriers (all on channel 0), and flow-controlled by credits: the
 *     sink gives a credit back when events->message has returned.
 *   - The sink writes only to what has been exposed to it. A write elsewhere kills the channel (-EPROTO at the sink).
 *
 * One (source, sink) pair lives for one *epoch*. When it fails it is not mended: the engine fences the sink and opens another.
 *
 * Threads: a source is used by one thread at a time. A sink's expose() and fence() may be called from any thread, also
 * at once; events come from the sink's own threads, for one channel one at a time; they may block (messages), but
 * must not call back into the sink. source_map(), source_stop() and source_pending() may be called from any thread.
 *
 * Errors: 0 or -errno. -EAGAIN: full, call wait() and try again. Any other error of write, flush, barrier or message means
 * that the epoch is lost; details with last_error().
 */
#ifndef FABRIC_FABRIC_H
#define FABRIC_FABRIC_H

#include <decant/error.h>
#include <decant/log.h>
#include <decant/mover.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FABRIC_TOKEN_SIZE 16 /* bytes that an end of a channel presents to prove whose it is */
#define FABRIC_CHANNELS_MAX 16
#define FABRIC_ADDRESS_MAX 256                 /* bytes of an encoded address */
#define FABRIC_MESSAGE_MAX ((64u << 10) + 64u) /* DECANT_MESSAGE_MAX and the engine's own head */
#define FABRIC_NAME_MAX 16
#define FABRIC_REGIONS_MAX 64
#define FABRIC_RAILS_MAX 8 /* of one host */
#define FABRIC_PAIRS_MAX 2 /* used by one migration: an lkey or rkey holds one 32-bit key per pair */
#define FABRIC_DEVICE_NAME_MAX 32

struct fabric_source;
struct fabric_sink;

/*
 * A rail: one port of one device, by the IP address under which the connection manager knows it. A fabric that needs no
 * device (tcp, loop) has none. WELCOME carries the destination's; the source pairs those that reach each other.
 */
struct fabric_rail {
	char device[FABRIC_DEVICE_NAME_MAX]; /* "mlx5_0" */
	uint8_t port;                        /* of the device, from 1 */
	bool software;                       /* rxe, siw: no NIC does the work */
	int16_t numa_node;                   /* -1: not known */
	uint16_t family;                     /* AF_INET or AF_INET6 */
	uint8_t address[16];                 /* network order, IPv4 in the first four */
	uint32_t scope_id;                   /* of a link-local IPv6 address; of this host, not sent */
	uint32_t speed_mbps;                 /* 0: not known */
};

/* The source's rail and the destination's that reach each other. */
struct fabric_pair {
	struct fabric_rail local, remote;
	uint32_t remote_index; /* in the destination's list */
};

struct fabric_pair_opts {
	const struct fabric_rail *remote; /* the destination's rails */
	uint32_t count;
	const char *rails;   /* --rail: "LOCAL[=REMOTE][,...]", each a device or an address; NULL: any */
	bool hardware_only;  /* leave software rails out */
	int near_node;       /* NUMA node of the memory to be sent, -1: that of the calling thread */
	uint64_t timeout_ns; /* for all of it */
	int wake_fd;         /* becomes readable when it shall end with -ECANCELED; -1: never */
	struct decant_log log;
};

/* Where a sink can be reached: opaque to the engine, which carries it in OPENED. */
struct fabric_address {
	uint32_t length;
	uint8_t bytes[FABRIC_ADDRESS_MAX];
};

/* One write. Never crosses a granule of the engine; @length is a multiple of 4 KiB. */
struct fabric_write {
	uint32_t channel;
	uint32_t region;  /* the engine's index */
	uint64_t offset;  /* in the region, bytes */
	uint32_t length;  /* bytes */
	const void *data; /* source memory */
	uint64_t lkey;    /* from map() */
	uint64_t rkey;    /* from expose() at the sink */
};

struct fabric_sink_events {
	void (*barrier)(void *opaque, uint32_t channel, uint64_t round);
	/* an error return kills the sink with lost() */
	int (*message)(void *opaque, const void *data, size_t length, struct decant_error *err);
	/* the channel is dead; at most once per channel; not called for an orderly close after the last barrier */
	void (*lost)(void *opaque, uint32_t channel, const struct decant_error *why);
};

struct fabric_sink_opts {
	const char *host;  /* local address to listen on, numeric; the control connection's */
	uint32_t channels; /* 1..FABRIC_CHANNELS_MAX */
	uint64_t epoch;
	uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];  /* that the source must show */
	uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE]; /* that are shown to it then */
	uint64_t token_timeout_ns;                  /* they are good for so long; 0: until all channels stand */
	uint64_t region_length[FABRIC_REGIONS_MAX]; /* bytes, 0 beyond the last */
	uint64_t granule_size[FABRIC_REGIONS_MAX];  /* bytes: the unit of expose() */
	uint32_t regions;
	struct fabric_rail rails[FABRIC_PAIRS_MAX]; /* this host's ends of the pairs, in their order */
	uint32_t rail_count;                        /* 0 for a fabric without rails */
	const struct fabric_sink_events *events;
	void *opaque;
	struct decant_log log;
};

struct fabric_source_opts {
	struct fabric_address address;
	const char *peer_host;                      /* the control connection's peer, numeric */
	struct fabric_pair pairs[FABRIC_PAIRS_MAX]; /* channel c uses pair c % pair_count */
	uint32_t pair_count;                        /* 0 for a fabric without rails */
	uint32_t channels;
	uint64_t epoch;
	uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];  /* to show */
	uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE]; /* that the sink must show then */
	uint64_t connect_timeout_ns;
	enum decant_zero_copy zero_copy; /* tcp */
	uint64_t under_way_ns; /* write() says -EAGAIN while more is under way than is carried in so much time; 0: no such bound */
	int wake_fd; /* becomes readable when source_connect() shall end with -ECANCELED; not looked at later; -1: never */
	struct decant_log log;
};

struct fabric_source_stats {
	uint64_t writes;          /* given to write() */
	uint64_t bytes;           /* of them */
	uint64_t posts;           /* calls that gave work to the kernel or device (sendmsg, ibv_post_send) */
	uint64_t completions;     /* of signalled work, where there is such a thing */
	uint64_t cpu_ns;          /* of the fabric's own threads */
	uint64_t zero_copy_bytes; /* of @bytes, those that the kernel sent without a copy; tcp */
};

struct fabric_ops {
	const char *name; /* "tcp" */
	uint32_t default_channels;
	uint32_t write_max;     /* bytes of one write at most */
	bool relaxed;           /* two writes of one page are in no order without a barrier between them */
	uint32_t write_cost_ns; /* what one write takes, on the slower of CPU and NIC, besides its bytes; about */

	/* may a source in process (@boot_id, @pid) use it? NULL: always. loop: only within one process */
	bool (*reaches)(const uint8_t boot_id[16], uint32_t pid);

	/*
	 * NULL for a fabric without rails. rails(): this host's, usable ones only. Returns their number, or why there is none,
	 * in words that say what to do: -ENODEV no device, -ENETDOWN port down, -EADDRNOTAVAIL no address,
	 * -EACCES no permission, -ENOENT provider library or kernel module missing.
	 */
	int (*rails)(struct fabric_rail *rails, uint32_t max, struct decant_error *err);
	/* pairs rails, the fastest and nearest first, each used once; returns their number, or why none reaches (-ENETUNREACH) */
	int (*pair)(const struct fabric_pair_opts *opts, struct fabric_pair *pairs, struct decant_error *err);

	/*
	 * The sink listens when open has returned; channels are accepted by its own threads and must present their token, once, and in
	 * time. It answers with a token of its own, and the source goes on only if that is right: -EACCES.
	 */
	int (*sink_open)(const struct fabric_sink_opts *opts, struct fabric_sink **sink, struct decant_error *err);
	void (*sink_address)(const struct fabric_sink *sink, struct fabric_address *address);
	/* register one granule (or the shorter end of a region) for writing; the memory is populated; idempotent; any thread */
	int (*sink_expose)(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length,
			   void *memory, uint64_t *rkey, struct decant_error *err);
	void (*sink_fence)(struct fabric_sink *sink); /* idempotent */
	uint64_t (*sink_cpu_ns)(const struct fabric_sink *sink);
	void (*sink_close)(struct fabric_sink *sink); /* fences; NULL is fine */

	/* returns when all channels stand */
	int (*source_connect)(const struct fabric_source_opts *opts, struct fabric_source **source,
			      struct decant_error *err);
	/* any thread, several at once, so that it goes on in the background; the key lasts as long as the source */
	int (*source_map)(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
			  struct decant_error *err);
	int (*source_write)(struct fabric_source *source, const struct fabric_write *write);
	int (*source_flush)(
		struct fabric_source *source); /* give everything queued to the wire, do not wait for it */
	int (*source_barrier)(struct fabric_source *source, uint64_t round); /* implies flush */
	int (*source_message)(struct fabric_source *source, const void *data, size_t length);
	/* until what returned -EAGAIN may succeed: 0; -ETIMEDOUT; or why the epoch is lost, which may be that, too: source_last_error() */
	int (*source_wait)(struct fabric_source *source, uint64_t timeout_ns);
	/* all writes queued so far have been read from memory (not: have landed); pacing uses it. Bytes. */
	uint64_t (*source_pending)(const struct fabric_source *source);
	void (*source_last_error)(const struct fabric_source *source, struct decant_error *err);
	void (*source_stats)(const struct fabric_source *source, struct fabric_source_stats *stats);
	/* post nothing more and read guest memory no more; idempotent; any thread; makes blocked calls return -ECANCELED */
	void (*source_stop)(struct fabric_source *source);
	void (*source_close)(struct fabric_source *source); /* stops; NULL is fine */
};

/* fabric_find() -- by name, NULL if this build has none of it. Tests link a table of their own. */
const struct fabric_ops *fabric_find(const char *name);

extern const struct fabric_ops fabric_tcp_ops;
extern const struct fabric_ops fabric_loop_ops;
extern const struct fabric_ops fabric_rdma_ops;

#endif
