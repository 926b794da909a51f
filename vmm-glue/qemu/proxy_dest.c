/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_dest.c -- the sidecar beside the QEMU that a VM comes to
 *
 * Theory of operation
 * -------------------
 * The library's session has a thread of its own. In it the source is met: QEMU is connected to first, so that it has begun to wait for the
 * stream and will not write to its memory before the stream says so; then its memory is found, and given to the library. From
 * then on the thread in proxy_dest_run() polls QEMU's connections and the link.
 *
 * A source that has been refused may come again, if it has said so, to have all passed unchanged.
 *
 * Whatever fails, QEMU's connections are closed, which ends what it was loading: before the end of its stream it cannot have
 * a VM that could be started.
 */
#include "qemu/proxy_dest_private.h"

#include "qemu/guest_ram.h"
#include "qemu/idle_channels.h"
#include "qemu/preflight.h"
#include "qemu/qmp.h"
#include "qemu/unix_socket.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <decant/memory.h>
#include <decant/mover.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_NS (500 * NSEC_PER_MSEC)
#define HEARD_NS (2 * NSEC_PER_SEC)
#define CONT_NS (10 * NSEC_PER_SEC)
#define READS_NS (500 * NSEC_PER_MSEC) /* QEMU that reads nothing for so long waits for multifd's channels */

/* ---- beginning and end ---- */

static int dest_send(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	const struct proxy_dest *dest = opaque;

	return decant_landing_message(dest->landing, data, length, err);
}

static int dest_listen(struct proxy_dest *dest, struct decant_error *err)
{
	const struct link_opts link_opts = { .source = false, .send = dest_send, .opaque = dest };
	const struct decant_landing_ops ops = { .size = sizeof(ops),
						.create = proxy_dest_create,
						.message = proxy_dest_message };
	struct decant_landing_opts opts = DECANT_LANDING_OPTS_INIT;
	int ret = link_new(&link_opts, &dest->link, err);

	opts.listen = dest->opts.listen;
	opts.key = dest->opts.key;
	opts.key_length = dest->opts.key_length;
	opts.cpus = dest->opts.cpus;
	opts.log = dest->opts.log;
	opts.zero_memory = true;
	return ret < 0 ? ret : decant_landing_new(&opts, &ops, dest, &dest->landing, err);
}

int proxy_dest_new(const struct proxy_dest_opts *opts, struct proxy_dest **out, struct decant_error *err)
{
	struct proxy_dest *dest = calloc(1, sizeof(*dest));
	int ret = 0;

	if (dest == NULL)
		return decant_error_set(err, -ENOMEM, "proxy: out of memory");
	dest->opts = *opts;
	dest->main_fd = -1;
	dest->stop_fd = io_wake_new();
	dest->ended_fd = io_wake_new();
	if (dest->stop_fd < 0 || dest->ended_fd < 0)
		ret = decant_error_set(err, -EMFILE, "proxy: eventfd: no descriptors left");
	if (ret == 0)
		ret = dest_listen(dest, err);
	dest->opts.key = NULL; /* the library has it */
	if (ret < 0) {
		proxy_dest_free(dest);
		return ret;
	}
	*out = dest;
	return 0;
}

uint16_t proxy_dest_port(const struct proxy_dest *dest)
{
	return decant_landing_port(dest->landing);
}

void proxy_dest_stop(struct proxy_dest *dest)
{
	io_wake_set(dest->stop_fd);
}

static void dest_shut(struct proxy_dest *dest)
{
	for (uint32_t i = 0; i < dest->relays; i++)
		relay_close(&dest->relay[i], NULL, 0);
	dest->relays = 0;
}

static void dest_join(struct proxy_dest *dest)
{
	if (!dest->threaded)
		return;
	decant_landing_stop(dest->landing);
	pthread_join(dest->thread, NULL);
	dest->threaded = false;
}

void proxy_dest_free(struct proxy_dest *dest)
{
	if (dest == NULL)
		return;
	dest_shut(dest);
	idle_channels_free(dest->idle);
	if (dest->main_fd >= 0 && !dest->begun)
		close(dest->main_fd);
	decant_landing_free(dest->landing);
	link_free(dest->link);
	decant_memory_free(dest->memory);
	guest_ram_free(dest->ram);
	preflight_free(dest->preflight);
	if (dest->stop_fd >= 0)
		close(dest->stop_fd);
	if (dest->ended_fd >= 0)
		close(dest->ended_fd);
	free(dest);
}

/* ---- what it says of itself ---- */

