/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_source.c -- the sidecar beside the QEMU that a VM leaves
 *
 * Theory of operation
 * -------------------
 * One thread polls all: the sockets that QEMU connects to, its connections, the link. A connection is known by its first bytes: the main
 * stream, one of multifd's, or nothing of QEMU's. The main stream is read by the feeder; it is joined with a stream of the link for
 * what is forwarded and for the return path. Disks are plain relays.
 *
 * The other sidecar is connected to when it is known what memory there is: with the stream's block list, or earlier if a disk is.
 * Until then nothing has been forwarded, so whatever speaks against shared memory can still make it a fallback.
 *
 * Whatever fails, QEMU's connections are closed at once: that is what ends its migration, and lets its VM go on.
 */
#include "qemu/proxy_source.h"

#include "qemu/feeder.h"
#include "qemu/guest_ram.h"
#include "qemu/link.h"
#include "qemu/multifd.h"
#include "qemu/preflight.h"
#include "qemu/proxy_session.h"
#include "qemu/relay.h"
#include "qemu/unix_socket.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <decant/migration.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RELAYS_MAX LINK_STREAMS_MAX
#define STRANGERS_MAX 300u /* connections that have not said what they are: multifd's come all at once */
#define PROGRESS_NS (500 * NSEC_PER_MSEC)
#define AGAIN_NS (5 * NSEC_PER_SEC)
#define START_NS (30 * NSEC_PER_SEC)

struct proxy_source {
	/* set at creation, read-only after */
	struct proxy_source_opts opts;
	uint8_t key[DECANT_KEY_MAX];
	int cancel_fd;

	struct unix_listener listener, disk_listener;
	struct guest_ram *own_ram; /* found by us */
	const struct guest_ram *ram;
	struct preflight *own_preflight;
	struct preflight *preflight;
	bool pass;                  /* all passes unchanged */
	char why[DECANT_ERROR_MAX]; /* if so */

	struct proxy_session session;
	struct feeder *feeder;
	struct relay main;
	struct relay relay[RELAYS_MAX]; /* disks; and multifd's where all passes unchanged */
	enum link_service service[RELAYS_MAX];
	uint64_t channel_bytes; /* of multifd's relays */
	uint32_t relays;
	struct source_stranger {
		int fd;
		bool channel; /* one of multifd's, that comes before its time */
	} stranger[STRANGERS_MAX];
	uint32_t strangers;
	struct return_path path;
	bool blocks_known; /* so multifd's connections can be read */
	bool main_ended;   /* both ways */
	bool start_sent;   /* from then on the VM may run at the destination */
	bool started;
	uint64_t start_deadline_ns;

	struct proxy_stats stats;
	uint64_t begin_ns, told_ns, cpu_ns;
};

/* ---- beginning and end ---- */

static uint64_t process_cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NSEC_PER_SEC +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NSEC_PER_USEC;
}

static int source_listen(struct proxy_source *source, struct decant_error *err)
{
	int ret = unix_listen(&source->listener, source->opts.socket, err);

	if (ret == 0 && source->opts.disks != NULL)
		ret = unix_listen(&source->disk_listener, source->opts.disks, err);
	return ret;
}

int proxy_source_new(const struct proxy_source_opts *opts, struct proxy_source **out, struct decant_error *err)
{
	struct proxy_source *source = calloc(1, sizeof(*source));
	int ret;

	if (source == NULL)
		return decant_error_set(err, -ENOMEM, "proxy: out of memory");
	source->opts = *opts;
	source->listener = source->disk_listener = (struct unix_listener)UNIX_LISTENER_INIT;
	source->main = (struct relay)RELAY_INIT;
	source->ram = opts->ram;
	source->preflight = opts->preflight;
	source->cancel_fd = io_wake_new();
	ret = source->cancel_fd < 0 ? source->cancel_fd : 0;
	if (ret < 0)
		decant_error_set(err, ret, "proxy: eventfd: %s", strerror(-ret));
	else if (opts->key_length > sizeof(source->key))
		ret = decant_error_set(err, -EINVAL, "proxy: a key has at most %zu bytes", sizeof(source->key));
	if (ret == 0 && opts->key_length > 0)
		memcpy(source->key, opts->key, opts->key_length);
	source->opts.key = opts->key != NULL ? source->key : NULL;
	if (ret == 0)
		ret = source_listen(source, err);
	if (ret < 0) {
		proxy_source_free(source);
		return ret;
	}
	*out = source;
	return 0;
}

