/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp.h -- what the files of the TCP fabric share: its address, its sockets, its threads */
#ifndef TCP_TCP_H
#define TCP_TCP_H

#include "fabric/fabric.h"

#include <pthread.h>

#define TCP_WRITE_MAX (1u << 20) /* bytes of one write: two fill a frame */
#define TCP_CREDITS 16u          /* messages that may be on their way */
#define TCP_DEAD_PEER_MS 5000    /* silence in which a peer with work to answer for counts as gone */

/* tcp_address_encode(), tcp_address_decode() -- the sink's port; the host is that of the control connection */
void tcp_address_encode(struct fabric_address *address, uint16_t port);
int tcp_address_decode(const struct fabric_address *address, uint16_t *port, struct decant_error *err);

/* tcp_socket_prepare() -- make a connected socket of channel @channel ready for its data: blocking, keepalive, timeouts */
int tcp_socket_prepare(int fd, uint32_t channel, struct decant_error *err);

/* tcp_thread_start() -- thread_start() that says what failed */
int tcp_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg,
		     struct decant_error *err);

int tcp_sink_open(const struct fabric_sink_opts *opts, struct fabric_sink **sink, struct decant_error *err);
void tcp_sink_address(const struct fabric_sink *sink, struct fabric_address *address);
int tcp_sink_expose(struct fabric_sink *sink, uint32_t region, uint64_t offset, uint64_t length, void *memory,
		    uint64_t *rkey, struct decant_error *err);
void tcp_sink_fence(struct fabric_sink *sink);
uint64_t tcp_sink_cpu_ns(const struct fabric_sink *sink);
void tcp_sink_close(struct fabric_sink *sink);

int tcp_source_connect(const struct fabric_source_opts *opts, struct fabric_source **source,
		       struct decant_error *err);
int tcp_source_map(struct fabric_source *source, void *memory, uint64_t length, uint64_t *lkey,
		   struct decant_error *err);
int tcp_source_write(struct fabric_source *source, const struct fabric_write *write);
int tcp_source_flush(struct fabric_source *source);
int tcp_source_barrier(struct fabric_source *source, uint64_t round);
int tcp_source_message(struct fabric_source *source, const void *data, size_t length);
int tcp_source_wait(struct fabric_source *source, uint64_t timeout_ns);
uint64_t tcp_source_pending(const struct fabric_source *source);
void tcp_source_last_error(const struct fabric_source *source, struct decant_error *err);
void tcp_source_stats(const struct fabric_source *source, struct fabric_source_stats *stats);
void tcp_source_stop(struct fabric_source *source);
void tcp_source_close(struct fabric_source *source);

#endif