static void dest_stats(struct proxy_dest *dest)
{
	struct proxy_stats *stats = &dest->stats;

	if (atomic_load_explicit(&dest->met, memory_order_acquire)) {
		stats->fallback = dest->pass;
		stats->regions = dest->regions;
		stats->region_bytes = dest->region_bytes;
	}
	if (dest->begin_ns != 0 && stats->stage < PROXY_CLOSED)
		stats->total_ns = clock_now_ns() - dest->begin_ns;
	stats->cpu_ns = clock_process_cpu_ns();
}

static void dest_tell(struct proxy_dest *dest, bool now)
{
	const uint64_t now_ns = clock_now_ns();

	if (!now && now_ns < dest->told_ns + PROGRESS_NS)
		return;
	dest->told_ns = now_ns;
	dest_stats(dest);
	if (dest->opts.ops != NULL && dest->opts.ops->progress != NULL)
		dest->opts.ops->progress(dest->opts.opaque, &dest->stats);
}

static void dest_stage(struct proxy_dest *dest, enum proxy_stage stage)
{
	if (dest->stats.stage >= stage)
		return;
	dest->stats.stage = stage;
	dest_tell(dest, true);
}

/* ---- streams ---- */

static int dest_connect(struct proxy_dest *dest, enum link_service service, struct decant_error *err)
{
	const char *path = service == LINK_DISK ? dest->opts.disks : dest->opts.socket;

	if (path == NULL)
		return decant_error_set(
			err, -ECONNREFUSED,
			"the source brings a disk; say where QEMU's NBD server listens: --disks PATH");
	return unix_connect(path, clock_deadline_ns(QEMU_LISTENS_NS), dest->stop_fd, err);
}

static int dest_make_idle(struct proxy_dest *dest, struct decant_error *err)
{
	uint8_t uuid[IDLE_CHANNELS_UUID];
	int ret = dest->pass ? 0 : idle_channels_uuid(unix_peer(dest->main_fd), NULL, uuid, err);

	dest->idle_ns = CLOCK_NEVER;
	return ret < 0 || dest->pass ? ret
				     : idle_channels_new(dest->opts.socket, uuid, READS_NS, &dest->idle, err);
}

/* The first of the migration's is the one that was made when the source was met. */
static int dest_descriptor(struct proxy_dest *dest, enum link_service service, struct relay *relay,
			   struct decant_error *err)
{
	if (service != LINK_MIGRATION || dest->begun)
		return dest_connect(dest, service, err);
	if (dest_make_idle(dest, err) < 0)
		return err->code;
	dest->begun = true;
	dest->begin_ns = clock_now_ns();
	relay->in_path = &dest->path;
	relay->skip = dest->greeted ? PROXY_DEST_GREETING : 0;
	return dest->main_fd;
}

static int dest_take(struct proxy_dest *dest, uint32_t id, enum link_service service, struct decant_error *err)
{
	struct relay *relay = &dest->relay[dest->relays];
	const bool first = service == LINK_MIGRATION && !dest->begun;
	int fd;

	*relay = (struct relay)RELAY_INIT;
	fd = dest->relays < RELAYS_MAX ? dest_descriptor(dest, service, relay, err)
				       : decant_error_set(err, -EMFILE, "too many connections");
	if (fd < 0) {
		link_close(dest->link, id, ECONNREFUSED);
		return service == LINK_MIGRATION ? fd : 0;
	}
	relay_begin(relay, fd, id);
	dest->service[dest->relays++] = service;
	dest->stats.connections += service == LINK_MIGRATION;
	dest->stats.disk_connections += service == LINK_DISK;
	if (first)
		dest_stage(dest, PROXY_OPENED);
	return 0;
}

static int dest_accept(struct proxy_dest *dest, struct decant_error *err)
{
	enum link_service service;
	uint32_t id;
	int ret = 0;

	while (ret == 0 && link_accept(dest->link, &id, &service) == 1) {
		struct decant_error why = DECANT_ERROR_INIT;

		ret = dest_take(dest, id, service, &why);
		if (why.code != 0)
			log_warning(&dest->opts.log, "%s", why.msg);
		if (ret < 0)
			*err = why;
	}
	return ret;
}

static bool dest_is_main(const struct proxy_dest *dest, uint32_t index)
{
	return dest->relay[index].in_path != NULL;
}

/* What has become of the main connection; others are nobody's loss but their own. */
static int dest_main(struct proxy_dest *dest, const struct relay *relay, int ret, struct decant_error *err)
{
	if (return_path_loaded(&dest->path))
		dest_stage(dest, PROXY_LOADED);
	if (ret < 0 && !dest->path.shut)
		return ret;
	if (relay->in_ended && !dest->path.shut && !dest->pass)
		return decant_error_set(
			err, -ECONNRESET,
			"QEMU has closed the migration before it had loaded the VM; what it says on its "
			"standard error, or in its log, is why");
	dest->main_ended = dest->main_ended || ret != 0;
	return 0;
}