void proxy_source_cancel(struct proxy_source *source)
{
	io_wake_set(source->cancel_fd);
}

/* QEMU's connections, and the sockets. The other sidecar is told why by a word, not stream by stream. */
static void source_shut(struct proxy_source *source)
{
	relay_close(&source->main, NULL, 0);
	for (uint32_t i = 0; i < source->relays; i++)
		relay_close(&source->relay[i], NULL, 0);
	source->relays = 0;
	for (uint32_t i = 0; i < source->strangers; i++)
		close(source->stranger[i].fd);
	source->strangers = 0;
	feeder_free(source->feeder); /* with multifd's */
	source->feeder = NULL;
	unix_unlisten(&source->listener);
	unix_unlisten(&source->disk_listener);
}

void proxy_source_free(struct proxy_source *source)
{
	if (source == NULL)
		return;
	source_shut(source);
	proxy_session_close(&source->session, NULL);
	guest_ram_free(source->own_ram);
	preflight_free(source->own_preflight);
	if (source->cancel_fd >= 0)
		close(source->cancel_fd);
	explicit_bzero(source->key, sizeof(source->key));
	free(source);
}

/* ---- what it says of itself ---- */

static void source_stats(struct proxy_source *source)
{
	struct decant_mover_stats mover = DECANT_MOVER_STATS_INIT;
	struct proxy_stats *stats = &source->stats;
	struct feeder_stats fed = { 0 };

	if (source->session.mover != NULL) {
		decant_mover_get_stats(source->session.mover, &mover);
		memcpy(stats->fabric, mover.fabric, sizeof(stats->fabric));
		memcpy(stats->fabric_reason, mover.fabric_reason, sizeof(mover.fabric_reason));
		stats->channels = mover.channels;
		stats->failovers = mover.failovers;
		stats->sent_bytes = mover.sent_bytes;
		stats->pages_sent = mover.pages_sent;
		stats->zero_pages = mover.pages_zero;
		stats->region_bytes = proxy_session_bytes(&source->session);
		stats->regions = stats->region_bytes > 0 ? decant_memory_count(source->session.memory) : 0;
	}
	if (source->feeder != NULL)
		feeder_get_stats(source->feeder, &fed);
	stats->stream_bytes = fed.stream_bytes + source->channel_bytes;
	stats->forwarded_bytes = fed.forwarded_bytes + source->channel_bytes;
	stats->dirty_pages = fed.dirty_pages;
	stats->passed_block_bytes = fed.passing_bytes;
	stats->drain_ns = fed.drain_ns;
	stats->return_bytes = source->main.out_bytes;
	stats->fallback = source->pass;
	if (source->pass)
		snprintf(stats->fabric_reason, sizeof(stats->fabric_reason), "%s", source->why);
	if (source->begin_ns != 0 && stats->stage < PROXY_CLOSED)
		stats->total_ns = clock_now_ns() - source->begin_ns;
	stats->cpu_ns = process_cpu_ns() - source->cpu_ns;
}

static void source_tell(struct proxy_source *source, bool now)
{
	const uint64_t now_ns = clock_now_ns();

	if (!now && now_ns < source->told_ns + PROGRESS_NS)
		return;
	source->told_ns = now_ns;
	source_stats(source);
	if (source->opts.ops != NULL && source->opts.ops->progress != NULL)
		source->opts.ops->progress(source->opts.opaque, &source->stats);
}

static void source_stage(struct proxy_source *source, enum proxy_stage stage)
{
	if (source->stats.stage >= stage)
		return;
	source->stats.stage = stage;
	source_tell(source, true);
}

/* ---- connecting to the other sidecar ---- */

/* What is in @err speaks against moving the memory. 0, and @err is clear: all is passed unchanged. */
static int source_fall_back(struct proxy_source *source, struct decant_error *err)
{
	if (!source->opts.fallback)
		return err->code;
	source->pass = true;
	snprintf(source->why, sizeof(source->why), "%s", err->msg);
	log_warning(&source->opts.log, "all is passed unchanged, by QEMU's own means: %s", err->msg);
	*err = (struct decant_error)DECANT_ERROR_INIT;
	return 0;
}

static int source_preflight(struct proxy_source *source, pid_t pid, struct decant_error *err)
{
	const struct preflight_opts opts = { .end = PREFLIGHT_SOURCE,
					     .under_way = true,
					     .pinned = source->opts.fabric != NULL &&
						       strcmp(source->opts.fabric, "tcp") != 0 };
	const char *unfit;
	int ret = 0;

	if (source->preflight == NULL) {
		ret = preflight_look_process(pid, &opts, &source->own_preflight, err);
		source->preflight = source->own_preflight;
	}
	if (ret < 0)
		return ret;
	unfit = preflight_unfit(source->preflight);
	return unfit == NULL ? 0 : decant_error_set(err, -ENOTSUP, "%s", unfit);
}

/* Which memory does process @pid have? Once. */
static int source_look(struct proxy_source *source, pid_t pid, struct decant_error *err)
{
	int ret = 0;

	if (pid <= 0 && (source->ram == NULL || source->preflight == NULL))
		return decant_error_set(err, -ESRCH,
					"%s: the process that has connected is in no PID namespace of ours, so its "
					"memory cannot be found; give --qmp, or run this where QEMU runs",
					source->opts.socket);
	ret = source_preflight(source, pid, err);
	if (ret == 0 && source->ram == NULL) {
		ret = guest_ram_find(pid, NULL, NULL, &source->own_ram, err);
		source->ram = source->own_ram;
	}
	return ret;
}

static int source_open(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
		       struct decant_error *err)
{
	const struct proxy_source_opts *opts = &source->opts;
	struct decant_mover_opts mover = DECANT_MOVER_OPTS_INIT;
	int ret;

	mover.peer = opts->peer;
	mover.fabric = opts->fabric != NULL ? opts->fabric : "auto";
	mover.rails = source->pass || opts->rails == NULL || opts->rails[0] == '\0' ? NULL : opts->rails;
	mover.cpus = opts->cpus;
	mover.channels = opts->channels;
	mover.bandwidth_Bps = opts->bandwidth_Bps;
	mover.key = opts->key;
	mover.key_length = opts->key_length;
	mover.log = opts->log;
	ret = proxy_session_open(&source->session, &mover, source->pass ? NULL : source->ram, list, count,
				 opts->fallback,
				 source->preflight != NULL ? preflight_facts(source->preflight) : NULL, err);
	if (ret == 0)
		source_stage(source, PROXY_CONNECTED);
	return ret;
}

/* The other sidecar may yet be letting go of what it has refused. */
static int source_open_again(struct proxy_source *source, struct decant_error *err)
{
	const uint64_t deadline_ns = clock_deadline_ns(AGAIN_NS);
	int ret;

	while ((ret = source_open(source, NULL, 0, err)) == -EBUSY && clock_now_ns() < deadline_ns)
		if (io_wait(source->cancel_fd, POLLIN, clock_deadline_ns(AGAIN_NS / 100), -1) == 0)
			return decant_error_set(err, -ECANCELED, "cancelled");
	if (ret == 0)
		*err = (struct decant_error)DECANT_ERROR_INIT;
	return ret;
}

/* Connects, and if that is refused, once more to pass all unchanged. Some errors say that nobody is there, which that would not mend. */
static int source_connect(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
			  struct decant_error *err)
{
	int ret;

	if (source->pass)
		return source_open_again(source, err);
	ret = source_open(source, list, count, err);
	if (ret == 0 || ret == -ECONNREFUSED || ret == -EACCES || ret == -ENOENT)
		return ret;
	ret = source_fall_back(source, err);
	return ret < 0 ? ret : source_open_again(source, err);
}

static int source_find(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
		       struct decant_error *err)
{
	int ret;

	if (source->session.mover == NULL)
		return source_connect(source, list, count, err);
	ret = proxy_session_find(&source->session, source->ram, list, count, err);
	return ret < 0 ? source_fall_back(source, err) : 0;
}