static void dest_count(struct proxy_dest *dest, uint32_t index, uint64_t in, uint64_t out)
{
	if (dest->service[index] == LINK_DISK) {
		dest->stats.disk_bytes += in + out;
	} else {
		dest->stats.return_bytes += in;
		dest->stats.stream_bytes += out;
		dest->stats.forwarded_bytes += out;
	}
}

static int dest_pump(struct proxy_dest *dest, uint32_t index, struct decant_error *err)
{
	struct relay *relay = &dest->relay[index];
	struct decant_error why = DECANT_ERROR_INIT;
	const uint64_t in = relay->in_bytes, out = relay->out_bytes;
	const int ret = relay_pump(relay, dest->link, &why);
	int judged = 0;

	dest_count(dest, index, relay->in_bytes - in, relay->out_bytes - out);
	if (dest_is_main(dest, index)) {
		judged = dest_main(dest, relay, ret, &why);
		if (judged < 0)
			*err = why;
		if (dest->idle != NULL)
			dest->idle_ns = idle_channels_turn(dest->idle, relay->fd, relay->out_bytes);
	}
	if (ret != 0 && dest_is_main(dest, index)) {
		idle_channels_free(dest->idle);
		dest->idle = NULL;
	}
	if (ret != 0)
		relay_close(relay, dest->link, ret < 0 ? ECONNRESET : 0);
	return judged;
}

static int dest_pump_all(struct proxy_dest *dest, struct decant_error *err)
{
	uint32_t left = 0;
	int ret = 0;

	for (uint32_t i = 0; i < dest->relays; i++) {
		if (ret == 0)
			ret = dest_pump(dest, i, err);
		if (dest->relay[i].fd < 0)
			continue;
		dest->relay[left] = dest->relay[i];
		dest->service[left++] = dest->service[i];
	}
	dest->relays = left;
	return ret;
}

/* ---- the loop ---- */

static int dest_cont(struct proxy_dest *dest, struct decant_error *err)
{
	const uint64_t deadline_ns = clock_deadline_ns(CONT_NS);
	struct qmp *qmp;
	int ret;

	if (!return_path_loaded(&dest->path))
		return decant_error_set(err, -EPROTO, "the source asks to start a VM that QEMU has not loaded");
	if (dest->opts.qmp == NULL)
		return decant_error_set(err, -ENOTSUP,
					"the source asks to start the VM, which needs QEMU's monitor: --qmp");
	ret = qmp_open(dest->opts.qmp, deadline_ns, dest->stop_fd, &qmp, err);
	if (ret < 0)
		return ret;
	ret = qmp_call_until(qmp, "cont", NULL, deadline_ns, NULL, err);
	qmp_close(qmp);
	return ret;
}

static int dest_start(struct proxy_dest *dest, struct decant_error *err)
{
	const int ret = dest_cont(dest, err);

	dest->start_failed = ret < 0;
	if (ret == -ETIMEDOUT)
		decant_error_prefix(err, "QEMU has not answered to cont, and may yet obey it");
	if (ret < 0)
		return ret;
	dest->started = true;
	/* should it not arrive, the source is in doubt, but not we */
	link_send_control(dest->link, LINK_STARTED, "", NULL);
	return 0;
}

static int dest_control(struct proxy_dest *dest, struct decant_error *err)
{
	char text[LINK_CONTROL_MAX + 1];
	enum link_control kind;
	int ret = 0;

	while (ret == 0 && link_next_control(dest->link, &kind, text) == 1) {
		if (kind == LINK_ERROR)
			ret = decant_error_set(err, -EREMOTEIO, "at the source: %s", text);
		else if (kind == LINK_START && !dest->started)
			ret = dest_start(dest, err);
	}
	return ret;
}

static int dest_turn(struct proxy_dest *dest, struct decant_error *err)
{
	int ret = dest_accept(dest, err);

	if (ret == 0)
		ret = dest_pump_all(dest, err);
	/* after the pump: what it may start must have been loaded */
	if (ret == 0)
		ret = dest_control(dest, err);
	if (ret == 0 && dest->main_ended)
		dest_stage(dest, PROXY_CLOSED);
	return ret;
}