static int source_set_regions(struct proxy_source *source, struct ram_blocks *blocks, struct decant_error *err)
{
	struct guest_ram_wanted *list = calloc(blocks->count + 1u, sizeof(*list));
	int ret;

	if (list == NULL)
		return decant_error_set(err, -ENOMEM, "the list of blocks: out of memory");
	for (uint32_t i = 0; i < blocks->count; i++)
		list[i] = (struct guest_ram_wanted){ .idstr = blocks->list[i].name,
						     .length = blocks->list[i].length,
						     .region = -1 };
	ret = source_find(source, list, blocks->count, err);
	for (uint32_t i = 0; i < blocks->count; i++)
		blocks->list[i].region = source->pass ? -1 : list[i].region;
	free(list);
	return ret;
}

/* The stream's beginning is known, and nothing of it has been forwarded. */
static int source_blocks(void *opaque, struct ram_blocks *blocks, bool return_path, struct decant_error *err)
{
	struct proxy_source *source = opaque;
	int ret = 0;

	if (!return_path) {
		decant_error_set(err, -ENOTSUP,
				 "QEMU migrates without a return path, so nobody would know whether the VM was "
				 "loaded; set the capability return-path at both ends");
		ret = source_fall_back(source, err);
	}
	if (ret == 0 && !source->pass)
		ret = source_set_regions(source, blocks, err);
	else if (ret == 0 && source->session.mover == NULL)
		ret = source_connect(source, NULL, 0, err);
	if (ret == 0)
		ret = link_open(source->session.link, LINK_MIGRATION, &source->main.id, err);
	if (ret < 0)
		return ret;
	feeder_connect(source->feeder, source->session.mover, source->session.link);
	source->blocks_known = true;
	source_stage(source, source->pass ? PROXY_OPENED : PROXY_RAM);
	return source->pass ? 1 : 0;
}

static void source_ram_end(void *opaque)
{
	struct proxy_source *source = opaque;

	source->stats.ram_ns = clock_now_ns() - source->begin_ns;
	source_stage(source, PROXY_DEVICES);
}

/* ---- QEMU's connections ---- */

static int source_add_relay(struct proxy_source *source, int fd, enum link_service service,
			    struct decant_error *err)
{
	struct relay *relay = &source->relay[source->relays];
	uint32_t id;
	int ret = 0;

	if (source->relays == RELAYS_MAX)
		ret = decant_error_set(err, -EMFILE, "more than %u connections of QEMU's", RELAYS_MAX);
	if (ret == 0)
		ret = link_open(source->session.link, service, &id, err);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	*relay = (struct relay)RELAY_INIT;
	relay_begin(relay, fd, id);
	source->service[source->relays++] = service;
	return 0;
}

static int source_channels(void *opaque, struct decant_error *err);

static int source_begin_pass(struct proxy_source *source, struct decant_error *err)
{
	int ret = source->session.mover == NULL ? source_connect(source, NULL, 0, err) : 0;

	if (ret == 0)
		ret = link_open(source->session.link, LINK_MIGRATION, &source->main.id, err);
	if (ret < 0)
		return ret;
	feeder_connect(source->feeder, source->session.mover, source->session.link);
	source_stage(source, PROXY_OPENED);
	return 0;
}

/* The main connection has come; @pid writes into it. */
static int source_begin(struct proxy_source *source, int fd, pid_t pid, struct decant_error *err)
{
	struct feeder_opts opts = {
		.blocks = source_blocks, .channels = source_channels, .ram_end = source_ram_end, .opaque = source
	};
	int ret;

	source->begin_ns = clock_now_ns();
	source->stats.connections++;
	relay_begin(&source->main, fd, 0);
	source->main.out_path = &source->path;
	ret = source->pass ? 0 : source_look(source, pid, err);
	if (ret < 0)
		ret = source_fall_back(source, err);
	if (ret < 0)
		return ret;
	opts.pass = source->pass;
	ret = feeder_new(&opts, &source->main, &source->feeder, err);
	if (ret == 0 && source->pass)
		ret = source_begin_pass(source, err);
	return ret;
}

static bool source_takes_channels(const struct proxy_source *source)
{
	return source->main.fd >= 0 && (source->pass || source->blocks_known);
}

static int source_take_channel(struct proxy_source *source, int fd, struct decant_error *err)
{
	source->stats.connections++;
	return source->pass ? source_add_relay(source, fd, LINK_MIGRATION, err)
			    : feeder_add_channel(source->feeder, fd, err);
}

/* One that has shown its first bytes. 1: it must wait; else it is somebody's, or closed. */
static int source_take(struct proxy_source *source, struct source_stranger *stranger, const uint8_t first[4],
		       pid_t pid, struct decant_error *err)
{
	const enum multifd_kind kind = multifd_kind(first);
	const bool begun = source->main.fd >= 0;

	if (kind == MULTIFD_TLS && !begun && !source->pass) {
		decant_error_set(err, -ENOTSUP,
				 "QEMU's migration is encrypted (TLS); unset the parameter tls-creds at both ends: "
				 "the sidecars have a --key-file instead");
		if (source_fall_back(source, err) < 0)
			return err->code;
	}
	if (!begun && (kind == MULTIFD_MAIN || (source->pass && kind == MULTIFD_TLS)))
		return source_begin(source, stranger->fd, pid, err);
	/* they may be there before the main connection has said anything */
	if (kind == MULTIFD_CHANNEL || (begun && source->pass && kind == MULTIFD_TLS)) {
		stranger->channel = true;
		return source_takes_channels(source) ? source_take_channel(source, stranger->fd, err) : 1;
	}
	close(stranger->fd);
	if (begun)
		return 0; /* a second migration, or nothing of QEMU's: nobody waits for it */
	return decant_error_set(
		err, -EPROTO,
		"%s: what has connected is no migration of QEMU's (it begins with %02x %02x %02x %02x)",
		source->opts.socket, first[0], first[1], first[2], first[3]);
}

/* 1: it stays a stranger */
static int source_meet(struct proxy_source *source, struct source_stranger *stranger, struct decant_error *err)
{
	uint8_t first[4];
	pid_t pid;
	const ssize_t got = unix_peek(stranger->fd, first, sizeof(first), &pid);

	if (got == (ssize_t)sizeof(first))
		return source_take(source, stranger, first, pid, err);
	if (got > 0 || got == -EAGAIN || got == -EINTR)
		return 1;
	close(stranger->fd);
	return 0;
}

static int source_meet_all(struct proxy_source *source, struct decant_error *err)
{
	uint32_t left = 0;
	int ret = 0;

	for (uint32_t i = 0; i < source->strangers; i++) {
		struct source_stranger stranger = source->stranger[i];
		const int met = ret < 0 ? 1 : source_meet(source, &stranger, err);

		if (met < 0)
			ret = met;
		else if (met == 1)
			source->stranger[left++] = stranger;
	}
	source->strangers = left;
	return ret;
}

static int source_accept(struct proxy_source *source, struct decant_error *err)
{
	int fd = 0;

	while (source->strangers < STRANGERS_MAX && source->listener.fd >= 0) {
		fd = unix_accept(&source->listener, err);
		if (fd < 0)
			return fd == -EAGAIN ? 0 : fd;
		source->stranger[source->strangers++] = (struct source_stranger){ .fd = fd };
	}
	return 0;
}

static int source_channels(void *opaque, struct decant_error *err)
{
	struct proxy_source *source = opaque;
	const int ret = source_accept(source, err);

	return ret < 0 ? ret : source_meet_all(source, err);
}

static int source_begin_disks(struct proxy_source *source, int fd, struct decant_error *err)
{
	int ret = source->pass ? 0 : source_look(source, unix_peer(fd), err);

	if (ret < 0)
		ret = source_fall_back(source, err);
	return ret < 0 ? ret : source_connect(source, NULL, 0, err);
}

static int source_accept_disks(struct proxy_source *source, struct decant_error *err)
{
	int ret = 0;

	while (ret == 0 && source->disk_listener.fd >= 0) {
		const int fd = unix_accept(&source->disk_listener, err);

		if (fd < 0)
			return fd == -EAGAIN ? 0 : fd;
		ret = source->session.mover == NULL ? source_begin_disks(source, fd, err) : 0;
		if (ret < 0)
			close(fd);
		else
			ret = source_add_relay(source, fd, LINK_DISK, err);
		source->stats.disk_connections++;
	}
	return ret;
}

/* ---- the loop ---- */