static nfds_t dest_fds(struct proxy_dest *dest, struct pollfd *fds)
{
	nfds_t count = 0;

	fds[count++] = (struct pollfd){ .fd = dest->stop_fd, .events = POLLIN };
	fds[count++] = (struct pollfd){ .fd = dest->ended_fd, .events = POLLIN };
	fds[count++] = (struct pollfd){ .fd = link_fd(dest->link), .events = POLLIN };
	for (uint32_t i = 0; i < dest->relays; i++) {
		const short events = relay_events(&dest->relay[i], dest->link);

		if (events != 0)
			fds[count++] = (struct pollfd){ .fd = dest->relay[i].fd, .events = events };
	}
	if (dest->idle != NULL)
		count += idle_channels_poll(dest->idle, fds + count, IDLE_CHANNELS_MAX);
	return count;
}

static int dest_wait(struct proxy_dest *dest, struct decant_error *err)
{
	struct pollfd fds[3 + RELAYS_MAX + IDLE_CHANNELS_MAX];
	const nfds_t count = dest_fds(dest, fds);
	uint64_t until_ns = dest->told_ns + PROGRESS_NS;

	if (dest->idle != NULL && dest->idle_ns < until_ns)
		until_ns = dest->idle_ns;
	if (poll(fds, count, clock_poll_ms(until_ns)) < 0 && errno != EINTR)
		return decant_error_set(err, -errno, "poll: %s", strerror(errno));
	link_clear(dest->link);
	if (atomic_load_explicit(&dest->met, memory_order_acquire))
		dest_stage(dest, PROXY_CONNECTED);
	dest_tell(dest, false);
	return io_wake_test(dest->stop_fd) ? decant_error_set(err, -ECANCELED, "stopped") : 0;
}

/* The session has ended, so all that will ever come is here. What the source has said of its end counts more than that it is gone. */
static int dest_ended(struct proxy_dest *dest, struct decant_error *err)
{
	const int ret = dest_turn(dest, err);

	if (ret == -EREMOTEIO || dest->start_failed)
		return ret;
	/* it runs here: that the source has not heard of it is for the source to say */
	if (dest->started || (dest->session_ret == 0 && dest->main_ended))
		return 0;
	if (dest->session_ret == 0)
		return decant_error_set(err, -EPROTO,
					"the source's sidecar said goodbye before the migration's end");
	*err = dest->session_err;
	if (dest->stats.stage >= PROXY_LOADED)
		decant_error_prefix(
			err,
			"QEMU has loaded the VM, but the source's sidecar went without a goodbye; do not start "
			"the VM here unless query-migrate at the source says completed");
	return err->code;
}

static int dest_loop(struct proxy_dest *dest, struct decant_error *err)
{
	int ret = 0;

	while (ret == 0) {
		ret = dest_wait(dest, err);
		if (ret == 0 && atomic_load_explicit(&dest->ended, memory_order_acquire))
			return dest_ended(dest, err);
		if (ret == 0)
			ret = dest_turn(dest, err);
		if (ret == -ENOTCONN)
			ret = 0; /* the session is about to end */
	}
	return ret;
}

static int dest_judge(const struct proxy_dest *dest, struct decant_error *err)
{
	if (return_path_open(&dest->path))
		return decant_error_set(err, -ECONNRESET,
					"QEMU has closed the migration before it had loaded the VM; what it says on "
					"its standard error, or in its log, is why");
	if (!dest->path.shut || dest->path.status == 0)
		return 0;
	return decant_error_set(
		err, -EIO,
		"QEMU could not load the VM (status %u); what it says on its standard error, or in its "
		"log, is why",
		dest->path.status);
}

/* The source, when it has heard, closes: a connection that is closed before would look to it like a network that fails. */
static void dest_complain(struct proxy_dest *dest, const struct decant_error *err)
{
	if (link_send_control(dest->link, LINK_ERROR, err->msg, NULL) == 0)
		io_wait(dest->ended_fd, POLLIN, clock_deadline_ns(HEARD_NS), -1);
}

int proxy_dest_run(struct proxy_dest *dest, struct proxy_stats *stats, bool *started,
		   struct decant_error *caller_err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	struct decant_error *err = caller_err != NULL ? caller_err : &local;
	int ret = pthread_create(&dest->thread, NULL, proxy_dest_session, dest);

	if (ret != 0)
		return decant_error_set(err, -ret, "pthread_create: %s", strerror(ret));
	dest->threaded = true;
	ret = dest_loop(dest, err);
	if (ret == 0)
		ret = dest_judge(dest, err);
	dest_shut(dest);
	if (ret < 0 && ret != -EREMOTEIO)
		dest_complain(dest, err);
	dest_join(dest);
	dest_stats(dest);
	*stats = dest->stats;
	*started = dest->started;
	return ret;
}