static int source_control(struct proxy_source *source, struct decant_error *err)
{
	char text[LINK_CONTROL_MAX + 1];
	enum link_control kind;

	while (source->session.link != NULL && link_next_control(source->session.link, &kind, text) == 1) {
		if (kind == LINK_ERROR)
			return decant_error_set(err, -EREMOTEIO, "at the destination: %s", text);
		if (kind == LINK_STARTED && source->start_sent)
			source->started = true;
	}
	return 0;
}

/* With a disk there is a link before the migration has a stream of it. */
static bool source_main_open(const struct proxy_source *source)
{
	return source->session.link != NULL && source->main.fd >= 0 && source->main.id != 0;
}

static int source_pump_main(struct proxy_source *source, struct decant_error *err)
{
	struct relay *main = &source->main;
	int ret = source->feeder != NULL ? feeder_turn(source->feeder, err) : 0;

	if (ret < 0 || source->feeder == NULL || !source_main_open(source))
		return ret;
	ret = relay_pump(main, source->session.link, err);
	if (ret < 0 && !source->path.shut)
		return ret;
	if (return_path_loaded(&source->path))
		source_stage(source, PROXY_LOADED);
	if (main->out_ended && !source->path.shut && !source->pass)
		return decant_error_set(err, -ECONNRESET,
					"the destination's QEMU has closed its connection; what it says on its "
					"standard error, or in its log, is why");
	/* once SHUT has passed, that QEMU here is gone is no error of ours */
	if (ret != 0) {
		source->main_ended = true;
		relay_close(main, source->session.link, 0);
	}
	return 0;
}

static void source_pump_relays(struct proxy_source *source)
{
	struct link *link = source->session.link;
	uint32_t left = 0;

	for (uint32_t i = 0; i < source->relays; i++) {
		struct decant_error why = DECANT_ERROR_INIT;
		struct relay *relay = &source->relay[i];
		const uint64_t before = relay->in_bytes + relay->out_bytes;
		const int ret = relay_pump(relay, link, &why);

		*(source->service[i] == LINK_DISK ? &source->stats.disk_bytes : &source->channel_bytes) +=
			relay->in_bytes + relay->out_bytes - before;
		if (ret == 0) {
			source->service[left] = source->service[i];
			source->relay[left++] = *relay;
			continue;
		}
		if (ret < 0)
			log_info(&source->opts.log, "%s", why.msg);
		relay_close(relay, link, ret < 0 ? ECONNRESET : 0);
	}
	source->relays = left;
}

static int source_turn(struct proxy_source *source, struct decant_error *err)
{
	int ret = source_control(source, err);

	if (ret == 0)
		ret = source_accept(source, err);
	if (ret == 0)
		ret = source_accept_disks(source, err);
	if (ret == 0)
		ret = source_meet_all(source, err);
	if (ret == 0)
		ret = source_pump_main(source, err);
	if (ret == 0)
		source_pump_relays(source);
	if (ret == 0 && source->feeder != NULL)
		ret = feeder_settle(source->feeder, err);
	if (ret == 0 && source->session.link != NULL)
		ret = link_check(source->session.link, err);
	return ret;
}

static void poll_add(struct pollfd *fds, nfds_t *count, int fd, short events)
{
	if (fd >= 0 && events != 0)
		fds[(*count)++] = (struct pollfd){ .fd = fd, .events = events };
}

static nfds_t source_fds(struct proxy_source *source, struct pollfd *fds)
{
	struct link *link = source->session.link;
	nfds_t count = 0;
	int fd;

	poll_add(fds, &count, source->cancel_fd, POLLIN);
	poll_add(fds, &count, source->strangers < STRANGERS_MAX ? source->listener.fd : -1, POLLIN);
	poll_add(fds, &count, source->disk_listener.fd, POLLIN);
	poll_add(fds, &count, link != NULL ? link_fd(link) : -1, POLLIN);
	for (uint32_t i = 0; i < source->strangers; i++)
		poll_add(fds, &count,
			 source->stranger[i].channel && !source_takes_channels(source) ? -1
										       : source->stranger[i].fd,
			 POLLIN);
	if (source->feeder != NULL && feeder_wants_main(source->feeder))
		poll_add(fds, &count, source->main.fd, POLLIN);
	if (source_main_open(source))
		poll_add(fds, &count, source->main.fd, relay_events(&source->main, link));
	for (uint32_t i = 0; source->feeder != NULL && (fd = feeder_channel(source->feeder, i)) != -2; i++)
		poll_add(fds, &count, fd, POLLIN);
	for (uint32_t i = 0; i < source->relays; i++)
		poll_add(fds, &count, source->relay[i].fd, relay_events(&source->relay[i], link));
	return count;
}

/* Waits for something to do, tells of progress; -ECANCELED */
static int source_wait(struct proxy_source *source, struct decant_error *err)
{
	struct pollfd fds[8 + STRANGERS_MAX + FEEDER_CHANNELS_MAX + RELAYS_MAX];
	const nfds_t count = source_fds(source, fds);

	if (poll(fds, count, clock_poll_ms(source->told_ns + PROGRESS_NS)) < 0 && errno != EINTR)
		return decant_error_set(err, -errno, "poll: %s", strerror(errno));
	if (source->session.link != NULL)
		link_clear(source->session.link);
	source_tell(source, false);
	if (io_wake_test(source->cancel_fd))
		return decant_error_set(err, -ECANCELED, "cancelled");
	return 0;
}

/* ---- after the migration stream ---- */

static int source_judge(const struct proxy_source *source, struct decant_error *err)
{
	if (return_path_loaded(&source->path) || (source->pass && !source->path.shut))
		return 0;
	if (source->path.shut)
		return decant_error_set(
			err, -EREMOTEIO,
			"the destination's QEMU could not load the VM (status %u); what it says on its "
			"standard error, or in its log, is why",
			source->path.status);
	return decant_error_set(err, -ECONNRESET,
				"QEMU has ended the migration before the VM was loaded at the destination; "
				"query-migrate says why");
}

/* Both QEMUs have closed. Asks whether the VM is to be started there. */
static int source_loaded(struct proxy_source *source, struct decant_error *err)
{
	int ret = source_judge(source, err);

	if (ret < 0)
		return ret;
	source_stats(source);
	source_stage(source, PROXY_CLOSED);
	if (source->opts.ops == NULL || source->opts.ops->loaded == NULL)
		return 0;
	ret = source->opts.ops->loaded(source->opts.opaque, &source->stats, err);
	if (ret <= 0)
		return ret;
	source->start_sent = true;
	source->start_deadline_ns = clock_deadline_ns(START_NS);
	return link_send_control(source->session.link, LINK_START, "", err);
}

static bool source_finished(const struct proxy_source *source)
{
	return source->stats.stage == PROXY_CLOSED && source->relays == 0 && source->start_sent == source->started;
}

static int source_loop(struct proxy_source *source, struct decant_error *err)
{
	int ret = 0;

	while (ret == 0 && !source_finished(source)) {
		ret = source_wait(source, err);
		if (ret == 0)
			ret = source_turn(source, err);
		if (ret == 0 && source->main_ended && source->stats.stage < PROXY_CLOSED)
			ret = source_loaded(source, err);
		if (ret == 0 && source->start_sent && !source->started &&
		    clock_now_ns() > source->start_deadline_ns)
			ret = decant_error_set(
				err, -ETIMEDOUT,
				"the destination's sidecar does not say whether it has started the VM");
	}
	return ret;
}

/* Why the other end has ended it is worth more than that the connection is lost. */
static int source_reason(struct proxy_source *source, int ret, struct decant_error *err)
{
	struct decant_error said = DECANT_ERROR_INIT;

	if (ret == -EREMOTEIO || source_control(source, &said) == 0)
		return ret;
	*err = said;
	return said.code;
}

int proxy_source_run(struct proxy_source *source, struct proxy_stats *stats, enum proxy_outcome *outcome,
		     struct decant_error *caller_err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	struct decant_error *err = caller_err != NULL ? caller_err : &local;
	int ret;

	source->cpu_ns = process_cpu_ns();
	ret = source_loop(source, err);
	if (ret < 0)
		ret = source_reason(source, ret, err);
	*outcome = PROXY_DONE;
	if (ret < 0)
		*outcome = source->stats.stage >= PROXY_LOADED ? PROXY_IN_DOUBT : PROXY_FAILED;
	source_stats(source);
	source_shut(source);
	proxy_session_close(&source->session, ret < 0 && ret != -EREMOTEIO ? err : NULL);
	*stats = source->stats;
	return ret;
}
